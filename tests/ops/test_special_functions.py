"""Special functions: values and derivatives against mpmath with 50 digits, at roots, poles and in the tails."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import backlit as bl
from backlit import grad
from backlit.core.op import REGISTRY

INF, NAN = math.inf, math.nan
EPS = np.finfo(np.float64).eps


def exact(function, x):
    with mpmath.workdps(50):
        return np.array([float(function(mpmath.mpf(float(v)))) for v in x])


def slope(f, x):
    return grad(lambda x: f(x).sum())(x).numpy()


POSITIVE = np.concatenate([np.linspace(0.05, 12, 60), [1e-8, 1e-3, 1.4616321449683622, 30.5, 171.0, 1e5, 1e15]])
NEGATIVE = -np.array([1e-9, 0.1, 0.5, 0.9, 1.25, 1.7, 2.5, 3.3, 7.75, 20.5])
INSIDE = np.array([-0.999, -0.7, -0.1, -1e-9, 1e-200, 0.3, 0.5, 0.95, 0.99999, 1 - 1e-12])
TAIL = np.array([-6.0, -3.0, -1.0, -0.5, 0.0, 0.3, 0.9, 1.1, 2.0, 5.0, 9.0])


def test_derivatives():
    np.testing.assert_allclose(slope(bl.lgamma, POSITIVE), exact(mpmath.digamma, POSITIVE), rtol=4 * EPS)
    np.testing.assert_allclose(
        slope(bl.digamma, POSITIVE), exact(lambda x: mpmath.polygamma(1, x), POSITIVE), rtol=4 * EPS
    )
    both = np.concatenate([POSITIVE, NEGATIVE])
    third = grad(lambda x: grad(lambda x: bl.digamma(x).sum())(x).sum())(both).numpy()
    np.testing.assert_allclose(third, exact(lambda x: mpmath.polygamma(2, x), both), rtol=60 * EPS)
    bell = lambda x: -2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x)
    np.testing.assert_allclose(slope(bl.erfc, TAIL), exact(bell, TAIL), rtol=100 * EPS)
    inverse = slope(bl.erfinv, INSIDE)
    out = bl.erfinv(INSIDE).numpy()
    np.testing.assert_allclose(
        inverse, exact(lambda y: mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(y * y), out), rtol=100 * EPS
    )


def test_the_derivative_of_expm1_has_all_digits_in_the_tail():
    x = np.array([-700.0, -30.0, -1.0, -1e-9, 0.0, 2.0])
    np.testing.assert_allclose(slope(bl.expm1, x), exact(mpmath.exp, x), rtol=4 * EPS)


def test_lgamma_and_its_derivatives_at_negative_numbers():
    log = lambda x: mpmath.re(mpmath.loggamma(x))
    np.testing.assert_allclose(bl.lgamma(NEGATIVE).numpy(), exact(log, NEGATIVE), rtol=2e-15, atol=2e-15)
    np.testing.assert_allclose(bl.digamma(NEGATIVE).numpy(), exact(mpmath.digamma, NEGATIVE), rtol=2e-15, atol=2e-15)
    wanted = exact(lambda x: mpmath.polygamma(1, x), NEGATIVE)
    np.testing.assert_allclose(bl.polygamma(1, NEGATIVE).numpy(), wanted, rtol=1e-15)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 20, 100])
def test_polygamma(n):
    x = np.concatenate([np.linspace(0.2, 40, 50), [0.01, 1e4]])
    wanted = exact(lambda x: mpmath.polygamma(n, x), x)
    np.testing.assert_allclose(bl.polygamma(n, x).numpy(), wanted, rtol=(8 + n) * EPS)
    if n < 20:
        wanted = exact(lambda x: mpmath.polygamma(n, x), NEGATIVE[1:])
        np.testing.assert_allclose(bl.polygamma(n, NEGATIVE[1:]).numpy(), wanted, rtol=1e-11)


def test_orders_of_polygamma():
    x = np.array([0.7, 3.5])
    np.testing.assert_array_equal(bl.polygamma(0, x).numpy(), bl.digamma(x).numpy())
    np.testing.assert_allclose(slope(lambda x: bl.polygamma(2, x), x), bl.polygamma(3, x).numpy(), rtol=1e-15)
    orders = REGISTRY["polygamma"](np.array([-1, 0, 1, 2, 101]), np.full(5, 0.7)).numpy()
    assert np.isnan(orders[[0, 4]]).all()
    np.testing.assert_allclose(orders[1:4], [bl.polygamma(n, 0.7).item() for n in range(3)], rtol=1e-6)
    assert bl.polygamma(2, np.ones(3, np.float32)).dtype == np.float32


def test_poles_and_ends():
    assert bl.lgamma(np.array([0.0, -0.0, -1.0, -30.0, INF, -INF, 1.0, 2.0])).tolist() == [INF] * 6 + [0, 0]
    assert bl.digamma(np.array([0.0, -0.0, INF])).tolist() == [-INF, INF, INF]
    assert np.isnan(bl.digamma(np.array([-1.0, -2.0, -INF, NAN])).numpy()).all()
    assert bl.polygamma(1, np.array([0.0, -0.0, -3.0, INF])).tolist() == [INF, INF, INF, 0]
    assert bl.polygamma(2, np.array([0.0, -0.0])).tolist() == [-INF, INF]
    assert bl.polygamma(3, np.array([0.0, -0.0, -2.0])).tolist() == [INF, INF, INF]
    assert bl.erfinv(np.array([-1.0, 1.0, 0.0])).tolist() == [-INF, INF, 0]
    assert np.isnan(bl.erfinv(np.array([1.5, -2.0, NAN, INF])).numpy()).all()
    assert slope(bl.erfinv, np.array([-1.0, 0.0, 1.0])).tolist() == [INF, math.sqrt(math.pi) / 2, INF]
    assert bl.erfc(np.array([-INF, INF, 0.0])).tolist() == [2, 0, 1]
    assert bl.erfc(np.array([26.5, 27.2])).numpy() == pytest.approx(exact(mpmath.erfc, [26.5, 27.2]), rel=1e-8)


def test_dtypes():
    for f in (bl.lgamma, bl.digamma, bl.erfc, bl.erfinv):
        for dtype in (np.float16, bl.bfloat16, np.float32, np.float64):
            got = f(np.array([0.25, 0.5]).astype(dtype))
            assert got.dtype == dtype
            tolerance = 4 * float(np.finfo(np.float32).eps) if dtype == np.float32 else 1e-2
            np.testing.assert_allclose(got.numpy().astype(float), f(np.array([0.25, 0.5])).numpy(), rtol=tolerance)
        assert f(np.array([1, 2])).dtype == np.float64
