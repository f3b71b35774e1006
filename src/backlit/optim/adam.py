"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backlit.core.tensor import Tensor
from backlit.ops.elementwise import maximum, sqrt
from backlit.optim.base import Group, Optimizer, check_range, zeros


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015); `weight_decay` is added to the gradient.

    Keeps two arrays per parameter, three with `amsgrad`.

    Raises:
      ValueError: a setting is negative, or a beta is not in [0, 1).
      DTypeError: at the step, for a parameter that is not real.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            check_range(name, group[name])
        for i, beta in enumerate(group["betas"]):
            check_range(f"betas[{i}]", beta, below=1.0)

    def _initial(self, cell: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return zeros(cell, *names)

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        lr, (beta1, beta2), decay = group.cell("lr"), group["betas"], group["weight_decay"]
        if decay != 0 and self.decoupled:
            value = value * (1.0 - lr * decay).astype(value.dtype)
        elif decay != 0:
            grad = grad + decay * value
        step = self._keep(state, "step", state["step"] + 1.0)
        first = Tensor(state["exp_avg"]._value)
        first = self._keep_moment(state, "exp_avg", first + (1 - beta1) * (grad - first))
        moment = beta2 * state["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        second = self._keep_moment(state, "exp_avg_sq", moment)
        if group["amsgrad"]:
            second = self._keep(state, "max_exp_avg_sq", maximum(state["max_exp_avg_sq"], second))
        # the corrections of the zero start are of one element, and in double precision
        scale = (1.0 / sqrt(1.0 - beta2**step)).astype(value.dtype)
        rate = (lr / (1.0 - beta1**step)).astype(value.dtype)
        updated: Tensor = value - rate * (first / (sqrt(second) * scale + group["eps"]))
        return updated


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): `p *= 1 - lr * weight_decay` first."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
