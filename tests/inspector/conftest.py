"""A browser, pages opened from disk, and what every page must keep to: no request elsewhere, nothing on the console."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import SHAPES

from backlit.inspector.page import page as page_of

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
SIZE = {"width": 1680, "height": 1000}
AXE = Path(__file__).parents[2] / "inspector" / "node_modules" / "axe-core" / "axe.min.js"


def pytest_terminal_summary(terminalreporter):
    if not CHROMIUM:
        terminalreporter.write_line("NO CHROMIUM HERE: the tests of the inspector's page were skipped", red=True)
    elif not AXE.exists():
        terminalreporter.write_line(
            "NO AXE-CORE HERE (make inspector): whether the page can be read by everybody was not tried", red=True
        )


@pytest.fixture(scope="session")
def serious():
    """What axe finds in a tab that is serious or worse, with the elements."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed (make inspector)")
    axe = AXE.read_text(encoding="utf-8") + "; undefined"

    def found(tab) -> list[str]:
        tab.evaluate(axe)
        violations = tab.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [
            f"{v['id']}: {n['target']} {n.get('failureSummary', '')}"
            for v in violations
            if v["impact"] in ("serious", "critical")
            for n in v["nodes"]
        ]

    return found


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("no chromium here (set CHROMIUM to its path)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Paths of pages of the made-up shapes, written when first asked for."""
    folder = tmp_path_factory.mktemp("shapes")
    graphs = {}

    def path(name: str) -> Path:
        target = folder / f"{name}.html"
        if not target.exists():
            graphs[name] = SHAPES[name]()
            options = {"thumb": 8, "exact": 16} if name == "X" else {}
            target.write_text(page_of(graphs[name].packed(**options), title=name), encoding="utf-8")
        return target

    return path


@pytest.fixture
def opened(browser):
    """Opens a page from disk and waits until the graph is painted; afterwards, looks at what the page asked for and said."""
    contexts, complaints = [], []

    def open_page(path: Path, anchor: str = "", **options):
        context = browser.new_context(viewport=options.pop("viewport", SIZE), bypass_csp=False, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on(
            "console", lambda m: complaints.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else complaints.append(r.url))
        tab.goto(path.as_uri() + anchor)
        tab.wait_for_selector("html[data-painted]", timeout=30_000)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
