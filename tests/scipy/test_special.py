"""SciPy's special functions: its values, and derivatives against differences in 50 digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import backlit as bl
import backlit.scipy.special as ours
from backlit import grad

INF, NAN = math.inf, math.nan
POINTS = np.array(
    [
        -30.0,
        -3.7,
        -1.0,
        -0.3,
        -1e-9,
        0.0,
        1e-300,
        1e-9,
        0.2,
        0.5,
        0.9,
        1.0,
        1.5,
        2.0,
        4.3,
        20.0,
        45.5,
        170.6,
        INF,
        -INF,
        NAN,
    ]
)
ONE = {  # with bounds on the arguments
    "erf": (-INF, INF), "erfc": (-INF, INF), "erfinv": (-1, 1), "ndtr": (-INF, INF), "gamma": (-INF, INF), "gammaln": (-INF, INF),
    "digamma": (-INF, INF), "psi": (-INF, INF), "expit": (-INF, INF), "log_expit": (-INF, INF), "logit": (0, 1), "exp2": (-INF, INF),
    "exp10": (-INF, INF), "expm1": (-INF, INF), "log1p": (-1, INF), "cbrt": (-INF, INF), "entr": (-INF, INF), "factorial": (-INF, INF),
}  # fmt: skip
TWO = ("xlogy", "xlog1py", "rel_entr", "kl_div", "huber", "pseudo_huber")


def value(x):
    return np.asarray(x.detach())


@pytest.mark.parametrize("name", ONE)
def test_values_of_one_argument_are_scipys(name):
    special = pytest.importorskip("scipy.special", reason="compared with SciPy")
    low, high = ONE[name]
    x = POINTS[(POINTS >= low) & (POINTS <= high) | np.isnan(POINTS)]
    x = x[x != -INF] if name == "gammaln" else x  # inf here as in C, -inf in SciPy
    with np.errstate(all="ignore"):
        wanted = getattr(special, name)(x)
    got = value(getattr(ours, name)(x))
    if name in ("digamma", "psi", "gamma"):  # at the poles of negative integers there is no value; versions differ
        pole = (x <= 0) & (x == np.round(x)) & np.isfinite(x)
        wanted, got = wanted[~pole], got[~pole]
    np.testing.assert_allclose(got, wanted, rtol=4e-13, atol=1e-300)
    assert getattr(ours, name)(x.astype(np.float32)).dtype == np.float32
    assert getattr(ours, name)(0.5).dtype == np.float64


@pytest.mark.parametrize("name", TWO)
def test_values_of_two_arguments_are_scipys(name):
    special = pytest.importorskip("scipy.special", reason="compared with SciPy")
    x, y = (g.ravel() for g in np.meshgrid(*[[-1.0, 0.0, 0.3, 2.0, INF, NAN]] * 2))
    if "huber" in name:
        x, y = (g.ravel() for g in np.meshgrid([0.3, 2.0], [-1.0, 0.0, 1e-9, 0.3, 5.0, NAN]))
    with np.errstate(all="ignore"):
        wanted = getattr(special, name)(x, y)
    np.testing.assert_allclose(value(getattr(ours, name)(x, y)), wanted, rtol=1e-14)


def test_gamma_in_fifty_digits():
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.uniform(-30, 30, 400), rng.uniform(30, 171.6, 100), np.arange(1, 24), [1e-8, -1e-8, 0.5, -0.5, 171.62]]
    )
    with mpmath.workdps(50):
        wanted = [mpmath.gamma(mpmath.mpf(v)) for v in x]
        got = value(ours.gamma(x))
        units = [abs((mpmath.mpf(g) - w) / w) / mpmath.mpf(2) ** -52 for g, w in zip(got, wanted, strict=True)]
    assert max(units) < 12, max(units)
    assert (got[500:523] == [math.factorial(n) for n in range(23)]).mean() > 0.5
    assert ours.gamma(np.array([0.0, -0.0, 172.0, -1.0, INF, -INF])).tolist()[:3] == [INF, -INF, INF]
    assert np.isnan(value(ours.gamma(np.array([-1.0, -2.0, -INF, NAN])))).all()
    assert value(ours.gamma(np.float32(5.0))) == 24 and ours.gamma(np.float32(5.0)).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "reference", "points"),
    [
        ("gamma", mpmath.gamma, [0.3, 2.5, -1.3, 10.0]),
        ("entr", lambda x: -x * mpmath.log(x), [0.1, 1.0, 3.0]),
        ("log_expit", lambda x: -mpmath.log1p(mpmath.exp(-x)), [-3.0, 0.0, 2.0]),
        ("factorial", mpmath.factorial, [0.5, 3.0]),
        ("erfcinv", lambda x: mpmath.erfinv(1 - x), [0.3, 1.2]),
        ("exp10", lambda x: mpmath.mpf(10) ** x, [0.3, -1.2]),
    ],
)
def test_derivatives_of_one_argument(name, reference, points):
    got = value(grad(lambda x: getattr(ours, name)(x).sum())(np.array(points)))
    with mpmath.workdps(50):
        wanted = [float(mpmath.diff(reference, mpmath.mpf(p))) for p in points]
    np.testing.assert_allclose(got, wanted, rtol=1e-13)


def test_logsumexp_of_nothing_but_one_term_with_weights_of_another_shape():
    x = [-INF, 0.0]
    assert ours.logsumexp(x, b=2.0).item() == math.log(2.0)
    assert value(ours.logsumexp(x, 1, b=[[1.0], [3.0]])).tolist() == [0.0, math.log(3.0)]
    size, sign = ours.logsumexp(x, return_sign=True)
    assert size.item() == 0.0 and sign.item() == 1.0


def test_functions_of_several():
    special = pytest.importorskip("scipy.special", reason="compared with SciPy")
    rng = np.random.default_rng(1)
    x, b = rng.standard_normal((3, 4)) * 5, rng.uniform(-1, 2, (3, 4))
    for axis in (None, 0, 1, (0, 1)):
        for name in ("softmax", "log_softmax"):
            np.testing.assert_allclose(value(getattr(ours, name)(x, axis)), getattr(special, name)(x, axis), rtol=1e-13)
        np.testing.assert_allclose(value(ours.logsumexp(x, axis)), special.logsumexp(x, axis), rtol=1e-14)
        got, sign = ours.logsumexp(x, axis, b=b, keepdims=True, return_sign=True)
        wanted, wanted_sign = special.logsumexp(x, axis, b=b, keepdims=True, return_sign=True)
        np.testing.assert_allclose(value(got), wanted, rtol=1e-13)
        np.testing.assert_array_equal(value(sign), wanted_sign)
    assert ours.logsumexp([-INF, -INF]).item() == -INF and ours.logsumexp([0.0, 0.0], b=[1.0, 0.0]).item() == 0.0
    for n in (0, 1, 3):
        np.testing.assert_allclose(value(ours.polygamma(n, [0.4, 2.0])), special.polygamma(n, [0.4, 2.0]), rtol=1e-13)
    np.testing.assert_allclose(value(ours.betaln(2.5, [0.5, 3.0])), special.betaln(2.5, [0.5, 3.0]), rtol=1e-13)
    for f in (
        lambda x, y: ours.logsumexp(x, b=y),
        ours.xlog1py,
        ours.rel_entr,
        ours.kl_div,
        ours.betaln,
        ours.pseudo_huber,
        lambda x, y: ours.huber(1.0, x - y),
    ):
        bl.gradcheck(f, rng.uniform(0.2, 2.0, (2, 3)), rng.uniform(0.2, 2.0, (2, 3)))
    bl.gradcheck(lambda x: ours.softmax(x, 0), x)


def test_slopes_where_nothing_is_left():
    gx, gy = grad(lambda x, y: ours.xlog1py(x, y).sum(), argnums=(0, 1))(
        np.array([0.0, 0.0, 1.0]), np.array([-1.0, 2.0, 3.0])
    )
    assert gx.tolist() == [0, 0, math.log1p(3.0)] and gy.tolist() == [0, 0, 0.25]
    assert grad(lambda x: ours.entr(x).sum())(np.array([0.0, -1.0])).tolist() == [0, 0]
    assert grad(lambda y: ours.rel_entr(np.zeros(2), y).sum())(np.array([0.0, 1.0])).tolist() == [0, 0]
    # what is outside of the domain is structurally zero
    assert np.isfinite(value(grad(lambda x: ours.factorial(bl.sqrt(x) - 1.0).sum())(np.array([0.0, 4.0])))).all()


def test_misuse_is_said():
    with pytest.raises(bl.BacklitError, match="out= is not supported"):
        ours.erf(1.0, np.zeros(1))
    with pytest.raises(bl.BacklitError, match="order must be an integer"):
        ours.polygamma(0.5, 1.0)
    with pytest.raises(AttributeError, match="no attribute 'jv'"):
        ours.jv(0, 1.0)
