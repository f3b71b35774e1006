"""The examples of the README and the documentation, executed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import backlit
from backlit.core.op import REGISTRY
from backlit.inspector.tour import bundled

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import families

MADE = {"reference.md", *(f"functions/{family.page}.md" for family in families.FAMILIES)}
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
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if target.startswith("tours/"):  # which the documentation's build writes
            assert target.removeprefix("tours/").removesuffix(".html") in {tour.name for tour in bundled()}
            continue
        assert "://" not in target and (target in MADE or (page.parent / target).exists()), target


def test_every_public_name_has_a_docstring():
    for name in backlit.__all__:
        value = getattr(backlit, name)
        if callable(value):
            assert (type(value) if hasattr(value, "notation") else value).__doc__, name


def test_every_public_name_and_every_op_stands_on_one_page():
    lost = {
        n: families.home(v)
        for n, v in {**families.public(), **REGISTRY}.items()
        if not families.family_of(families.home(v))
    }
    assert not lost, f"no page has the module of these; name it in docs/families.py: {lost}"
    pages = {family.page: families.members(family) for family in families.FAMILIES}
    names = [name for functions, _ in pages.values() for told in functions for name in told.names]
    assert sorted(names) == sorted(families.public())
    shown = [op.name for functions, ops in pages.values() for op in [*(t.op for t in functions if t.op), *ops]]
    assert sorted(shown) == sorted(REGISTRY)


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda f: f.page)
def test_the_pages_that_are_made(family):
    text = families.page(family)
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    state = backlit.core.rng.default_generator().get_state()
    exec(compile(example, f"functions/{family.page}.md", "exec"), {"__name__": "example"})  # noqa: S102 - the examples of this repository
    backlit.core.rng.default_generator().set_state(state)
    functions, ops = families.members(family)
    for op in [*(told.op for told in functions if told.op), *ops]:
        rules = families.rules_of(op)
        assert (rules is not None) is op.differentiable or op.name == "detach", op.name
        if rules is not None and not rules.note:
            assert rules.reverse, op.name
            assert all(written.text for written in rules.reverse.values())
    for told in functions:
        assert families.first_sentence(families.documentation(told.value)), told.names
    # at most a screen a function: about fifty lines of a hundred characters
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        drawn = re.sub(r"<math.*?</math>|<[^>]+>", "", part)
        assert sum(1 + len(line) // 100 for line in drawn.split("\n")) <= 60, part[:40]


def test_the_reference_leads_to_the_pages():
    rows = re.findall(r"^\| \[.*?\]\(functions/(\w+)\.md#([\w.]+)\) \| (.+) \|$", families.reference(), re.MULTILINE)
    assert len(rows) == sum(len(families.members(family)[0]) for family in families.FAMILIES)
    assert all(
        f'<a id="{anchor}">' in families.page(next(f for f in families.FAMILIES if f.page == page))
        for page, anchor, _ in rows[::40]
    )
