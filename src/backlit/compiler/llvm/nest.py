"""What a loop nest is to do: nodes over one domain, what is written, what is reduced."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.ir import Atom, Eqn, Literal, Var
from backlit.compiler.views import Guard, Map, identity, is_move, linear, through

REDUCTIONS = {"sum": "add", "max": "maximum", "min": "minimum"}


@dataclass(frozen=True)
class Load:
    """An element of a buffer, at `offset` plus the loop indices times `strides`."""

    slot: int
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Apply:
    """An op on earlier nodes; `dtype` is that of its operands."""

    name: str
    operands: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Guarded:
    """A node's value inside the guards, zero outside."""

    inner: int
    guards: tuple[Guard, ...]


@dataclass(frozen=True)
class Given:
    """A value that comes from elsewhere: the sums of a product."""


@dataclass
class Store:
    """A node written to a buffer."""

    node: int
    slot: int
    offset: int
    strides: tuple[int, ...]


@dataclass
class Reduction:
    """A node reduced over the last `n` loops, written to a buffer by the outer loops."""

    node: int
    how: str
    slot: int
    strides: tuple[int, ...]  # along the kept loops
    factors: tuple[int, int] | None = None  # whose product is summed, by fused multiply-add


class Nest:
    """The work of one kernel in the making: nodes over a domain, stores and reductions.

    `slot_of(var)` gives the buffer that holds a variable, or None where it has to be computed; `made_by(var)` its
    equation.
    """

    def __init__(
        self, shape: tuple[int, ...], slot_of: Callable[[Var], int | None], made_by: dict[Var, Eqn],
        own: set[Var] | None = None,
    ) -> None:  # fmt: skip
        self.shape = shape
        self.slot_of, self.made_by, self.own = slot_of, made_by, own or set()
        self.nodes: list[tuple[Any, np.dtype[Any], tuple[Guard, ...]]] = []
        self._memo: dict[Any, int] = {}
        self.stores: list[Store] = []
        self.reductions: list[Reduction] = []

    def node(self, what: Any, dtype: np.dtype[Any], guards: tuple[Guard, ...] = ()) -> int:
        """The number of a node, made when it is new."""
        key = (repr(what), type(what), dtype, guards)
        if key not in self._memo:
            self._memo[key] = len(self.nodes)
            self.nodes.append((what, dtype, guards))
        return self._memo[key]

    def dtype(self, r: Reduction) -> np.dtype[Any]:
        """The dtype in which a reduction is done."""
        return self.nodes[r.node if r.factors is None else r.factors[0]][1]

    def value(self, a: Atom, at: Map, guards: tuple[Guard, ...], dtype: np.dtype[Any]) -> int:
        """The node of an operand at some coordinates; a number takes `dtype`."""
        # a chain of ops may be longer than calls can be deep: who waits for an operand lies on a stack of its own
        waiting: list[tuple[Any, Generator[Any, Any, int]]] = []
        while True:
            key = (id(a), at, guards)
            found = self.node(a, dtype) if isinstance(a, Literal) else self._memo.get(key)
            if found is None:
                waiting.append((key, self._value(a, at, guards)))  # type: ignore[arg-type]
            while waiting:
                try:
                    a, at, guards, dtype = waiting[-1][1].send(found)
                    break
                except StopIteration as end:
                    found = self._memo[waiting.pop()[0]] = end.value
            else:
                assert found is not None
                return found

    def _value(self, v: Var, at: Map, guards: tuple[Guard, ...]) -> Generator[Any, Any, int]:
        """Gives the node of a variable at its end; yields the operands of which it has to know the nodes."""
        slot = None if v in self.own else self.slot_of(v)
        if slot is not None:
            offset, strides = linear(at, v.aval.shape, len(self.shape))
            return self.node(Load(slot, offset, strides), v.aval.dtype, guards)
        e = self.made_by[v]
        if is_move(e):
            further, more, there = through(e, at)
            if not there:
                return self.node(Literal(0), v.aval.dtype)
            inner = yield e.inputs[0], further, (*guards, *more), v.aval.dtype
            return self.node(Guarded(inner, more), v.aval.dtype, guards) if more else inner
        typed = [a.aval.dtype for a in e.inputs if isinstance(a, Var)]
        dtype = v.aval.dtype if e.op.name == "where" else typed[0]
        operands = []
        for k, a in enumerate(e.inputs):
            wanted = np.dtype(bool) if e.op.name == "where" and k == 0 else dtype
            operands.append((yield a, at, guards, wanted))
        return self.node(Apply(e.op.name, tuple(operands), dtype), v.aval.dtype, guards)

    def given(self, v: Var) -> None:
        """A variable of the domain's shape whose value comes from elsewhere."""
        self._memo[(id(v), identity(len(self.shape)), ())] = self.node(Given(), v.aval.dtype)

    def store(self, v: Var, slot: int) -> None:
        """Writes a variable of the domain's shape to a buffer."""
        offset, strides = linear(identity(len(self.shape)), self.shape, len(self.shape))
        node = self.value(v, identity(len(self.shape)), (), v.aval.dtype)
        self.stores.append(Store(node, slot, offset, strides))

    def reduce(self, e: Eqn, slot: int, fused: bool) -> None:
        """Writes a reduction over the domain to a buffer; the kernel must be made with its axes."""
        a, at = e.inputs[0], identity(len(self.shape))
        assert isinstance(a, Var)
        factors = None
        made = self.made_by.get(a)
        is_sum = e.op.name == "sum"
        if fused and is_sum and made is not None and made.op.name == "mul" and a.aval.dtype.kind == "f":
            x, y = (self.value(o, at, (), a.aval.dtype) for o in made.inputs)
            factors = (x, y)
        node = -1 if factors else self.value(a, at, (), a.aval.dtype)
        if node >= 0 and a.aval.dtype != e.out.aval.dtype:
            node = self.node(Apply("astype", (node,), a.aval.dtype), e.out.aval.dtype)
        self.reductions.append(Reduction(node, REDUCTIONS[e.op.name], slot, (), factors))
