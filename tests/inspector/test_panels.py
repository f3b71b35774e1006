"""The panels in a browser, on recordings of real runs: every number on the screen is that of the run."""

from __future__ import annotations

import json
import random
import re
from itertools import count
from pathlib import Path

import models
import numpy as np
import pytest
from screen import cells, mismatches, value_of, written_as

import backlit
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import tables_of

TURNS = count()
MODELS = {"S": models.merge, "M": models.perceptron, "G": models.transformer, "deep": models.deep}


class Run:
    """A recording, its tables, and the page it was saved to."""

    def __init__(self, recording, path):
        self.recording = recording
        self.tables, info = tables_of(recording, Limits(), sources=True)
        self.tables["info"] = {name: [value] for name, value in info.items()}
        self.path = path
        recording.save(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made: dict[str, Run] = {}

    def of(name: str) -> Run:
        if name not in made:
            made[name] = Run(MODELS[name](), tmp_path_factory.mktemp(name) / f"{name}.html")
        return made[name]

    return of


def go_to(tab, position: int) -> None:
    tab.locator("#slider").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", str(position)
    )


def choose(tab, name: str, panel: str = "node") -> None:
    address = "#turn=" + str(next(TURNS)) + "&n=' + encodeURIComponent(n) + '&p=' + p"  # another each time
    tab.evaluate(f"([n, p]) => {{ location.hash = '{address}; }}", [name, panel])
    tab.wait_for_function(
        "([n, p]) => inspector.selected === n && document.querySelector('[data-panel]').dataset.panel === p",
        arg=[name, panel],
    )


def text(tab, selector: str = ".panel-body") -> str:
    return tab.locator(selector).inner_text()


def section(tab, title: str):
    return tab.locator(".part", has=tab.locator("h3", has_text=re.compile(f"^{title}$")))


# -- the truth of numbers


def array_of(run: Run, row: int):
    """The array of the run, not of the file, that a row of `array` shows."""
    stat, nodes = run.tables["stat"], run.recording.nodes
    for at in np.flatnonzero(stat["array"] == row):
        node, which = nodes[stat["node"][at]], stat["which"][at]
        if which == 0:
            return node.value
        if which == 1:
            return node.cotangent
        edge = stat["edge"][at]
        to, argnum = run.tables["edge"]["to"][edge], run.tables["edge"]["argnum"][edge]
        return next(c.value for c in node.contributions if (c.child.index, c.argnum) == (to, argnum))
    for at in np.flatnonzero(run.tables["partial"]["array"] == row):
        node, order = nodes[run.tables["partial"]["node"][at]], run.tables["partial"]["order"][at]
        total = node.contributions[0].value
        for term in node.contributions[1 : order + 1]:
            total = total + term.value
        return total
    raise AssertionError(f"nothing has row {row} of array")


def truth(run: Run, cell: str) -> float:
    """What the run has where the page shows `cell`: from the arrays of the run itself wherever they hold the answer."""
    table, row, column, *_ = cell.split(":")
    nodes = run.recording.nodes
    if table == "array" and run.tables["array"]["full"][int(row)]:
        return float(np.asarray(array_of(run, int(row))).reshape(-1)[int(cell.split(":")[3])])
    if table == "stat":
        array = np.asarray(array_of(run, run.tables["stat"]["array"][int(row)]), "f8")
        found = {
            "n": array.size, "min": array.min(), "max": array.max(), "zeros": np.sum(array == 0), "absmax": np.abs(array).max(),
        }  # fmt: skip
        if column in found:
            return float(found[column])
    if table == "edge" and column in ("norm", "cosine", "share"):
        edge = run.tables["edge"]
        node = nodes[edge["from"][int(row)]]
        part = next(
            c.value for c in node.contributions
            if (c.child.index, c.argnum) == (edge["to"][int(row)], edge["argnum"][int(row)])
        )  # fmt: skip
        c, d = np.asarray(part, "f8").reshape(-1), np.asarray(node.cotangent, "f8").reshape(-1)
        exact = {
            "norm": np.linalg.norm(c), "cosine": c @ d / np.linalg.norm(c) / np.linalg.norm(d), "share": c @ d / (d @ d),
        }  # fmt: skip
        recorded = value_of(run.tables, cell)
        assert recorded == pytest.approx(exact[column], rel=1e-6, abs=1e-12)
    return value_of(run.tables, cell)


