"""Hyperbolic functions and their inverses in LLVM IR, branch-free, on exp and log1p."""

from __future__ import annotations

import math

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.compiler.llvm.logarithm import log1p

# (sinh(x) - x) / x^3 in powers of x^2 for |x| <= 1: a Chebyshev interpolant, computed in 60 digits
_NEAR = {
    "double": (
        0.16666666666666666, 0.008333333333333295, 0.00019841269841329893, 2.7557319188677278e-06, 2.5052118269500945e-08,
        1.6057624110138135e-10, 7.748176868208479e-13,
    ),
    "float": (
        0.16666666645167355, 0.008333340072031162, 0.00019837971604445717, 2.8073109327503793e-06,
    ),
}  # fmt: skip
_HIGHEST = {"double": 710.5, "float": 89.5}  # above it both are infinite
_LARGE = 2.0**60  # beyond it 1 counts for nothing beside a number, and squares may overflow


def sinh(b: Builder, kind: str, x: str) -> str:
    """e - 1 / (4 e) with e = exp(|x|) / 2, and a polynomial near 0, in the sign of x."""
    v = Floats(b, kind)
    square = v.mul(x, x)
    near = v.fma(v.mul(square, x), v.polynomial(_NEAR[kind], square), x)
    e = _half_exponential(v, x)
    far = v.call("copysign", v.sub(e, v.div(0.25, e)), x)
    return v.select(v.compare("olt", v.call("fabs", x), 1.0), near, far)


def cosh(b: Builder, kind: str, x: str) -> str:
    """e + 1 / (4 e) with e = exp(|x|) / 2."""
    v = Floats(b, kind)
    e = _half_exponential(v, x)
    return v.add(e, v.div(0.25, e))


def _half_exponential(v: Floats, x: str) -> str:
    """exp(|x|) / 2, finite where it is less than the largest number."""
    k, _, r = v.reduced(v.limited(v.call("fabs", x), "ogt", _HIGHEST[v.kind]))
    return v.scaled(v.series(r, 0), v.sub(k, 1.0))


def asinh(b: Builder, kind: str, x: str) -> str:
    """log(1 + s) with s = x + x^2 / (1 + sqrt(1 + x^2)), and log(2 x) for large x, in the sign of x."""
    v = Floats(b, kind)
    size = v.call("fabs", x)
    large = v.compare("ogt", size, _LARGE)
    square = v.mul(size, size)
    more = v.div(square, v.add(v.call("sqrt", v.add(square, 1.0)), 1.0))
    value = log1p(b, kind, v.select(large, size, v.add(size, more)))
    return v.call("copysign", v.add(value, v.select(large, math.log(2.0), 0.0)), x)


def acosh(b: Builder, kind: str, x: str) -> str:
    """log(1 + s) with s = t + sqrt(t (2 + t)) and t = x - 1, and log(2 x) for large x; NaN below 1."""
    v = Floats(b, kind)
    large = v.compare("ogt", x, _LARGE)
    t = v.sub(x, 1.0)
    s = v.add(t, v.call("sqrt", v.mul(t, v.add(t, 2.0))))
    value = log1p(b, kind, v.select(large, x, s))
    value = v.add(value, v.select(large, math.log(2.0), 0.0))
    return v.select(v.compare("oge", x, 1.0), value, math.nan)


def atanh(b: Builder, kind: str, x: str) -> str:
    """log(1 + 2 |x| / (1 - |x|)) / 2, in the sign of x."""
    v = Floats(b, kind)
    size = v.call("fabs", x)
    value = log1p(b, kind, v.div(v.add(size, size), v.sub(1.0, size)))
    return v.call("copysign", v.mul(value, 0.5), x)
