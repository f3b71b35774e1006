"""Array functions composed of primitives, with the array API's signatures; shape and reduction methods of Tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import (
    complex,
    contract,
    elementwise,
    error_functions,
    exponential,
    gamma,
    linear,
    reduce,
    rounding,
    special,
    trigonometry,
)

Axis = int | tuple[int, ...] | None


def sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis`; over all axes when None."""
    x = as_tensor(x) if dtype is None else linear.astype(x, dtype=dtype)
    return linear.sum(x, axis=axis, keepdims=keepdims)


@scope
def mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over `axis`; integers give floats, no elements give NaN."""
    x = as_tensor(x)
    n = math.prod(x.shape[a] for a in linear.normalize_axes("mean", axis, x.ndim))
    total = sum(x, axis=axis, keepdims=keepdims)
    return total / n if n else total * float("nan")


@scope
def var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Variance over `axis`, dividing by `n - correction`."""
    x = as_tensor(x)
    n = math.prod(x.shape[a] for a in linear.normalize_axes("var", axis, x.ndim))
    centred = x - mean(x, axis=axis, keepdims=True)
    total = sum(centred * centred, axis=axis, keepdims=keepdims)
    return total * (1.0 / (n - correction)) if n != correction else total * float("nan")


@scope
def std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Standard deviation over `axis`; its derivative where it is 0 is NaN."""
    return elementwise.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`; ties share the gradient equally."""
    return reduce.max(x, axis=axis, keepdims=keepdims)


def min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; ties share the gradient equally."""
    return reduce.min(x, axis=axis, keepdims=keepdims)


def logsumexp(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow."""
    return reduce.logsumexp(x, axis=axis, keepdims=keepdims)


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Position of the first largest element."""
    return reduce.argmax(x, axis=axis, keepdims=keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Position of the first smallest element."""
    return reduce.argmin(x, axis=axis, keepdims=keepdims)


def matmul(x: Any, y: Any, /) -> Tensor:
    """Matrix product `[..., m, k] @ [..., k, n]`; leading axes broadcast, a vector is a row or a column.

    Raises:
      ShapeError: an input is 0-d, the inner sizes differ or the leading axes do not broadcast.
    """
    x, y = as_tensor(x), as_tensor(y)
    if not x.ndim or not y.ndim:
        raise ShapeError(f"matmul: expected [..., m, k] @ [..., k, n], got {shown(x)} @ {shown(y)}; use *{here()}")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else -1]:
        raise ShapeError(f"matmul: expected [..., m, k] @ [..., k, n], got {shown(x)} @ {shown(y)}{here()}")
    row, column = x.ndim == 1, y.ndim == 1
    x = expand_dims(x, axis=0) if row else x
    y = expand_dims(y, axis=1) if column else y
    if x.ndim > 2 and y.ndim == 2:  # one product of all rows
        rows = linear.reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))
        out = linear.reshape(contract.matmul(rows, y), shape=(*x.shape[:-1], y.shape[-1]))
    else:
        if x.shape[:-2] != y.shape[:-2]:
            try:
                lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            except ValueError:
                raise ShapeError(f"matmul: leading axes do not broadcast: {shown(x)} @ {shown(y)}{here()}") from None
            x = linear.broadcast_to(x, shape=(*lead, *x.shape[-2:]))
            y = linear.broadcast_to(y, shape=(*lead, *y.shape[-2:]))
        out = contract.matmul(x, y)
    if row or column:
        shape = (*out.shape[:-2], *(() if row else out.shape[-2:-1]), *(() if column else out.shape[-1:]))
        out = linear.reshape(out, shape=shape)
    return out


def reshape(x: Any, /, shape: int | Sequence[int]) -> Tensor:
    """The elements of `x` in `shape`, of which one length may be -1."""
    return linear.reshape(x, shape=shape)


def broadcast_to(x: Any, /, shape: Sequence[int]) -> Tensor:
    """`x` repeated to `shape`, as a view."""
    return linear.broadcast_to(x, shape=tuple(shape))


def permute_dims(x: Any, /, axes: Sequence[int]) -> Tensor:
    """`x` with its axes in the order `axes`, as a view."""
    return linear.permute_dims(x, axes=tuple(axes))


def matrix_transpose(x: Any, /) -> Tensor:
    """`x: [..., m, n]` with its last two axes exchanged."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: expected at least two axes, got {shown(x)}{here()}")
    return contract.matrix_transpose(x)  # type: ignore[no-any-return]


def expand_dims(x: Any, /, *, axis: int = 0) -> Tensor:
    """`x` with a new axis of length one at `axis`."""
    x = as_tensor(x)
    (at,) = linear.normalize_axes("expand_dims", axis, x.ndim + 1)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Any, /, axis: Axis) -> Tensor:
    """`x` without the axes `axis`, which have length one."""
    x = as_tensor(x)
    axes = linear.normalize_axes("squeeze", axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ShapeError(f"squeeze: an axis of {list(axes)} is not of length one in {shown(x)}{here()}")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def flatten(x: Any, /, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """`x` with the axes from `start_dim` to `end_dim` (included) made one."""
    x = as_tensor(x)
    if not x.ndim:
        return reshape(x, (1,))
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Tensor:
    """Arrays joined along `axis`; flattened first when None."""
    if axis is None:
        return linear.concat(*(reshape(a, -1) for a in arrays), axis=0)
    return linear.concat(*arrays, axis=axis)


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape along a new axis."""
    return concat([expand_dims(a, axis=axis) for a in arrays], axis=axis)


