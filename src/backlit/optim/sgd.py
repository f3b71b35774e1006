"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.ops.elementwise import where
from backlit.optim.base import Optimizer
from backlit.optim.group import Group, is_zero, like


class SGD(Optimizer):
    """Gradient descent with momentum, Nesterov's momentum and weight decay.

    With `g = grad + weight_decay * p`: `buf = momentum * buf + (1 - dampening) * g` (the first
    `buf` is `g`), then `p -= lr * buf`, with `nesterov` `p -= lr * (g + momentum * buf)`.
    Keeps one array per parameter, none without momentum.

    Raises:
      ArgumentError: a setting is negative, or `nesterov` without momentum or with dampening.
    """

    not_negative = (*Optimizer.not_negative, "momentum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, settings, others)

    @classmethod
    def _check(cls, group: Mapping[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError("SGD: nesterov needs momentum above 0 and no dampening")

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        if is_zero(group.value("momentum")):
            return {}
        steps = {} if is_zero(group.value("dampening")) else {"step": Tensor(np.float64(0.0))}
        return {"momentum_buffer": Tensor(np.zeros(cell.shape, cell.dtype)), **steps}

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        momentum, dampening = group.value("momentum"), group.value("dampening")
        value, grad = self._decayed(value, grad, group)
        if not is_zero(momentum):
            momentum = like(momentum, value)
            buf = momentum * state["momentum_buffer"]
            if not is_zero(dampening):
                fresh = state["step"] == 0
                self._keep(state, "step", state["step"] + 1.0)
                buf = buf + where(fresh, grad, like(1 - dampening, value) * grad)
            else:
                buf = buf + grad
            buf = self._keep_moment(state, "momentum_buffer", buf)
            grad = grad + momentum * buf if group["nesterov"] else buf
        return value - group.cell("lr").astype(value.dtype) * grad
