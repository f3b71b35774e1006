"""The table of trees of contributions: some levels of some targets, and every row that somebody opened."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backlit.diagnose.recording import Node, Recording
from backlit.diagnose.tree import ContributionTree, Row
from backlit.inspector.asked import Opened
from backlit.inspector.columns import Columns

TARGETS, ROWS, DEPTH = 2, 24, 3  # of a file for which no depth is asked
MOST_ROWS = 2_000  # of each target, where it is
REST, BEGINNING = -1, -2  # in the place of an edge: the remaining rows, what a backward pass began with

Edges = Mapping[tuple[int, int], int]  # the row of an edge, by the index of the node it leads to and the argument


def trees(
    recording: Recording, edges: Edges, targets: Sequence[Node], depth: int | None = None, followed: Iterable[Node] = (),
    opened: Iterable[Opened] = (),
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The table `tree`: of the first targets and those `followed`, to a depth, the largest shares first; of `opened` rows all parts.

    `more` is set in rows that have parts which the table does not have. `treeroot` has for each target how many parts there are at
    the top.
    """
    chosen = dict.fromkeys([*targets[:TARGETS], *followed])
    wanted: dict[Node, list[tuple[int, ...]]] = {node: [] for node in chosen}
    last = len(recording.steps) - 1
    for name, way in opened:
        node = next((n for n in recording.nodes if n.name == name and n.step == last), None)
        if node is not None and node.cotangent is not None:
            wanted.setdefault(node, []).append(way)
    table = Columns(target="i4", parent="i4", node="i4", edge="i4", share="f8", rest="u1", more="u1")
    for target, ways in wanted.items():
        tree = _Tree(recording, edges, target)
        if target in chosen:
            tree.grow(DEPTH if depth is None else depth, ROWS if depth is None else MOST_ROWS)
        for way in ways:
            tree.open(way)
        tree.write(table)
    root = Columns(target="i4", parts="i4")
    for target in dict.fromkeys([*targets, *wanted]):
        tree_of = ContributionTree(recording, target)
        root.add(target.index, tree_of.parts(tree_of.root))
    return {"tree": table.columns(), "treeroot": root.columns()}


class _Tree:
    """A tree under construction: rows by their ways, which are the edges at which they part."""

    def __init__(self, recording: Recording, edges: Edges, target: Node) -> None:
        self.edges, self.target = edges, target
        self.tree = ContributionTree(recording, target)
        self.rows: dict[tuple[int, ...], Row] = {(): self.tree.root}
        self.children: dict[tuple[int, ...], list[tuple[int, ...]]] = {}

    def open(self, way: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Opens a row that is there; gives the ways of its parts."""
        if way in self.children or way not in self.rows:
            return self.children.get(way, [])
        found = []
        for row in self.tree.open(self.rows[way]):
            edge = REST if row.others else BEGINNING
            if not row.rest:
                last = row.way[-1]
                edge = self.edges[last.child.index, last.argnum]
            at = (*way, edge)
            self.rows[at] = row
            found.append(at)
        self.children[way] = found
        return found

    def grow(self, depth: int, most: int) -> None:
        """Opens rows to a depth, the largest share first, until there are so many."""
        waiting: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        while waiting and len(self.rows) <= most:
            _, way = heapq.heappop(waiting)
            for at in self.open(way):
                if len(at) < depth and not self.rows[at].rest:
                    heapq.heappush(waiting, (-abs(self.rows[at].share), at))

    def write(self, table: Columns) -> None:
        """The rows, each after the one that it is a part of."""
        waiting: list[tuple[tuple[int, ...], int]] = [(at, -1) for at in self.children.get((), [])]
        for way, parent in waiting:
            row = self.rows[way]
            node = -1 if row.node is None or row.rest else row.node.index
            more = way not in self.children and self.tree.parts(row) > 0
            at = table.add(self.target.index, parent, node, max(way[-1], -1), row.share, row.rest, more)
            waiting += [(child, at) for child in self.children.get(way, [])]
