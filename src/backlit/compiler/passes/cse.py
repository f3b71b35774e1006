"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from typing import Any

from backlit.compiler.ir import Array, Atom, Eqn, Graph, Literal, Var
from backlit.compiler.passes.rewrite import applied

_SMALL_BYTES = 4096  # larger constants are compared by identity only


def cse(graph: Graph) -> Graph:
    """`graph` with one equation for each distinct op on the same inputs, and one constant for equal small ones."""
    return applied(graph, Sharing(graph))


class Sharing:
    """The rule of `cse`."""

    def __init__(self, graph: Graph) -> None:
        self._seen: dict[Any, Var] = {}
        self._same: dict[Var, Var] = {}  # of constants
        for v, array in graph.consts.items():
            self.constant(v, array)

    def constant(self, v: Var, array: Array) -> Var:
        """The variable that stands for a constant: the first of its contents."""
        key = (v.aval, array.tobytes()) if array.nbytes <= _SMALL_BYTES else id(array)
        self._same[v] = self._seen.setdefault(key, v)
        return self._same[v]

    def __call__(self, e: Eqn) -> Eqn | Atom:
        inputs = tuple([self._same.get(a, a) if a.__class__ is Var else a for a in e.inputs])
        named = tuple([(type(a.value), repr(a.value)) if a.__class__ is Literal else id(a) for a in inputs])
        key = (e.op.name, named, repr(e.params) if e.params else "")
        found = self._seen.setdefault(key, e.out)
        if found is not e.out:
            return found
        return e if inputs == e.inputs else e.on(inputs)

    def finish(self, made: Graph) -> None:
        """Loops and outputs take the constants that stand for others, which go."""

        def operand(a: Atom) -> Atom:
            return self._same.get(a, a) if isinstance(a, Var) else a

        made.eqns = [e.on(tuple(map(operand, e.inputs))) if e.regions else e for e in made.eqns]
        made.outputs = list(map(operand, made.outputs))
        made.consts = {v: array for v, array in made.consts.items() if self._same[v] is v}
