"""The logarithm of the gamma function and its derivatives: lgamma, digamma, trigamma, polygamma."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.op import Value, declare
from backlit.core.tensor import Tensor
from backlit.ops.arithmetic import evaluated
from backlit.ops.elementwise import _Binary, _Unary
from backlit.ops.gamma_functions import digamma_of, lgamma_of, trigamma_of


class Lgamma(_Unary):
    """Logarithm of the absolute value of the gamma function."""

    name, notation, forward = "lgamma", r"\log \left|\Gamma({x})\right|", staticmethod(evaluated(lgamma_of))
    domain = (0.3, 6.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return digamma(x)


class Digamma(_Unary):
    """Derivative of `lgamma`."""

    name, notation, forward = "digamma", r"\psi({x})", staticmethod(evaluated(digamma_of))
    domain = (0.5, 6.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return trigamma(x)


class Trigamma(_Unary):
    """Derivative of `digamma`."""

    name, notation, forward = "trigamma", r"\psi_1({x})", staticmethod(evaluated(trigamma_of))
    domain = (0.5, 6.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return _polygamma(2, x)


# Bernoulli numbers B_2, B_4, ...
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138,
    -236364091 / 2730,
)  # fmt: skip


_HIGHEST = 100  # order; later the factorials overflow


def _positive_polygamma(n: int, x: Any) -> Any:
    """(-1)^(n + 1) times the n-th derivative of digamma, for positive numbers: a sum of terms of one sign."""
    unit = 2.0 ** round(math.log2(n / math.e + 1.0))  # powers are taken of unit / x, so that they keep within range
    total = np.zeros_like(x)
    last = 12.0 + n
    while (x < last).any():
        below = x < last
        safe = np.where(below, x, 1.0)
        total = total + np.where(below, (unit / safe) ** n / safe, 0.0)
        x = np.where(below, x + 1.0, x)
    # the sum of (x + k)^-(n + 1) over all k, by Euler and Maclaurin
    power = (unit / x) ** n
    tail = power / n + 0.5 * power / x
    term = power / x**2 * (n + 1.0) / 2.0
    for k, b in enumerate(_BERNOULLI, 1):
        tail = tail + b * term
        term = term * ((n + 2 * k) * (n + 2 * k + 1.0) / ((2 * k + 1) * (2 * k + 2.0))) / x**2
    return math.prod(k / unit for k in range(1, n + 1)) * (total + tail)


def _one_polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of digamma."""
    if n == 0:
        return Digamma.forward(x)
    sign = 1.0 if n % 2 else -1.0
    if not (x <= 0.0).any():
        return sign * _positive_polygamma(n, x)
    # by reflection: pi times the n-th derivative of cot(pi x) is a polynomial of cot(pi x)
    below = x < 0.0
    r = x - np.rint(x)
    t = np.pi * np.minimum(np.abs(r), 0.5 - np.abs(r))
    c = np.copysign(np.where(np.abs(r) > 0.25, np.tan(t), 1.0 / np.tan(t)), r)
    polynomial = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        polynomial = polynomial.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
    turned = -(np.pi ** (n + 1.0)) * polynomial(c) - _positive_polygamma(n, np.where(below, 1.0 - x, 1.0))
    pole = math.inf if n % 2 else math.nan
    turned = np.where(x == np.rint(x), pole, turned)
    found = np.where(below, turned, sign * _positive_polygamma(n, np.where(below, 1.0, x)))
    return np.where(x == 0.0, sign * (1.0 / x) ** (n + 1), found)


class Polygamma(_Binary):
    """Derivative of order `x` of `digamma`, at `y`; NaN for what is not an integer from 0 to 100."""

    name, notation = "polygamma", r"\psi_{{{x}}}({y})"

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        y = y if hasattr(y, "dtype") else np.asarray(y, x.dtype if is_float(x.dtype) else None)
        if y.dtype.kind == "c":
            raise TypeError("defined for real numbers only")
        y = y if y.dtype.kind in "fV" else y.astype(np.float64)
        orders, wide = np.broadcast_arrays(np.asarray(x, np.float64), y.astype(np.float64))
        found = np.full(wide.shape, math.nan)
        for n in np.unique(orders):
            if 0.0 <= n <= _HIGHEST and n == np.rint(n):
                found[orders == n] = _one_polygamma(int(n), wide[orders == n])
        return found.astype(y.dtype)[()]

    def is_condition(self, argnum: int) -> bool:
        return argnum == 0  # integers, which have no gradient

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return super().partial(argnum, out, x, y) if argnum == 0 else _polygamma(x + 1, y)

    def samples(self) -> list[tuple[Any, ...]]:
        n = np.array([[2], [3], [5]])
        return [((n, (3, 2)), {}), ((n[:, 0], (3,)), {}), ((np.array(4), ()), {}), ((np.array(2), (0, 2)), {})]


lgamma, digamma, trigamma = (declare(c) for c in (Lgamma, Digamma, Trigamma))
_polygamma = declare(Polygamma)


def polygamma(n: int, x: Any, /) -> Tensor:
    """Derivative of order `n` of `digamma`, which is that of order 0.

    Raises:
      ArgumentError: `n` is not an integer from 0 to 100.
    """
    if n.__class__ is not int or not 0 <= n <= _HIGHEST:
        raise ArgumentError(f"polygamma: the order must be an integer from 0 to {_HIGHEST}, got {n!r}")
    return digamma(x) if n == 0 else trigamma(x) if n == 1 else _polygamma(n, x)
