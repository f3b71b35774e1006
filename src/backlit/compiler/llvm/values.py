"""Elementwise ops as instructions on vectors, with the bits of NumPy's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from backlit.compiler.llvm.conversion import SCALARS, SMALL, can_convert, convert
from backlit.compiler.llvm.division import DIVISIONS, divide
from backlit.compiler.llvm.functions import FUNCTIONS, OF_ONE, SAMPLING
from backlit.compiler.llvm.numbers import EXACT, TESTS
from backlit.compiler.llvm.writer import Writer
from backlit.core.errors import CompilerError

_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul"}
COMPARE = {
    "equal": ("oeq", "eq"), "not_equal": ("une", "ne"), "less": ("olt", "lt"), "less_equal": ("ole", "le"),
    "greater": ("ogt", "gt"), "greater_equal": ("oge", "ge"),
}  # fmt: skip
_LOGIC = {
    "logical_and": "and", "logical_or": "or", "logical_xor": "xor", "bitwise_and": "and", "bitwise_or": "or",
    "bitwise_xor": "xor",
}  # fmt: skip
WHOLE = ("floor", "ceil", "trunc", "round")  # of an integer they are itself
_SHIFTS = ("left_shift", "right_shift")
_INTRINSICS = {
    "sqrt": "llvm.sqrt", "abs": "llvm.fabs", "floor": "llvm.floor", "ceil": "llvm.ceil", "trunc": "llvm.trunc",
    "round": "llvm.roundeven", "copysign": "llvm.copysign",
}  # fmt: skip
CHEAP = frozenset({*_ARITHMETIC, *COMPARE, *_LOGIC, *TESTS, "neg", "abs", "where", "astype", "logical_not",
                   "bitwise_invert", "maximum", "minimum", "copysign"})  # fmt: skip


_contracted: ContextVar[bool] = ContextVar("contracted", default=False)


@contextmanager
def contracting(allowed: bool) -> Iterator[None]:
    """Inside, a product and the sum it goes into may become one instruction with one rounding, where there is one."""
    token = _contracted.set(allowed)
    try:
        yield
    finally:
        _contracted.reset(token)


def can_emit(name: str, dtypes: list[np.dtype[Any]], out: np.dtype[Any], literals: list[Any]) -> bool:
    """Whether there are instructions for an op on operands of these dtypes, some of them Python numbers."""
    if any(d not in SCALARS for d in (*dtypes, out)) or any(isinstance(v, complex) for v in literals):
        return False
    if name == "astype":
        return can_convert(dtypes[0], out)
    if SMALL.intersection((*dtypes, out)):  # they are kept as they are, and computed with as float32
        return name == "where" and not literals
    kinds = {d.kind for d in dtypes}
    floats, integers, booleans = kinds <= {"f"}, kinds <= {"i", "u"}, kinds <= {"b"}
    if any(isinstance(v, float) for v in literals) and not floats and name not in ("where",):
        return False
    if integers and any(not _fits(v, dtypes[0]) for v in literals):
        return False
    if name in (*_ARITHMETIC, "neg", *DIVISIONS):
        return floats or integers
    if name in ("abs", *WHOLE) and integers:
        return True
    if name in ("div", *_INTRINSICS, *EXACT, *FUNCTIONS):
        return floats and (name != "pow" or out == dtypes[0])
    if name in SAMPLING:
        return dtypes[0] == np.float64
    if name in ("maximum", "minimum"):
        return floats or integers or (booleans and not literals)
    if name in COMPARE:
        return floats or integers or (booleans and not literals)
    if name in _LOGIC or name in ("logical_not", "bitwise_invert"):
        return (booleans or (integers and not name.startswith("logical"))) and not literals
    if name in _SHIFTS:
        return integers
    if name == "where":
        return all(_fits(v, out) for v in literals)
    return name == "sign" and (floats or integers)


def _fits(value: Any, dtype: np.dtype[Any]) -> bool:
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return isinstance(value, (bool, int)) and info.min <= value <= info.max
    return dtype.kind == "f" or isinstance(value, bool)


def emit(w: Writer, name: str, operands: list[str], dtype: np.dtype[Any], out: np.dtype[Any]) -> str:
    """The value of an op on operands of one `dtype` (for `where`, of its branches)."""
    scalar = SCALARS[dtype]
    typed, floating = w.type(scalar), dtype.kind == "f"
    listed = ", ".join(operands)
    if name in _ARITHMETIC:
        fused = "contract " if floating and _contracted.get() else ""
        return w.new(f"{'f' * floating}{_ARITHMETIC[name]} {fused}{typed} {listed}")
    if name == "div":
        return w.new(f"fdiv {typed} {listed}")
    if name == "neg":
        return w.new(f"fneg {typed} {listed}" if floating else f"sub {typed} {w.constant(scalar, 0)}, {listed}")
    if name in COMPARE:
        ordered, integer = COMPARE[name]
        if floating:
            return w.new(f"fcmp {ordered} {typed} {listed}")
        sign = "" if integer in ("eq", "ne") else "s" if dtype.kind == "i" else "u"
        return w.new(f"icmp {sign}{integer} {typed} {listed}")
    if name in _LOGIC:
        return w.new(f"{_LOGIC[name]} {typed} {listed}")
    if name in ("logical_not", "bitwise_invert"):
        return w.new(f"xor {typed} {operands[0]}, {w.constant(scalar, 1 if scalar == 'i1' else -1)}")
    if name in _SHIFTS:
        return _shifted(w, name == "left_shift", operands, dtype)
    if name in DIVISIONS:
        return divide(w, name, operands[0], operands[1], dtype)
    if name == "where":
        c, a, b = operands
        return w.new(f"select {w.type('i1')} {c}, {typed} {a}, {typed} {b}")
    if w.lanes == 1 and name in OF_ONE:
        return OF_ONE[name](w, scalar, *operands)
    if name in SAMPLING:
        return SAMPLING[name](w, scalar, *operands)
    if name in FUNCTIONS:
        return FUNCTIONS[name](w, scalar, *operands)
    if name in EXACT:
        return EXACT[name](w, scalar, *operands)
    if name in _INTRINSICS:
        if not floating:
            return operands[0] if name in WHOLE or dtype.kind == "u" else _size(w, operands[0], scalar)
        return w.call(_INTRINSICS[name], scalar, *operands)
    if name in ("maximum", "minimum"):
        return _extreme(w, name == "maximum", operands, dtype)
    if name == "sign" and not floating:
        return _sign_of_integer(w, operands[0], scalar, dtype.kind == "i")
    if name == "sign":
        zero, x = w.constant(scalar, 0.0), operands[0]
        above = w.new(f"fcmp ogt {typed} {x}, {zero}")
        below = w.new(f"fcmp olt {typed} {x}, {zero}")
        up = w.new(f"select {w.type('i1')} {above}, {typed} {w.constant(scalar, 1.0)}, {typed} {x}")
        signed = w.new(f"select {w.type('i1')} {below}, {typed} {w.constant(scalar, -1.0)}, {typed} {up}")
        still = w.new(f"fcmp oeq {typed} {x}, {zero}")
        return w.new(f"select {w.type('i1')} {still}, {typed} {zero}, {typed} {signed}")
    if name == "astype":
        return convert(w, operands[0], dtype, out)
    raise CompilerError(f"emit: {name} has no instructions")


def _extreme(w: Writer, largest: bool, operands: list[str], dtype: np.dtype[Any]) -> str:
    """The first operand where it wins or is NaN, else the second: so do NumPy's, also between zeros (x86-64)."""
    scalar = SCALARS[dtype]
    (a, b), typed, truth = operands, w.type(scalar), w.type("i1")
    if dtype == bool:
        return w.new(f"{'or' if largest else 'and'} {typed} {a}, {b}")
    if dtype.kind != "f":
        sign = "s" if dtype.kind == "i" else "u"
        wins = w.new(f"icmp {sign}{'gt' if largest else 'lt'} {typed} {a}, {b}")
    else:
        # not (a <= b) holds where a > b and where one of them is NaN
        first = w.new(f"fcmp {'ogt' if largest else 'olt'} {typed} {a}, {b}")
        nan = w.new(f"fcmp uno {typed} {a}, {a}")
        wins = w.new(f"or {truth} {first}, {nan}")
    return w.new(f"select {truth} {wins}, {typed} {a}, {typed} {b}")


