"""How a product of matrices is cut into tiles, units and stretches, and which operands are copied or computed beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from backlit.compiler.llvm.kernel import Operand
from backlit.compiler.llvm.target import Features
from backlit.compiler.llvm.tile import Tile, choose
from backlit.compiler.llvm.writer import SIZES

FEW = 3  # rows or columns that are done as products with as many vectors, where the matrix is contiguous along k
MANY = 64  # units of a large product
EDGES = 3e5  # operations of a product from which on there are smaller tiles for what is left of rows and columns
BLOCK_BYTES = 1 << 18  # of rows that are computed in one go


@dataclass(frozen=True)
class Sizes:
    """A product of `a[*batch, i, k]` and `b[*batch, k, j]` for `i` below `m` and `j` below `n`.

    `computed` says which of both is not in memory; its strides are then those it would have there.
    """

    kind: str
    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: Operand
    b: Operand
    computed: tuple[bool, bool] = (False, False)
    # how many there were in each entry of an axis of the batch that has joined the rows
    merged_rows: tuple[int, ...] = ()

    def merged(self) -> Sizes:
        """The same with fewer axes of the batch, where the rows of all entries are rows of one matrix."""
        batch, a, b = self.batch, self.a.strides, self.b.strides
        if not batch or b[-3] != 0:
            return self
        rows = a[-2:] if self.m > 1 else (*a[-3:-2], a[-1])
        if a[-3] != self.m * rows[0]:
            return self
        return replace(
            self, batch=batch[:-1], m=batch[-1] * self.m, a=replace(self.a, strides=(*a[:-3], *rows)),
            b=replace(self.b, strides=(*b[:-3], *b[-2:])), merged_rows=(*self.merged_rows, self.m),
        ).merged()  # fmt: skip

    @property
    def by_rows(self) -> bool:
        """Whether it is done as products of a few rows with one matrix."""
        return self.m == 1 or (self.m <= FEW and self.b.strides[-2] == 1 and self.k >= 64)

    @property
    def by_columns(self) -> bool:
        """Whether it is done as products of one matrix with a few columns."""
        return self.n == 1 or (self.n <= FEW and self.a.strides[-1] == 1 and self.k >= 64)

    @property
    def turned(self) -> bool:
        """Whether neighbouring rows of `a` lie side by side, and not neighbours along `k`."""
        return self.a.strides[-1] != 1


@dataclass(frozen=True)
class Plan:
    """How a product is cut: panels of columns and tiles of rows in groups, the groups' pairs being units."""

    tile: Tile
    depth: int  # of a stretch of k
    panels: int  # of a group
    tiles: int  # of a group
    block: int  # tiles that are done for one panel after the other
    pack_a: bool
    pack_b: bool
    edges: bool  # whether there are smaller tiles for the rows and columns that are left; else the last ones overlap
    pitch: int = 0  # of the rows, or columns, in which a block of `a` is computed


