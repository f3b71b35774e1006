"""Instructions on vectors of one floating-point format: what the elementary functions are written in."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backlit.compiler.llvm.target import features
from backlit.compiler.llvm.writer import SIZES


class Builder(Protocol):
    """What writes instructions: one name for each, and types as wide as the loop's vectors."""

    lanes: int

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
    """What the functions need to know of a floating-point format."""

    integer: str
    mantissa_bits: int
    bias: int
    lowest: float  # below it exp rounds to 0
    highest: float  # above it exp overflows
    ln2_high: float  # the leading bits of ln 2: times any k it is exact
    ln2_low: float
    exp_terms: tuple[float, ...]  # of exp(r) for |r| <= ln(2) / 2

    @property
    def magic(self) -> float:
        """Adding it rounds to an integer, which is then in the low bits."""
        return 1.5 * 2.0**self.mantissa_bits

    @property
    def magic_bits(self) -> int:
        """Its bit pattern."""
        return self.bits(self.magic)

    @property
    def smallest_normal(self) -> float:
        """The least positive number of full precision."""
        return 2.0 ** (1 - self.bias)

    @property
    def smallest(self) -> float:
        """The least positive number."""
        return 2.0 ** (1 - self.bias - self.mantissa_bits)

    @property
    def largest(self) -> float:
        """The greatest finite number."""
        return (2.0 - 2.0**-self.mantissa_bits) * 2.0**self.bias

    def bits(self, value: float) -> int:
        """The bit pattern of `value`, as a signed integer."""
        code = ("<d", "<q") if self.integer == "i64" else ("<f", "<i")
        return int(struct.unpack(code[1], struct.pack(code[0], value))[0])


_LN2_32 = float(np.float32(355.0 / 512.0))
# Chebyshev interpolants of (exp(r) - 1 - r - r^2 / 2) / r^3, computed in 60 digits and written as powers
FORMATS = {
    "double": Format(
        "i64", 52, 1023, -745.2, 709.8, float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33"),
        (1.0, 1.0, 0.5, 0.16666666666666669, 0.041666666666666664, 0.008333333333330065, 0.0013888888888886554,
         0.0001984126986304067, 2.4801587317135252e-05, 2.7557268480116333e-06, 2.7557282983917557e-07,
         2.5100375924709717e-08, 2.0911229795563617e-09),
    ),
    "float": Format(
        "i32", 23, 127, -104.0, 88.8, _LN2_32, math.log(2.0) - _LN2_32,
        (1.0, 1.0, 0.5, 0.1666666716337204, 0.041666556149721146, 0.00833332072943449, 0.0013926175888627768,
         0.00019882690685335547),
    ),
}  # fmt: skip


