"""jacfwd with a sparsity pattern: fewer products, the same matrix."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import jacfwd
from backlit.autodiff.sparse import colours

X = np.random.default_rng(2).normal(size=50)
BAND = np.abs(np.subtract.outer(np.arange(50), np.arange(50))) <= 1


def laplace(x):
    padded = bl.pad(bl.sin(x), 1)
    return padded[2:] * x + padded[:-2] - 2.0 * x * x


def test_a_band_of_any_size_takes_three_products(monkeypatch):
    assert sorted(set(colours(BAND))) == [0, 1, 2]
    assert len(set(colours(np.ones((3, 4), bool)))) == 4 and set(colours(np.eye(9, dtype=bool))) == {0}
    np.testing.assert_allclose(jacfwd(laplace, sparsity=BAND)(X).numpy(), jacfwd(laplace)(X).numpy(), rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_random_patterns(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(7, 12)) * (rng.uniform(size=(7, 12)) < 0.2)
    number = colours(matrix != 0)
    for k in set(number):
        assert ((matrix[:, number == k] != 0).sum(1) <= 1).all()
    f = lambda x: bl.reshape(bl.sin(matrix @ bl.reshape(x, (12,))), (7, 1))
    x = rng.normal(size=(3, 4))
    expected = jacfwd(f)(x).numpy()
    for pattern in (expected != 0, (matrix != 0).astype(int)):
        np.testing.assert_allclose(jacfwd(f, sparsity=pattern)(x).numpy(), expected, rtol=1e-13, atol=1e-15)


def test_what_the_pattern_leaves_out_is_found():
    for dtype in ("float32", "float64"):
        jacfwd(laplace, sparsity=BAND)(X.astype(dtype))
        with pytest.raises(bl.GradientError, match="leaves out, in row 0"):
            jacfwd(laplace, sparsity=np.eye(50))(X.astype(dtype))
    with pytest.raises(bl.ShapeError, match=r"expected a pattern \[50, 50\], got \[3, 3\]"):
        jacfwd(laplace, sparsity=np.eye(3))(X)
    with pytest.raises(bl.ShapeError, match="not trees"):
        jacfwd(lambda p: p["x"], sparsity=BAND)({"x": X})


def test_in_other_transforms_and_with_aux():
    expected = jacfwd(laplace)(X).numpy()
    found, aux = jacfwd(lambda x: (laplace(x), 3), argnums=(0,), has_aux=True, sparsity=BAND)(X)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-14)
    assert aux == 3
    np.testing.assert_allclose(bl.compile(jacfwd(laplace, sparsity=BAND))(X).numpy(), expected, rtol=1e-13)
    batch = np.stack([X, X * X])
    np.testing.assert_allclose(bl.vmap(jacfwd(laplace, sparsity=BAND))(batch)[0].numpy(), expected, rtol=1e-13)
    total = lambda s: bl.grad(lambda x: (jacfwd(laplace, sparsity=s)(x) ** 2).sum())(X).numpy()
    np.testing.assert_allclose(total(BAND), total(None), rtol=1e-12)
    assert jacfwd(lambda x: x, sparsity=np.zeros((0, 0)))(np.zeros(0)).shape == (0, 0)
