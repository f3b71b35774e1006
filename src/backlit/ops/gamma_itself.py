"""The gamma function: a primitive, as the exponential of its logarithm loses as many units as that is large."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.op import Value, declare
from backlit.ops.elementwise import _Unary
from backlit.ops.gamma import Lgamma, digamma

_DIRECT = 20.0  # below it the recurrence down to [1, 2], whose logarithm is small; above it Stirling's series
_STIRLING = (  # DLMF 5.11.3
    1 / 12, 1 / 288, -139 / 51840, -571 / 2488320, 163879 / 209018880, 5246819 / 75246796800, -534703531 / 902961561600,
    -4483131259 / 86684309913600, 432261921612371 / 514904800886784000, 6232523202521089 / 86504006548979712000,
)  # fmt: skip


def _positive(z: Any) -> Any:
    """The gamma function of numbers that are not negative."""
    low = np.minimum(z, _DIRECT)
    factor, part = np.ones_like(low), np.array(low)
    for _ in range(int(_DIRECT) - 1):
        above = part > 2.0
        part = np.where(above, part - 1.0, part)  # exact, so that the factors are
        factor = np.where(above, factor * part, factor)
    below = part < 1.0
    direct = np.exp(Lgamma.forward(np.where(below, part + 1.0, part)))
    direct = np.where(below, direct / part, direct * factor)
    high = np.maximum(z, _DIRECT)
    series = np.ones_like(high)
    for k, c in enumerate(_STIRLING, 1):
        series = series + c / high**k
    half = high ** (0.5 * high - 0.25)  # the whole power would overflow earlier than the function
    return np.where(z < _DIRECT, direct, half * np.exp(-high) * half * (math.sqrt(2 * math.pi) * series))


def _gamma(x: Any) -> Any:
    """By reflection for negative numbers (DLMF 5.5.3, with -x for 1 - x, which would be rounded)."""
    if x.dtype.kind == "c":
        raise TypeError("defined for real numbers only")
    dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
    wide = np.asarray(x, np.float64)
    size = np.abs(wide)
    value = np.where(np.isinf(wide), np.inf, _positive(np.where(np.isinf(wide), 1.0, size)))
    rest = wide - np.round(wide)
    sine = np.sin(np.pi * rest) * np.where(np.round(wide) % 2 == 0, 1.0, -1.0)
    reflected = -np.pi / (wide * sine) / value
    out = np.where(wide < 0, np.where(rest == 0, np.nan, reflected), value)
    out = np.where(wide == 0, np.copysign(np.inf, wide), out)
    return out.astype(dtype)


class Gamma(_Unary):
    """The gamma function, (x - 1)! for integers; NaN at negative integers, an infinity of the sign of `x` at 0."""

    name, notation, forward = "gamma", r"\Gamma({x})", staticmethod(_gamma)
    domain = (0.4, 5.0)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return out * digamma(x)


gamma = declare(Gamma)
