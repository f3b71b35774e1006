"""Functions of doubles that are written once: what they are written in, and that by NumPy.

The compiler has the same methods on vectors of native code, where `fma` is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from backlit.ops.random import COSINE, LN2, LOG, SINE

Value = Any  # numbers, one or many


class Arithmetic(Protocol):
    """Instructions on doubles; an operand is a value of the machine or a Python number."""

    def add(self, x: Value, y: Value) -> Value: ...
    def sub(self, x: Value, y: Value) -> Value: ...
    def mul(self, x: Value, y: Value) -> Value: ...
    def div(self, x: Value, y: Value) -> Value: ...
    def neg(self, x: Value) -> Value: ...
    def fma(self, x: Value, y: Value, z: Value) -> Value: ...
    def call(self, name: str, *operands: Value) -> Value: ...
    def polynomial(self, table: Sequence[Value], x: Value) -> Value: ...
    def compare(self, how: str, x: Value, y: Value) -> Value: ...
    def logic(self, name: str, p: Value, q: Value) -> Value: ...
    def select(self, condition: Value, x: Value, y: Value) -> Value: ...
    def limited(self, x: Value, comparison: str, bound: float) -> Value: ...
    def fast_two_sum(self, x: Value, y: Value) -> tuple[Value, Value]: ...
    def two_product(self, x: Value, y: Value) -> tuple[Value, Value]: ...
    def split(self, x: Value) -> tuple[Value, Value]: ...
    def reduced(self, x: Value) -> tuple[Value, Value, Value]: ...
    def series(self, r: Value, first: int) -> Value: ...
    def scaled(self, x: Value, k: Value) -> Value: ...
    def rarely(self, name: str, x: Value, value: Value) -> Value: ...


Rare = tuple[Callable[[Any, Value], Value], Callable[[Any, Value], Value]]
PI_LOW = 1.2246467991473532e-16  # pi less the double next to it
RARE: dict[str, Rare] = {}  # by name: where a function is computed in another way, and that way


class Doubles:
    """The arithmetic on NumPy's arrays of doubles."""

    _CALLS: ClassVar[dict[str, Any]] = {"fabs": np.abs, "copysign": np.copysign, "sqrt": np.sqrt, "rint": np.rint}
    _COMPARE: ClassVar[dict[str, Any]] = {
        "olt": np.less,
        "ole": np.less_equal,
        "ogt": np.greater,
        "oge": np.greater_equal,
        "oeq": np.equal,
    }
    _LOGIC: ClassVar[dict[str, Any]] = {"and": np.logical_and, "or": np.logical_or}
    _EXPONENTIAL = tuple(1.0 / math.factorial(n) for n in range(15))

    def add(self, x: Value, y: Value) -> Value:
        return x + y

    def sub(self, x: Value, y: Value) -> Value:
        return x - y

    def mul(self, x: Value, y: Value) -> Value:
        return x * y

    def div(self, x: Value, y: Value) -> Value:
        return x / y

    def neg(self, x: Value) -> Value:
        return -x

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x y + z, rounded twice."""
        return x * y + z

    def call(self, name: str, *operands: Value) -> Value:
        """One of LLVM's functions."""
        return self._CALLS[name](*operands)

    def polynomial(self, table: Sequence[Value], x: Value) -> Value:
        """The sum of table[n] x^n."""
        value = table[-1]
        for coefficient in table[-2::-1]:
            value = value * x + coefficient
        return value

    def compare(self, how: str, x: Value, y: Value) -> Value:
        """Truth values of a comparison, named as LLVM names it."""
        return np.isnan(x) | np.isnan(y) if how == "uno" else self._COMPARE[how](x, y)

    def logic(self, name: str, p: Value, q: Value) -> Value:
        """`and`, `or` of truth values."""
        return self._LOGIC[name](p, q)

    def select(self, condition: Value, x: Value, y: Value) -> Value:
        """`x` where the condition holds, else `y`."""
        return np.where(condition, x, y)

    def limited(self, x: Value, comparison: str, bound: float) -> Value:
        """`x`, and the bound where `x` is beyond it; NaN stays."""
        return np.where(self.compare(comparison, x, bound), bound, x)

    def fast_two_sum(self, x: Value, y: Value) -> tuple[Value, Value]:
        """x + y as a rounded sum and its error; |x| >= |y|."""
        total = x + y
        return total, y - (total - x)

    def two_product(self, x: Value, y: Value) -> tuple[Value, Value]:
        """x y as a rounded product and its error (Dekker)."""
        product = x * y
        (a, b), (c, d) = self._halves(x), self._halves(y)
        return product, ((a * c - product) + (a * d + b * c)) + b * d

    def _halves(self, x: Value) -> tuple[Value, Value]:
        scaled = x * (2.0**27 + 1.0)
        high = scaled - (scaled - x)
        return high, x - high

    def split(self, x: Value) -> tuple[Value, Value]:
        """k and m in [sqrt(1/2), sqrt(2)), with x = 2^k m, for a positive finite number `x`."""
        m, k = np.frexp(x)
        small = m < math.sqrt(0.5)
        return np.where(small, k - 1.0, k), np.where(small, 2.0 * m, m)

    def reduced(self, x: Value) -> tuple[Value, Value, Value]:
        """k, k again, and r, with x = k ln 2 + r."""
        k = np.rint(x / math.log(2.0))
        return k, k, (x - k * LN2[0]) - k * LN2[1]

    def series(self, r: Value, first: int) -> Value:
        """The sum of r^(n - first) / n! from n = first on, for |r| <= ln(2) / 2."""
        return self.polynomial(self._EXPONENTIAL[first:], r)

    def scaled(self, x: Value, k: Value) -> Value:
        """x 2^k for an integer `k`."""
        return np.ldexp(x, np.nan_to_num(k).astype(np.int32))

    def rarely(self, name: str, x: Value, value: Value) -> Value:
        """`value`, but the other way that `RARE` has for it where that is to be taken."""
        condition, other = RARE[name]
        there = np.asarray(condition(self, x))
        if not there.any():
            return value
        value = np.array(value)
        value[there] = other(self, x[there])
        return value


