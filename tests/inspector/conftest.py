"""A real browser that opens pages from disk, and fails a test whose page complains or asks the network for anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def chromium():
    """The browser of Debian's package `chromium`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"the browser tests need {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page of 1680 by 1000; the test fails if it logs an error or a request leaves it."""
    context = chromium.new_context(viewport={"width": 1680, "height": 1000}, reduced_motion="reduce")
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    opened.on(
        "request",
        lambda r: complaints.append(r.url[:200]) if r.url.split(":")[0] not in ("file", "data", "blob") else None,
    )
    yield opened
    context.close()
    assert not complaints


@pytest.fixture
def opened(page, tmp_path):
    """Opens a recording, or the path of a page, and waits until it is drawn; `at` is the part of the address after #."""

    def open_(recording, at=""):
        path = recording
        if not isinstance(recording, (str, Path)):
            path = tmp_path / "recording.html"
            recording.save(path)
        page.goto(f"file://{path}#{at}")
        page.wait_for_selector("[data-panel]")
        return page

    return open_
