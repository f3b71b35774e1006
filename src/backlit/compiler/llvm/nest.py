"""What a loop nest is to do: nodes over one domain, what is written, what is reduced."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.ir import Atom, Eqn, Literal, Var
from backlit.compiler.picks import Along, At, Chosen, Picking, arrays_of, is_gather, picked_shape, picking_of
from backlit.compiler.views import Axis, Guard, Map, identity, is_move, linear, through

_PLACES = np.dtype(np.int64)
REDUCTIONS = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}


@dataclass(frozen=True)
class Load:
    """An element of a buffer, at `offset` plus the loop indices times `strides`, plus the value of node `index` if any."""

    slot: int
    offset: int
    strides: tuple[int, ...]
    index: int = -1


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
            return self.node(Load(slot, offset, strides, self._picked(at, v, guards)), v.aval.dtype, guards)
        e = self.made_by[v]
        if is_gather(e):
            how, places = picking_of(e), []
            for i, part in zip(arrays_of(e), [p for p in how.parts if isinstance(p, Chosen)], strict=True):
                node = yield i, _shared(at, how, i.aval.shape), guards, i.aval.dtype
                places.append(self._place(node, i.aval.dtype, picked_shape(e)[how.parts.index(part)], guards))
            inner: int = yield e.inputs[0], _from_picked(at, how, places), guards, v.aval.dtype
            return inner
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

    def _place(self, node: int, dtype: np.dtype[Any], n: int, guards: tuple[Guard, ...]) -> int:
        """The place among `n` that an index means: negative ones count from the end; never one outside."""
        if dtype != _PLACES:
            node = self.node(Apply("astype", (node,), dtype), _PLACES, guards)
        if dtype.kind == "i":
            below = self.node(Apply("less", (node, self.node(Literal(0), _PLACES)), _PLACES), np.dtype(bool), guards)
            behind = self.node(Apply("add", (node, self.node(Literal(n), _PLACES)), _PLACES), _PLACES, guards)
            node = self.node(Apply("where", (below, behind, node), _PLACES), _PLACES, guards)
        unsigned = np.dtype(np.uint64)
        last = self.node(Literal(n - 1), unsigned)
        return self.node(Apply("minimum", (node, last), unsigned), unsigned, guards)

    def _picked(self, at: Map, v: Var, guards: tuple[Guard, ...]) -> int:
        """The node of what picked coordinates add to the offset in a variable; -1 where there are none."""
        total = -1
        for j, a in enumerate(at):
            stride = math.prod(v.aval.shape[j + 1 :])
            for node, factor in a.picks:
                if factor * stride != 1:
                    by = self.node(Literal(factor * stride), _PLACES)
                    node = self.node(Apply("mul", (node, by), _PLACES), _PLACES, guards)
                total = node if total < 0 else self.node(Apply("add", (total, node), _PLACES), _PLACES, guards)
        return total

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


def _shared(at: Map, how: Picking, shape: tuple[int, ...]) -> Map:
    """Where an integer array of `shape` is read for coordinates in what it picks."""
    behind = how.first + len(how.shape) - len(shape)
    return tuple(Axis() if n == 1 else at[behind + j] for j, n in enumerate(shape))


def _from_picked(at: Map, how: Picking, places: list[int]) -> Map:
    """From coordinates in what is picked to those in what it is picked from, given the nodes of places."""
    found = []
    for part in how.parts:
        if isinstance(part, At):
            found.append(Axis(offset=part.place))
        elif isinstance(part, Along):
            found.append(at[part.axis].stepped(part.start, part.step))
        else:
            found.append(Axis(picks=((places[part.number], 1),)))
    return tuple(found)
