"""expm1 in LLVM IR, branch-free, on the reduction of exp."""

from __future__ import annotations

from backlit.compiler.llvm.arithmetic import Builder, Floats


def expm1(b: Builder, kind: str, x: str) -> str:
    """exp(x) - 1 = 2^k (exp(r) - 1) + (2^k - 1), in the sign of x.

    It is computed as twice its half, whose power of two is a normal number, except for k = 0, where halving could round.
    """
    v = Floats(b, kind)
    lowest = -0.7 * (v.f.mantissa_bits + 3)  # below it exp(x) - 1 rounds to -1
    limited = v.limited(v.limited(x, "olt", lowest), "ogt", v.f.highest)
    k_float, k, r = v.reduced(limited)
    curved = v.mul(v.mul(r, r), v.series(r, 2))  # exp(r) - 1 = r + curved, of which r meets the power first
    power = v.power(v.integer("sub", k, 1))
    half = v.fma(power, curved, v.fma(power, r, v.sub(power, 0.5)))
    value = v.select(v.compare("oeq", k_float, 0.0), v.add(r, curved), v.add(half, half))
    return v.call("copysign", value, x)
