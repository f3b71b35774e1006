"""Reductions over rows: vectors along the last kept loop, the reduced loops inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from backlit.compiler.llvm import loops, totals
from backlit.compiler.llvm.target import vector_bytes
from backlit.compiler.llvm.totals import Totals
from backlit.compiler.llvm.writer import Index


class DownRows(Totals):
    """Loops whose vectors go along what is kept."""

    def write(self) -> tuple[int, int, int | None]:
        """The loops; gives units, grain, and the number of blocks where each leaves a result of its own."""
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
        if rows > 2 * totals.ROWS:
            step = max(1, totals.ROWS // max(1, math.prod(sizes[kept + 1 :])))
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
            return sizes[0], max(1, loops.GRAIN_BYTES // 8 // max(1, math.prod(sizes[1:]))), None
        self._column_loops(0, {}, env, levels, segments, (0, sizes[kept]), None, columns, ("%low", "%high"))
        return -(-sizes[vector] // columns), max(1, loops.GRAIN_BYTES // 8 // max(1, columns * rows)), None

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
