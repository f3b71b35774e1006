"""The flow of a gradient from the loss to one value, drawn through modules: boxes in rows, links, and cut sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

MAX_BOXES = 24  # no module is opened where the picture would have more boxes
FEW_BOXES = 8  # with fewer the largest module is opened, with more only one that holds half of all there is
WORTH = 4  # nodes in a module from which on it has a picture of its own
MAX_VIEWS = 64  # pictures for one target
ABOVE, BELOW = -2, -3  # what lies outside the opened module: towards the loss, towards the target


@dataclass(frozen=True)
class Flow:
    """A gradient's shares on the graph of a recording.

    `edges` are triples (giver, taker, share), in any order; every giver has a higher index than its taker. `module` is
    the row of the call in which each node was made, `parent` that of the call around each (-1 for none).
    """

    root: int
    target: int
    edges: Sequence[tuple[int, int, float]]
    module: Sequence[int]
    parent: Sequence[int]

    @cached_property
    def nodes(self) -> list[int]:
        """The nodes on the way, from the loss on."""
        return sorted({n for giver, taker, _ in self.edges for n in (giver, taker)}, reverse=True)

    @cached_property
    def givers(self) -> dict[int, list[int]]:
        """From where each node got its shares."""
        found: dict[int, list[int]] = {}
        for giver, taker, _ in self.edges:
            found.setdefault(taker, []).append(giver)
        return found


@dataclass
class Box:
    """A module, or a node of its own; `module` is -1 for nodes, and ABOVE or BELOW for what lies outside."""

    module: int
    node: int
    row: int = 0
    share: float = 0
    turn: int = 0  # a module that the flow enters again has another box
    inner: int = 0  # how many nodes it stands for


@dataclass
class View:
    """A picture: `links` are (from, to, share, number of edges), `cuts` the sum of the shares that cross below each row."""

    boxes: list[Box] = field(default_factory=list)
    links: list[tuple[int, int, float, int]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)


def views(flow: Flow) -> dict[int, View]:
    """The picture of the whole (module 0) and one for every module that can be opened further, at most `MAX_VIEWS`."""
    found: dict[int, View] = {}
    waiting = [0]
    while waiting and len(found) < MAX_VIEWS:
        within = waiting.pop(0)
        if within in found:
            continue
        drawn = view(flow, within)
        if within and len(drawn.boxes) < 4:
            continue  # opening it would show nothing new
        found[within] = drawn
        waiting.extend(box.module for box in drawn.boxes if box.module >= 0 and box.inner >= WORTH)
    return found


def view(flow: Flow, within: int) -> View:
    """The picture with module `within` opened, and in it the largest modules while there is little to see otherwise."""
    nodes = flow.nodes
    of_module = {m: _chain(flow, m, within) for m in {flow.module[n] for n in nodes}}
    chains = {n: of_module[flow.module[n]] for n in nodes}
    outside = _outside(flow, nodes, chains)
    opened: set[int] = {within}
    drawn = _drawn(flow, nodes, chains, outside, opened)
    while True:
        groups = [box for box in drawn.boxes if box.module >= 0 and box.inner > 1]
        largest = max(groups, key=lambda box: box.inner, default=None)
        if largest is None or (len(drawn.boxes) >= FEW_BOXES and 2 * largest.inner < len(nodes) - len(outside)):
            return drawn
        wider = _drawn(flow, nodes, chains, outside, opened | {largest.module})
        if len(wider.boxes) > MAX_BOXES:
            return drawn
        opened.add(largest.module)
        drawn = wider


def _chain(flow: Flow, module: int, within: int) -> list[int] | None:
    """A module and those around it up to `within`, outermost first; None for one outside of it."""
    chain: list[int] = []
    while module >= 0:
        if module == within:
            return chain[::-1]
        chain.append(module)
        module = flow.parent[module]
    return None


def _outside(flow: Flow, nodes: Iterable[int], chains: dict[int, list[int] | None]) -> dict[int, int]:
    """Whether each node outside the opened module comes before or after it on the way from the loss."""
    behind: set[int] = set()
    found = {}
    for node in nodes:
        after = any(giver in behind for giver in flow.givers.get(node, ()))
        if after or chains[node] is not None:
            behind.add(node)
        if chains[node] is None:
            found[node] = BELOW if after else ABOVE
    return found


def _drawn(
    flow: Flow, nodes: Sequence[int], chains: dict[int, list[int] | None], outside: dict[int, int], opened: set[int]
) -> View:
    """Nodes gathered in boxes, from the loss on; a box never comes before itself, so that rows can be given."""
    boxes: list[Box] = []
    box_of: dict[int, int] = {}
    latest: dict[int, int] = {}  # the box of a group that still takes nodes
    before: list[int] = []  # for each box a bit set of the boxes from which the flow reaches it
    for node in nodes:
        group = outside.get(node)
        if group is None:
            group = next((m for m in chains[node] or () if m not in opened), None)
        if node in (flow.root, flow.target):
            group = None
        from_boxes = {box_of[g] for g in flow.givers.get(node, ())}
        reach = 0
        for b in from_boxes:
            reach |= before[b] | 1 << b
        at = latest.get(group) if group is not None else None
        again = 0
        if at is not None and any(before[b] >> at & 1 for b in from_boxes if b != at):
            again, at = boxes[at].turn + 1, None
        if at is None:
            at = len(boxes)
            boxes.append(Box(-1 if group is None else group, node if group is None else -1, turn=again))
            before.append(0)
            if group is not None:
                latest[group] = at
        box_of[node] = at
        boxes[at].inner += 1
        grown = (before[at] | reach) & ~(1 << at)
        if grown != before[at]:
            before[at] = grown
            for other in range(len(boxes)):
                if before[other] >> at & 1:
                    before[other] |= grown
    return _linked(flow, boxes, box_of)


def _linked(flow: Flow, boxes: list[Box], box_of: dict[int, int]) -> View:
    shares: dict[tuple[int, int], list[float]] = {}
    for giver, taker, share in flow.edges:
        a, b = box_of[giver], box_of[taker]
        if a != b:
            shares.setdefault((a, b), []).append(share)
    order = _rows(boxes, list(shares))
    rows = max((boxes[b].row for b in order), default=0)
    links = [(a, b, sum(of), len(of)) for (a, b), of in shares.items()]
    for _, b, share, _ in links:
        boxes[b].share += share
    for k, box in enumerate(boxes):
        if not any(b == k for _, b, _, _ in links):
            box.share = sum(share for a, _, share, _ in links if a == k)
    cuts = [sum(share for a, b, share, _ in links if boxes[a].row <= row < boxes[b].row) for row in range(rows)]
    return View(boxes, links, cuts)


def _rows(boxes: list[Box], links: Sequence[tuple[int, int]]) -> list[int]:
    """Gives every box a row below all that flow into it; the boxes in an order in which none comes before its givers."""
    missing = [0] * len(boxes)
    below: list[list[int]] = [[] for _ in boxes]
    for a, b in links:
        missing[b] += 1
        below[a].append(b)
    order = [k for k, m in enumerate(missing) if not m]
    for k in order:
        for b in below[k]:
            boxes[b].row = max(boxes[b].row, boxes[k].row + 1)
            missing[b] -= 1
            if not missing[b]:
                order.append(b)
    return order
