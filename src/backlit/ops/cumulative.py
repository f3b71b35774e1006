"""Running totals and differences along an axis, under the array API's and PyTorch's names; methods of Tensor."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import linear, order, scan
from backlit.ops.elementwise import not_equal
from backlit.ops.picking import take_along_axis
from backlit.ops.shape import concat


class Extremes(NamedTuple):
    """Elements and the places along an axis from which they are."""

    values: Tensor
    indices: Tensor


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Sums of the elements up to each place along `axis`, which may be left out where there is one axis only.

    With `include_initial` a 0 comes first, and the axis is one longer. Dtypes as for `sum`. The gradient is the same sum of
    the upstream gradient, from the end on; nothing is kept.

    Raises:
      ShapeError: `x` has no axis, or several and none is named.
    """
    return _total("cumulative_sum", scan.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Products of the elements up to each place along `axis`, which may be left out where there is one axis only.

    With `include_initial` a 1 comes first, and the axis is one longer. Dtypes as for `prod`. The gradient does not divide:
    it is exact with zeros, to any order.

    Raises:
      ShapeError: `x` has no axis, or several and none is named.
    """
    return _total("cumulative_prod", scan.cumprod, 1, x, axis, dtype, include_initial)


def cumulative_logsumexp(x: Any, /, *, axis: int | None = None, include_initial: bool = False) -> Tensor:
    """log(sum(exp(x))) of the elements up to each place along `axis`, which may be left out where there is one axis only.

    With `include_initial` -inf comes first, and the axis is one longer. Nothing overflows, also not in the gradient.

    Raises:
      ShapeError: `x` has no axis, or several and none is named.
    """
    return _total(
        "cumulative_logsumexp", scan.cumulative_logsumexp, -np.inf, x, axis, None, include_initial
    )  # fmt: skip


def _total(name: str, op: Any, first: float, x: Any, axis: int | None, dtype: Any, include_initial: bool) -> Tensor:
    x = as_tensor(x)
    if not x.ndim or (axis is None and x.ndim > 1):
        raise ShapeError(f"{name}: expected an array with one axis, or axis=; got {shown(x)}{here()}")
    (at,) = linear.normalize_axes(name, 0 if axis is None else axis, x.ndim)
    out = _run(op, x, at, dtype)
    if not include_initial:
        return out
    shape = tuple(1 if a == at else n for a, n in enumerate(x.shape))
    return concat([np.full(shape, first, out.dtype), out], axis=at)


def _run(op: Any, x: Tensor, axis: int, dtype: Any) -> Tensor:
    if dtype is None:
        return op(x, axis=axis)  # type: ignore[no-any-return]
    dtype = np.dtype(dtype)
    out = op(x if x.dtype == dtype else linear.astype(x, dtype=dtype), axis=axis)
    return out if out.dtype == dtype else linear.astype(out, dtype=dtype)


def _flattened(x: Any, axis: int | None) -> tuple[Tensor, int]:
    x = as_tensor(x)
    return (linear.reshape(x, shape=(x.size,)), 0) if axis is None else (x, axis)


def cumsum(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Sums of the elements up to each place along `axis`, of the flattened array when None; see `cumulative_sum`."""
    return _run(scan.cumsum, *_flattened(x, axis), dtype)


def cumprod(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Tensor:
    """Products of the elements up to each place along `axis`, of the flattened array when None; see `cumulative_prod`."""
    return _run(scan.cumprod, *_flattened(x, axis), dtype)


def logcumsumexp(x: Any, /, axis: int) -> Tensor:
    """log(sum(exp(x))) of the elements up to each place along `axis`; PyTorch's name for `cumulative_logsumexp`."""
    return scan.cumulative_logsumexp(x, axis=axis)


def cummax(x: Any, /, axis: int) -> Extremes:
    """The largest elements up to each place along `axis`, and where they stand; NaN from the first NaN on.

    Of equal ones the first is taken, and gets the gradient; what is not the largest yet is structurally zero.
    """
    return _picked(x, axis, order.cumargmax)


def cummin(x: Any, /, axis: int) -> Extremes:
    """The smallest elements up to each place along `axis`, and where they stand; NaN from the first NaN on.

    Of equal ones the first is taken, and gets the gradient; what is not the smallest yet is structurally zero.
    """
    return _picked(x, axis, order.cumargmin)


def _picked(x: Any, axis: int, op: Any) -> Extremes:
    x = as_tensor(x)
    places = op(x, axis=axis)
    return Extremes(take_along_axis(x, places, axis=axis), places)


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """Each element along `axis` less the one before it, `n` times over; booleans are compared instead.

    `prepend` and `append` are put before and behind `x` first; a number stands for one element everywhere.

    Raises:
      ArgumentError: `n` is negative.
      ShapeError: `x` has no axis, or what is put beside it does not fit.
    """
    x = as_tensor(x)
    if n < 0:
        raise ArgumentError(f"diff: n must not be negative, got {n}{here()}")
    if not x.ndim:
        raise ShapeError(f"diff: expected at least one axis, got {shown(x)}{here()}")
    (at,) = linear.normalize_axes("diff", axis, x.ndim)
    parts = [_beside(prepend, x, at), x, _beside(append, x, at)]
    joined = [p for p in parts if p is not None]
    x = concat(joined, axis=at) if len(joined) > 1 else x
    before = (slice(None),) * at
    for _ in range(n):
        later, earlier = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = not_equal(later, earlier) if x.dtype == bool else later - earlier
    return as_tensor(x)


def _beside(part: Any, x: Tensor, axis: int) -> Tensor | None:
    if part is None:
        return None
    part = as_tensor(np.asarray(part, x.dtype) if isinstance(part, (int, float)) else part)
    shape = tuple(1 if a == axis else n for a, n in enumerate(x.shape))
    return part if part.ndim else linear.broadcast_to(part, shape=shape)
