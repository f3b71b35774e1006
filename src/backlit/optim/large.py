"""Optimizers of large models: Lion, LAMB and Muon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.tensor import Tensor
from backlit.ops.elementwise import maximum, sign, sqrt, where
from backlit.ops.statistics import sum as total
from backlit.optim.base import Optimizer, zeros
from backlit.optim.group import Group, like
from backlit.optim.moments import Moments


def _norm(x: Tensor) -> Tensor:
    length: Tensor = sqrt(total(x * x))
    return length


class Lion(Optimizer):
    """Steps by the sign of the momentum (Chen et al., 2023, algorithm 2). Keeps one array per parameter.

    `p *= 1 - lr * weight_decay`, `p -= lr * sign(beta1 * m + (1 - beta1) * g)`, `m = beta2 * m + (1 - beta2) * g`.

    Raises:
      ArgumentError: a setting is negative, or a beta is not in [0, 1).
      DTypeError: at the step, for a parameter that is not real.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}, others)

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        return zeros(cell, "exp_avg")

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        beta1, beta2 = group.value("betas")
        self._keep(state, "step", state["step"] + 1.0)
        first = Tensor(state["exp_avg"]._value)
        self._keep_moment(state, "exp_avg", like(beta2, value) * first + like(1 - beta2, value) * grad)
        value, _ = self._decayed(value, grad, group, decoupled=True)
        updated: Tensor = value - group.cell("lr").astype(value.dtype) * sign(
            like(beta1, value) * first + like(1 - beta1, value) * grad
        )
        return updated


class LAMB(Moments):
    """Adam whose step of each parameter is as long as the parameter (You et al., 2020, algorithm 2).

    `p -= lr * |p| / |u| * u` with Adam's `u = m / (sqrt(v) + eps) + weight_decay * p`; the factor is 1 where a norm is 0.
    Keeps two arrays per parameter.

    Raises:
      ArgumentError: a setting is negative, or a beta is not in [0, 1).
      DTypeError: at the step, for a parameter that is not real.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, others)

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        beta1, beta2 = group.value("betas")
        step = self._keep(state, "step", state["step"] + 1.0)
        first, second = self._first(grad, state, beta1), self._second(grad, state, beta2)
        grow = (1.0 / (1.0 - beta1**step)).astype(value.dtype)
        update = first * grow / self._divisor(second, step, beta2, group)
        update = update + like(group.value("weight_decay"), value) * value
        own, other = _norm(value), _norm(update)
        both = (own > 0) & (other > 0)
        trust = where(both, own / where(both, other, 1.0), 1.0)
        updated: Tensor = value - group.cell("lr").astype(value.dtype) * trust * update
        return updated


class Muon(Optimizer):
    """Momentum whose step is made orthogonal by Newton-Schulz iterations (Jordan et al., 2024); for matrices.

    The iterations are in the parameter's own dtype (PyTorch's are in bfloat16). `adjust_lr_fn`: "original" multiplies the
    rate by `sqrt(max(1, rows / columns))`, "match_rms_adamw" by `0.2 * sqrt(max(rows, columns))`. Keeps one array per
    parameter; a step takes `ns_steps` times three products of matrices.

    Raises:
      ArgumentError: a setting is out of range.
      ShapeError: a parameter is not a matrix.
      DTypeError: at the step, for a parameter that is not real.
    """

    not_negative = (*Optimizer.not_negative, "momentum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        maximize: bool = False,
        **others: Any,
    ) -> None:
        settings = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, settings, others)

    @classmethod
    def _check(cls, group: Mapping[str, Any]) -> None:
        super()._check(group)
        if not 0 <= group["ns_steps"] < 100:
            raise ArgumentError(f"Muon: ns_steps must be in [0, 100), got {group['ns_steps']}")
        if len(group["ns_coefficients"]) != 3:
            raise ArgumentError(f"Muon: ns_coefficients must be three numbers, got {len(group['ns_coefficients'])}")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ArgumentError(
                f"Muon: adjust_lr_fn must be 'original' or 'match_rms_adamw', got {group['adjust_lr_fn']!r}"
            )
        for cell in group["params"]:
            if cell.ndim != 2:
                raise ShapeError(f"Muon: expected matrices, got a parameter {list(cell.shape)}")

    def _initial(self, cell: Tensor, group: Group) -> dict[str, Tensor]:
        return {"momentum_buffer": Tensor(np.zeros(cell.shape, cell.dtype))}

    def _update(self, value: Tensor, grad: Tensor, state: dict[str, Tensor], group: Group) -> Tensor:
        self._refuse_complex(value)
        momentum = group.value("momentum")
        momentum, rest = like(momentum, value), like(1 - momentum, value)
        buf = Tensor(state["momentum_buffer"]._value)
        buf = self._keep_moment(state, "momentum_buffer", buf + rest * (grad - buf))
        update = grad + momentum * (buf - grad) if group["nesterov"] else buf
        rows, columns = value.shape
        x = update.T if rows > columns else update
        x = x / maximum(_norm(x), like(group.value("eps"), value))
        a, b, c = group["ns_coefficients"]
        for _ in range(group["ns_steps"]):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        x = x.T if rows > columns else x
        if group["adjust_lr_fn"] == "match_rms_adamw":
            factor = 0.2 * max(rows, columns) ** 0.5
        else:
            factor = max(1.0, rows / max(columns, 1)) ** 0.5
        value, _ = self._decayed(value, grad, group, decoupled=True)
        updated: Tensor = value - (group.cell("lr") * factor).astype(value.dtype) * x
        return updated
