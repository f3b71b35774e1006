"""Loops that write every element that they compute, and the same work on the sums of a product as they are made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from backlit.compiler.ir import Literal
from backlit.compiler.llvm import loops
from backlit.compiler.llvm.loops import Loops
from backlit.compiler.llvm.nest import Given, Guarded, Nest
from backlit.compiler.llvm.order import Order
from backlit.compiler.llvm.writer import Index, Writer


class Maps(Loops):
    """Loops without reductions."""

    def write(self) -> tuple[int, int, int | None]:
        """The loops; gives units, grain, and None for no blocks."""
        w, sizes = self.w, self.sizes
        if not sizes:
            w.lanes = 1
            env: dict[int, Any] = {}
            self._at_level(-1, self._levels(()), env, {}, (), vector=None)
            self._stores(env, {}, None)
            return 1, 1, None
        for segments in itertools.product(*(self._segments(k) for k in range(len(sizes)))):
            if all(a < b for a, b in segments):
                self._map_loops(0, {}, segments)
        inner = math.prod(sizes[1:])
        grain = max(1, loops.GRAIN_BYTES // 8 // inner)
        return sizes[0], grain if len(sizes) > 1 else -(-grain // 64) * 64, None

    def _segments(self, loop: int) -> list[tuple[int, int]]:
        """The range of a loop, cut where a guard begins or ends."""
        n, cuts = self.sizes[loop], set()
        for what, _, _ in self.nest.nodes:
            if isinstance(what, Guarded):
                cuts |= {c for g in what.guards if self.order.position.get(g.axis) == loop for c in (g.low, g.high)}
        places = [0, *sorted(c for c in cuts if 0 < c < n), n]
        return list(itertools.pairwise(places))

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
            self._stores(inside, at, mask)

        self._vectors(first, last, body)


class Finish(Loops):
    """What is done with neighbouring sums of a row of a product: the nodes of a nest, whose `Given` they are."""

    def __init__(self, nest: Nest) -> None:
        super().__init__(Writer("", ""), nest, Order(nest, None, joined=False))

    def __call__(self, w: Writer, position: tuple[Index, ...], column: Index, value: str, mask: str | None) -> None:
        """The work on `w.lanes` sums of a row from `column` on."""
        if self.w is not w:
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
