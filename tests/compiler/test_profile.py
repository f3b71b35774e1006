"""profile(): the times of kernels, which change nothing of what they compute."""

from __future__ import annotations

import itertools
import json
import threading
import time

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import native
from backlit.compiler import profile as module
from backlit.compiler.profile import limits
from backlit.core.errors import ArgumentError, DataError


def layer(x, w):
    hidden = bl.maximum(x @ w, 0.0)
    return bl.sum(hidden * hidden, axis=1) + bl.mean(x, axis=1)


def arguments(rows=40):
    rng = np.random.default_rng(0)
    return bl.tensor(rng.standard_normal((rows, 30))), bl.tensor(rng.standard_normal((30, 50)))


def test_every_kernel_is_timed_at_every_call_and_the_times_add_up():
    step, (x, w) = bl.compile(layer), arguments()
    want = step(x, w).tolist()
    began = time.perf_counter()
    with bl.profile() as times:
        found = [step(x, w).tolist() for _ in range(25)]
    wall_s = time.perf_counter() - began
    assert all(out == want for out in found)
    kernels, report = times.kernels(), step.report()
    assert len(kernels) == len(report.kernels) >= 3
    assert {k.calls for k in kernels} == {25}
    assert sum(k.total_s for k in kernels) == pytest.approx(times.total_s, rel=1e-9)
    assert sum(k.share for k in kernels) == pytest.approx(1.0)
    assert 0 < times.total_s < 1.1 * wall_s
    assert [k.total_s for k in kernels] == sorted((k.total_s for k in kernels), reverse=True)
    by_name = {k.kernel: k for k in kernels}
    for k in report.kernels:
        its = by_name[k.name]
        assert (its.ops, its.flops, its.moved_bytes) == (k.ops, k.flops, k.read_bytes + k.written_bytes)
        assert 0 <= its.median_s <= its.total_s and its.program == "layer"


def test_nothing_is_timed_before_or_after(monkeypatch):
    step, (x, w) = bl.compile(layer), arguments()
    step(x, w)
    with bl.profile() as times:
        step(x, w)
    for _ in range(3):
        step(x, w)
    assert {k.calls for k in times.kernels()} == {1}
    with pytest.raises(ZeroDivisionError), bl.profile() as times:
        step(x, w)
        raise ZeroDivisionError
    assert native.profiler is None and {k.calls for k in times.kernels()} == {1}
    assert step.reasons == []


def test_only_one_block_profiles():
    with bl.profile():
        with pytest.raises(ArgumentError, match="another block"), bl.profile():
            pass
        assert native.profiler is not None


def test_state_is_written_as_ever():
    w = bl.tensor(np.ones(6))

    @bl.compile
    def step(x):
        w[...] = w * 0.5 + x
        return bl.sum(w)

    want, value = [], np.ones(6)
    for k in range(6):
        value = value * 0.5 + k
        want.append(value.sum())
    found = [step(bl.tensor(np.full(6, 0.0))).item(), step(bl.tensor(np.full(6, 1.0))).item()]
    with bl.profile() as times:
        found += [step(bl.tensor(np.full(6, float(k)))).item() for k in (2, 3)]
    found += [step(bl.tensor(np.full(6, float(k)))).item() for k in (4, 5)]
    assert found == want and {k.calls for k in times.kernels()} == {2}


def test_programs_made_inside_and_several_of_one_function():
    step = bl.compile(layer)
    with bl.profile() as times:
        for rows in (5, 9):
            step(*arguments(rows))
    assert {k.program for k in times.kernels()} == {"layer", "layer#2"}


def test_ops_that_run_by_their_forward_are_timed_too():
    @bl.compile
    def f(x):
        return (x * 2.0).astype("int64") ** powers, bl.sum(bl.exp(x))

    x, powers = bl.tensor([1.0, 5.0, 2.0]), bl.tensor(np.arange(3))
    with bl.profile() as times:
        for _ in range(4):
            assert f(x)[0].tolist() == [1, 10, 16]
    kernels = times.kernels()
    (called,) = (k for k in kernels if k.ops == ("pow",))
    assert called.kernel.endswith("callback") and called.calls == 4 and called.limit is None
    assert {k.calls for k in kernels} == {4} and len(kernels) == len(f.report().kernels)
    assert "pow" in str(times)


def test_runs_in_other_threads_are_timed():
    step, (x, w) = bl.compile(layer, threads=2), arguments(400)
    step(x, w)
    with bl.profile() as times:
        others = [threading.Thread(target=step, args=(x, w)) for _ in range(3)]
        for other in others:
            other.start()
        for other in others:
            other.join()
    assert {k.calls for k in times.kernels()} == {3}


def test_the_first_runs_are_kept_when_there_are_too_many(monkeypatch):
    step, (x, w) = bl.compile(layer), arguments()
    n = len(step.report(x, w).kernels)
    monkeypatch.setattr(module, "WORDS", 5 * (n + 1) + n)
    with bl.profile() as times:
        for _ in range(8):
            step(x, w)
    assert {k.calls for k in times.kernels()} == {5}
    assert "layer: the first 5 of 8 runs" in str(times)


def test_the_text_is_a_table_beside_the_limits_of_the_machine():
    step, (x, w) = bl.compile(layer, threads=1), arguments()
    with bl.profile() as times:
        step(x, w)
    head, *rows, last = str(times).splitlines()
    assert head.split() == [
        "kernel",
        "ops",
        "calls",
        "total",
        "ms",
        "share",
        "median",
        "us",
        "FLOP/s",
        "B/s",
        "of",
        "limit",
    ]
    assert len(rows) == len(step.report().kernels) and all(
        row.startswith("layer ") and row.endswith("%") for row in rows
    )
    assert last.startswith("limits with 1 thread: products ")
    its = limits(1)
    assert its is limits(1)
    rates = (its.float64_flops_per_s, its.float32_flops_per_s, its.memory_bytes_per_s, its.cache_bytes_per_s)
    assert all(1e7 < rate < 1e14 for rate in rates)


def test_a_trace_for_the_browser(tmp_path):
    step, (x, w) = bl.compile(layer, threads=1), arguments()
    with bl.profile() as times:
        for _ in range(6):
            step(x, w)
    times.save(tmp_path / "trace.json", runs=4)
    found = json.loads((tmp_path / "trace.json").read_text())
    named, *events = found["traceEvents"]
    assert named["ph"] == "M" and named["args"] == {"name": "backlit"}
    n = len(step.report().kernels)
    assert len(events) == 4 * n and {e["ph"] for e in events} == {"X"} and {e["cat"] for e in events} == {"layer"}
    assert events[0]["ts"] == 0.0
    for before, after in itertools.pairwise(events):
        assert after["ts"] >= before["ts"] + before["dur"] - 1e-6
    assert [e["name"] for e in events[:n]] == [e["name"] for e in events[n : 2 * n]]
    assert events[0]["args"]["flops"] == step.report().kernels[0].flops
    with pytest.raises(DataError, match="cannot write"):
        times.save(tmp_path / "no" / "trace.json")


def test_without_a_run_there_is_nothing_to_see(tmp_path):
    with bl.profile() as times:
        pass
    assert times.kernels() == [] and times.total_s == 0.0 and str(times).startswith("kernel")
    times.save(tmp_path / "trace.json")
    assert len(json.loads((tmp_path / "trace.json").read_text())["traceEvents"]) == 1