@pytest.mark.parametrize("name", ["S", "M", "G"])
def test_numbers_on_the_screen_are_those_of_the_run(runs, opened, name):
    run = runs(name)
    tab = opened(run.path)
    draw = random.Random(name)
    events = len(run.recording.events)
    checked = 0
    for position in range(20):
        go_to(tab, draw.randint(0, events))
        left = 25
        while left > 0:
            panel = "node" if left > 10 else draw.choice(["node", "provenance", "flow", "memory", "cost"])
            choose(tab, draw.choice(run.recording.nodes).name, panel)
            found = [c for c in cells(tab) if c["cell"].split(":")[0] != "hist"]
            chosen = draw.sample(found, min(10, left, len(found)))
            for one in chosen:
                expected = written_as(truth(run, one["cell"]), one["unit"], one["digits"])
                assert one["text"] == expected, (position, one["cell"])
            checked += len(chosen)
            left -= len(chosen)
    assert checked == 500


@pytest.mark.parametrize("panel", ["node", "provenance", "flow", "memory", "cost"])
def test_no_number_of_a_panel_is_wrong(runs, opened, panel):
    run = runs("M")
    tab = opened(run.path)
    choose(tab, "2/linear/matmul#0", panel)
    for summary in tab.locator("details > summary").all():
        summary.click()
    found = cells(tab)
    assert len(found) > 5
    assert mismatches(run.tables, found) == []


def test_no_number_stands_without_its_cell(runs, opened):
    """A seeded fault: a cell that names the wrong row is noticed."""
    run = runs("M")
    tab = opened(run.path)
    choose(tab, "2/linear/matmul#0")
    found = [c for c in cells(tab) if c["cell"].startswith("stat:")]
    assert mismatches(run.tables, found) == []
    moved = [c | {"cell": c["cell"].replace(":min", ":max")} for c in found]
    assert mismatches(run.tables, moved)


# -- the node


def test_rules_have_the_names_and_numbers_of_the_node(runs, opened):
    tab = opened(runs("S").path)
    choose(tab, "mul#0")
    rules = section(tab, "Local rule")
    written = rules.locator("annotation").all_text_contents()
    assert any("\\delta_{x}" in t and "y" in t for t in written)
    assert any("mathrel{+}=" in t and "\\delta_{y}" in t for t in written)  # y has another term
    numbers = [t.split("annotation")[0] for t in rules.locator(".rule-numbers annotation").all_text_contents()]
    assert numbers == [r"= 2 \cdot 3", r"= 18 \cdot 3", r"= 18 \cdot 2"]


def test_shapes_stand_under_the_factors(runs, opened):
    tab = opened(runs("M").path)
    choose(tab, "2/linear/matmul#0")
    written = section(tab, "Local rule").locator("annotation").all_text_contents()
    assert any(r"\underset{64 \times 256}" in t for t in written)


def test_a_factor_opens_what_it_stands_for(runs, opened):
    tab = opened(runs("S").path)
    choose(tab, "mul#0")
    factor = section(tab, "Local rule").locator("[data-factor='1']").first
    factor.focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("inspector.selected") == "y"
    choose(tab, "mul#0")
    section(tab, "Local rule").locator("[data-factor='delta']").first.click()
    assert tab.evaluate("inspector.selected") == "mul#0"
    assert tab.locator(".face.lit h4").inner_text().startswith("gradient")


