"""Cube roots and lengths in LLVM IR, branch-free; the length of floats by way of doubles."""

from __future__ import annotations

import math

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.compiler.llvm.shared import widened

# m^(1/3) for m in [sqrt(1/2), sqrt(2)], in powers of m: Chebyshev interpolants of 16 and 13 bits
_CBRT = {
    "double": (
        0.4529793198978704, 0.8995586262635362, -0.5278847485028526, 0.21196735510823944, -0.03661448512379122,
    ),
    "float": (0.4942421283283929, 0.7345076404191583, -0.2853137845577357, 0.056625250784119),
}  # fmt: skip
# 2^(-1/3), 1, 2^(1/3), of which the cube root of a number in [sqrt(1/2), sqrt(2)) is taken to those of its double and half
_THIRDS = (2.0 ** (-1.0 / 3.0), 1.0, 2.0 ** (1.0 / 3.0))


def cbrt(b: Builder, kind: str, x: str) -> str:
    """2^(k / 3) times the root of m, for |x| = 2^k m with k a multiple of 3, by Newton's method, in the sign of x.

    It begins with a polynomial; the last of two steps takes the remainder exactly.
    """
    v = Floats(b, kind)
    size = v.call("fabs", x)
    k, m = v.split(size)
    third = v.call("rint", v.mul(k, 1.0 / 3.0))
    rest = v.fma(third, -3.0, k)
    up, down = v.compare("ogt", rest, 0.5), v.compare("olt", rest, -0.5)
    y = v.mul(v.polynomial(_CBRT[kind], m), v.select(up, _THIRDS[2], v.select(down, _THIRDS[0], _THIRDS[1])))
    m = v.mul(m, v.select(up, 2.0, v.select(down, 0.5, 1.0)))
    y = v.sub(y, v.mul(v.sub(y, v.div(m, v.mul(y, y))), 1.0 / 3.0))
    square, error = v.two_product(y, y)
    cube, rounding = v.two_product(square, y)
    left = v.sub(v.sub(v.sub(m, cube), rounding), v.mul(error, y))
    y = v.add(y, v.div(left, v.mul(square, 3.0)))
    value = v.call("copysign", v.scaled(y, third), x)
    whole = v.logic("and", v.compare("ogt", size, 0.0), v.compare("olt", size, math.inf))
    return v.select(whole, value, x)


def _hypot(v: Floats, kind: str, x: str, y: str) -> str:
    """sqrt(x^2 + y^2), of doubles with the larger one near 1; infinite if one is, whatever the other."""
    one, other = v.call("fabs", x), v.call("fabs", y)
    if kind == "float":  # the squares are within the range of doubles
        value = v.call("sqrt", v.fma(one, one, v.mul(other, other)))
    else:
        first = v.compare("oge", one, other)
        larger, smaller = v.select(first, one, other), v.select(first, other, one)
        k, _ = v.split(v.select(v.compare("ogt", larger, 0.0), larger, 1.0))
        back = v.neg(k)
        larger, smaller = v.scaled(larger, back), v.scaled(smaller, back)
        high, low = v.two_product(larger, larger)
        more, least = v.two_product(smaller, smaller)
        total, error = v.fast_two_sum(high, more)
        root = v.call("sqrt", v.add(total, v.add(error, v.add(low, least))))
        value = v.scaled(root, k)
    value = v.select(v.compare("uno", x, y), math.nan, value)
    infinite = v.logic("or", v.compare("oeq", one, math.inf), v.compare("oeq", other, math.inf))
    return v.select(infinite, math.inf, value)


hypot = widened(_hypot)
