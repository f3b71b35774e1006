"""Dead code: equations and constants that no output needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.compiler.control import SCAN, SWITCH, WHILE
from backlit.compiler.ir import Eqn, Graph, Var


def dce(graph: Graph) -> Graph:
    """`graph` without what no output reads; inputs stay, for they are the signature.

    Loops and branches lose results that nobody reads, carries that serve these only, and operands not read any more.
    """
    needed = {a for a in graph.outputs if isinstance(a, Var)}
    kept = []
    for e in reversed(graph.eqns):
        if any(v in needed for v in e.outs):
            if e.regions:
                e = _needed(e, [v in needed for v in e.outs])
            kept.append(e)
            needed.update(a for a in e.inputs if isinstance(a, Var))
    consts = {v: array for v, array in graph.consts.items() if v in needed}
    return Graph(list(graph.inputs), consts, kept[::-1], list(graph.outputs))


def _needed(e: Eqn, wanted: list[bool]) -> Eqn:
    """An equation of control flow with the wanted results only."""
    if e.op is SCAN:
        return _scan(e, wanted)
    if e.op is WHILE:
        return _while(e, wanted)
    outs = _chosen(e.outs, wanted)
    regions = [dce(Graph(r.inputs, {}, r.eqns, _chosen(r.outputs, wanted))) for r in e.regions]
    first = int(e.op is SWITCH)  # the index
    read = [any(flags) for flags in zip(*map(_read, regions), strict=True)]
    inputs = (*e.inputs[:first], *_chosen(e.inputs[first:], read))
    return Eqn(e.op, inputs, e.params, outs, tuple(_taking(r, read) for r in regions))


def _scan(e: Eqn, wanted: list[bool]) -> Eqn:
    k, m = e.params["n_consts"], e.params["n_carry"]
    (body,) = e.regions
    flags = list(wanted)
    while True:  # a carry is needed when a wanted result, or another carry that is needed, reads it
        body_now = dce(Graph(body.inputs, {}, body.eqns, _chosen(body.outputs, flags)))
        read = _read(body_now)
        grown = [a or b for a, b in zip(flags[:m], read[k : k + m], strict=True)]
        if grown == flags[:m]:
            break
        flags[:m] = grown
    carry = flags[:m]
    read[k : k + m] = carry
    params = {**e.params, "n_consts": sum(read[:k]), "n_carry": sum(carry)}
    return Eqn(e.op, _chosen(e.inputs, read), params, _chosen(e.outs, flags), (_taking(body_now, read),))


def _while(e: Eqn, wanted: list[bool]) -> Eqn:
    k = e.params["n_consts"]
    condition, body = (dce(r) for r in e.regions)
    flags = list(wanted)
    while True:
        body_now = dce(Graph(body.inputs, {}, body.eqns, _chosen(body.outputs, flags)))
        read = [a or b for a, b in zip(_read(condition), _read(body_now), strict=True)]
        grown = [a or b for a, b in zip(flags, read[k:], strict=True)]
        if grown == flags:
            break
        flags = grown
    read[k:] = flags
    params = {**e.params, "n_consts": sum(read[:k])}
    regions = (_taking(condition, read), _taking(body_now, read))
    return Eqn(e.op, _chosen(e.inputs, read), params, _chosen(e.outs, flags), regions)


def _read(region: Graph) -> list[bool]:
    """The inputs that a region without dead code reads."""
    used = {a for e in region.eqns for a in e.inputs} | set(region.outputs)
    return [v in used for v in region.inputs]


def _taking(region: Graph, flags: Sequence[bool]) -> Graph:
    return Graph(list(_chosen(region.inputs, flags)), {}, region.eqns, region.outputs)


def _chosen(items: Sequence[Any], flags: Sequence[bool]) -> Any:
    found = [x for x, flag in zip(items, flags, strict=True) if flag]
    return tuple(found) if isinstance(items, tuple) else found
