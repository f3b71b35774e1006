"""log, log1p, softplus and what is made of them, log2 and log10 in LLVM IR, branch-free.

x = 2^k m with m in [sqrt(1/2), sqrt(2)); log m is a polynomial in f = m - 1 (float) or in s = f / (2 + f), by
log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) (double), and k ln 2 is added in two parts, of which the first is exact.
"""

from __future__ import annotations

import math

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.compiler.llvm.math import exp

# Chebyshev interpolants, computed in 60 digits and written as powers.
# (log(1 + f) - f + f^2 / 2) / f^3 for f in [sqrt(1/2) - 1, sqrt(2) - 1]
_FLOAT = (
    0.3333333112188015, -0.2499999662693948, 0.2000073050385224, -0.16667850972851767, 0.1424855126436147,
    -0.12424037717650198, 0.1168907113745787, -0.11494546612890219, 0.06980701958664974,
)  # fmt: skip
# (2 artanh(s) / s - 2) / s^2 in powers of s^2 for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1)
_DOUBLE = (
    0.6666666666666666, 0.40000000000000885, 0.28571428570799784, 0.22222222392581045, 0.18181795547521137,
    0.15386244737621665, 0.13268638369266825, 0.13088034850927555,
)  # fmt: skip


def log(b: Builder, kind: str, x: str) -> str:
    """log(x): -inf at both zeros, NaN below, +inf and NaN stay."""
    v = Floats(b, kind)
    k, m = v.split(x)
    return _outside(v, x, x, _of_parts(v, k, v.sub(m, 1.0)))


def log1p(b: Builder, kind: str, x: str) -> str:
    """log(1 + x): the rounding error of 1 + x is added to m; -inf at -1, NaN below, the sign of zero stays."""
    v = Floats(b, kind)
    u = v.add(x, 1.0)
    large = v.compare("ogt", x, 2.0 ** (v.f.mantissa_bits + 2))
    # the error of the sum, of which either part may be the larger
    back = v.sub(u, x)
    lost = v.add(v.sub(1.0, back), v.sub(x, v.sub(u, back)))
    k, m = v.split(u)
    lost = v.select(large, 0.0, v.scaled(lost, v.neg(k)))
    value = _outside(v, u, x, _of_parts(v, k, v.add(v.sub(m, 1.0), lost)))
    return v.call("copysign", value, x)


def softplus(b: Builder, kind: str, x: str) -> str:
    """log(1 + exp(x)) = max(x, 0) + log(1 + e) with e = exp(-|x|); 1 + e = 2^k (1 + f) needs no sum, as k is 0 or 1."""
    v = Floats(b, kind)
    e = exp(b, kind, v.neg(v.call("fabs", x)))
    above = v.select(v.compare("olt", x, 0.0), 0.0, x)
    return v.add(above, _log_of_one_and(v, e))


def _log_of_one_and(v: Floats, e: str) -> str:
    """log(1 + e) for e in [0, 1]."""
    upper = v.compare("ogt", e, math.sqrt(2.0) - 1.0)
    f = v.select(upper, v.mul(v.sub(e, 1.0), 0.5), e)
    return _of_parts(v, v.select(upper, 1.0, 0.0), f)


def logaddexp(b: Builder, kind: str, x: str, y: str) -> str:
    """The larger one and log(1 + exp(-d)) with their distance d, which is 0 between equal infinities.

    The rounding error of the distance is taken into the exponential.
    """
    v = Floats(b, kind)
    first = v.compare("ogt", x, y)
    larger, smaller = v.select(first, x, y), v.select(first, y, x)
    distance = v.sub(larger, smaller)
    back = v.sub(distance, larger)
    lost = v.sub(v.sub(larger, v.sub(distance, back)), v.add(smaller, back))
    lost = v.select(v.compare("olt", distance, math.inf), lost, 0.0)
    e = exp(b, kind, v.neg(v.select(v.compare("oeq", x, y), 0.0, distance)))
    return v.add(larger, _log_of_one_and(v, v.fma(v.neg(e), lost, e)))


