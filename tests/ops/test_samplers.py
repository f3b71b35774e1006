"""Samplers: their distributions by statistical tests with fixed seeds, their bits, their gradients."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

import backlit as bl
from backlit import gradcheck, random
from backlit.compiler.llvm.target import features, restricted
from backlit.ops import samplers

N = 20_000


def phi(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def within(x, lower, upper):
    return (phi(x) - phi(lower)) / (phi(upper) - phi(lower))


def beyond(x, lower):
    """Of a normal variable above `lower`, in whose tail 1 - phi has no digits."""
    return 1 - math.erfc(x / math.sqrt(2)) / math.erfc(lower / math.sqrt(2))


CONTINUOUS = {
    "uniform": (lambda g, n: g.uniform(n, -1.0, 3.0, np.float64), lambda x: (x + 1) / 4),
    "normal": (lambda g, n: g.normal(n, 2.0, 0.5, np.float64), lambda x: phi((x - 2) / 0.5)),
    "exponential": (lambda g, n: g.exponential(n, 3.0, np.float64), lambda x: -math.expm1(-x / 3)),
    "laplace": (lambda g, n: g.laplace(n, 1.0, 2.0, np.float64), lambda x: 1 - math.exp((1 - x) / 2) / 2 if x > 1 else math.exp((x - 1) / 2) / 2),
    "logistic": (lambda g, n: g.logistic(n, 1.0, 2.0, np.float64), lambda x: 1 / (1 + math.exp(-(x - 1) / 2))),
    "gumbel": (lambda g, n: g.gumbel(n, 1.0, 2.0, np.float64), lambda x: math.exp(-math.exp(-(x - 1) / 2))),
    "cauchy": (lambda g, n: g.cauchy(n, 1.0, 2.0, np.float64), lambda x: 0.5 + math.atan((x - 1) / 2) / math.pi),
    "truncated": (lambda g, n: g.truncated_normal(n, dtype=np.float64), lambda x: within(x, -2, 2)),
    "truncated aside": (lambda g, n: g.truncated_normal(n, -0.5, 3.0, 1.0, 2.0, np.float64), lambda x: within((x - 1) / 2, -0.5, 3.0)),
    "truncated below": (lambda g, n: g.truncated_normal(n, -math.inf, -8.0, dtype=np.float64), lambda x: math.erfc(-x / math.sqrt(2)) / math.erfc(8 / math.sqrt(2))),
    "truncated above": (lambda g, n: g.truncated_normal(n, 20.0, math.inf, dtype=np.float64), lambda x: beyond(x, 20.0)),
    "not truncated": (lambda g, n: g.truncated_normal(n, -math.inf, math.inf, dtype=np.float64), phi),
}  # fmt: skip


def distance(sample, cdf):
    """sqrt(n) times the largest distance of the distribution functions (Kolmogorov and Smirnov); 1.95 has probability 1/1000."""
    p = np.array([cdf(x) for x in np.sort(sample)])
    n = len(p)
    return math.sqrt(n) * max((np.arange(1, n + 1) / n - p).max(), (p - np.arange(n) / n).max())


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distributions(name):
    draw, cdf = CONTINUOUS[name]
    sample = draw(bl.Generator(1), (N,)).numpy()
    assert distance(sample, cdf) < 1.95
    moved = sample + 0.05 * (np.quantile(sample, 0.75) - np.quantile(sample, 0.25))
    assert distance(np.clip(moved, None, sample.max()), cdf) > 1.95, "the test has no power"


def chi_square(counts, p):
    """Pearson's statistic in standard deviations from its mean, about normal."""
    p = np.asarray(p, float)
    expected = p * counts.sum()
    assert (counts[p == 0] == 0).all()
    terms = ((counts - expected)[p > 0]) ** 2 / expected[p > 0]
    degrees = (p > 0).sum() - 1
    return (terms.sum() - degrees) / math.sqrt(2 * degrees)


def test_whole_numbers_and_choices():
    g = bl.Generator(2)
    p = np.array([0.1, 0.0, 0.4, 0.2, 0.3])
    count = lambda x, n=5: np.bincount(np.asarray(x).ravel(), minlength=n)
    assert abs(g.bernoulli((N,), 0.3).numpy().mean() - 0.3) < 4 * math.sqrt(0.21 / N)
    assert chi_square(count(g.randint((N,), -3, 4) + 3, 7), np.full(7, 1 / 7)) < 4
    assert chi_square(count(g.categorical(np.log(np.maximum(p, 1e-300)), (N,))), p) < 4
    assert chi_square(count(g.choice(5, (N,), p=p)), p) < 4
    assert chi_square(count(g.choice(5, (N,))), np.full(5, 0.2)) < 4
    firsts = Counter(tuple(g.choice(4, 2, replace=False).tolist()) for _ in range(2400))
    assert len(firsts) == 12 and chi_square(np.array(list(firsts.values())), np.full(12, 1 / 12)) < 4
    q = np.array([0.5, 0.3, 0.2])
    pairs = Counter(tuple(g.choice(3, 2, replace=False, p=q).tolist()) for _ in range(3000))
    wanted = {(i, j): q[i] * q[j] / (1 - q[i]) for i in range(3) for j in range(3) if i != j}
    assert chi_square(np.array([pairs[k] for k in wanted]), list(wanted.values())) < 4
    assert sorted(g.choice(6, 6, replace=False).tolist()) == list(range(6))


