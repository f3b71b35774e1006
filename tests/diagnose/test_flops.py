"""Counts of operations, against those of compiled programs and against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.op import REGISTRY
from backlit.diagnose.flops import flops


def counted(f):
    """The operations of the recorded forward pass of a function."""
    with bl.record() as recording:
        f()
    return [flops(n.op, n.args, n, n.params) for n in recording.nodes if n.op is not None]


def test_a_network_counts_what_its_compiled_program_counts():
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3))
    x = bl.ones((7, 12))
    program = bl.compile(lambda x: (model(x) ** 2).sum())
    program(x)
    assert sum(counted(lambda: (model(x) ** 2).sum())) == program.report().flops


def test_convolutions_count_two_for_each_place_of_a_window():
    x = bl.tensor(np.ones((2, 6, 8, 9)), requires_grad=True)
    w = bl.tensor(np.ones((6, 2, 3, 2)), requires_grad=True)
    assert sum(counted(lambda: nn.functional.conv2d(x, w, groups=3))) == 2 * (2 * 6 * 6 * 8) * (2 * 3 * 2)
    made = REGISTRY["conv"]
    params = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "sizes": ((8, 9), (3, 2), (6, 8))}
    y, x1, w1 = np.ones((2, 6, 6, 8)), np.ones((2, 3, 8, 9)), np.ones((6, 3, 3, 2))
    whole = flops(made, (x1, w1), y, params)
    assert flops(REGISTRY["conv_input"], (y, w1), x1, params) == whole
    assert flops(REGISTRY["conv_weight"], (x1, y), w1, params) == whole


@pytest.mark.parametrize(
    ("name", "args", "out", "count"),
    [
        ("reshape", [(6,)], (2, 3), 0),
        ("index", [(6,)], (2,), 0),
        ("sum", [(4, 5)], (4,), 20),
        ("cumsum", [(4, 5)], (4, 5), 20),
        ("exp", [(4, 5)], (4, 5), 20),
        ("add", [(4, 5), (4, 5)], (4, 5), 20),
        ("matmul", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 240),
        ("fft", [(2, 8)], (2, 8), 240),
        ("cholesky", [(3, 3)], (3, 3), None),
    ],
)
def test_counts(name, args, out, count):
    assert flops(REGISTRY[name], [np.ones(a) for a in args], np.ones(out), {}) == count


def test_what_is_no_op_of_backlit_is_not_counted():
    @bl.custom_vjp
    def twice(x):
        return x + x

    twice.defvjp(lambda x: (x + x, None), lambda _, g: (g + g,))
    x = bl.tensor(np.ones(3), requires_grad=True)
    assert counted(lambda: twice(x))[-1] is None  # after what its forward does
    assert flops(None, (), None, {}) is None


def test_every_op_is_counted_or_known_not_to_be():
    for name, op in REGISTRY.items():
        linear_algebra = type(op).__module__.startswith("backlit.ops.linalg")
        if name in ("matmul", "conv", "conv_input", "conv_weight", "window_argmax", "fft", "ifft", "rfft", "irfft"):
            continue  # above, for their parameters
        found = flops(op, [np.ones((2, 2)), np.ones((2, 2))], np.ones((2, 2)), {})
        assert (found is None) == linear_algebra, name