def test_a_merge_fills_up_with_time(runs, opened):
    run = runs("S")
    tab = opened(run.path)
    choose(tab, "y")
    first, second = run.recording["y"].contributions
    go_to(tab, first.event)
    assert "No gradient has arrived yet" in text(tab)
    go_to(tab, first.event + 1)
    assert "1 of 2" in text(tab, ".running")
    assert tab.locator(".running .cell").first.inner_text() == "18"
    gradient = tab.locator("[data-face^=gradient]")
    assert "so far, 1 of 2" in gradient.inner_text()
    assert gradient.locator(".cell").inner_text() == "18"
    go_to(tab, second.event + 1)
    assert "sum of all 2" in text(tab, ".running")
    assert tab.locator(".running .cell").first.inner_text() == "54"
    go_to(tab, run.recording["y"].completed_event + 1)
    assert gradient.locator(".cell").inner_text() == "54"
    assert text(tab, ".terms").count("share") == 2


def test_cancelling_terms_are_flagged(opened, tmp_path):
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    with backlit.record() as recording:
        (x * 1e4 - x * 9999.0).sum().backward()
    recording.save(tmp_path / "c.html")
    tab = opened(tmp_path / "c.html")
    choose(tab, "x")
    assert "The terms cancel" in text(tab)


def test_heatmaps_share_a_cursor_and_tell_the_exact_number(runs, opened):
    run = runs("deep")
    tab = opened(run.path)
    choose(tab, "2/linear/matmul#0")
    faces = tab.locator(".heat-face")
    assert faces.count() >= 2
    faces.first.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown"):
        tab.keyboard.press(key)
    node = run.recording["2/linear/matmul#0"]
    told = tab.locator(".faces .readout").all_inner_texts()
    assert [t.split("]")[0] for t in told[:2]] == ["[2, 2", "[2, 2"]
    found = tab.locator(".faces .readout .cell").all()
    assert [float(f.get_attribute("title")) for f in found[:2]] == [
        float(node.value[2, 2]),
        float(node.cotangent[2, 2]),
    ]
    assert tab.evaluate("inspector.time") == len(run.recording.events)  # the arrows moved the cursor, not the time


def test_slices_of_an_array_of_three_axes(opened, tmp_path):
    x = backlit.tensor(np.random.default_rng(0).standard_normal((3, 12, 10)).astype("f4"), requires_grad=True)
    with backlit.record() as recording:
        y = x.tanh()
        (y * y).sum().backward()
    recording.save(tmp_path / "three.html")
    tab = opened(tmp_path / "three.html")
    choose(tab, "tanh#0")
    slider = tab.locator(".slices input").first
    slider.evaluate("e => { e.value = 2; e.dispatchEvent(new Event('input', { bubbles: true })); }")
    tab.locator(".heat-face").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        tab.keyboard.press(key)
    shown = tab.locator(".faces .readout")
    node = recording["tanh#0"]
    assert shown.first.inner_text().startswith("[2, 2, 1]")
    told = [float(c.get_attribute("title")) for c in shown.locator(".cell").all()]
    assert told == [float(node.value[2, 2, 1]), float(node.cotangent[2, 2, 1])]


def test_why_saved_leads_both_ways(runs, opened):
    tab = opened(runs("S").path)
    choose(tab, "mul#0")
    kept = section(tab, "Kept for the backward pass")
    reads = kept.locator(".readers li").all_inner_texts()
    assert reads == ["x for the gradient of y", "y for the gradient of x"]
    kept.locator(".readers .link", has_text="x").first.click()
    assert tab.evaluate("inspector.selected") == "x"
    assert "the rule of mul (mul) reads it for the gradient of y" in text(tab).replace("\n", " ")
    section(tab, "Kept for the backward pass").locator(".readers .link").first.click()
    assert tab.evaluate("inspector.selected") == "mul#0"


# -- provenance, flow, memory