def test_whole_numbers_over_the_whole_range():
    g, info = bl.Generator(3), np.iinfo(np.int64)
    wide = g.randint((N,), info.min, info.max).numpy()
    assert distance(wide / 2.0**63, lambda x: (x + 1) / 2) < 1.95
    high = g.randint((N,), 0, 2**63, dtype=np.uint64).numpy()
    low_bits = (high & np.uint64(255)).astype(np.int64)
    assert chi_square(np.bincount(low_bits, minlength=256), np.full(256, 1 / 256)) < 4
    exact = np.random.Philox(key=bl.Generator(4).key, counter=0).random_raw(1000)
    n = 3 * 2**61 + 12345
    assert bl.Generator(4).randint((1000,), n, dtype=np.uint64).tolist() == [int(w) * n >> 64 for w in exact]
    assert g.randint((4, 3), np.zeros(3, int), np.array([1, 2, 3])).numpy()[:, 0].tolist() == [0] * 4
    assert g.randint(5, 200, dtype=np.uint8).dtype == np.uint8


DRAWS = [
    lambda g: g.uniform((3, 4), np.zeros(4), np.arange(1.0, 5.0)), lambda g: g.normal((777,), np.ones(777, np.float32), 2.0),
    lambda g: g.exponential((2000,), 0.5, np.float64), lambda g: g.laplace((777,)), lambda g: g.logistic((777,), dtype=np.float64),
    lambda g: g.gumbel((777,), dtype=np.float64), lambda g: g.cauchy((777,), dtype=np.float64),
    lambda g: g.truncated_normal((2000,), dtype=np.float64), lambda g: g.truncated_normal((777,), 3.0, math.inf, dtype=np.float64),
    lambda g: g.bernoulli((777,), 0.3), lambda g: g.randint((777,), -5, 10**12), lambda g: g.randint((5,), 7, dtype=np.int8),
    lambda g: g.categorical(np.linspace(-1, 1, 12).reshape(3, 4)), lambda g: g.choice(10, (50,), p=np.arange(10) / 45),
]  # fmt: skip


def test_the_same_bits_eager_and_compiled():
    for without in ("", "avx512f", "avx"):
        eager, streamed = bl.Generator(5), bl.Generator(5)
        step = bl.compile(lambda g=streamed: [draw(g) for draw in DRAWS])
        with restricted(features(without)):
            for _ in range(2):
                for a, b in zip([draw(eager) for draw in DRAWS], step(), strict=True):
                    assert a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
        assert eager.counter == streamed.counter and not step.report().callbacks


@pytest.mark.parametrize("name", ["uniform", "normal", "laplace", "logistic", "gumbel", "cauchy"])
def test_gradients_of_location_and_scale(name):
    f = lambda a, b: getattr(random, name)((5, 3), a, b, generator=bl.Generator(6))
    a, b = np.array([0.3, -1.0, 2.0]), np.array([2.5, 1.7, 3.0])
    assert f(a, b).dtype == np.float64
    assert gradcheck(f, a, b)
    assert gradcheck(lambda a: f(a, b) ** 2, a)


