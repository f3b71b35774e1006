"""Loops and their surroundings: what is the same at each step moves out, what is handed over twice is handed over once."""

from __future__ import annotations

from backlit.compiler.control import CUSTOM, SCAN, SWITCH
from backlit.compiler.ir import Atom, Eqn, Graph, Var
from backlit.compiler.passes.rewrite import substituted, taking


def hoist(graph: Graph) -> Graph:
    """`graph` with equations of loops computed outside where they depend on nothing that changes from step to step.

    A carry that stays what it was is handed to every step instead, an operand given twice is given once, and functions with
    rules of their own are written out.
    """
    if not any(e.regions for e in graph.eqns):
        return graph
    made = Graph(list(graph.inputs), dict(graph.consts), [], [])
    became: dict[Var, Atom] = {}

    def now(a: Atom) -> Atom:
        return became.get(a, a) if isinstance(a, Var) else a

    for e in graph.eqns:
        e = e.on(tuple(map(now, e.inputs)))
        if not e.regions:
            made.eqns.append(e)
            continue
        if e.op is CUSTOM:
            became.update(_written_out(e, made))
            continue
        e = e.on(e.inputs, tuple(map(hoist, e.regions)))
        if e.op is not SWITCH:
            e = _without_constant_carries(e, became)
            e = _hoisted(e, made)
        e = _once(e)
        if e.op is SCAN:
            e = _stacked_once(e, became)
        made.eqns.append(e)
    made.outputs = list(map(now, graph.outputs))
    return made


def _written_out(e: Eqn, made: Graph) -> dict[Var, Atom]:
    """The equations of a region on its operands, in the graph around it."""
    (region,) = e.regions
    inner: dict[Var, Atom] = dict(zip(region.inputs, e.inputs, strict=True))
    for its in region.eqns:
        outs = tuple(Var(v.aval) for v in its.outs)
        inputs = tuple(inner.get(a, a) if isinstance(a, Var) else a for a in its.inputs)
        copied = Eqn(its.op, inputs, its.params, outs, its.regions)
        if copied.op is CUSTOM:
            inner.update(zip(its.outs, [_written_out(copied, made)[v] for v in outs], strict=True))
            continue
        made.eqns.append(copied)
        inner.update(zip(its.outs, outs, strict=True))
    return {v: inner[a] for v, a in zip(e.outs, region.outputs, strict=True)}  # type: ignore[index]


def _without_constant_carries(e: Eqn, became: dict[Var, Atom]) -> Eqn:
    k, body = e.params["n_consts"], e.regions[-1]
    m = e.params["n_carry"] if e.op is SCAN else len(e.inputs) - k
    same = [body.outputs[j] is body.inputs[k + j] for j in range(m)]
    if not any(same):
        return e
    became.update((e.outs[j], e.inputs[k + j]) for j in range(m) if same[j])
    order = [*range(k), *(k + j for j in range(m) if same[j]), *(k + j for j in range(m) if not same[j])]
    order += range(k + m, len(e.inputs))
    kept = [j for j in range(len(e.outs)) if j >= m or not same[j]]

    def ordered(r: Graph, outputs: list[Atom]) -> Graph:
        return Graph([r.inputs[i] for i in order], {}, r.eqns, outputs)

    regions = [ordered(r, r.outputs) for r in e.regions[:-1]]
    regions.append(ordered(body, [body.outputs[j] for j in kept]))
    params = {**e.params, "n_consts": k + sum(same)}
    if e.op is SCAN:
        params["n_carry"] = m - sum(same)
    return Eqn(e.op, tuple(e.inputs[i] for i in order), params, tuple(e.outs[j] for j in kept), tuple(regions))


def _hoisted(e: Eqn, made: Graph) -> Eqn:
    """`e`, after writing what does not change from step to step to the graph around it."""
    k = e.params["n_consts"]
    more: dict[Var, Var] = {}
    regions = []
    for r in e.regions:
        outside: dict[Var, Atom] = dict(zip(r.inputs[:k], e.inputs[:k], strict=True))
        kept = []
        for its in r.eqns:
            variables = [a for a in its.inputs if isinstance(a, Var)]
            if not variables or not all(a in outside for a in variables):
                kept.append(its)
                continue
            outs = tuple(Var(v.aval) for v in its.outs)
            inputs = tuple(outside[a] if isinstance(a, Var) else a for a in its.inputs)
            made.eqns.append(Eqn(its.op, inputs, its.params, outs, its.regions))
            outside.update(zip(its.outs, outs, strict=True))
        read = {a for its in kept for a in its.inputs} | set(r.outputs)
        more |= {outside[v]: v for its in r.eqns if its not in kept for v in its.outs if v in read}  # type: ignore[misc]
        regions.append(Graph(r.inputs, {}, kept, r.outputs))
    return taking(e.on(e.inputs, tuple(regions)), more)


def _stacked_once(e: Eqn, became: dict[Var, Atom]) -> Eqn:
    """`e` with what is stacked stacked once, and not at all where it is an x."""
    (body,) = e.regions
    k, m = e.params["n_consts"], e.params["n_carry"]
    known: dict[Atom, Atom] = dict(zip(body.inputs[k + m :], e.inputs[k + m :], strict=True))
    kept = list(range(m))
    for j in range(m, len(e.outs)):
        if body.outputs[j] in known:
            became[e.outs[j]] = known[body.outputs[j]]
        else:
            known[body.outputs[j]] = e.outs[j]
            kept.append(j)
    if len(kept) == len(e.outs):
        return e
    region = Graph(body.inputs, {}, body.eqns, [body.outputs[j] for j in kept])
    return Eqn(e.op, e.inputs, e.params, tuple(e.outs[j] for j in kept), (region,))


def _once(e: Eqn) -> Eqn:
    """`e` with each operand handed over once, where the steps get the same of it."""
    first = int(e.op is SWITCH)
    k = e.params["n_consts"] if not first else len(e.inputs)
    start = k + (e.params["n_carry"] if e.op is SCAN else len(e.inputs))
    seen: dict[tuple[Atom, bool], int] = {}
    repeated: dict[int, int] = {}
    for i, a in enumerate(e.inputs):
        if i < first or k <= i < start:  # the index, carries
            continue
        if seen.setdefault((a, i >= start), i) != i:
            repeated[i] = seen[a, i >= start]
    if not repeated:
        return e
    regions = []
    for r in e.regions:
        r = substituted(r, {r.inputs[i - first]: r.inputs[j - first] for i, j in repeated.items()})
        regions.append(Graph([v for i, v in enumerate(r.inputs) if i + first not in repeated], {}, r.eqns, r.outputs))
    params = dict(e.params)
    if not first:
        params["n_consts"] = k - sum(i < k for i in repeated)
    inputs = tuple(a for i, a in enumerate(e.inputs) if i not in repeated)
    return Eqn(e.op, inputs, params, e.outs, tuple(regions))