def plan(sizes: Sizes, allowed: Features) -> Plan:
    """The cut for given sizes. Stretches of `k` are of the same length whether operands are computed or not."""
    kind, m, n, k = sizes.kind, sizes.m, sizes.n, sizes.k
    n_batch = math.prod(sizes.batch)
    lanes = allowed.vector_bytes // SIZES[kind]
    a_row, a_depth = sizes.a.strides[-2:]
    b_depth, b_column = sizes.b.strides[-2:]
    page = 4096 // SIZES[kind]
    apart = (a_row == 1 and a_depth >= page) or (b_column == 1 and b_depth >= page and m <= 32)
    edges = 2 * m * n * k >= EDGES
    rows, vectors = choose(m, n, k, kind, allowed, apart, edges)
    width = lanes * vectors
    # rows of b far apart are packed if used often, or a few times where they fall on the same lines of caches
    often = 4 if b_depth * SIZES[kind] % 1024 == 0 else 48
    pack_b = b_column != 1 or (m > often * rows and b_depth > width and k * n * SIZES[kind] > 32768)
    # columns of a far apart are packed where vectors are short, so that they are read often (8 lanes, 2048 x 2048 over
    # 2048: 113 GFLOP/s, 87 unpacked)
    pack_a = a_depth != 1 and (a_row != 1 or (a_depth >= page and lanes * SIZES[kind] < 64 and n > 8 * width))
    # as many steps of k in one go as fit the second-level cache, and fewer if each is on another page (Zen 5, 1 MiB:
    # 1024 x 256 over 1024 with a transposed at 187 GFLOP/s with 1024 steps, 216 with 384; 218 x 870 over 1333 at 222 with
    # all steps at once, 215 in halves)
    most = 384 if not pack_a and a_depth * SIZES[kind] > 2048 else 1536
    depth = max(1, k)
    if k > most:
        depth = -(-k // -(-k // most))
        depth += -depth % 16
    n_panels, n_tiles = -(-n // width), -(-m // rows)
    block = max(1, 448 // SIZES[kind] // rows)
    # what fits the second-level cache, and units of 2 MFLOP, of 1 where there are few; halves of W1's products on two
    # threads gain nothing to 15 percent alone and take twice as long beside another busy process. Columns first: groups of
    # columns do not share what is packed; but they compute the same rows
    work = 2 * m * n * k * n_batch
    wanted = min(MANY, max(work / 2e6, min(16, work / 1e6))) / n_batch
    rows_first = 1.0
    if sizes.computed[0]:
        rows_first = n_tiles if not pack_b else max(1, m // 64) if depth >= k else 1
    column_groups = max(-(-n_panels * width // 256), min(n_panels, math.ceil(min(16 / n_batch, wanted) / rows_first)))
    panels = -(-n_panels // column_groups)
    row_groups = math.floor(wanted / -(-n_panels // panels))
    if pack_b:  # units of other threads, and those of several stretches, pack for themselves
        row_groups = min(row_groups, m // 64) if depth >= k else 1
    row_groups = max(row_groups, -(-n_tiles * rows // 512))
    tiles = -(-n_tiles // min(n_tiles, row_groups))
    row_steps = (1, _pitch(rows, lanes)) if pack_a else (a_row, a_depth)
    pitch = 0
    if sizes.computed[0]:
        pack_a = False
        block = max(1, min(block, BLOCK_BYTES // (rows * depth * SIZES[kind])))
        line = 64 // SIZES[kind]
        pitch = min(block, tiles) * rows if sizes.turned else depth
        pitch += -pitch % line + line  # so that rows do not fall on the same lines of caches
        row_steps = (1, pitch) if sizes.turned else (pitch, 1)
    tile = Tile(
        kind, lanes, rows, vectors, *row_steps, width if pack_b else b_depth,
        lanes if n >= width or pack_b else n - lanes * (vectors - 1), allowed.fma, depth >= k, width,
    )  # fmt: skip
    return Plan(tile, depth, panels, tiles, block, pack_a, pack_b, edges, pitch)


def _pitch(rows: int, lanes: int) -> int:
    return rows if rows <= lanes else rows + -rows % lanes


def times_computed(sizes: Sizes, which: int, allowed: Features) -> int | None:
    """How often operand `which` would be computed, if it were computed where it is read; None where that is not done."""
    merged = sizes.merged()
    if 0 in (*merged.batch, merged.m, merged.n, merged.k) or merged.by_rows or merged.by_columns:
        return None
    cut = plan(merged, allowed)
    if which == 0:
        if 1 not in merged.a.strides[-2:] or (merged.turned and merged.merged_rows):
            return None
        return -(-merged.n // (cut.panels * cut.tile.width))
    if not cut.pack_b or merged.b.strides[-1] != 1:
        return None
    return min(2, -(-merged.m // (cut.tiles * cut.tile.rows)))  # a thread that goes on to other rows has it already
