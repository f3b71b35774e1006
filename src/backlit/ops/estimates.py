"""Statistics under NumPy's names: ranges, weighted means, percentiles, covariances, integrals by trapezoids, bins."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import linear, quantiles, reduce, sorting, statistics
from backlit.ops.complex import conj, real
from backlit.ops.elementwise import maximum, minimum, sqrt
from backlit.ops.products import outer
from backlit.ops.shape import concat, expand_dims, matrix_transpose
from backlit.ops.statistics import Axis


def ptp(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """From the smallest to the largest element over `axis`: their difference.

    Raises:
      ShapeError: there are no elements.
    """
    x = as_tensor(x)
    high, low = (op(x, axis=axis, keepdims=keepdims) for op in (reduce.max, reduce.min))
    return high - low


@scope
def average(x: Any, /, *, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` with `weights` shaped like `x`, or like its one axis `axis`; the plain mean without.

    Raises:
      ShapeError: the weights fit neither way.
    """
    x = as_tensor(x)
    if weights is None:
        return statistics.mean(x, axis=axis, keepdims=keepdims)
    weights = as_tensor(weights)
    axes = linear.normalize_axes("average", axis, x.ndim)
    if weights.shape != x.shape:
        if weights.ndim != 1 or len(axes) != 1 or weights.shape[0] != x.shape[axes[0]]:
            raise ShapeError(f"average: weights {shown(weights)} fit neither {shown(x)} nor its axis {axis}{here()}")
        weights = linear.reshape(weights, shape=tuple(n if a == axes[0] else 1 for a, n in enumerate(x.shape)))
        weights = linear.broadcast_to(weights, shape=x.shape)
    total = linear.sum(x * weights, axis=axis, keepdims=keepdims)
    return total / linear.sum(weights, axis=axis, keepdims=keepdims)


