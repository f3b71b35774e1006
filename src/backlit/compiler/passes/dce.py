"""Dead code: equations and constants that no output needs."""

from __future__ import annotations

from backlit.compiler.ir import Graph, Var


def dce(graph: Graph) -> Graph:
    """`graph` without what no output reads; inputs stay, for they are the signature."""
    needed = {a for a in graph.outputs if isinstance(a, Var)}
    kept = []
    for e in reversed(graph.eqns):
        if e.out in needed:
            kept.append(e)
            needed.update(a for a in e.inputs if isinstance(a, Var))
    consts = {v: array for v, array in graph.consts.items() if v in needed}
    return Graph(list(graph.inputs), consts, kept[::-1], list(graph.outputs))
