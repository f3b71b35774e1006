"""Initial values: spread and structure, in place, from the generator that is given; arguments are PyTorch's."""

from __future__ import annotations

import inspect
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
    for groups in (1, 2):
        torch = pytest.importorskip("torch")
        for shape in ((4, 2, 3), (4, 3, 3, 5), (2, 4, 1, 2, 3)):
            wanted = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
            np.testing.assert_array_equal(filled("dirac_", groups, shape=shape), wanted)


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


NAMES = [
    "uniform_",
    "normal_",
    "trunc_normal_",
    "constant_",
    "ones_",
    "zeros_",
    "eye_",
    "dirac_",
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "orthogonal_",
    "sparse_",
    "calculate_gain",
]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    listed = lambda f: [(p.name, p.default) for p in inspect.signature(f).parameters.values()]
    assert listed(getattr(init, name)) == listed(getattr(torch.nn.init, name))


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
