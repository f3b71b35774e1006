"""Loop nests: elementwise work and reductions over one domain, every operand read once and every result written once.

The innermost loop is written with explicit vectors and a masked tail. What does not depend on a loop is computed outside
of it. Where a padded array ends in the middle of a loop, the loop is split there. Arithmetic is not contracted and carries no
fast-math flags; a sum adds in lanes and several accumulators, in an order that depends on nothing but the shapes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.ir import Atom, Eqn, Literal, Var
from backlit.compiler.llvm.functions import FUNCTIONS
from backlit.compiler.llvm.kernel import Kernel
from backlit.compiler.llvm.target import features, vector_bytes
from backlit.compiler.llvm.tile import multiply_add
from backlit.compiler.llvm.values import SCALARS, emit
from backlit.compiler.llvm.writer import Index, Writer
from backlit.compiler.views import Guard, Map, identity, is_move, linear, through

REDUCTIONS = {"sum": "add", "max": "maximum", "min": "minimum"}
BLOCK = 1024  # elements that one partial sum takes
ROWS = 256  # rows that one partial sum over rows takes
GRAIN_BYTES = 32768


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


class _Emitter:
    """Writes the function of a nest."""

    def __init__(self, name: str, nest: Nest, axes: tuple[int, ...] | None, joined: bool = True) -> None:
        self.name, self.nest = name, nest
        reduced = set(axes or ())
        kept = [a for a in range(len(nest.shape)) if a not in reduced]
        self.loads = {k: what for k, (what, _, _) in enumerate(nest.nodes) if isinstance(what, Load)}
        out = dict(zip(kept, _contiguous([nest.shape[a] for a in kept]), strict=True))
        for r in nest.reductions:
            r.strides = tuple(out.get(a, 0) for a in range(len(nest.shape)))
        self.empty = 0 in nest.shape
        vector = self._contiguous_axis() if nest.reductions and not nest.stores else None
        parts = [sorted(part, key=lambda a: (a == vector, a)) for part in (kept, reduced)]
        self.groups = [
            self._collapsed([[a] for a in part if nest.shape[a] != 1]) if joined else [[a] for a in part]
            for part in parts
        ]
        order = [*self.groups[0], *self.groups[1]]
        self.sizes = [math.prod(nest.shape[a] for a in group) for group in order]
        self.n_kept = len(self.groups[0])
        self.position = {group[-1]: k for k, group in enumerate(order)}  # the inner axis of a group stands for it
        self.order = order
        last = max((g[-1] for part in self.groups for g in part), default=-1) if vector is None else vector
        self.last_reduced = bool(self.groups[1]) and (not self.groups[0] or self.groups[1][-1][-1] == last)
        widths = [d.itemsize for _, d, _ in nest.nodes if d != bool] or [8]
        self.lanes = max(1, vector_bytes() // max(widths)) if self.sizes else 1
        self.wide = self._registers(self.n_kept - 1 if nest.reductions and not self.last_reduced else len(order) - 1)
        self.lanes *= self.wide
        self.pointers: dict[Any, str] = {}
        self._dependent: dict[Any, list[bool]] = {}
        self.kept_elements = math.prod(self.sizes[: self.n_kept])

    def _registers(self, loop: int) -> int:
        """How many registers make one vector.

        With several, functions of as many vectors run side by side: their chains of dependent instructions are long, and
        a core looks ahead over some hundred instructions only (Zen 5: log(1 + exp(x)) takes 0.84 ns instead of 1.10).
        """
        if not any(isinstance(what, Apply) and what.name in FUNCTIONS for what, _, _ in self.nest.nodes):
            return 1
        n = self.sizes[loop] if self.sizes else 1
        most = 4 if features().registers >= 32 else 2
        return next((many for many in (4, 2) if many <= most and n >= 4 * many * self.lanes), 1)

    def _contiguous_axis(self) -> int | None:
        """The axis along which most of what is read lies side by side."""
        shape = self.nest.shape
        scores = {a: 0 for a, n in enumerate(shape) if n > 1}
        for load in self.loads.values():
            size = math.prod(n for n, s in zip(shape, load.strides, strict=True) if s)
            for a in scores:
                scores[a] += size if abs(load.strides[a]) == 1 else 0
        best = max(scores, key=lambda a: (scores[a], a), default=None)
        return best if best is not None and scores[best] else None

    def finish(self, w: Writer, position: tuple[Index, ...], column: Index, value: str, mask: str | None) -> None:
        """The work on `w.lanes` sums of a row from `column` on."""
        if getattr(self, "w", None) is not w:
            self.w, self.pointers = w, {}
        lanes, last = w.lanes, len(self.sizes) - 1
        self.lanes = lanes
        index: dict[int, Index] = {**dict(enumerate(position)), last: column}
        segments = [(0, n) for n in self.sizes]
        env: dict[int, Any] = {}
        for k in self._needed(segments):
            what = self.nest.nodes[k][0]
            if isinstance(what, Given):
                env[k] = (value, True)
            elif not isinstance(what, Literal):
                wide = self._depends(k, last, segments)
                w.lanes = lanes if wide else 1
                env[k] = (self._compute(k, env, index, segments, last, mask, self.sizes[last]), wide)
        w.lanes = lanes
        self._stores(env, index, mask)

    # the loops

    def _may_join(self, a: int, b: int) -> bool:
        shape = self.nest.shape
        for strides in self._all_strides():
            if strides[a] != strides[b] * shape[b]:
                return False
        return not any(g.axis in (a, b) for _, _, guards in self.nest.nodes for g in guards) and not any(
            g.axis in (a, b) for what, _, _ in self.nest.nodes if isinstance(what, Guarded) for g in what.guards
        )

    def _all_strides(self) -> list[tuple[int, ...]]:
        written = [s.strides for s in self.nest.stores] + [r.strides for r in self.nest.reductions]
        return [x.strides for x in self.loads.values()] + written

    def _collapsed(self, groups: list[list[int]]) -> list[list[int]]:
        """Neighbouring axes joined where one index can run over both."""
        found: list[list[int]] = []
        for group in groups:
            if found and self._joined(found[-1], group):
                found[-1] += group
            else:
                found.append(list(group))
        return found

    def _joined(self, a: list[int], b: list[int]) -> bool:
        return self._may_join(a[-1], b[0])

    def stride(self, strides: tuple[int, ...], loop: int) -> int:
        """Elements from one turn of a loop to the next."""
        return strides[self.order[loop][-1]]

    # the function

    def kernel(self) -> tuple[Kernel, int | None]:
        """The kernel, and the number of blocks where the reductions leave one result a block."""
        w = self.w = Writer(self.name, "ptr %table, ptr %scratch, i64 %low, i64 %high", self.lanes)
        nest, sizes = self.nest, self.sizes
        reductions = nest.reductions
        if self.empty and (not reductions or self.kept_elements == 0):
            return Kernel(self.name, w.text(), 0), None
        if reductions and len(sizes) == self.n_kept:  # one element each: a copy
            for r in reductions:
                node, dtype = r.node, self._dtype(r)
                if r.factors:
                    node = nest.node(Apply("mul", r.factors, dtype), dtype)
                if r.how == "add" and dtype.kind == "f":  # as a sum begins with 0.0, it is never -0.0
                    node = nest.node(Apply("add", (node, nest.node(Literal(0.0), dtype)), dtype), dtype)
                nest.stores.append(Store(node, r.slot, 0, r.strides))
            nest.reductions = reductions = []
        blocks: int | None = None
        if not reductions:
            units, grain = self._map()
        elif self.last_reduced:
            units, grain, blocks = self._inner()
        else:
            units, grain, blocks = self._outer()
        along, step = self._chunked(blocks)
        return Kernel(self.name, w.text(), units, grain, aligned=along, step=step), blocks

    def _chunked(self, blocks: int | None) -> tuple[frozenset[int], int]:
        """The buffers of which a unit reads and writes its own share only, and of how many units a call takes a multiple."""
        nest, kept = self.nest, self.n_kept
        if not self.sizes or (nest.reductions and not self.last_reduced and kept == 1 and blocks is None):
            return frozenset(), 0
        loop = kept if blocks is not None else 0
        n, step = self.sizes[loop], 1
        if blocks is not None:
            step = -(-n // blocks)
            per_block = BLOCK if self.last_reduced else ROWS
            step = max(1, per_block // max(1, math.prod(self.sizes[kept + 1 :])))
        found: dict[int, bool] = {}
        accesses = [(x.slot, x.offset, x.strides) for x in self.loads.values()]
        accesses += [(s.slot, s.offset, s.strides) for s in nest.stores]
        if blocks is None:
            accesses += [(r.slot, 0, r.strides) for r in nest.reductions]
        for slot, offset, strides in accesses:
            along = self.stride(strides, loop)
            inside = [self.stride(strides, k) * (m - 1) for k, m in enumerate(self.sizes) if k != loop]
            share = min(inside, default=0) >= 0 and 0 <= offset and offset + sum(inside) < along
            found[slot] = found.get(slot, True) and share
        return frozenset(slot for slot, good in found.items() if good), step

    def _map(self) -> tuple[int, int]:
        w, sizes = self.w, self.sizes
        if not sizes:
            w.lanes = 1
            self._stores(self._leaves({}, (), None), {}, None)
            return 1, 1
        for segments in itertools.product(*(self._segments(k) for k in range(len(sizes)))):
            if all(a < b for a, b in segments):
                self._map_loops(0, {}, segments)
        inner = math.prod(sizes[1:])
        grain = max(1, GRAIN_BYTES // 8 // inner)
        return sizes[0], grain if len(sizes) > 1 else -(-grain // 64) * 64

    def _segments(self, loop: int) -> list[tuple[int, int]]:
        """The range of a loop, cut where a guard begins or ends."""
        n, cuts = self.sizes[loop], set()
        for what, _, _ in self.nest.nodes:
            if isinstance(what, Guarded):
                cuts |= {c for g in what.guards if self.position.get(g.axis) == loop for c in (g.low, g.high)}
        places = [0, *sorted(c for c in cuts if 0 < c < n), n]
        return list(itertools.pairwise(places))

    def _inside(self, guards: tuple[Guard, ...], segments: Sequence[tuple[int, int]]) -> bool:
        for g in guards:
            low, high = segments[self.position[g.axis]] if g.axis in self.position else (0, 1)
            if not (g.low <= low and high <= g.high):
                return False
        return True

    def _needed(self, segments: Sequence[tuple[int, int]]) -> list[int]:
        """Nodes that the results need within some segments, in order."""
        needed: set[int] = set()
        pending = [s.node for s in self.nest.stores]
        for r in self.nest.reductions:
            pending += r.factors or (r.node,)
        while pending:
            k = pending.pop()
            if k in needed:
                continue
            needed.add(k)
            what = self.nest.nodes[k][0]
            if isinstance(what, Apply):
                pending += what.operands
            elif isinstance(what, Guarded) and self._inside(what.guards, segments):
                pending.append(what.inner)
        return sorted(needed)

    def _level(self, k: int, levels: dict[int, int], segments: Sequence[tuple[int, int]]) -> int:
        """The innermost loop on which a node depends, -1 for none."""
        what = self.nest.nodes[k][0]
        if isinstance(what, Load):
            return max((j for j in range(len(self.sizes)) if self.stride(what.strides, j)), default=-1)
        if isinstance(what, Apply):
            return max((levels[o] for o in what.operands), default=-1)
        if isinstance(what, Guarded) and what.inner in levels and self._inside(what.guards, segments):
            return levels[what.inner]
        return -1

    def _levels(self, segments: Sequence[tuple[int, int]]) -> dict[int, int]:
        levels: dict[int, int] = {}
        for k in self._needed(segments):
            levels[k] = self._level(k, levels, segments)
        return levels

    def _map_loops(
        self, loop: int, index: dict[int, Index], segments: Sequence[tuple[int, int]], env: Any = None
    ) -> None:
        levels = self._levels(segments)
        env = {} if env is None else env
        if loop == 0:
            self._at_level(-1, levels, env, index, segments, vector=None)
        w, (low, high) = self.w, segments[loop]
        first: Index = low
        last: Index = high
        if loop == 0:
            first, last = w.greatest("%low", low) if low else "%low", w.least("%high", high)
        if loop < len(self.sizes) - 1:
            with w.loop(first, last) as turn:
                inner = dict(env)
                at = {**index, loop: turn.i}
                self._at_level(loop, levels, inner, at, segments, vector=None)
                self._map_loops(loop + 1, at, segments, inner)
            return

        def body(i: Index, mask: str | None, end: Index) -> None:
            at = {**index, loop: i}
            inside = dict(env)
            self._at_level(loop, levels, inside, at, segments, vector=loop, mask=mask, end=end)
            self._stores(inside, at, mask, loop, levels)

        self._vectors(first, last, body)

    def _vectors(self, first: Index, last: Index, body: Callable[[Index, str | None, Index], None]) -> None:
        """Calls `body(i, mask, end)` in a loop over whole vectors from `first` to `last`, and for what remains."""
        w, lanes = self.w, self.lanes
        w.lanes = lanes
        if isinstance(first, int) and isinstance(last, int):
            whole = first + (last - first) // lanes * lanes
            if whole > first:
                with w.loop(first, whole, lanes) as turn:
                    body(turn.i, None, last)
            if whole < last:
                body(whole, w.first_lanes(last - whole) if lanes > 1 else None, last)
            return
        count = w.sub(last, first)
        end = w.add(first, w.new(f"and i64 {count}, {-lanes}"))
        with w.loop(first, end, lanes) as turn:
            body(turn.i, None, last)
        if lanes > 1:
            begun = w.greatest(end, first)
            with w.only_if(w.new(f"icmp slt i64 {begun}, {last}")):
                body(begun, w.first_lanes(w.sub(last, begun)), last)

    # nodes

    def _leaves(self, env: dict[int, Any], segments: Sequence[tuple[int, int]], _: Any) -> dict[int, Any]:
        levels = self._levels(segments)
        self._at_level(-1, levels, env, {}, segments, vector=None)
        return env

    def _at_level(
        self, level: int, levels: dict[int, int], env: dict[int, Any], index: dict[int, Index],
        segments: Sequence[tuple[int, int]], vector: int | None, mask: str | None = None, end: Index = 0,
        wide: bool | None = None,
    ) -> None:  # fmt: skip
        """Computes the nodes that depend on the loop `level` and none further in, as vectors along `vector`."""
        w = self.w
        lanes = w.lanes
        for k, its in levels.items():
            if its != level or isinstance(self.nest.nodes[k][0], Literal):
                continue
            wide_here = vector is not None and self._depends(k, vector, segments)
            w.lanes = self.lanes if wide_here else 1
            env[k] = (self._compute(k, env, index, segments, vector, mask, end), wide_here)
        w.lanes = lanes

    def _depends(self, k: int, loop: int, segments: Sequence[tuple[int, int]]) -> bool:
        """Whether a node changes from turn to turn of a loop."""
        key = (loop, len(self.nest.nodes), *segments)
        if key not in self._dependent:
            found: list[bool] = []  # operands come before what is made of them
            for what, _, _ in self.nest.nodes:
                if isinstance(what, Load):
                    found.append(self.stride(what.strides, loop) != 0)
                elif isinstance(what, Apply):
                    found.append(any(found[o] for o in what.operands))
                elif isinstance(what, Guarded):
                    found.append(found[what.inner] and self._inside(what.guards, segments))
                else:
                    found.append(isinstance(what, Given))
            self._dependent[key] = found
        return self._dependent[key][k]

    def read(self, k: int, env: dict[int, Any]) -> str:
        """A node's value with as many lanes as are written now."""
        what, its, _ = self.nest.nodes[k]
        if isinstance(what, Literal):
            value: Any = what.value
            return self.w.constant(SCALARS[its], value if its.kind == "f" else int(value))
        value, wide = env[k]
        return value if wide or self.w.lanes == 1 else self.w.splat(SCALARS[its], value)

    def _compute(
        self, k: int, env: dict[int, Any], index: dict[int, Index], segments: Sequence[tuple[int, int]],
        vector: int | None, mask: str | None, end: Index,
    ) -> str:  # fmt: skip
        what, dtype, _ = self.nest.nodes[k]
        if isinstance(what, Load):
            return self._load(what, dtype, index, vector if self.w.lanes > 1 else None, mask, end)
        if isinstance(what, Guarded):
            if not self._inside(what.guards, segments):
                return self.w.constant(SCALARS[dtype], 0)
            return self.read(what.inner, env)
        operands = [self.read(o, env) for o in what.operands]
        return emit(self.w, what.name, operands, what.dtype, dtype)

    def pointer(self, slot: int) -> str:
        """The address of a buffer, read once."""
        if slot not in self.pointers:
            at = self.w.hoisted(f"getelementptr ptr, ptr %table, i64 {slot}")
            self.pointers[slot] = self.w.hoisted(f"load ptr, ptr {at}")
        return self.pointers[slot]

    def address(self, scalar: str, slot: int, offset: int, strides: tuple[int, ...], index: dict[int, Index]) -> str:
        """The address of an element."""
        w = self.w
        terms = [w.mul(i, self.stride(strides, loop)) for loop, i in index.items() if self.stride(strides, loop)]
        return w.at(self.pointer(slot), scalar, offset, *terms)

    def _load(
        self,
        load: Load,
        dtype: np.dtype[Any],
        index: dict[int, Index],
        vector: int | None,
        mask: str | None,
        end: Index,
    ) -> str:
        w, scalar = self.w, SCALARS[dtype]
        if vector is None:
            return w.load_scalar(scalar, self.address(scalar, load.slot, load.offset, load.strides, index))
        step = self.stride(load.strides, vector)
        if step == 1:
            return w.load(scalar, self.address(scalar, load.slot, load.offset, load.strides, index), mask)
        made = "poison"
        for lane in range(self.lanes):
            i = w.add(index[vector], lane)
            if mask is not None:
                i = w.least(i, w.sub(end, 1))
            w.lanes = 1
            one = w.load_scalar(
                scalar, self.address(scalar, load.slot, load.offset, load.strides, {**index, vector: i})
            )
            w.lanes = self.lanes
            made = w.new(f"insertelement {w.type(scalar)} {made}, {scalar} {one}, i32 {lane}")
        return made

    def _scattered(
        self, scalar: str, value: str, slot: int, offset: int, strides: tuple[int, ...], index: dict[int, Index],
        mask: str | None, last: int, behind: Index = 0,
    ) -> None:  # fmt: skip
        """Stores lane by lane where neighbouring elements do not lie side by side."""
        w = self.w
        for lane in range(w.lanes):
            at = self.address(scalar, slot, offset, strides, {**index, last: w.add(index[last], lane)})
            at = w.at(at, scalar, behind)
            one = w.lane(scalar, value, lane)
            keep = None if mask is None else w.lane("i1", mask, lane)
            lanes, w.lanes = w.lanes, 1
            if keep is None:
                w.store(scalar, one, at)
            else:
                with w.only_if(keep):
                    w.store(scalar, one, at)
            w.lanes = lanes

    def _stores(
        self, env: dict[int, Any], index: dict[int, Index], mask: str | None, vector: int | None = None,
        levels: dict[int, int] | None = None,
    ) -> None:  # fmt: skip
        for s in self.nest.stores:
            scalar = SCALARS[self.nest.nodes[s.node][1]]
            at = self.address(scalar, s.slot, s.offset, s.strides, index)
            value = self.read(s.node, env)
            if self.w.lanes > 1 and self.stride(s.strides, len(self.sizes) - 1) != 1:
                self._scattered(scalar, value, s.slot, s.offset, s.strides, index, mask, len(self.sizes) - 1)
            else:
                self.w.store(scalar, value, at, mask)

    # reductions

    def _identity(self, r: Reduction) -> tuple[str, Any]:
        dtype = self.nest.nodes[r.node if r.factors is None else r.factors[0]][1]
        scalar = SCALARS[dtype]
        if r.how == "add":
            return scalar, 0  # as NumPy: no sum is -0.0
        if dtype.kind == "f":
            return scalar, -math.inf if r.how == "maximum" else math.inf
        if dtype == bool:
            return scalar, r.how == "minimum"
        info = np.iinfo(dtype)
        return scalar, info.min if r.how == "maximum" else info.max

    def _dtype(self, r: Reduction) -> np.dtype[Any]:
        return self.nest.nodes[r.node if r.factors is None else r.factors[0]][1]

    def _join(self, r: Reduction, a: str, b: str) -> str:
        return emit(self.w, r.how, [a, b], self._dtype(r), self._dtype(r))

    def _added(self, r: Reduction, total: str, env: dict[int, Any], mask: str | None) -> str:
        """A total with the values of one more vector."""
        w = self.w
        scalar, nothing = self._identity(r)
        if r.factors is not None and mask is None:
            a, b = (self.read(k, env) for k in r.factors)
            return multiply_add(w, scalar, a, b, total, features().fma)
        if r.factors is not None:
            a, b = (self.read(k, env) for k in r.factors)
            value = w.new(f"fmul {w.type(scalar)} {a}, {b}")
        else:
            value = self.read(r.node, env)
        if mask is not None:
            value = w.new(
                f"select {w.type('i1')} {mask}, {w.type(scalar)} {value}, {w.type(scalar)} {w.constant(scalar, nothing)}"
            )
        return self._join(r, total, value)

    def _across(self, r: Reduction, value: str) -> str:
        """The lanes of a vector joined, halves first."""
        w, dtype = self.w, self._dtype(r)
        scalar, lanes = SCALARS[dtype], self.lanes
        while lanes > 1:
            half = lanes // 2
            parts = []
            for start in (0, half):
                picks = ", ".join(f"i32 {start + k}" for k in range(half))
                parts.append(
                    w.new(
                        f"shufflevector <{lanes} x {scalar}> {value}, <{lanes} x {scalar}> poison, <{half} x i32> <{picks}>"
                    )
                )
            w.lanes = lanes = half
            if half == 1:
                parts = [w.new(f"extractelement <1 x {scalar}> {p}, i32 0") for p in parts]
            value = emit(w, r.how, parts, dtype, dtype)
        w.lanes = self.lanes
        return value

    def _inner(self) -> tuple[int, int, int | None]:
        """Reductions over the innermost loops: vectors of partial results, joined at the end."""
        w, sizes, kept = self.w, self.sizes, self.n_kept
        w.lanes = self.lanes
        reduced = math.prod(sizes[kept:])
        segments = [(0, n) for n in sizes]
        levels = self._levels(segments)
        env: dict[int, Any] = {}
        self._at_level(-1, levels, env, {}, segments, vector=None)
        if reduced > 2 * BLOCK:
            rows = max(1, BLOCK // max(1, math.prod(sizes[kept + 1 :])))
            n = sizes[kept]
            blocks = -(-n // rows)
            first = w.div("%low", rows)
            last = w.div(w.add("%high", rows - 1), rows)
            with w.loop(first, last) as block:
                start = w.mul(block.i, rows)
                stop = w.least(w.add(start, rows), n)
                self._kept_loops(0, {}, env, levels, segments, (start, stop), block.i)
            return n, rows * max(1, GRAIN_BYTES // 8 // BLOCK), blocks
        if kept:
            with w.loop("%low", "%high") as row:
                at = {0: row.i}
                inner = dict(env)
                self._at_level(0, levels, inner, at, segments, vector=None)
                self._kept_loops(1, at, inner, levels, segments, (0, sizes[kept]), None)
            return sizes[0], max(1, GRAIN_BYTES // 8 // max(1, math.prod(sizes[1:]))), None
        self._kept_loops(0, {}, env, levels, segments, (0, sizes[kept]), None)
        return 1, 1, None

    def _kept_loops(
        self, loop: int, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], block: Index | None,
    ) -> None:  # fmt: skip
        w = self.w
        if loop < self.n_kept:
            with w.loop(0, self.sizes[loop]) as turn:
                at = {**index, loop: turn.i}
                inner = dict(env)
                self._at_level(loop, levels, inner, at, segments, vector=None)
                self._kept_loops(loop + 1, at, inner, levels, segments, bounds, block)
            return
        w.lanes = self.lanes
        carry = []
        for r in self.nest.reductions:
            scalar, nothing = self._identity(r)
            carry.append((w.type(scalar), w.constant(scalar, nothing)))
        totals = self._reduced_loops(loop, index, env, levels, segments, bounds, carry)
        for r, total in zip(self.nest.reductions, totals, strict=True):
            scalar, _ = self._identity(r)
            w.lanes = self.lanes
            value = self._across(r, total) if self.lanes > 1 else total
            w.lanes = 1
            behind = 0 if block is None else w.mul(block, self.kept_elements)
            w.store(scalar, value, w.at(self.address(scalar, r.slot, 0, r.strides, index), scalar, behind))
            w.lanes = self.lanes

    def _reduced_loops(
        self, loop: int, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], carry: list[tuple[str, str]],
    ) -> list[str]:  # fmt: skip
        w = self.w
        low, high = bounds if loop == self.n_kept else (0, self.sizes[loop])
        if loop < len(self.sizes) - 1:
            with w.loop(low, high, carry=carry) as turn:
                at = {**index, loop: turn.i}
                inner = dict(env)
                self._at_level(loop, levels, inner, at, segments, vector=None)
                now = [(typed, old) for (typed, _), old in zip(carry, turn.old, strict=True)]
                w.lanes = self.lanes
                turn.next = self._reduced_loops(loop + 1, at, inner, levels, segments, bounds, now)
            return turn.next

        def once(i: Index, totals: list[str], mask: str | None) -> list[str]:
            at, inside = {**index, loop: i}, dict(env)
            self._at_level(loop, levels, inside, at, segments, vector=loop, mask=mask, end=high)
            self._stores(inside, at, mask, loop, levels)
            return [self._added(r, t, inside, mask) for r, t in zip(self.nest.reductions, totals, strict=True)]

        return self._accumulated(low, high, carry, once)

    def _accumulated(
        self, low: Index, high: Index, carry: list[tuple[str, str]], once: Callable[..., list[str]]
    ) -> list[str]:
        """Totals over a loop of vectors, in four chains that do not wait for each other where it is long."""
        w, lanes = self.w, self.lanes
        w.lanes = lanes
        fixed = isinstance(low, int) and isinstance(high, int)
        if fixed and (high - low) // lanes < 8:  # type: ignore[operator]
            chains = 1
        else:
            short = len(carry) == 1 or sum(isinstance(what, Apply) for what, _, _ in self.nest.nodes) < 12
            chains = 4 // self.wide if short else 1
        count = w.sub(high, low)
        many = w.add(low, w.mul(w.div(count, lanes * chains), lanes * chains)) if chains > 1 else low
        firsts = [value for _, value in carry]
        sets = [list(firsts)]
        if chains > 1:
            blank = []
            for r in self.nest.reductions:
                scalar, nothing = self._identity(r)
                blank.append(w.constant(scalar, nothing))
            sets += [list(blank) for _ in range(chains - 1)]
            flat = [(typed, value) for values in sets for (typed, _), value in zip(carry, values, strict=True)]
            with w.loop(low, many, lanes * chains, carry=flat) as turn:
                n = len(carry)
                made = []
                for c in range(chains):
                    made += once(w.add(turn.i, c * lanes), turn.old[c * n : (c + 1) * n], None)
                turn.next = made
            sets = [turn.next[c * n : (c + 1) * n] for c in range(chains)]
            while len(sets) > 1:
                half = len(sets) // 2
                sets = [
                    [self._join(r, a, b) for r, a, b in zip(self.nest.reductions, sets[c], sets[c + half], strict=True)]
                    for c in range(half)
                ]
        totals = sets[0]
        whole = w.add(low, w.mul(w.div(count, lanes), lanes))
        if not (isinstance(whole, int) and isinstance(many, int) and whole <= many):
            with w.loop(many, whole, lanes, carry=[(t, v) for (t, _), v in zip(carry, totals, strict=True)]) as turn:
                turn.next = once(turn.i, turn.old, None)
            totals = turn.next
        if lanes > 1 and not (isinstance(whole, int) and whole == high):
            # one more vector whose mask may be empty: no branch, so that the totals need no merge
            totals = once(whole, totals, w.first_lanes(w.sub(high, whole)))
        return totals

    def _outer(self) -> tuple[int, int, int | None]:
        """Reductions over rows: vectors along the last kept loop, the reduced loops inside."""
        w, sizes, kept = self.w, self.sizes, self.n_kept
        w.lanes = self.lanes
        vector = kept - 1
        rows = math.prod(sizes[kept:])
        segments = [(0, n) for n in sizes]
        levels = self._levels(segments)
        env: dict[int, Any] = {}
        self._at_level(-1, levels, env, {}, segments, vector=None)
        width = max(1, (24 if vector_bytes() == 64 else 10) // len(self.nest.reductions) // self.wide)
        columns = self.lanes * min(width, -(-sizes[vector] // self.lanes))
        if rows > 2 * ROWS:
            step = max(1, ROWS // max(1, math.prod(sizes[kept + 1 :])))
            n = sizes[kept]
            with w.loop(w.div("%low", step), w.div(w.add("%high", step - 1), step)) as block:
                start = w.mul(block.i, step)
                stop = w.least(w.add(start, step), n)
                self._column_loops(0, {}, env, levels, segments, (start, stop), block.i, columns, None)
            return n, step, -(-n // step)
        if kept > 1:
            with w.loop("%low", "%high") as row:
                at = {0: row.i}
                inner = dict(env)
                self._at_level(0, levels, inner, at, segments, vector=None)
                self._column_loops(1, at, inner, levels, segments, (0, sizes[kept]), None, columns, None)
            return sizes[0], max(1, GRAIN_BYTES // 8 // max(1, math.prod(sizes[1:]))), None
        self._column_loops(0, {}, env, levels, segments, (0, sizes[kept]), None, columns, ("%low", "%high"))
        return -(-sizes[vector] // columns), max(1, GRAIN_BYTES // 8 // max(1, columns * rows)), None

    def _column_loops(
        self, loop: int, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], block: Index | None, columns: int,
        units: tuple[Index, Index] | None,
    ) -> None:  # fmt: skip
        w, vector = self.w, self.n_kept - 1
        if loop < vector:
            with w.loop(0, self.sizes[loop]) as turn:
                at = {**index, loop: turn.i}
                inner = dict(env)
                self._at_level(loop, levels, inner, at, segments, vector=None)
                self._column_loops(loop + 1, at, inner, levels, segments, bounds, block, columns, units)
            return
        n, lanes = self.sizes[vector], self.lanes
        whole = n // columns
        low, high = units or (0, -(-n // columns))
        with w.loop(low, w.least(high, whole)) as turn:
            self._columns(w.mul(turn.i, columns), columns, index, env, levels, segments, bounds, block)
        if whole * columns < n:
            rest = n - whole * columns
            if units is None:
                self._columns(whole * columns, rest, index, env, levels, segments, bounds, block)
            else:
                with w.only_if(w.new(f"icmp eq i64 {high}, {whole + 1}")):
                    self._columns(whole * columns, rest, index, env, levels, segments, bounds, block)
        w.lanes = lanes

    def _columns(
        self, start: Index, count: int, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], block: Index | None,
    ) -> None:  # fmt: skip
        w, vector, lanes = self.w, self.n_kept - 1, self.lanes
        w.lanes = lanes
        end = w.add(start, count)
        places, envs = [], []
        for shift in range(0, count, lanes):
            mask = w.first_lanes(count - shift) if count - shift < lanes and lanes > 1 else None
            at, inner = {**index, vector: w.add(start, shift)}, dict(env)
            self._at_level(vector, levels, inner, at, segments, vector=vector, mask=mask, end=end)
            places.append((at, mask))
            envs.append(inner)
        carry = []
        for r in self.nest.reductions:
            scalar, nothing = self._identity(r)
            carry += [(w.type(scalar), w.constant(scalar, nothing))] * len(places)
        totals = self._row_loops(self.n_kept, places, envs, levels, segments, bounds, carry, end)
        for k, r in enumerate(self.nest.reductions):
            scalar, _ = self._identity(r)
            offset = 0 if block is None else w.mul(block, self.kept_elements)
            for p, (at, mask) in enumerate(places):
                value = totals[k * len(places) + p]
                if self.stride(r.strides, vector) == 1 or w.lanes == 1:
                    place = w.at(self.address(scalar, r.slot, 0, r.strides, at), scalar, offset)
                    w.store(scalar, value, place, mask)
                else:
                    self._scattered(scalar, value, r.slot, 0, r.strides, at, mask, vector, offset)

    def _row_loops(
        self, loop: int, places: list[Any], envs: list[dict[int, Any]], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], carry: list[tuple[str, str]], end: Index,
    ) -> list[str]:  # fmt: skip
        w, vector = self.w, self.n_kept - 1
        low, high = bounds if loop == self.n_kept else (0, self.sizes[loop])
        with w.loop(low, high, carry=carry) as turn:
            now_places, now_envs = [], []
            shared: dict[int, Any] = {}
            for (at, mask), env in zip(places, envs, strict=True):
                here, inner = {**at, loop: turn.i}, {**env, **shared}
                todo = {k: v for k, v in levels.items() if k not in shared}
                self._at_level(loop, todo, inner, here, segments, vector=vector, mask=mask, end=end)
                shared |= {k: v for k, v in inner.items() if levels[k] == loop and not v[1]}
                now_places.append((here, mask))
                now_envs.append(inner)
            w.lanes = self.lanes
            if loop < len(self.sizes) - 1:
                now = [(typed, old) for (typed, _), old in zip(carry, turn.old, strict=True)]
                turn.next = self._row_loops(loop + 1, now_places, now_envs, levels, segments, bounds, now, end)
            else:
                turn.next = []
                for k, r in enumerate(self.nest.reductions):
                    for p, env in enumerate(now_envs):
                        turn.next.append(self._added(r, turn.old[k * len(places) + p], env, None))
        return turn.next


def row_finish(nest: Nest) -> Callable[..., None]:
    """What is done with neighbouring sums of a row of a product: the nodes of `nest`, whose `Given` they are."""
    emitter = _Emitter("", nest, None, joined=False)
    return emitter.finish


def _contiguous(shape: list[int]) -> list[int]:
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def nest_kernel(name: str, nest: Nest, axes: tuple[int, ...] | None) -> tuple[Kernel, int | None]:
    """The kernel of a nest, whose reductions go over `axes`; and how many blocks there are where it leaves one result a block.

    The results of blocks go to the buffers of the reductions, with the axis of blocks in front.
    """
    return _Emitter(name, nest, axes).kernel()
