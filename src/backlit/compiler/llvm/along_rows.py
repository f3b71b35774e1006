"""Reductions over the innermost loops: vectors of partial results, joined at the end of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from backlit.compiler.llvm import loops, totals
from backlit.compiler.llvm.nest import Apply
from backlit.compiler.llvm.target import features
from backlit.compiler.llvm.totals import Totals
from backlit.compiler.llvm.writer import Index

SHORT = 8  # vectors of a row; from so many on there are several totals of each


class AlongRows(Totals):
    """Loops whose vectors go along what is reduced."""

    def write(self) -> tuple[int, int, int | None]:
        """The loops; gives units, grain, and the number of blocks where each leaves a result of its own."""
        w, sizes, kept = self.w, self.sizes, self.n_kept
        w.lanes = self.lanes
        reduced = math.prod(sizes[kept:])
        segments = [(0, n) for n in sizes]
        levels = self._levels(segments)
        env: dict[int, Any] = {}
        self._at_level(-1, levels, env, {}, segments, vector=None)
        if reduced > 2 * totals.BLOCK:
            rows = max(1, totals.BLOCK // max(1, math.prod(sizes[kept + 1 :])))
            n = sizes[kept]
            blocks = -(-n // rows)
            first = w.div("%low", rows)
            last = w.div(w.add("%high", rows - 1), rows)
            with w.loop(first, last) as block:
                start = w.mul(block.i, rows)
                stop = w.least(w.add(start, rows), n)
                self._kept_loops(0, {}, env, levels, segments, (start, stop), block.i)
            return n, rows * max(1, loops.GRAIN_BYTES // 8 // totals.BLOCK), blocks
        if kept:
            self._kept_loop(0, "%low", "%high", {}, env, levels, segments, (0, sizes[kept]), None)
            return sizes[0], max(1, loops.GRAIN_BYTES // 8 // max(1, math.prod(sizes[1:]))), None
        self._kept_loops(0, {}, env, levels, segments, (0, sizes[kept]), None)
        return 1, 1, None

    def _kept_loop(
        self, loop: int, low: Index, high: Index, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], block: Index | None,
    ) -> None:  # fmt: skip
        """One of the loops that are kept; the last of them goes over several short rows at once as far as there are so many."""
        w, rows = self.w, self._rows_at_once(bounds)
        if loop == self.n_kept - 1 and rows > 1:
            whole = w.add(low, w.mul(w.div(w.sub(high, low), rows), rows))
            with w.loop(low, whole, rows) as turn:
                self._together(rows, turn.i, index, env, levels, segments)
            low = whole
        with w.loop(low, high) as turn:
            at = {**index, loop: turn.i}
            inner = dict(env)
            self._at_level(loop, levels, inner, at, segments, vector=None)
            self._kept_loops(loop + 1, at, inner, levels, segments, bounds, block)

    def _rows_at_once(self, bounds: tuple[Index, Index]) -> int:
        """How many rows are joined at once: of short ones it is the joining of lanes that takes the time."""
        low, high = bounds
        alone = self.nest.stores or self.wide > 1 or len(self.sizes) != self.n_kept + 1
        if alone or not isinstance(low, int) or not isinstance(high, int) or (high - low) // self.lanes >= SHORT:
            return 1
        most = (8 if features().registers >= 32 else 4) // len(self.nest.reductions)
        return next((n for n in (8, 4, 2) if n <= min(most, self.lanes)), 1)

    def _together(
        self, rows: int, first: Index, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]],
    ) -> None:  # fmt: skip
        """Some neighbouring rows, each summed as one alone is; lanes of all are joined by the same instructions."""
        w, nest, outer, loop = self.w, self.nest, self.n_kept - 1, self.n_kept
        places = [{**index, outer: w.add(first, r)} for r in range(rows)]
        own = {k: its for k, its in levels.items() if self._depends(k, outer, segments)}
        envs = []
        for at in places:
            inner = dict(env)
            self._at_level(outer, own, inner, at, segments, vector=None)
            envs.append(inner)
        w.lanes = self.lanes
        carry = [
            (w.type(scalar), w.constant(scalar, nothing)) for scalar, nothing in map(self._identity, nest.reductions)
        ]

        def once(i: Index, totals: list[str], mask: str | None) -> list[str]:
            made, shared = [], dict[int, Any]()
            for r, (at, its) in enumerate(zip(places, envs, strict=True)):
                inside = {**its, **shared}
                todo = own if r else levels  # what is the same in every row is computed for the first
                self._at_level(
                    loop, todo, inside, {**at, loop: i}, segments, vector=loop, mask=mask, end=self.sizes[loop]
                )
                shared = {k: inside[k] for k in inside if k not in own}
                before = totals[r * len(carry) : (r + 1) * len(carry)]
                made += [self._added(x, t, inside, mask) for x, t in zip(nest.reductions, before, strict=True)]
            return made

        totals = self._accumulated(0, self.sizes[loop], carry * rows, once)
        for n, r in enumerate(nest.reductions):
            scalar, _ = self._identity(r)
            value = self._joined(r, totals[n :: len(carry)])
            w.lanes = rows
            if self.stride(r.strides, outer) == 1:
                w.store(scalar, value, self.address(scalar, r.slot, 0, r.strides, places[0]))
            else:
                self._scattered(scalar, value, r.slot, 0, r.strides, places[0], None, outer)
            w.lanes = self.lanes

    def _kept_loops(
        self, loop: int, index: dict[int, Index], env: dict[int, Any], levels: dict[int, int],
        segments: Sequence[tuple[int, int]], bounds: tuple[Index, Index], block: Index | None,
    ) -> None:  # fmt: skip
        w = self.w
        if loop < self.n_kept:
            self._kept_loop(loop, 0, self.sizes[loop], index, env, levels, segments, bounds, block)
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
            self._stores(inside, at, mask)
            return [self._added(r, t, inside, mask) for r, t in zip(self.nest.reductions, totals, strict=True)]

        return self._accumulated(low, high, carry, once)

    def _accumulated(
        self, low: Index, high: Index, carry: list[tuple[str, str]], once: Callable[..., list[str]]
    ) -> list[str]:
        """Totals over a loop of vectors, in four chains that do not wait for each other where it is long."""
        w, lanes = self.w, self.lanes
        w.lanes = lanes
        fixed = isinstance(low, int) and isinstance(high, int)
        if fixed and (high - low) // lanes < SHORT:  # type: ignore[operator]
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
