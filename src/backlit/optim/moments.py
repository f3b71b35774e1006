"""The averages that Adam and its kin keep, and of these Adamax, NAdam and RAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from backlit.core.tensor import Tensor
from backlit.ops.elementwise import maximum, sqrt, where
from backlit.optim.base import Optimizer, zeros
from backlit.optim.group import Group, like


class Moments(Optimizer):
    """Base of those that keep the averages of the gradients and, most of them, of their squares."""

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        return zeros(cell, "exp_avg", "exp_avg_sq")

    def _first(self, grad: Tensor, state: dict[str, Tensor], beta: Any) -> Tensor:
        first = Tensor(state["exp_avg"]._value)
        return self._keep_moment(state, "exp_avg", first + like(1 - beta, grad) * (grad - first))

    def _second(self, grad: Tensor, state: dict[str, Tensor], beta: Any) -> Tensor:
        square = like(beta, grad) * state["exp_avg_sq"] + like(1 - beta, grad) * (grad * grad)
        return self._keep_moment(state, "exp_avg_sq", square)

    @staticmethod
    def _divisor(second: Tensor, step: Tensor, beta: Any, group: Group) -> Tensor:
        """`sqrt(second / (1 - beta**step)) + eps`; the correction of the zero start is of one element, in double precision."""
        scale = (1.0 / sqrt(1.0 - beta**step)).astype(second.dtype)
        divisor: Tensor = sqrt(second) * scale + like(group.value("eps"), second)
        return divisor


class Adamax(Moments):
    """Adam by the largest gradient (Kingma and Ba, 2015, algorithm 2). Keeps two arrays per parameter.

    Raises:
      ArgumentError: a setting is negative, or a beta is not in [0, 1).
      DTypeError: at the step, for a parameter that is not real.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, others)

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        return zeros(cell, "exp_avg", "exp_inf")

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        beta1, beta2 = group.value("betas")
        step = self._keep(state, "step", state["step"] + 1.0)
        value, grad = self._decayed(value, grad, group)
        first = self._first(grad, state, beta1)
        largest = self._keep(
            state,
            "exp_inf",
            maximum(like(beta2, value) * state["exp_inf"], abs(grad) + like(group.value("eps"), value)),
        )
        rate = (group.cell("lr") / (1.0 - beta1**step)).astype(value.dtype)
        updated: Tensor = value - rate * (first / largest)
        return updated


class NAdam(Moments):
    """Adam with Nesterov's momentum (Dozat, 2016). Keeps two arrays per parameter.

    Raises:
      ArgumentError: a setting is negative, or a beta is not in [0, 1).
      DTypeError: at the step, for a parameter that is not real.
    """

    scalars = ("step", "mu_product")
    not_negative = (*Moments.not_negative, "momentum_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, settings, others)

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        return {**super()._initial(cell, group), "mu_product": Tensor(np.float64(1.0))}

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        lr, (beta1, beta2), fade = group.cell("lr"), group.value("betas"), group.value("momentum_decay")
        step = self._keep(state, "step", state["step"] + 1.0)
        value, grad = self._decayed(value, grad, group, group["decoupled_weight_decay"])
        now = beta1 * (1.0 - 0.5 * 0.96 ** (step * fade))
        after = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1.0) * fade))
        product = self._keep(state, "mu_product", state["mu_product"] * now)
        first = self._first(grad, state, beta1)
        second = self._second(grad, state, beta2)
        of_grad = (lr * (1.0 - now) / (1.0 - product)).astype(value.dtype)
        of_first = (lr * after / (1.0 - product * after)).astype(value.dtype)
        updated: Tensor = value - (of_grad * grad + of_first * first) / self._divisor(second, step, beta2, group)
        return updated


class RAdam(Moments):
    """Adam whose first steps, of too few squares, are steps of momentum (Liu et al., 2020). Keeps two arrays.

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
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, settings, others)

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        lr, (beta1, beta2) = group.cell("lr"), group.value("betas")
        step = self._keep(state, "step", state["step"] + 1.0)
        value, grad = self._decayed(value, grad, group, group["decoupled_weight_decay"])
        first, second = self._first(grad, state, beta1), self._second(grad, state, beta2)
        bias2, longest = 1.0 - beta2**step, 2 / (1 - beta2) - 1
        length = longest - 2.0 * step * beta2**step / bias2
        enough = length > 5.0
        # where the length is short, as it always is with a longest of 5 or less, the root is not used
        known = where(enough, length, 5.0)
        if isinstance(longest, Tensor):
            longest = where(longest > 5.0, longest, 6.0)
        elif longest <= 5.0:
            longest = 6.0
        factor = longest / ((longest - 4) * (longest - 2))
        rectified = sqrt((known - 4.0) * (known - 2.0) * factor / known * bias2).astype(value.dtype)
        rate = (lr / (1.0 - beta1**step)).astype(value.dtype)
        adaptive = rectified / (sqrt(second) + like(group.value("eps"), value))
        updated: Tensor = value - rate * (first * where(enough, adaptive, 1.0))
        return updated
