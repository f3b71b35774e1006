"""A writer of LLVM IR: values are strings, Python integers fold, vectors are explicit."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

Index = int | str  # a known number, or the name of an i64
SIZES = {"float": 4, "double": 8, "i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "half": 2}
_WIDTHS = {"float": "f32", "double": "f64", "half": "f16"}


def constant(scalar: str, value: Any) -> str:
    """A number of type `scalar` as LLVM writes it."""
    if scalar.startswith("i"):
        return str(int(value))
    value = float(np.float32(value)) if scalar == "float" else float(value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


class Loop:
    """What the body of a loop sees: the index, the values carried in, and a place for those carried on."""

    def __init__(self, i: Index, old: list[str]) -> None:
        self.i = i
        self.old = old
        self.next: list[str] = []


class Writer:
    """One function in the making. `lanes` is how many elements vector instructions handle; 1 means scalars."""

    def __init__(self, name: str, parameters: str, lanes: int = 1) -> None:
        self.name, self.parameters, self.lanes = name, parameters, lanes
        self.lines: list[str] = ["entry:"]
        self.block = "entry"
        self._count = 0
        self._splats: dict[tuple[str, str, int, str], str] = {}
        self._entry: list[str] = []

    def text(self, internal: bool = False) -> str:
        """The definition of the function."""
        body = "\n".join([self.lines[0], *self._entry, *self.lines[1:]])
        return f"define {'internal ' if internal else ''}void @{self.name}({self.parameters}) #0 {{\n{body}\n  ret void\n}}"

    # instructions

    def new(self, instruction: str) -> str:
        """The name of a new value."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """An instruction without a value."""
        self.lines.append(f"  {instruction}")

    def hoisted(self, instruction: str) -> str:
        """A value computed once, at the entry of the function; it may use parameters and other hoisted values."""
        self._count += 1
        name = f"%v{self._count}"
        self._entry.append(f"  {name} = {instruction}")
        return name

    def room(self, scalar: str, count: int) -> str:
        """Room on the stack for `count` scalars, aligned to 64 bytes."""
        return self.hoisted(f"alloca [{count} x {scalar}], align 64")

    # integers of 64 bits

    def _integers(self, name: str, a: Index, b: Index) -> Index:
        return self.new(f"{name} i64 {a}, {b}")

    def add(self, a: Index, *others: Index) -> Index:
        """Sum."""
        for b in others:
            if isinstance(a, int) and isinstance(b, int):
                a = a + b
            elif b != 0:
                a = b if a == 0 else self._integers("add", a, b)
        return a

    def sub(self, a: Index, b: Index) -> Index:
        """Difference."""
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self._integers("sub", a, b)

    def mul(self, a: Index, b: Index) -> Index:
        """Product."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        return a if b == 1 else b if a == 1 else self._integers("mul", a, b)

    def div(self, a: Index, b: int) -> Index:
        """Quotient of a non-negative number, rounded down."""
        if isinstance(a, int):
            return a // b
        return a if b == 1 else self._integers("udiv", a, b)

    def rem(self, a: Index, b: int) -> Index:
        """What remains of a non-negative number."""
        if isinstance(a, int):
            return a % b
        return 0 if b == 1 else self._integers("urem", a, b)

    def least(self, a: Index, b: Index) -> Index:
        """The smaller one."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.new(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def greatest(self, a: Index, b: Index) -> Index:
        """The larger one."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return self.new(f"call i64 @llvm.smax.i64(i64 {a}, i64 {b})")

    # memory

    def at(self, pointer: str, scalar: str, *offsets: Index) -> str:
        """The address `offsets` scalars further on."""
        offset = self.add(0, *offsets)
        return pointer if offset == 0 else self.new(f"getelementptr {_memory(scalar)}, ptr {pointer}, i64 {offset}")

    def load_scalar(self, scalar: str, pointer: str) -> str:
        """One element; a boolean is a byte in memory."""
        if scalar == "i1":
            return self.new(f"icmp ne i8 {self.new(f'load i8, ptr {pointer}')}, 0")
        return self.new(f"load {scalar}, ptr {pointer}")

    def load(self, scalar: str, pointer: str, mask: str | None = None) -> str:
        """`lanes` neighbouring elements; those outside `mask` are zero and not touched."""
        if self.lanes == 1:
            return self.load_scalar(scalar, pointer)
        stored = _memory(scalar)
        typed = self.type(stored)
        if mask is None:
            value = self.new(f"load {typed}, ptr {pointer}, align {SIZES[scalar]}")
        else:
            value = self.new(
                f"call {typed} @llvm.masked.load.v{self.lanes}{_suffix(stored)}.p0(ptr align {SIZES[scalar]} {pointer}, "
                f"{self.type('i1')} {mask}, {typed} zeroinitializer)"
            )
        return self.new(f"icmp ne {typed} {value}, zeroinitializer") if scalar == "i1" else value

    def store(self, scalar: str, value: str, pointer: str, mask: str | None = None) -> None:
        """Writes `lanes` neighbouring elements, those in `mask` only."""
        stored = _memory(scalar)
        typed = self.type(stored)
        if scalar == "i1":
            value = self.new(f"zext {self.type('i1')} {value} to {typed}")
        if mask is None or self.lanes == 1:
            self.do(f"store {typed} {value}, ptr {pointer}, align {SIZES[scalar]}")
        elif (lane := _only_lane(mask)) is not None:
            # LLVM 22 makes of a masked store of truncated integers with one lane a store as wide as before truncation
            one = self.new(f"extractelement {typed} {value}, i32 {lane}")
            place = self.new(f"getelementptr {stored}, ptr {pointer}, i64 {lane}")
            self.do(f"store {stored} {one}, ptr {place}, align {SIZES[scalar]}")
        else:
            self.do(
                f"call void @llvm.masked.store.v{self.lanes}{_suffix(stored)}.p0({typed} {value}, "
                f"ptr align {SIZES[scalar]} {pointer}, {self.type('i1')} {mask})"
            )

    def prefetch(self, pointer: str) -> None:
        """Asks for a line of memory for reading, into the second-level cache."""
        self.do(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 2, i32 1)")

    # vectors

    def type(self, scalar: str) -> str:
        """The type of as many scalars as are handled at a time."""
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    def splat(self, scalar: str, value: str) -> str:
        """One scalar in every lane."""
        if self.lanes == 1:
            return value
        typed = self.type(scalar)
        one = self.new(f"insertelement {typed} poison, {scalar} {value}, i32 0")
        return self.new(f"shufflevector {typed} {one}, {typed} poison, <{self.lanes} x i32> zeroinitializer")

    def constant(self, scalar: str, value: float) -> str:
        """A number in every lane."""
        one = ("true" if value else "false") if scalar == "i1" else constant(scalar, value)
        if self.lanes == 1:
            return one
        return "<" + ", ".join([f"{scalar} {one}"] * self.lanes) + ">"

    def call(self, name: str, scalar: str, *operands: str) -> str:
        """The result of an intrinsic on floats."""
        typed = self.type(scalar)
        suffix = _WIDTHS.get(scalar, scalar) if self.lanes == 1 else f"v{self.lanes}{_WIDTHS.get(scalar, scalar)}"
        return self.new(f"call {typed} @{name}.{suffix}({', '.join(f'{typed} {o}' for o in operands)})")

    def first_lanes(self, count: Index) -> str:
        """A mask of the first `count` lanes."""
        if isinstance(count, int):
            return "<" + ", ".join(f"i1 {str(lane < count).lower()}" for lane in range(self.lanes)) + ">"
        lanes = "<" + ", ".join(f"i64 {lane}" for lane in range(self.lanes)) + ">"
        return self.new(f"icmp slt {self.type('i64')} {lanes}, {self.splat('i64', count)}")

    def lane(self, scalar: str, vector: str, number: int) -> str:
        """One lane of a vector."""
        return vector if self.lanes == 1 else self.new(f"extractelement {self.type(scalar)} {vector}, i32 {number}")

    # control flow

    def _begin(self, block: str) -> None:
        self.lines.append(f"{block}:")
        self.block = block

    @contextmanager
    def loop(self, low: Index, high: Index, step: int = 1, carry: Sequence[tuple[str, str]] = ()) -> Iterator[Loop]:
        """A loop over `range(low, high, step)`; afterwards `next` of the yielded object holds what was carried out.

        `carry` gives types and first values. A loop of one known turn is written without branches.
        """
        if isinstance(low, int) and isinstance(high, int) and low < high <= low + step:
            once = Loop(low, [value for _, value in carry])
            yield once
            return
        self._count += 1
        name = f"loop{self._count}"
        before = self.block
        self.do(f"br label %{name}")
        self._begin(name)
        place = len(self.lines)
        i = f"%{name}.i"
        olds = [f"%{name}.c{k}" for k in range(len(carry))]
        self.do(f"%{name}.more = icmp slt i64 {i}, {high}")
        self.do(f"br i1 %{name}.more, label %{name}.body, label %{name}.end")
        self._begin(f"{name}.body")
        found = Loop(i, olds)
        yield found
        after = self.new(f"add i64 {i}, {step}")
        phis = [f"  {i} = phi i64 [ {low}, %{before} ], [ {after}, %{self.block} ]"]
        for (typed, first), old, new in zip(carry, olds, found.next, strict=True):
            phis.append(f"  {old} = phi {typed} [ {first}, %{before} ], [ {new}, %{self.block} ]")
        self.do(f"br label %{name}")
        self.lines[place:place] = phis
        self._begin(f"{name}.end")
        found.next = olds

    @contextmanager
    def loop_while(self, carry: Sequence[tuple[str, str]], more: Callable[[list[str]], str]) -> Iterator[Loop]:
        """A loop that goes on while `more`, a function of the values carried in, gives a true i1; `carry` as in `loop`."""
        self._count += 1
        name, before = f"while{self._count}", self.block
        self.do(f"br label %{name}")
        self._begin(name)
        place = len(self.lines)
        olds = [f"%{name}.c{k}" for k in range(len(carry))]
        self.do(f"br i1 {more(olds)}, label %{name}.body, label %{name}.end")
        self._begin(f"{name}.body")
        found = Loop(0, olds)
        yield found
        self.lines[place:place] = [
            f"  {old} = phi {typed} [ {first}, %{before} ], [ {new}, %{self.block} ]"
            for (typed, first), old, new in zip(carry, olds, found.next, strict=True)
        ]
        self.do(f"br label %{name}")
        self._begin(f"{name}.end")
        found.next = olds

    def choose(
        self, condition: str, one: Callable[[], list[str]], other: Callable[[], list[str]], types: Sequence[str]
    ) -> list[str]:
        """What `one` gives where an i1 holds, else what `other` gives; only that is computed."""
        self._count += 1
        name = f"choice{self._count}"
        self.do(f"br i1 {condition}, label %{name}.one, label %{name}.other")
        found = []
        for label, branch in (("one", one), ("other", other)):
            self._begin(f"{name}.{label}")
            values = branch()
            found.append((values, self.block))
            self.do(f"br label %{name}.end")
        self._begin(f"{name}.end")
        (ones, first), (others, second) = found
        return [
            self.new(f"phi {typed} [ {a}, %{first} ], [ {b}, %{second} ]")
            for typed, a, b in zip(types, ones, others, strict=True)
        ]

    @contextmanager
    def only_if(self, condition: str) -> Iterator[None]:
        """What is inside happens where `condition`, an i1, holds."""
        self._count += 1
        name = f"if{self._count}"
        self.do(f"br i1 {condition}, label %{name}, label %{name}.end")
        self._begin(name)
        yield
        self.do(f"br label %{name}.end")
        self._begin(f"{name}.end")


