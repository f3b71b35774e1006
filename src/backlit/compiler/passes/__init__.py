"""Passes: each takes a graph and gives a graph of the same values; all but `expand` keep their bits."""

from __future__ import annotations

from backlit.compiler.ir import Graph
from backlit.compiler.passes.algebra import algebra
from backlit.compiler.passes.cse import cse
from backlit.compiler.passes.dce import dce
from backlit.compiler.passes.expand import expand
from backlit.compiler.passes.fold import fold
from backlit.compiler.passes.transposes import transposes

__all__ = ["algebra", "cse", "dce", "expand", "fold", "simplify", "transposes"]


def simplify(graph: Graph) -> Graph:
    """All passes in turn until nothing changes; the outputs keep their bits."""
    while True:
        before = len(graph.eqns)
        graph = dce(cse(algebra(fold(graph))))
        if len(graph.eqns) == before:
            return graph
