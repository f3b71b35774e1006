"""Checkpoints compared on the page: what it shows is what the engine counted, and a choice of one's own is computed."""

from __future__ import annotations

import json
import re

import models
import numpy as np
import pytest
from screen import cells, mismatches, value_of

import backlit
from backlit.core.errors import ArgumentError
from backlit.diagnose.checkpoints import checkpoint_plans
from backlit.inspector import plans as of_plans
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import Written, tables_of


def small():
    return models.transformer(blocks=4, width=8, heads=2, length=6)


def tables(recording, **more):
    found, info = Written(recording, sources=False, **more).tables(Limits())
    return {**found, "info": {name: [value] for name, value in info.items()}}


def test_tables_have_the_counts_of_the_engine():
    recording = small()
    chosen = ["h.1", ("h.2", "h.3")]
    found, plans = tables(recording, checkpoints=chosen), checkpoint_plans(recording, chosen)
    plan, point = found["plan"], found["planpoint"]
    assert plan["name"] == [p.name for p in plans.plans] == ["none", "every 1", "every 2", "every 3", "chosen"]
    for column, field in {"peak": "peak_bytes", "kept": "kept_bytes", "flops": "flops", "values": "values"}.items():
        assert plan[column].tolist() == [getattr(p, field) for p in plans.plans]
    assert found["plans"]["forward_flops"] == plans.forward_flops
    assert plan["peak_share"][0] == 1 and plan["flops_share"][0] == 0
    assert plan["least"].sum() == 1 and plan["peak"][plan["least"] == 1] == plan["peak"].min()
    for row, p in enumerate(plans.plans):
        start = plan["point_start"][row]
        bytes_of = point["bytes"][start : start + plan["point_count"][row]]
        assert bytes_of.max() == p.peak_bytes and len(bytes_of) <= of_plans.POINTS
        first = plan["segment_start"][row]
        names = found["plansegment"]
        its = range(first, first + plan["segment_count"][row])
        assert [(names["first"][k], names["last"][k]) for k in its] == list(p.segments)
    assert found["planpart"]["name"] == [part.name for part in plans.parts]
    assert recording.peak_bytes == plan["peak"][0]


def test_of_large_steps_one_group_is_run_or_none(monkeypatch):
    recording = small()
    monkeypatch.setattr(of_plans, "APPLICATIONS", 3 * len(recording.nodes))
    found = tables_of(recording, Limits(), sources=False)[0]
    assert found["plan"]["name"] == ["none", "every 2"] and "large" in found["plans"]["note"][0]
    monkeypatch.setattr(of_plans, "APPLICATIONS", 1)
    found = tables_of(recording, Limits(), sources=False)[0]
    assert found["plan"]["name"] == [] and "large" in found["plans"]["note"][0]
    assert "chosen" in tables(recording, checkpoints=["h.0"])["plan"]["name"]


def test_why_nothing_is_compared_is_said(tmp_path):
    x = backlit.tensor(np.ones(3), requires_grad=True)
    with backlit.record() as forward:
        backlit.tanh(x * x)
    assert tables(forward)["plans"]["note"] == ["step 0 has no backward pass; it can be repeated where there is one"]
    recording = small()
    with pytest.raises(ArgumentError, match="call of 'h.9'"):
        recording.save(tmp_path / "x.html", checkpoints=["h.9"])
    assert not (tmp_path / "x.html").exists()
    recording.save(tmp_path / "x.blt")
    with pytest.raises(ArgumentError, match="nothing more can be compared"):
        backlit.load_recording(tmp_path / "x.blt").save(tmp_path / "y.html", checkpoints=["h.0"])


