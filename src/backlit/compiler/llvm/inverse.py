"""Inverse trigonometric functions in LLVM IR, branch-free."""

from __future__ import annotations

import math

from backlit.compiler.llvm.arithmetic import Builder, Floats

# Chebyshev interpolants, computed in 60 digits and written as powers of x^2.
# (asin(x) - x) / x^3 for |x| <= 1 / 2
_ASIN = {
    "double": (
        0.16666666666666666, 0.07500000000000126, 0.04464285714253393, 0.03038194447713325, 0.022372157369440874,
        0.01735281857775462, 0.013963744068678447, 0.011566884158183674, 0.00961841352942817, 0.009338564969710705,
        0.0029738312574686477, 0.019725766149922504, -0.019481939807257088, 0.029761075162031646,
    ),
    "float": (
        0.16666666687399992, 0.07499992016279544, 0.044647848714116124, 0.03026592992281928, 0.02363694381163808,
        0.010483869061056469, 0.031096758798060353,
    ),
}  # fmt: skip
# (atan(x) - x) / x^3 for |x| <= tan(pi / 8)
_ATAN = {
    "double": (
        -0.3333333333333333, 0.1999999999999981, -0.1428571428566081, 0.11111111105241836, -0.09090908757389797,
        0.076922964771097, -0.06666426555000238, 0.058789465142678465, -0.05230572236501017, 0.0455208600401021,
        -0.034582181202931606, 0.016297571941099112,
    ),
    "float": (
        -0.3333333328086686, 0.19999977708936809, -0.14284171391760278, 0.11071682693489306, -0.08626716763305424,
        0.05052726615806271,
    ),
}  # fmt: skip
_HALF_PI = {"double": math.pi / 2, "float": 1.5707963705062866}
_LOW = {"double": 6.123233995736766e-17, "float": -4.3711390001862426e-08}  # pi / 2 less the number next to it
_EIGHTH = math.tan(math.pi / 8)


def asin(b: Builder, kind: str, x: str) -> str:
    """A polynomial up to 1/2; beyond, asin(x) = pi/2 - 2 asin(s) with s = sqrt((1 - x) / 2), in the sign of x."""
    v = Floats(b, kind)
    size = v.call("fabs", x)
    far, found = _half_angle(v, size)
    value = v.select(far, v.sub(_HALF_PI[v.kind], v.sub(v.add(found, found), _LOW[v.kind])), found)
    return v.call("copysign", value, x)


def acos(b: Builder, kind: str, x: str) -> str:
    """pi/2 - asin(x) up to 1/2; beyond, 2 asin(s) with s = sqrt((1 - |x|) / 2), or pi less it."""
    v = Floats(b, kind)
    far, found = _half_angle(v, v.call("fabs", x))
    twice = v.add(found, found)
    negative = v.compare("olt", x, 0.0)
    outer = v.select(negative, v.sub(2.0 * _HALF_PI[v.kind], v.sub(twice, 2.0 * _LOW[v.kind])), twice)
    inner = v.sub(_HALF_PI[v.kind], v.sub(v.call("copysign", found, x), _LOW[v.kind]))
    return v.select(far, outer, inner)


def _half_angle(v: Floats, size: str) -> tuple[str, str]:
    """Whether |x| is above 1/2, and the inverse sine of sqrt((1 - |x|) / 2) there, of |x| elsewhere."""
    far = v.compare("ogt", size, 0.5)
    square = v.select(far, v.fma(size, -0.5, 0.5), v.mul(size, size))
    s = v.select(far, v.call("sqrt", square), size)
    return far, v.fma(v.mul(s, square), v.polynomial(_ASIN[v.kind], square), s)


def atan(b: Builder, kind: str, x: str) -> str:
    """atan(|x|) in the sign of x."""
    v = Floats(b, kind)
    return v.call("copysign", _of_quotient(v, v.call("fabs", x), None), x)


def atan2(b: Builder, kind: str, y: str, x: str) -> str:
    """The angle of |y| / |x|, or pi less it where x is negative, in the sign of y."""
    v = Floats(b, kind)
    high, wide = v.call("fabs", y), v.call("fabs", x)
    both_zero = v.logic("and", v.compare("oeq", high, 0.0), v.compare("oeq", wide, 0.0))
    infinite = v.logic("and", v.compare("oeq", high, math.inf), v.compare("oeq", wide, math.inf))
    high = v.select(infinite, 1.0, high)
    wide = v.select(v.logic("or", infinite, both_zero), 1.0, wide)
    large = v.logic("or", v.compare("ogt", high, 0.125 * v.f.largest), v.compare("ogt", wide, 0.125 * v.f.largest))
    high, wide = (v.select(large, v.mul(part, 0.25), part) for part in (high, wide))  # so that their sum is finite
    value = _of_quotient(v, high, wide)
    left = v.compare("olt", v.call("copysign", 1.0, x), 0.0)
    value = v.select(left, v.sub(2.0 * _HALF_PI[v.kind], v.sub(value, 2.0 * _LOW[v.kind])), value)
    value = v.call("copysign", value, y)
    return v.select(v.compare("uno", x, y), math.nan, value)


def _of_quotient(v: Floats, high: str, wide: str | None) -> str:
    """atan(high / wide), where both are not negative; `wide` is 1 when None.

    With q the quotient it is atan(q) up to tan(pi/8), pi/4 + atan((q - 1) / (q + 1)) up to its inverse, and beyond
    pi/2 - atan(1 / q).
    """
    one: str | float = 1.0 if wide is None else wide
    low_bound, high_bound = (v.operand(b) if wide is None else v.mul(wide, b) for b in (_EIGHTH, 1.0 / _EIGHTH))
    middle, upper = v.compare("ogt", high, low_bound), v.compare("ogt", high, high_bound)
    above = v.select(upper, v.neg(v.operand(one)), v.select(middle, v.sub(high, one), high))
    below = v.select(upper, high, v.select(middle, v.add(high, one), one))
    z = v.div(above, below)
    square = v.mul(z, z)
    begin = v.select(upper, _HALF_PI[v.kind], v.select(middle, 0.5 * _HALF_PI[v.kind], 0.0))
    low = v.select(upper, _LOW[v.kind], v.select(middle, 0.5 * _LOW[v.kind], 0.0))
    value = v.add(begin, v.add(z, v.fma(v.mul(z, square), v.polynomial(_ATAN[v.kind], square), low)))
    return v.select(v.compare("oeq", high, math.inf), _HALF_PI[v.kind], value)
