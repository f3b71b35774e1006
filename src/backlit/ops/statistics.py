"""Reductions with the array API's signatures, composed where they can be; methods of Tensor."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from backlit.core.dtypes import accumulator, is_float, real_dtype
from backlit.core.record import scope
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import linear, norm, product, reduce
from backlit.ops.complex import conj, real
from backlit.ops.elementwise import not_equal

Axis = int | tuple[int, ...] | None


def sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis`, over all axes when None; in `dtype` if it is given.

    Integers and booleans give the default integer, floats their own dtype; float16 and bfloat16 add up in float32. Its
    gradient is the upstream gradient, repeated; nothing is kept.
    """
    return _in(linear.sum, x, dtype, axis, keepdims)


def prod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product over `axis`, over all axes when None; in `dtype` if it is given; 1 over no elements.

    Dtypes as for `sum`. The derivative in an element is the product of the others, computed without dividing: exact with
    zeros, to any order.
    """
    return _in(product.prod, x, dtype, axis, keepdims)


def _in(op: Any, x: Any, dtype: Any, axis: Axis, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if dtype is None:
        return op(x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
    dtype = np.dtype(dtype)
    out = op(x if x.dtype == dtype else linear.astype(x, dtype=dtype), axis=axis, keepdims=keepdims)
    return out if out.dtype == dtype else linear.astype(out, dtype=dtype)


def _count(name: str, x: Tensor, axis: Axis) -> int:
    return math.prod(x.shape[a] for a in linear.normalize_axes(name, axis, x.ndim))


def in_wide(x: Any) -> tuple[Tensor, Any]:
    """`x` in a float dtype whose sums neither overflow nor stand still, and the dtype of the result."""
    x = as_tensor(x)
    dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
    wide = accumulator(dtype)
    return x if x.dtype == wide else linear.astype(x, dtype=wide), dtype


def back(x: Tensor, dtype: Any) -> Tensor:
    return x if x.dtype == dtype else linear.astype(x, dtype=dtype)


@scope
def mean(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over `axis`, over all axes when None; integers give floats, no elements give NaN."""
    wide, given = in_wide(x if dtype is None else linear.astype(x, dtype=dtype))
    n = _count("mean", wide, axis)
    total = linear.sum(wide, axis=axis, keepdims=keepdims)
    return back(total / n if n else total * float("nan"), given)


def _centred(name: str, x: Tensor, axis: Axis, correction: float) -> tuple[Tensor, float]:
    """`x` less its mean, and what its squares are divided by."""
    left = builtins.max(_count(name, x, axis) - correction, 0)
    return x - mean(x, axis=axis, keepdims=True), left


@scope
def var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance over `axis`: squares of distances from the mean, added up and divided by `n - correction`.

    With `n <= correction` it is divided by 0, as in NumPy. Two passes over `x`.
    """
    wide, dtype = in_wide(x)
    centred, left = _centred("var", wide, axis, correction)
    squares = centred * centred if dtype.kind != "c" else real(centred * conj(centred))
    total = linear.sum(squares, axis=axis, keepdims=keepdims)
    return back(total / left, real_dtype(dtype))


@scope
def std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation over `axis`, the root of `var`; its derivative where it is 0 is 0, as for a norm."""
    wide, dtype = in_wide(x)
    centred, left = _centred("std", wide, axis, correction)
    return back(norm.norm(centred, p=2.0, axis=axis, keepdims=keepdims) / math.sqrt(left), real_dtype(dtype))


def max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`; NaN where there is one. Equal ones share the gradient equally.

    Raises:
      ShapeError: there are no elements.
    """
    return reduce.max(x, axis=axis, keepdims=keepdims)


def min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; NaN where there is one. Equal ones share the gradient equally.

    Raises:
      ShapeError: there are no elements.
    """
    return reduce.min(x, axis=axis, keepdims=keepdims)


def any(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some element over `axis` is nonzero, as NaN is; false over no elements."""
    return reduce.any(x, axis=axis, keepdims=keepdims)


def all(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether every element over `axis` is nonzero, as NaN is; true over no elements."""
    return reduce.all(x, axis=axis, keepdims=keepdims)


def count_nonzero(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements over `axis` are nonzero, as the default integer."""
    x = as_tensor(x)
    return linear.sum(x if x.dtype == bool else not_equal(x, 0), axis=axis, keepdims=keepdims)


def logsumexp(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow; -inf over no elements. Its gradient is a softmax."""
    return reduce.logsumexp(x, axis=axis, keepdims=keepdims)


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the first largest element along `axis`, in the flattened array when None; of the first NaN if any.

    Raises:
      ShapeError: there are no elements.
    """
    return reduce.argmax(x, axis=axis, keepdims=keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the first smallest element along `axis`, in the flattened array when None; of the first NaN if any.

    Raises:
      ShapeError: there are no elements.
    """
    return reduce.argmin(x, axis=axis, keepdims=keepdims)
