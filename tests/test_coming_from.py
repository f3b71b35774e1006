"""The page for people who come from elsewhere: every line of its tables, on both sides."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import backlit as bl
from backlit import functional as F

PAGE = (Path(__file__).parent.parent / "docs" / "coming_from.md").read_text(encoding="utf-8")
RNG = np.random.default_rng(4)
VALUES = {
    "x": RNG.normal(size=3) + 1.0, "w": RNG.normal(size=3), "A": RNG.normal(size=(3, 3)) + 3 * np.eye(3),
    "images": RNG.normal(size=(8, 1, 6, 6)), "labels": np.array([0, 2, 1, 1, 0, 2, 2, 0]),
}  # fmt: skip
# heading: the modules by the names that stand there, what makes an array, the module with tanh and sin
PEERS: dict[str, tuple[dict[str, str], str, str]] = {
    "PyTorch": ({"torch": "torch"}, "torch.tensor", "torch"),
    "JAX": ({"jax": "jax", "jnp": "jax.numpy"}, "jnp.asarray", "jnp"),
    "NumPy": ({"np": "numpy"}, "np.asarray", "np"),
    "HIPS autograd": ({"autograd": "autograd", "anp": "autograd.numpy"}, "anp.array", "anp"),
}


def rows() -> list[tuple[str, str, str]]:
    found = []
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading = part.split("\n", 1)[0]
        found += [(heading, a, b) for a, b in re.findall(r"^\| `(.*?)` \| `(.*?)` \|$", part, re.MULTILINE)]
    return found


def namespace(math: Any, array: Any) -> dict[str, Any]:
    values = {name: array(value) for name, value in VALUES.items()}
    a = values["A"]
    g = lambda x: math.tanh(a @ x) * x
    return {**values, "g": g, "f": lambda x: (g(x) ** 2).sum() + math.sin(x).sum(), "np": np}


def plain(x: Any) -> np.ndarray:
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def ours(expression: str) -> np.ndarray:
    names: dict[str, Any] = {"bl": bl, "F": F, **namespace(bl, bl.asarray)}
    if "bnp" in expression:
        names["bnp"] = importlib.import_module("backlit.numpy")
    return plain(eval(expression, names))


@pytest.fixture(autouse=True)
def double_precision_in_jax():
    """For a test at a time."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(("heading", "theirs", "here"), rows(), ids=[f"{h}: {a}" for h, a, _ in rows()])
def test_a_line(heading: str, theirs: str, here: str):
    got = ours(here)
    modules, array, math = PEERS[heading]
    peers: dict[str, ModuleType] = {name: pytest.importorskip(module) for name, module in modules.items()}
    if heading == "JAX":
        peers["jax"].config.update("jax_enable_x64", True)  # type: ignore[attr-defined]
    make = eval(array, dict(peers))
    names = {**peers, **namespace(peers[math], make)}
    if heading == "JAX":
        names["np"] = np
    expected = plain(eval(theirs, names))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_every_row_was_read():
    counted = len(re.findall(r"^\| `", PAGE, re.MULTILINE))
    assert len(rows()) == counted >= 75 and {h for h, _, _ in rows()} == set(PEERS)
