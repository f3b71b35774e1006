"""Whole steps of the benchmarks and of the documentation, compiled against eager over several steps."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import layout
from backlit.compiler.compile import Compiled
from backlit.compiler.entry import MISS

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import elementwise_gradients
import runge_kutta
from workloads import load

STEPS = 6
WORKLOADS = {
    "W0a": None,
    "W1": None,
    "W2": {"batch": 13, "n0": 40, "n1": 24, "n2": 17, "n3": 10},
    "W3": {"batch": 8, "n0": 24, "n1": 24, "n2": 24, "n3": 24, "n4": 24},
    "W7a": None,
    "W7b": None,
    "W7c": None,
    "W8": {"examples": 501, "columns": 7},
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(name, monkeypatch):
    monkeypatch.setattr(elementwise_gradients, "SIZE", 1009)
    if name == "W7c":
        monkeypatch.setattr(runge_kutta, "N_STEPS", 50)
    dims = WORKLOADS[name]
    if dims is not None:
        dims = {key: dims.get(key, 8) for key in load(name).dims}
    found = {}
    for peer in ("backlit-eager", "backlit"):
        running = load(name, dims).peers[peer](1)
        losses = [running.read(running.step()) for _ in range(2)]
        with monkeypatch.context() as patched:
            if layout.layout() is not None:  # all but the first steps go straight into native code
                patched.setattr(Compiled, "_called", None)
            losses += [running.read(running.step()) for _ in range(STEPS - 2)]
        found[peer] = losses, running.moved() if running.moved else 0.0
    rtol = 2e-5 if load(name).dtype == "float32" else 1e-9
    np.testing.assert_allclose(found["backlit"][0], found["backlit-eager"][0], rtol=rtol)
    np.testing.assert_allclose(found["backlit"][1], found["backlit-eager"][1], rtol=rtol)
    assert len(set(found["backlit"][0])) > 1


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOOP = re.compile(r"^for _ in range\(\d+\):\n((?:    .*\n|\n)+)", re.MULTILINE)


def trainings():
    """Blocks of the documentation with a loop of training steps: page, what is before it, body of the loop."""
    for page in PAGES:
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks):
            loop = LOOP.search(block)
            # a schedule's step stands outside of what is compiled, as its page says: tests/optim has that
            if loop and ".backward()" in loop[1] and "schedule.step()" not in loop[1]:
                yield pytest.param("".join(blocks[:number]) + block[: loop.start()], loop[1], id=page.name)


@pytest.mark.parametrize(("before", "body"), list(trainings()))
def test_training_loops_of_the_documentation(before, body, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for wrap in (lambda f: f, bl.compile):
        bl.random.seed(11)
        names: dict = {"__name__": "example"}
        text = f"{before}\ndef step():\n    global loss\n{body}\n    return loss * 1.0\n"
        exec(compile(text.replace("    global loss\n", ""), "example", "exec"), names)  # noqa: S102 - the examples of this repository
        step = wrap(names["step"])
        losses = [step().item() for _ in range(STEPS)]
        found.append((losses, [p.numpy() for p in names["model"].parameters()]))
        if wrap is bl.compile:
            assert (
                step.reasons == [] and step._last.entry is not None and step._last.entry() is MISS
            )  # `p.numpy()` is held
    for got, want in zip(bl.tree.leaves(found[1]), bl.tree.leaves(found[0]), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
    assert found[0][0][-1] < found[0][0][0]


def test_a_loop_of_the_documentation_is_found():
    assert len(list(trainings())) >= 2