def pad(x: Any, /, pad_width: Any, *, constant_values: float = 0.0) -> Tensor:
    """`x` with `pad_width` (one number, one pair, or a pair an axis) constants around it."""
    x = as_tensor(x)
    width = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    padded = linear.pad(x, width=width)
    if constant_values == 0:
        return padded
    inside = linear.pad(np.ones(x.shape, bool), width=width)
    return elementwise.where(inside, padded, constant_values)


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Tensor:
    """Elements of `x` at integer `indices` along `axis`; of the flattened array when None."""
    source = reshape(x, -1) if axis is None else as_tensor(x)
    (at,) = linear.normalize_axes("take", axis or 0, source.ndim)
    return source[(*(slice(None),) * at, as_tensor(indices))]


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Tensor:
    """For every place of `indices` the element of `x` at that position along `axis` (a gather).

    Raises:
      ShapeError: `indices` differs from `x` in another axis.
      DTypeError: `indices` are not integers.
    """
    source, positions = as_tensor(x), as_tensor(indices)
    shape, theirs = source.shape, positions.shape
    (at,) = linear.normalize_axes("take_along_axis", axis, source.ndim)
    if positions.dtype.kind not in "iu":
        raise DTypeError(f"take_along_axis: indices must be integers, got {shown(positions)}{here()}")
    if (*shape[:at], *shape[at + 1 :]) != (*theirs[:at], *theirs[at + 1 :]):
        raise ShapeError(f"take_along_axis: {shown(positions)} does not fit {shown(source)} beside axis {at}{here()}")
    grid = np.indices(theirs, sparse=True)
    return source[tuple(positions if i == at else g for i, g in enumerate(grid))]


gather = take_along_axis


def one_hot(indices: Any, num_classes: int, /, dtype: Any = np.float32) -> Tensor:
    """Ones at the class of each index along a new last axis of length `num_classes`, zeros elsewhere.

    Raises:
      DTypeError: `indices` are not integers.
    """
    indices = as_tensor(indices)
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: indices must be integers, got {shown(indices)}{here()}")
    hits = elementwise.equal(expand_dims(indices, axis=-1), np.arange(num_classes))
    return linear.astype(hits, dtype=dtype)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between `min` and `max`; outside it the derivative is 0, as at a bound given as a number."""
    x = as_tensor(x)
    x = x if min is None else elementwise.maximum(x, min)
    return x if max is None else elementwise.minimum(x, max)


def astype(x: Any, dtype: Any, /) -> Tensor:
    """`x` with another dtype; the cotangent comes back in the dtype of `x`."""
    return linear.astype(x, dtype=dtype)


def _method(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` as a method that takes axis and keepdims by position too, or as PyTorch's `dim` and `keepdim`."""

    @wraps(function)
    def method(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for theirs, ours in (("dim", "axis"), ("keepdim", "keepdims")):
            if theirs in kwargs:
                kwargs[ours] = kwargs.pop(theirs)
        return function(x, **dict(zip(("axis", "keepdims"), args, strict=False)), **kwargs)

    return method


def _spread_args(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The lengths or axes of `x.reshape(2, 3)` and `x.reshape((2, 3))`."""
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args


_METHODS: dict[Any, tuple[str, ...]] = {
    elementwise: (
        "exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tanh", "abs", "sign", "floor", "maximum", "minimum", "pow",
        "logical_and", "logical_or", "logical_xor", "logical_not",
    ),
    rounding: (
        "ceil", "trunc", "round", "copysign", "nextafter", "isnan", "isinf", "isfinite", "signbit", "nan_to_num", "deg2rad",
        "rad2deg",
    ),
    exponential: ("exp2", "log2", "log10", "rsqrt", "cbrt", "logaddexp", "xlogy", "logit", "reciprocal", "square"),
    trigonometry: (
        "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "hypot", "sinc",
    ),
    special: ("erf", "sigmoid"),
    complex: ("conj", "angle"),
    error_functions: ("erfc", "erfinv"),
    gamma: ("lgamma", "digamma"),
}  # fmt: skip


def attach() -> None:
    """Gives Tensor its shape and reduction methods."""
    for function in (sum, mean, var, std, max, min, logsumexp, argmax, argmin, squeeze, expand_dims):
        setattr(Tensor, function.__name__, _method(function))
    methods: dict[str, Any] = {
        "astype": lambda x, dtype: astype(x, dtype),
        "to": lambda x, dtype: astype(x, dtype),
        "reshape": lambda x, *shape: reshape(x, _spread_args(shape)),
        "view": lambda x, *shape: reshape(x, _spread_args(shape)),
        "permute": lambda x, *axes: permute_dims(x, _spread_args(axes)),
        "transpose": lambda x, *axes: permute_dims(x, _spread_args(axes) or tuple(range(x.ndim))[::-1]),
        "broadcast_to": lambda x, *shape: broadcast_to(x, _spread_args(shape)),
        "flatten": flatten,
        "clip": clip,
        "clamp": clip,
        "take": take,
        "T": property(lambda x: permute_dims(x, tuple(range(x.ndim))[::-1])),
        "mT": property(matrix_transpose),
        "real": property(lambda x: complex.real(x)),
        "imag": property(lambda x: complex.imag(x)),
        "unsqueeze": lambda x, dim: expand_dims(x, axis=dim),
        "clone": lambda x: reshape(x, x.shape),
        "copy": lambda x: Tensor(np.array(x.detach()._concrete())),
    }
    for module, names in _METHODS.items():
        methods |= {name: _applied(getattr(module, name)) for name in names}
    for name, value in methods.items():
        setattr(Tensor, name, value)


def _applied(op: Any) -> Callable[..., Tensor]:
    return lambda x, *args, **kwargs: op(x, *args, **kwargs)


attach()
