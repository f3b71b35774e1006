"""The page in a browser: graph, tree, time, search, address. Positions are read from the page, not guessed."""

from __future__ import annotations

from itertools import pairwise

import models
import numpy as np
import pytest
from screen import cells, mismatches
from synthetic import SHAPES, Graph

from backlit.inspector.page import page as page_of
from backlit.inspector.wire import unpack

FORWARD, SAVE, SEED, VJP, CONTRIBUTION, COMPLETED = range(6)


@pytest.fixture(scope="module")
def tables():
    made = {}

    def of(name: str) -> dict:
        if name not in made:
            options = {"thumb": 8, "exact": 16} if name == "X" else {}
            made[name] = unpack(SHAPES[name]().packed(**options))[0]
        return made[name]

    return of


def state(tab, what: str):
    return tab.evaluate(f"() => inspector.{what}")


def settled(tab):
    """Waits until the layout asked for is drawn."""
    tab.wait_for_function("() => inspector.scene !== null")


def rows(tab) -> list[str]:
    return tab.locator("[role=treeitem] .row-name").all_inner_texts()


def slider_text(tab) -> str:
    return tab.locator("#slider").get_attribute("aria-valuetext")


def go_to(tab, position: int) -> None:
    tab.locator("#slider").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", str(position)
    )


def choose(tab, name: str) -> None:
    tab.evaluate("(n) => { location.hash = '#n=' + encodeURIComponent(n); }", name)
    tab.wait_for_function("(n) => inspector.selected === n", arg=name)


# -- it opens


@pytest.mark.parametrize("name", ["S", "M", "R", "G", "X"])
def test_shapes_open_with_few_boxes_and_no_complaint(opened, shapes, name):
    tab = opened(shapes(name))
    scene = state(tab, "scene.boxes")
    assert 5 <= scene <= 60
    assert tab.locator("[role=treeitem]").count() >= 5
    assert slider_text(tab).startswith("event ")


