"""The kernel of a loop nest."""

from __future__ import annotations

import math

from backlit.compiler.ir import Literal
from backlit.compiler.llvm import totals
from backlit.compiler.llvm.along_rows import AlongRows
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.down_rows import DownRows
from backlit.compiler.llvm.kernel import PARAMETERS, Kernel, Operand
from backlit.compiler.llvm.maps import Maps
from backlit.compiler.llvm.matvec import matvec
from backlit.compiler.llvm.nest import Apply, Load, Nest, Store
from backlit.compiler.llvm.order import Order
from backlit.compiler.llvm.target import features
from backlit.compiler.llvm.writer import Index, Writer

LONG = 512  # elements of a row from which on several rows are read beside one another


def nest_kernel(name: str, nest: Nest, axes: tuple[int, ...] | None) -> tuple[Kernel, int | None]:
    """The kernel of a nest, whose reductions go over `axes`; and how many blocks there are where it leaves one result a block.

    The results of blocks go to the buffers of the reductions, with the axis of blocks in front.
    """
    w, order = Writer(name, PARAMETERS), Order(nest, axes)
    if 0 in nest.shape and (not nest.reductions or 0 in order.sizes[: order.n_kept]):
        return Kernel(name, w.text(), 0), None
    if nest.reductions and len(order.sizes) == order.n_kept:
        _copied(nest)
    kind = Maps if not nest.reductions else AlongRows if order.last_reduced else DownRows
    units, grain, blocks = kind(w, nest, order).write()
    alone = _dots(name, nest, order)
    if alone is not None and blocks is not None:  # no other kernel goes over parts of rows
        return alone, None
    along, step = _chunked(nest, order, blocks)
    return Kernel(name, w.text(), units, grain, aligned=along, step=step, alone=alone), blocks


def _dots(name: str, nest: Nest, order: Order) -> Kernel | None:
    """The kernel of a nest that does nothing but multiply long rows of a matrix by one row: several rows are read at once."""
    if nest.stores or len(nest.reductions) != 1 or len(order.sizes) != 2 or order.n_kept != 1:
        return None
    (r,), (m, k) = nest.reductions, order.sizes
    factors = [nest.nodes[f][0] for f in r.factors or ()]
    if k < LONG or not all(isinstance(load, Load) and load.index < 0 for load in factors):
        return None
    pitches = {order.stride(load.strides, 0): load for load in factors}
    if any(order.stride(load.strides, 1) != 1 for load in factors) or len(pitches) != 2 or 0 not in pitches:
        return None
    x, (pitch, matrix) = pitches.pop(0), pitches.popitem()
    kind, out = SCALARS[nest.dtype(r)], Operand(r.slot, 0, (order.stride(r.strides, 0),))

    def give(w: Writer, place: list[Index], number: Index, value: str, mask: str | None) -> None:
        w.store(kind, value, w.at(out.pointer(w, kind), kind, w.mul(number, out.strides[0])), mask)

    vectors = out.strides[0] == 1
    row = Operand(x.slot, x.offset, (0, 1))
    rows = Operand(matrix.slot, matrix.offset, (0, 1, pitch))
    return matvec(name, kind, (1,), m, k, row, rows, give, vectors=vectors, allowed=features())


def _copied(nest: Nest) -> None:
    """Reductions of one element each become what is stored."""
    for r in nest.reductions:
        node, dtype = r.node, nest.dtype(r)
        if r.factors:
            node = nest.node(Apply("mul", r.factors, dtype), dtype)
        if r.how == "add" and dtype.kind == "f":  # as a sum begins with 0.0, it is never -0.0
            node = nest.node(Apply("add", (node, nest.node(Literal(0.0), dtype)), dtype), dtype)
        nest.stores.append(Store(node, r.slot, 0, r.strides))
    nest.reductions = []


def _chunked(nest: Nest, order: Order, blocks: int | None) -> tuple[frozenset[int], int]:
    """The buffers of which a unit reads and writes its own share only, and of how many units a call takes a multiple."""
    sizes, kept = order.sizes, order.n_kept
    if not sizes or (nest.reductions and not order.last_reduced and kept == 1 and blocks is None):
        return frozenset(), 0
    loop = kept if blocks is not None else 0
    step = 1
    if blocks is not None:
        per_block = totals.BLOCK if order.last_reduced else totals.ROWS
        step = max(1, per_block // max(1, math.prod(sizes[kept + 1 :])))
    found: dict[int, bool] = {}
    anywhere = {x.slot for x in order.loads if x.index >= 0}
    accesses = [(x.slot, x.offset, x.strides) for x in order.loads]
    accesses += [(s.slot, s.offset, s.strides) for s in nest.stores]
    if blocks is None:
        accesses += [(r.slot, 0, r.strides) for r in nest.reductions]
    for slot, offset, strides in accesses:
        along = order.stride(strides, loop)
        inside = [order.stride(strides, k) * (m - 1) for k, m in enumerate(sizes) if k != loop]
        share = slot not in anywhere and min(inside, default=0) >= 0 and 0 <= offset and offset + sum(inside) < along
        found[slot] = found.get(slot, True) and share
    return frozenset(slot for slot, good in found.items() if good), step
