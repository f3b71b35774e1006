"""Statistics of floats in one native pass: an array is read once, and no temporary one is made."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from struct import Struct
from typing import Any

import numpy as np

from backlit.compiler.llvm.target import Code, attributes

Array = np.ndarray[Any, Any]
LEAST, LARGEST, SUM, SQUARES, ZEROS, SUBNORMAL, NANS, INFINITE, APART = range(9)

# The text of every loop is written for vectors of `{w}` elements and, with {w} = 1, for those that are left over.
# `{v}` is a vector of elements, `{b}` of their bits, `{m}` of truth values, `{d}` of doubles.
_MEASURE = """
define internal void @{what}.{name}.{w}(ptr %x, ptr %y, i64 %n, ptr %out) #0 {{
entry:
  %any = icmp sge i64 %n, {w}
  br i1 %any, label %body, label %end
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %low = phi {v} [ {top}, %entry ], [ %low.new, %body ]
  %high = phi {v} [ {bottom}, %entry ], [ %high.new, %body ]
  %sum = phi {d} [ zeroinitializer, %entry ], [ %sum.new, %body ]
  %squares = phi {d} [ zeroinitializer, %entry ], [ %squares.new, %body ]
  %zeros = phi {b} [ zeroinitializer, %entry ], [ %zeros.new, %body ]
  %tiny = phi {b} [ zeroinitializer, %entry ], [ %tiny.new, %body ]
  %nans = phi {b} [ zeroinitializer, %entry ], [ %nans.new, %body ]
  %wild = phi {b} [ zeroinitializer, %entry ], [ %wild.new, %body ]
{apart_phi}  %at = getelementptr {t}, ptr %x, i64 %i
  %e = load {v}, ptr %at, align 1
  %bits = bitcast {v} %e to {b}
  %size = and {b} %bits, {magnitude}
  %is.wild = icmp uge {b} %size, {infinity}
  %kept = select {m} %is.wild, {v} zeroinitializer, {v} %e
  %for.low = select {m} %is.wild, {v} {top}, {v} %e
  %for.high = select {m} %is.wild, {v} {bottom}, {v} %e
  %lower = fcmp olt {v} %for.low, %low
  %low.new = select {m} %lower, {v} %for.low, {v} %low
  %higher = fcmp ogt {v} %for.high, %high
  %high.new = select {m} %higher, {v} %for.high, {v} %high
  %wide = {widen} {v} %kept to {d}
  %sum.new = fadd {d} %sum, %wide
  %square = fmul {d} %wide, %wide
  %squares.new = fadd {d} %squares, %square
{apart}  %is.zero = icmp eq {b} %size, zeroinitializer
  %is.tiny = icmp ult {b} %size, {normal}
  %is.nan = icmp ugt {b} %size, {infinity}
  %zero.one = sext {m} %is.zero to {b}
  %tiny.one = sext {m} %is.tiny to {b}
  %nan.one = sext {m} %is.nan to {b}
  %wild.one = sext {m} %is.wild to {b}
  %zeros.new = sub {b} %zeros, %zero.one
  %tiny.new = sub {b} %tiny, %tiny.one
  %nans.new = sub {b} %nans, %nan.one
  %wild.new = sub {b} %wild, %wild.one
  %next = add i64 %i, {w}
  %after = add i64 %next, {w}
  %more = icmp sle i64 %after, %n
  br i1 %more, label %body, label %done
