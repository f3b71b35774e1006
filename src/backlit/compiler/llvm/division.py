"""Floor division and its remainder, with the bits of NumPy's: rounded down, signed zeros, nothing left of a division by zero."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from backlit.compiler.llvm.arithmetic import Floats
from backlit.compiler.llvm.lanes import lane_by_lane
from backlit.compiler.llvm.writer import Writer

DIVISIONS = ("floor_divide", "remainder")
_INTEGERS = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
# up to this quotient one fused step gives the exact remainder, between sizes of which no part under- or overflows
_QUOTIENT = {"float": 2.0**22, "double": 2.0**50}
_SMALL = {"float": 2.0**-70, "double": 2.0**-800}
_LARGE = {"float": 2.0**120, "double": 2.0**900}


def divide(w: Writer, name: str, x: str, y: str, dtype: np.dtype[Any]) -> str:
    """`floor_divide` or `remainder` of operands of one dtype, which is a float's or an integer's."""
    quotient, rest = _of_floats(w, x, y, dtype) if dtype.kind == "f" else _of_integers(w, x, y, dtype)
    return quotient if name == "floor_divide" else rest


def _of_integers(w: Writer, x: str, y: str, dtype: np.dtype[Any]) -> tuple[str, str]:
    """By zero both are 0; the least number divided by -1 is itself."""
    scalar, signed = _INTEGERS[dtype.itemsize], dtype.kind == "i"
    typed, truth = w.type(scalar), w.type("i1")
    zero, one, minus = (w.constant(scalar, k) for k in (0, 1, -1))
    by_zero = w.new(f"icmp eq {typed} {y}, {zero}")
    unsafe = by_zero
    if signed:
        by_minus = w.new(f"icmp eq {typed} {y}, {minus}")
        unsafe = w.new(f"or {truth} {by_zero}, {by_minus}")
    safe = w.new(f"select {truth} {unsafe}, {typed} {one}, {typed} {y}")
    quotient = w.new(f"{'s' if signed else 'u'}div {typed} {x}, {safe}")
    if signed:
        opposite = w.new(f"sub {typed} {zero}, {x}")
        quotient = w.new(f"select {truth} {by_minus}, {typed} {opposite}, {typed} {quotient}")
    rest = w.new(f"sub {typed} {x}, {w.new(f'mul {typed} {quotient}, {y}')}")
    if signed:
        mixed = w.new(f"icmp slt {typed} {w.new(f'xor {typed} {rest}, {y}')}, {zero}")
        some = w.new(f"icmp ne {typed} {rest}, {zero}")
        below = w.new(f"and {truth} {mixed}, {some}")
        quotient = w.new(
            f"select {truth} {below}, {typed} {w.new(f'sub {typed} {quotient}, {one}')}, {typed} {quotient}"
        )
        rest = w.new(f"select {truth} {below}, {typed} {w.new(f'add {typed} {rest}, {y}')}, {typed} {rest}")
    return (
        w.new(f"select {truth} {by_zero}, {typed} {zero}, {typed} {quotient}"),
        w.new(f"select {truth} {by_zero}, {typed} {zero}, {typed} {rest}"),
    )


def _of_floats(w: Writer, x: str, y: str, dtype: np.dtype[Any]) -> tuple[str, str]:
    """As NumPy's `npy_divmod`, step by step."""
    v = Floats(w, "float" if dtype.itemsize == 4 else "double")
    ratio = v.div(x, y)
    rest = _fmod(w, v, x, y, ratio)
    by_zero = v.compare("oeq", y, 0.0)
    quotient = v.div(v.sub(x, rest), y)
    some = v.compare("une", rest, 0.0)  # also where it is NaN
    mixed = w.new(f"xor {v.truth} {v.compare('olt', y, 0.0)}, {v.compare('olt', rest, 0.0)}")
    below = v.logic("and", some, mixed)
    moved = v.select(below, v.add(rest, y), rest)
    quotient = v.select(below, v.sub(quotient, 1.0), quotient)
    moved = v.select(some, moved, v.call("copysign", 0.0, y))
    whole = v.call("floor", quotient)
    up = v.compare("ogt", v.sub(quotient, whole), 0.5)
    whole = v.select(up, v.add(whole, 1.0), whole)
    whole = v.select(v.compare("une", quotient, 0.0), whole, v.call("copysign", 0.0, ratio))
    return v.select(by_zero, ratio, whole), v.select(by_zero, rest, moved)


def _fmod(w: Writer, v: Floats, x: str, y: str, ratio: str) -> str:
    """What is left of `x` after as many whole `y` as fit, exactly; it has the sign of `x`."""
    kind = v.kind
    size_x, size_y = v.call("fabs", x), v.call("fabs", y)
    whole = v.call("trunc", ratio)
    rest = v.fused(v.neg(whole), y, x)
    # the rounded quotient may be one too large
    over = v.logic(
        "and",
        v.compare("une", rest, 0.0),
        w.new(f"xor {v.truth} {v.compare('olt', rest, 0.0)}, {v.compare('olt', x, 0.0)}"),
    )
    rest = v.select(over, v.add(rest, v.call("copysign", size_y, x)), rest)
    rest = v.call("copysign", v.call("fabs", rest), x)
    by_zero = v.compare("oeq", y, 0.0)
    rest = v.select(by_zero, math.nan, rest)
    near = v.compare("ole", v.call("fabs", ratio), _QUOTIENT[kind])
    for size in (size_x, size_y):
        near = v.logic("and", near, v.compare("ole", size, _LARGE[kind]))
    near = v.logic("and", near, v.compare("oge", size_y, _SMALL[kind]))
    near = v.logic("and", near, v.logic("or", v.compare("oge", size_x, _SMALL[kind]), v.compare("oeq", size_x, 0.0)))
    near = v.logic("or", near, by_zero)
    far = w.new(f"xor {v.truth} {near}, {w.constant('i1', True)}")
    suffix = ("" if w.lanes == 1 else f"v{w.lanes}") + ("f32" if kind == "float" else "f64")
    return w.new(
        f"call {v.typed} @backlit.fmod.{suffix}({v.typed} {x}, {v.typed} {y}, {v.typed} {rest}, {v.truth} {far})"
    )


