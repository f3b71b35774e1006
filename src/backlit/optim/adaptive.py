"""Rates per element from squared gradients: RMSprop, Adagrad and Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.ops.elementwise import sqrt
from backlit.optim.base import Optimizer, zeros
from backlit.optim.group import Group, is_zero, like


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012); `centered` divides by the deviation (Graves, 2013, eq. 38-40).

    With `v = alpha * v + (1 - alpha) * g**2`: `p -= lr * g / (sqrt(v) + eps)`. Keeps one array per parameter, one more
    with momentum and one more with `centered`.

    Raises:
      ArgumentError: a setting is negative.
      DTypeError: at the step, for a parameter that is not real.
    """

    not_negative = (*Optimizer.not_negative, "alpha", "momentum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, settings, others)

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        names = (
            ["square_avg"]
            + ["momentum_buffer"] * (not is_zero(group.value("momentum")))
            + ["grad_avg"] * group["centered"]
        )
        return zeros(cell, *names)

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        alpha, momentum, lr = group.value("alpha"), group.value("momentum"), group.cell("lr").astype(value.dtype)
        alpha, rest = like(alpha, value), like(1 - alpha, value)
        self._keep(state, "step", state["step"] + 1.0)
        value, grad = self._decayed(value, grad, group)
        square = alpha * state["square_avg"] + rest * (grad * grad)
        square = self._keep_moment(state, "square_avg", square)
        if group["centered"]:
            mean = Tensor(state["grad_avg"]._value)
            mean = self._keep_moment(state, "grad_avg", mean + rest * (grad - mean))
            square = square - mean * mean
        grad = grad / (sqrt(square) + like(group.value("eps"), value))
        if not is_zero(momentum):
            grad = self._keep_moment(state, "momentum_buffer", like(momentum, value) * state["momentum_buffer"] + grad)
        return value - lr * grad


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011): `p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum g**2) + eps)`.

    Keeps one array per parameter.

    Raises:
      ArgumentError: a setting is negative.
      DTypeError: at the step, for a parameter that is not real.
    """

    not_negative = (*Optimizer.not_negative, "lr_decay", "initial_accumulator_value")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, settings, others)

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        start = np.full(cell.shape, group["initial_accumulator_value"], cell.dtype)
        return {**zeros(cell), "sum": Tensor(start)}

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        rate = (group.cell("lr") / (1.0 + state["step"] * group.value("lr_decay"))).astype(value.dtype)
        self._keep(state, "step", state["step"] + 1.0)
        value, grad = self._decayed(value, grad, group)
        total = self._keep(state, "sum", state["sum"] + grad * grad)
        updated: Tensor = value - rate * (grad / (sqrt(total) + like(group.value("eps"), value)))
        return updated


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012, algorithm 1). Keeps two arrays per parameter.

    Raises:
      ArgumentError: a setting is negative, or `rho` above 1.
      DTypeError: at the step, for a parameter that is not real.
    """

    not_negative = (*Optimizer.not_negative, "rho")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, others)

    @classmethod
    def _check(cls, group: Mapping[str, Any]) -> None:
        super()._check(group)
        if group["rho"] > 1:
            raise ArgumentError(f"Adadelta: rho must be in [0, 1], got {group['rho']}")

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        return zeros(cell, "square_avg", "acc_delta")

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        rho, eps = group.value("rho"), like(group.value("eps"), value)
        rho, rest = like(rho, value), like(1 - rho, value)
        self._keep(state, "step", state["step"] + 1.0)
        value, grad = self._decayed(value, grad, group)
        square = self._keep_moment(state, "square_avg", rho * state["square_avg"] + rest * (grad * grad))
        known = Tensor(state["acc_delta"]._value)
        delta = sqrt(known + eps) / sqrt(square + eps) * grad
        self._keep_moment(state, "acc_delta", rho * known + rest * (delta * delta))
        return value - group.cell("lr").astype(value.dtype) * delta
