"""Loop nests: elementwise work and reductions over one domain, every operand read once and every result written once.

The innermost loop is written with explicit vectors and a masked tail. What does not depend on a loop is computed outside
of it. Where a padded array ends in the middle of a loop, the loop is split there. Arithmetic is not contracted and carries no
fast-math flags; a sum adds in lanes and several accumulators, in an order that depends on nothing but the shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.compiler.ir import Literal
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.functions import FUNCTIONS
from backlit.compiler.llvm.nest import Apply, Given, Guarded, Load, Nest
from backlit.compiler.llvm.order import Order
from backlit.compiler.llvm.target import features, vector_bytes
from backlit.compiler.llvm.values import emit
from backlit.compiler.llvm.writer import Index, Writer
from backlit.compiler.views import Guard

GRAIN_BYTES = 32768


class Loops:
    """What loops over the nodes of a nest are written with; a class for each kind of loops adds how they lie."""

    def __init__(self, w: Writer, nest: Nest, order: Order) -> None:
        self.w, self.nest, self.order = w, nest, order
        self.sizes, self.n_kept = order.sizes, order.n_kept
        widths = [d.itemsize for _, d, _ in nest.nodes if d != bool] or [8]
        self.lanes = max(1, vector_bytes() // max(widths)) if self.sizes else 1
        outer = nest.reductions and not order.last_reduced
        self.wide = self._registers(self.n_kept - 1 if outer else len(self.sizes) - 1)
        self.lanes *= self.wide
        w.lanes = self.lanes
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

    def stride(self, strides: tuple[int, ...], loop: int) -> int:
        """Elements from one turn of a loop to the next."""
        return self.order.stride(strides, loop)

    # loops

    def _inside(self, guards: tuple[Guard, ...], segments: Sequence[tuple[int, int]]) -> bool:
        for g in guards:
            low, high = segments[self.order.position[g.axis]] if g.axis in self.order.position else (0, 1)
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
            elif isinstance(what, Load) and what.index >= 0:
                pending.append(what.index)
            elif isinstance(what, Guarded) and self._inside(what.guards, segments):
                pending.append(what.inner)
        return sorted(needed)

    def _level(self, k: int, levels: dict[int, int], segments: Sequence[tuple[int, int]]) -> int:
        """The innermost loop on which a node depends, -1 for none."""
        what = self.nest.nodes[k][0]
        if isinstance(what, Load):
            own = max((j for j in range(len(self.sizes)) if self.stride(what.strides, j)), default=-1)
            return own if what.index < 0 else max(own, levels[what.index])
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
                    found.append(self.stride(what.strides, loop) != 0 or (what.index >= 0 and found[what.index]))
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
            shift = (0, False) if what.index < 0 else env[what.index]
            return self._load(what, dtype, index, vector if self.w.lanes > 1 else None, mask, end, shift)
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
        shift: tuple[Index, bool],
    ) -> str:
        """What lies there, moved by `shift`, a value that may be a vector."""
        w, scalar = self.w, SCALARS[dtype]
        by, wide = shift
        if vector is None or (self.stride(load.strides, vector) == 1 and not wide):
            at = w.at(self.address(scalar, load.slot, load.offset, load.strides, index), scalar, by)
            return w.load_scalar(scalar, at) if vector is None else w.load(scalar, at, mask)
        made = "poison"
        for lane in range(self.lanes):
            i = w.add(index[vector], lane)
            if mask is not None:
                i = w.least(i, w.sub(end, 1))
            moved = w.lane("i64", str(by), lane) if wide else by
            w.lanes = 1
            at = self.address(scalar, load.slot, load.offset, load.strides, {**index, vector: i})
            one = w.load_scalar(scalar, w.at(at, scalar, moved))
            w.lanes = self.lanes
            made = w.new(f"insertelement {w.type(scalar)} {made}, {scalar} {one}, i32 {lane}")
        return made

    # results

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

    def _stores(self, env: dict[int, Any], index: dict[int, Index], mask: str | None) -> None:
        for s in self.nest.stores:
            scalar = SCALARS[self.nest.nodes[s.node][1]]
            at = self.address(scalar, s.slot, s.offset, s.strides, index)
            value = self.read(s.node, env)
            if self.w.lanes > 1 and self.stride(s.strides, len(self.sizes) - 1) != 1:
                self._scattered(scalar, value, s.slot, s.offset, s.strides, index, mask, len(self.sizes) - 1)
            else:
                self.w.store(scalar, value, at, mask)
