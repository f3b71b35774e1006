"""pow in LLVM IR, branch-free: exp(y log|x|), then the sign and the special cases of C's pow.

log m = 2 s + s (2/3 s^2 + ...) with s = (m - 1) / (m + 1). Its error is multiplied by up to 745, so for doubles every
term that matters is a pair of numbers, the second the rounding error of the first; for floats doubles are wide enough.
"""

from __future__ import annotations

import math

from backlit.compiler.llvm.arithmetic import Builder, Floats

# Chebyshev interpolants, computed in 60 digits and written as powers of z = s^2, for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1).
_LOG2 = (  # 2 artanh(s) / (s ln 2)
    2.88539008177785, 0.9617966941132127, 0.5770779423594591, 0.412209256786155, 0.3199053739227617, 0.2829066165906811,
)  # fmt: skip
_EXP2 = (  # 2^s for |s| <= 0.5005, in powers of s
    0.9999999999592369, 0.6931471805568075, 0.24022651216614133, 0.055504109065657, 0.009618025198219938,
    0.0013333478154201467, 0.00015469861921601935, 1.530380284962428e-05,
)  # fmt: skip
_LONG = (  # (2 artanh(s) / s - 2 - 2/3 z) / z^2
    0.4, 0.2857142857142937, 0.22222222221652765, 0.18181818336099848, 0.1538459488700718, 0.1333480879881234,
    0.11706126464563398, 0.11724327060846747,
)  # fmt: skip
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def pow(b: Builder, kind: str, x: str, y: str) -> str:
    """x to the power y, with the special cases of C."""
    v = Floats(b, kind)
    size = v.call("fabs", x)
    # an infinite y is an even integer like the largest number, and leaves no 0 * inf
    finite = v.limited(v.limited(y, "ogt", v.f.largest), "olt", -v.f.largest)
    # 0 and infinity are given finite logarithms of the right sign
    at_end = v.logic("or", v.compare("oeq", size, 0.0), v.compare("oeq", size, math.inf))
    exponent = v.select(at_end, v.call("copysign", math.inf, y), finite)
    size = v.limited(v.limited(size, "olt", v.f.smallest), "ogt", v.f.largest)
    value = _wide(v, size, exponent) if kind == "double" else _narrow(v, size, exponent)

    floor, half = v.call("floor", finite), v.mul(finite, 0.5)
    odd = v.logic("and", v.compare("oeq", floor, finite), v.compare("une", v.call("floor", half), half))
    negative = v.logic("and", v.compare("olt", x, 0.0), v.compare("ogt", x, -math.inf))
    undefined = v.logic("and", negative, v.compare("une", floor, finite))
    value = v.select(v.logic("or", undefined, v.compare("uno", x, y)), math.nan, value)
    value = v.select(v.logic("or", v.compare("oeq", x, 1.0), v.compare("oeq", y, 0.0)), 1.0, value)
    return v.select(odd, v.call("copysign", value, x), value)


def _narrow(v: Floats, x: str, y: str) -> str:
    """x to the power y for positive x, by way of doubles."""
    b, d = v.b, Floats(v.b, "double")
    x, y = (b.new(f"fpext {v.typed} {operand} to {d.typed}") for operand in (x, y))
    k, m = d.split(x)
    s = d.div(d.sub(m, 1.0), d.add(m, 1.0))
    exponent = d.mul(y, d.fma(s, d.polynomial(_LOG2, d.mul(s, s)), k))
    exponent = d.limited(d.limited(exponent, "olt", -200.0), "ogt", 200.0)  # a float is inf or 0 far earlier
    n_float, n = d.rounded(exponent, 1.0)
    value = d.mul(d.polynomial(_EXP2, d.sub(exponent, n_float)), d.power(n))
    return b.new(f"fptrunc {d.typed} {value} to {v.typed}")


def _wide(v: Floats, x: str, y: str) -> str:
    """x to the power y for positive x, to the last digit but for a rounding."""
    high, low = _logarithm(v, x)
    if not v.has_fma:  # so that no part of a product overflows: the logarithm of what is not 1 is 2^-53 at least
        y = v.limited(v.limited(y, "ogt", 2.0**80), "olt", -(2.0**80))
    exponent, error = v.two_product(y, high)
    error = v.fma(y, low, error)
    beyond = v.compare("ogt", v.call("fabs", exponent), 750.0)
    error = v.select(beyond, 0.0, error)
    exponent = v.limited(v.limited(exponent, "olt", v.f.lowest), "ogt", v.f.highest)
    return _exponential(v, exponent, error)


def _logarithm(v: Floats, x: str) -> tuple[str, str]:
    """log(x) as a sum of two, for positive x."""
    k, m = v.split(x)
    f = v.sub(m, 1.0)
    t, t_low = v.fast_two_sum(1.0, m)  # m < 2, so the errors are those of a sum in order of size
    inverse = v.div(1.0, t)
    s = v.mul(f, inverse)
    rest = v.fma(v.neg(s), t_low, v.fused(v.neg(s), t, f))
    s_low = v.mul(rest, inverse)
    z, z_low = v.two_product(s, s)
    z_low = v.fma(v.add(s, s), s_low, z_low)
    c, c_low = v.fast_two_sum(_TWO_THIRDS[0], v.mul(z, v.polynomial(_LONG, z)))
    c_low = v.add(c_low, _TWO_THIRDS[1])
    u, u_low = _product(v, (z, z_low), (c, c_low))
    w, w_low = _product(v, (s, s_low), (u, u_low))
    log, low = v.fast_two_sum(v.add(s, s), w)
    low = v.add(low, v.fma(s_low, 2.0, w_low))
    whole, error = v.fast_two_sum(v.mul(k, v.f.ln2_high), log)
    return v.fast_two_sum(whole, v.add(error, v.fma(k, v.f.ln2_low, low)))


def _product(v: Floats, x: tuple[str, str], y: tuple[str, str]) -> tuple[str, str]:
    """The product of two sums of two, without the least term."""
    high, low = v.two_product(x[0], y[0])
    return high, v.fma(x[0], y[1], v.fma(x[1], y[0], low))


def _exponential(v: Floats, x: str, low: str) -> str:
    """exp(x + low), rounded nearly once."""
    k, _, _ = v.reduced(x)
    first = v.fma(k, -v.f.ln2_high, x)  # exact
    r = v.fma(k, -v.f.ln2_low, first)
    low = v.add(low, v.fma(k, -v.f.ln2_low, v.sub(first, r)))
    r, low = v.fast_two_sum(r, low)
    curved = v.fma(v.mul(r, r), v.series(r, 2), low)
    value, error = v.fast_two_sum(1.0, r)
    value = v.add(value, v.add(error, curved))
    return v.scaled(value, k)