def test_every_cut_of_the_drawn_provenance_is_one(runs, opened):
    tab = opened(runs("G").path)
    choose(tab, "wte", "provenance")
    sums = tab.locator(".sankey-cut .cell").all_inner_texts()
    assert len(sums) > 5 and set(sums) == {"1"}
    block = tab.locator(".sankey-label", has_text="h.3")
    block.focus()
    tab.keyboard.press("Enter")
    assert tab.locator(".crumbs [aria-current]").inner_text() == "h.3"
    assert tab.locator(".sankey-label", has_text="attn").count() == 1
    assert set(tab.locator(".sankey-cut .cell").all_inner_texts()) == {"1"}
    tab.locator(".crumbs .link").first.click()
    assert tab.locator(".sankey-label", has_text="h.3").count() == 1


def test_a_broken_rule_is_named(opened, tmp_path, monkeypatch):
    from backlit.core.op import REGISTRY

    tanh = type(REGISTRY["tanh"])
    right = tanh.partial
    monkeypatch.setattr(tanh, "partial", lambda *a: 1.1 * right(*a))
    recording = models.deep(layers=4)
    recording.save(tmp_path / "broken.html")
    tab = opened(tmp_path / "broken.html")
    choose(tab, "1/tanh#0", "provenance")
    assert "4 rules give a wrong gradient" in text(tab)
    assert [t.split()[-1] for t in tab.locator("tr.guilty th").all_inner_texts()] == ["tanh"] * 4
    choose(tab, "1/tanh#0")
    assert "rule out of balance" in text(tab)


def test_vanishing_layers_are_banded_with_the_culprit(runs, opened):
    run = runs("deep")
    tab = opened(run.path)
    choose(tab, "x" if "x" in [n.name for n in run.recording.nodes] else run.recording.nodes[0].name, "flow")
    bands = run.tables["flow"]["band"]
    assert tab.locator(".flow-row.band-1").count() == int((bands == 1).sum())
    assert tab.locator(".flow-row.band-2").count() == int((bands == 2).sum())
    assert "vanishing" in text(tab) and "weight" in text(tab, ".culprits")
    tab.locator(".flow-row").first.click()
    assert tab.evaluate("inspector.selected") == run.recording.nodes[run.tables["flow"]["node"][0]].name


def test_the_first_nan_is_walked_back(opened, tmp_path):
    x = backlit.tensor([4.0, -1.0], requires_grad=True)
    with backlit.record() as recording:
        (x.sqrt() * 2.0).sum().backward()
    recording.save(tmp_path / "nan.html")
    tab = opened(tmp_path / "nan.html")
    choose(tab, "sqrt#0", "flow")
    walk = tab.locator(".bad-walk li").all_inner_texts()
    assert len(walk) == 1 and walk[0].startswith("sqrt#0") and "[1]" in walk[0]
    choose(tab, "sqrt#0")
    assert "NaN" in text(tab, ".pills")


def test_memory_peaks_at_the_engines_count(runs, opened):
    run = runs("G")
    tab = opened(run.path)
    choose(tab, "wte", "memory")
    shown = tab.locator("[data-cell='info:0:peak_bytes']")
    assert float(shown.get_attribute("title")) == max(run.recording.kept_bytes())
    box = tab.locator(".stack-face").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.6)
    told = text(tab, ".readout.tall")
    assert " of " in told and "kept for the rule of" in told


def test_time_by_operation_and_its_trace(runs, opened):
    run = runs("M")
    tab = opened(run.path)
    choose(tab, "0/weight", "cost")
    assert tab.locator(".times tbody tr").count() == len(run.tables["optime"]["op"])
    product = tab.locator(".times tbody tr", has_text="matmul")
    assert [t.split(" ")[0] for t in product.locator(".side").all_inner_texts()] == ["dX", "dW"]
    assert tab.locator(".times .side").count() == 2
    with tab.expect_download() as started:
        tab.get_by_role("button", name="trace.json").click()
    trace = json.loads(Path(started.value.path()).read_text())
    spent = sum(e.ns for e in run.recording.events if e.ns > 0)
    assert sum(e["dur"] for e in trace["traceEvents"]) == pytest.approx(spent / 1000)


# -- single elements, paths


