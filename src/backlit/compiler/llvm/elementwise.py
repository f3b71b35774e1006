"""One loop for a group of elementwise equations: every operand is read once and every result written once.

The loop is written with explicit vectors, and a scalar one for what remains. Arithmetic is not contracted and carries no
fast-math flags, so it has the bits of NumPy's; the functions of `math` are within a few units in the last place.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

import numpy as np

from backlit.compiler.ir import Atom, Eqn, Literal, Var
from backlit.compiler.llvm import math
from backlit.compiler.llvm.target import vector_bytes
from backlit.core.errors import CompilerError

_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(bool): "i1"}
_STORED = {"float": "float", "double": "double", "i1": "i8"}
_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARE = {
    "equal": "oeq", "not_equal": "une", "less": "olt", "less_equal": "ole", "greater": "ogt", "greater_equal": "oge",
}  # fmt: skip
_LOGIC = {
    "logical_and": "and", "logical_or": "or", "logical_xor": "xor",
    "bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "xor",
}  # fmt: skip
_EXTREMES = {"maximum": "ogt", "minimum": "olt"}
_CALLS = {"sqrt": "llvm.sqrt", "abs": "llvm.fabs"}
_FUNCTIONS = {"exp": math.exp, "tanh": math.tanh, "sigmoid": math.sigmoid}
_NEGATED = ("logical_not", "bitwise_invert")


def can_lower(e: Eqn) -> bool:
    """Whether an equation can be part of such a loop."""
    name = e.op.name
    types = [_TYPES.get(a.aval.dtype) for a in (*e.inputs, e.out) if isinstance(a, Var)]
    if None in types or any(isinstance(a, Literal) and isinstance(a.value, complex) for a in e.inputs):
        return False
    floats = all(t != "i1" for t in types)
    if name in _ARITHMETIC or name in _EXTREMES or name in _CALLS or name in _FUNCTIONS or name == "neg":
        return floats
    if name in _COMPARE:
        return all(isinstance(a, Literal) or a.aval.dtype != bool for a in e.inputs)
    if name in _LOGIC or name in _NEGATED:
        return all(t == "i1" for t in types) and not any(isinstance(a, Literal) for a in e.inputs)
    if name == "where":
        return types[0] == "i1" and e.out.aval.dtype != bool and isinstance(e.inputs[0], Var)
    return name == "broadcast_to" and isinstance(e.inputs[0], Var) and e.inputs[0].aval.shape == ()


def kernel(name: str, eqns: Sequence[Eqn], inputs: Sequence[Var], outputs: Sequence[Var]) -> str:
    """LLVM IR of `name(pointers, n)`: pointers to the inputs, then to the outputs, each of `n` elements.

    An input of no axes is one element, read once.
    """
    widest = max(v.aval.dtype.itemsize for v in (*inputs, *outputs, *(e.out for e in eqns)))
    lanes = vector_bytes() // widest
    pointers = [*inputs, *outputs]
    head = [f"define void @{name}(ptr %pointers, i64 %n) {{", "entry:"]
    for k, v in enumerate(pointers):
        head.append(f"  %s{k} = getelementptr ptr, ptr %pointers, i64 {k}")
        head.append(f"  %p{k} = load ptr, ptr %s{k}")
        if k < len(inputs) and not v.aval.shape:
            stored = _STORED[_TYPES[v.aval.dtype]]
            head.append(f"  %c{k} = load {stored}, ptr %p{k}")
    head += [f"  %whole = and i64 %n, {-lanes}", "  br label %vtest"]
    return "\n".join(
        [
            *head,
            *_loop("v", lanes, eqns, inputs, outputs, "entry", "0", "%whole", "rtest"),
            *_loop("r", 1, eqns, inputs, outputs, "vtest", "%whole", "%n", "done"),
            "done:",
            "  ret void",
            "}",
        ]
    )


def _loop(
    tag: str, lanes: int, eqns: Sequence[Eqn], inputs: Sequence[Var], outputs: Sequence[Var], before: str, first: str,
    last: str, after: str,
) -> list[str]:  # fmt: skip
    body = _Body(tag, lanes)
    for k, v in enumerate(inputs):
        body.load(k, v)
    for e in eqns:
        body.emit(e)
    for k, v in enumerate(outputs, start=len(inputs)):
        body.store(k, v)
    i, following = f"%{tag}i", f"%{tag}next"
    return [
        f"{tag}test:",
        f"  {i} = phi i64 [ {first}, %{before} ], [ {following}, %{tag}body ]",
        f"  %{tag}more = icmp slt i64 {i}, {last}",
        f"  br i1 %{tag}more, label %{tag}body, label %{after}",
        f"{tag}body:",
        *body.lines,
        f"  {following} = add i64 {i}, {lanes}",
        f"  br label %{tag}test",
    ]


class _Body:
    """The instructions of one pass through the loop, for `lanes` elements at a time."""

    def __init__(self, tag: str, lanes: int) -> None:
        self.tag, self.lanes = tag, lanes
        self.lines: list[str] = []
        self.names: dict[Var, str] = {}
        self._count = 0

    def new(self, instruction: str) -> str:
        self._count += 1
        name = f"%{self.tag}{self._count}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def type(self, scalar: str) -> str:
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def load(self, k: int, v: Var) -> None:
        kind = _TYPES[v.aval.dtype]
        stored = _STORED[kind]
        if v.aval.shape:
            at = self.new(f"getelementptr {stored}, ptr %p{k}, i64 %{self.tag}i")
            value = self.new(f"load {self.type(stored)}, ptr {at}, align {v.aval.dtype.itemsize}")
        else:
            value = self.splat(stored, f"%c{k}")
        if kind == "i1":
            value = self.new(
                f"icmp ne {self.type('i8')} {value}, zeroinitializer" if self.lanes > 1 else f"icmp ne i8 {value}, 0"
            )
        self.names[v] = value

    def store(self, k: int, v: Var) -> None:
        kind = _TYPES[v.aval.dtype]
        stored, value = _STORED[kind], self.names[v]
        if kind == "i1":
            value = self.new(f"zext {self.type('i1')} {value} to {self.type('i8')}")
        at = self.new(f"getelementptr {stored}, ptr %p{k}, i64 %{self.tag}i")
        self.lines.append(f"  store {self.type(stored)} {value}, ptr {at}, align {v.aval.dtype.itemsize}")

    def splat(self, scalar: str, value: str) -> str:
        if self.lanes == 1:
            return value
        one = self.new(f"insertelement {self.type(scalar)} poison, {scalar} {value}, i32 0")
        return self.new(
            f"shufflevector {self.type(scalar)} {one}, {self.type(scalar)} poison, <{self.lanes} x i32> zeroinitializer"
        )

    def operand(self, a: Atom, kind: str) -> str:
        if isinstance(a, Var):
            return self.names[a]
        return self.constant(kind, float(a.value.real))  # no complex number gets here

    def constant(self, scalar: str, value: float) -> str:
        """A constant in every lane."""
        if scalar.startswith("i"):
            return self.splat(scalar, str(int(value)))
        bits = struct.unpack("<Q", struct.pack("<d", float(np.float32(value)) if scalar == "float" else value))[0]
        return self.splat(scalar, f"0x{bits:016X}")

    def call(self, name: str, scalar: str, *operands: str) -> str:
        """The result of an intrinsic."""
        typed, width = self.type(scalar), "f32" if scalar == "float" else "f64"
        suffix = width if self.lanes == 1 else f"v{self.lanes}{width}"
        return self.new(f"call {typed} @{name}.{suffix}({', '.join(f'{typed} {o}' for o in operands)})")

    def emit(self, e: Eqn) -> None:
        name = e.op.name
        kinds = [_TYPES[a.aval.dtype] for a in e.inputs if isinstance(a, Var)]
        kind = _TYPES[e.out.aval.dtype] if name == "where" else kinds[0]
        if name == "where":
            condition = self.names[e.inputs[0]]  # type: ignore[index]
            a, b = (self.operand(x, kind) for x in e.inputs[1:])
            made = self.new(f"select {self.type('i1')} {condition}, {self.type(kind)} {a}, {self.type(kind)} {b}")
        elif name in _FUNCTIONS:
            made = _FUNCTIONS[name](self, kind, self.operand(e.inputs[0], kind))
        elif name in _EXTREMES:
            made = self.extreme(_EXTREMES[name], kind, *(self.operand(a, kind) for a in e.inputs))
        elif name == "broadcast_to":
            made = self.names[e.inputs[0]]  # type: ignore[index]
        elif name in _CALLS:
            made = self.call(_CALLS[name], kind, self.operand(e.inputs[0], kind))
        else:
            operands = [self.operand(a, kind) for a in e.inputs]
            made = self.new(self.instruction(name, kind, operands))
        self.names[e.out] = made

    def extreme(self, comparison: str, kind: str, a: str, b: str) -> str:
        """The first operand where it wins or is NaN, else the second: so do NumPy's, also between zeros (x86-64)."""
        typed, truth = self.type(kind), self.type("i1")
        wins = self.new(f"fcmp {comparison} {typed} {a}, {b}")
        nan = self.new(f"fcmp uno {typed} {a}, {a}")
        either = self.new(f"or {truth} {wins}, {nan}")
        return self.new(f"select {truth} {either}, {typed} {a}, {typed} {b}")

    def instruction(self, name: str, kind: str, operands: list[str]) -> str:
        typed = self.type(kind)
        if name in _ARITHMETIC:
            return f"{_ARITHMETIC[name]} {typed} {', '.join(operands)}"
        if name in _COMPARE:
            return f"fcmp {_COMPARE[name]} {typed} {', '.join(operands)}"
        if name in _LOGIC:
            return f"{_LOGIC[name]} {typed} {', '.join(operands)}"
        if name in _NEGATED:
            return f"xor {typed} {operands[0]}, {self.splat('i1', 'true')}"
        if name == "neg":
            return f"fneg {typed} {operands[0]}"
        raise CompilerError(f"emit: {name} cannot be lowered")


def declarations(text: str) -> str:
    """The declarations of the intrinsics that IR calls."""
    kind = r"(?:<[^>]+>|\w+)"
    calls = re.findall(rf"call ({kind}) (@llvm\.\w+\.\w+)\((.*)\)", text)
    found = {
        (made, name, given.count(",") + 1 if "<" not in given else given.count("<")) for made, name, given in calls
    }
    return "\n".join(f"declare {made} {name}({', '.join([made] * n)})" for made, name, n in sorted(found))
