"""Loops whose bodies call kernels that all threads share: the same bits for any number of threads, the values of eager code."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from loops import arrays
from watched import ONES, check_arena, watching

import backlit as bl
from backlit.compiler import evaluate, make_graph, simplify
from backlit.compiler.llvm import loops
from backlit.compiler.native import Program
from backlit.core import tree

RNG = np.random.default_rng(0)
W = RNG.standard_normal((128, 128)) / 12
H = RNG.standard_normal((96, 128))
XS = RNG.standard_normal((3, 96, 128))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(loops, "GRAIN_BYTES", 512)


def recurrent(w, h, xs):
    def step(h, x):
        h = bl.tanh(h @ w + x)
        return h, bl.sum(h * x, axis=1)

    return bl.scan(step, h, xs)


def nested(w, h, xs):
    def outer(c, x):
        d, _ = bl.scan(lambda d, y: (bl.sin(d @ w + y), bl.max(d, axis=0)), c, bl.stack([x, c]))
        return d * 0.5 + c, bl.sum(d, axis=1)

    return bl.scan(outer, h, xs, reverse=True)


def until(w, h, xs):
    more = lambda c: (c[1] < 4) & (bl.sum(c[0]) < 1e9)
    return bl.while_loop(more, lambda c: (bl.tanh(c[0] @ w) + xs[0], c[1] + 1), (h, 0))


def branches(w, h, xs):
    ways = [lambda c: bl.cos(c @ w), lambda c: bl.scan(lambda c, x: (bl.sin(c + x), None), c, xs)[0], lambda c: c * 0.5]
    return bl.scan(lambda c, k: (bl.switch(k, ways, c), bl.sum(c, axis=0)), h, np.array([1, 0, 2, 1]))


def gradients(f):
    def loss(w, h, xs):
        carry, ys = f(w, h, xs)
        return bl.sum(carry * carry) + bl.sum(bl.sin(ys))

    return bl.grad(loss, argnums=(0, 1, 2))


FUNCTIONS = {
    "recurrent": recurrent, "nested": nested, "until": until, "branches": branches, "gradients": gradients(recurrent),
    "gradients of nested": gradients(nested), "gradients of branches": gradients(branches),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_number_of_threads_gives_the_same_bits(name):
    f = FUNCTIONS[name]
    graph = simplify(make_graph(f)(W, H, XS))
    want = evaluate(graph, W, H, XS)
    with watching() as outputs:
        program = Program(graph, threads=1)
        assert any(w.kernel.shares for w in program.works if w.kernel)
        bits = None
        for threads in (1, 2, 3, 7):
            program.threads = threads
            for _ in range(3):
                program._shared()
                program._scratch[:] = ONES
                got = program(W, H, XS)
                bits = bits or [x.tobytes() for x in got]
                assert [x.tobytes() for x in got] == bits, f"{threads} threads give other bits"
                check_arena(program)
        outputs.check()
    for a, b, c in zip(got, want, arrays(f(*map(bl.tensor, (W, H, XS)))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(a, c, rtol=1e-9, atol=1e-9)


def test_several_threads_take_part():
    """Chunks of a kernel inside a loop are taken by workers: without them nobody would finish the job."""
    program = Program(simplify(make_graph(recurrent)(W, H, XS)), threads=3)
    (kernel,) = (w.kernel for w in program.works if w.kernel.shares)
    assert kernel.units == 1 and kernel.text.count("@") >= 3
    program(W, H, XS)
    assert program._program[10] == 3 and program._program[9] != 0


def test_a_second_caller_finds_the_pool_taken_and_runs_alone():
    args = tree.map(bl.tensor, (W, H, XS))
    functions = [bl.compile(lambda w, h, xs, k=k: nested(w * (1 + k), h, xs), threads=3) for k in range(3)]
    want = [arrays(f(*args)) for f in functions]
    wrong = []

    def run(f, its):
        for _ in range(30):
            if any((a != b).any() for a, b in zip(arrays(f(*args)), its, strict=True)):
                wrong.append(f)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(functions, want, strict=True)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_small_bodies_are_as_they_were(monkeypatch):
    monkeypatch.undo()
    program = Program(simplify(make_graph(recurrent)(W[:9, :9], H[:5, :9], XS[:, :5, :9])), threads=3)
    assert not any(w.kernel.shares for w in program.works if w.kernel) and not program._parallel
