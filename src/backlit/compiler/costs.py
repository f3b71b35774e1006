"""What a kernel does, in numbers: its ops, floating-point operations, bytes that it reads and writes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from backlit.compiler.ir import Eqn, Graph, Literal, Var
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.nest import REDUCTIONS, Apply, Given, Guarded, Load, Nest
from backlit.compiler.views import is_move
from backlit.compiler.work import Work


@dataclass(frozen=True)
class Cost:
    """The ops of a kernel in order, and what one run of it takes.

    A product counts two operations for each multiplication, a sum one for each element, and every elementwise op, whatever
    it computes, one for each element that it gives. An element that is read several times counts once, and so does work
    before a product that the product does more than once. None where the
    number of turns of a loop is known only when it runs.
    """

    ops: tuple[str, ...]
    flops: int | None
    read_bytes: int
    written_bytes: int


def cost(work: Work) -> Cost:
    """The cost of one piece of work of a program."""
    written = sum(map(nbytes, work.writes))
    group = work.group
    if work.parts:  # what one leaves for the next stays in a cache
        parts = [cost(part) for part in work.parts]
        flops = [part.flops for part in parts if part.flops is not None]
        made = set(work.writes)
        return Cost(
            tuple(name for part in parts for name in part.ops),
            sum(flops) if len(flops) == len(parts) else None,
            total(v for v in work.reads if v not in made),
            written,
        )
    if group is None:  # the results of blocks, joined
        elements_joined = sum(math.prod(v.aval.shape) for v in work.reads)
        return Cost((work.joins,), elements_joined, sum(map(nbytes, work.reads)), written)
    if work.nest is None:
        e = group.head
        return Cost((e.op.name,), _flops_of_regions(e) if e.regions else None, sum(map(nbytes, work.reads)), written)
    nest = work.nest
    elements, count = _elements(nest), 0
    ops: list[str] = []
    read = _read_by_loops(nest, work, elements)
    if group.kind == "product":
        head = group.head
        k = head.inputs[0].aval.shape[-1]  # type: ignore[union-attr]
        count += 2 * k * math.prod(head.out.aval.shape)
        for before in work.before:
            its = _elements(before)
            read += _read_by_loops(before, work, its)
            for j, (what, _, _) in enumerate(before.nodes):
                if isinstance(what, Apply):
                    ops.append(what.name)
                    count += its[j]
        ops.append("matmul")
        read += total(
            a for a, there in zip(head.inputs, group.computed, strict=True) if isinstance(a, Var) and not there
        )
    for k, (what, _, _) in enumerate(nest.nodes):
        if isinstance(what, Apply):
            ops.append(what.name)
            count += elements[k]
    names = {how: name for name, how in REDUCTIONS.items()}
    for r in nest.reductions:
        ops += ["mul", names[r.how]] if r.factors else [names[r.how]]
        count += math.prod(nest.shape) * (2 if r.factors else 1)
    if not ops:
        ops = [e.op.name for e in group.members if is_move(e)] or ["copy"]
    return Cost(tuple(ops), count, read, written)


def kind_of(work: Work) -> str:
    """What sort of work it is, in a word."""
    if work.kernel is None:
        return "callback"
    if work.parts:
        return "chain"
    if work.group is None:
        return "join"
    return work.group.kind if work.group.kind != "call" else "loop" if work.group.head.regions else "call"


def eqns_of(work: Work) -> list[Eqn]:
    """The equations that it computes."""
    own = [] if work.group is None else [*work.group.before, *work.group.members, *work.group.reductions]
    return [*own, *(e for part in work.parts for e in eqns_of(part))]


def nbytes(v: Var) -> int:
    """Bytes of an array."""
    return math.prod(v.aval.shape) * v.aval.dtype.itemsize


def total(vs: Iterable[Var]) -> int:
    """Bytes of some arrays together."""
    return sum(map(nbytes, vs))


def _elements(nest: Nest) -> list[int]:
    """How often each node is computed: once for each turn of the loops on which it depends."""
    axes: list[frozenset[int]] = []
    for what, _, _ in nest.nodes:
        if isinstance(what, Load):
            own = frozenset(a for a, stride in enumerate(what.strides) if stride)
            axes.append(own if what.index < 0 else own | axes[what.index])
        elif isinstance(what, Apply):
            axes.append(frozenset().union(*(axes[o] for o in what.operands)))
        elif isinstance(what, Guarded):
            axes.append(axes[what.inner])
        elif isinstance(what, Given):
            axes.append(frozenset(range(len(nest.shape))))
        else:
            axes.append(frozenset())
    return [math.prod(nest.shape[a] for a in its) for its in axes]


def _read_by_loops(nest: Nest, work: Work, elements: list[int]) -> int:
    """Bytes of the different elements that the loops of a kernel read."""
    read: dict[int, int] = {}
    for k, (what, dtype, _) in enumerate(nest.nodes):
        if isinstance(what, Load):
            read[what.slot] = read.get(what.slot, 0) + elements[k] * dtype.itemsize
    buffers = {slot: nbytes(v) for v, slot in work.slots.items()}
    return sum(min(count, buffers.get(slot, count)) for slot, count in read.items())


def _flops_of_regions(e: Eqn) -> int | None:
    """Of a loop of known length, or of the longest branch."""
    inner = [_flops_of_graph(region) for region in e.regions]
    if any(count is None for count in inner):
        return None
    counts = [count for count in inner if count is not None]
    if e.op.name == "scan":
        return int(e.params["length"]) * sum(counts)
    return None if e.op.name == "while_loop" else max(counts)


def _flops_of_graph(graph: Graph) -> int | None:
    count = 0
    for e in graph.eqns:
        if e.regions:
            inner = _flops_of_regions(e)
            if inner is None:
                return None
            count += inner
        elif e.op.name == "matmul":
            count += 2 * e.inputs[0].aval.shape[-1] * math.prod(e.out.aval.shape)  # type: ignore[union-attr]
        elif e.op.name in REDUCTIONS:
            count += math.prod(e.inputs[0].aval.shape)  # type: ignore[union-attr]
        elif not is_move(e):
            count += math.prod(e.out.aval.shape)
    return count


def why_callback(e: Eqn) -> str:
    """Why an equation runs by its op's forward."""
    dtypes = {a.aval.dtype for a in (*e.inputs, *e.outs) if isinstance(a, Var)}
    foreign = sorted(str(d) for d in dtypes if d not in SCALARS)
    if foreign:
        return f"no native code for {', '.join(foreign)}"
    if any(isinstance(a, Literal) and isinstance(a.value, complex) for a in e.inputs):
        return "no native code for complex numbers"
    of = ", ".join(sorted(map(str, dtypes)))
    return f"no native code for this op on {of}"