def test_an_element_is_taken_apart(runs, opened):
    run = runs("M")
    tab = opened(run.path)
    node = run.recording["4/linear/matmul#0"]
    choose(tab, node.name)
    apart = section(tab, "One element taken apart")
    apart.locator(".chip", has_text="value").first.click()
    place = apart.locator(".note").inner_text()
    row, col = (int(x) for x in place.removeprefix("value[").removesuffix("]").split(", "))
    x, w = (np.asarray(a.value, "f8") for a in node.args)
    products = [float(c.get_attribute("title")) for c in apart.locator("[data-cell$=':product']").all()]
    assert sum(products) == pytest.approx(x[row] @ w[:, col], rel=1e-5)
    assert float(apart.locator(".total .cell").get_attribute("title")) == float(node.value[row, col])


def test_an_element_is_nudged(runs, opened):
    tab = opened(runs("S").path)
    choose(tab, "y")
    nudge = section(tab, "Nudge test")
    assert [c.inner_text() for c in nudge.locator(".stats").first.locator("td .cell").all()][:2] == ["54", "54"]
    nudge.locator("summary").click()
    assert nudge.locator(".behind tbody tr").count() == len(nudge.locator(".behind tbody tr").all()) > 5


def test_paths_and_the_tree_of_contributions(runs, opened):
    run = runs("S")
    tab = opened(run.path)
    choose(tab, "y", "provenance")
    tab.locator(".choose select").select_option(label="y")
    assert "2 paths lead from the loss to it" in text(tab)
    shares = section(tab, "Contributions, level by level").locator(".branch .cell").all_inner_texts()
    assert [s.split("\u202f")[0] for s in shares] == ["66.7", "33.3"]
    tab = opened(runs("G").path)
    choose(tab, "wte", "provenance")
    assert "× 10³" in section(tab, "Paths").inner_text()
    tree = section(tab, "Contributions, level by level")
    before = tree.locator(".branch").count()
    tree.locator(".twist[aria-expanded=true]").first.click()
    assert tree.locator(".branch").count() < before


def test_all_of_few_paths_are_listed(opened, tmp_path):
    y = x = backlit.tensor(1.01, requires_grad=True)
    with backlit.record() as recording:
        for _ in range(9):
            y = y * y
        y.backward()
    recording.save(tmp_path / "ways.html")
    tab = opened(tmp_path / "ways.html")
    choose(tab, recording.nodes[0].name, "provenance")
    ways = section(tab, "Paths")
    ways.locator("summary", has_text="All 512 paths").click()
    assert ways.locator("li").count() == 200
    ways.get_by_role("button", name="the other 312 too").click()
    weights = [float(c.get_attribute("title")) for c in ways.locator("li > .cell").all()]
    assert len(weights) == 512 and sum(weights) == pytest.approx(float(x.grad.item()), rel=1e-5)


def test_what_was_asked_for_is_followed(opened, tmp_path):
    recording = models.perceptron(widths=(6, 5, 3), batch=4)
    recording.save(
        tmp_path / "followed.html", follow=["0", ("0/weight", (2, 1)), ("2/bias", np.array([1, 2, -1], "f4"))]
    )
    tab = opened(tmp_path / "followed.html")
    choose(tab, "0/weight", "provenance")
    select = tab.locator(".choose select")
    assert select.locator("option").all_inner_texts()[-3:] == ["0", "0/weight[2, 1]", "2/bias in a given direction"]
    g = {name: np.asarray(recording[name].cotangent, "f8") for name in ("0/weight", "0/bias", "2/bias")}
    expected = [np.sum(g["0/weight"] ** 2) + np.sum(g["0/bias"] ** 2), g["0/weight"][2, 1], g["2/bias"] @ [1, 2, -1]]
    for label, total in zip(["0", "0/weight[2, 1]", "2/bias in a given direction"], expected, strict=True):
        select.select_option(label=label)
        shown = tab.locator("[data-cell^='provenance'][data-cell$=':total']")
        assert float(shown.get_attribute("title")) == pytest.approx(total, rel=1e-5)
        assert set(tab.locator(".sankey-cut .cell").all_inner_texts()) <= {"1"} != set()
        assert section(tab, "Paths").count() == 0  # which are those of the whole gradient
    select.select_option(label="0")
    assert tab.locator(".sankey-label", has_text=re.compile("^0$")).count() == 1


