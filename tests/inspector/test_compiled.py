"""A compiled step is recorded through the eager reference."""

from __future__ import annotations

import numpy as np
import pytest

import backlit
from backlit import nn, optim
from backlit.functional import cross_entropy


def make():
    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3))
    optimizer = optim.Adam(net.parameters(), lr=0.05)

    @backlit.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    generator = np.random.default_rng(0)
    x = backlit.tensor(generator.standard_normal((4, 6)).astype("f4"))
    return net, step, x, backlit.tensor(np.arange(4) % 3)


def test_it_counts_as_one_call_of_the_program():
    plain, step, x, labels = make()
    for _ in range(3):
        step(x, labels)
    net, step, x, labels = make()
    losses = [step.record(x, labels).steps[0].loss for _ in range(3)]
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        assert ours.detach().numpy().tobytes() == theirs.detach().numpy().tobytes()
    assert losses[2] < losses[0]


def test_what_is_shown_is_the_eager_step_and_says_so():
    _, step, x, labels = make()
    recording = step.record(x, labels)
    assert "eager" in recording.note and f"{recording.difference:.1e}" in recording.note
    assert 0 <= recording.difference < 1e-5
    assert {"0/weight", "cross_entropy/div#0"} <= {n.name for n in recording.nodes}
    assert len(recording.updates) == 4


def test_a_program_that_differs_is_told(monkeypatch):
    _, step, x, labels = make()
    step(x, labels)
    real = type(step).__call__
    monkeypatch.setattr(type(step), "__call__", lambda self, *args: real(self, *args) * 1.5)
    recording = step.record(x, labels)
    assert recording.difference == pytest.approx(0.5, rel=1e-5) and "result 0" in recording.note


def test_random_numbers_are_the_same_in_both_runs():
    generator = backlit.Generator(3)
    w = backlit.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @backlit.compile
    def step():
        loss = backlit.sum(w * generator.uniform((3,)))
        w.grad = None
        loss.backward()
        return loss

    recording = step.record()
    assert recording.difference < 1e-6
    assert generator.counter == 1


def test_a_compiled_step_inside_a_recording_runs_as_the_plain_function_and_the_note_says_so():
    _, reference, x, labels = make()
    _, step, x, labels = make()
    for _ in range(4):  # until calls go straight into the program
        step(x, labels)
        reference.function(x, labels)
    with backlit.record() as recording:
        step(x, labels)
    with backlit.record() as expected:
        reference.function(x, labels)
    assert [n.name for n in recording.nodes] == [n.name for n in expected.nodes] and len(recording.updates) == 4
    assert "step.record(...)" in recording.note and "eager" in recording.note and expected.note == ""
    step(x, labels)
    assert len(recording.steps) == 1