def test_orders_are_the_same_compiled():
    p = np.array([0.5, 0.3, 0.2, 0.0])
    draws = lambda g: (
        random.permutation(50, generator=g), random.permutation(np.arange(6).reshape(2, 3), 1, generator=g),
        g.choice(9, (2, 3), replace=False), g.choice(4, 3, replace=False, p=p),
    )  # fmt: skip
    eager, streamed = bl.Generator(5), bl.Generator(5)
    step = bl.compile(lambda g=streamed: draws(g))
    for _ in range(2):
        for a, b in zip(draws(eager), step(), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert random.permutation(50, generator=bl.Generator(1)).tolist() == bl.Generator(1).permutation(50).tolist()


def test_gradients_of_the_others():
    assert gradcheck(lambda s: random.exponential((4, 2), s, generator=bl.Generator(6)), np.array([0.5, 2.0]))
    f = lambda m, s: random.truncated_normal((5, 2), -1.0, 3.0, m, s, generator=bl.Generator(6))
    assert gradcheck(f, np.array([0.3, 1.0]), np.array([1.0, 2.0]))
    loc = bl.tensor(np.float32(0.5), requires_grad=True)
    random.normal((100,), loc, 2.0).sum().backward()
    assert loc.grad.dtype == np.float32 and loc.grad.item() == 100


def test_shapes_and_dtypes():
    g = bl.Generator(0)
    assert g.normal().shape == () and g.normal(3).shape == (3,) and g.exponential(scale=np.ones((2, 1))).shape == (2, 1)
    assert g.normal(mean=np.zeros((2, 1)), std=np.ones(3)).shape == (2, 3)
    assert g.gumbel((2,)).dtype == np.float32 and g.gumbel((2,), dtype=bl.bfloat16).dtype == bl.bfloat16
    assert g.normal((2,), np.zeros(2, np.float32), np.ones(2)).dtype == np.float64
    assert g.normal((2,), np.zeros(2, int)).dtype == np.float32
    assert g.truncated_normal((2,), np.array([0.0, 1.0]), 2.0).dtype == np.float32
    assert g.uniform((0, 3)).shape == (0, 3) and g.categorical(np.zeros((0, 3))).shape == (0,)
    assert g.bernoulli(p=np.array([0.0, 1.0]), dtype=np.float32).tolist() == [0, 1]
    assert g.categorical(np.array([[-math.inf, 0.0], [0.0, -math.inf]]), (5, 2)).tolist() == [[1, 0]] * 5
    assert g.categorical(np.zeros((3, 1, 2)), axis=1).numpy().tolist() == [[0, 0]] * 3
    high = np.nextafter(np.float32(1), np.float32(2))
    u = g.uniform((50_000,), np.ones(1, np.float32), np.full(1, high), np.float32)
    assert (u.numpy() == 1).all()
    many = g.choice(np.arange(6).reshape(2, 3) * 10, (2, 2), axis=1)
    assert many.shape == (2, 2, 2)
    assert sorted(random.permutation(np.arange(8)).tolist()) == list(range(8))
    assert random.permutation(np.arange(6).reshape(2, 3), axis=1).shape == (2, 3)


def test_neither_end_is_drawn_where_a_logarithm_is_taken(monkeypatch):
    words = np.array([0, 2**64 - 1, 2**12 - 1], np.uint64)
    monkeypatch.setattr(samplers, "words", lambda generator, size: bl.Tensor(words))
    u = samplers.inside(None, (3,)).numpy()
    assert u.tolist() == [2.0**-53, 1 - 2.0**-53, 2.0**-53]


def test_methods_and_functions_are_one():
    for name in (
        "uniform",
        "normal",
        "exponential",
        "laplace",
        "logistic",
        "gumbel",
        "cauchy",
        "truncated_normal",
        "bernoulli",
    ):
        one = getattr(bl.Generator(8), name)((4,)).numpy()
        np.testing.assert_array_equal(one, getattr(random, name)((4,), generator=bl.Generator(8)).numpy())
        random.seed(8)
        np.testing.assert_array_equal(one, getattr(random, name)((4,)).numpy())


def test_under_vmap_all_examples_share_the_draw():
    f = lambda x: random.normal((3,), generator=bl.Generator(1)) + x
    np.testing.assert_array_equal(bl.vmap(f)(np.zeros((2, 3))).numpy()[0], f(np.zeros(3)).numpy())


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: random.normal((2,), np.zeros(3)), bl.ShapeError, "float64[3] do not broadcast to the shape (2,)"),
        (lambda: random.normal((1,), np.zeros(3)), bl.ShapeError, "do not broadcast"),
        (lambda: random.uniform((2,), dtype=np.int32), bl.DTypeError, "floats, not int32"),
        (lambda: random.randint((2,), 3, 3), bl.BacklitError, "low < high"),
        (lambda: random.randint((2,), 0.0, 3.0), bl.DTypeError, "integers"),
        (lambda: random.truncated_normal((2,), 1.0, 1.0), bl.BacklitError, "lower < upper"),
        (lambda: random.categorical(np.zeros((3, 4)), (2,)), bl.ShapeError, "the shape (2,)"),
        (lambda: random.categorical(np.zeros((3, 0))), bl.ShapeError, "nothing to choose from"),
        (lambda: random.choice(3, 4, replace=False), bl.ShapeError, "4 cannot be drawn from 3 without replacement"),
        (lambda: random.choice(3, 2, p=np.ones(2)), bl.ShapeError, "expected 3 probabilities"),
    ],
)
def test_errors(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
