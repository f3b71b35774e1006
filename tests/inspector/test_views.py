"""What the page says of whole recordings, checkpoints in its memory view, and the colours of heatmaps."""

from __future__ import annotations

import numpy as np
import pytest
from screen import cells, mismatches, written_as

import backlit as bl
from backlit import nn
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import tables_of


def checkpointed():
    bl.random.seed(0)
    layers = [nn.Linear(8, 8) for _ in range(4)]

    def block(k):
        def two_layers(h):
            for layer in layers[k : k + 2]:
                h = bl.tanh(layer(h))
            return h

        return two_layers

    h = bl.tensor(np.random.default_rng(0).standard_normal((4, 8)).astype("f4"))
    with bl.record() as recording:
        for k in (0, 2):
            h = bl.checkpoint(block(k))(h)
        h.sum().backward()
    return recording


def test_checkpoints_in_the_memory_view(opened, tmp_path):
    recording = checkpointed()
    recording.save(tmp_path / "x.html")
    tables, info = tables_of(recording, Limits(), True)
    tab = opened(tmp_path / "x.html", "#p=memory")
    shown = [c for c in cells(tab) if c["cell"].startswith("recompute")]
    assert len(shown) == 2 * 4 and mismatches(tables, shown) == []
    told = {c["cell"].split(":")[2]: c["text"] for c in cells(tab) if c["cell"].startswith("info")}
    assert told["recomputed_values"] == str(info["recomputed_values"]) == "12"
    assert told["peak_bytes"] == written_as(recording.peak_bytes, "bytes", 4)
    for k, found in enumerate(recording.recomputed):
        tab.locator(".panel-body tbody button.link", has_text=found.node.name).first.click()
        assert tab.evaluate("inspector.time") == found.from_event + 1, k
        assert tab.evaluate("inspector.selected") == found.node.name
        assert f"the checkpoint {found.node.name} computes a value of" in tab.locator(".time").inner_text()
        tab.keyboard.press("m")


@pytest.mark.parametrize("panel", ["node", "flow", "memory"])
def test_the_note_is_shown_in_every_panel_until_it_is_closed(opened, tmp_path, panel):
    w = bl.tensor([1.0, 2.0], requires_grad=True)

    @bl.compile
    def step(x):
        loss = bl.sum(w * x)
        w.grad = None
        loss.backward()
        return loss

    recording = step.record(bl.tensor([3.0, 4.0]))
    assert recording.note
    recording.save(tmp_path / "x.html")
    tab = opened(tmp_path / "x.html", f"#p={panel}")
    assert recording.note in tab.locator("[role=note]").inner_text()
    tab.get_by_label("close the note").press("Enter")
    assert tab.locator("[role=note]").count() == 0


def test_a_recording_without_a_note_has_none(opened, tmp_path):
    checkpointed().save(tmp_path / "x.html")
    assert opened(tmp_path / "x.html").locator("[role=note]").count() == 0


def test_heatmaps_show_small_numbers_in_powers_of_ten(opened, tmp_path):
    spread = np.outer([1.0, 1e-4, 1e-9], np.ones(9)).astype("f4") * np.where(np.arange(9) % 2, -1, 1).astype("f4")
    x = bl.tensor(spread, requires_grad=True)
    with bl.record() as recording:
        bl.sum(x * x).backward()
    recording.save(tmp_path / "x.html")
    tab = opened(tmp_path / "x.html", "#n=x")
    button = tab.get_by_role("button", name="log colours")

    def colours():
        tab.wait_for_timeout(50)
        return tab.evaluate(
            """() => { const c = document.querySelector("[data-face=value] canvas");
            const g = new OffscreenCanvas(c.width, c.height).getContext("2d", { willReadFrequently: true });
            g.drawImage(c, 0, 0);
            const at = (row, col) => [...g.getImageData((col + 0.25) * c.width / 9, (row + 0.2) * c.height / 3, 1, 1).data].join();
            return [0, 1, 2].map((row) => [at(row, 0), at(row, 1)]); }"""
        )

    linear = colours()
    assert button.get_attribute("aria-pressed") == "false" and linear[1] == linear[2] and linear[0] != linear[1]
    assert linear[1][0] == linear[1][1]  # nothing is seen of what is small
    button.click()
    log = colours()
    assert button.get_attribute("aria-pressed") == "true"
    assert log[0] == linear[0] and len({*log[0], *log[1], *log[2]}) == 6
    tab.keyboard.press("l")
    assert colours() == linear
