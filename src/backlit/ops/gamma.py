"""The logarithm of the gamma function and its derivatives: lgamma, digamma, trigamma, polygamma.

The first three are written once, for NumPy and for compiled programs: for positive arguments polynomials on some intervals
and asymptotic series beyond, without branches; for negative ones, rarely, by reflection.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.op import Value, declare
from backlit.core.tensor import Tensor
from backlit.ops.arithmetic import PI_LOW, RARE, Arithmetic, blended, evaluated, half_turns, logarithm
from backlit.ops.elementwise import _Binary, _Unary

# Chebyshev interpolants, computed in 60 digits and written as powers; "float" is enough for results of float32.
# lgamma(2 + t) / t for t in [-0.5, 1], and lgamma(1 + t) / t for t in [-0.3, 0.5]
_TWO = {
    "double": (
        0.42278433509846713, 0.3224670334241132, -0.06735230105319792, 0.020580808427787232, -0.007385551028689761,
        0.002890510330626447, -0.0011927539111111387, 0.0005096695267514671, -0.0002231547697811135,
        9.945749870765462e-05, -4.492611718996814e-05, 2.0507204474690508e-05, -9.440183013370337e-06,
        4.375573271890351e-06, -2.0372665980775083e-06, 9.510699713646226e-07, -4.500028290308595e-07,
        2.208385577784409e-07, -1.0817753824749116e-07, 4.503613522976948e-08, -1.2634737610934518e-08,
        1.6757674597634894e-09,
    ),
    "float": (
        0.42278433506125107, 0.3224670328071274, -0.06735229536330224, 0.020580834182031216, -0.007385704606172498,
        0.002890286373211548, -0.0011912327452083288, 0.000509588377700829, -0.00022907947542289737,
        0.00010534445485346381, -3.963121503344372e-05, 7.702752199823452e-06,
    ),
}  # fmt: skip
_ONE = {
    "double": (
        -0.5772156649015329, 0.8224670334241132, -0.400685634386532, 0.2705808084277902, -0.2073855510285001,
        0.16955717699613507, -0.144049896788999, 0.1255096696609657, -0.11133426474101522, 0.10009944942311476,
        -0.09095404971516496, 0.08335412611891226, -0.07693210329105474, 0.0714268249265164, -0.06666714460550927,
        0.06257846449204992, -0.05894543721668472, 0.05504805436457059, -0.0510720856017519, 0.05070998140957152,
        -0.05570656158844726, 0.054674906878442224, -0.035297097637565986, 0.01035566938138777,
    ),
    "float": (
        -0.5772156648997308, 0.8224670352632196, -0.4006856369075586, 0.2705804667895451, -0.20738493759993543,
        0.16957474514796408, -0.14409243706975783, 0.12515930394939695, -0.11019938435574902, 0.10253080734438375,
        -0.10327903779195752, 0.08734319326922367, -0.03715413771810714,
    ),
}  # fmt: skip
# x (lgamma(x) - (x - 1/2) (log x - 1) - log(2 pi) / 2 + 1/2) in powers of 1 / x^2 for x >= 5
_STIRLING = {
    "double": (
        0.08333333333333331, -0.002777777777736899, 0.0007936507717506179, -0.0005952335928941564, 0.0008412908260318029,
        -0.0018914497385617598, 0.005554694448516966, -0.013274175433857973,
    ),
    "float": (
        0.08333333224867163, -0.0027772846663357102, 0.0007600902347688285,
    ),
}  # fmt: skip
# digamma(x) / (x - root) in powers of x - 1.5 for x in [1, 2], and digamma(x) in powers of x - 3 for x in [2, 4]
_DIGAMMA_ONE = {
    "double": (
        0.9510558760318328, -0.4236274212814606, 0.24054248424078736, -0.14840492305388006, 0.09498872445282817,
        -0.06192213327556183, 0.040760833944741226, -0.02697579665686472, 0.01790724819228875, -0.011908220169786002,
        0.007927024136843637, -0.0052799364178857415, 0.0035180792717028125, -0.0023455016279107115,
        0.0015635739915515125, -0.0010364227247828023, 0.0006899428514219089, -0.00048606417050412354,
        0.00032689316473621455, -0.00014460384609240088, 9.158816882117e-05, -0.00017837342400462423,
        0.00012241591000024265,
    ),
    "float": (
        0.9510558760498402, -0.42362741856424435, 0.24054247724345762, -0.14840522406207005, 0.09498916711445615,
        -0.0619126468295663, 0.04075038012134311, -0.027102974854724293, 0.018023884622986798, -0.011091655135248906,
        0.007269435907259108, -0.007703459882210802, 0.005284585840456127,
    ),
}  # fmt: skip
_DIGAMMA_TWO = {
    "double": (
        0.9227843350984671, 0.39493406684822646, -0.07705690315959438, 0.019823233711134786, -0.005677755143365974,
        0.001718061984537093, -0.000536777381996082, 0.00017110619689750988, -5.526782538179301e-05,
        1.8012634726274093e-05, -5.9073580622982785e-06, 1.9459005362313045e-06, -6.430210504939172e-07,
        2.1305020420720545e-07, -7.06908916015698e-08, 2.3350840643755013e-08, -7.752580403428603e-09,
        2.72490887509844e-09, -9.150167991130823e-10, 2.02412568359181e-10, -6.404283837950141e-11, 6.224200096242946e-11,
        -2.1350680305284396e-11,
    ),
    "float": (
        0.9227843350851603, 0.3949340658402816, -0.07705690186683972, 0.019823261627756085, -0.0056777755899443975,
        0.0017178420098831015, -0.0005366566565673399, 0.0001718435718780315, -5.560460818316508e-05,
        1.6828727024602198e-05, -5.432573261922742e-06, 2.8248072786396145e-06, -9.620111201721715e-07,
    ),
}  # fmt: skip
# x^2 (log x - 1 / (2 x) - digamma(x)) in powers of 1 / x^2 for x >= 4
_DIGAMMA_LARGE = {
    "double": (
        0.0833333333333333, -0.00833333333322862, 0.003968253911206483, -0.004166654502142462, 0.00757442250999476,
        -0.0210068405142634, 0.07984261222759502, -0.3496489461114357, 1.3252125246978461, -2.789902183327773,
    ),
    "float": (
        0.08333333268927957, -0.008332996728794163, 0.003940366809219255, -0.003399857368265955,
    ),
}  # fmt: skip
# trigamma(x) in powers of x - 1.5 for x in [1, 2], and of x - 3 for x in [2, 4]
_TRIGAMMA_ONE = {
    "double": (
        0.9348022005446793, -0.8287966442343199, 0.7045455170012181, -0.5790416377779087, 0.463064525101577,
        -0.3621493650205592, 0.2780808133220816, -0.21030987328689327, 0.15705320220949961, -0.11604071799470868,
        0.08496878329898323, -0.06174052306421802, 0.044566737089543916, -0.031984273312258636, 0.022840977850181226,
        -0.016259764971882362, 0.011520326461733375, -0.008019095725740303, 0.005627134938800117, -0.004391182152045137,
        0.0031156953476403054, -0.001063775547956939, 0.0006775788762954757, -0.0020891833615276248, 0.0014933783227438191,
    ),
    "float": (
        0.9348022005353651, -0.8287966457606789, 0.7045455217298899, -0.5790414121902364, 0.4630641321682282,
        -0.36215897764923766, 0.27809320831342976, -0.21013023156336955, 0.1568622618346808, -0.11774812440283948,
        0.08655062035800466, -0.053209593912666366, 0.037446356899759455, -0.05269096985435626, 0.03872772205816632,
    ),
}  # fmt: skip
_TRIGAMMA_TWO = {
    "double": (
        0.39493406684822646, -0.15411380631918856, 0.05946970113341455, -0.02271102057348089, 0.008590309922247229,
        -0.003220664291500741, 0.0011977433855769146, -0.00044214260917115023, 0.0001621136507421365,
        -5.907353712569436e-05, 2.140520883375526e-05, -7.71644083055692e-06, 2.768735527670803e-06,
        -9.891512449852937e-07, 3.5202348750404564e-07, -1.249844780069516e-07, 4.4194122767179715e-08,
        -1.5360665263924968e-08, 5.383720761452973e-09, -2.098484119250407e-09, 7.440506385904018e-10,
        -1.2709017173476456e-10, 4.045874230504086e-11, -6.229541726936222e-11, 2.2261776794866828e-11,
    ),
    "float": (
        0.39493406691859456, -0.1541138065111197, 0.05946969430498066, -0.022711013481689128, 0.008590417759916744,
        -0.003220739842200207, 0.0011971079927402875, -0.0004417896167180171, 0.00016388070837699043,
        -5.9912355322617295e-05, 1.892676302403336e-05, -6.6685354463803456e-06, 4.416769833091783e-06,
        -1.6251993318952373e-06,
    ),
}  # fmt: skip
# x^3 (trigamma(x) - 1 / x - 1 / (2 x^2)) in powers of 1 / x^2 for x >= 4
_TRIGAMMA_LARGE = {
    "double": (
        0.16666666666666666, -0.03333333333329566, 0.023809523779825377, -0.033333324092170914, 0.07575607380581359,
        -0.2529672159190369, 1.1574073600478294, -6.691311951925139, 42.61041684321512, -245.57629011691,
        1014.1971887664247, -2090.7215069185168,
    ),
    "float": (
        0.166666666418922, -0.03333313016036284, 0.023782506822492975, -0.032041158324307976, 0.048742127972943805,
    ),
}  # fmt: skip
_ROOT = (1.4616321449683622, 9.549995429965697e-17)  # where digamma is 0
_LARGEST = float(np.finfo(np.float64).max)


def lgamma_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """log |gamma(x)|: infinite at 0 and the negative integers, and at both infinities."""
    return v.rarely("lgamma", x, _lgamma(v, kind, v.call("fabs", x)))


def _lgamma(v: Arithmetic, kind: str, x: Value) -> Value:
    """log gamma(x) of positive numbers.

    Near 1 and 2, where it is 0, and between them it is a polynomial of what `x` is beyond them; up to 5 the logarithm
    of what x has beyond [1, 3] as factors is added, and below 0.7 that of x is subtracted.
    """
    small, beyond, large = v.compare("olt", x, 0.7), v.compare("oge", x, 3.0), v.compare("oge", x, 5.0)
    fourth = v.compare("oge", x, 4.0)
    factors = v.sub(x, 1.0)
    factors = v.select(fourth, v.mul(factors, v.sub(x, 2.0)), factors)
    argument = v.select(large, x, v.select(beyond, factors, v.select(small, x, 1.0)))
    high, low = logarithm(v, v.limited(argument, "ogt", _LARGEST))

    upper = v.compare("oge", x, 1.5)
    offset = v.select(upper, v.select(beyond, v.select(fourth, 4.0, 3.0), 2.0), 1.0)
    tiny = v.compare("olt", x, 0.5)
    offset = v.select(tiny, 0.0, offset)
    t = v.sub(x, offset)
    first = v.logic("or", tiny, v.logic("and", v.compare("oge", x, 0.7), v.compare("olt", x, 1.5)))
    near = v.mul(t, v.polynomial(blended(v, first, _ONE[kind], _TWO[kind]), t))
    near = v.select(small, v.sub(v.sub(near, low), high), v.add(high, v.add(low, near)))

    z = v.div(1.0, x)
    rest = v.fma(z, v.polynomial(_STIRLING[kind], v.mul(z, z)), 0.5 * math.log(2.0 * math.pi) - 0.5)
    half = v.sub(x, 0.5)
    far = v.fma(half, v.sub(high, 1.0), v.fma(half, low, rest))
    value = v.select(large, far, near)
    ends = v.logic("or", v.compare("oeq", x, 0.0), v.compare("oeq", x, math.inf))
    return v.select(v.compare("uno", x, x), x, v.select(ends, math.inf, value))


def _reflected_lgamma(v: Arithmetic, x: Value) -> Value:
    """log(pi / |x sin(pi x)|) - lgamma(-x)."""
    size = v.call("fabs", x)
    sine, _, _, _ = half_turns(v, size)
    high, low = logarithm(v, v.div(math.pi, v.mul(size, sine)))
    value = v.add(v.sub(high, _lgamma(v, "double", size)), low)
    pole = v.logic("or", v.compare("oeq", sine, 0.0), v.compare("oeq", size, math.inf))
    return v.select(v.compare("uno", x, x), x, v.select(pole, math.inf, value))


def digamma_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """The derivative of `lgamma_of`: -inf at 0, inf at -0, NaN at the negative integers and at -inf."""
    z = v.div(1.0, x)
    near = _digamma_up_to_four(v, kind, x)
    near = v.select(v.compare("olt", x, 1.0), v.sub(near, z), near)
    high, low = logarithm(v, v.limited(v.limited(x, "olt", 1.0), "ogt", _LARGEST))
    w = v.mul(z, z)
    far = v.add(high, v.sub(low, v.fma(w, v.polynomial(_DIGAMMA_LARGE[kind], w), v.mul(z, 0.5))))
    value = v.select(v.compare("oge", x, 4.0), far, near)
    value = v.select(v.compare("oeq", x, math.inf), x, value)
    return v.rarely("digamma", x, v.select(v.compare("uno", x, x), x, value))


def _digamma_up_to_four(v: Arithmetic, kind: str, x: Value) -> Value:
    """digamma(1 + x) for x below 1, digamma(x) for x in [1, 4]."""
    small, first = v.compare("olt", x, 1.0), v.compare("olt", x, 2.0)
    t = v.sub(x, v.select(first, v.select(small, 0.5, 1.5), 3.0))
    from_root = v.sub(v.sub(x, v.select(small, _ROOT[0] - 1.0, _ROOT[0])), _ROOT[1])
    value = v.polynomial(blended(v, first, _DIGAMMA_ONE[kind], _DIGAMMA_TWO[kind]), t)
    return v.select(first, v.mul(from_root, value), value)


def _reflected_digamma(v: Arithmetic, x: Value) -> Value:
    """digamma(1 - x) - pi / tan(pi x)."""
    size = v.call("fabs", x)
    beyond = v.select(
        v.compare("olt", size, 1.0),
        _digamma_up_to_four(v, "double", v.limited(size, "ogt", 4.0)),
        v.add(digamma_of(_Unreflected(v), "double", size), v.div(1.0, size)),
    )
    sine, _, cosine, sign = half_turns(v, size)
    value = v.add(beyond, v.div(v.mul(v.mul(cosine, sign), math.pi), sine))
    return v.select(v.compare("oeq", sine, 0.0), math.nan, value)


def trigamma_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """The derivative of `digamma_of`: inf at 0 and the negative integers, NaN at -inf."""
    z = v.div(1.0, x)
    w = v.mul(z, z)
    near = _trigamma_up_to_four(v, kind, x)
    near = v.select(v.compare("olt", x, 1.0), v.add(near, w), near)
    far = v.fma(w, v.fma(z, v.polynomial(_TRIGAMMA_LARGE[kind], w), 0.5), z)
    return v.rarely("trigamma", x, v.select(v.compare("oge", x, 4.0), far, near))


def _trigamma_up_to_four(v: Arithmetic, kind: str, x: Value) -> Value:
    """trigamma(1 + x) for x below 1, trigamma(x) for x in [1, 4]."""
    small, first = v.compare("olt", x, 1.0), v.compare("olt", x, 2.0)
    t = v.sub(x, v.select(first, v.select(small, 0.5, 1.5), 3.0))
    return v.polynomial(blended(v, first, _TRIGAMMA_ONE[kind], _TRIGAMMA_TWO[kind]), t)


def _reflected_trigamma(v: Arithmetic, x: Value) -> Value:
    """(pi / sin(pi x))^2 - trigamma(1 - x)."""
    size = v.call("fabs", x)
    z = v.div(1.0, size)
    beyond = v.select(
        v.compare("olt", size, 1.0),
        _trigamma_up_to_four(v, "double", v.limited(size, "ogt", 4.0)),
        v.fma(v.neg(z), z, trigamma_of(_Unreflected(v), "double", size)),
    )
    sine, low, _, _ = half_turns(v, size)
    quotient = v.div(math.pi, sine)
    product, error = v.two_product(quotient, sine)
    rest = v.sub(v.sub(math.pi, product), v.fma(quotient, low, error))
    rest = v.div(v.add(rest, PI_LOW), sine)
    square, error = v.two_product(quotient, quotient)
    rest = v.fma(v.add(quotient, quotient), rest, error)
    return v.select(v.compare("oeq", sine, 0.0), math.inf, v.add(square, v.sub(rest, beyond)))


class _Unreflected:
    """The same arithmetic where nothing is reflected."""

    def __init__(self, v: Arithmetic) -> None:
        self._v = v

    def __getattr__(self, name: str) -> Any:
        return getattr(self._v, name)

    def rarely(self, name: str, x: Value, value: Value) -> Value:
        """`value`."""
        return value


# next to 0 the other way is as good, and needs no sine that would round to 0
RARE["lgamma"] = (lambda v, x: v.compare("olt", x, -(2.0**-60)), _reflected_lgamma)
RARE["digamma"] = (lambda v, x: v.compare("olt", x, -(2.0**-20)), _reflected_digamma)
RARE["trigamma"] = (lambda v, x: v.compare("olt", x, -(2.0**-20)), _reflected_trigamma)


class Lgamma(_Unary):
    """Logarithm of the absolute value of the gamma function."""

    name, notation, forward = "lgamma", r"\log \left|\Gamma({x})\right|", staticmethod(evaluated(lgamma_of))
    domain = (0.3, 6.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return digamma(x)


class Digamma(_Unary):
    """Derivative of `lgamma`."""

    name, notation, forward = "digamma", r"\psi({x})", staticmethod(evaluated(digamma_of))
    domain = (0.5, 6.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return trigamma(x)


class Trigamma(_Unary):
    """Derivative of `digamma`."""

    name, notation, forward = "trigamma", r"\psi_1({x})", staticmethod(evaluated(trigamma_of))
    domain = (0.5, 6.0)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return _polygamma(2, x)


# Bernoulli numbers B_2, B_4, ...
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138,
    -236364091 / 2730,
)  # fmt: skip


_HIGHEST = 100  # order; later the factorials overflow


def _positive_polygamma(n: int, x: Any) -> Any:
    """(-1)^(n + 1) times the n-th derivative of digamma, for positive numbers: a sum of terms of one sign."""
    unit = 2.0 ** round(math.log2(n / math.e + 1.0))  # powers are taken of unit / x, so that they keep within range
    total = np.zeros_like(x)
    last = 12.0 + n
    while (x < last).any():
        below = x < last
        safe = np.where(below, x, 1.0)
        total = total + np.where(below, (unit / safe) ** n / safe, 0.0)
        x = np.where(below, x + 1.0, x)
    # the sum of (x + k)^-(n + 1) over all k, by Euler and Maclaurin
    power = (unit / x) ** n
    tail = power / n + 0.5 * power / x
    term = power / x**2 * (n + 1.0) / 2.0
    for k, b in enumerate(_BERNOULLI, 1):
        tail = tail + b * term
        term = term * ((n + 2 * k) * (n + 2 * k + 1.0) / ((2 * k + 1) * (2 * k + 2.0))) / x**2
    return math.prod(k / unit for k in range(1, n + 1)) * (total + tail)


def _one_polygamma(n: int, x: Any) -> Any:
    """The n-th derivative of digamma."""
    if n == 0:
        return Digamma.forward(x)
    sign = 1.0 if n % 2 else -1.0
    if not (x <= 0.0).any():
        return sign * _positive_polygamma(n, x)
    # by reflection: pi times the n-th derivative of cot(pi x) is a polynomial of cot(pi x)
    below = x < 0.0
    r = x - np.rint(x)
    t = np.pi * np.minimum(np.abs(r), 0.5 - np.abs(r))
    c = np.copysign(np.where(np.abs(r) > 0.25, np.tan(t), 1.0 / np.tan(t)), r)
    polynomial = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        polynomial = polynomial.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
    turned = -(np.pi ** (n + 1.0)) * polynomial(c) - _positive_polygamma(n, np.where(below, 1.0 - x, 1.0))
    pole = math.inf if n % 2 else math.nan
    turned = np.where(x == np.rint(x), pole, turned)
    found = np.where(below, turned, sign * _positive_polygamma(n, np.where(below, 1.0, x)))
    return np.where(x == 0.0, sign * (1.0 / x) ** (n + 1), found)


class Polygamma(_Binary):
    """Derivative of order `x` of `digamma`, at `y`; NaN for what is not an integer from 0 to 100."""

    name, notation = "polygamma", r"\psi_{{{x}}}({y})"

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        y = y if hasattr(y, "dtype") else np.asarray(y, x.dtype if is_float(x.dtype) else None)
        y = y if y.dtype.kind in "fV" else y.astype(np.float64)
        orders, wide = np.broadcast_arrays(np.asarray(x, np.float64), y.astype(np.float64))
        found = np.full(wide.shape, math.nan)
        for n in np.unique(orders):
            if 0.0 <= n <= _HIGHEST and n == np.rint(n):
                found[orders == n] = _one_polygamma(int(n), wide[orders == n])
        return found.astype(y.dtype)[()]

    def is_condition(self, argnum: int) -> bool:
        return argnum == 0  # integers, which have no gradient

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"})

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return super().partial(argnum, out, x, y) if argnum == 0 else _polygamma(x + 1, y)

    def samples(self) -> list[tuple[Any, ...]]:
        n = np.array([[2], [3], [5]])
        return [((n, (3, 2)), {}), ((n[:, 0], (3,)), {}), ((np.array(4), ()), {}), ((np.array(2), (0, 2)), {})]


lgamma, digamma, trigamma = (declare(c) for c in (Lgamma, Digamma, Trigamma))
_polygamma = declare(Polygamma)


def polygamma(n: int, x: Any, /) -> Tensor:
    """Derivative of order `n` of `digamma`, which is that of order 0.

    Raises:
      ArgumentError: `n` is not an integer from 0 to 100.
    """
    if n.__class__ is not int or not 0 <= n <= _HIGHEST:
        raise ArgumentError(f"polygamma: the order must be an integer from 0 to {_HIGHEST}, got {n!r}")
    return digamma(x) if n == 0 else trigamma(x) if n == 1 else _polygamma(n, x)
