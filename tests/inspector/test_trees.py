"""Trees of contributions: how far a file holds them, and how a live page opens any row."""

from __future__ import annotations

import json
import re

import models
import numpy as np
import pytest
from screen import cells, mismatches

import backlit
from backlit import nn
from backlit.core.errors import ArgumentError
from backlit.diagnose.tree import ContributionTree
from backlit.inspector.asked import Opened
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import Written
from backlit.inspector.trees import REST, trees


def small():
    return models.transformer(blocks=3, width=8, heads=2, length=6)


def tables(recording, **more):
    found, info = Written(recording, sources=False, **more).tables(Limits())
    return {**found, "info": {name: [value] for name, value in info.items()}}


def rows_of(table, name, recording):
    target = recording[name].index
    return [k for k, at in enumerate(table["target"]) if at == target]


def depth_of(table, row):
    depth = 1
    while (row := table["parent"][row]) >= 0:
        depth += 1
    return depth


def check_sums(table):
    """The parts of every opened row add to it, and those at the top to the whole."""
    children = {}
    for row, parent in enumerate(table["parent"]):
        children.setdefault(parent if parent >= 0 else -1 - table["target"][row], []).append(row)
    for parent, rows in children.items():
        whole = table["share"][parent] if parent >= 0 else 1.0
        parts = table["share"][rows]
        # in single precision, where sums that cancel leave a rounding unit of the gradient itself
        assert abs(parts.sum() - whole) <= 2e-5 * np.abs(parts).sum() + 1e-7
    return children


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_file_holds_as_many_levels_as_are_asked_for(depth):
    recording = small()
    table = tables(recording, tree_depth=depth, follow=["h.1.c_fc/weight"])["tree"]
    rows = rows_of(table, "h.1.c_fc/weight", recording)
    assert max(depth_of(table, row) for row in rows) == depth
    children = check_sums(table)
    for row in rows:
        if table["more"][row]:
            assert row not in children and (depth_of(table, row) == depth or table["rest"][row])


def test_what_is_marked_as_more_can_be_opened_and_all_else_cannot():
    recording = small()
    table = tables(recording)["tree"]
    name = next(n.name for n in recording.nodes if n.index == table["target"][0])
    assert table["more"].any() and not table["more"].all()

    def way(row):
        found = []
        while row >= 0:
            found.insert(0, int(table["edge"][row]))
            row = table["parent"][row]
        return tuple(found)

    asked = [Opened(name, way(row)) for row in rows_of(table, name, recording)]
    edges = {}
    for row, (to, argnum) in enumerate(
        zip(*(tables(recording)["edge"][c].tolist() for c in ("to", "argnum")), strict=True)
    ):
        edges[to, argnum] = row
    grown = trees(recording, edges, [recording[name]], opened=asked)["tree"]
    check_sums(grown)
    marked = int(sum(table["more"][row] for row in rows_of(table, name, recording)))
    new = len(grown["parent"]) - len(rows_of(table, name, recording))
    assert new >= 2 * marked > 0
    unknown = trees(recording, edges, [recording[name]], opened=[Opened(name, (0, 0, 0)), Opened("absent", ())])["tree"]
    assert len(unknown["parent"]) == len(rows_of(table, name, recording))


def test_the_rest_is_opened_in_turn():
    x = backlit.tensor(np.linspace(0.1, 1.0, 5), requires_grad=True)
    with backlit.record() as recording:
        sum((backlit.sin(x * float(k)) for k in range(1, 21)), backlit.zeros((5,), dtype="float64")).sum().backward()
    tree = ContributionTree(recording, "x", most=8)
    level, seen, whole = tree.open(tree.root), [], 1.0
    for count in (20, 13, 6):
        assert np.isclose(sum(row.share for row in level), whole)
        seen += [row.way for row in level if not row.rest]
        rest = next((row for row in level if row.rest), None)
        if rest is not None:
            assert tree.parts(rest) == count - 7
            level, whole = tree.open(rest), rest.share
    assert rest is None and len(set(seen)) == 20
    assert tree.parts(tree.root) == 20


def test_a_depth_that_is_none_is_refused(tmp_path):
    recording = small()
    for depth in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="positive number of levels"):
            recording.save(tmp_path / "x.html", tree_depth=depth)
    recording.save(tmp_path / "x.blt")
    with pytest.raises(ArgumentError, match="nothing more can be opened"):
        backlit.load_recording(tmp_path / "x.blt").save(tmp_path / "y.html", tree_depth=4)


def part_of(tab):
    return tab.locator(".part", has=tab.locator("h3", has_text="Contributions, level by level"))


def test_the_page_says_where_a_file_ends_and_how_to_get_more(opened, tmp_path):
    recording = small()
    recording.save(tmp_path / "x.html")
    tab = opened(tmp_path / "x.html", "#p=provenance")
    part = part_of(tab)
    while part.locator(".twist[aria-expanded=false]").count() and not part.get_by_role("status").count():
        part.locator(".twist[aria-expanded=false]").first.click()
    told = part.get_by_role("status").inner_text()
    assert told.startswith("This file holds 3 levels")
    command = re.search(r'recording\.save\("step\.html", tree_depth=(\d+), follow=(.*)\)', told)
    recording.save(tmp_path / "y.html", tree_depth=int(command[1]), follow=json.loads(command[2]))
    deeper = opened(tmp_path / "y.html", "#p=provenance")
    found = tables(recording, tree_depth=int(command[1]), follow=json.loads(command[2]))
    while (
        part_of(deeper).locator(".twist[aria-expanded=false]").count()
        and not part_of(deeper).get_by_role("status").count()
    ):
        part_of(deeper).locator(".twist[aria-expanded=false]").first.click()
    shown = [c for c in cells(deeper) if c["cell"].startswith("tree:")]
    assert mismatches(found, shown) == []
    assert max(depth_of(found["tree"], int(c["cell"].split(":")[1])) for c in shown) > 3


def test_a_live_page_opens_rows_by_asking_the_engine(browser):
    pytest.importorskip("uvicorn")
    from backlit.inspector.live import LiveServer

    backlit.random.seed(0)
    net = models.Transformer(3, 8, 2, 20, 6)
    tokens = np.arange(7)

    def run():
        nn.functional.cross_entropy(net(tokens[:-1]), backlit.tensor(tokens[1:])).backward()

    server = LiveServer(run)
    try:
        context = browser.new_context(viewport={"width": 1680, "height": 1000})
        tab = context.new_page()
        tab.goto(server.start() + "#p=provenance")
        tab.wait_for_selector("html[data-painted]", timeout=30_000)
        part = part_of(tab)
        before = tables(server.session.recording)["tree"]["parent"].shape[0]
        while not server.session.asked.opened:
            part.locator(".twist[aria-expanded=false]").first.click()
        asked = next(iter(server.session.asked.opened))
        shares = part.locator(".branch")
        drawn = shares.count()
        for _ in range(100):
            if shares.count() > drawn:
                break
            tab.wait_for_timeout(200)
        grown = tables(server.session.recording, asked=server.session.asked)
        shown = [c for c in cells(tab) if c["cell"].startswith("tree:")]
        assert mismatches(grown, shown) == [] and len(grown["tree"]["parent"]) > before
        check_sums(grown["tree"])
        assert len(asked.way) >= 2 or asked.way[-1] == REST
        context.close()
    finally:
        server.stop()