def division_definitions(text: str) -> str:
    """The functions out of line that IR calls: they give their third operand where the fourth does not hold."""
    found = sorted(set(re.findall(r"@backlit\.fmod\.(v\d+)?(f32|f64)\(", text)))
    return "\n".join([_ONE] * bool(found) + [_definition(int(width[1:]) if width else 1, s) for width, s in found])


def _definition(lanes: int, suffix: str) -> str:
    scalar = "float" if suffix == "f32" else "double"

    def one(x: str, y: str) -> list[str]:
        if scalar == "double":
            return [f"  %found = call double @backlit.fmod_of_one(double {x}, double {y})"]
        return [
            f"  %wide.x = fpext float {x} to double",
            f"  %wide.y = fpext float {y} to double",
            "  %wide = call double @backlit.fmod_of_one(double %wide.x, double %wide.y)",
            "  %found = fptrunc double %wide to float",
        ]

    name, v, i = f"@backlit.fmod.{suffix}", scalar, "i1"
    if lanes > 1:
        name, v, i = f"@backlit.fmod.v{lanes}{suffix}", f"<{lanes} x {scalar}>", f"<{lanes} x i1>"
    return "\n".join([
        f"define internal {v} {name}({v} %x, {v} %y, {v} %near, {i} %far) noinline {{",
        "entry:",
        *lane_by_lane(lanes, scalar, "%far", "%near", ["%x", "%y"], one),
        "}",
    ])  # fmt: skip


# Long division of the mantissas bit by bit, for quotients and sizes of any kind.
_ONE = """
define internal double @backlit.fmod_of_one(double %x, double %y) noinline {
entry:
  %bits.x = bitcast double %x to i64
  %bits.y = bitcast double %y to i64
  %sign = and i64 %bits.x, -9223372036854775808
  %size.x = and i64 %bits.x, 9223372036854775807
  %size.y = and i64 %bits.y, 9223372036854775807
  %zero.y = icmp eq i64 %size.y, 0
  %nan.y = icmp ugt i64 %size.y, 9218868437227405312
  %wild.x = icmp uge i64 %size.x, 9218868437227405312
  %bad.y = or i1 %zero.y, %nan.y
  %bad = or i1 %bad.y, %wild.x
  br i1 %bad, label %nothing, label %sized
nothing:
  %product = fmul double %x, %y
  %nan = fdiv double %product, %product
  ret double %nan
sized:
  %fits = icmp ult i64 %size.x, %size.y
  br i1 %fits, label %itself, label %parts
itself:
  ret double %x
parts:
  %exp.x = lshr i64 %size.x, 52
  %exp.y = lshr i64 %size.y, 52
  %low.x = icmp eq i64 %exp.x, 0
  %low.y = icmp eq i64 %exp.y, 0
  %fraction.x = and i64 %size.x, 4503599627370495
  %fraction.y = and i64 %size.y, 4503599627370495
  %full.x = or i64 %fraction.x, 4503599627370496
  %full.y = or i64 %fraction.y, 4503599627370496
  %mantissa.x = select i1 %low.x, i64 %fraction.x, i64 %full.x
  %mantissa.y = select i1 %low.y, i64 %fraction.y, i64 %full.y
  %e.x = select i1 %low.x, i64 1, i64 %exp.x
  %e.y = select i1 %low.y, i64 1, i64 %exp.y
  %steps = sub i64 %e.x, %e.y
  br label %divide
divide:
  %k = phi i64 [ %steps, %parts ], [ %fewer, %shift ]
  %m = phi i64 [ %mantissa.x, %parts ], [ %twice, %shift ]
  %rest = urem i64 %m, %mantissa.y
  %more = icmp sgt i64 %k, 0
  br i1 %more, label %shift, label %ready
shift:
  ; as many bits at a time as a word has room for
  %room = call i64 @llvm.ctlz.i64(i64 %mantissa.y, i1 false)
  %by = call i64 @llvm.smin.i64(i64 %room, i64 %k)
  %twice = shl i64 %rest, %by
  %fewer = sub i64 %k, %by
  br label %divide
ready:
  ; rest * 2^(e.y - 1075), exactly: the places of it that are left are those of y
  %none = icmp eq i64 %rest, 0
  br i1 %none, label %nil, label %pack
nil:
  %signed.zero = bitcast i64 %sign to double
  ret double %signed.zero
pack:
  %lead = call i64 @llvm.ctlz.i64(i64 %rest, i1 false)
  %up = sub i64 %lead, 11
  %limit = sub i64 %e.y, 1
  %moved = call i64 @llvm.smin.i64(i64 %up, i64 %limit)
  %mantissa = shl i64 %rest, %moved
  %e = sub i64 %e.y, %moved
  %normal = icmp uge i64 %mantissa, 4503599627370496
  %exponent = select i1 %normal, i64 %e, i64 0
  %high = shl i64 %exponent, 52
  %low = and i64 %mantissa, 4503599627370495
  %size = or i64 %high, %low
  %all = or i64 %size, %sign
  %value = bitcast i64 %all to double
  ret double %value
}
"""
