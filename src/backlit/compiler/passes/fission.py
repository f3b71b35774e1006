"""What a loop computes of its xs alone is computed for all steps at once, before it."""

from __future__ import annotations

import math

from backlit.autodiff.batch import BatchBox, BatchTrace
from backlit.compiler.control import SCAN
from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.llvm.values import CHEAP
from backlit.compiler.passes.rewrite import within
from backlit.compiler.trace import GraphTrace, VarBox
from backlit.compiler.views import MOVES
from backlit.core import staging
from backlit.core.op import bind
from backlit.core.tensor import Tensor

BYTES = 64 << 20  # of memory that what is computed ahead may take


def fission(graph: Graph) -> Graph:
    """`graph` with those parts of scans before them that do not wait for the carry and are worth it.

    They are batched over the steps: a function becomes one loop over all, products with one matrix become one product. What
    is cheap stays where it is used unless it comes before or after something that is not.
    """
    graph = within(graph, fission)
    if not any(e.op is SCAN for e in graph.eqns):
        return graph
    made = Graph(list(graph.inputs), dict(graph.consts), [], [])
    became: dict[Var, Atom] = {}

    def now(a: Atom) -> Atom:
        return became.get(a, a) if isinstance(a, Var) else a

    for e in graph.eqns:
        e = e.on(tuple(map(now, e.inputs)))
        made.eqns.append(_split(e, made, became) if e.op is SCAN and e.params["length"] > 1 else e)
    made.outputs = list(map(now, graph.outputs))
    return made


def _variables(e: Eqn) -> list[Var]:
    return [a for a in e.inputs if isinstance(a, Var)]


def _split(e: Eqn, made: Graph, became: dict[Var, Atom]) -> Eqn:
    (body,) = e.regions
    k, m, n = e.params["n_consts"], e.params["n_carry"], e.params["length"]
    moved = _chosen(body, k, m)
    own = {e.out for e in moved}
    kept = [its for its in body.eqns if its not in moved]
    wanted = {a for its in kept for a in its.inputs} | set(body.outputs)
    across = [its.out for its in moved if its.out in wanted]
    held = [*across, *(its.out for its in moved if its.op.name == "matmul" and its.out not in wanted)]
    if not moved or n * sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in held) > BYTES:
        return e
    stacked = dict(zip(across, _batched(moved, across, e, made), strict=True))
    whole = [j for j, a in enumerate(body.outputs) if j >= m and a in own]
    became.update((e.outs[j], stacked[body.outputs[j]]) for j in whole)  # type: ignore[index]
    read = {a for its in kept for a in its.inputs} | {a for j, a in enumerate(body.outputs) if j not in whole}
    more = [v for v in across if v in read]
    params = dict(e.params)
    outs = tuple(v for j, v in enumerate(e.outs) if j not in whole)
    outputs = [a for j, a in enumerate(body.outputs) if j not in whole]
    region = Graph([*body.inputs, *more], {}, kept, outputs)
    return Eqn(SCAN, (*e.inputs, *(stacked[v] for v in more)), params, outs, (region,))


def _chosen(body: Graph, k: int, m: int) -> list[Eqn]:
    """The equations to move, in order."""
    waiting, given = set(body.inputs[k : k + m]), set(body.inputs[k + m :])
    free: list[Eqn] = []
    costly: set[Var] = set()  # results with something costly before them
    for e in body.eqns:
        variables = _variables(e)
        if e.regions or any(a in waiting for a in variables):
            waiting.update(e.outs)
        elif any(a in given for a in variables):
            free.append(e)
            given.update(e.outs)
            if not is_cheap(e) or any(a in costly for a in variables):
                costly.update(e.outs)
    needed = {a for a in body.outputs[m:] if isinstance(a, Var)}
    chosen: list[Eqn] = []
    for e in reversed(free):  # and what these are made of
        if e.out in costly or e.out in needed:
            needed.update(_variables(e))
            chosen.append(e)
    while True:  # a result that is only spread out is spread out inside
        read = {a for e in chosen for a in e.inputs}
        rest = [e for e in chosen if e.out in read or not _spreads(e)]
        if len(rest) == len(chosen):
            return chosen[::-1]
        chosen = rest


def is_cheap(e: Eqn) -> bool:
    """Whether an equation costs about as much as reading its operands."""
    return e.op.name in CHEAP or e.op.name in MOVES or e.op.name in ("concat", "detach")


def _spreads(e: Eqn) -> bool:
    return e.op.name in ("broadcast_to", "reshape", "permute_dims")


def _batched(moved: list[Eqn], results: list[Var], e: Eqn, made: Graph) -> list[Var]:
    """Equations of the body for all steps at once, written to the graph around the loop."""
    (body,) = e.regions
    k, m = e.params["n_consts"], e.params["n_carry"]
    with GraphTrace("fission") as trace, staging.staging(trace), BatchTrace("fission", e.params["length"]) as steps:
        values: dict[Atom, Tensor] = {}
        for i, (v, a) in enumerate(zip(body.inputs, e.inputs, strict=True)):
            x = Tensor(VarBox(trace, a))  # type: ignore[arg-type]
            values[v] = Tensor(BatchBox(steps, x)) if i >= k + m else x
        for its in moved:
            given = tuple(a.value if isinstance(a, Literal) else values[a] for a in its.inputs)
            values[its.out] = bind(its.op, given, its.params)
        found = [trace.atom(steps.lower(values[v])) for v in results]
    made.consts.update(trace.graph.consts)
    made.eqns += trace.graph.eqns
    return found  # type: ignore[return-value]
