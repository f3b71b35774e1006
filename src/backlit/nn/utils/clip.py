"""Gradients clipped by their norm and by value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.source import here
from backlit.core.tensor import Tensor, no_grad
from backlit.ops.elementwise import maximum, minimum, sqrt
from backlit.ops.shape import stack
from backlit.ops.statistics import max as largest
from backlit.ops.statistics import sum as total


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    cells = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [(cell, gradient) for cell in cells if (gradient := cell.grad) is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales all gradients by one factor so that their common norm is at most `max_norm`; gives the norm before.

    The factor is `min(1, max_norm / (norm + 1e-6))`, as in PyTorch. Compiles, but for `error_if_nonfinite`.

    Raises:
      ArgumentError: `norm_type` is not above 0, or the norm is infinite or NaN and `error_if_nonfinite`.
    """
    pairs = _gradients(parameters)
    norm = _norm("clip_grad_norm_", [gradient for _, gradient in pairs], norm_type, error_if_nonfinite)
    _scale(pairs, max_norm, norm)
    return norm


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of all elements of some tensors together; 0 where there are none.

    Raises:
      ArgumentError: `norm_type` is not above 0, or the norm is infinite or NaN and `error_if_nonfinite`.
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _norm("get_total_norm", given, norm_type, error_if_nonfinite)


def _norm(who: str, given: list[Tensor], norm_type: float, error_if_nonfinite: bool) -> Tensor:
    if not norm_type > 0:
        raise ArgumentError(f"{who}: norm_type must be above 0, got {norm_type}{here()}")
    if not given:
        return Tensor(np.float64(0.0))
    with no_grad():
        sizes = [abs(x) for x in given]
        if math.isinf(norm_type):
            norm = largest(stack([largest(size) for size in sizes if size.size]))
        elif norm_type == 2:
            norm = sqrt(total(stack([total(size * size) for size in sizes])))
        else:
            norm = total(stack([total(size**norm_type) for size in sizes])) ** (1.0 / norm_type)
        if error_if_nonfinite and not math.isfinite(norm.item()):
            raise ArgumentError(f"{who}: the norm of the gradients is {norm.item()}{here()}")
    return norm


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor) -> None:
    """Scales all gradients by `min(1, max_norm / (total_norm + 1e-6))`."""
    _scale(_gradients(parameters), max_norm, total_norm)


def _scale(pairs: list[tuple[Tensor, Tensor]], max_norm: float, norm: Tensor) -> None:
    with no_grad():
        factor = minimum(max_norm / (norm + 1e-6), 1.0)
        for cell, gradient in pairs:
            cell.grad = gradient * factor.astype(gradient.dtype)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clips every element of the gradients to `[-clip_value, clip_value]`.

    Raises:
      ArgumentError: `clip_value` is below 0.
    """
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value must be at least 0, got {clip_value}{here()}")
    with no_grad():
        for cell, gradient in _gradients(parameters):
            cell.grad = minimum(maximum(gradient, -clip_value), clip_value)
