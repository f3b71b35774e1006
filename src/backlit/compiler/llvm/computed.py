"""Operands of a product that are computed as they are read: a block of rows, or a panel of columns, at a time."""

from __future__ import annotations

from typing import Any

from backlit.compiler.llvm.loops import Loops
from backlit.compiler.llvm.nest import Nest
from backlit.compiler.llvm.order import Order
from backlit.compiler.llvm.writer import Index, Writer


class Computed(Loops):
    """The node that `nest` stores, over `(*batch, outer, inner)`: neighbours along the last axis lie side by side.

    `joined` says how many rows each entry of axes had that the product takes for rows of one matrix (see `split_rows`).
    """

    def __init__(self, nest: Nest, joined: tuple[int, ...] = ()) -> None:
        self.joined = joined
        super().__init__(Writer("", ""), nest, Order(nest, None, joined=False))

    def text(
        self, name: str, kind: str, n_batch: int, pitch: int, merged_rows: tuple[int, ...] = (), n_single: int = 0,
        widest: int = 0,
    ) -> str:  # fmt: skip
        """The function `(table, to, *batch, first outer, its end, first inner, its end)`.

        The element at the first of both goes to `to`, rows are `pitch` apart. With `merged_rows` the outer index counts
        rows of several entries of the batch, of which only `n_batch` axes are left; along `n_single` further ones all
        entries are the same. There are never more than `widest` elements in a row, unless that is 0.
        """
        merged_rows = self.joined or merged_rows
        if widest:
            self.lanes = min(self.lanes, widest)
        place: list[Index] = [*(f"%b{d}" for d in range(n_batch)), *[0] * n_single]
        numbers = ", ".join(f"i64 {i}" for i in (*place[:n_batch], "%first", "%end", "%left", "%right"))
        self.w = w = Writer(name, f"ptr %table, ptr %to, {numbers}", self.lanes)
        self.pointers = {}
        segments = [(0, n) for n in self.sizes]
        levels, last = self._levels(segments), len(self.sizes) - 1
        (store,) = self.nest.stores
        outside: dict[int, Any] = {}
        fixed = last - 1 - len(merged_rows)  # loops whose index is the same for all rows
        for level in range(-1, fixed):
            self._at_level(level, levels, outside, dict(enumerate(place)), segments, vector=None)
        with w.loop("%first", "%end") as outer:
            index: dict[int, Index] = dict(enumerate(split_rows(w, (*place, outer.i), merged_rows)))
            row = w.at("%to", kind, w.mul(w.sub(outer.i, "%first"), pitch))
            env = dict(outside)
            for level in range(fixed, last):
                self._at_level(level, levels, env, index, segments, vector=None)

            def body(i: Index, mask: str | None, end: Index) -> None:
                inside = dict(env)
                self._at_level(last, levels, inside, {**index, last: i}, segments, vector=last, mask=mask, end=end)
                w.store(kind, self.read(store.node, inside), w.at(row, kind, w.sub(i, "%left")), mask)

            self._vectors("%left", "%right", body)
        return w.text(internal=True)


def split_rows(w: Writer, position: tuple[Index, ...], merged_rows: tuple[int, ...]) -> tuple[Index, ...]:
    """`(*batch, row)` where rows of several entries of the batch have been counted as those of one matrix."""
    *outer, row = position
    for n in reversed(merged_rows):
        outer.append(w.div(row, n))
        row = w.rem(row, n)
    return (*outer, row)