def _shifted(w: Writer, left: bool, operands: list[str], dtype: np.dtype[Any]) -> str:
    """By a negative number of places or more than there are, all bits are shifted out."""
    scalar, (x, places) = SCALARS[dtype], operands
    typed, truth, zero = w.type(scalar), w.type("i1"), w.constant(scalar, 0)
    beyond = w.new(f"icmp uge {typed} {places}, {w.constant(scalar, 8 * dtype.itemsize)}")
    safe = w.new(f"select {truth} {beyond}, {typed} {zero}, {typed} {places}")
    how = "shl" if left else "ashr" if dtype.kind == "i" else "lshr"
    shifted = w.new(f"{how} {typed} {x}, {safe}")
    left_over = zero
    if how == "ashr":
        left_over = w.new(f"ashr {typed} {x}, {w.constant(scalar, 8 * dtype.itemsize - 1)}")
    return w.new(f"select {truth} {beyond}, {typed} {left_over}, {typed} {shifted}")


def _size(w: Writer, x: str, scalar: str) -> str:
    typed, zero = w.type(scalar), w.constant(scalar, 0)
    below = w.new(f"icmp slt {typed} {x}, {zero}")
    return w.new(f"select {w.type('i1')} {below}, {typed} {w.new(f'sub {typed} {zero}, {x}')}, {typed} {x}")


def _sign_of_integer(w: Writer, x: str, scalar: str, signed: bool) -> str:
    typed, truth, zero = w.type(scalar), w.type("i1"), w.constant(scalar, 0)
    some = w.new(f"icmp ne {typed} {x}, {zero}")
    found = w.new(f"select {truth} {some}, {typed} {w.constant(scalar, 1)}, {typed} {zero}")
    if not signed:
        return found
    below = w.new(f"icmp slt {typed} {x}, {zero}")
    return w.new(f"select {truth} {below}, {typed} {w.constant(scalar, -1)}, {typed} {found}")
