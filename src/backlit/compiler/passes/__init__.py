"""Passes: each takes a graph and gives a graph of the same values; all but `expand`, `behind`, `fission` and `layouts`
keep their bits."""

from __future__ import annotations

from backlit.compiler.ir import Graph
from backlit.compiler.passes.algebra import algebra
from backlit.compiler.passes.behind import behind
from backlit.compiler.passes.bounds import bounds
from backlit.compiler.passes.cse import cse
from backlit.compiler.passes.dce import dce
from backlit.compiler.passes.expand import expand
from backlit.compiler.passes.fission import fission
from backlit.compiler.passes.fold import fold
from backlit.compiler.passes.layouts import layouts
from backlit.compiler.passes.local import local
from backlit.compiler.passes.loops import hoist
from backlit.compiler.passes.reuse import reuse
from backlit.compiler.passes.rewrite import within
from backlit.compiler.passes.sink import sink
from backlit.compiler.passes.transposes import transposes

__all__ = [
    "algebra",
    "behind",
    "bounds",
    "cse",
    "dce",
    "expand",
    "fission",
    "fold",
    "hoist",
    "layouts",
    "local",
    "loops_apart",
    "reuse",
    "simplify",
    "sink",
    "transposes",
]


def simplify(graph: Graph) -> Graph:
    """All passes in turn until nothing changes; the outputs keep their bits."""
    while True:
        before = _size(graph)
        graph = dce(local(hoist(within(graph, local))))
        if not any(e.regions for e in graph.eqns) or _size(graph) == before:
            return graph


def loops_apart(graph: Graph) -> Graph:
    """Loops with what needs no loop around them; sums are added in another order."""
    return fission(behind(reuse(graph)))


def _size(graph: Graph) -> tuple[int, int]:
    """Equations and their operands, in regions too."""
    inner = [_size(r) for e in graph.eqns for r in e.regions]
    return (
        len(graph.eqns) + sum(n for n, _ in inner),
        sum(len(e.inputs) for e in graph.eqns) + sum(n for _, n in inner),
    )