def test_operations_done_again_are_read_from_files_and_absent_in_earlier_ones(tmp_path):
    part = backlit.checkpoint(lambda h: backlit.tanh(h * h))
    x = backlit.tensor(np.ones(3), requires_grad=True)
    with backlit.record() as recording:
        part(x).sum().backward()
    assert [(r.flops, r.uncounted) for r in recording.recomputed] == [(6, 0)]
    recording.save(tmp_path / "x.blt")
    loaded = backlit.load_recording(tmp_path / "x.blt")
    assert [r.flops for r in loaded.recomputed] == [6]
    for column in ("flops", "uncounted"):
        del loaded.packed[0]["recompute"][column]
    loaded.save(tmp_path / "earlier.blt")
    assert [r.flops for r in backlit.load_recording(tmp_path / "earlier.blt").recomputed] == [0]


def plans_of(tab):
    return tab.locator(".part", has=tab.locator("h3", has_text="Checkpoints compared"))


def test_plans_stand_side_by_side(opened, tmp_path):
    recording = small()
    recording.save(tmp_path / "x.html", checkpoints=["h.1"])
    found = tables(recording, checkpoints=["h.1"])
    tab = opened(tmp_path / "x.html", "#p=memory")
    part = plans_of(tab)
    rows = part.locator("tr[data-plan]")
    assert [rows.nth(k).get_attribute("data-plan") for k in range(rows.count())] == found["plan"]["name"]
    shown = [c for c in cells(tab) if c["cell"].startswith("plan")]
    assert {c["cell"] for c in shown} >= {f"plan:{k}:{c}" for k in range(5) for c in ("peak", "flops", "peak_share")}
    assert mismatches(found, shown) == []
    part.get_by_role("button", name="every 2", exact=True).click()
    assert "one checkpoint for h.0 to h.1, h.2 to h.3" in part.inner_text()
    chart = part.locator(".lines svg")
    chart.hover()
    read = [c for c in cells(tab) if c["cell"].startswith("planpoint")]
    assert len(read) == 2 and mismatches(found, read) == [] and value_of(found, read[0]["cell"]) > 0


def test_a_choice_becomes_a_command_in_a_file(opened, tmp_path):
    recording = small()
    recording.save(tmp_path / "x.html")
    tab = opened(tmp_path / "x.html", "#p=memory")
    part = plans_of(tab)
    part.locator("summary").click()
    for name in ("h.2", "h.0"):
        part.get_by_role("checkbox", name=re.compile(name)).press("Space")
    command = part.locator("code.command").inner_text()
    assert command == 'recording.save("step.html", checkpoints=["h.0", "h.2"])'
    chosen = json.loads(re.search(r"checkpoints=(.*)\)$", command).group(1))
    recording.save(tmp_path / "y.html", checkpoints=chosen)
    again = opened(tmp_path / "y.html", "#p=memory")
    assert plans_of(again).locator("tr[data-plan=chosen]").count() == 1
    plans_of(again).locator("summary").click()
    checked = plans_of(again).locator("input:checked")
    assert checked.count() == 2


def test_a_live_page_computes_the_choice(browser):
    pytest.importorskip("uvicorn")
    from backlit import nn
    from backlit.inspector.live import LiveServer

    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x = backlit.tensor(np.random.default_rng(0).standard_normal((6, 4)).astype("f4"))
    server = LiveServer(lambda: (net(x) ** 2).sum().backward())
    try:
        tab = browser.new_context().new_page()
        tab.goto(server.start() + "#p=memory")
        tab.wait_for_selector("html[data-painted]", timeout=30_000)
        tab.get_by_role("button", name="run the step with each").click()
        rows = tab.locator("tr[data-plan]")
        rows.first.wait_for(timeout=20_000)
        part = plans_of(tab)
        part.get_by_role("checkbox", name=re.compile("^1 ")).check()
        part.get_by_role("button", name="compute the chosen").click()
        tab.locator("tr[data-plan=chosen]").wait_for(timeout=20_000)
        plan = checkpoint_plans(server.session.recording, ["1"])["chosen"]
        cell = tab.locator("tr[data-plan=chosen] [data-cell$=':peak']")
        assert float(cell.get_attribute("title")) == plan.peak_bytes
        tab.context.close()
    finally:
        server.stop()
