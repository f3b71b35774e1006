"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from typing import Any

from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.passes.rewrite import rewritten

_SMALL_BYTES = 4096  # larger constants are compared by identity only


def cse(graph: Graph) -> Graph:
    """`graph` with one equation for each distinct op on the same inputs, and one constant for equal small ones."""
    seen: dict[Any, Var] = {}
    same: dict[Var, Var] = {}
    for v, array in graph.consts.items():
        key = (v.aval, array.tobytes()) if array.nbytes <= _SMALL_BYTES else id(array)
        same[v] = seen.setdefault(key, v)

    def operand(a: Atom) -> Atom:
        return same.get(a, a) if isinstance(a, Var) else a

    def once(e: Eqn) -> Eqn | Atom:
        inputs = tuple(map(operand, e.inputs))
        named = tuple((type(a.value), repr(a.value)) if isinstance(a, Literal) else id(a) for a in inputs)
        key = (e.op.name, named, repr(e.params))
        if key in seen:
            return seen[key]
        seen[key] = e.out
        return e.on(inputs)

    made = rewritten(graph, once)
    made.eqns = [e.on(tuple(map(operand, e.inputs))) if e.regions else e for e in made.eqns]
    made.outputs = list(map(operand, made.outputs))
    made.consts = {v: array for v, array in made.consts.items() if same[v] is v}
    return made
