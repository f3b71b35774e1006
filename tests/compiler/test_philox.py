"""Random words of compiled programs: those of NumPy's generator, block by block."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import make_graph
from backlit.compiler.native import Program
from backlit.ops.random import random_words


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 1023, 40_001])
@pytest.mark.parametrize("counter", [0, 5, 2**63, 2**64 - 2, 2**64 - 1])
def test_words_are_those_of_numpy(n, counter):
    key = np.array([2**64 - 3, 17], np.uint64)
    program = Program(make_graph(lambda k, c: random_words(k, c, n=n))(key, np.uint64(counter)))
    assert not program.callbacks
    want = np.random.Philox(key=key, counter=counter).random_raw(n)
    for threads in (1, 3):
        program.threads = threads
        np.testing.assert_array_equal(program(key, np.uint64(counter))[0], want)


def test_a_step_with_noise_draws_the_same_words_as_eager():
    results = []
    for compiled in (False, True):
        generator = bl.random.Generator(11)
        model = nn.Linear(6, 3, generator=bl.random.Generator(2))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x, model=model, optimizer=optimizer, generator=generator):
            optimizer.zero_grad()
            keep = generator.uniform(x.shape) < 0.8
            loss = (model(bl.where(keep, x / 0.8, 0.0)) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss, keep

        step = bl.compile(step) if compiled else step
        x = bl.tensor(np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32))
        results.append([[y.detach().numpy() for y in step(x)] for _ in range(4)])
    for (eager_loss, eager_kept), (loss, kept) in zip(*results, strict=True):
        np.testing.assert_array_equal(eager_kept, kept)
        np.testing.assert_allclose(eager_loss, loss, rtol=1e-5)
