"""Flows drawn through modules: nothing is lost at any cut, and no box comes before itself."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from backlit.inspector.sankey import ABOVE, BELOW, Flow, view, views


@st.composite
def flows(draw):
    """A conserved current from the last node to node 0, on nodes in random modules that nest."""
    n = draw(st.integers(2, 14))
    modules = draw(st.integers(1, 6))
    parent = [-1] + [draw(st.integers(0, m - 1)) for m in range(1, modules)]
    module = [draw(st.integers(0, modules - 1)) for _ in range(n)]
    current = {n - 1: Fraction(1)}
    edges = []
    for giver in range(n - 1, 0, -1):
        through = current.pop(giver, None)
        if through is None:
            continue
        takers = sorted(draw(st.sets(st.integers(0, giver - 1), min_size=1, max_size=3)))
        left = through
        for k, taker in enumerate(takers):
            part = left if k == len(takers) - 1 else Fraction(draw(st.integers(-3, 3)), draw(st.integers(1, 4)))
            left -= part
            edges.append((giver, taker, part))
            current[taker] = current.get(taker, Fraction(0)) + part
    return Flow(n - 1, 0, edges, module, parent)


@given(flows())
@settings(max_examples=60, deadline=None)
def test_every_cut_of_every_picture_adds_to_one(flow):
    for within, drawn in views(flow).items():
        boxes = drawn.boxes
        assert all(boxes[a].row < boxes[b].row for a, b, _, _ in drawn.links)
        assert len(drawn.cuts) == max(box.row for box in boxes)
        assert all(cut == 1 for cut in drawn.cuts), within
        for k, box in enumerate(boxes):
            into = sum(share for _, b, share, _ in drawn.links if b == k)
            out = sum(share for a, _, share, _ in drawn.links if a == k)
            if box.node not in (flow.root, flow.target):
                assert into == out == box.share
            else:
                assert box.share == 1


@given(flows())
@settings(max_examples=40, deadline=None)
def test_links_carry_the_shares_of_their_edges(flow):
    drawn = view(flow, 0)
    ends = {k: box.node for k, box in enumerate(drawn.boxes) if box.node >= 0}
    for a, b, share, count in drawn.links:
        if a in ends and b in ends:
            assert share == sum(s for giver, taker, s in flow.edges if (giver, taker) == (ends[a], ends[b]))
            assert count == sum((giver, taker) == (ends[a], ends[b]) for giver, taker, _ in flow.edges)


def residual_net(blocks):
    """Modules 1..blocks in a row, each with two nodes of its own; sums outside of them. Node 0 is the target."""
    module, edges, node = [1], [], 0
    parent = [-1] + [0] * blocks
    for block in range(1, blocks + 1):
        inner, add = node + 1, node + 3
        module += [block, block, 0]
        edges += [(add, inner + 1, 0.25), (inner + 1, inner, 0.25), (inner, node, 0.25), (add, node, 0.75)]
        node = add
    return Flow(node, 0, edges, module, parent)


def test_blocks_are_boxes_that_open():
    flow = residual_net(8)
    whole = view(flow, 0)
    assert sorted(box.module for box in whole.boxes if box.module >= 0) == list(range(1, 9))
    assert set(views(flow)) == {0}  # of two nodes each: too small for a picture
    block = view(flow, 4)
    assert [box.module for box in block.boxes if box.node < 0] == [ABOVE, BELOW]
    assert all(math.isclose(cut, 1) for cut in block.cuts)
    around = [
        share for a, b, share, _ in block.links if block.boxes[a].module == ABOVE and block.boxes[b].module == BELOW
    ]
    assert around == [0.75]  # the skip connection goes around the block


def test_a_module_that_is_entered_twice_has_two_boxes():
    # 4 (outside) -> 3 (shared) -> 2 (other) -> 1 (shared) -> 0
    flow = Flow(4, 0, [(4, 3, 1.0), (3, 2, 1.0), (2, 1, 1.0), (1, 0, 1.0)], [0, 1, 2, 1, 0], [-1, 0, 0])
    drawn = view(flow, 0)
    assert [(b.module, b.turn) for b in sorted(drawn.boxes, key=lambda b: b.row)] == [
        (-1, 0),
        (1, 0),
        (2, 0),
        (1, 1),
        (-1, 0),
    ]


def test_many_modules_stay_closed():
    flow = residual_net(40)
    nested = Flow(flow.root, 0, flow.edges, [m + 1 if m else 1 for m in flow.module], [-1, 0, *[1] * 40])
    assert len(view(nested, 0).boxes) <= 24
    assert len(view(nested, 1).boxes) > 40
