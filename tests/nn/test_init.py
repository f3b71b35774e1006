"""Initial values: spread and structure, in place, from the generator that is given."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.nn import init

SHAPE = (300, 200)


def filled(name, *args, shape=SHAPE, **kwargs):
    x = nn.Parameter(np.full(shape, 7.0))
    out = getattr(init, name)(x, *args, **kwargs)
    assert out is x and x.is_leaf and x.requires_grad and x.grad is None
    return x.detach().numpy()


@pytest.mark.parametrize(
    ("name", "args", "std"),
    [
        ("uniform_", (-1.0, 2.0), 3 / math.sqrt(12)), ("normal_", (1.0, 0.5), 0.5),
        ("xavier_uniform_", (2.0,), 2 * math.sqrt(2 / 500)), ("xavier_normal_", (), math.sqrt(2 / 500)),
        ("kaiming_uniform_", (), math.sqrt(2 / 200)), ("kaiming_normal_", (0.5, "fan_out"), math.sqrt(2 / 1.25 / 300)),
        ("kaiming_normal_", (0.0, "fan_in", "tanh"), 5 / 3 / math.sqrt(200)),
    ],
)  # fmt: skip
def test_spread(name, args, std):
    x = filled(name, *args, generator=bl.Generator(1))
    assert x.std() == pytest.approx(std, rel=0.02)
    if "uniform" in name:
        assert (x - x.mean()).max() <= std * math.sqrt(3) * 1.02
    np.testing.assert_array_equal(x, filled(name, *args, generator=bl.Generator(1)))
    bl.random.seed(1)
    np.testing.assert_array_equal(x, filled(name, *args))


def test_truncated():
    x = filled("trunc_normal_", 1.0, 2.0, 0.0, 1.5)
    assert x.min() >= 0 and x.max() <= 1.5 and abs(x.mean() - 0.75) < 0.02


def test_structure():
    assert (filled("ones_") == 1).all() and (filled("zeros_") == 0).all() and (filled("constant_", 0.3) == 0.3).all()
    np.testing.assert_array_equal(filled("eye_", shape=(2, 3)), np.eye(2, 3))
    x = filled("sparse_", 0.25, std=0.5)
    assert ((x == 0).sum(0) == 75).all() and x[x != 0].std() == pytest.approx(0.5, rel=0.02)
    for shape in ((5, 8), (8, 5), (6, 2, 3), (4, 4)):
        q = filled("orthogonal_", 2.0, shape=shape).reshape(shape[0], -1)
        small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: init.calculate_gain("cube"), "'cube'"),
        (lambda: init.eye_(bl.ones(3)), "eye_: expected a matrix"),
        (lambda: init.sparse_(bl.ones(3), 0.5), "sparse_: expected a matrix"),
        (lambda: init.dirac_(bl.ones((3, 3))), "dirac_"),
        (lambda: init.xavier_uniform_(bl.ones(3)), "xavier_uniform_: expected [out, in, ...]"),
        (lambda: init.kaiming_normal_(bl.ones((3, 3)), mode="fan"), "fan_in"),
        (lambda: init.orthogonal_(bl.ones(3)), "orthogonal_"),
    ],
)
def test_errors(call, said):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert said in str(caught.value)
