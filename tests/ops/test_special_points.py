"""Documented special points of the ops, and operands they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checks import slopes

import backlit as bl
from backlit import grad
from backlit.ops import special
from backlit.ops.entropy import softmax_cross_entropy

INF = math.inf


def test_kinks():
    zero = np.zeros(3)
    assert slopes(bl.nn.functional.relu, -1, 0, 2) == [0, 0, 1]
    assert slopes(lambda x: bl.maximum(x, 0), -1, 0, 2) == [0, 0, 1]
    assert slopes(lambda x: bl.minimum(0.0, x), -1, 0, 2) == [1, 0, 0]
    assert slopes(lambda x: bl.clip(x, 0, 1), -1, 0, 0.5, 1, 2) == [0, 0, 1, 0, 0]
    assert slopes(lambda x: bl.where(x > 0, x, 0), -1, 0, 2) == [0, 0, 1]
    assert slopes(bl.abs, -1, 0, 2) == [-1, 0, 1]
    assert slopes(bl.sqrt, 0, 4) == [INF, 0.25]
    assert slopes(bl.sign, -1, 0, 2) == [0, 0, 0]
    assert grad(lambda x: bl.maximum(x, zero).sum())(np.array([-1.0, 0.0, 2.0])).tolist() == [0, 0.5, 1]
    assert grad(lambda x: bl.minimum(x, zero).sum())(np.array([-1.0, 0.0, 2.0])).tolist() == [1, 0.5, 0]
    assert grad(bl.max)(np.array([2.0, 0.0, 2.0])).tolist() == [0.5, 0, 0.5]
    assert grad(lambda x: bl.min(x, axis=0).sum())(np.array([[1.0, 2.0], [1.0, 3.0]])).tolist() == [[0.5, 1], [0.5, 0]]


def test_powers():
    assert slopes(lambda x: x**2, 0, -3) == [0, -6]
    assert slopes(lambda x: x**0, 0, 2) == [0, 0]
    assert slopes(lambda x: x**1.0, 0, 2) == [1, 1]
    by_exponent = grad(lambda x, y: (x**y).sum(), argnums=1)
    assert by_exponent(np.array([0.0, 2.0]), np.array([2.0, 3.0])).tolist() == [0.0, 8 * math.log(2)]
    by_base = grad(lambda x, y: (x**y).sum())
    assert by_base(np.array([0.0, 0.0, 3.0]), np.array([0.0, 1.0, 0.0])).tolist() == [0.0, 1.0, 0.0]
    assert grad(lambda y: 0.1**y)(np.float64(1.3)).item() == pytest.approx(0.1**1.3 * math.log(0.1), rel=1e-15)
    assert grad(lambda y: 0.0**y)(np.float64(2.0)).item() == 0.0
    assert math.isnan(grad(lambda y: (-2.0) ** y)(np.float64(2.0)).item())


def test_division_by_a_literal_zero():
    assert slopes(lambda x: x / 0.0, 1.0) == [INF]
    assert slopes(lambda x: x / -0.0, 1.0) == [-INF]


def test_logsumexp_at_infinities():
    x = np.array([[-INF, 0.0], [-INF, -INF], [INF, 0.0], [1e4, 1e4]])
    out = bl.logsumexp(x, axis=1)
    np.testing.assert_allclose(out.numpy(), [0.0, -INF, INF, 1e4 + math.log(2)], rtol=1e-15)
    g = grad(lambda x: bl.logsumexp(x, axis=1)[np.array([0, 1, 3])].sum())(x).numpy()
    np.testing.assert_allclose(g, [[0, 1], [0, 0], [0, 0], [0.5, 0.5]], rtol=1e-12)
    assert bl.logsumexp(np.zeros((0, 2)), axis=0).tolist() == [-INF, -INF]
    assert bl.logsumexp(np.array([1, 1])).item() == pytest.approx(1 + math.log(2))


def test_softmax_cross_entropy_at_extremes():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, -INF]])
    labels = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    out = softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(out.numpy(), [2e4, math.log(2)], rtol=1e-15)
    g = grad(lambda z: softmax_cross_entropy(z, labels).sum())(logits)
    np.testing.assert_allclose(g.numpy(), [[1, 0, -1], [-0.5, 0.5, 0]], atol=1e-15)


def test_erf_sigmoid_and_softplus_to_a_few_units_in_the_last_place():
    x = np.concatenate([np.linspace(-6, 6, 4001), [0.0, 1e-300, -1e-20, 30.0, -30.0]])
    exact = np.array([math.erf(v) for v in x])
    assert np.max(np.abs(special.erf(x).numpy() - exact) / np.spacing(np.maximum(np.abs(exact), 1e-300))) <= 2
    x = np.linspace(-700, 700, 2001)
    wide = x.astype(np.longdouble)
    logistic = 1 / (1 + np.exp(-wide))
    np.testing.assert_allclose(special.sigmoid(x).numpy(), logistic.astype(np.float64), rtol=3e-13)
    assert special.sigmoid(np.array([-1000.0, 1000.0])).tolist() == [0.0, 1.0]
    np.testing.assert_allclose(special.softplus(x).numpy(), np.log1p(np.exp(wide)).astype(np.float64), rtol=4e-16)
    assert slopes(special.softplus, 0.0) == [0.5]


def test_nothing_warns_and_users_keep_their_own_settings():
    with np.errstate(all="raise"):
        assert np.isneginf(bl.log(np.zeros(1)).numpy()).all()
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(1))


@pytest.mark.parametrize(
    ("misuse", "named"),
    [
        (lambda b, n: -b, "neg: cannot be applied to bool[2]"),
        (lambda b, n: b - b, "sub: cannot be applied to bool[2], bool[2]"),
        (lambda b, n: n**-1, "pow: cannot be applied to int64[2]"),
        (lambda b, n: bl.concat([n, n.reshape(2, 1)]), "concat: shapes differ"),
        (lambda b, n: n.reshape(3), "reshape: int64[2]"),
        (lambda b, n: bl.permute_dims(n, (0, 1)), "permute_dims"),
        (lambda b, n: n[2], "index: 2 is out of range"),
        (lambda b, n: n[np.array([5])], "index 5 is out of bounds"),
        (lambda b, n: n[1.5], "index"),
        (lambda b, n: n[0, 0], "index: 2 indices"),
        (lambda b, n: bl.max(np.zeros((0, 2)), axis=0), "max: nothing to choose from"),
        (lambda b, n: bl.sum(n, axis=1), "sum: axis 1"),
        (lambda b, n: bl.sum(np.ones((2, 2)), axis=(0, 0)), "sum: axis (0, 0)"),
        (lambda b, n: bl.pad(n, -1), "pad"),
        (lambda b, n: bl.squeeze(n, 0), "squeeze"),
        (lambda b, n: bl.take_along_axis(n, n * 1.0), "take_along_axis"),
        (lambda b, n: bl.one_hot(np.ones(2), 3), "one_hot"),
        (lambda b, n: bl.tensor("text"), "tensor: cannot hold"),
        (lambda b, n: bl.tensor([1]) + "text", "tensor: cannot hold"),
        (lambda b, n: bl.take_along_axis(np.ones((2, 2)), np.zeros((3, 2), int), axis=1), "take_along_axis"),
        (lambda b, n: bl.broadcast_to(n, (3,)), "broadcast_to"),
        (lambda b, n: bl.matrix_transpose(n), "matrix_transpose"),
        (lambda b, n: len(bl.tensor(1)), "0-d"),
        (lambda b, n: n.item(), "item: expected one element"),
        (lambda b, n: bl.tensor([[1, 2], [3]]), "nested lists"),
    ],
)  # fmt: skip
def test_malformed_operands(misuse, named):
    with pytest.raises(bl.BacklitError) as caught:
        misuse(bl.tensor([True, False]), bl.tensor([1, 2]))
    assert named in str(caught.value)


def test_promotion():
    f32, f64, i64, i8 = (bl.tensor(np.ones(2, d)) for d in ("float32", "float64", "int64", "int8"))
    assert (f32 + i64).dtype == np.float32  # NumPy has float64 here
    assert (f32 + f64).dtype == np.float64 and (i8 + i64).dtype == np.int64
    assert (f32 * 2.5).dtype == np.float32 and (i8 + 1).dtype == np.int8 and (i64 * 2.5).dtype == np.float64
    assert (f32 > 0).dtype == bool and bl.where(f32 > 0, f32, 0.0).dtype == np.float32
    half = f32.astype(bl.bfloat16)
    assert (half * half).dtype == bl.bfloat16 and (half * i64).dtype == bl.bfloat16
    assert bl.tensor([1.0]).dtype == np.float32 and bl.tensor([1]).dtype == np.int64
    assert bl.tensor(np.float64(1.0)).dtype == np.float64
