"""From a graph to groups of equations that run together, and the values that are kept in memory between them.

A group is a loop nest over one shape, a product of matrices with the elementwise work on its result, or one equation that
its op's own forward computes. Elementwise values are computed where they are needed; one is kept only when several groups
need it and it is not cheap to compute again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

from backlit.compiler.before import moved_from, work_before
from backlit.compiler.ir import Eqn, Graph, Literal, Var
from backlit.compiler.llvm.conversion import SCALARS, SMALL
from backlit.compiler.llvm.nest import REDUCTIONS
from backlit.compiler.llvm.values import CHEAP, can_emit
from backlit.compiler.picks import arrays_of, is_gather
from backlit.compiler.views import is_move
from backlit.core.op import Elementwise

RECOMPUTED = 2  # cheap ops that are rather computed again than kept
LONGEST = 300  # cheap ops that one group takes: the time to make code of a kernel grows faster than its length
LONG = 10  # as how many of those an op counts that is not cheap
MOVED = 12  # the same for what is read through a move, which would have to be kept for it alone


@dataclass(eq=False)
class Group:
    """Equations that run together; `stores` and `reductions` are what it leaves in memory."""

    kind: str  # "loops", "product" or "call"
    shape: tuple[int, ...]
    members: list[Eqn] = field(default_factory=list)
    axes: tuple[int, ...] | None = None
    reductions: list[Eqn] = field(default_factory=list)
    stores: list[Var] = field(default_factory=list)
    reads: list[Var] = field(default_factory=list)  # kept values, inputs and constants
    computed: tuple[bool, bool] = (False, False)  # operands of a product that it computes itself
    before: list[Eqn] = field(default_factory=list)  # what it does for that

    @property
    def head(self) -> Eqn:
        """The product, the loop, or the equation that is called."""
        return self.members[0]

    @property
    def writes(self) -> list[Var]:
        """What it leaves in memory."""
        return [*self.stores, *(e.out for e in self.reductions)]


@dataclass(eq=False)
class Schedule:
    """Groups in the order in which they run, and the buffer of every kept value: the variable for which it was made."""

    graph: Graph
    groups: list[Group]
    kept: dict[Var, Var]
    made_by: dict[Var, Eqn]


def is_elementwise(e: Eqn) -> bool:
    """Whether an equation can be part of a loop."""
    if not isinstance(e.op, Elementwise) and e.op.name != "astype":
        return False
    dtypes = [a.aval.dtype for a in e.inputs if isinstance(a, Var)]
    literals = [a.value for a in e.inputs if isinstance(a, Literal)]
    if e.op.name == "where" and not isinstance(e.inputs[0], Var):
        return False
    return can_emit(e.op.name, dtypes, e.out.aval.dtype, literals)


def is_reduction(e: Eqn) -> bool:
    """Whether an equation reduces in a loop."""
    if e.op.name not in REDUCTIONS or not isinstance(e.inputs[0], Var) or not e.params["axis"]:
        return False
    before, after = e.inputs[0].aval.dtype, e.out.aval.dtype
    if SMALL.intersection((before, after)):
        return False
    return before in SCALARS and after in SCALARS and (e.op.name in ("sum", "prod") or before != bool)


def is_product(e: Eqn) -> bool:
    """Whether an equation is a product of matrices of native floats."""
    return e.op.name == "matmul" and e.out.aval.dtype.name in ("float32", "float64")


def is_alias(e: Eqn) -> bool:
    """Whether the result is the operand's memory under another shape."""
    return e.op.name == "reshape" and not is_move(e) and isinstance(e.inputs[0], Var)


