"""What a notebook shows of a recording, opened in a browser."""

from __future__ import annotations

from models import perceptron

import backlit


def test_the_frame_of_a_notebook_works(browser, tmp_path):
    shown = perceptron()._repr_html_()
    assert len(shown) < 1_500_000
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><h1>Notebook</h1><div class=output>{shown}</div>", encoding="latin-1")
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    tab = context.new_page()
    complaints = []
    tab.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda r: None if r.url.startswith(("file:", "blob:")) else complaints.append(r.url))
    tab.goto(path.as_uri())
    frame = tab.frame_locator("iframe")
    slider = frame.locator("#slider")
    slider.wait_for()
    slider.focus()
    before = slider.get_attribute("aria-valuetext")
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_timeout(200)
    assert slider.get_attribute("aria-valuetext") != before
    frame.locator("#inspector").get_by_text("weight").first.wait_for()  # the tree comes with the layout
    assert not complaints
    context.close()


def test_the_tree_comes_and_goes_with_the_width(browser, tmp_path):
    """The frame of a notebook gets its width after the page has begun."""
    path = tmp_path / "page.html"
    perceptron().save(path)
    context = browser.new_context(viewport={"width": 900, "height": 800})
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.locator("#slider").wait_for()
    assert tab.get_by_role("tree").count() == 0
    tab.set_viewport_size({"width": 1400, "height": 800})
    tab.get_by_role("tree").wait_for()
    tab.set_viewport_size({"width": 900, "height": 800})
    tab.get_by_role("tree").wait_for(state="detached")
    context.close()


def test_a_page_of_nothing_says_so(browser, tmp_path):
    with backlit.record() as recording:
        pass
    path = tmp_path / "nothing.html"
    recording.save(path)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.get_by_text("Nothing was recorded").wait_for()
    assert "requires_grad" in tab.locator("#panel-body").inner_text()
    context.close()
