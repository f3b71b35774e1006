"""`backlit explain` as a process: what it prints, and what it returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

MERGE = ("u = x*y; v = u + y; L = v**2", "x=2", "y=3")


def explain(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "backlit", "explain", *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def rows(text):
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_merge_is_printed_step_by_step():
    done = explain(*MERGE)
    assert done.returncode == 0 and not done.stderr
    assert "\x1b" not in done.stdout  # no colour codes in a pipe
    lines = rows(done.stdout)
    expected = [
        "Forward",
        "u x * y = 6 du/dx = y = 3",
        "du/dy = x = 2",
        "v u + y = 9 dv/du = 1",
        "L v ** 2 = 81 dL/dv = 2 * v = 18",
        "Backward (g: the gradient in the same row)",
        "L 1 (the start) to v: g * (2 * v) = 1 * (2 * 9) = 18",
        "v 18 (from L, through pow) to u: g = 18",
        "u 18 (from v, through add) to x: g * y = 18 * 3 = 54",
        "to y: g * x = 18 * 2 = 36",
        "y 18 (from v, through add)",
        "+ 36 (from u, through mul)",
        "= 54",
        "dL/dx = 54",
        "dL/dy = 54",
    ]
    assert [line for line in lines if line in expected] == expected


def test_arrays_keep_their_rows_and_numbers_within_80_columns():
    done = explain("sum(softmax(W @ x + b) * [1, 2])", "W=[[0.12345678,-2],[3,4]]", "x=[1,-1]", "b=1", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80 and "…" not in done.stdout
    lines = rows(done.stdout)
    assert "W [[0.12345678, -2]," in lines and "[3, 4]]" in lines
    assert "inserted: shapes differ" in lines and "part of softmax" in lines
    assert "dout/dW = [[-0.040373367, 0.040373367]," in lines and "[0.040373367, -0.040373367]]" in lines
    long = explain("sum(x**2)", f"x={list(range(8))}")
    assert "dout/dx = [0, 2, ..., 12, 14] of shape [8]" in rows(long.stdout)


def test_a_selection_and_a_missing_path_are_said():
    done = explain("L = sum(where(x > 0, sqrt(x), 0)) + where(y > 0, 1.0, 2.0)", "x=[0,1]", "y=1")
    assert done.returncode == 0, done.stderr
    assert "(0 where a later step did not select it)" in " ".join(rows(done.stdout))
    assert "dL/dy = 0 (no path of derivatives leads from L to y)" in rows(done.stdout)
    twice = explain("x*x", "x=3")
    assert "to x (place 2): g * x = 1 * 3 = 3" in " ".join(rows(twice.stdout))


def test_json_has_every_number():
    done = explain(*MERGE, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["gradients"] == {"x": 54.0, "y": 54.0} and found["backward"] == ["L", "v", "u", "y", "x"]
    steps = {step["name"]: step for step in found["steps"]}
    assert [c["value"] for c in steps["y"]["contributions"]] == [18.0, 36.0]
    assert steps["L"]["rules"][0]["numbers"] == "1 * (2 * 9)"
    infinite = json.loads(explain("x*y", "x=inf", "y=[]", "--json").stdout or "null")
    assert infinite is None  # an array as output is an error
    infinite = json.loads(explain("x*y", "x=inf", "y=0", "--json").stdout)
    assert infinite["gradients"] == {"x": 0.0, "y": "inf"} and infinite["steps"][2]["value"] == "nan"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("L = sinn(x)", "x=1"), "unknown function sinn; did you mean sin or sinh? (at column 5)\n    L = sinn(x)\n        ^"),
        (("x", "x"), "a value is given as NAME=VALUE, like x=2 or W=[[1,2],[3,4]]; got 'x'"),
        (("x*y", "x=1"), "y has no value; give it as y=NUMBER (at column 3)\n    x*y\n      ^"),
        (("x*2", "x=[1,2]"), "end with sum(...) or mean(...) (at column 1)"),
        (("x@x", "x=2"), "matmul: expected [..., m, k] @ [..., k, n], got float64[] @ float64[]; use * (at column 1)"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_with_its_place_and_exit_code_2(arguments, message):
    done = explain(*arguments)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("backlit explain: ") and message in done.stderr
    assert "Traceback" not in done.stderr and ".py" not in done.stderr


def test_a_page_is_written_on_request(tmp_path):
    page = tmp_path / "merge.html"
    done = explain(*MERGE, "--html", str(page))
    assert done.returncode == 0 and f"The page is in {page}" in done.stdout and "dL/dy = 54" in done.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    data = tmp_path / "merge.blt"
    assert explain(*MERGE, "--json", "--html", str(data)).returncode == 0
    from backlit import load_recording

    recording = load_recording(data)
    assert [n.name for n in recording.nodes] == ["x", "y", "u", "v", "L"]
    assert recording["y"].cotangent == 54 and len(recording["y"].contributions) == 2
    refused = explain(*MERGE, "--html", str(tmp_path / "merge.txt"))
    assert refused.returncode == 2 and "must end in .html" in refused.stderr