class Scheduler:
    """Makes the schedule of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made_by = {v: e for e in graph.eqns for v in e.outs}
        self.outside = {*graph.inputs, *graph.consts}
        self.stage: dict[Var, tuple[int, Any]] = {}
        self.kept: set[Var] = set()
        self.n_readers = Counter(a for e in graph.eqns for a in e.inputs if isinstance(a, Var))
        self.n_readers.update(a for a in graph.outputs if isinstance(a, Var))
        self._room: dict[Any, int] = {}  # of groups: how many more ops they take
        self._pending: list[tuple[float, int, Group]] = []
        self._n_copies = 0

    def schedule(self) -> Schedule:
        """Groups in stages, then what has to be kept, from the last group back."""
        groups = self._grouped()
        for a in self.graph.outputs:
            if isinstance(a, Var):
                self._keep(a)
        for number, (at, group) in enumerate(groups):
            heappush(self._pending, (-at, -number, group))
        needed = []
        while self._pending:
            group = heappop(self._pending)[2]
            self._settle(group)
            if group.writes:
                needed.append(group)
        for group in needed:
            self._find_reads(group)
        buffers = {v: self._buffer(v) for v in (*self.outside, *self.kept)}
        return Schedule(self.graph, needed[::-1], buffers, self.made_by)

    def _buffer(self, v: Var) -> Var:
        while (e := self.made_by.get(v)) is not None and is_alias(e):
            v = e.inputs[0]  # type: ignore[assignment]
        return v

    # which equations run together

    def _grouped(self) -> list[tuple[float, Group]]:
        groups: dict[Any, Group] = {}
        for number, e in enumerate(self.graph.eqns):
            before = [self.stage[a] for a in e.inputs if isinstance(a, Var) and a in self.stage]
            if e.regions:
                at, kind = max((s + 1 for s, _ in before), default=0), ("call", number)
                groups[at, kind] = Group("call", (), [e])
                self.stage.update(dict.fromkeys(e.outs, (at, kind)))
                continue
            shape = e.out.aval.shape
            if is_move(e) or is_alias(e):
                at, kind = self.stage.get(e.inputs[0], (-1, None))  # type: ignore[arg-type]
                self.stage[e.out] = (at, ("moved", kind, number))
                continue
            if is_gather(e):
                self.stage[e.out] = (max((s for s, _ in before), default=-1), ("moved", None, number))
                continue
            if is_elementwise(e):
                at, kind = self._place(e, before, shape)
                group = groups.setdefault((at, kind), Group("loops", shape))
                group.members.append(e)
                self._room[at, kind] = self._room.get((at, kind), LONGEST) - (1 if e.op.name in CHEAP else LONG)
            elif is_reduction(e):
                shape = e.inputs[0].aval.shape  # type: ignore[union-attr]
                at, kind = self._place_reduction(e, before, shape, groups)
                group = groups.setdefault((at, kind), Group("loops", shape))
                group.axes = e.params["axis"]
                group.reductions.append(e)
                self.stage[e.out] = (at, ("reduced", number))
                continue
            else:
                at = max((s + 1 for s, _ in before), default=0)
                kind = ("product" if is_product(e) else "call", number)
                group = groups.setdefault((at, kind), Group(kind[0], shape))
                group.members.append(e)
            self.stage[e.out] = (at, kind)
        return [(key[0], groups[key]) for key in sorted(groups, key=lambda key: key[0])]

    def _place(self, e: Eqn, before: list[tuple[int, Any]], shape: tuple[int, ...]) -> tuple[int, Any]:
        """The group of an elementwise equation: that of a product of its shape which it comes after, or a loop."""
        products = dict.fromkeys((s, k) for s, k in before if k[0] == "product")
        for at, kind in products:
            alone = all((s, k) == (at, kind) or s < at for s, k in before)
            if alone and self._room.get((at, kind), LONGEST) > 0 and all(
                a.aval.shape == shape for a in e.inputs
                if isinstance(a, Var) and self.stage.get(a, (-1, None)) == (at, kind)
            ):  # fmt: skip
                return at, kind
        kind = ("loops", shape)
        at = max((s if k == kind else s + 1 for s, k in before), default=0)
        while self._room.get((at, kind), LONGEST) <= 0:
            at += 1
        return at, kind

    def _place_reduction(
        self, e: Eqn, before: list[tuple[int, Any]], shape: tuple[int, ...], groups: dict[Any, Group]
    ) -> tuple[int, Any]:
        axes, ndim = e.params["axis"], len(shape)
        inner = axes == tuple(range(ndim - len(axes), ndim))
        if not inner:  # sums over rows are loops of their own
            return max((s + 1 for s, _ in before), default=0), ("rows", shape, axes)
        kind = ("loops", shape)
        at = max((s if k == kind else s + 1 for s, k in before), default=0)
        while (group := groups.get((at, kind))) is not None and group.axes not in (None, axes):
            at += 1
        return at, kind

    # what is kept in memory

    def _keep(self, v: Var) -> None:
        """A variable that has to lie in memory; one of another shape there is the same memory."""
        while (e := self.made_by.get(v)) is not None and v not in self.kept and is_alias(e):
            self.kept.add(v)
            v = e.inputs[0]  # type: ignore[assignment]
        if v in self.outside or v in self.kept or e is None:
            return
        self.kept.add(v)
        if is_move(e) or is_gather(e):
            group = Group("loops", v.aval.shape, [e])
            self._n_copies += 1
            heappush(self._pending, (-self.stage[v][0] - 0.5, self._n_copies, group))

    def _settle(self, group: Group) -> None:
        """Keeps what a group needs from others and is not computed again."""
        own = {v for e in group.members for v in e.outs}
        if group.kind == "call" and group.head.regions and not own.isdisjoint(self.kept):
            for v in own:
                self._keep(v)
        group.stores = [v for e in group.members for v in e.outs if v in self.kept]
        group.reductions = [e for e in group.reductions if e.out in self.kept]
        if group.kind == "call":
            for a in group.head.inputs if group.stores else ():
                if isinstance(a, Var):
                    self._keep(a)
            return
        guarded = bool(group.reductions) or group.kind == "product"
        seen: set[tuple[Var, bool]] = set()
        pending: list[tuple[Var, int, bool]] = [(v, RECOMPUTED, False) for v in self._roots(group)]
        while pending:
            v, budget, picked = pending.pop()  # picked: it is read at places that are computed
            if (v, picked) in seen:
                continue
            seen.add((v, picked))
            e = self.made_by.get(v)
            if e is not None and is_gather(e) and (v in own or v not in self.kept):
                pending.append((e.inputs[0], RECOMPUTED, True))  # type: ignore[arg-type]
                pending += [(a, MOVED, picked) for a in arrays_of(e)]
            elif v in own and e is not None:
                if is_product(e):
                    self._take_before(group)
                    own |= {taken.out for taken in group.before}
                    for a, computed in zip(e.inputs, group.computed, strict=True):
                        v = self._operand(a)  # type: ignore[arg-type]
                        if computed and is_alias(self.made_by[v]):
                            own.add(v)
                        if computed:
                            pending.append((v, RECOMPUTED, False))
                        else:
                            self._keep(v)
                else:
                    pending += [(a, budget, picked) for a in _variables(e)]
            elif e is None or v in self.kept:
                continue
            elif is_move(e) and not ((guarded or picked) and e.op.name == "pad"):
                pending.append((e.inputs[0], MOVED if e.op.name in ("pad", "index") else budget, picked))  # type: ignore[arg-type]
            elif is_elementwise(e) and self._cheaper(v, budget):
                pending += [(a, budget, picked) for a in _variables(e)]
            else:
                self._keep(v)

    def _take_before(self, group: Group) -> None:
        """What a product computes of its operands as it reads them."""
        there = self.kept | self.outside

        def may_take(v: Var) -> bool:
            e = self.made_by[v]
            if self.n_readers[v] > 1 or v in self.kept:
                return False
            return is_move(e) or is_alias(e) or is_gather(e) or (is_elementwise(e) and self.stage[v][1][0] == "loops")

        for side in (0, 1):
            computed = (group.computed[0] or side == 0, side == 1)
            if found := work_before(group.head, side, computed, there, self.made_by, may_take):
                group.computed = computed
                group.before += found

    @staticmethod
    def _roots(group: Group) -> list[Var]:
        return [*group.stores, *(a for e in group.reductions for a in _variables(e))]

    def _find_reads(self, group: Group) -> None:
        """What a group reads of what is kept, given or constant."""
        own = {v for e in group.members for v in e.outs}
        reads: dict[Var, None] = {}
        seen: set[Var] = set()
        pending = [a for a in _variables(group.head)] if group.kind == "call" else self._roots(group)
        while pending:
            v = pending.pop()
            if v in seen:
                continue
            seen.add(v)
            if v in self.outside or (v in self.kept and v not in own):
                reads[v] = None
                continue
            e = self.made_by[v]
            pending += [self._operand(a) for a in _variables(e)] if is_product(e) and v in own else _variables(e)
        group.reads = list(reads)

    def _operand(self, v: Var) -> Var:
        """What lies in memory of the operand of a product, which may be moved in a way that strides express."""
        return moved_from(v, self.kept, self.made_by)[0]

    def _cheaper(self, v: Var, most: int) -> bool:
        """Whether there are at most so many ops between a value and what is kept or given, all of them cheap."""
        pending = [v]
        while pending and most >= 0:
            v = pending.pop()
            if v in self.outside or v in self.kept:
                continue
            e = self.made_by[v]
            if is_move(e):
                if e.op.name == "pad":
                    return False
                pending.append(e.inputs[0])  # type: ignore[arg-type]
            elif is_elementwise(e):
                if e.op.name not in CHEAP:
                    return False
                most -= 1
                pending += _variables(e)
        return most >= 0


def _variables(e: Eqn) -> list[Var]:
    return [a for a in e.inputs if isinstance(a, Var)]


def schedule(graph: Graph) -> Schedule:
    """The groups of a graph, in order."""
    return Scheduler(graph).schedule()


def topological(before: list[set[int]]) -> list[int]:
    """Numbers in an order that respects `before`, else as they are; those on a cycle are left out."""
    waiting = [len(b) for b in before]
    after: list[list[int]] = [[] for _ in before]
    for number, its in enumerate(before):
        for b in its:
            after[b].append(number)
    ready = [k for k, n in enumerate(waiting) if not n]
    heapify(ready)
    order = []
    while ready:
        k = heappop(ready)
        order.append(k)
        for follower in after[k]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heappush(ready, follower)
    return order
