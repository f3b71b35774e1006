"""Medians and quantiles: between which sorted elements, and how far; methods of Tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.aval import reduced_shape
from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.ops import linear
from backlit.ops.elementwise import equal, floor, logical_and, maximum, where
from backlit.ops.picking import take_along_axis
from backlit.ops.rounding import ceil, isfinite, isinf, isnan
from backlit.ops.rounding import round as rounded
from backlit.ops.sorting import sort

Axis = int | tuple[int, ...] | None
_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


@scope
def quantile(x: Any, q: Any, /, *, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """The number below which a share `q` of the elements over `axis` lies; the axes of `q` come first in the result.

    Where q (n - 1) falls between two of n sorted elements, `method` says what is taken: "linear" goes from one to the other
    in proportion, "lower", "higher", "midpoint" and "nearest" (halves to the even place) as they are called. NaN where there
    is one. The gradient goes to the elements that are taken, with "linear" to `q` too. Costs a sort.

    Raises:
      ArgumentError: `q` is not between 0 and 1, or the method is another.
      ShapeError: there are no elements.
    """
    return _quantile("quantile", x, q, axis, keepdims, method, skip=False)


@scope
def nanquantile(x: Any, q: Any, /, *, axis: Axis = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """`quantile` of the elements that are not NaN; NaN where all are.

    Raises:
      ArgumentError: `q` is not between 0 and 1, or the method is another.
      ShapeError: there are no elements.
    """
    return _quantile("nanquantile", x, q, axis, keepdims, method, skip=True)


@scope
def median(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle one of the sorted elements over `axis`, the mean of the two in the middle where their number is even.

    NaN where there is one. The gradient goes to the one element or in halves to both. Costs a sort.

    Raises:
      ShapeError: there are no elements.
    """
    return _quantile("median", x, 0.5, axis, keepdims, "midpoint", skip=False)


@scope
def nanmedian(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """`median` of the elements that are not NaN; NaN where all are.

    Raises:
      ShapeError: there are no elements.
    """
    return _quantile("nanmedian", x, 0.5, axis, keepdims, "midpoint", skip=True)


def _quantile(name: str, x: Any, q: Any, axis: Axis, keepdims: bool, method: str, skip: bool) -> Tensor:
    if method not in _METHODS:
        raise ArgumentError(f"{name}: method must be one of {', '.join(_METHODS)}, got {method!r}{here()}")
    x = as_tensor(x)
    x = x if is_float(x.dtype) else linear.astype(x, dtype=np.float64)
    axes = linear.normalize_axes(name, axis, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    n = math.prod(x.shape[a] for a in axes)
    if not n:
        raise ShapeError(f"{name}: no elements along axis {list(axes)} of {shown(x)}{here()}")
    share = _share(name, q)
    rows = linear.reshape(linear.permute_dims(x, axes=(*kept, *axes)), shape=(*(x.shape[a] for a in kept), n))
    rising = sort(rows)
    last: Any = n - 1
    if skip:
        last = maximum(n - 1.0 - linear.sum(isnan(rising), axis=-1, keepdims=True), 0.0)
    at = linear.reshape(share, shape=(*(1,) * len(kept), share.size)) * last
    at = linear.broadcast_to(at, shape=(*rising.shape[:-1], share.size))
    found = _taken(rising, at, method)
    if not skip:
        found = where(linear.broadcast_to(isnan(rising[..., -1:]), shape=found.shape), float("nan"), found)
    order = (len(kept), *range(len(kept)))
    shape = reduced_shape(x.shape, axes, keepdims)
    return linear.reshape(linear.permute_dims(found, axes=order), shape=(*share.shape, *shape))


def _share(name: str, q: Any) -> Tensor:
    share = linear.astype(q if isinstance(q, Tensor) else np.asarray(q, np.float64), dtype=np.float64)
    if not isinstance(share._value, Box) and not np.all((share._value >= 0) & (share._value <= 1)):
        raise ArgumentError(f"{name}: q must be between 0 and 1, got {np.asarray(share._value).tolist()}{here()}")
    return share


def _taken(rising: Tensor, at: Tensor, method: str) -> Tensor:
    """The elements at places between which `at` may lie."""
    if method == "nearest":
        return _picked(rising, rounded(at))
    if method == "lower":
        return _picked(rising, floor(at))
    if method == "higher":
        return _picked(rising, ceil(at))
    low, high = _picked(rising, floor(at)), _picked(rising, ceil(at))
    if method == "midpoint":
        return where(equal(floor(at), at), low, 0.5 * low + 0.5 * high)
    part = linear.astype(at - floor(at), dtype=rising.dtype)
    # equal infinities have no distance
    step = where(logical_and(isinf(low), equal(low, high)), 0.0, high - low)
    down = high - step * (1.0 - part)  # as NumPy, which goes from the nearer one
    return where(logical_and(part >= 0.5, isfinite(step)), down, low + where(equal(part, 0.0), 0.0, step * part))


def _picked(rising: Tensor, place: Tensor) -> Tensor:
    return take_along_axis(rising, linear.astype(place, dtype=np.intp), axis=-1)
