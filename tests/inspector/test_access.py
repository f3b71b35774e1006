"""The page for everybody: read by machines, driven by the keyboard alone, in both themes, large, and without motion."""

from __future__ import annotations

import pytest


def state(tab, what: str):
    return tab.evaluate(f"() => inspector.{what}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["S", "M"])
def test_axe_finds_nothing_serious(serious, opened, shapes, name, scheme):
    node = "y" if name == "S" else "layers.1/matmul#0"
    tab = opened(shapes(name), f"#n={node}", color_scheme=scheme)
    assert tab.locator("html").get_attribute("data-theme") == scheme
    for key in ("End", "p", "g", "m", "t", "?"):
        tab.keyboard.press(key)
        assert serious(tab) == [], key


def test_the_theme_follows_the_system_until_chosen(opened, shapes):
    tab = opened(shapes("S"), color_scheme="light")
    html = tab.locator("html")
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_selector("html[data-theme=dark]")
    tab.keyboard.press("d")
    assert html.get_attribute("data-theme") == "light"
    tab.emulate_media(color_scheme="light")
    tab.emulate_media(color_scheme="dark")
    assert html.get_attribute("data-theme") == "light"
    tab.reload()
    tab.wait_for_selector("html[data-painted]")
    assert html.get_attribute("data-theme") == "light"


def test_every_key_does_what_the_list_says(opened, shapes):
    tab = opened(shapes("M"))
    press = tab.keyboard.press
    end = state(tab, "time")
    moves = [("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", end), ("f", 0)]
    for key, expected in moves:
        press(key)
        assert state(tab, "time") == expected, key
    press("b")
    assert "vjp" not in tab.locator("#slider").get_attribute("aria-valuetext")
    press("ArrowRight")
    assert "seed" in tab.locator("#slider").get_attribute("aria-valuetext")
    press(" ")
    assert state(tab, "playing")
    press(" ")
    assert not state(tab, "playing")
    for key, name in (("p", "provenance"), ("g", "flow"), ("m", "memory")):
        press(key)
        assert tab.locator(f"#tab-{name}").get_attribute("aria-selected") == "true"
    press("?")
    tab.get_by_role("dialog").wait_for()
    press("Escape")
    tab.get_by_role("dialog").wait_for(state="detached")
    before = state(tab, "camera.k")
    press("+")
    assert state(tab, "camera.k") > before
    press("-")
    press("0")
    press("Alt+ArrowLeft")
    press("c")
    tab.wait_for_function("() => inspector.scene !== null && inspector.opened.length === 1")
    press("e")
    tab.wait_for_function("() => inspector.scene !== null && inspector.opened.length > 3")
    press("/")
    assert tab.evaluate("() => document.activeElement.id") == "search"
    tab.keyboard.type("relu")
    press("ArrowDown")
    assert "relu" in state(tab, "selected")
    press("Escape")
    press("Escape")
    assert tab.evaluate("() => document.activeElement.id") != "search"
    press("x")
    assert tab.locator(".break.set").count() == 1


def test_every_key_has_a_button(opened, shapes):
    tab = opened(shapes("G"))
    titles = " ".join(
        tab.locator("button, input").evaluate_all("(all) => all.map((e) => `${e.title} ${e.placeholder}`)")
    )
    for key in (
        "(←)",
        "(→)",
        "(F)",
        "(B)",
        "(End)",
        "(space)",
        "(O)",
        "(I)",
        "(X)",
        "(E)",
        "(C)",
        "(0)",
        "(+)",
        "(D)",
        "(?)",
    ):
        assert key in titles, key
    assert "/" in titles


def test_the_tree_is_walked_and_opened_by_arrows(opened, shapes):
    tab = opened(shapes("G"))
    tree = tab.locator("#tree")
    tree.focus()
    press = tab.keyboard.press

    def active() -> str:
        row = tree.get_attribute("aria-activedescendant")
        return tab.locator(f"#{row}").inner_text().split("\n")[0]

    press("Home")
    assert active() == "tokens" and state(tab, "selected") == "tokens"
    for _ in range(5):
        press("ArrowDown")
    assert active().startswith("h.0 … h.11")
    press("ArrowRight")
    tab.wait_for_function("() => inspector.scene !== null")
    assert active() == "h.0"
    press("ArrowRight")
    tab.wait_for_function("() => inspector.opened.includes('h.0')")
    assert tab.locator("[role=treeitem]", has_text="h.0").first.get_attribute("aria-expanded") == "true"
    press("ArrowRight")
    assert active() == "ln_1"
    assert tab.locator(f"#{tree.get_attribute('aria-activedescendant')}").get_attribute("aria-level") == "2"
    press("ArrowLeft")
    press("ArrowLeft")
    assert active() == "h.0"
    press("ArrowLeft")
    tab.wait_for_function("() => !inspector.opened.includes('h.0')")
    press("End")
    assert active() == "mean"
    press("PageUp")
    press("Home")
    assert active() == "tokens"


def test_the_keyboard_alone_reaches_everything(opened, shapes):
    """Tab goes round all controls, and the focus can be seen on each."""
    tab = opened(shapes("S"), "#n=y")
    seen = set()
    for _ in range(120):
        tab.keyboard.press("Tab")
        here = tab.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
            return [e.id || e.getAttribute('aria-label') || e.textContent.slice(0, 30), e.tagName,
                    s.outlineStyle !== 'none' || e.tagName === 'BODY'] }"""
        )
        assert here[2], here
        seen.add(here[0])
    controls = ["tree", "search", "slider", "play", "one event on", "help", "light or dark", "whole graph", "tab-node"]
    assert set(controls) <= seen


def test_contributions_are_walked_by_brackets(opened, shapes):
    tab = opened(shapes("S"), "#n=y")
    tab.keyboard.press("]")
    assert tab.locator("[role=status]").inner_text() == "contribution 1 of 2, from v"
    tab.keyboard.press("]")
    assert tab.locator("[role=status]").inner_text() == "contribution 2 of 2, from u"
    tab.keyboard.press("[")
    assert tab.locator("[role=status]").inner_text() == "contribution 1 of 2, from v"


@pytest.mark.parametrize("size", [(840, 500), (1280, 720), (390, 800)])
def test_a_small_window_or_twice_the_size_is_usable(opened, shapes, size):
    tab = opened(shapes("M"), viewport={"width": size[0], "height": size[1]})
    wide = tab.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= size[0]
    for part in ("#slider", ".graph > canvas", "#search", ".panel-body"):
        box = tab.locator(part).bounding_box()
        assert box["width"] > 80 and box["height"] > 15
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] + 1
    assert tab.locator(".graph").bounding_box()["height"] >= 150


def test_reduced_motion_stops_animations(opened, shapes):
    tab = opened(shapes("S"), reduced_motion="reduce")
    tab.keyboard.press("e")
    running = tab.evaluate("() => document.getAnimations().filter((a) => a.effect.getTiming().duration > 0).length")
    assert running == 0


def test_fingers_pinch_and_drag(opened, shapes):
    tab = opened(shapes("M"), has_touch=True)
    client = tab.context.new_cdp_session(tab)

    def touch(kind: str, *points: tuple[int, int]) -> None:
        listed = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": listed})

    before = state(tab, "camera")
    touch("touchStart", (700, 400), (760, 400))
    for spread in range(10, 90, 20):
        touch("touchMove", (700 - spread, 400), (760 + spread, 400))
    touch("touchEnd")
    zoomed = state(tab, "camera")
    assert zoomed["k"] > 1.5 * before["k"]
    touch("touchStart", (700, 400))
    for far in range(10, 90, 20):
        touch("touchMove", (700, 400 + far))
    touch("touchEnd")
    assert state(tab, "camera")["y"] > zoomed["y"] + 40