def test_gradients_are_searched_by_their_norm(runs, opened):
    run = runs("M")
    tab = opened(run.path)
    norms = [np.linalg.norm(np.asarray(n.cotangent, "f8")) for n in run.recording.nodes if n.cotangent is not None]
    limit = float(np.median(norms))
    tab.locator("#search").fill(f"grad.norm>{limit * 1.001}")
    count = sum(norm > limit * 1.001 for norm in norms)
    assert 0 < count < len(norms) and tab.locator("#search-state").inner_text() == str(count)


# -- training


def test_steps_are_scrubbed(opened, tmp_path):
    recording = models.perceptron(widths=(6, 5, 3), batch=4, steps=4)
    recording.save(tmp_path / "t.html")
    tab = opened(tmp_path / "t.html")
    choose(tab, "0/weight", "training")
    losses = [s.loss for s in recording.steps]
    scrub = tab.locator(".scrub input")
    scrub.evaluate("e => { e.value = 3; e.dispatchEvent(new Event('input', { bubbles: true })); }")
    assert float(tab.locator(".scrub [data-cell$=':loss']").get_attribute("title")) == losses[3]
    rows = tab.locator("tbody tr", has_text="weight")
    assert rows.count() == 2
    first = recording.steps[3].updates[0]
    shown = float(rows.first.locator("[data-cell$='change_norm']").get_attribute("title"))
    assert shown == pytest.approx(np.linalg.norm(np.asarray(first.after, "f8") - np.asarray(first.before, "f8")))


def test_a_report_of_training(opened, tmp_path):
    recording = models.perceptron(widths=(6, 5, 3), batch=4, steps=3)
    recording.series = {
        "loss": [(k, 2.0 / (k + 1)) for k in range(100)],
        "gradient norm of 0.weight": [(k, 0.5) for k in range(0, 100, 10)],
        "gradient norm of 2.weight": [(k, 0.25) for k in range(0, 100, 10)],
    }
    recording.save(tmp_path / "report.html")
    tab = opened(tmp_path / "report.html")
    assert tab.locator("[data-panel]").get_attribute("data-panel") == "training"  # where the page of a training begins
    assert tab.locator(".lines").count() == 2
    box = tab.locator(".lines svg").first.bounding_box()
    tab.mouse.move(box["x"] + 47, box["y"] + 60)
    assert re.fullmatch(r"step 0: 2\s*", tab.locator(".lines .readout").first.inner_text())


def test_a_tour_begins_where_its_page_opens(opened, tmp_path):
    from backlit.inspector.tour import bundled, tour_page

    tour = next(t for t in bundled() if t.name == "merge")
    path = tmp_path / "tour.html"
    path.write_text(tour_page(tour), encoding="utf-8")
    tab = opened(path)
    assert tab.locator("[data-panel]").get_attribute("data-panel") == "tour"
    tab.get_by_role("button", name="Begin").click()
    while tab.locator(".predict").count() == 0:
        tab.get_by_role("button", name="Next").click()
    assert tab.locator("[data-revealed]").count() == 0
    tab.locator(".option").first.focus()
    for _ in range(tab.locator(".option").count()):
        tab.keyboard.press("Enter")
        assert tab.locator(".option.right, .option.wrong").count() == 1
        tab.keyboard.press("Tab")
    assert tab.locator("[data-revealed]").count() == 1
    numbers = tab.locator("[data-revealed] [data-cell]").all()
    assert all(re.fullmatch(r"\w+:\d+:\w+(:\d+)?", n.get_attribute("data-cell")) for n in numbers)


