"""Every number on the screen is that of the recording, to the last digit shown."""

from __future__ import annotations

import math
import random

import models
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screen import cells, mismatches, written

from backlit.inspector.wire import unpack

MADE = {
    "S": models.merge,
    "M": lambda: models.perceptron((30, 16, 16, 4), 8),
    "G": lambda: models.transformer(blocks=2, width=16, heads=2, words=20, length=6),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Path of the page and tables of a recording, made when first asked for."""
    folder, known = tmp_path_factory.mktemp("recorded"), {}

    def of(name: str):
        if name not in known:
            recording = MADE[name]()
            recording.save(folder / f"{name}.html")
            recording.save(folder / f"{name}.blt")
            tables, info = unpack((folder / f"{name}.blt").read_bytes())
            tables["info"] = {key: [value] for key, value in info.items()}
            known[name] = folder / f"{name}.html", tables
        return known[name]

    return of


@pytest.mark.parametrize("name", ["S", "M", "G"])
def test_numbers_on_the_screen_are_those_of_the_recording(opened, recorded, name):
    path, tables = recorded(name)
    tab = opened(path)
    chance = random.Random(name)
    count, names = len(tables["event"]["kind"]), tables["node"]["name"]
    seen: dict[tuple[str, str], dict] = {}
    for turn in range(20):
        node, panel = chance.choice(names), ["node", "node", "memory", "flow", "provenance"][turn % 5]
        time = chance.randint(0, count) if turn else count
        tab.evaluate("(hash) => { location.hash = hash; }", f"#t={time}&n={node}&p={panel}")
        tab.wait_for_function("([n, t]) => inspector.selected === n && inspector.time === t", arg=[node, time])
        tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        for one in cells(tab):
            seen[one["cell"], one["text"]] = one
    assert len(seen) >= (40 if name == "S" else 167)
    sample = chance.sample(sorted(seen), min(200, len(seen)))
    shown = [seen[key] for key in sample]
    assert mismatches(tables, shown) == []
    # and a number that is not the recording's would be noticed
    other = {table: {k: v * 1.01 + 1 if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v for k, v in c.items()}
             for table, c in tables.items()}  # fmt: skip
    assert len(mismatches({**other, "array": tables["array"]}, shown)) > len(shown) / 4


def test_contributions_stand_beside_their_lines_as_they_arrive(opened, recorded):
    path, tables = recorded("S")
    y = tables["node"]["name"].index("y")
    events = sorted(int(e) for e in tables["edge"]["event"][tables["edge"]["from"] == y])
    tab = opened(path)
    for time, expected in (
        (events[0], []),
        (events[0] + 1, ["18"]),
        (events[1], ["18"]),
        (events[1] + 1, ["18", "36"]),
    ):
        tab.evaluate("(t) => { location.hash = `#t=${t}`; }", time)
        tab.wait_for_function("(t) => inspector.time === t", arg=time)
        assert sorted(tab.locator(".arriving").all_inner_texts()) == expected


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.inf, -math.inf, math.nan]), st.integers(2, 8))
def test_written_numbers_are_near_the_number(x, digits):
    """The reading of the page's notation that the tests rely on, against Python's own."""
    text = written(x, digits).replace("\u202f", "").replace("\u2212", "-").replace("∞", "inf")
    back = float(text)
    if math.isfinite(x):
        assert back == pytest.approx(x, rel=0.51 * 10 ** (1 - digits), abs=0)
    else:
        assert back == x or (np.isnan(back) and np.isnan(x))


def test_the_page_writes_as_the_tests_do(opened, recorded):
    """Numbers of every size, ties among them, written by the page's own formatter."""
    path, _ = recorded("S")
    tab = opened(path)
    chance = np.random.default_rng(0)
    numbers = [0.0, -0.0, 0.5, 2.5, 0.125, 1234.5, 99999.5, 1e15, 123456789.0, 1e-3, 9.9996e-4, 0.00099999999, 1e308]
    numbers += (chance.standard_normal(300) * 10.0 ** chance.integers(-12, 14, 300)).tolist()
    for digits in (3, 4, 6):
        texts = tab.evaluate("([all, digits]) => all.map((x) => inspector.format(x, digits))", [numbers, digits])
        assert texts == [written(x, digits) for x in numbers]
