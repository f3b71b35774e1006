"""Special functions: the error function and the normal distribution from tables; the logistic function and its integral."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.op import Value, declare
from backlit.ops.elementwise import _Unary, as_float, exp

# Chebyshev interpolants, computed in 50 digits and written as powers.
# For z in [0, 1]: erf(z) / z in powers of z^2.
ERF = (
    1.1283791670955126,
    -0.3761263890318375,
    0.11283791670954882,
    -0.026866170645077334,
    0.005223977624823223,
    -0.0008548326981129666,
    0.00012055331122299266,
    -1.4925595519506043e-05,
    1.6461004480962034e-06,
    -1.6350354461959655e-07,
    1.4660051998394848e-08,
    -1.1373902296430911e-09,
    5.958930743134941e-11,
)
# For z in [1, 6]: erfc(z) exp(z^2) in powers of s = 9.6 / (z + 2) - 2.2; beyond 6, erf is 1 in double precision.
_FAR = (
    0.2214295402299318,
    0.16189356804102498,
    0.038560570425182406,
    0.005588816281839609,
    0.00019713917772835564,
    -8.079220426292727e-05,
    -7.340517941470624e-06,
    1.9795618189364308e-06,
    1.6349938636339256e-07,
    -7.005319573428159e-08,
    -5.886321053854852e-10,
    2.6240218125191535e-09,
    -2.6866682864095234e-10,
    -7.362723843294616e-11,
    2.211621110863333e-11,
    -1.2726572135314738e-13,
    -9.32059013818178e-13,
    1.421510561619543e-13,
)

# For x in [0, 39]: the normal distribution function of -x times (x + 5) exp(x^2 / 2), in powers of (x - 5) / (x + 5).
NORMAL = (
    0.769193049750063, -0.6653825028900568, 0.4953056159699761, -0.31353315667128745, 0.16502036617040713,
    -0.06911863870687814, 0.020795066799260343, -0.002993376761868743, -0.0007978693892958589, 0.0005448989927584027,
    -5.9375807358891235e-05, -4.976245616870157e-05, 1.6681639595174005e-05, 3.97980489932909e-06, -2.7707204135122383e-06,
    -3.345738518771817e-07, 4.362925568222539e-07, 4.0177962891473734e-08, -7.014220631960926e-08, -8.555696628254633e-09,
    1.0797345335746256e-08, 2.220848621773149e-09, -1.160886448380309e-09, -3.81618035300424e-10,
)  # fmt: skip

NEAR = 1.15  # up to it half of 1 + erf(x / sqrt(2)) loses less than the quotient


def _horner(table: tuple[float, ...], x: Any) -> Any:
    value = np.full_like(x, table[-1])
    for coefficient in table[-2::-1]:
        value = value * x + coefficient
    return value


def _erf(x: Any) -> Any:
    wide = np.asarray(as_float(x), np.float64)
    z = np.abs(wide)
    near = z * _horner(ERF, np.minimum(z, 1.0) ** 2)
    y = np.clip(z, 1.0, 6.0)
    high = y.astype(np.float32).astype(np.float64)  # its square is exact, so exp(-y^2) keeps its last digits
    shrink = np.exp(-high * high) * np.exp(-(y - high) * (y + high))
    far = 1.0 - shrink * _horner(_FAR, 9.6 / (y + 2.0) - 2.2)
    out = np.copysign(np.where(z < 1.0, near, far), wide)  # NaN passes through both
    return out.astype(x.dtype) if x.dtype.kind in "fV" else out


class Erf(_Unary):
    """Error function."""

    name, notation, forward = "erf", r"\operatorname{{erf}} {x}", staticmethod(_erf)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (2.0 / math.sqrt(math.pi)) * exp(-(x * x))


def _normal_cdf(x: Any) -> Any:
    wide = np.asarray(as_float(x), np.float64)
    z = np.minimum(np.abs(wide), 40.0)  # NaN stays
    high = z.astype(np.float32).astype(np.float64)  # its square is exact, so exp(-z^2 / 2) keeps its last digits
    shrink = np.exp(-0.5 * high * high) * np.exp(-0.5 * (z - high) * (z + high))
    below = shrink * _horner(NORMAL, (z - 5.0) / (z + 5.0)) / (z + 5.0)
    out = np.where(wide < 0.0, below, 1.0 - below)
    root = np.clip(wide, -NEAR, NEAR) * math.sqrt(0.5)
    out = np.where(z < NEAR, 0.5 + 0.5 * root * _horner(ERF, root * root), out)
    return out.astype(x.dtype) if x.dtype.kind in "fV" else out


class NormalCdf(_Unary):
    """Probability that a normal variable is below `x`: a primitive, as 1 + erf loses all digits of the lower tail."""

    name, notation, forward = "normal_cdf", r"\Phi({x})", staticmethod(_normal_cdf)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (1.0 / math.sqrt(2.0 * math.pi)) * exp((x * x) * -0.5)


class Sigmoid(_Unary):
    """Logistic function 1 / (1 + exp(-x)): a primitive for its accuracy in both tails, read from `out` alone."""

    name, notation = "sigmoid", r"\sigma({x})"

    @staticmethod
    def forward(x: Any) -> Any:
        x = as_float(x)
        return np.exp(-np.logaddexp(x.dtype.type(0), -x))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return out * (1.0 - out)


class Softplus(_Unary):
    """log(1 + exp(x)): a primitive for its accuracy, and because a composition with |x| has a false kink at 0."""

    name, notation = "softplus", r"\log(1 + e^{{{x}}})"

    @staticmethod
    def forward(x: Any) -> Any:
        x = as_float(x)
        return np.logaddexp(x, x.dtype.type(0))

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return sigmoid(x)


erf, normal_cdf, sigmoid, softplus = (declare(c) for c in (Erf, NormalCdf, Sigmoid, Softplus))
