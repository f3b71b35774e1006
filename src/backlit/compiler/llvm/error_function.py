"""erf and the normal distribution function in LLVM IR, branch-free."""

from __future__ import annotations

import math

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.ops.special import NEAR, NORMAL

# Near 0, (erf(x) / x - 1) in powers of x^2: Chebyshev interpolants, computed in 60 digits. Beyond, log(erfc(x)) in powers
# of x: the least greatest error weighted by erfc, by reweighted least squares in 45 digits.
_CUT = 0.84
_NEAR = {
    "double": (
        0.1283791670955126, -0.3761263890318375, 0.11283791670954775, -0.02686617064503848, 0.005223977624171083,
        -0.0008548326920588401, 0.00012055327697362146, -1.4925471268019038e-05, 1.6458051806890862e-06,
        -1.63046150641907e-07, 1.4215069808219508e-08, -8.905151131672966e-10,
    ),
    "float": (
        0.12837916148425285, -0.37612581573974463, 0.1128283764927716, -0.02680770981243049, 0.005060081085695402,
        -0.0006369561267173179,
    ),
}  # fmt: skip
_FAR = {
    "double": (
        -3.560768264654955e-08, -1.1283787844947626, -0.6366216371497876, -0.10276721989048421, 0.019118506200018186,
        0.0002204581701000836, -0.0017008751493672782, 0.0005808831450829533, -2.6499615364291004e-06,
        -9.385487570203278e-05, 5.547714666217328e-05, -2.020786052872591e-05, 5.359764418290023e-06,
        -1.0756033397156963e-06, 1.6308104156648332e-07, -1.8192840910239206e-08, 1.4120908533540897e-09,
        -6.817178022754008e-11, 1.5415019540186471e-12,
    ),
    "float": (
        -0.00010606804243701258, -1.1280521237467762, -0.6365386339397585, -0.1045040245037529, 0.022506066653480532,
        -0.003113946539751968, 0.00020320985703575032,
    ),
}  # fmt: skip
_END = {"double": 6.0, "float": 4.0}  # beyond it erf rounds to 1


def erf(b: Builder, kind: str, x: str) -> str:
    """erf(x) = x + x p(x^2) near 0 and 1 - exp(q(|x|)) beyond, in the sign of x."""
    v = Floats(b, kind)
    near = v.fma(x, v.polynomial(_NEAR[kind], v.mul(x, x)), x)
    size = v.limited(v.call("fabs", x), "ogt", _END[kind])
    _, k, r = v.reduced(v.polynomial(_FAR[kind], size))
    far = v.fma(v.neg(v.series(r, 0)), v.power(k), 1.0)
    return v.select(v.compare("olt", size, _CUT), near, v.call("copysign", far, x))


# The middle of a table of the normal distribution, and the table: see `backlit.ops.special.NORMAL`.
_MIDDLE = {"double": 5.0, "float": 4.0}
_NORMAL = {
    "double": NORMAL,
    "float": (
        0.7552851305143015, -0.6078966580426609, 0.38713737952362165, -0.1865213017134739, 0.06039734142481458,
        -0.007545272732362391, -0.0034883282635644673, 0.0016460881936456652, 0.000169712477620086, -0.00023404601875472394,
        -5.242546261216687e-05,
    ),
}  # fmt: skip
_LAST = {"double": 39.0, "float": 14.6}  # beyond it the lower tail rounds to 0


def normal_cdf(b: Builder, kind: str, x: str) -> str:
    """(1 + erf(x / sqrt(2))) / 2 near 0; beyond, exp(-x^2 / 2) p(t) / (|x| + c) with t = (|x| - c) / (|x| + c), or 1 less it.

    The rounding error of x^2 is added to what is left of the exponent when multiples of ln 2 are taken out.
    """
    v, c = Floats(b, kind), _MIDDLE[kind]
    z = v.mul(x, math.sqrt(0.5))
    near = v.fma(v.fma(z, v.polynomial(_NEAR[kind], v.mul(z, z)), z), 0.5, 0.5)
    size = v.limited(v.call("fabs", x), "ogt", _LAST[kind])
    square, error = v.two_product(size, size)
    k_float, k, r = v.reduced(v.mul(square, -0.5))
    _, half = v.rounded(k_float, 0.5)
    r = v.fma(error, -0.5, r)
    more = v.fma(v.mul(r, r), v.series(r, 2), r)  # exp(r) - 1, whose rounding counts for less than that of exp(r)
    below = v.add(size, c)
    t = v.div(v.sub(size, c), below)
    tail = v.div(v.polynomial(_NORMAL[kind], t), below)
    tail = v.mul(v.fma(tail, more, tail), v.power(half))
    tail = v.mul(tail, v.power(v.integer("sub", k, half)))
    far = v.select(v.compare("olt", x, 0.0), tail, v.sub(1.0, tail))
    return v.select(v.compare("olt", size, NEAR), near, far)
