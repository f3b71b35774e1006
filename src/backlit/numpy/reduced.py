"""Reductions of which NumPy's arguments are others than backlit's."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.tensor import Tensor
from backlit.numpy.views import lift
from backlit.ops import estimates, linear, shape, sorting, statistics

Axis = int | tuple[int, ...] | None


def average(
    x: Tensor, *, axis: Axis = None, weights: Any = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """The mean, weighted by `weights`; with the sum of the weights when `returned`."""
    weights = None if weights is None else lift(weights)
    mean = estimates.average(x, axis=axis, weights=weights, keepdims=keepdims)
    if not returned:
        return mean
    if weights is None:
        return mean, Tensor(np.full(mean.shape, x.size / max(mean.size, 1), mean.dtype))
    if weights.shape != x.shape:
        axes = linear.normalize_axes("average", axis, x.ndim)
        weights = shape.reshape(weights, [n if i in axes else 1 for i, n in enumerate(x.shape)])
    return mean, statistics.sum(shape.broadcast_to(weights, x.shape), axis=axis, keepdims=keepdims)


def cov(
    x: Tensor, *, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None, **weights: Any
) -> Tensor:
    """The covariance matrix of variables in rows (in columns where `rowvar` is False)."""
    correction = int(not bias) if ddof is None else ddof
    return estimates.cov(x, None if y is None else lift(y), rowvar=rowvar, correction=correction, **weights)


def corrcoef(x: Tensor, *, y: Any = None, rowvar: bool = True) -> Tensor:
    """The correlation matrix of variables in rows (in columns where `rowvar` is False)."""
    return estimates.corrcoef(x, None if y is None else lift(y), rowvar=rowvar)


def trapezoid(y: Tensor, *, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral by trapezoids along `axis`."""
    return estimates.trapezoid(y, None if x is None else lift(x), dx=dx, axis=axis)


def histogram(a: Any, bins: Any = 10, range: Any = None, density: bool = False, weights: Any = None) -> Any:
    """How many elements lie in each of the bins, whose edges come second; the gradient goes to the weights."""
    from_weights = None if weights is None else lift(weights)
    counted = sorting.histogram(lift(a), bins=bins, range=range, density=density, weights=from_weights)
    return counted[0], counted[1]
