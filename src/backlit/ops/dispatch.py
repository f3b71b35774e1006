"""NumPy's own functions on tensors: np.sin(t) and np.sum(t) call backlit's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import DTypeError
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor
from backlit.ops import array, complex, elementwise, exponential, products, rounding, trigonometry

UFUNCS: dict[Any, Any] = {
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


FUNCTIONS: dict[Any, Callable[..., Any]] = {}  # ours for NumPy's, put in by backlit.numpy
METHODS: dict[Any, Any] = {}  # the same for its universal functions, with reduce, accumulate, outer and at


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
    ours = METHODS.get(ufunc)
    given = {k: v for k, v in kwargs.items() if v is not None and not (k == "out" and v == (None,))}
    if ours is not None:
        if method == "__call__" and not given:
            return ours(*args)
        if method != "__call__" and ours.has(method) and "out" not in given:
            return getattr(ours, method)(*args, **given)
    error = _unsupported(f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}"), kwargs)
    return getattr(ufunc, method)(*_arrays(args, error), **_arrays(kwargs, error))


def _function(self: Tensor, function: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    ours = FUNCTIONS.get(function)
    given = {k: v for k, v in kwargs.items() if v is not None and v is not np._NoValue}
    if ours is not None and "out" not in given:
        return ours(*args, **given)
    error = _unsupported(f"np.{function.__name__}", given)
    return function(*_arrays(args, error), **_arrays(kwargs, error))


Tensor.__array_ufunc__ = _ufunc  # type: ignore[attr-defined]
Tensor.__array_function__ = _function  # type: ignore[attr-defined]
