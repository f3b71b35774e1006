"""Activations and losses against independent formulas, and their derivatives against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck
from backlit.nn import functional as F

RNG = np.random.default_rng(0)
X = np.array([-30.0, -2.0, -0.5, 0.3, 1.7, 40.0])
PHI = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in X])


@pytest.mark.parametrize(
    "f, expected",
    [
        (F.relu, np.maximum(X, 0)),
        (F.sigmoid, 1 / (1 + np.exp(-X))),
        (F.tanh, np.tanh(X)),
        (F.silu, X / (1 + np.exp(-X))),
        (F.softplus, np.log1p(np.exp(-np.abs(X))) + np.maximum(X, 0)),
        (lambda x: F.softplus(x, beta=2.0, threshold=3.0), np.where(X > 1.5, X, np.log1p(np.exp(np.minimum(2 * X, 50))) / 2)),
        (F.gelu, X * PHI),
        (lambda x: F.gelu(x, approximate="tanh"), 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))),
    ],
)  # fmt: skip
def test_activations(f, expected):
    np.testing.assert_allclose(f(X).numpy(), expected, rtol=1e-13, atol=1e-16)
    assert gradcheck(f, X[1:5])
    assert f(X.astype(np.float32)).dtype == np.float32
    assert np.isfinite(grad(lambda x: f(x).sum())(np.array([-1e4, -100.0, 100.0, 1e4])).numpy()).all()


def test_gelu_refuses_other_approximations():
    with pytest.raises(bl.BacklitError, match="'sine'"):
        F.gelu(X, approximate="sine")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis):
    x = RNG.standard_normal((4, 5))
    p = np.exp(x) / np.exp(x).sum(axis, keepdims=True)
    np.testing.assert_allclose(F.softmax(x, axis).numpy(), p, rtol=1e-13)
    np.testing.assert_allclose(F.softmax(x, dim=axis).numpy(), p, rtol=1e-13)
    np.testing.assert_allclose(F.log_softmax(x, axis).numpy(), np.log(p), rtol=1e-12)
    assert gradcheck(lambda x: F.softmax(x, axis), x)
    assert F.softmax(np.array([1e4, 0.0])).tolist() == [1.0, 0.0]


def logits(*shape):
    return RNG.standard_normal(shape)


def log_p(z, axis=1):
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def test_cross_entropy_with_class_numbers():
    z, t = logits(6, 4), np.array([0, 3, 1, 1, 2, 0])
    each = -log_p(z)[np.arange(6), t]
    np.testing.assert_allclose(F.cross_entropy(z, t).numpy(), each.mean(), rtol=1e-13)
    np.testing.assert_allclose(F.cross_entropy(z, t, reduction="sum").numpy(), each.sum(), rtol=1e-13)
    np.testing.assert_allclose(F.cross_entropy(z, t, reduction="none").numpy(), each, rtol=1e-13)
    np.testing.assert_allclose(F.cross_entropy(z[0], 0).numpy(), each[0], rtol=1e-13)
    np.testing.assert_allclose(F.nll_loss(log_p(z), t).numpy(), each.mean(), rtol=1e-13)


def test_cross_entropy_weights_ignored_classes_and_smoothing():
    z, t, w = logits(6, 4), np.array([0, 3, -100, 1, 2, 3]), np.array([1.0, 0.5, 2.0, 3.0])
    keep = t != -100
    each, weight = -log_p(z)[np.arange(6), t * keep], w[t * keep] * keep
    np.testing.assert_allclose(F.cross_entropy(z, t).numpy(), each[keep].mean(), rtol=1e-13)
    np.testing.assert_allclose(
        F.cross_entropy(z, t, weight=w).numpy(), (each * weight).sum() / weight.sum(), rtol=1e-13
    )
    np.testing.assert_allclose(F.cross_entropy(z, t, weight=w, reduction="none").numpy(), each * weight, rtol=1e-13)
    np.testing.assert_allclose(
        F.nll_loss(log_p(z), t, weight=w).numpy(), (each * weight).sum() / weight.sum(), rtol=1e-13
    )
    np.testing.assert_array_equal(grad(lambda z: F.cross_entropy(z, t))(z).numpy()[2], np.zeros(4))
    smooth = 0.9 * each - 0.1 * log_p(z).mean(1)
    np.testing.assert_allclose(F.cross_entropy(z, t, label_smoothing=0.1).numpy(), smooth[keep].mean(), rtol=1e-13)
    weighted = 0.9 * each * weight - 0.1 * (w * log_p(z)).mean(1) * keep
    both = F.cross_entropy(z, t, weight=w, label_smoothing=0.1)
    np.testing.assert_allclose(both.numpy(), weighted.sum() / weight.sum(), rtol=1e-13)


def test_cross_entropy_with_probabilities_and_more_axes():
    z = logits(3, 4, 2)
    y = RNG.dirichlet(np.ones(4), size=(3, 2)).transpose(0, 2, 1)
    expected = -(y * log_p(z)).sum(1)
    np.testing.assert_allclose(F.cross_entropy(z, y).numpy(), expected.mean(), rtol=1e-13)
    np.testing.assert_allclose(F.cross_entropy(z, y, reduction="none").numpy(), expected, rtol=1e-13)
    t = RNG.integers(0, 4, (3, 2))
    picked = -np.take_along_axis(log_p(z), t[:, None], 1)[:, 0]
    np.testing.assert_allclose(F.cross_entropy(z, t, reduction="none").numpy(), picked, rtol=1e-13)
    assert gradcheck(lambda z: F.cross_entropy(z, y, label_smoothing=0.2), z)
    assert gradcheck(lambda z: F.cross_entropy(z, t, weight=np.arange(1.0, 5.0)), z)
    smooth = F.cross_entropy(z, y, label_smoothing=0.2)
    np.testing.assert_allclose(smooth.numpy(), -((0.8 * y + 0.05) * log_p(z)).sum(1).mean(), rtol=1e-13)


def test_cross_entropy_is_exact_where_exponentials_overflow():
    z = np.array([[1e4, 0.0, -1e4]])
    assert F.cross_entropy(z, np.array([2])).item() == 2e4
    np.testing.assert_array_equal(grad(lambda z: F.cross_entropy(z, np.array([2])))(z).numpy(), [[1, 0, -1]])


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: F.cross_entropy(np.ones((2, 3)), np.zeros(3, int)), "[2]"),
        (lambda: F.cross_entropy(np.ones((2, 3)), np.zeros(2)), "float64[2]"),
        (lambda: F.cross_entropy(np.ones((2, 3), int), np.zeros(2, int)), "int64[2, 3]"),
        (lambda: F.cross_entropy(np.ones((2, 3)), np.array([0, -1])), "-1"),
        (lambda: F.cross_entropy(np.ones((2, 3)), np.array([0, 1]), reduction="median"), "median"),
        (lambda: F.mse_loss(np.ones((2, 1)), np.ones(2)), "float64[2, 1]"),
        (lambda: F.nll_loss(np.ones((2, 3)), np.zeros(3, int)), "[batch, classes, ...]"),
        (lambda: F.linear(np.ones((2, 3)), np.ones((4, 2))), "float64[2, 3]"),
        (lambda: F.linear(np.ones((2, 3)), np.ones((4, 3)), np.ones(3)), "bias float64[3]"),
        (lambda: F.linear(np.ones((2, 3), np.float32), np.ones((4, 3))), ".astype('float64')"),
    ],
)  # fmt: skip
def test_errors(call, named):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert named in str(caught.value)


def test_mse_and_linear():
    a, b = logits(3, 2), logits(3, 2)
    np.testing.assert_allclose(F.mse_loss(a, b).numpy(), np.mean((a - b) ** 2), rtol=1e-14)
    np.testing.assert_allclose(F.mse_loss(a, b, reduction="none").numpy(), (a - b) ** 2, rtol=1e-14)
    x, w, c = logits(2, 3, 4), logits(5, 4), logits(5)
    np.testing.assert_allclose(F.linear(x, w, c).numpy(), x @ w.T + c, rtol=1e-13)
    np.testing.assert_allclose(F.linear(x[0, 0], w).numpy(), x[0, 0] @ w.T, rtol=1e-13)
    assert F.linear(x[:0], w, c).shape == (0, 3, 5)
    assert gradcheck(F.linear, x, w, c)