def _only_lane(mask: str) -> int | None:
    """The lane of a constant mask that has one; None for all others."""
    lanes = [k for k, lane in enumerate(mask.split(",")) if "true" in lane] if mask.startswith("<") else []
    return lanes[0] if len(lanes) == 1 else None


def _memory(scalar: str) -> str:
    return "i8" if scalar == "i1" else scalar


def _suffix(scalar: str) -> str:
    return _WIDTHS.get(scalar, scalar)


_CALL = re.compile(r"call ([^@\n]+?) (@llvm\.[\w.]+)\((.*)\)$", re.MULTILINE)


def declarations(text: str) -> str:
    """The declarations of the intrinsics that IR calls."""
    found = {}
    for made, name, given in _CALL.findall(text):
        if name not in found:
            found[name] = f"declare {made} {name}({', '.join(_types(given))})"
    return "\n".join(found[name] for name in sorted(found))


def _types(given: str) -> list[str]:
    """The types of the operands of a call, whose values may be vectors written out."""
    parts, depth, start = [], 0, 0
    for k, c in enumerate(given):
        depth += (c == "<") - (c == ">")
        if c == "," and depth == 0:
            parts.append(given[start:k].strip())
            start = k + 1
    parts.append(given[start:].strip())
    return [p[: p.index(">") + 1] if p.startswith("<") else p.split(" ", 1)[0] for p in parts]
