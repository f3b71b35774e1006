"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backlit.core.tensor import Tensor
from backlit.ops.elementwise import maximum
from backlit.optim.base import zeros
from backlit.optim.group import Group
from backlit.optim.moments import Moments


class Adam(Moments):
    """Adam (Kingma and Ba, 2015); `weight_decay` is added to the gradient, or with `decoupled_weight_decay` is AdamW's.

    Keeps two arrays per parameter, three with `amsgrad`.

    Raises:
      ArgumentError: a setting is negative, or a beta is not in [0, 1).
      DTypeError: at the step, for a parameter that is not real.
    """

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
        decoupled_weight_decay: bool = False,
        **others: Any,
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
                "decoupled_weight_decay": decoupled_weight_decay,
            },
            others,
        )

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return zeros(cell, *names)

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        beta1, beta2 = group.value("betas")
        value, grad = self._decayed(value, grad, group, group["decoupled_weight_decay"])
        step = self._keep(state, "step", state["step"] + 1.0)
        first, second = self._first(grad, state, beta1), self._second(grad, state, beta2)
        if group["amsgrad"]:
            second = self._keep(state, "max_exp_avg_sq", maximum(state["max_exp_avg_sq"], second))
        rate = (group.cell("lr") / (1.0 - beta1**step)).astype(value.dtype)
        updated: Tensor = value - rate * (first / self._divisor(second, step, beta2, group))
        return updated


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): `p *= 1 - lr * weight_decay` first."""

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
        **others: Any,
    ) -> None:
        settings: Any = {"maximize": maximize, "decoupled_weight_decay": True, **others}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **settings)
