"""The complementary error function and the inverse error function, written once for NumPy and for compiled programs."""

from __future__ import annotations

import math

from backlit.core.op import Value, declare
from backlit.ops.arithmetic import Arithmetic, blended, evaluated, logarithm
from backlit.ops.elementwise import _FromOut, _Unary, exp
from backlit.ops.special import ERF

# Chebyshev interpolants, computed in 60 digits and written as powers; "float" is enough for results of float32.
# erfc(x) exp(x^2) (x + c) in powers of (x - c) / (x + c) for x from 0.98 to the end
_ERFC = {
    "double": (
        1.1023632384645727, -1.0049269806415524, 0.8339512420846505, -0.6281259956147449, 0.42728027748861674,
        -0.26052397656823045, 0.14074148036105869, -0.06614072529273694, 0.026198967167540627, -0.008209020093688882,
        0.0017034202699485127, -2.6846093224536438e-05, -0.00014249257505966913, 5.298427405374183e-05,
        -2.7326656929708537e-06, -4.845366719857564e-06, 1.5929771655192857e-06, 1.8638792317168466e-07,
        -2.1825325692536445e-07, 1.1119602968664556e-08, 1.6207027765697088e-08,
    ),
    "float": (
        1.08705558921895, -0.9377997254921481, 0.6941136562804175, -0.4352559590382495, 0.22573828376717214,
        -0.09232012942234412, 0.026522754022651134, -0.0031645221433793027, -0.0013264638126385254, 0.0006649144027975847,
    ),
}  # fmt: skip
_MIDDLE = {"double": 4.5, "float": 3.5}
_END = {"double": 28.0, "float": 10.2}  # beyond it erfc rounds to 0
_REST = (0.1283791670955126, *ERF[1:])  # (erf(x) - x) / x in powers of x^2 for x in [0, 1]
# erfinv(x) / x, with w = -log(1 - x^2), in powers of w - 3.125 for w < 6.25, of sqrt(w) - 3.25 for w < 16, of sqrt(w) - 5
_SMALL = {
    "double": (
        1.6536545626831027, 0.24015818242558834, -0.006033670871426906, -0.0007407025341546606, 0.0001867342080200777,
        -1.3882523393910815e-05, -1.3654691763841499e-06, 4.2347881676453456e-07, -2.907039077872447e-08,
        -4.112660397477052e-09, 1.0512230888257352e-09, -5.414304952311105e-11, -1.297869937190902e-11,
        2.630531337742911e-12, -8.07449243067256e-14, -4.0020829264429525e-14, 6.525479462848908e-15,
        -3.930968526850099e-17, -1.22598792895981e-16, 1.5504098946708723e-17, 6.374482098039843e-19,
        -3.4707135194374496e-19, 1.8828294738305912e-20, 3.1890418292274355e-21, -3.3951130932335774e-22,
    ),
    "float": (
        1.6536545627570454, 0.24015818217711754, -0.006033671592524378, -0.0007407015752793735, 0.0001867353423206257,
        -1.3883596215967277e-05, -1.3661237037478941e-06, 4.240098125864829e-07, -2.8898700243209354e-08,
        -4.248296133413763e-09, 1.030856735906922e-09, -3.541450886089831e-11, -1.2380678912620134e-11,
        1.289278955487362e-12,
    ),
}  # fmt: skip
_MEDIUM = {
    "double": (
        3.0838856104922208, 1.0052589676941655, 0.005370914553555065, -0.003751208508225203, 0.002491442097955614,
        -0.001688275535431934, 0.0009532893415979279, -0.0003550378140569427, 2.4031512790350547e-05,
        6.828711971800778e-05, -4.732068107105556e-05, 1.246501667859186e-05, 2.9325836925620252e-06,
        -3.985671650815318e-06, 1.4815758641900001e-06, -2.767719656140601e-08, -2.454519951494857e-07,
        1.316437074968839e-07, -2.096387532259778e-08, -1.5328105757683452e-08, 7.701461950759084e-09,
    ),
    "float": (
        3.083885610420558, 1.005258971397458, 0.005370923793612751, -0.003751344948822667, 0.0024912500254253523,
        -0.0016868420165384998, 0.0009547367270446198, -0.0003613943470324923, 1.919073587752249e-05,
        8.154256291373154e-05, -4.0230699957906475e-05,
    ),
}  # fmt: skip
_LARGE = {
    "double": (
        4.849906401408584, 1.0103004648645448, -0.0001387193183801902, -0.00021503011980066316, 7.599527809827346e-05,
        -1.9681771169278497e-05, 4.526052506749913e-06, -9.930257146215631e-07, 2.2905294115748204e-07,
        -6.75717535242865e-08, 2.9018215825972834e-08, -1.52162528679017e-08, 7.822303829308958e-09,
        -3.5300345937181947e-09, 1.315012195344782e-09, -3.846341341145749e-10, 7.014702028605048e-11,
        1.6701640883499086e-11, -2.052981210228395e-11, 5.458891721019951e-12,
    ),
    "float": (
        4.849906401416477, 1.0103004697626647, -0.00013872081855543302, -0.00021509106272918214, 7.60147971980115e-05,
        -1.948122002480178e-05, 4.455086416478177e-06, -1.2240542785693946e-06, 3.1960233022124846e-07,
    ),
}  # fmt: skip