def xlogy(b: Builder, kind: str, x: str, y: str) -> str:
    """x log(y), and 0 where x is 0 and y is a number."""
    v = Floats(b, kind)
    empty = v.logic("and", v.compare("oeq", x, 0.0), v.compare("ord", y, y))
    return v.select(empty, 0.0, v.mul(x, log(b, kind, y)))


def logit(b: Builder, kind: str, x: str) -> str:
    """log(q) with q = x / (1 - x), whose rounding error is added to m."""
    v = Floats(b, kind)
    below, lost = v.fast_two_sum(1.0, v.neg(x))
    q = v.div(x, below)
    rest = v.sub(v.fused(v.neg(q), below, x), v.mul(q, lost))
    k, m = v.split(q)
    f = v.add(v.sub(m, 1.0), v.scaled(v.div(rest, below), v.neg(k)))
    return _outside(v, q, q, _of_parts(v, k, f))


# 1 / ln 2 and 1 / ln 10 as sums of two, and log10(2) likewise, of which the first times any k is exact
_PER_LN2 = {
    "double": (1.4426950408889634, 2.0355273740931033e-17),
    "float": (1.4426950216293335, 1.9259629911266175e-08),
}
_PER_LN10 = {
    "double": (0.4342944819032518, 1.098319650216765e-17),
    "float": (0.4342944920063019, -1.0103050052231683e-08),
}
_LOG10_2 = {
    "double": (0.30102999566361177, 3.694239077158931e-13),
    "float": (0.301025390625, 4.605038981195214e-06),
}
_ONE = {"double": (1.0, 0.0), "float": (1.0, 0.0)}


def log2(b: Builder, kind: str, x: str) -> str:
    """k + log(m) / ln 2."""
    return _in_base(Floats(b, kind), x, _ONE[kind], _PER_LN2[kind])


def log10(b: Builder, kind: str, x: str) -> str:
    """k log10(2) + log(m) / ln 10."""
    return _in_base(Floats(b, kind), x, _LOG10_2[kind], _PER_LN10[kind])


def _in_base(v: Floats, x: str, base: tuple[float, float], per: tuple[float, float]) -> str:
    """The logarithm from that of m, f and a rest, multiplied as a sum of two, so that it is exact where it is an integer."""
    k, m = v.split(x)
    f = v.sub(m, 1.0)
    product, error = v.two_product(f, per[0])
    error = v.fma(f, per[1], v.fma(_rest(v, f), per[0], error))
    whole, rounding = v.fast_two_sum(v.mul(k, base[0]), product)
    value = v.add(whole, v.add(rounding, v.fma(k, base[1], error)))
    return _outside(v, x, x, value)


def _of_parts(v: Floats, k: str, f: str) -> str:
    """k ln 2 + log(1 + f), for f in [sqrt(1/2) - 1, sqrt(2) - 1]."""
    return v.fma(k, v.f.ln2_high, v.add(f, _rest(v, f, k)))


def _rest(v: Floats, f: str, k: str | float = 0.0) -> str:
    """log(1 + f) - f, for f in [sqrt(1/2) - 1, sqrt(2) - 1], and k times the second part of ln 2."""
    square = v.mul(f, f)
    if v.kind == "float":
        rest = v.mul(v.mul(f, square), v.polynomial(_FLOAT, f))
        return v.fma(-0.5, square, v.fma(k, v.f.ln2_low, rest))
    s = v.div(f, v.add(f, 2.0))
    z = v.mul(s, s)
    half = v.mul(square, 0.5)
    rest = v.fma(s, v.fma(z, v.polynomial(_DOUBLE, z), half), v.mul(k, v.f.ln2_low))
    return v.sub(rest, half)


def _outside(v: Floats, u: str, x: str, value: str) -> str:
    """`value` where `u` is positive, and the limits elsewhere; `x` is infinite where `u` is meant to be."""
    below = v.select(v.compare("oeq", u, 0.0), -math.inf, math.nan)
    value = v.select(v.compare("ogt", u, 0.0), value, below)
    return v.select(v.compare("oeq", x, math.inf), x, value)
