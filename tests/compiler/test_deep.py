"""Deep programs: equal layers are compiled once, and no depth is too deep for Python's calls."""

from __future__ import annotations

import contextlib
import gc
import sys

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler.native import Program
from backlit.compiler.schedule import LONGEST

LONG = 3 * sys.getrecursionlimit()


def program_of(n_layers, optimizer):
    layers = [module for _ in range(n_layers) for module in (nn.Linear(12, 12), nn.Tanh())]
    model = nn.Sequential(*layers)
    opt = optimizer(model.parameters(), lr=0.01)

    @bl.compile
    def step(x):
        opt.zero_grad()
        loss = bl.mean(model(x) ** 2)
        loss.backward()
        opt.step()
        return loss

    step(bl.tensor(np.ones((5, 12), np.float32)))
    return step._step((), {}).native


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_equal_layers_are_compiled_once(optimizer):
    few, many = (program_of(n, optimizer) for n in (12, 36))
    assert len(many.works) > 2.5 * len(few.works)
    assert many.llvm().count("\ndefine ") <= few.llvm().count("\ndefine ") + 6
    names = {w.kernel.name for w in many.works if w.kernel}
    assert len(names) < len(many.works) / 4


CHAINS = {
    "cheap": lambda x: x * 1.0001 + 0.1,
    "functions": lambda x: bl.sin(x),
    "ties": lambda x: bl.maximum(x, x * 0.5),
    "other shapes": lambda x: bl.reshape(x, (4, 2) if x.ndim == 1 else (8,)),
    "moves": lambda x: bl.permute_dims(bl.reshape(x, (2, 4)), (1, 0)) if x.ndim == 1 else bl.reshape(x, (8,)),
    "sums": lambda x: x - bl.sum(x) * 0.01,
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_longer_than_calls_are_deep(name):
    def chain(x):
        for _ in range(LONG):
            x = CHAINS[name](x)
        return x

    x = bl.tensor(np.linspace(0.1, 1.0, 8))
    compiled = bl.compile(chain)
    np.testing.assert_allclose(compiled(x).numpy(), chain(x).numpy(), rtol=1e-11)


def test_a_kernel_takes_so_many_ops_and_no_more():
    graph = bl.compiler.make_graph(lambda x: [x := x * 1.5 + 0.25 for _ in range(LONGEST)][-1])(np.ones(8))
    program = Program(graph)
    assert len(program.works) == 2
    x = np.linspace(-1.0, 1.0, 8)
    want = x
    for _ in range(LONGEST):
        want = want * 1.5 + 0.25
    assert (program(x)[0] == want).all()


def test_kernels_that_differ_in_the_sign_of_a_zero_or_the_type_of_a_number_are_two():
    rng = np.random.default_rng(0)
    x, v, w = (np.abs(rng.standard_normal((6, 6))) for _ in range(3))
    graph = bl.compiler.make_graph(lambda x, v, w: ((x @ v) * 0.0, (x @ w) * -0.0))(x, v, w)
    plus, minus = Program(graph)(x, v, w)
    assert not np.signbit(plus).any() and np.signbit(minus).all()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("on", [True, False])
def test_garbage_is_not_looked_for_while_a_program_is_made(on, fails):
    seen = []

    @bl.compile
    def step(x):
        seen.append(gc.isenabled())
        if fails:
            raise KeyError("on purpose")
        return x * 2

    was_on = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with pytest.raises(KeyError) if fails else contextlib.nullcontext():
            step(bl.ones(3))
        assert seen == [False] and gc.isenabled() is on
    finally:
        (gc.enable if was_on else gc.disable)()
