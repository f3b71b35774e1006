"""Elementwise trigonometry and hyperbolic functions, with their inverses; the length of a vector; sinc."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.op import Value, declare
from backlit.ops.elementwise import _Binary, _FromOut, _Unary, abs, as_float, cos, div, equal, less, where
from backlit.ops.exponential import rsqrt
from backlit.ops.rounding import round


class Tan(_FromOut):
    """Tangent; the partial is taken from `out`."""

    name, notation, forward = "tan", r"\tan {x}", staticmethod(np.tan)
    domain = (-1.2, 1.2)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 + out * out


class Asin(_Unary):
    """Inverse sine, in [-pi/2, pi/2]; its derivative at -1 and 1 is inf."""

    name, notation, forward = "asin", r"\arcsin {x}", staticmethod(np.arcsin)
    domain = (-0.9, 0.9)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return rsqrt((1.0 - x) * (1.0 + x))


class Acos(_Unary):
    """Inverse cosine, in [0, pi]; its derivative at -1 and 1 is -inf."""

    name, notation, forward = "acos", r"\arccos {x}", staticmethod(np.arccos)
    domain = (-0.9, 0.9)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return -rsqrt((1.0 - x) * (1.0 + x))


class Atan(_Unary):
    """Inverse tangent, in [-pi/2, pi/2]."""

    name, notation, forward = "atan", r"\arctan {x}", staticmethod(np.arctan)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 / (1.0 + x * x)


class Atan2(_Binary):
    """The angle of the point with ordinate `x` and abscissa `y`, in [-pi, pi]; its derivatives at (0, 0) are NaN."""

    name, notation, forward = "atan2", r"\operatorname{{atan2}}({x}, {y})", staticmethod(np.arctan2)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        length = hypot(x, y)  # twice, as its square may overflow or vanish
        part = div(y, length) if argnum == 0 else -div(x, length)
        return part / length


class Sinh(_Unary):
    """Hyperbolic sine."""

    name, notation, forward = "sinh", r"\sinh {x}", staticmethod(np.sinh)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return cosh(x)


class Cosh(_Unary):
    """Hyperbolic cosine."""

    name, notation, forward = "cosh", r"\cosh {x}", staticmethod(np.cosh)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return sinh(x)


class Asinh(_Unary):
    """Inverse hyperbolic sine."""

    name, notation, forward = "asinh", r"\operatorname{{arsinh}} {x}", staticmethod(np.arcsinh)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 / hypot(x, 1.0) if x.dtype.kind != "c" else rsqrt(1.0 + x * x)


class Acosh(_Unary):
    """Inverse hyperbolic cosine of `x` >= 1; its derivative at 1 is inf."""

    name, notation, forward = "acosh", r"\operatorname{{arcosh}} {x}", staticmethod(np.arccosh)
    domain = (1.2, 4.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return rsqrt(x - 1.0) * rsqrt(x + 1.0)


class Atanh(_Unary):
    """Inverse hyperbolic tangent; its derivative at -1 and 1 is inf."""

    name, notation, forward = "atanh", r"\operatorname{{artanh}} {x}", staticmethod(np.arctanh)
    domain = (-0.9, 0.9)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 1.0 / ((1.0 - x) * (1.0 + x))


class Hypot(_Binary):
    """sqrt(x^2 + y^2) without overflow; its derivatives at (0, 0) are 0."""

    name, notation, forward = "hypot", r"\sqrt{{{x}^2 + {y}^2}}", staticmethod(np.hypot)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"}) if argnum == 0 else frozenset({"y", "out"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        origin = equal(out, 0)
        return where(origin, 0.0, (x if argnum == 0 else y) / where(origin, 1.0, out))


# Taylor coefficients of the derivative of sin(pi x) / (pi x), in odd powers of x.
_SLOPE = tuple((-1.0) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 13))


def _sinc(x: Any) -> Any:
    x = as_float(x)
    wide = x.astype(np.float64)
    whole = np.rint(wide)
    sine = np.sin(np.pi * (wide - whole))  # of what is left after whole half turns, so that it is 0 at integers
    odd = np.rint(0.5 * whole) != 0.5 * whole
    return np.where(wide == 0.0, 1.0, np.where(odd, -sine, sine) / (np.pi * np.where(wide == 0.0, 1.0, wide))).astype(
        x.dtype
    )


class Sinc(_Unary):
    """sin(pi x) / (pi x), which is 1 at 0 and exactly 0 at other integers."""

    name, notation, forward = "sinc", r"\operatorname{{sinc}} {x}", staticmethod(_sinc)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        square = x * x  # near 0 the difference below would cancel
        slope = square * _SLOPE[-1] + _SLOPE[-2]
        for coefficient in _SLOPE[-3::-1]:
            slope = slope * square + coefficient
        turned = cos(math.pi * (x - 2.0 * round(0.5 * x)))
        return where(less(abs(x), 0.5), x * slope, (turned - out) / x)


tan, asin, acos, atan, atan2, sinh, cosh = (declare(c) for c in (Tan, Asin, Acos, Atan, Atan2, Sinh, Cosh))
asinh, acosh, atanh, hypot, sinc = (declare(c) for c in (Asinh, Acosh, Atanh, Hypot, Sinc))