done:
  %least = call {t} @llvm.vector.reduce.fmin.v{w}{f}({v} %low.new)
  %largest = call {t} @llvm.vector.reduce.fmax.v{w}{f}({v} %high.new)
  %r2 = call reassoc double @llvm.vector.reduce.fadd.v{w}f64(double 0.0, {d} %sum.new)
  %r3 = call reassoc double @llvm.vector.reduce.fadd.v{w}f64(double 0.0, {d} %squares.new)
{apart_sum}  %n.zeros = call {i} @llvm.vector.reduce.add.v{w}{i}({b} %zeros.new)
  %n.tiny = call {i} @llvm.vector.reduce.add.v{w}{i}({b} %tiny.new)
  %n.nans = call {i} @llvm.vector.reduce.add.v{w}{i}({b} %nans.new)
  %n.wild = call {i} @llvm.vector.reduce.add.v{w}{i}({b} %wild.new)
  %n.subnormal = sub {i} %n.tiny, %n.zeros
  %n.infinite = sub {i} %n.wild, %n.nans
  %r4 = sitofp {i} %n.zeros to double
  %r5 = sitofp {i} %n.subnormal to double
  %r6 = sitofp {i} %n.nans to double
  %r7 = sitofp {i} %n.infinite to double
  %low.so.far = load double, ptr %out
  %low.here = {widen} {t} %least to double
  %is.lower = fcmp olt double %low.here, %low.so.far
  %r0 = select i1 %is.lower, double %low.here, double %low.so.far
  store double %r0, ptr %out
  %at1 = getelementptr double, ptr %out, i64 1
  %high.so.far = load double, ptr %at1
  %high.here = {widen} {t} %largest to double
  %is.higher = fcmp ogt double %high.here, %high.so.far
  %r1 = select i1 %is.higher, double %high.here, double %high.so.far
  store double %r1, ptr %at1
{adds}  br label %end
end:
  ret void
}}
"""
_ADD = """\
  %at{k} = getelementptr double, ptr %out, i64 {k}
  %so.far{k} = load double, ptr %at{k}
  %now{k} = fadd double %so.far{k}, %r{k}
  store double %now{k}, ptr %at{k}
"""

# of two arrays, (x - y) ^ 2 besides
_APART = {
    "apart_phi": "  %apart = phi {d} [ zeroinitializer, %entry ], [ %apart.new, %body ]\n",
    "apart": """\
  %y.at = getelementptr {t}, ptr %y, i64 %i
  %y.e = load {v}, ptr %y.at, align 1
  %difference = fsub {v} %e, %y.e
  %difference.wide = {widen} {v} %difference to {d}
  %difference.square = fmul {d} %difference.wide, %difference.wide
  %apart.new = fadd {d} %apart, %difference.square
""",
    "apart_sum": "  %r8 = call reassoc double @llvm.vector.reduce.fadd.v{w}f64(double 0.0, {d} %apart.new)\n",
}

_WHOLE = """
define void @measure.{name}(ptr %x, i64 %n, ptr %out) #0 {{
  %rest = urem i64 %n, {w}
  %whole = sub i64 %n, %rest
  %left = getelementptr {t}, ptr %x, i64 %whole
  call void @one.{name}.{w}(ptr %x, ptr %x, i64 %whole, ptr %out)
  call void @one.{name}.1(ptr %left, ptr %left, i64 %rest, ptr %out)
  ret void
}}

define void @compare.{name}(ptr %x, ptr %y, i64 %n, ptr %out) #0 {{
  %rest = urem i64 %n, {w}
  %whole = sub i64 %n, %rest
  %left = getelementptr {t}, ptr %x, i64 %whole
  %left.y = getelementptr {t}, ptr %y, i64 %whole
  call void @two.{name}.{w}(ptr %x, ptr %y, i64 %whole, ptr %out)
  call void @two.{name}.1(ptr %left, ptr %left.y, i64 %rest, ptr %out)
  ret void
}}