def erfc_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """1 - x - (erf(x) - x) near 0; beyond, exp(-x^2) p(t) / (|x| + c) with t = (|x| - c) / (|x| + c), or 2 less it.

    The rounding error of x^2 is added to what is left of the exponent when multiples of ln 2 are taken out.
    """
    near = v.fma(v.neg(x), v.polynomial(_REST, v.mul(x, x)), v.sub(1.0, x))
    size, c = v.limited(v.call("fabs", x), "ogt", _END[kind]), _MIDDLE[kind]
    square, error = v.two_product(size, size)
    k, _, r = v.reduced(v.neg(square))
    r = v.sub(r, error)
    more = v.fma(v.mul(r, r), v.series(r, 2), r)  # exp(r) - 1
    below = v.add(size, c)
    t = v.div(v.sub(size, c), below)
    tail = v.div(v.polynomial(_ERFC[kind], t), below)
    tail = v.scaled(v.fma(tail, more, tail), k)
    far = v.select(v.compare("olt", x, 0.0), v.sub(2.0, tail), tail)
    return v.select(v.compare("olt", size, 1.0), near, far)


def erfinv_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """x times a function of log(1 - x^2) (Giles, GPU Computing Gems 2, 2012)."""
    size = v.call("fabs", x)
    inside = v.mul(v.sub(1.0, size), v.add(1.0, size))
    high, low = logarithm(v, v.select(v.compare("ogt", inside, 0.0), inside, 1.0))
    w = v.neg(v.add(high, low))
    root = v.call("sqrt", v.limited(w, "olt", 0.0))
    small, medium = v.compare("olt", w, 6.25), v.compare("olt", w, 16.0)
    t = v.select(small, v.sub(w, 3.125), v.sub(root, v.select(medium, 3.25, 5.0)))
    outer = [*_LARGE[kind], *[0.0] * (len(_MEDIUM[kind]) - len(_LARGE[kind]))]
    outer = blended(v, medium, _MEDIUM[kind], outer)
    inner = [*_SMALL[kind]]
    outer += [0.0] * (len(inner) - len(outer))
    table = [v.select(small, a, b) for a, b in zip(inner, outer, strict=True)]
    value = v.mul(x, v.polynomial(table, t))
    ends = v.select(v.compare("oeq", size, 1.0), v.call("copysign", math.inf, x), math.nan)
    return v.select(v.compare("olt", size, 1.0), value, ends)


class Erfc(_Unary):
    """1 less the error function: a primitive, as the difference loses all digits of the tail."""

    name, notation, forward = "erfc", r"\operatorname{{erfc}} {x}", staticmethod(evaluated(erfc_of))

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (-2.0 / math.sqrt(math.pi)) * exp(-(x * x))


class Erfinv(_FromOut):
    """Inverse of the error function; its derivative at -1 and 1 is inf."""

    name, notation, forward = "erfinv", r"\operatorname{{erf}}^{{-1}} {x}", staticmethod(evaluated(erfinv_of))
    domain = (-0.9, 0.9)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (0.5 * math.sqrt(math.pi)) * exp(out * out)


erfc, erfinv = declare(Erfc), declare(Erfinv)
