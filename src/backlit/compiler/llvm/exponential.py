"""expm1 and exp2 in LLVM IR, branch-free, on the reduction of exp."""

from __future__ import annotations

from backlit.compiler.llvm.arithmetic import Builder, Floats

# (2^r - 1) / r for |r| <= 1/2: Chebyshev interpolants, computed in 60 digits and written as powers
_EXP2 = {
    "double": (
        0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.009618129107628484, 0.0013333558146406362,
        0.00015403530393362662, 1.525273384169372e-05, 1.3215486816094161e-06, 1.0178057017441574e-07,
        7.054894344554558e-09, 4.455830383724813e-10, 2.5733635085969462e-11,
    ),
    "float": (
        0.6931471805568166, 0.24022650923159794, 0.0555041090647577, 0.009618056495684982, 0.001333347827555982,
        0.00015461517102109107, 1.5303763726736592e-05,
    ),
}  # fmt: skip


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


def exp2(b: Builder, kind: str, x: str) -> str:
    """2^k 2^r with x = k + r, so that it is exact at integers."""
    v = Floats(b, kind)
    lowest, highest = -float(v.f.bias + v.f.mantissa_bits + 1), float(v.f.bias + 1)
    x = v.limited(v.limited(x, "olt", lowest), "ogt", highest)
    k, _ = v.rounded(x, 1.0)
    r = v.sub(x, k)
    return v.scaled(v.fma(r, v.polynomial(_EXP2[kind], r), 1.0), k)
