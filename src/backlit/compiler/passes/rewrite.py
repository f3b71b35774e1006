"""What the passes share: a copy of a graph in which each equation may be kept, changed or replaced by an operand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from backlit.compiler.control import SCAN, WHILE
from backlit.compiler.ir import Atom, Eqn, Graph, Var


class Rule(Protocol):
    """What a pass does to one equation after the other, and then to the graph that they make."""

    def __call__(self, e: Eqn) -> Eqn | Atom:
        """The equation as it is to be, or what stands for its result; its inputs are replaced already."""

    def finish(self, made: Graph) -> None:
        """Changes the new graph where that takes more than one equation."""


def applied(graph: Graph, rule: Rule) -> Graph:
    """`graph` after a rule."""
    made = rewritten(graph, rule)
    rule.finish(made)
    return made


def rewritten(graph: Graph, change: Callable[[Eqn], Eqn | Atom]) -> Graph:
    """`graph` with `change` applied to each equation, whose inputs are replaced already; one with regions is kept."""
    made = Graph(list(graph.inputs), dict(graph.consts), [], [])
    became: dict[Var, Atom] = {}

    write, find = made.eqns.append, became.get
    for e in graph.eqns:  # of a deep program there are so many that a call for each operand takes seconds
        inputs = tuple([find(a, a) if a.__class__ is Var else a for a in e.inputs])
        if inputs != e.inputs:
            e = e.on(inputs)
        if e.regions:
            write(e)
            continue
        found = change(e)
        if found.__class__ is Eqn:
            write(found)
        else:
            became[e.out] = found  # type: ignore[assignment]
    made.outputs = [find(a, a) if isinstance(a, Var) else a for a in graph.outputs]
    return made


def within(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """`graph` with `change` applied to every region, innermost first; constants that it leaves there become operands."""
    if not any(e.regions for e in graph.eqns):
        return graph
    made = Graph(list(graph.inputs), dict(graph.consts), [], list(graph.outputs))
    for e in graph.eqns:
        if not e.regions:
            made.eqns.append(e)
            continue
        regions = [change(within(r, change)) for r in e.regions]
        lifted = {v: a for r in regions for v, a in r.consts.items()}
        made.consts.update(lifted)
        made.eqns.append(taking(e.on(e.inputs, tuple(regions)), {v: v for v in lifted}))
    return made


def taking(e: Eqn, more: dict[Var, Var]) -> Eqn:
    """`e` with the keys of `more` handed to its regions, which use variables of their own (the values) for them."""
    if not more:
        return e
    regions = []
    for r in e.regions:
        inner = {given: Var(given.aval) for given in more}
        renamed = {own: inner[given] for given, own in more.items()}
        r = substituted(r, renamed)
        at = 0 if e.op is SCAN or e.op is WHILE else len(r.inputs)
        regions.append(Graph([*r.inputs[:at], *inner.values(), *r.inputs[at:]], {}, r.eqns, r.outputs))
    params = {**e.params, "n_consts": e.params["n_consts"] + len(more)} if e.op is SCAN or e.op is WHILE else e.params
    inputs = (*more, *e.inputs) if e.op is SCAN or e.op is WHILE else (*e.inputs, *more)
    return Eqn(e.op, inputs, params, e.outs, tuple(regions))


def substituted(graph: Graph, became: dict[Var, Var]) -> Graph:
    """`graph` with variables replaced where they are read."""

    def now(a: Atom) -> Atom:
        return became.get(a, a) if isinstance(a, Var) else a

    eqns = [e.on(tuple(map(now, e.inputs))) for e in graph.eqns]
    return Graph(graph.inputs, graph.consts, eqns, list(map(now, graph.outputs)))