def test_markup_in_a_tour_does_not_run(opened, tmp_path):
    from backlit.inspector.page import page
    from backlit.inspector.wire import pack

    tables, info = tables_of(models.merge(), Limits(), sources=False)
    evil = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script><p onclick="window.hurt=1">text</p>'
    step = {"title": "t", "html": evil, "node": 1, "time": 3, "ask": None}
    tour = {"name": "n", "title": "t", "kind": "example", "intro": evil, "steps": [step]}
    tables["tour"] = {"name": ["n"], "json": [json.dumps(tour)]}
    path = tmp_path / "evil.html"
    path.write_text(page(pack(tables, info)), encoding="utf-8")
    tab = opened(path)
    tab.get_by_role("button", name="Begin").click()
    tab.locator(".tour-step p").click()
    assert tab.locator(".panel img, .panel script").count() == 0
    assert tab.evaluate("window.hurt") is None


# -- all panels


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1680, 1000])
def test_nothing_sticks_out(runs, opened, theme, width):
    tab = opened(runs("G").path, viewport={"width": width, "height": 900}, color_scheme=theme)
    nodes = {"node": ["h.3.attn/softmax/log_softmax/sub#0", "h.0.c_fc/weight", "wte"], "provenance": ["wte"]}
    for name, panel in [
        (n, p) for p in ("node", "provenance", "flow", "memory", "cost") for n in nodes.get(p, ["wte"])
    ]:
        choose(tab, name, panel)
        outside = tab.evaluate(
            """() => {
                const body = document.querySelector('.panel-body');
                const edge = body.getBoundingClientRect().left + body.clientWidth + 1;
                return [...body.querySelectorAll('*')]
                    .filter((e) => !e.closest('svg, .maths, .rule-numbers, .rule-partial, .scroll, .snippet'))
                    .filter((e) => e.getBoundingClientRect().right > edge)
                    .map((e) => e.outerHTML.slice(0, 120));
            }"""
        )
        assert outside == [], panel


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_panel(serious, runs, opened, theme, tmp_path):
    from backlit.inspector.tour import bundled, tour_page

    tab = opened(runs("S").path, color_scheme=theme)
    for panel in ("node", "provenance", "flow", "memory", "cost"):
        choose(tab, "y", panel)
        tab.evaluate("document.querySelectorAll('.panel details').forEach((d) => { d.open = true; })")
        assert serious(tab) == [], panel
    path = tmp_path / "tour.html"
    path.write_text(tour_page(bundled()[0]), encoding="utf-8")
    tab = opened(path, color_scheme=theme)
    tab.get_by_role("button", name="Begin").click()
    for _ in range(3):
        assert serious(tab) == []
        if tab.get_by_role("button", name="Show me").count():
            tab.get_by_role("button", name="Show me").click()
            assert serious(tab) == []
        tab.get_by_role("button", name="Next").click()


def test_tabs_by_keyboard(runs, opened):
    tab = opened(runs("M").path)
    tab.locator("[role=tab][aria-selected=true]").focus()
    seen = []
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
        seen.append(tab.locator("[data-panel]").get_attribute("data-panel"))
    assert seen == ["provenance", "flow", "memory", "cost", "node"]


def test_a_panel_as_picture(runs, opened, tmp_path):
    tab = opened(runs("M").path)
    choose(tab, "0/weight", "provenance")
    with tab.expect_download() as started:
        tab.get_by_role("button", name="SVG", exact=True).click()
    drawn = Path(started.value.path()).read_text()
    assert drawn.startswith("<svg") and "0/weight" in drawn and drawn.count("<path") >= 5
    with tab.expect_download() as started:
        tab.get_by_role("button", name="PNG", exact=True).click()
    assert Path(started.value.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_number_as_python(runs, opened):
    tab = opened(runs("S").path)
    choose(tab, "mul#0")
    copied = tab.locator(".face .copy").all()
    assert [c.get_attribute("title") for c in copied] == [
        'copy as Python: recording["mul#0"].value',
        'copy as Python: recording["mul#0"].cotangent',
    ]
