"""Products of matrices: a driver that walks over tiles, packs operands where that pays, and hands finished sums on.

Every sum is computed by one unit, over `k` in ascending order in stretches of known length, so that the bits depend on
shapes and strides only and not on how the units are divided.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from backlit.compiler.llvm.computed import Computed, split_rows
from backlit.compiler.llvm.kernel import PARAMETERS, Kernel, Operand, unravel
from backlit.compiler.llvm.matvec import matvec
from backlit.compiler.llvm.packing import Packing
from backlit.compiler.llvm.plan import Plan, Sizes, plan
from backlit.compiler.llvm.target import Features, features
from backlit.compiler.llvm.tile import Tile
from backlit.compiler.llvm.writer import SIZES, Index, Writer

LONG = 300  # lines of a finish repeated for every vector of a tile; they take about 10 ms to become machine code

Finish = Callable[[Writer, tuple[Index, ...], Index, str, str | None], None]


def store_to(kind: str, out: Operand) -> Finish:
    """A finish that stores the sums; `out` has strides for `(*batch, row, column)`."""

    def finish(w: Writer, position: tuple[Index, ...], column: Index, value: str, mask: str | None) -> None:
        *strides, across = out.strides
        start = w.at(out.pointer(w, kind), kind, *map(w.mul, position, strides), w.mul(column, across))
        if across == 1:
            w.store(kind, value, start, mask)
            return
        for lane in range(w.lanes):
            place = w.at(start, kind, lane * across)
            if mask is None:
                w.do(f"store {kind} {w.lane(kind, value, lane)}, ptr {place}")
                continue
            with w.only_if(w.lane("i1", mask, lane)):
                w.do(f"store {kind} {w.lane(kind, value, lane)}, ptr {place}")

    return finish


def product(
    name: str, sizes: Sizes, finish: Finish, *, allowed: Features | None = None,
    computed: tuple[Computed | None, Computed | None] = (None, None),
) -> Kernel:  # fmt: skip
    """A kernel of `sum_k a[*batch, i, k] * b[*batch, k, j]` for every `i` below `m` and `j` below `n`.

    `finish(writer, position, column, value, mask)` writes what is done with `writer.lanes` neighbouring sums of one row,
    once for each: `position` is `(*batch, i)`, the first sum is that of `column`, and lanes outside `mask` hold nothing of
    meaning. It is called for several writers, with 1 lane for what is done row by row. `computed` are the operands that
    are not in memory.
    """
    allowed = allowed or features()
    if 0 in (*sizes.batch, sizes.m, sizes.n):
        return Kernel(name, Writer(name, PARAMETERS).text(), 0)
    sizes = sizes.merged()

    def split(w: Writer, position: tuple[Index, ...], column: Index, value: str, mask: str | None) -> None:
        finish(w, split_rows(w, position, sizes.merged_rows), column, value, mask)

    given = split if sizes.merged_rows else finish
    kind, batch, m, n, k, a, b = sizes.kind, sizes.batch, sizes.m, sizes.n, sizes.k, sizes.a, sizes.b
    (*a_batch, a_row, a_depth), (*b_batch, b_depth, b_column) = a.strides, b.strides
    if sizes.by_rows:

        def give_row(w: Writer, place: list[Index], number: Index, value: str, mask: str | None) -> None:
            given(w, tuple(place), number, value, mask)

        x, matrix = (
            Operand(a.slot, a.offset, (*a_batch, a_row, a_depth)),
            Operand(b.slot, b.offset, (*b_batch, 0, *b.strides[-2:])),
        )
        return matvec(name, kind, (*batch, m), n, k, x, matrix, give_row, vectors=True, allowed=allowed)
    if sizes.by_columns:

        def give_column(w: Writer, place: list[Index], number: Index, value: str, mask: str | None) -> None:
            given(w, (*place[:-1], number), place[-1], value, mask)

        x = Operand(b.slot, b.offset, (*b_batch, b_column, b_depth))
        matrix = Operand(a.slot, a.offset, (*a_batch, 0, a_depth, a_row))
        return matvec(name, kind, (*batch, n), m, k, x, matrix, give_column, vectors=False, allowed=allowed)
    return _Driver(name, sizes, given, plan(sizes, allowed), computed).kernel()


class _Driver:
    def __init__(
        self, name: str, sizes: Sizes, finish: Finish, cut: Plan, computed: tuple[Computed | None, Computed | None]
    ) -> None:
        self.name, self.kind, self.batch = name, sizes.kind, sizes.batch
        self.m, self.n, self.k, self.a, self.b = sizes.m, sizes.n, sizes.k, sizes.a, sizes.b
        self.finish, self.cut, self.sizes, self.computed = finish, cut, sizes, computed
        self.width, self.rows = cut.tile.width, cut.tile.rows
        self.n_panels, self.n_tiles = -(-self.n // self.width), -(-self.m // self.rows)
        self.column_groups, self.row_groups = -(-self.n_panels // cut.panels), -(-self.n_tiles // cut.tiles)
        self.stretches = max(1, -(-self.k // cut.depth))
        self.helpers: dict[str, str] = {}
        # sums go from registers to the finish, unless other tiles share them or it hardly matters beside their making
        self.odd_rows = self.m % self.rows if cut.edges else 0  # of the last tile, if it is smaller
        self.odd_columns = self.n % self.width if cut.edges and self.n > self.width else 0
        exact = cut.edges or (self.m % self.rows == 0 and (self.n % self.width == 0 or self.n < self.width))
        self.direct = exact and self.k <= 256 and self._finishing_tile(cut.tile, False) is not None
        self.pitch = cut.tile.a_depth if cut.pack_a else 0
        # scratch, in elements
        line = 64 // SIZES[self.kind]
        self.tile_size = self.rows * self.width
        self.packed_b = cut.panels * self._spacing(self.width) if cut.pack_b else 0
        self.packed_a = min(cut.block, cut.tiles) * self._spacing(self.pitch) + line if cut.pack_a else 0
        if computed[0] is not None:
            count = cut.depth if sizes.turned else min(cut.block, cut.tiles) * self.rows
            self.packed_a = count * cut.pitch + line
        self.sums = cut.panels * cut.tiles * self.tile_size + line if self.stretches > 1 else 0

    def kernel(self) -> Kernel:
        units = math.prod(self.batch) * self.column_groups * self.row_groups
        text = self._driver()
        work = 2 * self.m * self.n * self.k * math.prod(self.batch) / units
        grain = max(1, min(units, round(1e6 / max(1, work))))
        size = (self.packed_a + self.packed_b + self.sums) * SIZES[self.kind]
        together = self.row_groups if self.cut.pack_b else 1
        return Kernel(self.name, text, units, grain, size, self.helpers, together)

    def _driver(self) -> str:
        w = Writer(self.name, PARAMETERS, self.cut.tile.lanes)
        with w.loop("%low", "%high") as unit:
            *place, column_group, row_group = unravel(w, unit.i, (*self.batch, self.column_groups, self.row_groups))
            fresh = w.new(f"icmp eq i64 {unit.i}, %low")
            if row_group != 0:
                fresh = w.new(f"or i1 {fresh}, {w.new(f'icmp eq i64 {row_group}, 0')}")
            self._unit(w, place, row_group, column_group, fresh if self.stretches == 1 and row_group != 0 else None)
        return w.text()

    def _unit(
        self, w: Writer, place: list[Index], row_group: Index, column_group: Index, fresh: str | None
    ) -> None:  # fmt: skip
        kind, cut, (make_a, make_b) = self.kind, self.cut, self.computed
        a, b = (
            w.at(x.pointer(w, kind), kind, *map(w.mul, place, x.strides)) if made is None else ""
            for x, made in zip((self.a, self.b), self.computed, strict=True)
        )
        packed_b = "%scratch"
        packed_a = w.at(packed_b, kind, self.packed_b)
        sums = w.at(packed_a, kind, self.packed_a)
        if self.stretches == 1:
            sums = w.room(kind, self.tile_size + 64 // SIZES[kind])
        first_panel, first_tile = w.mul(column_group, cut.panels), w.mul(row_group, cut.tiles)
        end_panel = w.least(w.add(first_panel, cut.panels), self.n_panels)
        end_tile = w.least(w.add(first_tile, cut.tiles), self.n_tiles)
        with w.loop(0, max(1, self.k), cut.depth) as k:
            depth = w.least(cut.depth, w.sub(self.k, k.i))
            if cut.pack_b:
                with w.only_if(fresh or "true"):
                    if make_b is not None:
                        self._compute_columns(w, make_b, place, packed_b, k.i, depth, first_panel, end_panel)
                    else:
                        sizes = (self.n, self.width, self.width)
                        strides = self.b.strides[-2], self.b.strides[-1]
                        self._pack(w, b, packed_b, strides, sizes, k.i, depth, first_panel, end_panel)
            with w.loop(first_tile, end_tile, cut.block) as block:
                end = w.least(w.add(block.i, cut.block), end_tile)
                if cut.pack_a:
                    sizes = (self.m, self.rows, self.pitch)
                    strides = self.a.strides[-1], self.a.strides[-2]
                    self._pack(w, a, packed_a, strides, sizes, k.i, depth, block.i, end)
                first_row = self._row(w, block.i)
                if make_a is not None:
                    self._compute_rows(w, make_a, place, packed_a, k.i, depth, first_row, end)
                with w.loop(first_panel, end_panel) as p:
                    if cut.pack_b:
                        columns = w.at(packed_b, kind, w.mul(w.sub(p.i, first_panel), self._spacing(self.width)))
                    else:
                        columns = w.at(b, kind, self._column(w, p.i), w.mul(k.i, self.b.strides[-2]))
                    with w.loop(block.i, end) as t:
                        if cut.pack_a:
                            rows = w.at(packed_a, kind, w.mul(w.sub(t.i, block.i), self._spacing(self.pitch)))
                        elif make_a is not None:
                            rows = w.at(packed_a, kind, w.mul(w.sub(self._row(w, t.i), first_row), cut.tile.a_row))
                        else:
                            rows = w.at(
                                a, kind, w.mul(self._row(w, t.i), self.a.strides[-2]), w.mul(k.i, self.a.strides[-1])
                            )
                        where = sums
                        if self.stretches > 1:
                            number = w.add(w.mul(w.sub(p.i, first_panel), cut.tiles), w.sub(t.i, first_tile))
                            where = w.at(sums, kind, w.mul(number, self.tile_size))
                        self._tile(w, place, rows, columns, where, (t.i, p.i), k.i, depth)

    def _tile(
        self, w: Writer, place: list[Index], rows: str, columns: str, sums: str, number: tuple[Index, Index], k: Index,
        depth: Index,
    ) -> None:  # fmt: skip
        """Sums up one tile and hands it on if it is complete."""
        bottoms = [(False, "")]
        if self.odd_rows:
            last = w.new(f"icmp eq i64 {number[0]}, {self.n_tiles - 1}")
            bottoms = [(True, last), (False, w.new(f"xor i1 {last}, true"))]
        sides = [(False, "")]
        if self.odd_columns:
            last = w.new(f"icmp eq i64 {number[1]}, {self.n_panels - 1}")
            sides = [(True, last), (False, w.new(f"xor i1 {last}, true"))]
        for (bottom, lower), (side, right) in itertools.product(bottoms, sides):
            with w.only_if(lower) if lower else nullcontext(), w.only_if(right) if right else nullcontext():
                self._sized_tile(w, bottom, side, place, rows, columns, sums, number, k, depth)

    def _tile_of(self, bottom: bool, side: bool) -> Tile:
        """The micro-kernel of the last tiles of rows and columns, or of others."""
        tile = self.cut.tile
        if bottom:
            tile = replace(tile, rows=self.odd_rows)
        if side:
            vectors = -(-self.odd_columns // tile.lanes)
            last = tile.lanes if self.cut.pack_b else self.odd_columns - (vectors - 1) * tile.lanes
            tile = replace(tile, vectors=vectors, last=last)
        return tile

    def _sized_tile(
        self, w: Writer, bottom: bool, side: bool, place: list[Index], rows: str, columns: str, sums: str,
        number: tuple[Index, Index], k: Index, depth: Index,
    ) -> None:  # fmt: skip
        tile = self._tile_of(bottom, side)
        if self.direct:
            position = (*place, self._row(w, number[0]), self._column(w, number[1]))
            indices = ", ".join(f"i64 {i}" for i in (depth, *position))
            w.do(f"call void @{self._finishing_tile(tile, side)}(ptr %table, ptr {rows}, ptr {columns}, {indices})")
            return
        if tile.name not in self.helpers:
            self.helpers[tile.name] = tile.text()
        w.do(f"call void @{tile.name}(ptr {rows}, ptr {columns}, ptr {sums}, i64 {depth}, i64 {k})")
        if self.stretches == 1:
            self._finish(w, tile.rows, side, place, sums, *number)
        else:
            with w.only_if(w.new(f"icmp sge i64 {k}, {self.k - self.cut.depth}")):
                self._finish(w, tile.rows, side, place, sums, *number)

    def _row(self, w: Writer, tile: Index) -> Index:
        """Where a tile starts; the last one overlaps its neighbour if it is not smaller."""
        row = w.mul(tile, self.rows)
        return row if self.cut.edges or self.m % self.rows == 0 else w.least(row, self.m - self.rows)

    def _column(self, w: Writer, panel: Index) -> Index:
        column = w.mul(panel, self.width)
        return column if self.cut.edges or self.n % self.width == 0 else w.least(column, max(0, self.n - self.width))

    def _pack(
        self, w: Writer, source: str, target: str, strides: tuple[int, int], sizes: tuple[int, int, int], k: Index,
        depth: Index, first: Index, end: Index,
    ) -> None:  # fmt: skip
        """Packs the pieces from `first` to `end` of an operand with strides for `k` and across."""
        kind, (down, across), (total, width, pitch) = self.kind, strides, sizes
        spacing = self._spacing(pitch)
        # vectors no wider than a narrow piece: the others cross lines when stored
        lanes = min(self.cut.tile.lanes, 1 << (width - 1).bit_length())
        pack = Packing(kind, lanes, min(total, width), pitch, down, across, spacing, self.k % 4 > 0)
        self.helpers[pack.name] = pack.text()
        source = w.at(source, kind, w.mul(k, down))
        whole = total // width
        if whole:
            count = w.sub(w.least(end, whole), first)
            begin = w.at(source, kind, w.mul(w.mul(first, width), across))
            w.do(f"call void @{pack.name}(ptr {begin}, ptr {target}, i64 {depth}, i64 {count})")
        if total % width:
            with w.only_if(w.new(f"icmp sgt i64 {end}, {whole}")):
                begin = w.at(source, kind, max(0, total - width) * across)
                if self.cut.edges and whole:
                    begin = w.at(source, kind, whole * width * across)
                    pack = replace(pack, width=total % width)
                    self.helpers[pack.name] = pack.text()
                place = w.at(target, kind, w.mul(w.sub(whole, first), spacing))
                w.do(f"call void @{pack.name}(ptr {begin}, ptr {place}, i64 {depth}, i64 1)")

    def _compute_rows(
        self, w: Writer, made: Computed, place: list[Index], to: str, k: Index, depth: Index, first: Index, end: Index
    ) -> None:  # fmt: skip
        """Computes the rows from `first` to the end of tile `end`, as far as they are read now."""
        name = f"{self.name}_rows"
        if name not in self.helpers:
            self.helpers[name] = made.text(name, self.kind, len(place), self.cut.pitch, self.sizes.merged_rows)
        ranges = [(first, w.least(w.mul(end, self.rows), self.m)), (k, w.add(k, depth))]
        if self.sizes.turned:
            ranges.reverse()
        numbers = ", ".join(f"i64 {i}" for i in (*place, *ranges[0], *ranges[1]))
        w.do(f"call void @{name}(ptr %table, ptr {to}, {numbers})")

    def _compute_columns(
        self, w: Writer, made: Computed, place: list[Index], to: str, k: Index, depth: Index, first: Index, end: Index
    ) -> None:  # fmt: skip
        """Computes the panels of columns from `first` to `end`, each where it would be packed."""
        name = f"{self.name}_columns"
        if name not in self.helpers:
            n_single = len(self.sizes.merged_rows)
            self.helpers[name] = made.text(
                name, self.kind, len(place), self.width, n_single=n_single, widest=self.width
            )
        with w.loop(first, end) as p:
            column = self._column(w, p.i)
            target = w.at(to, self.kind, w.mul(w.sub(p.i, first), self._spacing(self.width)))
            numbers = ", ".join(
                f"i64 {i}" for i in (*place, k, w.add(k, depth), column, w.least(w.add(column, self.width), self.n))
            )
            w.do(f"call void @{name}(ptr %table, ptr {target}, {numbers})")

    def _spacing(self, pitch: int) -> int:
        """Elements from one packed piece to the next: not a multiple of 4 KiB."""
        line = 64 // SIZES[self.kind]
        size = pitch * self.cut.depth
        return size + -size % line + line

    def _finish(
        self, w: Writer, rows: int, side: bool, place: list[Index], sums: str, number: Index, panel: Index
    ) -> None:
        """Hands on the sums of a tile that no other tile has."""
        row, column = self._row(w, number), w.mul(panel, self.width)
        skipped = w.sub(w.mul(number, self.rows), row)
        indices = ", ".join(f"i64 {i}" for i in (*place, row, skipped, rows, column))
        edge = self.n % self.width
        whole = self.n // self.width
        if side or not whole:
            w.do(f"call void @{self._finisher(edge)}(ptr %table, ptr {sums}, {indices})")
        elif edge and not self.odd_columns:
            last = w.new(f"icmp eq i64 {panel}, {whole}")
            with w.only_if(last):
                w.do(f"call void @{self._finisher(edge)}(ptr %table, ptr {sums}, {indices})")
            with w.only_if(w.new(f"xor i1 {last}, true")):
                w.do(f"call void @{self._finisher(self.width)}(ptr %table, ptr {sums}, {indices})")
        else:
            w.do(f"call void @{self._finisher(self.width)}(ptr %table, ptr {sums}, {indices})")

    def _finishing_tile(self, tile: Tile, side: bool) -> str | None:
        """The name of a micro-kernel that hands its sums on itself, if that takes little code."""
        name = f"{self.name}_tile{tile.rows}x{tile.vectors}{'_side' * side}"
        if name in self.helpers:
            return name
        place = [f"%b{d}" for d in range(len(self.batch))]
        names = ", ".join(f"i64 {i}" for i in ("%depth", *place, "%row", "%column"))
        w = Writer(name, f"ptr %table, ptr %a, ptr %b, {names}", tile.lanes)
        sums = tile.sums(w)
        before = len(w.lines)
        columns = self.odd_columns if side else min(self.n, tile.width)
        for i, value in enumerate(sums):
            r, v = divmod(i, tile.vectors)
            rest = columns - v * tile.lanes
            mask = w.first_lanes(rest) if rest < tile.lanes else None
            self.finish(w, (*place, w.add("%row", r)), w.add("%column", v * tile.lanes), value, mask)
        if len(w.lines) - before > LONG:
            return None
        self.helpers[w.name] = w.text(internal=True)
        return w.name

    def _finisher(self, columns: int) -> str:
        """A function that hands on `columns` columns of a tile, row by row."""
        name = f"{self.name}_finish{columns}"
        if name not in self.helpers:
            kind, lanes = self.kind, self.cut.tile.lanes
            place = [f"%b{d}" for d in range(len(self.batch))]
            names = ", ".join(f"i64 {i}" for i in (*place, "%row", "%skipped", "%rows", "%column"))
            w = Writer(name, f"ptr %table, ptr %sums, {names}", lanes)
            skipped = 0 if self.odd_columns else max(0, min(self.width - columns, self.n - columns))
            with w.loop("%skipped", "%rows") as r:
                position = (*place, w.add("%row", r.i))
                source = w.at("%sums", kind, w.mul(r.i, self.width), skipped)
                for first in range(0, columns, lanes):
                    mask = w.first_lanes(columns - first) if columns - first < lanes else None
                    value = w.load(kind, w.at(source, kind, first))
                    self.finish(w, position, w.add("%column", first), value, mask)
            self.helpers[name] = w.text(internal=True)
        return name


__all__ = ["Finish", "Operand", "Sizes", "product", "store_to"]
