"""Gamma, beta and Dirichlet variables: their distributions, their bits, their implicit gradients in 40 digits."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck, random
from backlit.functional.rejection import _exp, slope

N = 10_000


def gamma_cdf(a, x):
    """The sum of x^(a + k) exp(-x) / gamma(a + k + 1); none of its terms is negative."""
    if x <= 0:
        return 0.0
    term = math.exp(a * math.log(x) - x - math.lgamma(a + 1))
    total, k = term, 0
    while term > 1e-17 * total or k < x - a:
        k += 1
        term *= x / (a + k)
        total += term
    return min(total, 1.0)


def distance(sample, cdf):
    p = np.array([cdf(x) for x in np.sort(sample)])
    n = len(p)
    return math.sqrt(n) * max((np.arange(1, n + 1) / n - p).max(), (p - np.arange(n) / n).max())


@pytest.mark.parametrize("a", [0.05, 0.5, 1.0, 2.5, 40.0])
def test_gamma_distribution(a):
    sample = random.gamma((N,), a, 3.0, np.float64, bl.Generator(1)).numpy()
    assert distance(sample, lambda x: gamma_cdf(a, x / 3)) < 1.95
    assert distance(sample, lambda x: gamma_cdf(a * 1.1, x / 3)) > 1.95, "the test has no power"


def test_beta_and_dirichlet_distributions():
    x = random.beta((N,), 2.0, 1.0, np.float64, bl.Generator(2)).numpy()
    assert distance(x, lambda x: x * x) < 1.95
    x = random.beta((N,), 0.5, 0.5, np.float64, bl.Generator(2)).numpy()
    assert distance(x, lambda x: 2 / math.pi * math.asin(math.sqrt(x))) < 1.95
    alpha = np.array([1.0, 2.0, 4.0])
    p = random.dirichlet(alpha, (N,), generator=bl.Generator(3)).numpy()
    assert p.shape == (N, 3)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-14)
    assert distance(p[:, 0], lambda x: 1 - (1 - x) ** 6) < 1.95  # a beta variable of 1 and 6
    np.testing.assert_allclose(p.mean(0), alpha / 7, atol=0.01)


def test_the_same_bits_eager_and_compiled():
    alpha = bl.tensor(np.array([0.03, 0.4, 1.0, 7.0, 300.0]))
    draws = lambda g: (g.gamma((50, 5), alpha), g.gamma((20,), 0.7, dtype="float32"), g.dirichlet(alpha, (3,)))
    eager, streamed = bl.Generator(5), bl.Generator(5)
    step = bl.compile(lambda g=streamed: draws(g))
    for _ in range(2):
        for a, b in zip(draws(eager), step(), strict=True):
            assert a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()
    assert eager.counter == streamed.counter and not step.report().callbacks


def test_the_exponential_of_the_sampler():
    x = -np.concatenate([np.linspace(0, 50, 5001), np.linspace(50, 699, 400), [0.0, 1e-20]])
    np.testing.assert_allclose(_exp(bl.Tensor(x)).numpy(), np.exp(x), rtol=4e-16)
    assert _exp(bl.Tensor(np.array([-701.0, -1e300]))).tolist() == [0, 0]


def quantile(mp, a, u, near):
    """The logarithm of the number below which a gamma variable is with probability `u`."""
    return mp.findroot(lambda t: mp.log(mp.gammainc(a, 0, mp.exp(t), regularized=True) / u), near)


@pytest.mark.parametrize("a", [0.02, 0.3, 0.9, 1.0, 1.5, 3.0, 20.0, 400.0])
def test_implicit_gradients_of_first_and_second_order(a):
    mp = pytest.importorskip("mpmath")
    with mp.workdps(40):
        h = mp.mpf(10) ** -10
        for u in (0.02, 0.4, 0.6, 0.97):
            lo, hi = mp.mpf(-500), mp.log(a + 60 * math.sqrt(a) + 60)
            while hi - lo > 1e-3:
                middle = (lo + hi) / 2
                below = mp.gammainc(a, 0, mp.exp(middle), regularized=True) < u
                lo, hi = (middle, hi) if below else (lo, middle)
            at = {k: mp.exp(quantile(mp, a + k * h, u, lo)) for k in (-1, 0, 1)}
            first, second = (at[1] - at[-1]) / (2 * h), (at[1] - 2 * at[0] + at[-1]) / h**2
            alpha, sample = bl.Tensor(np.array(a)), bl.Tensor(np.array(float(at[0])))
            found = slope(alpha, sample).item()
            assert found == pytest.approx(float(first), rel=2e-11)
            by_alpha, by_x = grad(lambda alpha, x: slope(alpha, x), argnums=(0, 1))(alpha, sample)
            assert by_alpha.item() + by_x.item() * found == pytest.approx(float(second), rel=1e-8)


def test_gradients_of_expectations():
    a = np.full((40_000,), 1.7)
    draw = lambda a, s: random.gamma(None, a, s, generator=bl.Generator(4))
    by_a, by_scale = grad(lambda a, s: (draw(a, s) ** 2).sum() / len(a), argnums=(0, 1))(a, np.array(2.0))
    assert by_a.numpy().sum() == pytest.approx(4 * (2 * 1.7 + 1), rel=0.03)  # E[x^2] = scale^2 a (a + 1)
    assert by_scale.item() == pytest.approx(2 * 2.0 * 1.7 * 2.7, rel=0.03)
    assert gradcheck(lambda s: random.gamma((3,), 0.4, s, generator=bl.Generator(4)), np.array(2.0))
    tangent = bl.jvp(lambda a: draw(a, 2.0), (a[:50],), (np.ones(50),))[1].numpy()
    _, pullback = bl.vjp(lambda a: draw(a, 2.0), a[:50])
    np.testing.assert_allclose(pullback(np.ones(50))[0].numpy(), tangent, rtol=1e-14)
    compiled = bl.compile(grad(lambda a: draw(a, 2.0).sum()))(bl.tensor(a[:50])).numpy()
    np.testing.assert_allclose(compiled, tangent, rtol=1e-11)


def test_shapes_and_samples_that_vanish():
    assert random.gamma(concentration=np.ones((2, 1)), scale=np.ones(3)).shape == (2, 3)
    assert random.dirichlet(np.ones((2, 3), np.float32), (4, 2)).dtype == np.float32
    assert random.beta((0, 2)).shape == (0, 2)
    x, slopes = bl.value_and_grad(lambda a: random.gamma((100,), a, generator=bl.Generator(0)).sum())(np.array(1e-4))
    assert math.isfinite(x.item()) and np.isfinite(slopes.numpy()).all()
    with pytest.raises(bl.ShapeError, match="dirichlet"):
        random.dirichlet(1.0)
    mapped = bl.vmap(lambda a: random.gamma((4,), a, generator=bl.Generator(1)))(np.array([0.5, 3.0])).numpy()
    alone = [random.gamma((4,), a, generator=bl.Generator(1)).numpy() for a in (0.5, 3.0)]
    assert (mapped > 0).all() and mapped.shape == (2, 4) and len(alone) == 2


def test_concentrations_that_have_no_distribution_end():
    alpha = np.array([-1.0, 0.0, np.nan, np.inf, 2.0])
    for draw in (bl.random.gamma, bl.compile(bl.random.gamma, static_argnames=("shape",))):
        bl.random.seed(3)
        got = draw(None, alpha).numpy()
        assert np.isnan(got[[0, 2]]).all() and got[1] == 0 and np.isinf(got[3]) and 0 < got[4] < 50


def test_a_shape_is_of_integers():
    for draw in (bl.random.gamma, bl.random.normal, lambda shape: bl.random.dirichlet(np.ones(2), shape)):
        with pytest.raises(bl.DTypeError, match=r"expected a shape of integers, got 2.5; parameters come after it"):
            draw(2.5)
        with pytest.raises(bl.DTypeError, match="expected a shape of integers"):
            draw((2, 1.0))
