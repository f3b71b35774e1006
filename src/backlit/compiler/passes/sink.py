"""What some branches alone read is computed by these: not at all where another one is taken, nor an error of it raised."""

from __future__ import annotations

from backlit.compiler.control import SWITCH
from backlit.compiler.ir import Atom, Eqn, Graph, Var
from backlit.compiler.passes.rewrite import substituted
from backlit.compiler.picks import is_gather
from backlit.compiler.schedule import is_alias, is_elementwise, is_product, is_reduction
from backlit.compiler.views import is_move


def sink(graph: Graph) -> Graph:
    """`graph` with equations moved into branches where nobody else reads them, and not every branch does.

    Only what has native code moves: a branch with an op that runs by its forward would do so altogether.
    """
    if not any(e.regions for e in graph.eqns):
        return graph
    eqns: list[Eqn | None] = [e.on(e.inputs, tuple(map(sink, e.regions))) if e.regions else e for e in graph.eqns]
    made_by = {v: k for k, e in enumerate(graph.eqns) for v in e.outs}
    readers: dict[Atom, set[int]] = {}
    for k, e in enumerate(graph.eqns):
        for a in e.inputs:
            readers.setdefault(a, set()).add(k)
    for a in graph.outputs:
        readers.setdefault(a, set()).add(-1)
    for k, branching in enumerate(eqns):
        if branching is None or branching.op is not SWITCH:
            continue
        e = branching
        pending = [a for a in e.inputs[1:] if isinstance(a, Var)]
        while pending:
            v = pending.pop()
            number = made_by.get(v)
            made = None if number is None else eqns[number]
            if number is None or made is None or readers[v] != {k} or not _may_move(made):
                continue
            moved = _moved(e, made)
            if moved is None:
                continue
            eqns[k], eqns[number], e = moved, None, moved
            for a in made.inputs:
                if isinstance(a, Var):
                    readers[a] = (readers[a] - {number}) | {k}
                    pending.append(a)
    return Graph(graph.inputs, graph.consts, [e for e in eqns if e is not None], graph.outputs)


def _may_move(e: Eqn) -> bool:
    if e.regions:
        return False
    return is_move(e) or is_alias(e) or is_gather(e) or is_elementwise(e) or is_reduction(e) or is_product(e)


def _moved(e: Eqn, made: Eqn) -> Eqn | None:
    """The switch `e` with `made` in the branches that read it; None where all do, or its number is read too."""
    if made.out is e.inputs[0]:
        return None
    places = [p for p, a in enumerate(e.inputs) if a is made.out]
    reading = []
    for r in e.regions:
        its = {r.inputs[p - 1] for p in places}
        reading.append(any(a in its for x in r.eqns for a in x.inputs) or any(a in its for a in r.outputs))
    if all(reading):
        return None
    operands = list(dict.fromkeys(a for a in made.inputs if isinstance(a, Var)))
    regions = []
    for r, reads in zip(e.regions, reading, strict=True):
        inner: dict[Atom, Atom] = {a: Var(a.aval) for a in operands}
        kept = [v for p, v in enumerate(r.inputs, 1) if p not in places]
        inputs = [*kept, *(inner[a] for a in operands)]
        eqns = r.eqns
        if reads:
            copied = Eqn(made.op, tuple(inner.get(a, a) if isinstance(a, Var) else a for a in made.inputs), made.params,
                         Var(made.out.aval))  # fmt: skip
            r = substituted(r, {r.inputs[p - 1]: copied.out for p in places})
            eqns = [copied, *r.eqns]
        regions.append(Graph(inputs, r.consts, eqns, r.outputs))  # type: ignore[arg-type]
    inputs_now = tuple(a for p, a in enumerate(e.inputs) if p not in places)
    return Eqn(e.op, (*inputs_now, *operands), e.params, e.outs, tuple(regions))
