"""lgamma, digamma and trigamma, written once for NumPy and for compiled programs.

For positive arguments polynomials on some intervals and asymptotic series beyond, without branches; for negative ones, rarely,
by products and reflection.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.ops.arithmetic import (
    PI_LOW,
    RARE,
    Arithmetic,
    Value,
    blended,
    half_turns,
    logarithm,
    logarithm_of_parts,
)
from backlit.ops.gamma_tables import (
    DIGAMMA_LARGE,
    DIGAMMA_ONE,
    DIGAMMA_ROOTS,
    DIGAMMA_TWO,
    LGAMMA_CLOSE_ROOTS,
    LGAMMA_ROOTS,
    ONE,
    STIRLING,
    TRIGAMMA_LARGE,
    TRIGAMMA_ONE,
    TRIGAMMA_TWO,
    TWO,
    Roots,
)

_ROOT = (1.4616321449683622, 9.549995429965697e-17)  # where digamma is 0
_LARGEST = float(np.finfo(np.float64).max)
_FACTORS = 31  # of products between poles; beyond them no number is near to a zero of lgamma


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
    near = v.mul(t, v.polynomial(blended(v, first, ONE[kind], TWO[kind]), t))
    near = v.select(small, v.sub(v.sub(near, low), high), v.add(high, v.add(low, near)))

    z = v.div(1.0, x)
    rest = v.fma(z, v.polynomial(STIRLING[kind], v.mul(z, z)), 0.5 * math.log(2.0 * math.pi) - 0.5)
    half = v.sub(x, 0.5)
    far = v.fma(half, v.sub(high, 1.0), v.fma(half, low, rest))
    value = v.select(large, far, near)
    ends = v.logic("or", v.compare("oeq", x, 0.0), v.compare("oeq", x, math.inf))
    return v.select(v.compare("uno", x, x), x, v.select(ends, math.inf, value))


def _lgamma_between_poles(v: Arithmetic, x: Value) -> Value:
    """lgamma(1 + t) - log |t (1 - t) (2 - t) ... (n - t)| with x = t - n, for -31 <= x < 0; the product as a sum of two.

    Of the zeros there are, two between integers below -2, most are so near to a pole that both parts are small there.
    """
    n = v.call("rint", v.sub(0.2, x))
    t = v.add(x, n)
    first = v.compare("ole", t, 0.5)
    beyond = v.select(first, t, v.sub(t, 1.0))
    near = v.mul(beyond, v.polynomial(blended(v, first, ONE["double"], TWO["double"]), beyond))
    high, low = v.call("fabs", t), v.mul(t, 0.0)
    for j in range(1, _FACTORS + 1):
        used = v.compare("oge", n, float(j))
        factor, lost = v.fast_two_sum(float(j), v.neg(t))
        factor, lost = v.select(used, factor, 1.0), v.select(used, lost, 0.0)
        product, error = v.two_product(high, factor)
        high, low = product, v.fma(low, factor, v.fma(high, lost, error))
    high, low = v.fast_two_sum(high, low)
    k, m = v.split(high)
    log, rest = logarithm_of_parts(v, k, m, v.scaled(low, v.neg(k)))
    return v.sub(v.sub(near, rest), log)


def _near_roots(v: Arithmetic, x: Value, roots: Roots, value: Value) -> Value:
    """`value`, but next to a root a polynomial that is 0 there."""
    length = max(len(table) for *_, table in roots)
    distance: Value = 0.0
    table: list[Value] = [0.0] * length
    there = None
    for high, low, radius, coefficients in roots:
        d = v.sub(v.sub(x, high), low)
        inside = v.compare("olt", v.call("fabs", d), radius)
        there = inside if there is None else v.logic("or", there, inside)
        distance = v.select(inside, d, distance)
        padded = (*coefficients, *[0.0] * (length - len(coefficients)))
        table = [v.select(inside, a, b) for a, b in zip(padded, table, strict=True)]
    return v.select(there, v.mul(distance, v.polynomial(table, distance)), value)


def _reflected_lgamma(v: Arithmetic, x: Value) -> Value:
    """Between the first poles by a product; beyond them log(pi / |x sin(pi x)|) - lgamma(-x)."""
    size = v.call("fabs", x)
    sine, _, _, _ = half_turns(v, size)
    high, low = logarithm(v, v.div(math.pi, v.mul(size, sine)))
    value = v.add(v.sub(high, _lgamma(v, "double", size)), low)
    value = v.select(v.compare("ogt", x, -float(_FACTORS)), _lgamma_between_poles(v, x), value)
    value = _near_roots(v, x, LGAMMA_CLOSE_ROOTS, _near_roots(v, x, LGAMMA_ROOTS, value))
    pole = v.logic("or", v.compare("oeq", sine, 0.0), v.compare("oeq", size, math.inf))
    return v.select(v.compare("uno", x, x), x, v.select(pole, math.inf, value))


def digamma_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """The derivative of `lgamma_of`: -inf at 0, inf at -0, NaN at the negative integers and at -inf."""
    z = v.div(1.0, x)
    near = _digamma_up_to_four(v, kind, x)
    near = v.select(v.compare("olt", x, 1.0), v.sub(near, z), near)
    high, low = logarithm(v, v.limited(v.limited(x, "olt", 1.0), "ogt", _LARGEST))
    w = v.mul(z, z)
    far = v.add(high, v.sub(low, v.fma(w, v.polynomial(DIGAMMA_LARGE[kind], w), v.mul(z, 0.5))))
    value = v.select(v.compare("oge", x, 4.0), far, near)
    value = v.select(v.compare("oeq", x, math.inf), x, value)
    return v.rarely("digamma", x, v.select(v.compare("uno", x, x), x, value))


def _digamma_up_to_four(v: Arithmetic, kind: str, x: Value) -> Value:
    """digamma(1 + x) for x below 1, digamma(x) for x in [1, 4]."""
    small, first = v.compare("olt", x, 1.0), v.compare("olt", x, 2.0)
    t = v.sub(x, v.select(first, v.select(small, 0.5, 1.5), 3.0))
    from_root = v.sub(v.sub(x, v.select(small, _ROOT[0] - 1.0, _ROOT[0])), _ROOT[1])
    value = v.polynomial(blended(v, first, DIGAMMA_ONE[kind], DIGAMMA_TWO[kind]), t)
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
    value = _near_roots(v, x, DIGAMMA_ROOTS, value)
    return v.select(v.compare("oeq", sine, 0.0), math.nan, value)


def trigamma_of(v: Arithmetic, kind: str, x: Value) -> Value:
    """The derivative of `digamma_of`: inf at 0 and the negative integers, NaN at -inf."""
    z = v.div(1.0, x)
    w = v.mul(z, z)
    near = _trigamma_up_to_four(v, kind, x)
    near = v.select(v.compare("olt", x, 1.0), v.add(near, w), near)
    far = v.fma(w, v.fma(z, v.polynomial(TRIGAMMA_LARGE[kind], w), 0.5), z)
    return v.rarely("trigamma", x, v.select(v.compare("oge", x, 4.0), far, near))


def _trigamma_up_to_four(v: Arithmetic, kind: str, x: Value) -> Value:
    """trigamma(1 + x) for x below 1, trigamma(x) for x in [1, 4]."""
    small, first = v.compare("olt", x, 1.0), v.compare("olt", x, 2.0)
    t = v.sub(x, v.select(first, v.select(small, 0.5, 1.5), 3.0))
    return v.polynomial(blended(v, first, TRIGAMMA_ONE[kind], TRIGAMMA_TWO[kind]), t)


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
