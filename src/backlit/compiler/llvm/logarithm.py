"""log, log1p and softplus in LLVM IR, branch-free.

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
    upper = v.compare("ogt", e, math.sqrt(2.0) - 1.0)
    f = v.select(upper, v.mul(v.sub(e, 1.0), 0.5), e)
    above = v.select(v.compare("olt", x, 0.0), 0.0, x)
    return v.add(above, _of_parts(v, v.select(upper, 1.0, 0.0), f))


def _of_parts(v: Floats, k: str, f: str) -> str:
    """k ln 2 + log(1 + f), for f in [sqrt(1/2) - 1, sqrt(2) - 1]."""
    square = v.mul(f, f)
    if v.kind == "float":
        rest = v.mul(v.mul(f, square), v.polynomial(_FLOAT, f))
        rest = v.fma(-0.5, square, v.fma(k, v.f.ln2_low, rest))
    else:
        s = v.div(f, v.add(f, 2.0))
        z = v.mul(s, s)
        half = v.mul(square, 0.5)
        rest = v.fma(s, v.fma(z, v.polynomial(_DOUBLE, z), half), v.mul(k, v.f.ln2_low))
        rest = v.sub(rest, half)
    return v.fma(k, v.f.ln2_high, v.add(f, rest))


def _outside(v: Floats, u: str, x: str, value: str) -> str:
    """`value` where `u` is positive, and the limits elsewhere; `x` is infinite where `u` is meant to be."""
    below = v.select(v.compare("oeq", u, 0.0), -math.inf, math.nan)
    value = v.select(v.compare("ogt", u, 0.0), value, below)
    return v.select(v.compare("oeq", x, math.inf), x, value)
