"""NumPy's own functions on tensors: np.sin(t) and np.sum(t) call backlit's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import DTypeError
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor
from backlit.ops import (
    array,
    complex,
    cumulative,
    elementwise,
    estimates,
    exponential,
    missing,
    padding,
    picking,
    products,
    quantiles,
    rounding,
    shape,
    sorting,
    statistics,
    trigonometry,
)
from backlit.ops.einsum import einsum

_UFUNCS: dict[Any, Any] = {
    getattr(np, theirs): getattr(elementwise, ours)
    for theirs, ours in {
        "add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "div", "power": "pow", "negative": "neg",
        "absolute": "abs", "sign": "sign", "exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1",
        "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tanh": "tanh", "maximum": "maximum", "minimum": "minimum",
        "equal": "equal", "not_equal": "not_equal", "less": "less", "less_equal": "less_equal", "greater": "greater",
        "greater_equal": "greater_equal", "logical_and": "logical_and", "logical_or": "logical_or",
        "logical_xor": "logical_xor", "logical_not": "logical_not", "bitwise_and": "bitwise_and",
        "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor", "invert": "bitwise_invert", "floor": "floor",
        "floor_divide": "floor_divide", "remainder": "remainder",
        "left_shift": "left_shift", "right_shift": "right_shift",
    }.items()
} | {
    getattr(np, theirs): getattr(module, ours)
    for module, names in {
        rounding: {
            "ceil": "ceil", "trunc": "trunc", "rint": "round", "copysign": "copysign", "nextafter": "nextafter",
            "isnan": "isnan", "isinf": "isinf", "isfinite": "isfinite", "signbit": "signbit", "positive": "positive",
            "deg2rad": "deg2rad", "radians": "deg2rad", "rad2deg": "rad2deg", "degrees": "rad2deg",
        },
        exponential: {
            "exp2": "exp2", "log2": "log2", "log10": "log10", "cbrt": "cbrt", "logaddexp": "logaddexp",
            "reciprocal": "reciprocal", "square": "square",
        },
        complex: {"conjugate": "conj"},
        trigonometry: {
            "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "sinh": "sinh",
            "cosh": "cosh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "hypot": "hypot",
        },
    }.items()
    for theirs, ours in names.items()
} | {np.matmul: array.matmul, np.vecdot: products.vecdot}  # fmt: skip


def _positional(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """`function` taking the keywords `names` by position too, in NumPy's order."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return function(x, **dict(zip(names, args, strict=False)), **kwargs)

    return call


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _positional(statistics.sum, "axis", "dtype"),
    np.prod: _positional(statistics.prod, "axis", "dtype"),
    np.mean: _positional(statistics.mean, "axis", "dtype"),
    np.any: _positional(statistics.any, "axis"),
    np.all: _positional(statistics.all, "axis"),
    np.count_nonzero: _positional(statistics.count_nonzero, "axis"),
    np.max: _positional(statistics.max, "axis"),
    np.min: _positional(statistics.min, "axis"),
    np.argmax: _positional(statistics.argmax, "axis"),
    np.argmin: _positional(statistics.argmin, "axis"),
    np.var: lambda x, axis=None, ddof=0, **kwargs: statistics.var(x, axis=axis, correction=ddof, **kwargs),
    np.std: lambda x, axis=None, ddof=0, **kwargs: statistics.std(x, axis=axis, correction=ddof, **kwargs),
    np.median: _positional(quantiles.median, "axis"),
    np.quantile: lambda x, q, axis=None, **kwargs: quantiles.quantile(x, q, axis=axis, **kwargs),
    np.nanmedian: _positional(quantiles.nanmedian, "axis"),
    np.nanquantile: lambda x, q, axis=None, **kwargs: quantiles.nanquantile(x, q, axis=axis, **kwargs),
    np.cumsum: _positional(cumulative.cumsum, "axis", "dtype"),
    np.cumprod: _positional(cumulative.cumprod, "axis", "dtype"),
    np.cumulative_sum: cumulative.cumulative_sum,
    np.cumulative_prod: cumulative.cumulative_prod,
    np.diff: _positional(cumulative.diff, "n", "axis"),
    np.sort: _positional(sorting.sort, "axis"),
    np.argsort: _positional(sorting.argsort, "axis"),
    np.searchsorted: lambda x, v, side="left", sorter=None: sorting.searchsorted(x, v, side=side, sorter=sorter),
    np.nonzero: sorting.nonzero,
    np.isin: sorting.isin,
    np.unique_all: sorting.unique_all,
    np.unique_counts: sorting.unique_counts,
    np.unique_inverse: sorting.unique_inverse,
    np.unique_values: sorting.unique_values,
    np.bincount: _positional(sorting.bincount, "weights", "minlength"),
    np.histogram: _positional(sorting.histogram, "bins", "range", "density", "weights"),
    **{
        getattr(np, f.__name__): _positional(f, "axis")
        for f in (
            missing.nansum,
            missing.nanprod,
            missing.nanmean,
            missing.nanmax,
            missing.nanmin,
            missing.nanargmax,
            missing.nanargmin,
            missing.nancumsum,
            missing.nancumprod,
            estimates.ptp,
            estimates.average,
        )
    },
    np.nanvar: lambda x, axis=None, ddof=0, **kwargs: missing.nanvar(x, axis=axis, correction=ddof, **kwargs),
    np.nanstd: lambda x, axis=None, ddof=0, **kwargs: missing.nanstd(x, axis=axis, correction=ddof, **kwargs),
    np.percentile: lambda x, q, axis=None, **kwargs: estimates.percentile(x, q, axis=axis, **kwargs),
    np.nanpercentile: lambda x, q, axis=None, **kwargs: estimates.nanpercentile(x, q, axis=axis, **kwargs),
    np.cov: lambda x, y=None, rowvar=True, bias=False, ddof=None, **kwargs: estimates.cov(
        x, y, rowvar=rowvar, correction=1 - bias if ddof is None else ddof, **kwargs
    ),
    np.corrcoef: lambda x, y=None, rowvar=True: estimates.corrcoef(x, y, rowvar=rowvar),
    np.trapezoid: lambda y, x=None, dx=1.0, axis=-1: estimates.trapezoid(y, x, dx=dx, axis=axis),
    np.digitize: lambda x, bins, right=False: estimates.digitize(x, bins, right=right),
    np.unique: estimates.unique,
    np.union1d: estimates.union1d,
    np.intersect1d: lambda x, y: estimates.intersect1d(x, y),
    np.setdiff1d: lambda x, y: estimates.setdiff1d(x, y),
    np.setxor1d: lambda x, y: estimates.setxor1d(x, y),
    np.flatnonzero: estimates.flatnonzero,
    np.argwhere: estimates.argwhere,
    np.reshape: shape.reshape,
    np.transpose: lambda x, axes=None: shape.permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else axes),
    np.expand_dims: _positional(shape.expand_dims, "axis"),
    np.squeeze: lambda x, axis=None: shape.squeeze(
        x, tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axis
    ),
    np.broadcast_to: shape.broadcast_to,
    np.concatenate: _positional(shape.concat, "axis"),
    np.stack: _positional(shape.stack, "axis"),
    np.where: elementwise.where,
    np.clip: array.clip,
    np.round: lambda x, decimals=0: _round(x, decimals),
    np.sinc: trigonometry.sinc,
    np.real: complex.real,
    np.imag: complex.imag,
    np.angle: complex.angle,
    np.nan_to_num: lambda x, copy=True, nan=0.0, **kwargs: rounding.nan_to_num(x, nan, **kwargs),
    np.dot: products.dot,
    np.vdot: products.vdot,
    np.inner: products.inner,
    np.outer: products.outer,
    np.kron: products.kron,
    np.cross: lambda x, y, axis=-1: products.cross(x, y, axis=axis),
    np.tensordot: lambda x, y, axes=2: products.tensordot(x, y, axes=axes),
    np.einsum: lambda *operands, optimize=True: einsum(*operands, optimize=optimize),
    np.take: lambda x, indices, axis=None: picking.take(x, indices, axis=axis),
    np.take_along_axis: lambda x, indices, axis=-1: picking.take_along_axis(x, indices, axis=axis),
    np.pad: padding.pad,
    np.zeros_like: lambda x, dtype=None: Tensor(np.zeros(x.shape, dtype or x.dtype)),
    np.ones_like: lambda x, dtype=None: Tensor(np.ones(x.shape, dtype or x.dtype)),
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: x.size if axis is None else x.shape[axis],
}


