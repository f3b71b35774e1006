"""Elementwise work before a product that the product does itself, as it reads its operands: which, and when that pays.

Such work saves a pass over memory, and a kernel of its own. Rows would be computed again for each group of columns, which
takes longer than reading them (Zen 5, 1024 x 1024 over 1024: 3 percent of the product for two groups), so this is done where
there is one group. Columns are copied by every thread anyway, where they are packed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping

from backlit.compiler.ir import Eqn, Var
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.kernel import Operand
from backlit.compiler.llvm.plan import Sizes, times_computed
from backlit.compiler.llvm.target import features
from backlit.compiler.llvm.values import CHEAP
from backlit.compiler.picks import arrays_of, is_gather
from backlit.compiler.views import Map, identity, is_move, linear, through

LITTLE = 4  # cheap ops that are done more than once
MOST = 60  # cheap ops; those of a group of loops may be more, as they become machine code once only
LONG = 10  # as how many of those an op counts that is not cheap


def moved_from(a: Var, there: Container[Var], made_by: Mapping[Var, Eqn]) -> tuple[Var, Map]:
    """What lies in memory, or would, of the operand of a product, and where from coordinates in the operand."""
    v, at = a, identity(a.aval.ndim)
    while v not in there and (e := made_by.get(v)) is not None and is_move(e) and e.op.name != "pad":
        at, _, _ = through(e, at)
        v = e.inputs[0]  # type: ignore[assignment]
    return v, at


def sizes_of(
    head: Eqn, computed: tuple[bool, bool], there: Container[Var], made_by: Mapping[Var, Eqn]
) -> tuple[Sizes, tuple[Var, Var]]:
    """The sizes of a product, with operands that have no slots yet, and the variables that hold these."""
    *batch, m, n = head.out.aval.shape
    found, operands = [], []
    for a in head.inputs:
        assert isinstance(a, Var)
        v, at = moved_from(a, there, made_by)
        found.append(v)
        operands.append(Operand(-1, *linear(at, v.aval.shape, a.aval.ndim)))
    k = head.inputs[0].aval.shape[-1]  # type: ignore[union-attr]
    sizes = Sizes(SCALARS[head.out.aval.dtype], tuple(batch), m, n, k, operands[0], operands[1], computed)
    return sizes, (found[0], found[1])


def joined_rows(a: Var, there: Container[Var], made_by: Mapping[Var, Eqn]) -> tuple[int, ...] | None:
    """How many rows each entry of the axes had that a reshape has joined to those of the matrix `a`; None if none has."""
    e = made_by.get(a)
    if a in there or e is None or e.op.name != "reshape" or is_move(e) or a.aval.ndim != 2:
        return None
    before = e.inputs[0].aval.shape  # type: ignore[union-attr]
    if len(before) < 3 or before[-1] != a.aval.shape[-1] or 0 in before:
        return None
    return tuple(math.prod(before[axis:-1]) for axis in range(len(before) - 2, 0, -1))


def work_before(
    head: Eqn, side: int, computed: tuple[bool, bool], there: Container[Var], made_by: Mapping[Var, Eqn],
    may_take: Callable[[Var], bool],
) -> list[Eqn]:  # fmt: skip
    """The equations that a product does itself for one of its operands, none where the operand had better be kept.

    `may_take(v)` says whether a value is needed for what it is asked for only, and belongs to no product.
    """
    a = head.inputs[side]
    assert isinstance(a, Var)
    sizes, found = sizes_of(head, computed, there, made_by)
    v = found[side]
    moved = a
    while moved is not v:  # what is moved for others too is moved for them from memory
        if not may_take(moved):
            return []
        moved = made_by[moved].inputs[0]  # type: ignore[assignment]
    joined = joined_rows(a, there, made_by) if side == 0 else None
    if joined is not None:
        if not may_take(a):
            return []
        v = made_by[a].inputs[0]  # type: ignore[assignment]
    taken = _taken(v, there, made_by, may_take)
    if not taken:
        return []
    times = times_computed(sizes, side, features())
    if times is None:
        return []
    times *= max(1, math.prod(a.aval.shape) // max(1, math.prod(v.aval.shape)))  # where it is broadcast
    weight = sum(1 if e.op.name in CHEAP else LONG for e in taken)
    return taken if weight <= (MOST if times == 1 else LITTLE if times == 2 and side == 1 else 0) else []


def _taken(v: Var, there: Container[Var], made_by: Mapping[Var, Eqn], may_take: Callable[[Var], bool]) -> list[Eqn]:
    taken: list[Eqn] = []
    pending = [v]
    while pending:
        v = pending.pop()
        e = made_by.get(v)
        if v in there or e is None or e in taken or not may_take(v):
            continue
        if e.op.name == "reshape" and not is_move(e):  # it joins axes
            continue
        if is_move(e):
            if taken and e.op.name != "pad":
                pending.append(e.inputs[0])  # type: ignore[arg-type]
        elif is_gather(e):
            taken.append(e)
            pending += [e.inputs[0], *arrays_of(e)]  # type: ignore[list-item]
        else:
            taken.append(e)
            pending += [x for x in e.inputs if isinstance(x, Var)]
    return taken
