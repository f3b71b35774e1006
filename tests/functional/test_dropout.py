"""Dropout, random activations, rows of tables, bilinear maps: against PyTorch where there is something to compare."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck
from backlit.compiler import make_graph
from backlit.compiler.native import Program
from backlit.functional.dropout import _SATURATED
from backlit.nn import functional as F

CHANNELS = [
    ("dropout1d", (8, 6, 5), 2), ("dropout1d", (6, 5), 1), ("dropout2d", (8, 6, 3, 2), 2), ("dropout2d", (8, 6, 5), 2),
    ("dropout3d", (8, 6, 2, 3, 2), 2), ("dropout3d", (6, 2, 3, 2), 1), ("feature_alpha_dropout", (8, 6, 5), 2),
]  # fmt: skip


def source(n=3):
    return bl.Generator(n)


def test_dropout_keeps_the_mean_and_has_its_mask_as_gradient():
    x = np.full((300, 300), 2.0)
    out = F.dropout(x, 0.3, generator=source()).numpy()
    assert set(np.unique(out)) == {0.0, 2.0 / 0.7}
    assert abs((out == 0).mean() - 0.3) < 4 * math.sqrt(0.21 / x.size)
    slope = grad(lambda x: F.dropout(x, 0.3, generator=source()).sum())(x).numpy()
    np.testing.assert_array_equal(slope, out / 2.0)
    assert gradcheck(lambda x: F.dropout(x, 0.3, generator=source()), x[:5, :5])


def test_what_is_dropped_stays_zero_through_infinite_slopes():
    x = np.zeros(50)
    slope = grad(lambda x: F.dropout(bl.sqrt(x), 0.5, generator=source()).sum())(x).numpy()
    kept = F.dropout(np.ones(50), 0.5, generator=source()).numpy() != 0
    assert np.isinf(slope[kept]).all() and (slope[~kept] == 0).all()


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout"])
def test_the_ends_and_evaluation(name):
    f, x = getattr(F, name), np.arange(6.0)
    assert f(x, 0.0, True).tolist() == x.tolist() == f(x, 0.7, False).tolist()
    assert f(x, 1.0, True).tolist() == [0.0] * 6
    assert (grad(lambda x: f(x, 1.0, True).sum())(x).numpy() == 0).all()
    for p in (-0.1, 1.5):
        with pytest.raises(bl.BacklitError, match="between 0 and 1"):
            f(x, p)


@pytest.mark.parametrize(("name", "shape", "lead"), CHANNELS)
def test_whole_channels(name, shape, lead):
    out = getattr(F, name)(np.ones(shape), 0.4, True, generator=source()).numpy()
    rows = out.reshape((*shape[:lead], -1))
    assert (rows == rows[..., :1]).all() and 0 < len(np.unique(out)) == 2
    with pytest.raises(bl.ShapeError, match=name):
        getattr(F, name)(np.ones(1 if lead == 2 else (1,) * 6), 0.4, True)


def test_alpha_dropout_keeps_the_moments():
    x = source(1).normal((400, 400), dtype="float64")
    out = F.alpha_dropout(x, 0.3, True, generator=source()).numpy()
    assert abs(out.mean()) < 0.01 and abs(out.var() - 1) < 0.02
    assert _SATURATED == pytest.approx(-1.7580993408473766, rel=1e-15)
    counts = np.unique(out, return_counts=True)[1]
    assert abs(counts.max() / x.size - 0.3) < 0.01


def test_the_same_bits_eager_and_compiled():
    def parts(x, g):
        return (
            F.dropout(x, 0.4, generator=g), F.dropout1d(x, 0.4, generator=g), F.alpha_dropout(x, 0.4, True, generator=g),
            F.rrelu(x, training=True, generator=g), F.gumbel_softmax(x, generator=g, hard=True),
        )  # fmt: skip

    def f(x, g):
        return [grad(lambda x, k=k: (parts(x, g)[k] ** 2).sum())(x) for k in range(4)], parts(x, g)

    x = bl.tensor(np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32))
    eager, streamed = source(), source()
    step = bl.compile(lambda x, g=streamed: f(x, g))
    for _ in range(2):
        for a, b in zip(bl.tree.leaves(f(x, eager)), bl.tree.leaves(step(x)), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not step.report().callbacks


def test_in_place():
    x = bl.tensor([1.0, -2.0, 3.0])
    assert F.dropout(x, 1.0, inplace=True) is x and x.tolist() == [0.0] * 3
    leaf = bl.tensor([1.0, -2.0], requires_grad=True)
    with pytest.raises(bl.BacklitError, match="leaf"):
        F.rrelu(leaf, training=True, inplace=True)
    y = leaf * 2.0
    out = F.rrelu(y, inplace=True)
    assert out is y
    y.sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), [2.0, 2.0 * (1 / 8 + 1 / 3) / 2], rtol=1e-6)


def test_random_slopes():
    x = np.concatenate([-np.ones(20_000), [0.0, 5.0]])
    out = F.rrelu(x, 0.2, 0.6, True, generator=source()).numpy()
    assert out[-1] == 5 and -0.6 <= out[:-2].min() and out[:-2].max() <= -0.2 and abs(out[:-2].mean() + 0.4) < 0.01
    slope = grad(lambda x: F.rrelu(x, 0.2, 0.6, True, generator=source()).sum())(x).numpy()
    np.testing.assert_allclose(slope[:-2], -out[:-2])
    with pytest.raises(bl.BacklitError, match="above upper"):
        F.rrelu(x, 0.5, 0.1)


def test_gumbel_softmax():
    logits = np.log(np.array([[0.2, 0.5, 0.3]]))
    many = np.repeat(logits, 20_000, axis=0)
    hard = F.gumbel_softmax(many, hard=True, generator=source()).numpy()
    assert set(np.unique(hard)) == {0.0, 1.0} and (hard.sum(1) == 1).all()
    np.testing.assert_allclose(hard.mean(0), [0.2, 0.5, 0.3], atol=0.015)
    soft = F.gumbel_softmax(many, 0.5, generator=source())
    np.testing.assert_allclose(soft.sum(axis=1).numpy(), 1, rtol=1e-12)
    w = np.array([1.0, 2.0, 3.0])
    slopes = [
        grad(lambda x, h=h: (F.gumbel_softmax(x, 0.5, h, generator=source()) * w).sum())(logits).numpy() for h in (0, 1)
    ]
    np.testing.assert_array_equal(*slopes)
    assert gradcheck(lambda x: F.gumbel_softmax(x, 0.5, dim=0, generator=source()), np.ones((3, 2)))


def table_and(*numbers):
    return np.random.default_rng(0).standard_normal((5, 3)), np.array(numbers)


@pytest.mark.parametrize("kwargs", [{}, {"padding_idx": 1}, {"padding_idx": -1}, {"scale_grad_by_freq": True}])
def test_embedding_compiles_without_a_call_back(kwargs):
    table, numbers = table_and([0, 1, 1], [4, 0, 1])
    slopes = lambda w, i: grad(lambda w: (F.embedding(i, w, **kwargs) ** 2).sum())(w)
    program = Program(make_graph(slopes)(table, numbers))
    assert not program.callbacks
    np.testing.assert_allclose(program(table, numbers)[0], slopes(table, numbers).numpy(), rtol=1e-14)


def test_derivatives_of_bilinear():
    rng = np.random.default_rng(0)
    for lead in ((4,), (2, 3), ()):
        arrays = [rng.standard_normal(s) for s in ((*lead, 3), (*lead, 2), (5, 3, 2), (5,))]
        assert gradcheck(F.bilinear, *arrays)
    np.testing.assert_allclose(F.softmin(arrays[0]).numpy(), F.softmax(-arrays[0]).numpy())


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.embedding(np.array([0.0]), np.ones((2, 3))), bl.DTypeError, "expected integers"),
        (lambda: F.embedding(np.array([2]), np.ones((2, 3))), bl.BacklitError, "embedding: the class 2 is not in 0..1"),
        (lambda: F.embedding(np.array([-1]), np.ones((2, 3))), bl.BacklitError, "is not in 0..1"),
        (lambda: F.embedding(np.array([0]), np.ones(3)), bl.ShapeError, "[rows, size]"),
        (lambda: F.embedding(np.array([0]), np.ones((2, 3)), padding_idx=2), bl.BacklitError, "padding_idx 2"),
        (lambda: F.embedding(np.array([0]), np.ones((2, 3)), sparse=True), bl.BacklitError, "sparse"),
        (lambda: F.one_hot(np.array([0, 3]), 3), bl.BacklitError, "is not in 0..2"),
        (lambda: F.one_hot(np.array([0.0])), bl.DTypeError, "expected integers"),
        (lambda: F.one_hot(np.zeros(0, int)), bl.BacklitError, "num_classes"),
        (lambda: F.bilinear(np.ones((2, 3)), np.ones((2, 2)), np.ones((5, 2, 3))), bl.ShapeError, "[out, in1, in2]"),
        (lambda: F.bilinear(np.ones(3), np.ones(2), np.ones((5, 3, 2)), np.ones(2)), bl.ShapeError, "bias float64[2]"),
    ],
)
def test_errors(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
