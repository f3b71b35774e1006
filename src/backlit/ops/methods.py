"""The methods of Tensor: every reduction and shape function, and functions of elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor
from backlit.ops import (
    array,
    complex,
    cumulative,
    elementwise,
    error_functions,
    exponential,
    gamma,
    linear,
    missing,
    norm,
    picking,
    products,
    quantiles,
    rounding,
    shape,
    sorting,
    special,
    statistics,
    trigonometry,
)
from backlit.ops.aliases import alias

# of which NumPy's and PyTorch's results share memory with the tensor
_ALIASES = (
    "reshape", "view", "permute", "permute_dims", "transpose", "swapaxes", "swapdims", "moveaxis", "movedim", "ravel", "squeeze",
    "expand_dims", "unsqueeze", "split", "array_split", "chunk", "unstack", "unbind", "T", "mT", "real", "imag",
)  # fmt: skip
_PYTORCH = (("dim", "axis"), ("keepdim", "keepdims"), ("dims", "axis"), ("ddof", "correction"))


def _method(function: Callable[..., Any], *order: str) -> Callable[..., Any]:
    """`function` as a method that takes the keywords `order` by position too, or as PyTorch's `dim` and `keepdim`."""

    @wraps(function)
    def method(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        for theirs, ours in _PYTORCH:
            if theirs in kwargs:
                kwargs[ours] = kwargs.pop(theirs)
        return function(x, **dict(zip(order, args, strict=False)), **kwargs)

    return method


def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a method whose `axis` may be given as PyTorch's `dim`."""

    @wraps(function)
    def method(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        for theirs, ours in _PYTORCH:
            if theirs in kwargs:
                kwargs[ours] = kwargs.pop(theirs)
        return function(x, *args, **kwargs)

    return method


def _spread_args(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The lengths or axes of `x.reshape(2, 3)` and `x.reshape((2, 3))`."""
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args


def _transpose(x: Tensor, *axes: Any) -> Tensor:
    """`x` with its axes turned round or in the order `axes` (NumPy); with two exchanged where it has more (PyTorch)."""
    order = _spread_args(axes)
    if len(order) == 2 and x.ndim != 2:
        return shape.swapaxes(x, *order)
    return shape.permute_dims(x, tuple(range(x.ndim))[::-1] if not order or order == (None,) else order)


def _expand(x: Tensor, *sizes: Any) -> Tensor:
    """`x` repeated along axes of length one; -1 keeps a length (PyTorch)."""
    wanted = _spread_args(sizes)
    lead = len(wanted) - x.ndim
    if lead < 0 or any(n == -1 for n in wanted[:lead]):
        raise ShapeError(f"expand: {shown(x)} cannot be expanded to {list(wanted)}{here()}")
    return shape.broadcast_to(x, [x.shape[i - lead] if n == -1 else n for i, n in enumerate(wanted)])


def _split(x: Tensor, *args: Any, **kwargs: Any) -> list[Tensor]:
    if "dim" in kwargs:  # PyTorch's numbers mean lengths, where NumPy's mean sections and positions
        raise ArgumentError(
            f"split: with dim= it is not clear what the numbers mean; use sizes=[...], axis= or chunk{here()}"
        )
    return shape.split(x, *args, **kwargs)


def _round(x: Tensor, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals, an even last digit where two are; its derivative is 0."""
    if not decimals:
        return rounding.round(x)
    scale = 10.0 ** abs(decimals)
    return rounding.round(x * scale) / scale if decimals > 0 else rounding.round(x / scale) * scale


def _fill(x: Tensor, value: Any) -> None:
    """Writes `value` to all of `x`."""
    x[...] = value


def _copy(x: Tensor) -> Tensor:
    """`x` in a tensor of its own; recorded as `clone` is where `x` is recorded or traced."""
    if x.node is None and not isinstance(x._value, Box):
        return Tensor(np.array(x._value))
    return linear.reshape(x, shape=x.shape)


def _repeat(x: Tensor, repeats: Any, axis: int | None = None) -> Tensor:
    """Every element `repeats` times along `axis` (NumPy; PyTorch's `repeat` is `tile`)."""
    return shape.repeat(x, repeats, axis=axis)


def _quantile(function: Callable[..., Tensor]) -> Callable[..., Any]:
    return _renamed(lambda x, q, axis=None, keepdims=False, **kw: function(x, q, axis=axis, keepdims=keepdims, **kw))


def _norm(x: Tensor, p: float = 2, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of the vectors along `axis`, of all elements when None: `vector_norm` with PyTorch's name for the order."""
    return norm.vector_norm(x, axis=axis, keepdims=keepdims, ord=p)


def _astype(x: Tensor, dtype: Any, copy: bool = True) -> Tensor:
    """`x` with another dtype; the cotangent comes back in the dtype of `x`."""
    return linear.astype(x, dtype=dtype)


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
_REDUCTIONS: tuple[Any, ...] = (
    statistics.sum, statistics.prod, statistics.mean, statistics.var, statistics.std, statistics.max, statistics.min,
    statistics.any, statistics.all, statistics.count_nonzero, statistics.logsumexp, statistics.argmax, statistics.argmin,
    quantiles.median, quantiles.nanmedian, missing.nansum, missing.nanmean,
)  # fmt: skip
_ALONG: dict[Any, tuple[str, ...]] = {  # with what they take by position
    **dict.fromkeys((cumulative.cumulative_sum, cumulative.cumulative_prod, cumulative.cumulative_logsumexp), ("axis",)),
    **dict.fromkeys((cumulative.cumsum, cumulative.cumprod, cumulative.logcumsumexp), ("axis",)),
    **dict.fromkeys((cumulative.cummax, cumulative.cummin), ("axis",)),
    **dict.fromkeys((sorting.sort, sorting.argsort), ("axis", "descending")),
    cumulative.diff: ("n", "axis"), sorting.nonzero: (),
}  # fmt: skip
_SHAPE: dict[Any, tuple[str, ...]] = {
    shape: (
        "ravel", "flatten", "unflatten", "moveaxis", "swapaxes", "array_split", "chunk", "rot90",
    ),
    picking: (
        "gather", "scatter", "scatter_add", "scatter_reduce", "index_select", "diagonal", "trace", "diag", "diag_embed",
    ),
}  # fmt: skip


def attach() -> None:
    """Gives Tensor its methods."""
    for function in _REDUCTIONS:
        setattr(Tensor, function.__name__, _method(function, "axis", "keepdims"))
    for function, order in _ALONG.items():
        setattr(Tensor, function.__name__, _method(function, *order))
    for function in (shape.squeeze, shape.expand_dims, shape.flip, shape.unstack):
        setattr(Tensor, function.__name__, _method(function, "axis"))
    methods: dict[str, Any] = {
        "astype": _astype,
        "to": _astype,
        "reshape": lambda x, *sizes, **kwargs: shape.reshape(x, _spread_args(sizes), **kwargs),
        "view": lambda x, *sizes: shape.reshape(x, _spread_args(sizes)),
        "permute": lambda x, *axes: shape.permute_dims(x, _spread_args(axes)),
        "permute_dims": lambda x, *axes: shape.permute_dims(x, _spread_args(axes)),
        "transpose": _transpose,
        "broadcast_to": lambda x, *sizes: shape.broadcast_to(x, _spread_args(sizes)),
        "expand": _expand,
        "split": _split,
        "unbind": _method(shape.unstack, "axis"),
        "roll": _renamed(lambda x, shift, axis=None: shape.roll(x, shift, axis=axis)),
        "tile": lambda x, *counts: shape.tile(x, _spread_args(counts)),
        "repeat": _repeat,
        "repeat_interleave": _renamed(_repeat),
        "norm": _renamed(_norm),
        "quantile": _quantile(quantiles.quantile),
        "nanquantile": _quantile(quantiles.nanquantile),
        "topk": _renamed(
            lambda x, k, axis=-1, largest=True, sorted=True: sorting.topk(x, k, axis=axis, largest=largest)
        ),
        "clip": array.clip,
        "clamp": array.clip,
        "take": lambda x, indices, axis=None: picking.take(x, indices, axis=axis),
        "take_along_axis": lambda x, indices, axis=-1: picking.take_along_axis(x, indices, axis=axis),
        "put_along_axis": lambda x, indices, values, axis=-1: picking.put_along_axis(x, indices, values, axis=axis),
        "tril": _method(picking.tril, "k"),
        "triu": _method(picking.triu, "k"),
        "masked_fill": lambda x, mask, value: elementwise.where(mask, value, x),
        "T": property(lambda x: shape.permute_dims(x, tuple(range(x.ndim))[::-1])),
        "mT": property(shape.matrix_transpose),
        "real": property(lambda x: complex.real(x)),
        "imag": property(lambda x: complex.imag(x)),
        "unsqueeze": lambda x, dim: shape.expand_dims(x, axis=dim),
        "clone": lambda x: linear.reshape(x, shape=x.shape),
        "copy": _copy,
        "dot": products.dot,
    }
    for module, names in _METHODS.items():
        methods |= {name: _applied(getattr(module, name)) for name in names}
    methods["round"], methods["fill"], methods["searchsorted"] = _round, _fill, sorting.searchsorted
    methods["nbytes"] = property(lambda x: x.size * x.dtype.itemsize)
    methods["itemsize"] = property(lambda x: x.dtype.itemsize)
    methods["movedim"], methods["swapdims"] = shape.moveaxis, shape.swapaxes
    for module, names in _SHAPE.items():
        methods |= {name: _renamed(getattr(module, name)) for name in names}
    for name, value in methods.items():
        setattr(Tensor, name, value)
    for name in _ALIASES:
        setattr(Tensor, name, _aliasing(getattr(Tensor, name)))


def _aliasing(method: Any) -> Any:
    """A method or property whose results share memory with the tensor in NumPy."""
    if isinstance(method, property):
        get: Any = method.fget
        return property(lambda x: alias(get(x), x))

    @wraps(method)
    def noting(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return alias(method(x, *args, **kwargs), x)

    return noting


def _applied(op: Any) -> Callable[..., Tensor]:
    return lambda x, *args, **kwargs: op(x, *args, **kwargs)


attach()
