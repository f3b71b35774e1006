"""The page in Firefox, and in a wheel that is built and installed where there is no Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import models
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_exports_open_and_move_in_firefox(tmp_path):
    program = os.environ.get("FIREFOX") or shutil.which("firefox-esr")
    if not program:
        pytest.skip("no firefox-esr here (set FIREFOX to its path)")
    from bidi import firefox

    (tmp_path / "profile").mkdir()
    with firefox(program, tmp_path / "profile") as browser:
        for name in ("merge", "perceptron", "transformer"):
            path = tmp_path / f"{name}.html"
            getattr(models, name)().save(path)
            browser.open(path)
            waited = "new Promise((done) => { const look = () => document.documentElement.dataset.painted"
            assert browser.ask(waited + " ? done(true) : setTimeout(look, 20); look(); })")
            last = browser.ask("inspector.time")
            browser.press("Home")
            assert browser.ask("inspector.time") == 0
            browser.press("ArrowRight")
            assert browser.ask("inspector.time") == 1
            assert "event 1 of" in browser.ask("document.getElementById('slider').getAttribute('aria-valuetext')")
            browser.press("End")
            assert browser.ask("inspector.time") == last > 20
            assert browser.ask("document.querySelectorAll('[role=treeitem]').length") >= 5
        assert browser.complaints == []


@pytest.mark.slow
def test_the_wheel_has_the_page_and_needs_no_node(tmp_path, browser):
    tools = [p for p in os.environ["PATH"].split(os.pathsep) if not shutil.which("node", path=p)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PATH": os.pathsep.join(tools)}
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("node_modules", ".venv", ".git", "runs", ".*_cache"))

    def run(*command: object) -> None:
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=300)

    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 1.5e6
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("inspector.js", "inspector.css", "LICENCES.txt"):
        assert f"backlit/inspector/_static/{part}" in names
    # installed beside nothing else than what this environment already has of its dependencies
    venv.create(tmp_path / "new", with_pip=True, system_site_packages=False)
    python = tmp_path / "new" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel)
    code = (
        "import backlit\n"
        "x = backlit.tensor(2.0, requires_grad=True)\n"
        "with backlit.record() as recording:\n"
        "    (x * x).backward()\n"
        "recording.save('new.html')\n"
    )
    run(python, "-c", code)
    tab = browser.new_page()
    tab.goto((tmp_path / "new.html").as_uri())
    tab.wait_for_selector("html[data-painted]")
    tab.close()