def _round(x: Any, decimals: int) -> Tensor:
    if decimals:
        raise _unsupported("np.round", {"decimals": decimals})
    return rounding.round(x)


def _unsupported(name: str, kwargs: dict[str, Any]) -> DTypeError:
    given = f" with {', '.join(f'{k}=' for k in kwargs)}" if kwargs else ""
    return DTypeError(
        f"{name}{given} has no gradient here; use backlit's functions, or .detach() first for plain NumPy{here()}"
    )


def _arrays(x: Any, error: DTypeError) -> Any:
    """`x` with plain tensors as arrays; a value with derivatives is not let out of its graph."""
    if isinstance(x, Tensor):
        if isinstance(x._value, Box) or x.requires_grad:
            raise error
        return x.numpy()
    if isinstance(x, (list, tuple)):
        return type(x)(_arrays(part, error) for part in x)
    if isinstance(x, dict):
        return {key: _arrays(part, error) for key, part in x.items()}
    return x


def _ufunc(self: Tensor, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    op = _UFUNCS.get(ufunc)
    if method == "__call__" and not kwargs and op is not None:
        return op(*args)
    error = _unsupported(f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}"), kwargs)
    return getattr(ufunc, method)(*_arrays(args, error), **_arrays(kwargs, error))


def _function(self: Tensor, function: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    ours = _FUNCTIONS.get(function)
    given = {k: v for k, v in kwargs.items() if v is not None and v is not np._NoValue}
    if ours is not None and "out" not in given:
        return ours(*args, **given)
    error = _unsupported(f"np.{function.__name__}", given)
    return function(*_arrays(args, error), **_arrays(kwargs, error))


Tensor.__array_ufunc__ = _ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = _function  # type: ignore[attr-defined]
