"""Declared sweeps: every value is a run of the engine, and the page slides over them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from screen import cells, mismatches

import backlit
from backlit import nn, optim
from backlit.core.errors import ArgumentError, DataError
from backlit.functional import cross_entropy
from backlit.inspector.pictures import Limits
from backlit.inspector.sweep import recorded
from backlit.inspector.tables import tables_of


class Program:
    """A step of training, with dropout and an optimizer that remembers."""

    def __init__(self, dropout=0.5):
        backlit.random.seed(0)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(dropout), nn.Tanh(), nn.Linear(6, 3))
        self.optimizer = optim.Adam(self.net.parameters(), lr=0.1)
        self.x = backlit.tensor(np.random.default_rng(0).standard_normal((9, 4)).astype("f4"))
        self.labels = np.arange(9) % 3
        self.optimizer.zero_grad()
        self.forward().backward()
        self.optimizer.step()  # which makes its moments

    def forward(self):
        return cross_entropy(self.net(self.x), self.labels)

    def run(self, lr=0.1, scale=1.0):
        self.optimizer.lr = lr
        self.optimizer.zero_grad()
        loss = self.forward() * scale
        loss.backward()
        self.optimizer.step()

    def recording(self):
        with backlit.record() as recording:
            self.run()
        return recording

    def state(self):
        found = [np.array(p.detach()) for p in self.net.parameters()]
        return [*found, *[np.array(x) for x in backlit.tree.leaves(self.optimizer.state_dict()) if hasattr(x, "shape")]]


def test_each_value_is_a_run_from_the_same_state():
    program = Program()
    before, random = program.state(), backlit.random.default_generator().get_state()
    expected = {}
    for lr in (0.01, 1.0):
        other = Program()
        backlit.random.default_generator().set_state(random)
        with backlit.record() as recording:
            other.run(lr=lr)
        expected[lr] = recording
    backlit.random.default_generator().set_state(random)
    found = list(recorded({"lr": [0.01, 1.0], "scale": [2.0]}, program.run))
    assert [(s.variable, s.text, s.number) for s in found] == [
        ("lr", "0.01", 0.01),
        ("lr", "1", 1.0),
        ("scale", "2", 2.0),
    ]
    for swept, lr in zip(found, (0.01, 1.0), strict=False):
        for node, twin in zip(swept.recording.nodes, expected[lr].nodes, strict=True):
            assert node.name == twin.name
            assert np.array_equal(node.value, twin.value) and np.array_equal(node.cotangent, twin.cotangent)
        for update, twin in zip(swept.recording.updates, expected[lr].updates, strict=True):
            assert np.array_equal(update.after, twin.after)
    assert found[2].recording.steps[-1].loss == pytest.approx(2 * found[0].recording.steps[-1].loss)
    assert all(np.array_equal(a, b) for a, b in zip(before, program.state(), strict=True))
    now = backlit.random.default_generator().get_state()
    assert now.keys() == random.keys() and all(np.array_equal(now[key], random[key]) for key in now)


def test_weights_inputs_and_single_elements():
    program = Program()
    weight = np.array(program.net[0].weight.detach())
    x = np.array(program.x.detach())
    sweep = {
        "x": {"nothing": np.zeros((9, 4)), "ones": np.ones((9, 4))},
        ("0/weight", (2, 1)): [5.0],
        ("0/weight", 0): np.array([7.0]),
        "3/bias": [[1.0, 2.0, 3.0]],
    }
    found = list(recorded(sweep, program.run))
    assert [s.variable for s in found] == ["x", "x", "0/weight[2, 1]", "0/weight[0]", "3/bias"]
    assert [s.text for s in found] == ["nothing", "ones", "5", "7", "float64[3]"]
    assert not found[0].recording["x"].value.any() and found[1].recording["x"].value.all()
    changed = found[2].recording["0/weight"].value
    assert changed[2, 1] == 5.0 and (changed != weight).sum() == 1 and np.array_equal(found[2].recording["x"].value, x)
    assert found[3].recording["0/weight"].value[0, 0] == 7.0
    assert (
        found[4].recording["3/bias"].value.tolist() == [1.0, 2.0, 3.0]
        and found[4].recording["3/bias"].dtype == np.float32
    )
    assert np.array_equal(program.net[0].weight.detach(), weight) and np.array_equal(program.x.detach(), x)


def test_what_is_put_back_after_an_error():
    program = Program()
    before = program.state()

    def fragile(lr=0.1):
        program.run(lr)
        if lr > 1:
            raise RuntimeError("too bold")

    with pytest.raises(RuntimeError, match="too bold"):
        list(recorded({"lr": [0.5, 2.0]}, fragile))
    assert all(np.array_equal(a, b) for a, b in zip(before, program.state(), strict=True))


@pytest.mark.parametrize(
    "sweep, said",
    [
        ({"lr": []}, "some values are needed"),
        ({"lr": 0.1}, "some values are needed"),
        (["lr"], "a dictionary of values by variable"),
        ({("0/weight", 0, 1): [0.1]}, "a variable is a name or"),
        ({3: [0.1]}, "a variable is a name or"),
        ({"rate": [0.1]}, "run has no argument 'rate', and records no"),
        ({"0/wieght": [0.1]}, "did you mean 0/weight"),
        ({"0/weight": [0.1]}, r"has shape \[6, 4\], and one of its values \[\]"),
        ({("0/weight", (6, 0)): [0.1]}, r"is no element of '0/weight' \[6, 4\]"),
        ({("0/weight", 99): [0.1]}, "is no element"),
        ({("0/weight", 0): ["much"]}, "no number"),
    ],
)
def test_what_cannot_be_swept_is_told(sweep, said):
    with pytest.raises(ArgumentError, match=said):
        list(recorded(sweep, Program().run))


def test_what_the_run_computes_itself_cannot_be_swept():
    net = nn.Linear(3, 2)
    rows = np.ones((4, 3), "f4")

    def run():
        x = backlit.tensor(rows) * 2.0
        (net(x) ** 2).mean().backward()

    with pytest.raises(ArgumentError, match="run computes 'x' itself"):
        list(recorded({"x": [np.zeros((4, 3))]}, run))
    with pytest.raises(ArgumentError, match="give 'rate' a default"):
        list(recorded({"rate": [1.0]}, lambda rate: run()))


def test_a_parameter_that_moves_within_the_run_is_swept_from_its_first_step():
    program = Program()

    def run():
        program.run()
        program.run()

    found = list(recorded({("0/weight", 0): [0.0, 5.0]}, run))
    assert [swept.recording[0, "0/weight"].value.flat[0] for swept in found] == [0.0, 5.0]


def test_saving_says_what_a_sweep_needs(tmp_path):
    program = Program()
    recording = program.recording()
    for options in ({"sweep": {"lr": [0.1]}}, {"run": program.run}):
        with pytest.raises(ArgumentError, match="a sweep needs"):
            recording.save(tmp_path / "x.html", **options)
    with pytest.raises(ArgumentError, match="part of a page"):
        recording.save(tmp_path / "x.blt", sweep={"lr": [0.1]}, run=program.run)
    with pytest.raises(DataError, match="record fewer steps or values"):
        recording.save(tmp_path / "x.html", sweep={"lr": [0.1] * 5}, run=program.run, max_mb=0.7)
    assert not list(tmp_path.iterdir())


def test_the_page_grows_by_what_it_says(tmp_path):
    program = Program()
    recording = program.recording()
    recording.save(tmp_path / "none.html")
    sizes = []
    for count in (1, 4):
        recording.save(tmp_path / "some.html", sweep={"lr": np.linspace(0.1, 1, count)}, run=program.run)
        sizes.append(os.path.getsize(tmp_path / "some.html"))
    each = (sizes[1] - sizes[0]) / 3
    assert each < 60_000 and abs(sizes[0] - os.path.getsize(tmp_path / "none.html") - each) < 2000


def slide(tab, position):
    tab.locator(".sweep input[type=range]").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", str(position)
    )


def loss_is(tab, value):
    tab.wait_for_function("v => Number(document.querySelector('.sweep-loss .cell').title) === v", arg=value)


def test_the_page_slides_over_what_was_recorded(opened, tmp_path):
    program = Program(dropout=0.0)
    recording = program.recording()
    sweep = {"scale": [0.5, 2.0], ("0/weight", (2, 1)): [0.0, 5.0], "x": {"nothing": np.zeros((9, 4))}}
    found = list(recorded(sweep, program.run))
    recording.save(tmp_path / "sweep.html", sweep=sweep, run=program.run)
    tab = opened(tmp_path / "sweep.html", "#n=0/weight")
    bar = tab.locator(".sweep")
    assert "recorded" in bar.inner_text() and "as saved" in bar.inner_text()
    loss_is(tab, recording.steps[-1].loss)
    assert bar.locator("option").all_inner_texts() == ["scale", "0/weight[2, 1]", "x"]
    for row, position in ((0, 0), (1, 1)):
        slide(tab, position)
        loss_is(tab, found[row].recording.steps[-1].loss)
    bar.locator("select").select_option("0/weight[2, 1]")
    loss_is(tab, recording.steps[-1].loss)
    slide(tab, 1)
    loss_is(tab, found[3].recording.steps[-1].loss)
    assert "0/weight[2, 1] = 5 (2 of 2" in " ".join(bar.locator("output").inner_text().split())
    # every number on the page is that of the recording with this value
    for panel in ("Node", "Provenance", "Flow", "Memory"):
        tab.get_by_role("tab", name=panel).click()
        tables, info = tables_of(found[3].recording, Limits().tighter().tighter(), sources=True)
        tables["info"] = {name: [value] for name, value in info.items()}
        shown = [
            c for c in cells(tab) if not c["cell"].startswith(("optime", "event")) and not c["cell"].endswith("_ns")
        ]
        assert shown and not mismatches(tables, shown), panel
    # what the file says of itself
    stated = float(bar.locator("[data-base-cell$=':bytes']").get_attribute("title"))
    recording.save(
        tmp_path / "less.html",
        sweep={"scale": [0.5, 2.0], ("0/weight", (2, 1)): [0.0], "x": sweep["x"]},
        run=program.run,
    )
    less = os.path.getsize(tmp_path / "sweep.html") - os.path.getsize(tmp_path / "less.html")
    assert stated == pytest.approx(less, rel=0.05)
    # the address keeps the value
    tab.wait_for_function("() => location.hash.includes('v=')")
    tab.reload()
    tab.wait_for_selector("html[data-painted]")
    loss_is(tab, found[3].recording.steps[-1].loss)
    bar.get_by_role("button", name="as saved").click()
    loss_is(tab, recording.steps[-1].loss)
    assert tab.evaluate("inspector.selected") == "0/weight"


def test_the_slider_is_reached_by_keyboard(opened, tmp_path):
    program = Program()
    program.recording().save(tmp_path / "sweep.html", sweep={"lr": [0.5, 2.0]}, run=program.run)
    tab = opened(tmp_path / "sweep.html")
    slider, events = tab.locator(".sweep input[type=range]"), tab.locator("#slider")
    before = events.get_attribute("aria-valuetext")
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "lr = 0.5, 1 of 2"
    tab.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "lr = 2, 2 of 2"
    tab.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "as saved"
    assert events.get_attribute("aria-valuetext") == before


def test_another_way_through_the_program_is_drawn(opened, tmp_path):
    """A value that makes the program do something else has another graph."""
    w = backlit.tensor([1.0, 2.0], requires_grad=True)

    def run(n=1):
        y = w
        for _ in range(n):
            y = y * y
        y.sum().backward()

    with backlit.record() as recording:
        run()
    recording.save(tmp_path / "sweep.html", sweep={"n": [2, 3]}, run=run)
    tab = opened(tmp_path / "sweep.html")
    slide(tab, 1)
    tab.wait_for_function("() => inspector.scene && document.querySelector('.sweep-loss .cell').title === '257'")
    tab.get_by_role("treeitem").nth(3).wait_for()
    assert tab.evaluate("inspector.place('mul#2')") is not None
    slide(tab, -1)
    tab.wait_for_function("() => inspector.scene && inspector.place('mul#2') === null")


def test_names_and_texts_of_a_sweep_are_no_markup(opened, tmp_path):
    w = backlit.tensor([1.0], requires_grad=True)
    evil = "<img src=x onerror=window.hurt=1></script><script>window.hurt=1</script>"

    def run(rate=1.0):
        (w * rate).sum().backward()

    with backlit.record() as recording:
        run()
    recording.save(tmp_path / "evil.html", sweep={"rate": {evil: 2.0}}, run=run)
    tab = opened(tmp_path / "evil.html")
    slide(tab, 0)
    loss_is(tab, 2.0)
    assert tab.evaluate("window.hurt") is None
