"""Recordings of complex numbers: what looks at them, and what says that it does not."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import optim
from backlit.core.errors import ArgumentError
from backlit.diagnose.balance import balance
from backlit.diagnose.cells import cell, sampled_cells
from backlit.diagnose.flow import flow
from backlit.diagnose.nudge import nudge, sampled_nudges
from backlit.diagnose.tree import ContributionTree


def recorded():
    rng = np.random.default_rng(0)
    x = bl.tensor(rng.standard_normal(4), requires_grad=True)
    w = bl.tensor(rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)), requires_grad=True)
    step = optim.SGD([x, w], lr=0.1)
    with bl.record() as recording:
        signal = bl.fft.fft(bl.tanh(x * 2.0)) * (2 - 1j)
        loss = (bl.abs(w @ signal + signal) ** 2).sum()
        loss.backward()
        step.step()
    return recording


def test_the_balance_says_that_it_does_not_look_at_complex_numbers():
    found = balance(recorded())
    assert not found.guilty and not found.merges
    for b in found.nodes:
        touched = any(
            n.dtype.kind == "c" for n in (b.node, *b.node.args) if hasattr(n, "dtype") and n.dtype is not None
        )
        assert b.checked != touched and ("complex" in b.note) == touched


def test_cells_and_nudges_are_of_real_numbers_but_go_through_complex_ones():
    recording = recorded()
    with pytest.raises(ArgumentError, match="complex"):
        cell(recording, "matmul#0", 0)
    with pytest.raises(ArgumentError, match="complex"):
        nudge(recording, "matmul#0", 0)
    node = next(n for n in recording.nodes if n.op is not None and n.op.name == "tanh")
    found = nudge(recording, node, 2)
    assert found.estimate == pytest.approx(found.delta, rel=1e-6) and found.delta != 0
    assert list(sampled_cells(recording)) and list(sampled_nudges(recording))


def test_norms_and_shares_take_both_parts():
    recording = recorded()
    w = next(n for n in recording.nodes if n.kind == "parameter" and n.dtype.kind == "c")
    (update,) = [u for s in recording.steps for u in s.updates if u.node is w]
    size = np.linalg.norm(w.cotangent)
    measured = update.measured()
    assert (measured.gradient, measured.change) == pytest.approx((size, 0.1 * size))
    assert measured.predicted == pytest.approx(-0.1 * size**2)
    assert flow(recording)
    signal = next(n for n in recording.nodes if n.op is not None and n.op.name == "fft")
    tree = ContributionTree(recording, signal)
    assert sum(row.share for row in tree.open(tree.root)) == pytest.approx(1.0)
