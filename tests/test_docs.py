"""The examples of the README and the documentation, executed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import backlit
from backlit.inspector.tour import bundled

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = backlit.core.rng.default_generator().get_state()
    names: dict[str, object] = {"__name__": "example"}
    try:
        for number, block in enumerate(blocks(page, "python")):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                exec(compile(block, f"{page.name}, example {number + 1}", "exec"), names)  # noqa: S102 - the examples of this repository
    finally:
        backlit.core.rng.default_generator().set_state(state)


COMMANDS = [(page, line[2:]) for page in PAGES for b in blocks(page, "console") for line in b.splitlines() if line.startswith("$ ")]  # fmt: skip


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda x: x.name if isinstance(x, Path) else x[:30])
def test_shown_commands_run(page, command, tmp_path):
    program, *arguments = shlex.split(command)
    assert program == "backlit"
    done = subprocess.run(
        [sys.executable, "-m", "backlit", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("tours/"):  # which the documentation's build writes
            assert target.removeprefix("tours/").removesuffix(".html") in {tour.name for tour in bundled()}
            continue
        assert "://" not in target and (page.parent / target).exists(), target


def test_every_public_name_has_a_docstring():
    for name in backlit.__all__:
        value = getattr(backlit, name)
        if callable(value):
            assert (type(value) if hasattr(value, "notation") else value).__doc__, name


def test_the_reference_has_every_public_name_and_its_sentence():
    rows = dict(
        re.findall(
            r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert set(rows) == set(backlit.__all__)
    for name, sentence in rows.items():
        value = getattr(backlit, name)
        documented = " ".join(((type(value) if hasattr(value, "notation") else value).__doc__ or "").split())
        assert documented.startswith(sentence) or isinstance(value, (np.dtype, float, type(None))), name