def percentile(x: Any, q: Any, /, *, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """`quantile` with `q` in percent."""
    return quantiles.quantile(x, _percent(q), axis=axis, keepdims=keepdims, method=method)


def nanpercentile(x: Any, q: Any, /, *, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """`nanquantile` with `q` in percent."""
    return quantiles.nanquantile(x, _percent(q), axis=axis, keepdims=keepdims, method=method)


def _percent(q: Any) -> Any:
    return q / 100.0 if isinstance(q, Tensor) else np.asarray(q, np.float64) / 100.0


@scope
def cov(
    x: Any,
    y: Any = None,
    /,
    *,
    rowvar: bool = True,
    correction: float = 1.0,
    fweights: Any = None,
    aweights: Any = None,
) -> Tensor:
    """Covariance matrix of variables, which are the rows of `x` (the columns if not `rowvar`) and of `y` below them.

    Divided by n - `correction`. `fweights` say how often each observation counts, `aweights` how much: then n is the sum of
    the weights, and the correction is that of reliability weights. 0-d for one variable.

    Raises:
      ShapeError: more than two axes.
    """
    x = _variables(x, rowvar)
    if y is not None:
        x = concat([x, _variables(y, rowvar)], axis=0)
    n, weights = float(x.shape[1]), None
    left: Any
    if fweights is not None:
        weights = linear.astype(fweights, dtype=x.dtype)
    if aweights is not None:
        reliable = linear.astype(aweights, dtype=x.dtype)
        weights = reliable if weights is None else weights * reliable
    if weights is None:
        centred = x - statistics.mean(x, axis=1, keepdims=True)
        scaled, left = centred, n - correction
    else:
        total = linear.sum(weights)
        centred = x - expand_dims(linear.sum(x * weights, axis=1) / total, axis=1)
        scaled = centred * weights
        left = total - correction * (linear.sum(weights * reliable) / total if aweights is not None else 1.0)
    product = scaled @ conj(matrix_transpose(centred))
    out = product / (maximum(left, 0.0) if isinstance(left, Tensor) else max(left, 0.0))
    return linear.reshape(out, shape=()) if out.size == 1 else out


def _variables(x: Any, rowvar: bool) -> Tensor:
    x = as_tensor(x)
    if x.ndim > 2:
        raise ShapeError(f"cov: expected variables of observations, two axes at most, got {shown(x)}{here()}")
    x = x if is_float(x.dtype) else linear.astype(x, dtype=np.float64)
    if x.ndim < 2:
        return linear.reshape(x, shape=(1, x.size))
    return x if rowvar else matrix_transpose(x)


@scope
def corrcoef(x: Any, y: Any = None, /, *, rowvar: bool = True) -> Tensor:
    """Correlation coefficients of variables, which are the rows of `x` (the columns if not `rowvar`) and of `y` below them."""
    c = cov(x, y, rowvar=rowvar)
    if not c.ndim:
        return c / c
    spread = sqrt(real(c[np.arange(len(c)), np.arange(len(c))]))
    r = c / outer(spread, spread)
    return r if r.dtype.kind == "c" else minimum(maximum(r, -1.0), 1.0)


@scope
def trapezoid(y: Any, x: Any = None, /, *, dx: float = 1.0, axis: int = -1) -> Tensor:
    """Integral of `y` along `axis` by trapezoids between the places `x`, or places `dx` apart."""
    y = as_tensor(y)
    (at,) = linear.normalize_axes("trapezoid", axis, y.ndim)
    before = (slice(None),) * at
    middle = (y[(*before, slice(1, None))] + y[(*before, slice(None, -1))]) / 2.0
    if x is None:
        return statistics.sum(middle * dx, axis=at)
    x = as_tensor(x)
    if x.ndim == 1:
        gaps = x[1:] - x[:-1]
        gaps = linear.reshape(gaps, shape=tuple(gaps.size if a == at else 1 for a in range(y.ndim)))
    else:
        cut = (slice(None),) * (at - y.ndim + x.ndim)
        gaps = x[(*cut, slice(1, None))] - x[(*cut, slice(None, -1))]
    return statistics.sum(middle * gaps, axis=at)


def digitize(x: Any, bins: Any, /, *, right: bool = False) -> Tensor:
    """In which bin each element is: the number of edges in the monotonic `bins` that are not above it (below it if `right`).

    Raises:
      ArgumentError: the edges neither rise nor fall.
    """
    x, bins = as_tensor(x), as_tensor(bins)
    edges = np.asarray(bins._concrete())
    if np.all(edges[1:] >= edges[:-1]):
        return sorting.searchsorted(bins, x, side="left" if right else "right")
    if not np.all(edges[1:] <= edges[:-1]):
        raise ArgumentError(f"digitize: the edges must rise or fall, got {edges.tolist()}{here()}")
    return bins.size - sorting.searchsorted(bins[::-1], x, side="left" if right else "right")  # type: ignore[no-any-return]


def unique(x: Any, /, *, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The different elements of `x` in rising order, NaN once; with places, inverse and counts as asked for.

    Raises:
      TraceError: inside `vmap` or `compile`, where how many there are is not known.
    """
    x = as_tensor(x)
    array = np.asarray(x._concrete())
    _, first, inverse, counts = np.unique(array, return_index=True, return_inverse=True, return_counts=True)
    values = linear.reshape(x, shape=(x.size,))[first]
    asked = ((return_index, first), (return_inverse, inverse), (return_counts, counts))
    extra = [Tensor(part) for wanted, part in asked if wanted]
    return (values, *extra) if extra else values


def union1d(x1: Any, x2: Any, /) -> Tensor:
    """The different elements of both, in rising order."""
    return unique(concat([x1, x2], axis=None))  # type: ignore[no-any-return]


def intersect1d(x1: Any, x2: Any, /) -> Tensor:
    """The different elements of `x1` that are in `x2` too, in rising order."""
    found = unique(x1)
    return found[sorting.isin(found, x2)]  # type: ignore[no-any-return]


def setdiff1d(x1: Any, x2: Any, /) -> Tensor:
    """The different elements of `x1` that are not in `x2`, in rising order."""
    found = unique(x1)
    return found[sorting.isin(found, x2, invert=True)]  # type: ignore[no-any-return]


def setxor1d(x1: Any, x2: Any, /) -> Tensor:
    """The different elements that are in one of both alone, in rising order."""
    return sorting.sort(concat([setdiff1d(x1, x2), setdiff1d(x2, x1)]))


def flatnonzero(x: Any, /) -> Tensor:
    """The places of the nonzero elements in the flattened array."""
    x = as_tensor(x)
    return sorting.nonzero(linear.reshape(x, shape=(x.size,)))[0]


def argwhere(x: Any, /) -> Tensor:
    """The places of the nonzero elements, one row of indices for each."""
    return Tensor(np.argwhere(np.asarray(as_tensor(x)._concrete())))
