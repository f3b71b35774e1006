"""Activations at kinks as documented, compiled without a call back, twice differentiable; values are compared with recorded ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck
from backlit.compiler import make_graph
from backlit.compiler.native import Program
from backlit.nn import functional as F

CASES = [
    ("relu", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": -0.3}), ("elu", {}), ("elu", {"alpha": 0.7}), ("selu", {}),
    ("celu", {}), ("celu", {"alpha": 0.5}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {}),
    ("sigmoid", {}), ("tanh", {}), ("hardtanh", {}), ("hardtanh", {"min_val": -0.5, "max_val": 2.0}), ("hardsigmoid", {}),
    ("hardswish", {}), ("softplus", {}), ("softplus", {"beta": 2.0, "threshold": 3.0}), ("softsign", {}), ("logsigmoid", {}),
    ("relu6", {}), ("threshold", {"threshold": 0.5, "value": -7.0}), ("tanhshrink", {}), ("softshrink", {}),
    ("softshrink", {"lambd": 0.0}), ("hardshrink", {}), ("hardshrink", {"lambd": 1.0}),
]  # fmt: skip
KINKS = [0.0, -0.0, -3.0, 3.0, 6.0, 1.0, -1.0, 0.5, -0.5, 2.0, 1.5]
POINTS = np.concatenate(
    [KINKS, np.linspace(-9, 9, 61), [30.0, -30.0, 1e-8, -1e-8, 1e3, -1e3, math.inf, -math.inf, math.nan]]
)
ids = [name + "".join(f" {k}={v}" for k, v in kwargs.items()) for name, kwargs in CASES]


def slope(f, x):
    return grad(lambda x: f(x).sum())(x).numpy()


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=ids)
def test_second_derivatives_away_from_kinks(name, kwargs):
    x = np.array([-4.3, -2.2, -0.71, 0.33, 1.7, 2.6, 5.1, 7.4])
    f = lambda x: getattr(F, name)(x, **kwargs)
    assert gradcheck(f, x) and gradcheck(lambda x: grad(lambda x: f(x).sum())(x), x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=ids)
def test_compiled_without_a_call_back(name, kwargs, dtype):
    f = lambda x: bl.value_and_grad(lambda x: getattr(F, name)(x, **kwargs).sum().astype("float64"))(x)[1]
    for g in (f, lambda x: getattr(F, name)(x, **kwargs)):
        x = POINTS.astype(dtype)
        program = Program(make_graph(g)(x))
        assert program.callbacks == []
        close = {"rtol": 40 * np.finfo(dtype).eps, "atol": 40 * np.finfo(dtype).eps}
        np.testing.assert_allclose(program(x)[0], g(x).numpy(), **close)


def test_kinks():
    at = lambda f, *values: slope(f, np.array(values)).tolist()
    assert at(F.leaky_relu, 0.0) == [0.01] and at(lambda x: F.elu(x, 0.5), 0.0) == [0.5] and at(F.celu, 0.0) == [1.0]
    assert at(F.hardtanh, -1.0, 1.0) == [0, 0] and at(F.relu6, 0.0, 6.0) == [0, 0]
    assert at(F.hardsigmoid, -3.0, 3.0) == [0, 0] and at(F.hardswish, -3.0, 3.0) == [0, 1]
    assert at(F.softshrink, -0.5, 0.5) == [0, 0] and at(F.hardshrink, -0.5, 0.5) == [0, 0]
    assert at(lambda x: F.threshold(x, 1.0, 5.0), 1.0, 1.1) == [0, 1] and at(F.softsign, 0.0) == [1]


def test_tails_keep_their_digits():
    x = np.array([-40.0, -100.0, -700.0])
    np.testing.assert_allclose(F.logsigmoid(x).numpy(), x, rtol=1e-15)
    np.testing.assert_allclose(F.logsigmoid(-x).numpy(), -np.exp(x), rtol=1e-13)
    np.testing.assert_allclose(F.mish(x).numpy(), x * np.exp(x), rtol=1e-13)


def test_prelu():
    x, w = np.array([[0.0, -2.0], [3.0, 0.0]]), np.array([0.5, 0.25])
    gx, gw = grad(lambda x, w: F.prelu(x, w).sum(), argnums=(0, 1))(x, w)
    assert gx.tolist() == [[0.5, 0.25], [1.0, 0.25]] and gw.tolist() == [0.0, -2.0]


def test_glu():
    x = np.random.default_rng(0).standard_normal((4, 6, 2))
    assert F.glu(x, 1).tolist() == F.glu(x, dim=1).tolist()
    assert gradcheck(F.glu, x)


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: F.glu(np.ones((2, 3))), bl.ShapeError, "even length, got float64[2, 3]"),
        (lambda: F.prelu(np.ones((2, 3)), np.ones(2)), bl.ShapeError, "weight float64[2] for float64[2, 3]"),
        (lambda: F.celu(np.ones(2), 0.0), bl.BacklitError, "alpha"),
        (lambda: F.softshrink(np.ones(2), -1.0), bl.BacklitError, "lambd"),
        (lambda: F.hardtanh(np.ones(2), 2.0, 1.0), bl.BacklitError, "min_val 2.0"),
        (lambda: bl.polygamma(-1, np.ones(2)), bl.BacklitError, "polygamma"),
        (lambda: bl.polygamma(1.5, np.ones(2)), bl.BacklitError, "1.5"),
    ],
)
def test_errors(call, error, named):
    with pytest.raises(error) as caught:
        call()
    assert named in str(caught.value)