class Floats:
    """Floating-point instructions of one kind; an operand is the name of a value, or a number for a constant."""

    def __init__(self, b: Builder, kind: str) -> None:
        self.b, self.kind, self.f = b, kind, FORMATS[kind]
        self.has_fma = features().fma
        self.typed, self.whole, self.truth = b.type(kind), b.type(self.f.integer), b.type("i1")
        self._constants: dict[tuple[str, float], str] = {}

    def operand(self, x: str | float) -> str:
        """The name of an operand."""
        return x if isinstance(x, str) else self._constant(self.kind, x)

    def _whole(self, k: str | int) -> str:
        return k if isinstance(k, str) else self._constant(self.f.integer, k)

    def _constant(self, scalar: str, value: float) -> str:
        key = scalar, value
        if value == 0.0 or key not in self._constants:  # 0.0 and -0.0 are equal keys
            self._constants[key] = self.b.constant(scalar, value)
        return self._constants[key]

    def _binary(self, name: str, x: str | float, y: str | float) -> str:
        return self.b.new(f"{name} {self.typed} {self.operand(x)}, {self.operand(y)}")

    def add(self, x: str | float, y: str | float) -> str:
        return self._binary("fadd", x, y)

    def sub(self, x: str | float, y: str | float) -> str:
        return self._binary("fsub", x, y)

    def mul(self, x: str | float, y: str | float) -> str:
        return self._binary("fmul", x, y)

    def div(self, x: str | float, y: str | float) -> str:
        return self._binary("fdiv", x, y)

    def neg(self, x: str) -> str:
        return self.b.new(f"fneg {self.typed} {x}")

    def fma(self, x: str | float, y: str | float, z: str | float) -> str:
        """x y + z, rounded once where the machine can, else twice."""
        return self.call("fma", x, y, z) if self.has_fma else self.add(self.mul(x, y), z)

    def fused(self, x: str | float, y: str | float, z: str | float) -> str:
        """x y + z, rounded once or as exactly; without an instruction for it, the parts of x and y must not overflow."""
        if self.has_fma:
            return self.call("fma", x, y, z)
        if self.kind == "float":  # doubles hold the product
            wide = Floats(self.b, "double")
            parts = [self.b.new(f"fpext {self.typed} {self.operand(o)} to {wide.typed}") for o in (x, y, z)]
            return self.b.new(f"fptrunc {wide.typed} {wide.add(wide.mul(*parts[:2]), parts[2])} to {self.typed}")
        product, error = self.two_product(x, y)
        total = self.add(product, z)  # and its error, whichever is larger (Knuth)
        back = self.sub(total, product)
        lost = self.add(self.sub(product, self.sub(total, back)), self.sub(z, back))
        return self.add(total, self.add(lost, error))

    def call(self, name: str, *operands: str | float) -> str:
        """The result of an intrinsic of LLVM."""
        return self.b.call(f"llvm.{name}", self.kind, *(self.operand(o) for o in operands))

    def rarely(self, name: str, x: str, value: str) -> str:
        """`value`, but another way to compute a function where that is to be taken: out of line, see `rare`."""
        return self.b.call(f"backlit.{name}", self.kind, x, value)

    def polynomial(self, table: Sequence[str | float], x: str) -> str:
        """The sum of table[n] x^n: by Horner's rule, in long tables by pairs of pairs but for the first two steps.

        Pairs halve the chain of operations that wait for each other (erf of doubles takes 1.05 ns instead of 1.4 on an
        AVX-512 machine); the first terms, which decide the error, are added last.
        """
        first = 2 if len(table) > 8 else len(table) - 1
        value = self.paired(table[first:], x)
        for coefficient in reversed(table[:first]):
            value = self.fma(value, x, coefficient)
        return value

    def paired(self, table: Sequence[str | float], power: str) -> str:
        """The sum of table[n] power^n, by Estrin's scheme."""
        terms: list[str | float] = list(table)
        while len(terms) > 1:
            pairs = zip(terms[::2], terms[1::2], strict=False)
            terms = [*(self.fma(high, power, low) for low, high in pairs), *terms[len(terms) // 2 * 2 :]]
            power = self.mul(power, power) if len(terms) > 1 else power
        return self.operand(terms[0])

    def compare(self, how: str, x: str | float, y: str | float) -> str:
        """Truth values of a comparison, named as LLVM names it."""
        return self.b.new(f"fcmp {how} {self.typed} {self.operand(x)}, {self.operand(y)}")

    def logic(self, name: str, p: str, q: str) -> str:
        """`and`, `or`, `xor` of truth values."""
        return self.b.new(f"{name} {self.truth} {p}, {q}")

    def select(self, condition: str, x: str | float, y: str | float) -> str:
        """`x` where the condition holds, else `y`."""
        return self.b.new(
            f"select {self.truth} {condition}, {self.typed} {self.operand(x)}, {self.typed} {self.operand(y)}"
        )

    def limited(self, x: str, comparison: str, bound: float) -> str:
        """`x`, and the bound where `x` is beyond it; NaN stays."""
        return self.select(self.compare(comparison, x, bound), bound, x)

    def bits(self, x: str) -> str:
        """The bit pattern, as an integer."""
        return self.b.new(f"bitcast {self.typed} {x} to {self.whole}")

    def from_bits(self, k: str) -> str:
        """The number of a bit pattern."""
        return self.b.new(f"bitcast {self.whole} {k} to {self.typed}")

    def integer(self, name: str, k: str | int, n: str | int) -> str:
        """An instruction on integers as wide as the format: `add`, `and`, `shl`, ..."""
        return self.b.new(f"{name} {self.whole} {self._whole(k)}, {self._whole(n)}")

    def whole_constant(self, k: int) -> str:
        """An integer as wide as the format, in every lane."""
        return self._whole(k)

    def whole_compare(self, how: str, k: str | int, n: str | int) -> str:
        """Truth values of a comparison of integers as wide as the format."""
        return self.b.new(f"icmp {how} {self.whole} {self._whole(k)}, {self._whole(n)}")

    def fast_two_sum(self, x: str | float, y: str | float) -> tuple[str, str]:
        """x + y as a rounded sum and its error; |x| >= |y|."""
        total = self.add(x, y)
        return total, self.sub(y, self.sub(total, x))

    def two_product(self, x: str | float, y: str | float) -> tuple[str, str]:
        """x y as a rounded product and its error."""
        product = self.mul(x, y)
        if self.has_fma or self.kind == "float":
            return product, self.fused(x, y, self.neg(product))
        (x_high, x_low), (y_high, y_low) = self._halves(x), self._halves(y)
        error = self.sub(self.mul(x_high, y_high), product)
        error = self.add(error, self.add(self.mul(x_high, y_low), self.mul(x_low, y_high)))
        return product, self.add(error, self.mul(x_low, y_low))

    def _halves(self, x: str | float) -> tuple[str, str]:
        """A double as a sum of two of half as many bits (Dekker)."""
        scaled = self.mul(x, 2.0**27 + 1.0)
        high = self.sub(scaled, self.sub(scaled, x))
        return high, self.sub(x, high)

    def rounded(self, value: str, factor: float) -> tuple[str, str]:
        """The integer nearest to `value * factor`, as a float and as an integer."""
        shifted = self.fma(value, factor, self.f.magic)
        return self.sub(shifted, self.f.magic), self.integer("sub", self.bits(shifted), self.f.magic_bits)

    def power(self, k: str) -> str:
        """2 to the integer `k`, which must be a normal number."""
        return self.from_bits(self.integer("shl", self.integer("add", k, self.f.bias), self.f.mantissa_bits))

    def scaled(self, x: str, k: str) -> str:
        """x 2^k for an integer `k` given as a float, rounded once where the result is subnormal."""
        if self._has_avx512():
            return self._avx512("scalef", (x, k))
        half_float, half = self.rounded(k, 0.5)
        _, rest = self.rounded(self.sub(k, half_float), 1.0)
        return self.mul(self.mul(x, self.power(half)), self.power(rest))

    def split(self, x: str) -> tuple[str, str]:
        """k as a float and m in [sqrt(1/2), sqrt(2)), with x = 2^k m, for a positive finite number `x`.

        Others give a `k` and an `m` of no meaning.
        """
        f = self.f
        if self._has_avx512():
            k = self._avx512("getexp", (x,))
            m = self._avx512("scalef", (x, self.neg(k)))
            large = self.compare("oge", m, math.sqrt(2.0))
            return self.select(large, self.add(k, 1.0), k), self.select(large, self.mul(m, 0.5), m)
        places = f.mantissa_bits + 2
        tiny = self.compare("olt", x, f.smallest_normal)
        one, raw = f.bits(1.0), self.bits(self.select(tiny, self.mul(x, 2.0**places), x))
        # a logical shift of a positive number: AVX2 has no arithmetic one for 64 bits
        biased = self.integer("lshr", self.integer("add", raw, one - f.bits(math.sqrt(0.5))), f.mantissa_bits)
        m = self.from_bits(self.integer("add", self.integer("sub", raw, self._shifted(biased)), one))
        k = self.sub(self.from_bits(self.integer("add", biased, f.magic_bits - f.bias)), f.magic)
        return self.select(tiny, self.sub(k, float(places)), k), m

    def _has_avx512(self) -> bool:
        """Whether the vectors are made of registers of 64 bytes of an x86 machine."""
        return features().vector_bytes == 64 and self.b.lanes * SIZES[self.kind] % 64 == 0

    def _avx512(self, name: str, operands: tuple[str, ...]) -> str:
        """An instruction of AVX-512 on floats that has no other name in LLVM, register by register."""
        each, lanes = 64 // SIZES[self.kind], self.b.lanes
        one, suffix = f"<{each} x {self.kind}>", {"double": "pd", "float": "ps"}[self.kind]
        found = []
        for start in range(0, lanes, each):
            parts = (
                operands
                if lanes == each
                else tuple(self._lanes(o, lanes, range(start, start + each)) for o in operands)
            )
            given = ", ".join(f"{one} {part}" for part in (*parts, parts[0]))
            found.append(
                self.b.new(f"call {one} @llvm.x86.avx512.mask.{name}.{suffix}.512({given}, i{each} -1, i32 4)")
            )
        width = each
        while len(found) > 1:
            found = [self._joined(a, b, width) for a, b in zip(found[::2], found[1::2], strict=True)]
            width *= 2
        return found[0]

    def _lanes(self, x: str, lanes: int, chosen: range) -> str:
        picks = ", ".join(f"i32 {k}" for k in chosen)
        typed = f"<{lanes} x {self.kind}>"
        return self.b.new(f"shufflevector {typed} {x}, {typed} poison, <{len(chosen)} x i32> <{picks}>")

    def _joined(self, a: str, b: str, width: int) -> str:
        picks = ", ".join(f"i32 {k}" for k in range(2 * width))
        typed = f"<{width} x {self.kind}>"
        return self.b.new(f"shufflevector {typed} {a}, {typed} {b}, <{2 * width} x i32> <{picks}>")

    def _shifted(self, k: str) -> str:
        return self.integer("shl", k, self.f.mantissa_bits)

    def reduced(self, x: str) -> tuple[str, str, str]:
        """k as a float and an integer, and r, with x = k ln 2 + r."""
        k_float, k = self.rounded(x, 1.0 / math.log(2.0))
        r = self.fma(k_float, -self.f.ln2_high, x)
        return k_float, k, self.fma(k_float, -self.f.ln2_low, r)

    def series(self, r: str, first: int) -> str:
        """The sum of r^(n - first) / n! from n = first on, for |r| <= ln(2) / 2."""
        return self.polynomial(self.f.exp_terms[first:], r)