; bins of two binades by exponent and sign; zeros and what is not finite are counted behind them
define void @histogram.{name}(ptr %x, i64 %n, ptr %counts) #0 {{
entry:
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %body, label %end
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %at = getelementptr {i}, ptr %x, i64 %i
  %bits = load {i}, ptr %at, align 1
  %size = and {i} %bits, {mask}
  %exponent = lshr {i} %size, {mantissa}
  %above = sub {i} %exponent, {lowest}
  %bin = ashr {i} %above, 1
  %is.low = icmp slt {i} %bin, 0
  %floor = select i1 %is.low, {i} 0, {i} %bin
  %is.high = icmp sgt {i} %floor, {last}
  %place = select i1 %is.high, {i} {last}, {i} %floor
  %down = sub {i} {last}, %place
  %up = add {i} {half}, %place
  %is.negative = icmp slt {i} %bits, 0
  %signed = select i1 %is.negative, {i} %down, {i} %up
  %is.zero = icmp eq {i} %size, 0
  %is.wild = icmp uge {i} %exponent, {wild}
  %in.none = or i1 %is.zero, %is.wild
  %chosen = select i1 %in.none, {i} {bins}, {i} %signed
  %slot = getelementptr i32, ptr %counts, {i} %chosen
  %count = load i32, ptr %slot
  %counted = add i32 %count, 1
  store i32 %counted, ptr %slot
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %body, label %end
end:
  ret void
}}
"""


def _every(value: Any, kind: str, w: int) -> str:
    return "<" + ", ".join([f"{kind} {value}"] * w) + ">"


def _text(bins: int, lowest: int) -> str:
    """The IR of all functions, for floats and doubles."""
    parts, used = [], set()
    for name, t, i, widest, exponent, mantissa in (
        ("f4", "float", "i32", 16, 8, 23),
        ("f8", "double", "i64", 8, 11, 52),
    ):
        wild, f = (1 << exponent) - 1, f"f{8 * int(name[1])}"
        common = {
            "name": name, "t": t, "i": i, "f": f, "widen": "fpext" if t == "float" else "bitcast", "wild": wild,
            "mask": (1 << (exponent + mantissa)) - 1, "mantissa": mantissa, "bins": bins, "half": bins // 2,
            "last": bins // 2 - 1, "lowest": (wild >> 1) + lowest,
        }  # fmt: skip
        for w in (widest, 1):
            v, d, b = (f"<{w} x {kind}>" for kind in (t, "double", i))
            forms = {
                "w": w, "v": v, "d": d, "b": b, "m": f"<{w} x i1>", "top": _every("0x7FF0000000000000", t, w),
                "bottom": _every("0xFFF0000000000000", t, w), "magnitude": _every(common["mask"], i, w),
                "infinity": _every(wild << mantissa, i, w), "normal": _every(1 << mantissa, i, w),
            }  # fmt: skip
            for what, fields in (("one", 8), ("two", 9)):
                more = {key: line.format(**common, **forms) if what == "two" else "" for key, line in _APART.items()}
                adds = "".join(_ADD.format(k=k) for k in range(2, fields))
                parts.append(_MEASURE.format(what=what, adds=adds, **common, **forms, **more))
            used |= {f"declare {t} @llvm.vector.reduce.f{which}.v{w}{f}({v})" for which in ("min", "max")}
            used |= {f"declare double @llvm.vector.reduce.fadd.v{w}f64(double, {d})"}
            used |= {f"declare {i} @llvm.vector.reduce.add.v{w}{i}({b})"}
        parts.append(_WHOLE.format(**common, w=widest))
    return "".join(parts) + "\n" + "\n".join(sorted(used)) + "\n" + attributes()


_Row = ctypes.c_double * 9
ROW = Struct("9d")


class OnePass:
    """The native functions; arrays are given as addresses of `n` elements that lie one behind the other.

    What they find are rows of doubles, packed into bytes (which the collector of garbage need not look at), in the order
    of the names above: extremes, sum and sum of squares of the finite elements, how many are zero, subnormal, NaN and
    infinite, and of two arrays the sum of squares of the difference, whose elements are rounded to the dtype as NumPy does.
    """

    def __init__(self, bins: int, lowest: int) -> None:
        self._code = Code(_text(bins, lowest))
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        one, two = (pointer, count, pointer), (pointer, pointer, count, pointer)
        dtypes = {np.dtype(name): name for name in ("f4", "f8")}
        self._measure = {dtype: self._code.function(f"measure.{name}", *one) for dtype, name in dtypes.items()}
        self._histogram = {dtype: self._code.function(f"histogram.{name}", *one) for dtype, name in dtypes.items()}
        self._compare = {dtype: self._code.function(f"compare.{name}", *two) for dtype, name in dtypes.items()}
        self._bins = bins

    def measure(self, dtype: Any, address: int, n: int) -> bytes:
        """The row of an array."""
        found = _Row(math.inf, -math.inf)
        self._measure[dtype](address, n, found)
        return bytes(found)

    def compare(self, dtype: Any, address: int, before: int, n: int) -> bytes:
        """The row of an array, with its distance from the one before."""
        found = _Row(math.inf, -math.inf)
        self._compare[dtype](address, before, n, found)
        return bytes(found)

    def histogram(self, dtype: Any, address: int, n: int) -> Array:
        """How many elements are in each bin."""
        counts = np.zeros(self._bins + 1, np.uint32)
        self._histogram[dtype](address, n, counts.ctypes.data)
        return counts[: self._bins]


@cache
def one_pass(bins: int, lowest: int) -> OnePass:
    """The functions for histograms of `bins` bins from 2^lowest; compiled, or loaded, when first asked for."""
    return OnePass(bins, lowest)
