"""Values in another dtype, with the bits of NumPy's conversions on this machine.

float16 and bfloat16 are kept as words of 16 bits. Their conversions are written with integers, which is the same on every
machine and needs no library.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from backlit.compiler.llvm.writer import Writer
from backlit.core.dtypes import bfloat16

SCALARS = {
    np.dtype(name): scalar
    for name, scalar in (
        ("float32", "float"), ("float64", "double"), ("bool", "i1"), ("int8", "i8"), ("uint8", "i8"),
        ("int16", "i16"), ("uint16", "i16"), ("int32", "i32"), ("uint32", "i32"), ("int64", "i64"), ("uint64", "i64"),
        ("float16", "i16"), (bfloat16, "i16"),
    )
}  # fmt: skip
_HALF, _SINGLE, _DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
SMALL = frozenset({_HALF, bfloat16})
_TO_INTEGERS = platform.machine().lower() in ("x86_64", "amd64")  # what is out of range depends on the machine


def can_convert(dtype: np.dtype[Any], out: np.dtype[Any]) -> bool:
    """Whether there are instructions for a conversion."""
    return out.kind not in "iu" or dtype.kind not in "fV" or _TO_INTEGERS


def convert(w: Writer, x: str, dtype: np.dtype[Any], out: np.dtype[Any]) -> str:
    """`x` in another dtype."""
    if dtype == out:
        return x
    if dtype in SMALL:
        x = _from_half(w, x) if dtype == _HALF else _from_bfloat(w, x)
        return convert(w, x, _SINGLE, out)
    if out in SMALL:
        if dtype == _DOUBLE and out == _HALF:
            x = _to_odd(w, x)
        elif dtype != _SINGLE:
            x = convert(w, x, dtype, _SINGLE)
        return _to_half(w, x) if out == _HALF else _to_bfloat(w, x)
    before, after = SCALARS[dtype], SCALARS[out]
    a, b = w.type(before), w.type(after)
    if out == bool:
        zero = w.constant(before, 0)
        return w.new(f"fcmp une {a} {x}, {zero}" if dtype.kind == "f" else f"icmp ne {a} {x}, {zero}")
    if dtype.kind == out.kind == "f":
        return w.new(f"{'fpext' if out.itemsize > dtype.itemsize else 'fptrunc'} {a} {x} to {b}")
    if out.kind == "f":
        return w.new(f"{'sitofp' if dtype.kind == 'i' else 'uitofp'} {a} {x} to {b}")
    if dtype == bool:
        return w.new(f"zext {a} {x} to {b}")
    if dtype.kind == "f":
        return _to_integer(w, x, dtype, out)
    if out.itemsize == dtype.itemsize:
        return x
    if out.itemsize < dtype.itemsize:
        return w.new(f"trunc {a} {x} to {b}")
    return w.new(f"{'sext' if dtype.kind == 'i' else 'zext'} {a} {x} to {b}")


def _to_integer(w: Writer, x: str, dtype: np.dtype[Any], out: np.dtype[Any]) -> str:
    """As x86-64 converts: to 32 or 64 bits, where what does not fit is the least number, and the low bits of that.

    Of numbers below -2**31, from 2**32 on and of NaN NumPy gives different uint32 by the place in the array; here it is
    one of them everywhere.
    """
    wide = out.itemsize == 8 or out == np.uint32
    if out != np.uint64:
        found = _truncated(w, x, dtype, 64 if wide else 32)
        kind = "i64" if wide else "i32"
        return found if SCALARS[out] == kind else w.new(f"trunc {w.type(kind)} {found} to {w.type(SCALARS[out])}")
    typed, truth, i64 = w.type(SCALARS[dtype]), w.type("i1"), w.type("i64")
    half = w.constant(SCALARS[dtype], 2.0**63)
    low = _truncated(w, x, dtype, 64)
    high = _truncated(w, w.new(f"fsub {typed} {x}, {half}"), dtype, 64)
    high = w.new(f"xor {i64} {high}, {w.constant('i64', -(2**63))}")
    above = w.new(f"fcmp oge {typed} {x}, {half}")
    return w.new(f"select {truth} {above}, {i64} {high}, {i64} {low}")


def _truncated(w: Writer, x: str, dtype: np.dtype[Any], bits: int) -> str:
    """The whole part as a signed integer of so many bits; the least of these where it is none."""
    scalar = SCALARS[dtype]
    typed, truth, whole = w.type(scalar), w.type("i1"), w.type(f"i{bits}")
    exact = bits == 32 and dtype == _DOUBLE  # whether there are numbers between the least integer and one below it
    low = w.constant(scalar, -(2.0 ** (bits - 1)) - exact)
    above = w.new(f"fcmp {'ogt' if exact else 'oge'} {typed} {x}, {low}")
    below = w.new(f"fcmp olt {typed} {x}, {w.constant(scalar, 2.0 ** (bits - 1))}")
    inside = w.new(f"and {truth} {above}, {below}")
    safe = w.new(f"select {truth} {inside}, {typed} {x}, {typed} {w.constant(scalar, 0.0)}")
    found = w.new(f"fptosi {typed} {safe} to {whole}")
    return w.new(f"select {truth} {inside}, {whole} {found}, {whole} {w.constant(f'i{bits}', -(2 ** (bits - 1)))}")


class _Words:
    """Instructions on words of 32 bits."""

    def __init__(self, w: Writer) -> None:
        self.w, self.typed, self.truth = w, w.type("i32"), w.type("i1")

    def _operand(self, x: str | int) -> str:
        return x if isinstance(x, str) else self.w.constant("i32", x)

    def do(self, name: str, x: str | int, y: str | int) -> str:
        return self.w.new(f"{name} {self.typed} {self._operand(x)}, {self._operand(y)}")

    def select(self, condition: str, x: str | int, y: str | int) -> str:
        return self.w.new(
            f"select {self.truth} {condition}, {self.typed} {self._operand(x)}, {self.typed} {self._operand(y)}"
        )

    def wide(self, x: str) -> str:
        return self.w.new(f"zext {self.w.type('i16')} {x} to {self.typed}")

    def narrow(self, x: str) -> str:
        return self.w.new(f"trunc {self.typed} {x} to {self.w.type('i16')}")

    def bits(self, x: str) -> str:
        return self.w.new(f"bitcast {self.w.type('float')} {x} to {self.typed}")

    def single(self, x: str) -> str:
        return self.w.new(f"bitcast {self.typed} {x} to {self.w.type('float')}")


def _from_bfloat(w: Writer, x: str) -> str:
    v = _Words(w)
    return v.single(v.do("shl", v.wide(x), 16))


def _to_bfloat(w: Writer, x: str) -> str:
    """To the nearest, ties to even; every NaN becomes the quiet one of its sign."""
    v = _Words(w)
    bits = v.bits(x)
    odd = v.do("and", v.do("lshr", bits, 16), 1)
    rounded = v.do("lshr", v.do("add", v.do("add", bits, 0x7FFF), odd), 16)
    nan = v.do("or", v.do("and", v.do("lshr", bits, 16), 0x8000), 0x7FC0)
    is_nan = w.new(f"fcmp uno {w.type('float')} {x}, {x}")
    return v.narrow(v.select(is_nan, nan, rounded))


def _from_half(w: Writer, x: str) -> str:
    v = _Words(w)
    bits = v.wide(x)
    size = v.do("shl", v.do("and", bits, 0x7FFF), 13)
    # the exponents differ by 112; a product makes normal numbers of the least ones, which single precision has room for
    scaled = w.new(f"fmul {w.type('float')} {v.single(size)}, {w.constant('float', 2.0**112)}")
    largest = w.new(f"icmp uge {v.typed} {size}, {w.constant('i32', 0x7C00 << 13)}")
    found = v.select(largest, v.do("or", size, 0x7F800000), v.bits(scaled))
    return v.single(v.do("or", found, v.do("shl", v.do("and", bits, 0x8000), 16)))


def _to_half(w: Writer, x: str) -> str:
    """To the nearest, ties to even."""
    v = _Words(w)
    bits = v.bits(x)
    size = v.do("and", bits, 0x7FFFFFFF)
    odd = v.do("and", v.do("lshr", size, 13), 1)
    normal = v.do("lshr", v.do("add", v.do("add", size, 0xFFF - (112 << 23)), odd), 13)
    # a sum with 0.5 leaves the least numbers in the low bits, rounded
    least = w.new(f"fadd {w.type('float')} {v.single(size)}, {w.constant('float', 0.5)}")
    tiny = v.do("sub", v.bits(least), 0x3F000000)
    small = w.new(f"icmp ult {v.typed} {size}, {w.constant('i32', 113 << 23)}")
    found = v.select(small, tiny, normal)
    large = w.new(f"icmp uge {v.typed} {size}, {w.constant('i32', 143 << 23)}")
    found = v.select(large, 0x7C00, found)
    is_nan = w.new(f"icmp ugt {v.typed} {size}, {w.constant('i32', 0x7F800000)}")
    kept = v.do("or", v.do("lshr", v.do("and", size, 0x7FFFFF), 13), 0x7C00)
    kept = v.select(w.new(f"icmp eq {v.typed} {kept}, {w.constant('i32', 0x7C00)}"), 0x7C01, kept)
    found = v.select(is_nan, kept, found)
    return v.narrow(v.do("or", found, v.do("lshr", v.do("and", bits, -0x80000000), 16)))


def _to_odd(w: Writer, x: str) -> str:
    """A double as a float that rounds to the same half: cut off, the last bit set where anything was lost."""
    v = _Words(w)
    double, single = w.type("double"), w.type("float")
    near = w.new(f"fptrunc {double} {x} to {single}")
    back = w.new(f"fpext {single} {near} to {double}")
    lost = w.new(f"fcmp one {double} {back}, {x}")
    beyond = w.new(f"fcmp ogt {double} {w.call('llvm.fabs', 'double', back)}, {w.call('llvm.fabs', 'double', x)}")
    bits = v.bits(near)
    cut = v.select(beyond, v.do("sub", bits, 1), bits)
    return v.single(v.select(lost, v.do("or", cut, 1), bits))
