"""Reductions without NaN, and NumPy's statistics, against NumPy itself: by its own functions on tensors, and their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck, vmap
from backlit.ops import estimates, missing

NAN = math.nan
X = np.random.default_rng(0).standard_normal((4, 5))
HOLES = np.where(np.random.default_rng(1).random((4, 5)) < 0.3, NAN, X)
HOLES[2] = NAN


def assert_near(got, want):
    assert isinstance(got, bl.Tensor)
    got, want = got.numpy(), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min", "median"])
def test_reductions_without_nan_are_numpys(name):
    f = getattr(np, f"nan{name}")
    for axis in (None, 0, 1, (0, 1)):
        for keepdims in (False, True):
            assert_near(f(bl.tensor(HOLES), axis=axis, keepdims=keepdims), f(HOLES, axis=axis, keepdims=keepdims))
    whole = np.array([[3, 1], [2, 5]])
    assert_near(f(bl.tensor(whole), axis=0), f(whole, axis=0))
    if name in ("var", "std"):
        assert_near(f(bl.tensor(HOLES), axis=1, ddof=1), f(HOLES, axis=1, ddof=1))
        small = bl.tensor(np.full(100, 300, np.float16))
        assert f(small).item() == 0.0 and f(small).dtype == np.float16
    kept = getattr(missing, f"nan{name}", None) or getattr(bl, f"nan{name}")
    plain = getattr(bl, name)
    rows = grad(lambda x: kept(x, axis=1)[:2].sum())(HOLES).numpy()
    for row, found in zip(HOLES[:2], rows[:2], strict=True):
        there = ~np.isnan(row)
        np.testing.assert_allclose(found[there], grad(plain)(row[there]).numpy(), rtol=1e-12, atol=1e-13)
        assert (found[~there] == 0).all()
    assert (rows[2:] == 0).all()


def test_places_and_running_totals_without_nan():
    holes = HOLES[[0, 1, 3]]
    for name in ("nanargmax", "nanargmin"):
        f = getattr(np, name)
        for axis in (None, 0, 1):
            assert_near(f(bl.tensor(holes), axis=axis), f(holes, axis=axis))
        with pytest.raises(bl.BacklitError, match=f"{name}: all elements of a slice are NaN"):
            f(bl.tensor(HOLES), axis=1)
        assert vmap(getattr(bl, name))(HOLES).shape == (4,)
    for f in (np.nancumsum, np.nancumprod):
        for axis in (None, 0, 1):
            assert_near(f(bl.tensor(HOLES), axis=axis), f(HOLES, axis=axis))
    assert bl.tensor(HOLES).nansum(dim=1).shape == (4,) and bl.nansum(np.array([1, 2])).dtype == np.int64


def test_a_slope_that_is_left_out_is_not_seen():
    """The root of what is left out has an infinite slope."""
    f = lambda x: bl.nansum(bl.where(x > 0, bl.sqrt(x), NAN))
    assert grad(f)(np.array([0.0, 4.0])).tolist() == [0.0, 0.25]
    g = lambda x: bl.nanmean(bl.sqrt(x))
    assert grad(g)(np.array([-1.0, 4.0])).tolist() == [0.0, 0.25]


WEIGHTS = np.random.default_rng(2).uniform(0.5, 1.5, 5)
COUNTS = np.array([1, 2, 0, 3, 1])
CALLS = {
    "ptp": lambda x: np.ptp(x, axis=1),
    "ptp of all": lambda x: np.ptp(x),
    "average": lambda x: np.average(x, axis=0),
    "average with weights": lambda x: np.average(x, axis=1, weights=WEIGHTS),
    "average with weights of all": lambda x: np.average(x, weights=np.tile(WEIGHTS, (4, 1))),
    "percentile": lambda x: np.percentile(x, [10, 75], axis=1),
    "percentile, higher": lambda x: np.percentile(x, 40, method="higher"),
    "nanpercentile": lambda x: np.nanpercentile(x, 30, axis=0),
    "cov": lambda x: np.cov(x),
    "cov of columns": lambda x: np.cov(x, rowvar=False, bias=True),
    "cov of one": lambda x: np.cov(x[0]),
    "cov of two": lambda x: np.cov(x[0], x[1], ddof=0),
    "cov with counts": lambda x: np.cov(x, fweights=COUNTS),
    "cov with weights": lambda x: np.cov(x, aweights=WEIGHTS),
    "cov with both": lambda x: np.cov(x, fweights=COUNTS, aweights=WEIGHTS, ddof=0),
    "corrcoef": lambda x: np.corrcoef(x),
    "corrcoef of two": lambda x: np.corrcoef(x[0], x[1]),
    "trapezoid": lambda x: np.trapezoid(x),
    "trapezoid apart": lambda x: np.trapezoid(x, dx=0.5, axis=0),
    "trapezoid at places": lambda x: np.trapezoid(x, np.cumsum(WEIGHTS)),
    "trapezoid at places each": lambda x: np.trapezoid(x, np.cumsum(X + 3, axis=1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpys_statistics(name):
    f = CALLS[name]
    assert_near(f(bl.tensor(X)), f(X))
    weight = np.random.default_rng(3).standard_normal(np.shape(f(X)))
    gradcheck(lambda x: (f(x) * weight).sum(), X)


def test_statistics_of_complex_numbers():
    z = X + 1j * X[::-1]
    for f in (np.cov, np.corrcoef):
        assert_near(f(bl.tensor(z)), f(z))


@pytest.mark.parametrize("right", [False, True])
def test_bins(right):
    edges = np.array([-1.0, 0.0, 0.0, 1.5])
    x = np.array([[-2.0, -1.0, 0.0], [1.5, 0.7, 9.0]])
    for bins in (edges, edges[::-1], edges[:1]):
        assert_near(np.digitize(bl.tensor(x), bins, right=right), np.digitize(x, bins, right=right))
    with pytest.raises(bl.BacklitError, match="digitize: the edges must rise or fall"):
        estimates.digitize(x, [0.0, 2.0, 1.0])


def test_sets():
    a, b = np.array([[3.0, 1.0], [NAN, 1.0]]), np.array([1.0, 7.0, 7.0, 2.0])
    for f in (np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d):
        assert_near(f(bl.tensor(a[:1]), bl.tensor(b)), f(a[:1], b))
    for options in ({}, {"return_counts": True}, {"return_index": True, "return_inverse": True}):
        got, want = np.unique(bl.tensor(a), **options), np.unique(a, **options)
        for g, w in zip(got if options else [got], want if options else [want], strict=True):
            assert_near(g, w)
    assert_near(np.flatnonzero(bl.tensor(a)), np.flatnonzero(a))
    assert_near(np.argwhere(bl.tensor(a) > 1), np.argwhere(a > 1))
    assert grad(lambda x: estimates.union1d(x, b)[0])(np.array([5.0, -1.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("misuse", "named"),
    [
        (lambda x: np.average(x, weights=np.ones(3)), "average: weights float64[3] fit neither"),
        (lambda x: np.cov(bl.expand_dims(x, axis=0)), "cov: expected variables of observations"),
        (lambda x: np.percentile(x, 101), "quantile: q must be between 0 and 1"),
        (lambda x: np.nanmax(x[:0]), "max: nothing to choose"),
    ],
)  # fmt: skip
def test_misuse(misuse, named):
    with pytest.raises(bl.BacklitError) as caught:
        misuse(bl.tensor(X))
    assert named in str(caught.value)
