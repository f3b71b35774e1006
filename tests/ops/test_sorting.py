"""Sorting, searching and sets against NumPy and PyTorch: ties, NaN, gradients to what is picked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit import grad, jvp, vmap

NAN, INF = math.nan, math.inf
DTYPES = (np.float16, bl.bfloat16, np.float32, np.float64, np.int8, np.uint64, bool)
FEW = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, INF, -INF, NAN]), max_size=12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sorts_are_numpys(dtype):
    x = (np.random.default_rng(0).integers(0, 4, (4, 6, 3)) - (np.dtype(dtype).kind in "fV")).astype(dtype)
    for axis in (0, 1, -1):
        places = bl.argsort(x, axis=axis)
        np.testing.assert_array_equal(places.numpy(), np.argsort(x, axis=axis, kind="stable"))
        np.testing.assert_array_equal(bl.sort(x, axis=axis).numpy(), np.sort(x, axis=axis))
        falling = bl.sort(x, axis=axis, descending=True)
        assert falling.dtype == x.dtype
        np.testing.assert_array_equal(falling.numpy(), np.flip(np.sort(x, axis=axis), axis))
    np.testing.assert_array_equal(bl.tensor(x).sort(0).numpy(), np.sort(x, axis=0))
    np.testing.assert_array_equal(np.argsort(bl.tensor(x), 0).numpy(), np.argsort(x, 0, kind="stable"))
    assert bl.sort(x[:0], axis=0).shape == (0, 6, 3) and bl.argsort(x[:0], axis=1).shape == (0, 6, 3)


@settings(deadline=None, max_examples=60)
@given(FEW)
def test_equal_elements_keep_their_order(values):
    x = np.array(values, np.float64)
    keyed = lambda sign: sorted(
        range(len(x)), key=lambda i: (sign * math.isnan(x[i]), 0 if math.isnan(x[i]) else sign * x[i])
    )
    assert bl.argsort(x).tolist() == keyed(1)
    assert bl.argsort(x, descending=True).tolist() == keyed(-1)


def test_gradients_of_sorts_go_back_to_their_places():
    x = np.array([[3.0, 0.0, 2.0], [1.0, 4.0, 9.0]])
    weight = np.array([1.0, 10.0, 100.0])
    assert grad(lambda x: (bl.sort(x) * weight).sum())(x).tolist() == [[100.0, 1.0, 10.0], [1.0, 10.0, 100.0]]
    falling = grad(lambda x: (bl.sort(x, descending=True) * weight).sum())(x)
    assert falling.tolist() == [[1.0, 100.0, 10.0], [100.0, 10.0, 1.0]]
    assert jvp(bl.sort, (x,), (x * 2,))[1].tolist() == np.sort(x * 2).tolist()
    square = grad(lambda x: grad(lambda x: (bl.sort(x * x) * weight).sum())(x).sum())(x)
    assert square.tolist() == [[200.0, 2.0, 20.0], [2.0, 20.0, 200.0]]
    rows = vmap(lambda r: bl.sort(r, descending=True))(x)
    assert rows.tolist() == [[3.0, 2.0, 0.0], [9.0, 4.0, 1.0]]


def test_topk_against_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    for axis in (0, 1, -1):
        for largest in (True, False):
            found = bl.topk(x, 3, axis=axis, largest=largest)
            theirs = torch.topk(torch.tensor(x), 3, dim=axis, largest=largest)
            np.testing.assert_array_equal(found.values.numpy(), theirs.values.numpy())
            np.testing.assert_array_equal(found.indices.numpy(), theirs.indices.numpy())
    ties = bl.topk(np.array([1.0, 2.0, 2.0, 2.0]), 2)
    assert ties.indices.tolist() == [1, 2]
    rooted = grad(lambda x: bl.topk(bl.sqrt(x), 2).values.sum())(np.array([4.0, 0.0, 1.0]))
    assert rooted.tolist() == [0.25, 0.0, 0.5]
    values, indices = bl.tensor(np.array([[5.0, 7.0], [8.0, 6.0]])).topk(1, dim=0)
    assert values.tolist() == [[8.0, 7.0]] and indices.tolist() == [[1, 0]]
    assert bl.topk(x, 0).values.shape == (4, 6, 0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searches_are_numpys(side):
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.integers(0, 9, 12)).astype(float), rng.integers(-1, 10, (3, 5)).astype(float)
    np.testing.assert_array_equal(bl.searchsorted(x, y, side=side).numpy(), np.searchsorted(x, y, side=side))
    np.testing.assert_array_equal(np.searchsorted(bl.tensor(x), y, side=side).numpy(), np.searchsorted(x, y, side=side))
    assert bl.searchsorted(x, 3.0, side=side).item() == np.searchsorted(x, 3.0, side=side)
    shuffled = rng.permutation(x)
    order = np.argsort(shuffled)
    found = bl.searchsorted(shuffled, y, side=side, sorter=order)
    np.testing.assert_array_equal(found.numpy(), np.searchsorted(shuffled, y, side=side, sorter=order))
    rows = np.sort(rng.standard_normal((3, 7)), axis=1)
    want = np.stack([np.searchsorted(r, v, side=side) for r, v in zip(rows, y, strict=True)])
    np.testing.assert_array_equal(bl.searchsorted(rows, y, side=side).numpy(), want)
    np.testing.assert_array_equal(vmap(lambda r, v: bl.searchsorted(r, v, side=side))(rows, y).numpy(), want)
    torch = pytest.importorskip("torch")
    theirs = torch.searchsorted(torch.tensor(rows), torch.tensor(y), side=side)
    np.testing.assert_array_equal(want, theirs.numpy())


@settings(deadline=None, max_examples=60)
@given(FEW)
def test_sets_are_numpys(values):
    x = np.array(values, np.float64)
    x = x[: len(x) // 2 * 2].reshape(2, -1)
    for got, want in zip(bl.unique_all(x), np.unique_all(x), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.numpy(), want)
    for got, want in zip(bl.unique_counts(x), np.unique_counts(x), strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
    for got, want in zip(bl.unique_inverse(x), np.unique_inverse(x), strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(bl.unique_values(x).numpy(), np.unique_values(x))
    tests = np.array([0.0, NAN, INF])
    for invert in (False, True):
        np.testing.assert_array_equal(bl.isin(x, tests, invert=invert).numpy(), np.isin(x, tests, invert=invert))
        np.testing.assert_array_equal(bl.isin(x, [], invert=invert).numpy(), np.isin(x, [], invert=invert))
    for got, want in zip(bl.nonzero(x), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(got.numpy(), want)


def test_fields_have_the_standards_names():
    assert bl.unique_all(np.ones(2))._fields == ("values", "indices", "inverse_indices", "counts")
    assert bl.unique_counts(np.ones(2))._fields == ("values", "counts")
    assert bl.unique_inverse(np.ones(2))._fields == ("values", "inverse_indices")
    assert bl.cummax(np.ones(2), 0)._fields == ("values", "indices")


def test_values_of_sets_have_gradients_where_they_are_first():
    assert grad(lambda x: (bl.unique_values(x) * np.array([1.0, 10.0])).sum())(np.array([2.0, 1.0, 2.0])).tolist() == [
        10,
        1,
        0,
    ]


def test_counts():
    n = np.array([1, 4, 1, 0, 1])
    assert (
        bl.bincount(n).tolist() == [1, 3, 0, 0, 1]
        and bl.bincount(n, minlength=7).tolist() == np.bincount(n, minlength=7).tolist()
    )
    assert bl.bincount(np.zeros(0, int)).tolist() == [] and bl.bincount(n).dtype == np.int64
    weight = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(bl.bincount(n, weights=weight).numpy(), np.bincount(n, weight))
    by = grad(lambda w: (bl.bincount(n, weights=w) * np.arange(5.0)).sum())(weight)
    assert by.tolist() == [1.0, 4.0, 1.0, 0.0, 1.0]
    np.testing.assert_array_equal(np.bincount(bl.tensor(n), weight).numpy(), np.bincount(n, weight))


@pytest.mark.parametrize("bins", [10, 3, [0.0, 0.5, 1.0, 3.0], "auto"])
@pytest.mark.parametrize("density", [False, True])
def test_histograms_are_numpys(bins, density):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((20, 5)), rng.uniform(0.5, 1, (20, 5))
    cases = [{}] if bins == "auto" else [{}, {"range": (-1.0, 1.0)}, {"weights": weight}]
    for options in cases:
        got = bl.histogram(x, bins, density=density, **options)
        want = np.histogram(x, bins, density=density, **options)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-13)
            assert a.dtype == b.dtype
    edges = np.array([0, 1, 2, 3, 3, 1.5])
    assert bl.histogram(edges, 3)[0].tolist() == np.histogram(edges, 3)[0].tolist()
    assert np.histogram(bl.tensor(edges), 3)[0].tolist() == [1, 2, 3]


def test_inside_transforms():
    """A function of values alone may be differentiated; one whose result has as many elements as it finds is not batched."""
    x = np.array([3.0, 0.0, 2.0])
    assert grad(lambda x: (x[bl.nonzero(x)[0]] ** 2).sum())(x).tolist() == [6.0, 0.0, 4.0]
    for f in (bl.nonzero, bl.unique_values, bl.bincount, lambda x: bl.histogram(x)[0]):
        with pytest.raises(bl.TraceError):
            vmap(lambda x, f=f: f(x.astype(np.int64)))(np.ones((2, 3)))
        with pytest.raises(bl.TraceError):
            bl.compile(lambda x, f=f: f(x))(bl.tensor([1, 2]))
    found = vmap(lambda r: bl.isin(r, np.array([1.0, 2.0])))(np.array([[1.0, 3.0], [2.0, NAN]]))
    assert found.tolist() == [[True, False], [True, False]]


def test_compiled():
    x = np.random.default_rng(0).standard_normal((4, 6))
    program = bl.compile(
        lambda x: (
            bl.sort(x), bl.argsort(x, axis=0, descending=True), bl.topk(x, 2).values, bl.median(x, axis=0),
            bl.quantile(x, [0.1, 0.7], axis=1), bl.searchsorted(bl.sort(x[0]), x[1]), bl.isin(x, x[0]),
            grad(lambda x: (bl.sort(x) * np.arange(6.0)).sum())(x),
        )
    )  # fmt: skip
    for got, want in zip(program(bl.tensor(x)), program.__wrapped__(bl.tensor(x)), strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.parametrize(
    ("misuse", "named"),
    [
        (lambda x: bl.sort(1.0), "argsort: expected at least one axis"),
        (lambda x: bl.sort(x, axis=3), "argsort: axis 3"),
        (lambda x: bl.topk(x, 4), "topk: 4 elements of 3"),
        (lambda x: bl.searchsorted(x[0], x, side="middle"), "searchsorted: side must be"),
        (lambda x: bl.searchsorted(x, np.ones((3, 2))), "searchsorted: expected [..., n] and [..., m]"),
        (lambda x: bl.nonzero(1.0), "nonzero: expected at least one axis"),
        (lambda x: bl.bincount(x[0]), "bincount: expected integers"),
        (lambda x: bl.bincount(np.array([-1])), "bincount: -1 is negative"),
        (lambda x: bl.bincount(np.ones((2, 2), int)), "bincount: expected [n]"),
        (lambda x: bl.histogram(x, -1), "histogram:"),
        (lambda x: bl.argsort(x * 1j), "complex"),
    ],
)  # fmt: skip
def test_misuse(misuse, named):
    with pytest.raises(bl.BacklitError) as caught:
        misuse(bl.tensor(np.ones((2, 3))))
    assert named in str(caught.value)
