"""Elementary functions in LLVM IR: branch-free, the same instructions for every element.

exp: x = k ln 2 + r with |r| <= ln(2) / 2 (k by adding and subtracting 1.5 * 2^mantissa, r in two parts by fused multiply
and add), a polynomial of exp(r), then a scaling by 2^k that rounds once where the result is subnormal. tanh and sigmoid stand on it. Measured errors are in the tests and in docs/design.md.
"""

from __future__ import annotations

from backlit.compiler.llvm.arithmetic import Builder, Floats


def exp(b: Builder, kind: str, x: str) -> str:
    """exp(x) for vectors of `kind`; NaN stays, +inf and what overflows give inf, -inf and what vanishes 0."""
    v = Floats(b, kind)
    x = v.limited(v.limited(x, "olt", v.f.lowest), "ogt", v.f.highest)
    k, _, r = v.reduced(x)
    return v.scaled(v.series(r, 0), k)


def tanh(b: Builder, kind: str, x: str) -> str:
    """tanh(x) = m / (m + 2) with m = exp(2 |x|) - 1 = 2^k (exp(r) - 1) + (2^k - 1), in the sign of x."""
    v = Floats(b, kind)
    size = v.call("fabs", x)
    _, k, r = v.reduced(v.limited(v.add(size, size), "ogt", 44.0))  # beyond it tanh rounds to 1
    power = v.power(k)
    m = v.fma(power, v.fma(v.mul(r, r), v.series(r, 2), r), v.sub(power, 1.0))
    return v.call("copysign", v.div(m, v.add(m, 2.0)), x)


def sigmoid(b: Builder, kind: str, x: str) -> str:
    """1 / (1 + exp(-x)): with e = exp(-|x|) it is 1 / (1 + e) or e / (1 + e), exact in both tails."""
    v = Floats(b, kind)
    e = exp(b, kind, v.neg(v.call("fabs", x)))
    above = v.select(v.compare("olt", x, 0.0), e, 1.0)
    return v.div(above, v.add(e, 1.0))
