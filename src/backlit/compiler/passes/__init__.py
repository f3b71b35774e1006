"""Passes: each takes a graph and gives a graph that computes the same bits."""

from __future__ import annotations

from backlit.compiler.ir import Graph
from backlit.compiler.passes.algebra import algebra
from backlit.compiler.passes.cse import cse
from backlit.compiler.passes.dce import dce
from backlit.compiler.passes.fold import fold

__all__ = ["algebra", "cse", "dce", "fold", "simplify"]


def simplify(graph: Graph) -> Graph:
    """All passes in turn until nothing changes; the outputs keep their bits."""
    while True:
        before = len(graph.eqns)
        graph = dce(cse(algebra(fold(graph))))
        if len(graph.eqns) == before:
            return graph