def evaluated(function: Callable[[Any, str, Value], Value]) -> Callable[[Any], Any]:
    """The forward of an op by such a function: in doubles, and back in the dtype of its argument."""

    def forward(x: Any) -> Any:
        if x.dtype.kind == "c":
            raise TypeError("defined for real numbers only")
        narrow = x.dtype.kind in "fV" and x.dtype.itemsize < 8
        out = function(Doubles(), "float" if narrow else "double", np.asarray(x, np.float64))
        return out.astype(x.dtype) if narrow else out

    return forward


def logarithm(v: Arithmetic, x: Value) -> tuple[Value, Value]:
    """log(x) of a positive finite number as a sum of two, exact to about 2^-57."""
    return logarithm_of_parts(v, *v.split(x))


def logarithm_of_parts(v: Arithmetic, k: Value, m: Value, low: Value | float = 0.0) -> tuple[Value, Value]:
    """log(2^k (m + low)) for m in [sqrt(1/2), sqrt(2)) as a sum of two."""
    f = v.sub(m, 1.0)
    f = f if isinstance(low, float) else v.add(f, low)
    s = v.div(f, v.add(f, 2.0))
    z = v.mul(s, s)
    half = v.mul(v.mul(f, f), 0.5)
    rest = v.fma(s, v.fma(z, v.polynomial(LOG, z), half), v.mul(k, LN2[1]))
    high, error = v.fast_two_sum(v.mul(k, LN2[0]), f)  # the product is exact
    return high, v.add(error, v.sub(rest, half))


def half_turns(v: Arithmetic, x: Value) -> tuple[Value, Value, Value, Value]:
    """|sin(pi x)| as a sum of two, |cos(pi x)|, and 1 or -1, the sign of their quotient, for a finite number."""
    r = v.sub(x, v.call("rint", x))
    size = v.call("fabs", r)
    beyond = v.compare("ogt", size, 0.25)
    turns = v.select(beyond, v.sub(0.5, size), size)
    t, low = v.two_product(turns, math.pi)
    low = v.fma(turns, PI_LOW, low)
    z = v.mul(t, t)
    sine, rest = v.fast_two_sum(t, v.fma(v.mul(z, t), v.polynomial(SINE, z), low))
    cosine = v.fma(z, v.fma(z, v.polynomial(COSINE, z), -0.5), 1.0)
    sign = v.call("copysign", 1.0, r)
    return v.select(beyond, cosine, sine), v.select(beyond, 0.0, rest), v.select(beyond, sine, cosine), sign


def blended(v: Arithmetic, condition: Value, one: Sequence[float], other: Sequence[float]) -> list[Value]:
    """The coefficients `one` where the condition holds, else `other`."""
    length = max(len(one), len(other))
    tables = ((*table, *[0.0] * (length - len(table))) for table in (one, other))
    return [v.select(condition, a, b) for a, b in zip(*tables, strict=True)]
