"""What one loop has computed at each step and a later one computes again is kept by the first."""

from __future__ import annotations

import math
from typing import Any

from backlit.compiler.control import SCAN
from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.passes.fission import BYTES, is_cheap
from backlit.compiler.passes.rewrite import within


def reuse(graph: Graph) -> Graph:
    """`graph` with costly values, which a scan computes from what an earlier one went through, stacked by that one.

    So a reverse pass, which goes over the kept carries, finds the products and functions of the forward ready. What is cheap
    is computed again.
    """
    if not any(e.regions for e in graph.eqns):
        return graph
    graph = within(graph, reuse)
    if sum(e.op is SCAN for e in graph.eqns) < 2:
        return graph
    made = Graph(list(graph.inputs), dict(graph.consts), [], list(graph.outputs))
    stacked: dict[Atom, int] = {}  # where the scan is that gives a stacked result
    for e in graph.eqns:
        for number in dict.fromkeys(stacked[a] for a in e.inputs if a in stacked) if e.op is SCAN else ():
            earlier = made.eqns[number]
            if earlier.params["length"] == e.params["length"]:
                made.eqns[number], e = _shared(earlier, e)
                stacked.update(dict.fromkeys(made.eqns[number].outs[earlier.params["n_carry"] :], number))
        if e.op is SCAN:
            stacked.update(dict.fromkeys(e.outs[e.params["n_carry"] :], len(made.eqns)))
        made.eqns.append(e)
    return made


def _key(e: Eqn, same: dict[Atom, Var]) -> Any:
    """What an equation computes, in variables of the earlier loop; None where it reads another."""
    inputs: list[Any] = []
    for a in e.inputs:
        if isinstance(a, Literal):
            inputs.append((type(a.value), repr(a.value)))
        elif a in same:
            inputs.append(id(same[a]))
        else:
            return None
    return e.op.name, tuple(inputs), repr(e.params)


def _same(earlier: Eqn, e: Eqn) -> dict[Atom, Var]:
    """The variables of the body of `e` that are, at each step, variables of the body of `earlier`."""
    (first,), (body,) = earlier.regions, e.regions
    k, m = earlier.params["n_consts"], earlier.params["n_carry"]
    consts = dict(zip(earlier.inputs[:k], first.inputs[:k], strict=True))
    shares: dict[Atom, Any] = dict(zip(earlier.inputs[k + m :], first.inputs[k + m :], strict=True))
    shares.update(zip(earlier.outs[m:], first.outputs[m:], strict=True))
    same: dict[Atom, Var] = {}
    k, m = e.params["n_consts"], e.params["n_carry"]
    for i, (a, v) in enumerate(zip(e.inputs, body.inputs, strict=True)):
        known = consts if i < k else shares if i >= k + m else {}
        if a in known:
            same[v] = known[a]
    every: dict[Atom, Var] = {v: v for v in first.variables()}
    by_key = {_key(its, every): its.out for its in first.eqns if not its.regions}
    for its in body.eqns:
        if not its.regions and (found := by_key.get(_key(its, same))) is not None:
            same[its.out] = found
    return same


def _shared(earlier: Eqn, e: Eqn) -> tuple[Eqn, Eqn]:
    """Both loops, the second with what it needs of the first handed over."""
    (first,), (body,) = earlier.regions, e.regions
    same, n = _same(earlier, e), e.params["length"]
    costly: set[Atom] = set()
    for its in body.eqns:
        if not its.regions and (not is_cheap(its) or any(a in costly for a in its.inputs)):
            costly.add(its.out)
    mapped = {its.out for its in body.eqns if not its.regions and its.out in same}
    read = [a for its in body.eqns if its.regions or its.out not in mapped for a in its.inputs]
    wanted = [v for v in dict.fromkeys([*read, *body.outputs]) if v in mapped and v in costly]
    if not wanted or n * sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in wanted) > BYTES:
        return earlier, e
    m = earlier.params["n_carry"]
    places: dict[Atom, Var] = dict(zip(first.outputs[m:], earlier.outs[m:], strict=True))
    outs, outputs = list(earlier.outs), list(first.outputs)
    for v in wanted:
        source = same[v]
        if source not in places:
            outs.append(places.setdefault(source, Var(_stack(source, n))))
            outputs.append(source)
    before = Eqn(SCAN, earlier.inputs, earlier.params, tuple(outs), (Graph(first.inputs, {}, first.eqns, outputs),))
    eqns = [its for its in body.eqns if its.regions or its.out not in wanted]
    region = Graph([*body.inputs, *wanted], {}, eqns, body.outputs)
    return before, Eqn(SCAN, (*e.inputs, *(places[same[v]] for v in wanted)), e.params, e.outs, (region,))


def _stack(v: Var, n: int) -> Any:
    return v.aval._replace(shape=(n, *v.aval.shape))
