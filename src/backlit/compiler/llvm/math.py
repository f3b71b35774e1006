"""Elementary functions in LLVM IR: branch-free, the same instructions for every element.

exp: x = k ln 2 + r with |r| <= ln(2) / 2 (k by adding and subtracting 1.5 * 2^mantissa, r in two parts by fused multiply
and add), the Taylor polynomial of exp(r), then two scalings by powers of two, of which the second rounds once where
the result is subnormal. tanh and sigmoid stand on it. Measured errors are in the tests and in docs/design.md.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Builder(Protocol):
    """What writes instructions: one name for each, and types as wide as the loop's vectors."""

    def new(self, instruction: str) -> str:
        """The name of a new value."""

    def type(self, scalar: str) -> str:
        """The type of as many scalars as the loop handles at a time."""

    def constant(self, scalar: str, value: float) -> str:
        """A constant in every lane."""

    def call(self, name: str, scalar: str, *operands: str) -> str:
        """The result of an intrinsic."""


@dataclass(frozen=True)
class Format:
    """What exp needs to know of a floating-point format."""

    integer: str
    mantissa_bits: int
    bias: int
    lowest: float  # below it exp rounds to 0
    highest: float  # above it exp overflows
    ln2_high: float  # the leading bits of ln 2: times any k it is exact
    ln2_low: float
    degree: int

    @property
    def magic(self) -> float:
        """Adding it rounds to an integer, which is then in the low bits."""
        return 1.5 * 2.0**self.mantissa_bits

    @property
    def magic_bits(self) -> int:
        """Its bit pattern."""
        code = ("<d", "<q") if self.integer == "i64" else ("<f", "<i")
        return int(struct.unpack(code[1], struct.pack(code[0], self.magic))[0])


_LN2_32 = float(np.float32(355.0 / 512.0))
FORMATS = {
    "double": Format(
        "i64",
        52,
        1023,
        -745.2,
        709.8,
        float.fromhex("0x1.62e42fee00000p-1"),
        float.fromhex("0x1.a39ef35793c76p-33"),
        13,
    ),
    "float": Format("i32", 23, 127, -104.0, 88.8, _LN2_32, math.log(2.0) - _LN2_32, 7),
}


class _Scale:
    """Rounding to integers and powers of two, for one format."""

    def __init__(self, b: Builder, kind: str) -> None:
        self.b, self.kind, self.f = b, kind, FORMATS[kind]
        self.typed, self.whole = b.type(kind), b.type(self.f.integer)
        self.magic = b.constant(kind, self.f.magic)
        self.bits = b.constant(self.f.integer, self.f.magic_bits)

    def rounded(self, value: str, factor: float) -> tuple[str, str]:
        """The integer nearest to `value * factor`, as a float and as an integer."""
        b = self.b
        shifted = b.call("llvm.fma", self.kind, value, b.constant(self.kind, factor), self.magic)
        raw = b.new(f"bitcast {self.typed} {shifted} to {self.whole}")
        return b.new(f"fsub {self.typed} {shifted}, {self.magic}"), b.new(f"sub {self.whole} {raw}, {self.bits}")

    def power(self, k: str) -> str:
        """2 to the integer `k`, which must be a normal number."""
        b, f = self.b, self.f
        biased = b.new(f"add {self.whole} {k}, {b.constant(f.integer, f.bias)}")
        moved = b.new(f"shl {self.whole} {biased}, {b.constant(f.integer, f.mantissa_bits)}")
        return b.new(f"bitcast {self.whole} {moved} to {self.typed}")

    def reduced(self, x: str) -> tuple[str, str, str]:
        """k as a float and an integer, and r, with x = k ln 2 + r."""
        b, kind = self.b, self.kind
        k_float, k = self.rounded(x, 1.0 / math.log(2.0))
        r = b.call("llvm.fma", kind, k_float, b.constant(kind, -self.f.ln2_high), x)
        return k_float, k, b.call("llvm.fma", kind, k_float, b.constant(kind, -self.f.ln2_low), r)

    def series(self, r: str, first: int) -> str:
        """The sum of r^(n - first) / n! from n = first on."""
        b, kind, f = self.b, self.kind, self.f
        value = b.constant(kind, 1.0 / math.factorial(f.degree))
        for n in range(f.degree - 1, first - 1, -1):
            value = b.call("llvm.fma", kind, value, r, b.constant(kind, 1.0 / math.factorial(n)))
        return value


def _limited(b: Builder, kind: str, x: str, comparison: str, bound: float) -> str:
    """`x`, and the bound where `x` is beyond it; NaN stays."""
    limit = b.constant(kind, bound)
    beyond = b.new(f"fcmp {comparison} {b.type(kind)} {x}, {limit}")
    return b.new(f"select {b.type('i1')} {beyond}, {b.type(kind)} {limit}, {b.type(kind)} {x}")


def exp(b: Builder, kind: str, x: str) -> str:
    """exp(x) for vectors of `kind`; NaN stays, +inf and what overflows give inf, -inf and what vanishes 0."""
    s, typed = _Scale(b, kind), b.type(kind)
    x = _limited(b, kind, x, "olt", s.f.lowest)
    x = _limited(b, kind, x, "ogt", s.f.highest)
    k_float, k, r = s.reduced(x)
    _, half = s.rounded(k_float, 0.5)
    rest = b.new(f"sub {s.whole} {k}, {half}")
    value = b.new(f"fmul {typed} {s.series(r, 0)}, {s.power(half)}")
    return b.new(f"fmul {typed} {value}, {s.power(rest)}")


def tanh(b: Builder, kind: str, x: str) -> str:
    """tanh(x) = m / (m + 2) with m = exp(2 |x|) - 1 = 2^k (exp(r) - 1) + (2^k - 1), in the sign of x."""
    s, typed = _Scale(b, kind), b.type(kind)
    one = b.constant(kind, 1.0)
    size = b.call("llvm.fabs", kind, x)
    twice = _limited(b, kind, b.new(f"fadd {typed} {size}, {size}"), "ogt", 44.0)  # beyond it tanh rounds to 1
    _, k, r = s.reduced(twice)
    power = s.power(k)
    grown = b.new(f"fmul {typed} {r}, {s.series(r, 1)}")
    m = b.call("llvm.fma", kind, power, grown, b.new(f"fsub {typed} {power}, {one}"))
    value = b.new(f"fdiv {typed} {m}, {b.new(f'fadd {typed} {m}, {b.constant(kind, 2.0)}')}")
    return b.call("llvm.copysign", kind, value, x)


def sigmoid(b: Builder, kind: str, x: str) -> str:
    """1 / (1 + exp(-x)): with e = exp(-|x|) it is 1 / (1 + e) or e / (1 + e), exact in both tails."""
    typed, one = b.type(kind), b.constant(kind, 1.0)
    e = exp(b, kind, b.new(f"fneg {typed} {b.call('llvm.fabs', kind, x)}"))
    negative = b.new(f"fcmp olt {typed} {x}, {b.constant(kind, 0.0)}")
    above = b.new(f"select {b.type('i1')} {negative}, {typed} {e}, {typed} {one}")
    return b.new(f"fdiv {typed} {above}, {b.new(f'fadd {typed} {one}, {e}')}")
