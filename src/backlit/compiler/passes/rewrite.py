"""What the passes share: a copy of a graph in which each equation may be kept, changed or replaced by an operand."""

from __future__ import annotations

from collections.abc import Callable

from backlit.compiler.ir import Atom, Eqn, Graph, Var


def rewritten(graph: Graph, change: Callable[[Eqn], Eqn | Atom]) -> Graph:
    """`graph` with `change` applied to each equation, whose inputs are replaced already."""
    made = Graph(list(graph.inputs), dict(graph.consts), [], [])
    became: dict[Var, Atom] = {}

    def now(a: Atom) -> Atom:
        return became.get(a, a) if isinstance(a, Var) else a

    for e in graph.eqns:
        inputs = tuple(map(now, e.inputs))
        found = change(e if inputs == e.inputs else Eqn(e.op, inputs, e.params, e.out))
        if isinstance(found, Eqn):
            made.eqns.append(found)
        else:
            became[e.out] = found
    made.outputs = list(map(now, graph.outputs))
    return made
