"""Losses and distances at kinks as documented, compiled, twice differentiable; values are compared with recorded ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck
from backlit.compiler import make_graph
from backlit.compiler.native import Program
from backlit.nn import functional as F


def normal(*shape):
    return lambda rng: rng.standard_normal(shape)


def uniform(*shape, low=0.05, high=0.95):
    return lambda rng: rng.uniform(low, high, shape)


def signs(*shape):
    return lambda rng: np.where(rng.random(shape) < 0.5, 1.0, -1.0)


def labels(n, *shape):
    return lambda rng: rng.integers(0, n, shape)


def some_ignored(n, *shape):
    return lambda rng: np.where(rng.random(shape) < 0.3, -100, rng.integers(0, n, shape))


def log_p(*shape):
    return lambda rng: np.log(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))


def simplex(*shape):
    return lambda rng: rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def classes_first(shape):
    return lambda rng: np.moveaxis(rng.dirichlet(np.ones(shape[1]), (shape[0], *shape[2:])), -1, 1)


def multilabels(rng):
    return np.array([[3, 0, -1, 1], [-1, 2, 2, 2], [0, 1, 2, 3]])


# name, inputs, how many of them are differentiated, keyword arguments; values among these may be drawn
CASES = [
    ("mse_loss", [normal(4, 3), normal(4, 3)], 2, {}),
    ("mse_loss", [normal(4, 3), normal(4, 3)], 2, {"weight": uniform(4, 3)}),
    ("mse_loss", [normal(), normal()], 2, {}),
    ("l1_loss", [normal(4, 3), normal(4, 3)], 2, {}),
    ("l1_loss", [normal(4, 3), normal(4, 3)], 2, {"weight": uniform(4, 3)}),
    ("smooth_l1_loss", [normal(4, 3), normal(4, 3)], 2, {}),
    ("smooth_l1_loss", [normal(4, 3), normal(4, 3)], 2, {"beta": 0.3}),
    ("smooth_l1_loss", [normal(4, 3), normal(4, 3)], 2, {"beta": 0.0}),
    ("huber_loss", [normal(4, 3), normal(4, 3)], 2, {}),
    ("huber_loss", [normal(4, 3), normal(4, 3)], 2, {"delta": 0.4, "weight": uniform(4, 3)}),
    ("cross_entropy", [normal(5, 4), labels(4, 5)], 1, {}),
    ("cross_entropy", [normal(4), labels(4)], 1, {}),
    ("cross_entropy", [normal(6, 4), some_ignored(4, 6)], 1, {"weight": uniform(4)}),
    ("cross_entropy", [normal(6, 4), some_ignored(4, 6)], 1, {"label_smoothing": 0.2}),
    ("cross_entropy", [normal(6, 4), some_ignored(4, 6)], 1, {"weight": uniform(4), "label_smoothing": 0.2}),
    ("cross_entropy", [normal(6, 4), labels(4, 6)], 1, {"weight": lambda rng: np.array([0.0, 1.0, 0.5, 2.0]), "label_smoothing": 0.3}),
    ("cross_entropy", [normal(3, 4, 2), labels(4, 3, 2)], 1, {"weight": uniform(4), "ignore_index": 1}),
    ("cross_entropy", [normal(3, 4, 2, 3), some_ignored(4, 3, 2, 3)], 1, {}),
    ("cross_entropy", [normal(5, 4), simplex(5, 4)], 2, {}),
    ("cross_entropy", [normal(5, 4), simplex(5, 4)], 2, {"weight": uniform(4), "label_smoothing": 0.1}),
    ("cross_entropy", [normal(3, 4, 2), classes_first((3, 4, 2))], 2, {"weight": uniform(4)}),
    ("cross_entropy", [normal(4), simplex(4)], 2, {}),
    ("nll_loss", [log_p(5, 4), labels(4, 5)], 1, {}),
    ("nll_loss", [log_p(4), labels(4)], 1, {}),
    ("nll_loss", [log_p(6, 4), some_ignored(4, 6)], 1, {"weight": uniform(4)}),
    ("nll_loss", [normal(3, 4, 2), some_ignored(4, 3, 2)], 1, {"weight": uniform(4)}),
    ("nll_loss", [normal(3, 4, 2, 2), labels(4, 3, 2, 2)], 1, {"ignore_index": 2}),
    ("binary_cross_entropy", [uniform(4, 3), uniform(4, 3)], 2, {}),
    ("binary_cross_entropy", [uniform(4, 3), uniform(4, 3)], 2, {"weight": uniform(3)}),
    ("binary_cross_entropy_with_logits", [normal(4, 3), uniform(4, 3)], 2, {}),
    ("binary_cross_entropy_with_logits", [normal(4, 3), uniform(4, 3)], 2, {"weight": uniform(4, 1), "pos_weight": uniform(3, high=4.0)}),
    ("kl_div", [log_p(4, 3), simplex(4, 3)], 2, {}),
    ("kl_div", [log_p(4, 3), log_p(4, 3)], 2, {"log_target": True}),
    ("poisson_nll_loss", [normal(4, 3), uniform(4, 3, high=5.0)], 2, {}),
    ("poisson_nll_loss", [normal(4, 3), uniform(4, 3, high=5.0)], 2, {"full": True}),
    ("poisson_nll_loss", [uniform(4, 3), uniform(4, 3, high=5.0)], 2, {"log_input": False, "eps": 1e-6}),
    ("gaussian_nll_loss", [normal(4, 3), normal(4, 3), uniform(4, 3)], 3, {}),
    ("gaussian_nll_loss", [normal(4, 3), normal(4, 3), uniform(4, 3)], 3, {"eps": 0.5, "full": True}),
    ("gaussian_nll_loss", [normal(4, 3), normal(4, 3), uniform(4, 1)], 3, {}),
    ("gaussian_nll_loss", [normal(4, 3), normal(4, 3), uniform(4)], 3, {}),
    ("hinge_embedding_loss", [uniform(4, 3, high=2.0), signs(4, 3)], 1, {}),
    ("hinge_embedding_loss", [uniform(4, 3, high=2.0), signs(4, 3)], 1, {"margin": 0.5}),
    ("margin_ranking_loss", [normal(5), normal(5), signs(5)], 2, {}),
    ("margin_ranking_loss", [normal(4, 3), normal(4, 3), signs(4, 3)], 2, {"margin": 0.7}),
    ("soft_margin_loss", [normal(4, 3), signs(4, 3)], 1, {}),
    ("multi_margin_loss", [normal(5, 4), labels(4, 5)], 1, {}),
    ("multi_margin_loss", [normal(5, 4), labels(4, 5)], 1, {"p": 2, "margin": 0.5, "weight": uniform(4)}),
    ("multi_margin_loss", [normal(4), labels(4)], 1, {}),
    ("multilabel_margin_loss", [normal(3, 4), multilabels], 1, {}),
    ("multilabel_margin_loss", [normal(4), lambda rng: np.array([3, 0, -1, 1])], 1, {}),
    ("multilabel_soft_margin_loss", [normal(4, 3), lambda rng: rng.integers(0, 2, (4, 3)).astype(float)], 1, {}),
    ("multilabel_soft_margin_loss", [normal(4, 3), uniform(4, 3)], 2, {"weight": uniform(3)}),
    ("cosine_embedding_loss", [normal(5, 3), normal(5, 3), signs(5)], 2, {}),
    ("cosine_embedding_loss", [normal(5, 3), normal(5, 3), signs(5)], 2, {"margin": 0.3}),
    ("cosine_embedding_loss", [normal(3), normal(3), signs()], 2, {}),
    ("triplet_margin_loss", [normal(5, 3), normal(5, 3), normal(5, 3)], 3, {}),
    ("triplet_margin_loss", [normal(5, 3), normal(5, 3), normal(5, 3)], 3, {"swap": True, "p": 1.0, "margin": 2.0}),
    ("triplet_margin_with_distance_loss", [normal(5, 3), normal(5, 3), normal(5, 3)], 3, {"swap": True}),
]  # fmt: skip


def named(case):
    return f"{case[0]}-{'-'.join(case[-1])}"


def drawn(inputs, kwargs, dtype="float64"):
    rng = np.random.default_rng(7)
    cast = lambda a: a.astype(dtype) if a.dtype == np.float64 else a
    arrays = [cast(np.asarray(make(rng))) for make in inputs]
    return arrays, {k: cast(v(rng)) if callable(v) else v for k, v in kwargs.items()}


@pytest.mark.parametrize("case", CASES, ids=named)
def test_derivatives_of_first_and_second_order(case):
    name, inputs, n, kwargs = case
    arrays, kwargs = drawn(inputs, kwargs)
    if name == "gaussian_nll_loss" and "eps" in kwargs:
        arrays[2] += 0.6  # below eps the gradient is, as PyTorch's, none of the value
    f = lambda *xs: getattr(F, name)(*xs, *arrays[n:], **kwargs)
    assert gradcheck(f, *arrays[:n])
    assert gradcheck(lambda *xs: grad(f, argnums=tuple(range(n)))(*xs), *arrays[:n])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_compiled_without_a_call_back(case):
    name, inputs, n, kwargs = case
    arrays, kwargs = drawn(inputs, kwargs, "float32")
    f = bl.value_and_grad(lambda *xs: getattr(F, name)(*xs, **kwargs), argnums=tuple(range(n)))
    program = Program(make_graph(f)(*arrays))
    assert program.callbacks == []
    value, slopes = f(*arrays)
    for got, wanted in zip(program(*arrays), (value, *slopes), strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_per_example_gradients_by_vmap_equal_a_loop(case):
    name, inputs, n, kwargs = case
    (one, kwargs), (other, _) = drawn(inputs, kwargs), drawn(inputs, {})
    other = [a * 0.7 if a.dtype == np.float64 and i < n else a for i, a in enumerate(other)]
    f = bl.value_and_grad(lambda *xs: getattr(F, name)(*xs, **kwargs), argnums=tuple(range(n)))
    value, slopes = bl.vmap(f)(*(np.stack(pair) for pair in zip(one, other, strict=True)))
    for k, arrays in enumerate((one, other)):
        wanted, theirs = f(*arrays)
        np.testing.assert_allclose(value.numpy()[k], wanted.numpy(), rtol=1e-12)
        for got, want in zip(slopes, theirs, strict=True):
            np.testing.assert_allclose(got.numpy()[k], want.numpy(), rtol=1e-11, atol=1e-14)


def slope(f, *x):
    return grad(lambda x: f(x).sum())(np.array(x)).tolist()


def test_kinks():
    zero = np.zeros(1)
    assert slope(lambda x: F.l1_loss(x, zero), 0.0) == [0]
    assert slope(lambda x: F.smooth_l1_loss(x, zero, beta=0.0), 0.0) == [0]
    assert slope(lambda x: F.smooth_l1_loss(x, zero), 1.0) == [1] and slope(lambda x: F.huber_loss(x, zero), -1.0) == [
        -1
    ]
    assert slope(lambda x: F.hinge_embedding_loss(x, -1.0), 1.0) == [0]
    assert slope(lambda x: F.margin_ranking_loss(x, zero, 1.0), 0.0) == [0]
    assert slope(lambda x: F.multi_margin_loss(x, np.array(0)), 1.0, 0.0) == [0, 0]
    for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf):
        same = slope(lambda x, p=p: F.pairwise_distance(x, np.ones((2, 2)), p, eps=0.0), [1.0, 1.0], [1.0, 1.0])
        assert same == [[0, 0], [0, 0]], p
        assert np.isfinite(
            slope(lambda x, p=p: F.pairwise_distance(x, np.ones((1, 2)), p, eps=0.0), [1.0, 2.0])
        ).all(), p
    assert slope(lambda x: F.pdist(x), [1.0, 2.0], [1.0, 2.0]) == [[0, 0], [0, 0]]
    assert slope(lambda x: F.cosine_similarity(x, np.ones((1, 2))), [0.0, 0.0]) == [[pytest.approx(2**-0.5 / 1e-8)] * 2]
    assert slope(lambda x: F.normalize(x), [0.0, 0.0]) == [[1e12, 1e12]]
    second = lambda x: grad(lambda x: F.pairwise_distance(x, np.ones((2, 2)), eps=0.0).sum())(x)
    assert slope(second, [1.0, 1.0], [1.0, 1.0]) == [[0, 0], [0, 0]]


def test_cross_entropy_of_probabilities_at_the_ends():
    p, y = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    each = lambda p: F.binary_cross_entropy(p, y, reduction="none")
    assert each(p).tolist() == [0, 100, 100, 0]
    assert slope(each, *p) == [1, 0, 0, -1]
    assert bl.jvp(each, (p,), (np.ones(4),))[1].tolist() == [1, 0, 0, -1]
    assert np.isfinite(slope(lambda p: bl.grad(lambda p: each(p).sum())(p), *p)).all()


def test_logits_keep_their_digits_in_both_tails():
    x = np.array([-40.0, 40.0, -800.0, 800.0])
    losses = F.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0, 0.0, 1.0]), reduction="none").numpy()
    np.testing.assert_allclose(losses[:2], math.exp(-40), rtol=1e-14)
    assert losses[2:].tolist() == [0, 0]
    slopes = slope(lambda x: F.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0]), reduction="sum"), *x[:2])
    np.testing.assert_allclose(slopes, [math.exp(-40), -math.exp(-40)], rtol=1e-14)
    assert F.soft_margin_loss(np.array([-1e4]), np.array([1.0])).item() == 1e4


def test_divergence_of_a_target_with_zeros():
    x, y = np.log([[0.5, 0.25, 0.25]]), np.array([[1.0, 0.0, 0.0]])
    assert F.kl_div(x, y, reduction="sum").item() == pytest.approx(math.log(2), rel=1e-15)
    assert slope(lambda x: F.kl_div(x, y, reduction="sum"), *x) == [[-1, 0, 0]]


def test_distances_of_all_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 3)), rng.standard_normal((5, 3))
    for p in (0.0, 1.0, 2.0, 2.5, math.inf):
        wanted = np.linalg.norm(x[:, :, None] - y, p, axis=-1)
        np.testing.assert_allclose(F.cdist(x, y, p).numpy(), wanted, rtol=1e-12)
    assert gradcheck(F.cdist, x, y)


def ctc_inputs(lengths=(12, 9, 10), targets=(4, 2, 0), n=5, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((max(lengths), len(lengths), n))
    return logits, rng.integers(1, n, (len(lengths), max(targets))), np.array(lengths), np.array(targets)


def test_ctc_without_a_batch_axis_and_too_short():
    z, t, _, _ = ctc_inputs((6,), (3,))
    one = F.ctc_loss(F.log_softmax(z[:, 0]), t[0], 6, 3)
    assert one.shape == () and one.item() == F.ctc_loss(F.log_softmax(z), t, [6], [3]).item()
    for zero_infinity, wanted in ((False, math.inf), (True, 0.0)):
        f = lambda z, zero=zero_infinity: F.ctc_loss(F.log_softmax(z), t, [2], [3], zero_infinity=zero)
        value, slopes = bl.value_and_grad(f)(z)
        assert value.item() == wanted and (slopes.numpy() == 0).all()


def test_ctc_sums_all_alignments():
    z, t, _, _ = ctc_inputs((4,), (2,), n=3)
    p = np.exp(z[:, 0]) / np.exp(z[:, 0]).sum(1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        merged = [k for k, _ in itertools.groupby(path) if k]
        if merged == t[0].tolist():
            total += math.prod(p[i, k] for i, k in enumerate(path))
    loss = F.ctc_loss(F.log_softmax(z), t, [4], [2], reduction="sum")
    assert loss.item() == pytest.approx(-math.log(total), rel=1e-13)


def test_ctc_in_every_transform():
    z, t, frames, longest = ctc_inputs((5, 4), (2, 1), n=3)
    f = lambda z: F.ctc_loss(F.log_softmax(z), t, frames, longest)
    assert gradcheck(f, z) and gradcheck(grad(f), z)
    value, slopes = bl.value_and_grad(f)(z)
    compiled = bl.compile(bl.value_and_grad(f))
    for got, wanted in zip(compiled(bl.tensor(z)), (value, slopes), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-13, atol=1e-15)
    assert not compiled.report().callbacks
    many = np.stack([z, -z])
    np.testing.assert_allclose(bl.vmap(f)(many).numpy(), [f(z).item(), f(-z).item()], rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.l1_loss(np.ones((2, 1)), np.ones(2)), bl.ShapeError, "float64[2, 1] and target float64[2]"),
        (lambda: F.mse_loss(np.ones(2), np.ones(2), "average"), bl.BacklitError, "'average'"),
        (lambda: F.mse_loss(np.ones(2, int), np.ones(2, int)), bl.DTypeError, "expected floats"),
        (lambda: F.smooth_l1_loss(np.ones(2), np.ones(2), beta=-1.0), bl.BacklitError, "beta"),
        (lambda: F.huber_loss(np.ones(2), np.ones(2), delta=0.0), bl.BacklitError, "delta must be positive"),
        (lambda: F.kl_div(np.ones(2), np.ones(2), reduction="batch"), bl.BacklitError, "'batch'"),
        (lambda: F.gaussian_nll_loss(np.ones((2, 3)), np.ones((2, 3)), np.ones((3,))), bl.ShapeError, "var float64[3]"),
        (lambda: F.gaussian_nll_loss(np.ones(2), np.ones(2), -np.ones(2)), bl.BacklitError, "negative"),
        (lambda: F.gaussian_nll_loss(np.ones(2), np.ones(2), np.ones(2), eps=0.0), bl.BacklitError, "eps must be positive"),
        (lambda: F.binary_cross_entropy(np.ones(2), np.ones(2), np.ones(3)), bl.ShapeError, "weight float64[3]"),
        (lambda: F.multi_margin_loss(np.ones((2, 3)), np.array([0, 3])), bl.BacklitError, "the class 3 is not in 0..2"),
        (lambda: F.multi_margin_loss(np.ones((2, 3)), np.array([0, 1]), p=3), bl.BacklitError, "p must be 1 or 2"),
        (lambda: F.multi_margin_loss(np.ones((2, 3)), np.zeros(3, int)), bl.ShapeError, "int64[3]"),
        (lambda: F.multilabel_margin_loss(np.ones((2, 3)), np.zeros(3, int)), bl.ShapeError, "int64[3]"),
        (lambda: F.cosine_embedding_loss(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 1))), bl.ShapeError, "float64[2, 1]"),
        (lambda: F.triplet_margin_loss(np.ones(3), np.ones(3), np.ones((1, 3))), bl.ShapeError, "number of axes"),
        (lambda: F.triplet_margin_loss(np.ones(3), np.ones(3), np.ones(3), margin=0.0), bl.BacklitError, "margin"),
        (lambda: F.cdist(np.ones((2, 3)), np.ones((2, 2))), bl.ShapeError, "float64[2, 2]"),
        (lambda: F.pdist(np.ones(3)), bl.ShapeError, "[n, d]"),
        (lambda: F.ctc_loss(np.ones((2, 1, 3)), np.ones((1, 2), int), [2], [1], blank=3), bl.BacklitError, "blank 3"),
        (lambda: F.ctc_loss(np.ones((2, 1, 3)), np.ones((1, 2), int), [3], [1]), bl.BacklitError, "input_lengths"),
        (lambda: F.ctc_loss(np.ones((2, 1, 3)), np.full((1, 2), 3), [2], [2]), bl.BacklitError, "the class 3 is not"),
        (lambda: F.ctc_loss(np.ones((2, 1, 3)), np.ones((1, 2), int), [2, 2], [1]), bl.ShapeError, "integers [1]"),
        (lambda: F.ctc_loss(np.ones((2, 2, 3)), np.ones(2, int), [2, 2], [1, 2]), bl.ShapeError, "add up to 3"),
        (lambda: F.ctc_loss(np.ones((2, 1, 1, 3)), np.ones((1, 2), int), [2], [1]), bl.ShapeError, "[frames, batch, classes]"),
    ],
)  # fmt: skip
def test_errors(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