def test_what_is_no_recording_is_said(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(page_of(b"nothing"), encoding="utf-8")
    tab = browser.new_page()
    tab.goto(path.as_uri())
    tab.wait_for_selector("[role=alert]")
    assert "cannot be read" in tab.locator("[role=alert]").inner_text()
    tab.close()


def test_names_are_never_markup(opened, tmp_path):
    evil = '</script><img src=x onerror="window.hurt=1"><!--'
    graph = Graph(evil)
    with graph.module(evil, evil):
        x = graph.parameter(evil, 2)
        graph.op("square", x)
    path = tmp_path / "evil.html"
    path.write_text(page_of(graph.packed(), title=evil), encoding="utf-8")
    tab = opened(path)
    assert tab.evaluate("() => window.hurt") is None
    assert tab.locator("img").count() == 0
    assert any(evil in name for name in rows(tab))
    tab.keyboard.press("/")
    tab.keyboard.type("img")
    tab.keyboard.press("ArrowDown")
    settled(tab)
    assert tab.evaluate("() => window.hurt") is None


# -- the time


def test_the_slider_goes_through_every_event_in_words(opened, shapes, tables):
    tab = opened(shapes("S"))
    events = tables("S")["event"]
    names, count = tables("S")["node"]["name"], len(events["kind"])
    words = ["forward", "save", "seed", "vjp", "contribution", "complete", "free", "recompute", "update"]
    tab.keyboard.press("Home")
    assert slider_text(tab) == f"event 0 of {count}: before the first event"
    for e in range(count):
        tab.keyboard.press("ArrowRight")
        text = slider_text(tab)
        assert text.startswith(f"event {e + 1} of {count}: ")
        assert words[events["kind"][e]] in text and names[events["node"][e]] in text
    tab.keyboard.press("ArrowRight")
    assert state(tab, "time") == count
    for key, expected in (("b", int(np.flatnonzero(events["kind"] == SEED)[0])), ("f", 0), ("End", count)):
        tab.keyboard.press(key)
        assert state(tab, "time") == expected


def test_a_merge_waits_for_its_contributions(opened, shapes, tables):
    s = tables("S")
    y = s["node"]["name"].index("y")
    incoming = sorted(int(e) for e in s["edge"]["event"][s["edge"]["from"] == y])
    tab = opened(shapes("S"))
    badge = tab.locator("[role=treeitem]", has_text="y").locator(".row-state")
    seen = []
    assert badge.inner_text() == "δ"
    for event in (*incoming, int(s["node"]["completed_event"][y])):
        for position in (event, event + 1):  # just before, just after
            go_to(tab, position)
            seen.append(badge.inner_text() if badge.count() else "")
    assert seen == ["", "1/2", "1/2", "2/2", "2/2", "δ"]
    go_to(tab, incoming[0] + 1)
    assert "contribution 1 of 2 to δ of y, from v" in slider_text(tab)


def test_events_of_the_selected_node(opened, shapes, tables):
    s = tables("S")
    u = s["node"]["name"].index("u")
    own = np.flatnonzero(s["event"]["node"] == u) + 1
    tab = opened(shapes("S"), "#t=0&n=u")
    met = []
    for _ in own:
        tab.keyboard.press("Shift+ArrowRight")
        met.append(state(tab, "time"))
    assert met == own.tolist()
    tab.keyboard.press("Shift+ArrowLeft")
    assert state(tab, "time") == own[-2]


def test_playing_stops_where_told(opened, shapes, tables):
    m = tables("M")
    name = "layers.1/weight"
    node = m["node"]["name"].index(name)
    tab = opened(shapes("M"), f"#t=0&n={name}")
    tab.keyboard.press("x")
    assert tab.get_by_role("button", name="stop at δ").get_attribute("aria-pressed") == "true"
    tab.get_by_label("events a second").select_option("500")
    tab.keyboard.press("Escape")
    tab.locator("#slider").focus()
    tab.keyboard.press(" ")
    tab.wait_for_function("() => inspector.time > 0 && !inspector.playing")
    assert state(tab, "time") == m["node"]["completed_event"][node] + 1
    assert "stopped" in tab.locator("[role=status]").inner_text()
    tab.keyboard.press(" ")
    tab.wait_for_function("() => inspector.time > 0 && !inspector.playing")
    assert state(tab, "time") == len(m["event"]["kind"])


def test_stepping_over_and_into_a_module(opened, shapes, tables):
    g = tables("G")
    tab = opened(shapes("G"), "#t=0")
    modules, events = g["module"]["path"], g["event"]
    of = [modules[g["node"]["module"][n]] for n in events["node"]]
    tab.keyboard.press("o")  # gather, and what it keeps, of the root
    at = state(tab, "time")
    assert of[at].startswith("h.0")
    tab.keyboard.press("o")  # twelve blocks in one box
    at = state(tab, "time")
    assert of[at].startswith("ln_f") and all(path.startswith("h.") for path in of[at - 200 : at])
    tab.keyboard.press("Shift+O")
    assert of[state(tab, "time")].startswith("h.0")
    tab.keyboard.press("i")
    settled(tab)
    assert "h.0" in rows(tab) and "h.11" in rows(tab)


def test_another_step_keeps_the_place_and_what_is_opened(opened, tmp_path):
    path = tmp_path / "steps.html"
    models.perceptron((6, 5, 4), 3, steps=4).save(path)
    tab = opened(path, "#t=9&n=2/weight")
    opened_first, first = state(tab, "opened.length"), state(tab, "time")
    shown = rows(tab)
    tab.get_by_label("training step").evaluate(
        "(e) => { e.value = 2; e.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    settled(tab)
    assert slider_text(tab).startswith("event 9 of ")
    assert state(tab, "time") > first and state(tab, "selected") == "2/weight"
    assert (state(tab, "opened.length"), rows(tab)) == (opened_first, shown)


# -- the graph


def overlaps(scene) -> list:
    """Pairs of siblings that overlap, and boxes that stick out of what they are in."""
    x, y, w, h, parent = (np.array(scene[k]) for k in ("x", "y", "w", "h", "parent"))
    wrong = []
    inside = parent >= 0
    p = parent[inside]
    sticks = (x[inside] < x[p] - 0.5) | (y[inside] < y[p] - 0.5)
    sticks |= (x + w)[inside] > (x + w)[p] + 0.5
    sticks |= (y + h)[inside] > (y + h)[p] + 0.5
    wrong += [("out", int(i)) for i in np.flatnonzero(inside)[sticks]]
    for around in np.unique(parent):
        kin = np.flatnonzero(parent == around)
        for i in kin:
            others = kin[kin > i]
            both = (x[i] < x[others] + w[others]) & (x[others] < x[i] + w[i])
            both &= (y[i] < y[others] + h[others]) & (y[others] < y[i] + h[i])
            wrong += [("over", int(i), int(j)) for j in others[both]]
    return wrong


@pytest.mark.parametrize("name", ["S", "M", "R", "G", pytest.param("X", marks=pytest.mark.slow)])
def test_boxes_keep_apart_and_lines_join_them(opened, shapes, tables, name):
    tab = opened(shapes(name))
    for press in ("", "e"):
        if press:
            tab.keyboard.press(press)
            settled(tab)
        scene = state(tab, "scene")
        assert overlaps(scene) == []
    # everything opened: one box a node, and each edge a way from its source to its target
    nodes = [i for i, kind in zip(scene["id"], scene["kind"], strict=True) if kind == 0]
    assert sorted(nodes) == list(range(len(scene["boxOfNode"])))
    start, box, points = scene["pathStart"], scene["boxOfNode"], scene["points"]
    edge = tables(name)["edge"]
    for e in range(0, len(edge["from"]), max(1, len(edge["from"]) // 200)):
        way = scene["paths"][start[e] : start[e + 1]]
        assert scene["segmentFrom"][way[0]] == box[edge["from"][e]]
        assert scene["segmentTo"][way[-1]] == box[edge["to"][e]]
        for a, b in pairwise(way):
            end, begin = scene["pointStart"][a + 1] - 2, scene["pointStart"][b]
            gap = np.subtract(points[end : end + 2], points[begin : begin + 2])
            assert np.abs(gap).max() < 1.0, (e, a, b, gap)


def test_a_module_of_very_many_children_is_laid_out_at_once(opened, tmp_path):
    graph = Graph("wide")
    x = graph.parameter("x", 3)
    rows_of = [[x, x, x]]
    for _ in range(140):
        a, b, c = rows_of[-1]
        rows_of.append([graph.op("add", a, b), graph.op("exp", c), graph.op("multiply", a, c)])
    path = tmp_path / "wide.html"
    path.write_text(page_of(graph.packed()), encoding="utf-8")
    tab = opened(path)
    scene = state(tab, "scene")
    assert scene["boxes"] == 421 and overlaps(scene) == []
    assert scene["width"] < 6 * scene["height"] < 60 * scene["width"]  # no ribbon


def test_blocks_of_other_wiring_are_not_folded(opened, tmp_path):
    graph = Graph("blocks")
    x = graph.parameter("x", 3)
    for i in range(8):
        with graph.module(f"b.{i}", "Block"):
            u = graph.op("exp", x)
            v = graph.op("exp", u)
            x = graph.op("add", v, v if i >= 4 else u)
    path = tmp_path / "blocks.html"
    path.write_text(page_of(graph.packed()), encoding="utf-8")
    tab = opened(path)
    tab.keyboard.press("c")
    settled(tab)
    assert [name.replace("\xa0", " ") for name in rows(tab)][1:] == ["b.0 … b.3 ×4", "b.4 … b.7 ×4"]


def test_boxes_have_the_colour_of_what_has_happened(opened, shapes, tables):
    s = tables("S")
    tab = opened(shapes("S"))
    colour = """(name) => {
        const [x, y] = inspector.place(name), canvas = document.querySelector(".graph > canvas");
        const frame = canvas.getBoundingClientRect(), k = inspector.camera.k;
        const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, x - frame.left - 44 * k, y - frame.top, 1, 1, 0, 0, 1, 1);
        const data = copy.getImageData(0, 0, 1, 1).data;
        return [...data].slice(0, 3); }"""
    named = """(name) => {
        const probe = document.createElement("i");
        probe.style.color = `var(--${name})`;
        document.body.append(probe);
        const found = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
        probe.remove();
        return found; }"""
    node = {name: s["node"]["name"].index(name) for name in ("u", "y")}
    incoming = sorted(int(e) for e in s["edge"]["event"][s["edge"]["from"] == node["y"]])
    forward = int(s["node"]["forward_event"][node["u"]])
    done = int(s["node"]["completed_event"][node["u"]])
    expected = [
        ("u", forward, "surface"),
        ("u", forward + 1, "forward-soft"),
        ("u", done, "waiting"),
        ("u", done + 1, "backward-soft"),
        ("y", 0, "given"),
        ("y", incoming[0], "given"),
        ("y", incoming[0] + 1, "waiting"),
        ("y", int(s["node"]["completed_event"][node["y"]]) + 1, "backward-soft"),
    ]
    for name, time, style in expected:
        go_to(tab, time)
        tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert tab.evaluate(colour, name) == tab.evaluate(named, style), (name, time, style)


def test_blocks_fold_and_unfold_and_open_in_place(opened, shapes):
    tab = opened(shapes("G"))
    assert any(name.startswith("h.0 … h.11") and name.endswith("×12") for name in rows(tab))
    x, y = state(tab, "placeOfModule('h.0')")
    tab.mouse.dblclick(x, y)
    settled(tab)
    assert [f"h.{i}" for i in range(12)] == [name for name in rows(tab) if name.startswith("h.")]
    x, y = state(tab, "placeOfModule('h.3')")
    if not 60 < y < 800:
        tab.keyboard.press("0")
        x, y = state(tab, "placeOfModule('h.3')")
    tab.mouse.dblclick(x, y)
    settled(tab)
    assert "attn" in rows(tab)
    nx, ny = state(tab, "placeOfModule('h.3')")
    assert abs(nx - x) < 1 and abs(ny - y) < 1  # what was opened stays where it was
    tab.mouse.dblclick(nx, ny)
    settled(tab)
    assert "attn" not in rows(tab)
    bx, by = state(tab, "placeOfModule('h.3')")
    assert abs(bx - x) < 1 and abs(by - y) < 1


def test_tied_weights_are_one_node_with_two_uses(opened, shapes):
    tab = opened(shapes("G"))
    assert rows(tab).count("wte") == 1
    scene = state(tab, "scene")
    assert scene["segmentFrom"].count(scene["boxOfNode"][1]) == 2


def test_wheel_drag_and_buttons_move_the_graph(opened, shapes):
    tab = opened(shapes("M"))
    before = state(tab, "camera")
    tab.mouse.move(700, 400)
    tab.mouse.wheel(0, -300)
    tab.wait_for_function("(k) => inspector.camera.k > k", arg=before["k"])
    zoomed = state(tab, "camera")
    # the point under the pointer stays
    frame = tab.locator(".graph > canvas").bounding_box()
    px = 700 - frame["x"]
    assert (px - before["x"]) / before["k"] == pytest.approx((px - zoomed["x"]) / zoomed["k"], abs=0.01)
    tab.mouse.down()
    tab.mouse.move(760, 430, steps=4)
    tab.mouse.up()
    moved = state(tab, "camera")
    assert (moved["x"] - zoomed["x"], moved["y"] - zoomed["y"]) == (60, 30)
    assert state(tab, "selected") == ""
    tab.get_by_role("button", name="whole graph").click()
    tab.keyboard.press("Alt+ArrowDown")
    assert state(tab, "camera.k") != moved["k"]


def test_a_click_chooses_a_node_and_the_breadcrumb_says_where(opened, shapes):
    tab = opened(shapes("M"))
    x, y = state(tab, "place('layers.0/matmul#0')")
    tab.mouse.click(x, y)
    assert state(tab, "selected") == "layers.0/matmul#0"
    crumbs = tab.locator(".breadcrumb").inner_text().split()
    assert crumbs[-1] == "matmul" and "layers.0" in crumbs
    assert tab.locator("[role=treeitem][aria-selected=true]").inner_text().startswith("matmul")


# -- colours and search


def test_colours_by_every_column_have_a_legend_with_the_range(opened, shapes, tables):
    m = tables("M")
    tab = opened(shapes("M"))
    box = tab.get_by_label("colour of the boxes")
    options = box.locator("option").evaluate_all("(all) => all.map((o) => o.value)")
    assert {"time", "value_rms", "delta_rms", "bytes", "share", "forward_ns", "saved"} <= set(options)
    box.select_option("bytes")
    tab.keyboard.press("Escape")
    assert "kB" in tab.locator(".legend").inner_text()
    for option in options:
        box.select_option(option)
    box.select_option("delta_rms")
    which = m["stat"]["which"] == 1
    rms = m["stat"]["rms"][which]
    # the graph is open to the last node: the ends are those of all nodes
    for pressed in ("true", "false"):
        low, high = tab.locator(".legend .number").all_inner_texts()
        assert tab.get_by_role("button", name="log").get_attribute("aria-pressed") == pressed
        assert float(low.replace("−", "-")) == pytest.approx(rms.min(), rel=5e-3), pressed
        assert float(high.replace("−", "-")) == pytest.approx(rms.max(), rel=5e-3), pressed
        tab.get_by_role("button", name="log").click()


def test_what_is_opened_stays_while_all_else_moves(opened, shapes):
    tab = opened(shapes("R"))
    x, y = state(tab, "placeOfModule('layer2.0')")
    before = state(tab, "placeOfModule('layer1.0')")
    tab.mouse.dblclick(x, y)
    tab.wait_for_function("() => inspector.scene !== null && inspector.opened.includes('layer2.0')")
    nx, ny = state(tab, "placeOfModule('layer2.0')")
    assert abs(nx - x) < 1 and abs(ny - y) < 1
    other = state(tab, "placeOfModule('layer1.0')")
    assert abs(other[0] - before[0]) + abs(other[1] - before[1]) > 5  # or this test could not fail


def expected_hits(t: dict, question: str) -> set[int]:
    node, stat, edge = t["node"], t["stat"], t["edge"]
    ops = [t["op"]["name"][i] if i >= 0 else "" for i in node["op"]]
    n = len(ops)
    if question == "op:matmul":
        return {i for i in range(n) if ops[i] == "matmul"}
    if question == "attn -kind:op":
        return {i for i in range(n) if "attn" in node["name"][i] and node["kind"][i] != 3}
    if question == "is:merge":
        counts = np.bincount(edge["from"][edge["event"] >= 0], minlength=n)
        return set(np.flatnonzero(counts > 1).tolist())
    if question == "delta.rms>1e-4 kind:parameter":
        large = stat["node"][(stat["which"] == 1) & (stat["rms"] > 1e-4)]
        return {int(i) for i in large if node["kind"][i] == 0}
    if question == "shape:32x64":
        shapes = [
            tuple(t["dims"]["n"][s : s + k].astype(int)) for s, k in zip(node["dims_start"], node["ndim"], strict=True)
        ]
        return {i for i in range(n) if shapes[i][:2] == (32, 64) or shapes[i][-2:] == (32, 64)}
    if question == "bytes>=256000":
        return set(np.flatnonzero(node["bytes"] >= 256000).tolist())
    if question == "is:shared":
        return {i for i in range(n) if node["kind"][i] == 0 and node["uses"][i] > 1}
    raise KeyError(question)


@pytest.mark.parametrize(
    "question",
    [
        "op:matmul",
        "attn -kind:op",
        "is:merge",
        "delta.rms>1e-4 kind:parameter",
        "shape:32x64",
        "bytes>=256000",
        "is:shared",
    ],
)
def test_the_search_finds_what_it_says(opened, shapes, tables, question):
    g = tables("G")
    tab = opened(shapes("G"))
    tab.keyboard.press("/")
    tab.keyboard.type(question)
    wanted = expected_hits(g, question)
    assert wanted
    tab.wait_for_function("(n) => document.getElementById('search-state').textContent === String(n)", arg=len(wanted))
    met = set()
    for _ in range(min(4, len(wanted))):
        tab.keyboard.press("ArrowDown")
        met.add(g["node"]["name"].index(state(tab, "selected")))
        settled(tab)
    assert met <= wanted and len(met) == min(4, len(wanted))
    place = tab.evaluate("() => inspector.place(inspector.selected)")
    assert place is not None
    frame = tab.locator(".graph > canvas").bounding_box()
    assert frame["x"] < place[0] < frame["x"] + frame["width"]
    assert frame["y"] < place[1] < frame["y"] + frame["height"]


@pytest.mark.parametrize("question", ["colour:red", "is:round", "rms>many", "delta.size>3"])
def test_questions_that_make_no_sense_are_answered_in_words(opened, shapes, question):
    tab = opened(shapes("S"))
    tab.keyboard.press("/")
    tab.keyboard.type(question)
    assert len(tab.locator("#search-state.problem").inner_text()) > 8
    assert tab.locator("#search").get_attribute("aria-invalid") == "true"


# -- the address


def test_the_address_keeps_the_view(opened, shapes):
    tab = opened(shapes("M"))
    go_to(tab, 17)
    choose(tab, "layers.1/weight")
    tab.keyboard.press("m")
    tab.get_by_label("width of the lines").select_option("share")
    tab.get_by_label("colour of the boxes").select_option("bytes")
    tab.wait_for_function("() => location.hash.includes('p=memory') && location.hash.includes('c=bytes')")
    anchor = tab.evaluate("() => location.hash")
    again = opened(shapes("M"), anchor)
    assert again.evaluate("() => inspector.selected") == "layers.1/weight"
    assert again.locator("#slider").input_value() == tab.locator("#slider").input_value()
    assert again.locator("#tab-memory").get_attribute("aria-selected") == "true"
    assert again.get_by_label("width of the lines").input_value() == "share"
    assert again.get_by_label("colour of the boxes").input_value() == "bytes"


def test_an_address_of_a_hidden_node_opens_what_is_around_it(opened, shapes):
    before = rows(opened(shapes("G")))
    tab = opened(shapes("G"), "#n=h.3.attn.c_proj/weight")
    tab.wait_for_function("() => inspector.scene !== null && inspector.opened.includes('h.3.attn.c_proj')")
    tab.wait_for_function(
        """() => { const [x, y] = inspector.place(inspector.selected) ?? [-1, -1];
        return document.elementFromPoint(x, y) === document.querySelector(".graph > canvas"); }"""
    )
    assert "ln_f" in before and tab.locator("[role=treeitem][aria-selected=true]").inner_text().startswith("weight")
    assert "cross_entropy" in tab.evaluate("() => inspector.opened")


def test_an_address_of_another_recording_opens_what_it_can(opened, shapes):
    tab = opened(shapes("S"), "#t=1e9&n=no/such&p=nothing&c=what&step=7&m=x")
    assert state(tab, "selected") == ""
    assert state(tab, "time") == int(tab.locator("#slider").get_attribute("max"))


# -- numbers


def test_scalars_show_their_numbers_when_they_are_there(opened, shapes, tables):
    s = tables("S")
    tab = opened(shapes("S"), "#t=0")
    texts = tab.locator(".values .of-value").all_inner_texts()
    assert sorted(texts) == ["2", "3"]  # x and y are given, nothing is computed yet
    tab.keyboard.press("b")
    texts = tab.locator(".values .of-value").all_inner_texts()
    assert sorted(texts, key=float) == ["2", "3", "6", "9", "81"]
    assert tab.locator(".values .of-delta").count() == 0
    tab.keyboard.press("End")
    assert tab.locator(".values .of-delta").count() == 5
    found = cells(tab)
    assert len(found) >= 10 and mismatches(s, found) == []
