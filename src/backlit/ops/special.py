"""Special functions: erf by its Maclaurin series and a continued fraction; the logistic function and its integral."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.op import Value, declare
from backlit.ops.elementwise import _Unary, exp

_TERMS = 60
_SPLIT = 2.5  # below it the series loses under 3 digits to cancellation-free summation, above it the fraction converges


def _erf(x: Any) -> Any:
    x64 = np.asarray(x, np.float64)
    z = np.abs(x64)
    small = np.minimum(z, _SPLIT)
    # erf z = 2/sqrt(pi) exp(-z^2) sum 2^n z^(2n+1) / (2n+1)!!  (Abramowitz and Stegun 7.1.6): all terms positive
    term = small.copy()
    total = small.copy()
    for n in range(1, _TERMS):
        term = term * (2.0 * small * small / (2 * n + 1))
        total = total + term
    series = 2.0 / math.sqrt(math.pi) * np.exp(-small * small) * total
    large = np.maximum(z, _SPLIT)
    # erfc z = exp(-z^2)/sqrt(pi) * 1/(z + (1/2)/(z + 1/(z + (3/2)/(z + ...))))  (7.1.14)
    fraction = large.copy()
    for k in range(_TERMS, 0, -1):
        fraction = large + (k / 2.0) / fraction
    tail = 1.0 - np.exp(-large * large) / (math.sqrt(math.pi) * fraction)
    out = np.where(np.isnan(x64), x64, np.copysign(np.where(z < _SPLIT, series, tail), x64))
    return out.astype(x.dtype) if x.dtype.kind in "fV" else out


class Erf(_Unary):
    """Error function."""

    name, notation, forward = "erf", r"\operatorname{{erf}} {x}", staticmethod(_erf)

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return (2.0 / math.sqrt(math.pi)) * exp(-(x * x))


class Sigmoid(_Unary):
    """Logistic function 1 / (1 + exp(-x)): a primitive for its accuracy in both tails, read from `out` alone."""

    name, notation = "sigmoid", r"\sigma({x})"

    @staticmethod
    def forward(x: Any) -> Any:
        x = x if x.dtype.kind in "fV" else x.astype(np.float64)
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
        x = x if x.dtype.kind in "fV" else x.astype(np.float64)
        return np.logaddexp(x, x.dtype.type(0))

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return sigmoid(x)


erf, sigmoid, softplus = declare(Erf), declare(Sigmoid), declare(Softplus)
