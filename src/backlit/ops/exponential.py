"""Elementwise ops around powers and logarithms: other bases, roots, sums of exponentials, the logit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.op import Value, declare
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.elementwise import (
    _Binary,
    _FromOut,
    _Unary,
    abs,
    as_float,
    div,
    equal,
    less_equal,
    log,
    logical_and,
    maximum,
    minimum,
    mul,
    sub,
    where,
)
from backlit.ops.special import sigmoid

_LN2, _LN10 = math.log(2.0), math.log(10.0)


class Exp2(_FromOut):
    """2 to the power `x`."""

    name, notation, forward = "exp2", "2^{{{x}}}", staticmethod(np.exp2)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return out * _LN2


class Log2(_Unary):
    """Logarithm of `x` to the base 2."""

    name, notation, forward = "log2", r"\log_2 {x}", staticmethod(np.log2)
    domain = (0.3, 3.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (1.0 / _LN2) / x


class Log10(_Unary):
    """Logarithm of `x` to the base 10."""

    name, notation, forward = "log10", r"\log_{{10}} {x}", staticmethod(np.log10)
    domain = (0.3, 3.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (1.0 / _LN10) / x


class Rsqrt(_FromOut):
    """1 / sqrt(x): a primitive, as its rule reads `out` alone; its derivative at 0 is -inf."""

    name, notation = "rsqrt", r"\frac{{1}}{{\sqrt{{{x}}}}}"
    domain = (0.3, 3.0)

    @staticmethod
    def forward(x: Any) -> Any:
        return 1.0 / np.sqrt(x)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return -0.5 * (out * out * out)


class Cbrt(_FromOut):
    """Cube root, negative for negative `x`; its derivative at 0 is inf."""

    name, notation, forward = "cbrt", r"\sqrt[3]{{{x}}}", staticmethod(np.cbrt)
    domain = (0.3, 3.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (1.0 / 3.0) / (out * out)


class Logaddexp(_Binary):
    """log(exp(x) + exp(y)) without overflow; its derivatives are 0 where both are the same infinity."""

    name, notation, forward = "logaddexp", r"\log(e^{{{x}}} + e^{{{y}}})", staticmethod(np.logaddexp)
    domain = (-2.0, 2.0)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        share = sigmoid(sub(x, y) if argnum == 0 else sub(y, x))
        one = x if isinstance(x, Tensor) else y
        return where(logical_and(equal(x, y), equal(abs(one), math.inf)), 0.0, share)


class Xlogy(_Binary):
    """`x` log(y), and 0 where `x` is 0 and `y` a number; there its derivative in `y` is 0, and that in `x` is 0 if `y` <= 0."""

    name, notation = "xlogy", r"{x} \log {y}"

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        if any(a.dtype.kind == "c" for a in (x, y) if hasattr(a, "dtype")):
            raise TypeError("defined for real numbers only")
        found = np.log(y if hasattr(y, "dtype") or not is_float(x.dtype) else x.dtype.type(y))
        return np.where((x == 0) & ~np.isnan(y), found.dtype.type(0), x * found)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        empty = equal(x, 0)
        if argnum == 1:
            return where(empty, 0.0, div(x, y))
        y = y if isinstance(y, Tensor) else as_tensor(np.asarray(y, x.dtype))
        return where(logical_and(empty, less_equal(y, 0)), 0.0, log(y))


class Logit(_Unary):
    """log(x / (1 - x)): a primitive for its accuracy next to 1/2."""

    name, notation = "logit", r"\log \frac{{{x}}}{{1 - {x}}}"
    domain = (0.1, 0.9)

    @staticmethod
    def forward(x: Any) -> Any:
        x = as_float(x)
        near = np.abs(x - 0.5) < 0.125
        middle = np.where(near, x, x.dtype.type(0.5))
        rest = np.where(near, x.dtype.type(0.5), x)
        return np.where(near, np.log1p((2 * middle - 1) / (1 - middle)), np.log(rest / (1 - rest)))

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 / (x * (1.0 - x))


exp2, log2, log10, rsqrt, cbrt = (declare(c) for c in (Exp2, Log2, Log10, Rsqrt, Cbrt))
logaddexp, xlogy = declare(Logaddexp), declare(Xlogy)
_logit = declare(Logit)


def logit(x: Any, /, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); `x` is first held between `eps` and 1 - `eps` where that is given."""
    return _logit(x if eps is None else minimum(maximum(x, eps), 1.0 - eps))


def reciprocal(x: Any, /) -> Tensor:
    """1 / x; integers give floats."""
    return div(1.0, as_tensor(x))


def square(x: Any, /) -> Tensor:
    """`x` times itself."""
    x = as_tensor(x)
    return mul(x, x)
