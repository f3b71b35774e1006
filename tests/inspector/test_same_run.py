"""The same seed gives the same run: two recordings in two processes hold the same numbers, and so do their pages."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import backlit
from backlit.inspector.wire import unpack

PROGRAM = """
import sys
import numpy as np
import backlit
from backlit import nn, optim
from backlit.data import DataLoader, TensorDataset
from backlit.functional import cross_entropy

seed, target = int(sys.argv[1]), sys.argv[2]
backlit.random.seed(seed)
net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
optimizer = optim.Adam(net.parameters(), lr=0.05)
random = np.random.default_rng(0)
rows = random.standard_normal((40, 5)).astype("f4")
loader = DataLoader(TensorDataset(rows, np.arange(40) % 3), batch_size=8, shuffle=True)
with backlit.record() as recording:
    for x, labels in loader:
        optimizer.zero_grad()
        cross_entropy(net(x), labels).backward()
        optimizer.step()
recording.save(target + ".html")
recording.save(target + ".blt")
"""


def is_time(name: str) -> bool:
    """Columns, and what is in `info`, that say how long something took, which is another matter."""
    return name.split("_")[-1] == "ns"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one seed and one of another, each in a process of its own."""
    folder = tmp_path_factory.mktemp("runs")
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        subprocess.run([sys.executable, program, str(seed), folder / name], check=True, timeout=120)
    return folder


def tables_of(path):
    return unpack(path.read_bytes())


def differences(one, other):
    """Columns of tables and entries of `info` that differ."""
    (a, a_info), (b, b_info) = one, other
    assert a.keys() == b.keys() and a_info.keys() == b_info.keys()
    found = [f"info.{key}" for key in a_info if a_info[key] != b_info[key]]
    for table, columns in a.items():
        assert columns.keys() == b[table].keys()
        for column, values in columns.items():
            theirs = b[table][column]
            same = (
                values == theirs
                if isinstance(values, list)
                else np.asarray(values).tobytes() == np.asarray(theirs).tobytes()
            )
            if not same:
                found.append(f"{table}.{column}")
    return found


def test_two_recordings_with_one_seed_hold_the_same(runs):
    first, second, other = (tables_of(runs / f"{name}.blt") for name in ("first", "second", "other"))
    told = [name for name in differences(first, second) if not is_time(name.split(".")[1])]
    assert [name for name in told if not name.startswith("optime.")] == []
    assert len(first[0]["step"]["loss"]) == 5 and len(first[0]["update"]["ratio"]) == 30
    others = differences(first, other)
    assert {"step.loss", "stat.rms", "raw.byte", "flow.product", "provenance.total"} <= set(others)


def seen(tab):
    """Every number that the page shows in its panels, by step."""
    found = {}
    for step in (0, 2, 4):
        tab.evaluate("step => { location.hash = `#step=${step}&t=40`; }", step)
        tab.wait_for_function(
            "step => document.querySelector('.time .step output, .time')?.textContent.includes(`${step + 1}/5`)",
            arg=step,
        )
        for panel in ("Training", "Flow", "Memory", "Provenance"):
            tab.get_by_role("tab", name=panel).click()
            for cell in tab.evaluate(
                "() => [...document.querySelectorAll('[data-cell]')].map((e) => [e.dataset.cell, e.title, e.textContent])"
            ):
                if not is_time(cell[0].split(":")[-1]):
                    found[step, panel, cell[0]] = (cell[1], cell[2])
    return found


def test_their_pages_show_the_same(runs, opened):
    first, second, other = (seen(opened(runs / f"{name}.html")) for name in ("first", "second", "other"))
    assert len(first) > 200 and first == second
    losses = [value for (_, _, cell), value in first.items() if cell.endswith(":loss")]
    assert len(set(losses)) == 5 and losses != [v for (_, _, cell), v in other.items() if cell.endswith(":loss")]


def test_a_recording_replayed_with_its_seed_is_the_same_in_one_process():
    """Not only processes: state that one run leaves behind does not reach the next."""

    def run():
        backlit.random.seed(5)
        net = backlit.nn.Sequential(backlit.nn.Linear(4, 6), backlit.nn.Dropout(0.5), backlit.nn.Linear(6, 2))
        x = backlit.random.normal((7, 4))
        with backlit.record() as recording:
            (net(x) ** 2).mean().backward()
        return recording

    first, second = run(), run()
    for a, b in zip(first.nodes, second.nodes, strict=True):
        assert a.name == b.name and np.array_equal(a.value, b.value) and np.array_equal(a.cotangent, b.cotangent)
