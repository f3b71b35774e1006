"""Reductions that leave out what is NaN, under NumPy's names; an element left out is structurally zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.ops import cumulative, elementwise, linear, norm, reduce, statistics
from backlit.ops.rounding import isnan
from backlit.ops.statistics import Axis


def _filled(x: Any, by: float) -> tuple[Tensor, Tensor | None]:
    """`x` with a number instead of NaN, and where there is none; None where the dtype has none."""
    x = as_tensor(x)
    if not is_float(x.dtype):
        return x, None
    there = elementwise.logical_not(isnan(x))
    return elementwise.where(there, x, by), there


def nansum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis` of the elements that are not NaN; 0 where all are."""
    return statistics.sum(_filled(x, 0.0)[0], axis=axis, dtype=dtype, keepdims=keepdims)


def nanprod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product over `axis` of the elements that are not NaN; 1 where all are."""
    return statistics.prod(_filled(x, 1.0)[0], axis=axis, dtype=dtype, keepdims=keepdims)


@scope
def nanmean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over `axis` of the elements that are not NaN; NaN where all are."""
    wide, dtype = statistics.in_wide(x)
    kept, there = _filled(wide, 0.0)
    total = linear.sum(kept, axis=axis, keepdims=keepdims)
    return statistics.back(total / linear.sum(there, axis=axis, keepdims=keepdims), dtype)


def _spread_out(x: Any, axis: Axis, correction: float, keepdims: bool) -> tuple[Tensor, Tensor, Any]:
    """Distances from the mean, 0 instead of NaN, what their squares are divided by, and the dtype of the result."""
    wide, dtype = statistics.in_wide(x)
    there = elementwise.logical_not(isnan(wide))
    centred = elementwise.where(there, wide - nanmean(wide, axis=axis, keepdims=True), 0.0)
    left = linear.sum(there, axis=axis, keepdims=keepdims) - correction
    return centred, elementwise.where(left > 0, linear.astype(left, dtype=wide.dtype), float("nan")), dtype


@scope
def nanvar(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance over `axis` of the n elements that are not NaN, divided by `n - correction`; NaN where that is not positive."""
    centred, left, dtype = _spread_out(x, axis, correction, keepdims)
    return statistics.back(linear.sum(centred * centred, axis=axis, keepdims=keepdims) / left, dtype)


@scope
def nanstd(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation over `axis` of the elements that are not NaN, the root of `nanvar`; its slope where it is 0 is 0."""
    centred, left, dtype = _spread_out(x, axis, correction, keepdims)
    total = norm.norm(centred, p=2.0, axis=axis, keepdims=keepdims)
    return statistics.back(total / elementwise.sqrt(left), dtype)


def _extreme(op: Any, worst: float, x: Any, axis: Axis, keepdims: bool) -> Tensor:
    kept, there = _filled(x, worst)
    out = op(kept, axis=axis, keepdims=keepdims)
    if there is None:
        return out  # type: ignore[no-any-return]
    return elementwise.where(reduce.any(there, axis=axis, keepdims=keepdims), out, float("nan"))


def nanmax(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis` that is not NaN; NaN where all are. Equal ones share the gradient equally.

    Raises:
      ShapeError: there are no elements.
    """
    return _extreme(reduce.max, -np.inf, x, axis, keepdims)


def nanmin(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis` that is not NaN; NaN where all are. Equal ones share the gradient equally.

    Raises:
      ShapeError: there are no elements.
    """
    return _extreme(reduce.min, np.inf, x, axis, keepdims)


def _place(op: Any, name: str, worst: float, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    kept, there = _filled(x, worst)
    if there is not None and not isinstance(there._value, Box) and not np.all(np.any(np.asarray(there._value), axis)):
        raise ArgumentError(f"{name}: all elements of a slice are NaN{here()}")
    return op(kept, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


def nanargmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the first largest element along `axis` that is not NaN, in the flattened array when None.

    Raises:
      ShapeError: there are no elements.
      ArgumentError: all are NaN; inside `vmap` and `compile`, where that is not known, the place is 0.
    """
    return _place(reduce.argmax, "nanargmax", -np.inf, x, axis, keepdims)


def nanargmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the first smallest element along `axis` that is not NaN, in the flattened array when None.

    Raises:
      ShapeError: there are no elements.
      ArgumentError: all are NaN; inside `vmap` and `compile`, where that is not known, the place is 0.
    """
    return _place(reduce.argmin, "nanargmin", np.inf, x, axis, keepdims)


def nancumsum(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Sums up to each place along `axis` of the elements that are not NaN, of the flattened array when None."""
    return cumulative.cumsum(_filled(x, 0.0)[0], axis, dtype=dtype)


def nancumprod(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Products up to each place along `axis` of the elements that are not NaN, of the flattened array when None."""
    return cumulative.cumprod(_filled(x, 1.0)[0], axis, dtype=dtype)
