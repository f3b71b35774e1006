"""report(): what a compiled program consists of, before and after it runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler.report import amount, lines_in_words, ops_in_words
from backlit.core.errors import ArgumentError


def affine(x, w):
    hidden = bl.maximum(x @ w, 0.0)
    return bl.sum(hidden * hidden)


def arguments():
    rng = np.random.default_rng(0)
    return bl.tensor(rng.standard_normal((4, 3))), bl.tensor(rng.standard_normal((3, 5)))


GOLDEN = """\
affine: 2 kernels, 0 callbacks, 1 thread; 180 FLOP, 376 B read, 168 B written a step

kernel     ops                   shape  FLOP   read  written  chunks  from
0 product  matmul, maximum, mul    4x5   160  216 B    160 B       1  test_report.py:{first},{second}
1 loops    sum                     4x5    20  160 B      8 B       1  test_report.py:{second}

memory: * B at most: arguments 216 B, state 0 B (0 B written where it lies), results 8 B, arena 192 B (lower bound 192 B), scratch * B
made in * s: trace *, passes *, schedule *, kernels *, memory *, machine code * (compiled and stored, *)"""


def test_the_text_of_a_small_program(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(tmp_path / "cache"))
    text = str(bl.compile(affine, threads=1).report(*arguments()))
    text = re.sub(r"scratch [\d.]+ k?B", "scratch * B", text)
    text = re.sub(r"\d\.\d{3}", "*", text)
    text = re.sub(r"stored, [\d.]+ kB", "stored, *", text)
    text = re.sub(r"memory: [\d.]+ k?B", "memory: * B", text)  # with the scratch, which depends on the machine
    first = affine.__code__.co_firstlineno + 1
    assert text == GOLDEN.format(first=first, second=first + 1)


def trained():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    opt = optim.Adam(model.parameters())

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    rng = np.random.default_rng(0)
    x, y = bl.tensor(rng.standard_normal((16, 6)).astype(np.float32)), bl.tensor(rng.integers(0, 3, 16))
    return bl.compile(step), model, opt, x, y


def test_a_report_before_the_first_step_runs_nothing():
    step, model, opt, x, y = trained()
    before = [p.tolist() for p in model.parameters()]
    report = step.report(x, y)
    assert [p.tolist() for p in model.parameters()] == before
    assert all(state["step"].item() == 0.0 for state in opt.state.values())
    step(x, y)
    assert step.reasons == [] and str(step.report()) == str(report)


def test_bytes_and_operations_of_a_step():
    step, model, opt, x, y = trained()
    report = step.report(x, y)
    n_weights = sum(p.size for p in model.parameters())
    state = 3 * 4 * n_weights + 8 * len(opt.state) + 8
    assert report.argument_bytes == x.numpy().nbytes + y.numpy().nbytes
    assert report.state_bytes == state
    assert report.written_over_bytes >= 3 * 4 * n_weights
    assert report.result_bytes == 4 + state - 8 - report.written_over_bytes
    assert report.arena_bytes >= report.arena_bound_bytes > 0
    assert report.peak_bytes == sum(
        (report.argument_bytes, report.state_bytes, report.result_bytes, report.arena_bytes, report.scratch_bytes)
    )
    products = [k for k in report.kernels if "matmul" in k.ops]
    assert len(products) == 5  # two forward, one for the hidden cotangent, two for weights
    assert sum(k.flops for k in products) >= 2 * 16 * (6 * 8 * 2 + 8 * 3 * 3)
    assert sum(k.flops for k in report.kernels) == report.flops
    assert set(report.seconds) == {"trace", "passes", "schedule", "kernels", "memory", "machine code"}
    assert all(s >= 0 for s in report.seconds.values())


def test_a_kernel_names_the_lines_it_comes_from():
    step, _, _, x, y = trained()
    first = trained.__code__.co_firstlineno
    lines = {int(line.rpartition(":")[2]) for k in step.report(x, y).kernels for line in k.lines}
    files = {line.rpartition(":")[0] for k in step.report(x, y).kernels for line in k.lines}
    assert files == {str(Path(__file__))}
    assert lines == {first + 6, first + 7, first + 8}  # forward, backward, update


def test_what_runs_by_its_eager_forward_is_listed_with_the_reason():
    def f(x, i):
        return bl.sum(bl.take_along_axis(x * 2.0, i)), i**i

    report = bl.compile(f).report(bl.tensor([1.0, 3.0, 2.0]), bl.tensor(np.array([2, 0])))
    listed = {k.ops[0]: k.why for k in report.callbacks}
    assert "pow" in listed and all("no native code" in why for why in listed.values())
    assert f"pow runs by its eager forward: {listed['pow']}" in str(report)
    assert all(k.chunks == k.units == 0 for k in report.callbacks)


def test_loops_count_their_turns():
    def f(x):
        return bl.scan(lambda c, _: (c * 1.5 + 0.5, c), x, None, length=7)[0]

    report = bl.compile(f).report(bl.tensor(2.0))
    assert sum(k.flops for k in report.kernels if "scan" in k.ops) == 14


def test_sums_over_blocks_are_joined():
    report = bl.compile(lambda x: bl.sum(x)).report(bl.tensor(np.ones(10_000)))
    assert [k.ops for k in report.kernels] == [("sum",), ("sum",)]
    assert report.kernels[0].name == "0 loops" and report.kernels[1].name == "1 join"


def test_an_operand_read_along_one_axis_counts_once():
    report = bl.compile(lambda x, b: x + b).report(bl.tensor(np.ones((50, 8))), bl.tensor(np.ones(8)))
    assert report.read_bytes == 8 * (400 + 8) and report.written_bytes == 8 * 400 and report.flops == 400


def test_the_second_time_the_code_comes_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(tmp_path / "cache"))
    assert not bl.compile(affine).report(*arguments()).cache_hit
    again = bl.compile(affine).report(*arguments())
    assert again.cache_hit and "(loaded, " in str(again)


def test_text_for_arguments_or_of_the_program_that_ran_last():
    compiled = bl.compile(affine)
    x, w = arguments()
    with pytest.raises(ArgumentError, match="nothing is compiled yet"):
        compiled.report()
    with pytest.raises(TypeError, match="missing"):
        compiled.report(x)
    assert "matmul" in compiled.ir(x, w)
    compiled(x, w)
    assert compiled.ir() == compiled.ir(x, w) and "define void" in compiled.llvm() and "ret" in compiled.asm()
    assert "[7,3]" in compiled.ir(bl.tensor(np.ones((7, 3))), w)
    assert bl.compile(lambda: bl.ones((2,)) * 2.0).report().kernels == ()


def test_a_function_of_recorded_tensors_is_not_compiled():
    x = bl.tensor([1.0, 2.0], requires_grad=True)
    scaled = x * 2.0
    with pytest.raises(ArgumentError, match="part of a recorded graph"):
        bl.compile(lambda: bl.sum(scaled * 3.0)).report()


def test_numbers_and_lists_in_words():
    assert [amount(n, "B") for n in (0, 999, 1000, 1234, 56_789, 999_600, 12_345_678, 5e12)] == [
        "0 B", "999 B", "1.00 kB", "1.23 kB", "56.8 kB", "1.00 MB", "12.3 MB", "5.00 TB"
    ]  # fmt: skip
    assert ops_in_words(["add", "mul", "mul", "mul", "exp"]) == "add, mul x3, exp"
    assert ops_in_words(["sub", "mul"] * 20, longest=30) == "sub, mul, sub, mul, ... 36 more"
    assert lines_in_words(["/a/train.py:3", "/a/train.py:7", "/b/model.py:1"]) == "train.py:3,7 model.py:1"


def test_a_chain_of_kernels_lists_the_ops_of_all():
    def f(x, w, y):
        p = 1.0 / (1.0 + bl.exp(-(x @ w)))
        return bl.matrix_transpose(x) @ (p - y)

    x, w, y = bl.tensor(np.ones((20_000, 50))), bl.tensor(np.zeros(50)), bl.tensor(np.ones(20_000))
    report = bl.compile(f).report(x, w, y)
    chain = report.kernels[0]
    assert chain.name == "0 chain" and chain.ops == ("mul", "sum", "neg", "exp", "add", "div", "sub", "mul", "sum")
    first = f.__code__.co_firstlineno + 1
    assert [line.rpartition(":")[2] for line in chain.lines] == [str(first), str(first + 1)]
    assert chain.read_bytes == 8 * (20_000 * 50 + 50 + 20_000)  # what is handed on in the chain is read from a cache
    assert chain.flops == 2 * 2 * 20_000 * 50 + 5 * 20_000
