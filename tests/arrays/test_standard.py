"""The array API standard 2024.12, function by function, against `array_api_strict`."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

pytest.importorskip("array_api_strict", reason="the strict implementation of the array API is not installed")

import standard
import standard_report
from standard import ARRAY, DEVIATIONS, MISSING, NAMES, SIGNATURES, Case, compared, has, signature_fault
from standard_report import FAMILIES

import backlit as bl


def test_what_is_missing_is_listed_and_nothing_else():
    assert {name for name in NAMES if not has(name)} == MISSING
    assert not [name for name in ARRAY if not hasattr(bl.Tensor, name)]


def test_the_names_are_those_of_the_strict_implementation():
    """But what later versions of the standard add."""
    strict = standard.strict
    theirs = {n for n in strict.__all__ if n[0] != "_" and not inspect.ismodule(getattr(strict, n))}
    theirs |= {f"linalg.{n}" for n in strict.linalg.__all__} | {f"fft.{n}" for n in strict.fft.__all__}
    own = {
        n
        for n in theirs
        if "array_api_strict" in n
        or n in ("ArrayAPIStrictFlags", "Device", "isin", "broadcast_shapes", "linalg.eig", "linalg.eigvals")
    }
    assert theirs - own == {n for n in NAMES if not n.startswith("__")}


@pytest.mark.parametrize("name", [n for n in NAMES if n not in MISSING])
def test_signatures(name):
    assert signature_fault(name) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_results(family):
    match, _, wrong = compared(list(FAMILIES[family]()))
    unexplained = [f"{c.label}: {what}" for c, what in wrong if not any(d.covers(c, what) for d in DEVIATIONS)]
    unexplained = [u for u in unexplained if u.partition("(")[0] not in MISSING]
    assert not unexplained, "\n".join([f"{len(unexplained)} differ", *unexplained[:20]])
    assert sum(match.values()) > 500


def test_every_function_has_cases_and_every_deviation_occurs():
    occurring, counted = set(), set()
    for make in FAMILIES.values():
        _, total, wrong = compared(list(make()))
        counted |= set(total)
        occurring |= {d.title for d in DEVIATIONS for case, what in wrong if d.covers(case, what)}
    assert {n for n in NAMES if not n.startswith("__")} <= counted
    assert occurring == {d.title for d in DEVIATIONS}


def test_a_difference_is_seen():
    x = np.array([0.0, 1.0, np.nan])
    for wrong in (x.astype(np.float32), x[:2], -x, x + [0, 1e-15, 0], np.array([0.0, 1.0, 1.0]), 0.0, (x,)):
        assert standard.difference(wrong, x, 0.0, True) and not standard.difference(x, x.copy(), 0.0, True)
    assert not standard.difference(x + [0, 1e-15, 0], x, 16.0, True)
    assert standard.difference(x * 1j, -x * 1j, 0.0, True) and standard.difference(True, 1, 0.0, True)
    cases = [
        Case("add", "add", lambda xp, a: xp.add(a(x), 1.0 if xp is bl else 2.0)),
        Case("add", "add", lambda xp, a: xp.add(a(x))),
    ]
    assert [what for _, what in compared(cases)[2]] == ["np.float64(1.0), not np.float64(2.0)"]
    assert set(SIGNATURES) <= set(NAMES)


def test_the_documentation_names_every_deviation():
    text = standard_report.PAGE.read_text(encoding="utf-8")
    for d in DEVIATIONS:
        assert f"- **{d.title}** {d.why}" in text, d.title
    assert standard_report.BEGIN in text and standard_report.END in text
