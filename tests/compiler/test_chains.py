"""Chains of kernels: what is chained and what must not be, and that chaining changes no bit."""

from __future__ import annotations

import numpy as np
import program_maker as maker
import pytest
import rounding
from watched import check_program

import backlit as bl
from backlit.compiler import chains, make_graph, native, simplify
from backlit.compiler.chains import chained
from backlit.compiler.native import Program


def logistic(w, x, y):
    return bl.mean(bl.nn.functional.softplus(-y * (x @ w)))


def data(n=5000, k=50):
    rng = np.random.default_rng(0)
    return rng.standard_normal(k), rng.standard_normal((n, k)), np.sign(rng.standard_normal(n))


def parts_of(program):
    return [len(w.parts) for w in program.works if w.parts]


def test_both_products_of_a_regression_go_once_through_the_data():
    w, x, y = data()
    program = Program(make_graph(bl.value_and_grad(logistic))(w, x, y))
    assert len(parts_of(program)) == 1
    (chain,) = [work for work in program.works if work.parts]
    data_var = next(v for v in program.lowered.inputs if v.aval.shape == x.shape)
    assert chain.table().count(data_var) == 2  # read for the sums along rows, and for those over them


@pytest.mark.parametrize("n", [2500, 4096, 5003])
def test_chains_change_no_bit(monkeypatch, n):
    w, x, y = data(n)
    f = bl.value_and_grad(logistic)
    graph = simplify(make_graph(f)(w, x, y))
    program = check_program(graph, [(w, x, y)], rounding.compare(graph), threads=(2, 3, 7))
    assert parts_of(program)
    monkeypatch.setattr(native, "chained", lambda works, before, same: works)
    alone = Program(graph)
    assert not parts_of(alone)
    for a, b in zip(program(w, x, y), alone(w, x, y), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: bl.exp(bl.exp(x).T),  # other rows
        lambda x: bl.exp(x)[::-1] + bl.sum(x, axis=1, keepdims=True),
        lambda x: bl.pad(bl.tanh(x), ((1, 1), (0, 0)))[:-2] * bl.max(x, axis=1, keepdims=True),
        lambda x: bl.tanh(x) - bl.mean(bl.tanh(x), axis=0),
    ],
)
def test_kernels_that_touch_each_others_shares(f):
    x = np.random.default_rng(1).standard_normal((600, 600))
    graph = simplify(make_graph(lambda x: (f(x), bl.sum(f(x), axis=0)))(x))
    check_program(graph, [(x,)], rounding.compare(graph), threads=(2, 3))


def test_state_written_in_place_in_a_chain():
    """What is written over is read by the others before, stretch by stretch."""
    rng = np.random.default_rng(2)
    x, g = rng.standard_normal((2, 900, 70))

    def step(x, g):
        scale = bl.sum(x * g, axis=1, keepdims=True)
        return x - 0.1 * scale * g, bl.sum(x * scale, axis=0), bl.max(x, axis=1)

    graph = simplify(make_graph(step)(x, g))
    program = Program(graph, [(0, 0)])
    want = Program(graph)(x, g)
    assert program.over == {0: 0}
    for threads in (1, 2, 5):
        program.threads = threads
        given = [x.copy(), g.copy()]
        for a, b in zip(program.run(given), want, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(given[0], want[0])


def test_equal_chains_are_compiled_once():
    def f(x):
        for _ in range(4):
            x = bl.tanh(x / bl.sum(bl.exp(x), axis=1, keepdims=True))
            x = x - bl.mean(x, axis=0)  # all rows have to be done
        return x

    x = np.random.default_rng(3).standard_normal((300, 310))
    program = Program(make_graph(f)(x))
    found = [w.kernel.name for w in program.works if w.parts]
    assert len(found) >= 3
    assert len(set(found)) < len(found)
    assert all(program.llvm().count(f"define void @{name}(") == 1 for name in set(found))


def test_chains_that_begin_alike_are_told_apart(monkeypatch):
    monkeypatch.setattr(chains, "SHARED_BYTES", 1)
    steps = [("var", 1, 2, 1), ("add", 0, 0, 0), ("add", 0, 0, 0), ("where", 0, 1, 2)]
    arrays = maker.draw([((), "float64"), ((2, 2), "float64")], 0)
    f = bl.value_and_grad(lambda *xs: maker.loss(steps, xs), argnums=(0, 1))
    graph = simplify(make_graph(f)(*arrays))
    program = check_program(graph, [arrays], rounding.compare(graph))
    found = [w.kernel for w in program.works if w.parts]
    firsts = [next(h for h in k.helpers.values()) for k in found]
    assert len(found) == 2 and firsts[0] == firsts[1] and found[0].name != found[1].name


def test_nothing_is_a_chain_of_nothing():
    assert chained([], [], {}) == []


def test_of_chains_that_wait_for_each_other_one_is_taken_apart():
    # 0 -> 3 and 1 -> 2: {0, 2} and {1, 3} each can run in one go, and each waits for the other
    before = [set(), set(), {1}, {0}]
    assert chains._without_cycles(4, before, {2: [0, 2], 3: [1, 3]}) == {2: [0, 2]}
    assert chains._without_cycles(4, [set(), set(), {0}, {1}], {2: [0, 2], 3: [1, 3]}) == {2: [0, 2], 3: [1, 3]}
    three = [set(), set(), set(), {0}, {1}, {2}]
    assert chains._without_cycles(6, three, {3: [1, 3], 4: [2, 4], 5: [0, 5]}) == {3: [1, 3], 4: [2, 4]}
