"""The elementwise functions of the array API: all there, with NumPy's values at special points, and derivatives as documented."""

from __future__ import annotations

import math

import ml_dtypes
import mpmath
import numpy as np
import pytest
from checks import slopes

import backlit as bl
from backlit import grad
from backlit.core.op import REGISTRY
from backlit.ops import elementwise

INF, NAN = math.inf, math.nan
# Array API 2024.12, but for what is of complex numbers alone
ELEMENTWISE = (
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift",
    "bitwise_invert", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clip", "copysign", "cos", "cosh",
    "divide", "equal", "exp", "expm1", "floor", "floor_divide", "greater", "greater_equal", "hypot", "isfinite",
    "isinf", "isnan", "less", "less_equal", "log", "log1p", "log2", "log10", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "nextafter", "not_equal", "positive",
    "pow", "reciprocal", "remainder", "round", "sign", "signbit", "sin", "sinh", "square", "sqrt", "subtract", "tan",
    "tanh", "trunc",
)  # fmt: skip
THEIRS = {"round": "rint"}  # where NumPy's function for floats has another name
POINTS = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 1e-310, -5e-324, 1e308, -1e308, 700.0, INF, -INF, NAN]
)
ONE = (
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "cosh", "exp2", "isfinite", "isinf", "isnan",
    "log2", "log10", "reciprocal", "round", "signbit", "sinh", "square", "tan", "trunc", "deg2rad", "rad2deg",
    "positive",
)  # fmt: skip
SCALED = ("deg2rad", "rad2deg", "reciprocal")  # by a number that NumPy rounds otherwise
TWO = ["atan2", "copysign", "hypot", "logaddexp", "nextafter"]


def test_every_name_of_the_array_api_is_there_and_callable():
    assert [n for n in ELEMENTWISE if not callable(getattr(bl, n, None))] == []


def test_names_of_one_function_are_one_op():
    assert bl.multiply is REGISTRY["mul"] and bl.subtract is REGISTRY["sub"] and bl.divide is REGISTRY["div"]
    assert bl.negative is REGISTRY["neg"] and bl.bitwise_left_shift is REGISTRY["left_shift"]
    assert bl.bitwise_right_shift is elementwise.right_shift and bl.bitwise_invert is REGISTRY["bitwise_invert"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, bl.bfloat16, np.float16])
@pytest.mark.parametrize("name", ONE)
def test_values_of_one_argument_are_numpys(name, dtype):
    with np.errstate(all="ignore"):
        x = POINTS.astype(dtype)
        wanted = getattr(np, THEIRS.get(name, name))(x)
    t = bl.Tensor(x)
    for got in (
        getattr(bl, name)(x),
        getattr(t, name)() if hasattr(t, name) else getattr(bl, name)(t),
        getattr(np, THEIRS.get(name, name))(t),
    ):
        if name in SCALED and dtype == bl.bfloat16:
            continue  # beside a Python number it becomes float32
        assert got.dtype == wanted.dtype
        rounded = float(ml_dtypes.finfo(dtype).eps) if name in SCALED else 0.0
        np.testing.assert_allclose(got.numpy().astype(float), wanted.astype(float), rtol=rounded, atol=0.0)
        if wanted.dtype != bool:
            known = ~np.isnan(wanted.astype(float))
            assert (np.signbit(got.numpy().astype(float)) == np.signbit(wanted.astype(float)))[known].all()


@pytest.mark.parametrize("name", TWO)
def test_values_of_two_arguments_are_numpys(name):
    x, y = (grid.ravel() for grid in np.meshgrid(POINTS, POINTS))
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x, y)
    for got in (getattr(bl, name)(x, y), getattr(bl.Tensor(x), name)(y), getattr(np, name)(x, bl.Tensor(y))):
        np.testing.assert_array_equal(got.numpy(), wanted)
        known = ~np.isnan(wanted)
        assert (np.signbit(got.numpy()) == np.signbit(wanted))[known].all()


def test_integers():
    n = np.array([-3, 0, 5])
    for name in ("ceil", "trunc", "round", "positive", "nan_to_num"):
        got = getattr(bl, name)(n)
        assert got.dtype == np.int64 and got.tolist() == [-3, 0, 5], name
    assert bl.square(n).tolist() == [9, 0, 25] and bl.square(n).dtype == np.int64
    for name in ("atan", "sinh", "cbrt", "exp2", "reciprocal", "sinc", "deg2rad"):
        assert getattr(bl, name)(n).dtype == np.float64, name
    assert bl.isnan(n).tolist() == [False] * 3
    assert bl.bitwise_left_shift(n, 2).tolist() == [-12, 0, 20] and bl.bitwise_invert(n).tolist() == [2, -1, -6]


def test_steps_have_no_slope():
    for f in (bl.ceil, bl.trunc, bl.round, bl.floor):
        assert slopes(f, -1.0, 0.0, 0.5, 2.0) == [0, 0, 0, 0]


def test_derivatives_at_special_points():
    assert slopes(lambda x: bl.copysign(x, -2.0), -1, 0, 3) == [1, 0, -1]
    assert slopes(lambda x: bl.copysign(x, np.array([-2.0])), -1, 3) == [1, -1]
    assert slopes(lambda y: bl.copysign(2.0, y), -1, 3) == [0, 0]
    assert slopes(lambda x: bl.nextafter(x, INF), 0, 1) == [1, 1]
    assert slopes(bl.cbrt, 0) == [INF] and slopes(bl.rsqrt, 0, INF) == [-INF, 0]
    assert slopes(bl.asin, -1, 0, 1) == [INF, 1, INF] and slopes(bl.acos, -1, 0, 1) == [-INF, -1, -INF]
    assert slopes(bl.atanh, -1, 0, 1) == [INF, 1, INF] and slopes(bl.acosh, 1) == [INF]
    assert slopes(bl.atan, INF, 1e300, 0) == [0, 0, 1]
    assert slopes(bl.asinh, 1e300, 0) == [1e-300, 1] and slopes(bl.acosh, 1e300) == pytest.approx([1e-300], rel=1e-15)
    assert slopes(lambda x: bl.hypot(x, 0.0), -2, 0, 3, 1e300) == [-1, 0, 1, 1]
    both = grad(lambda x, y: bl.hypot(x, y).sum(), argnums=(0, 1))(np.array([0.0, 3.0]), np.array([0.0, 4.0]))
    assert [g.tolist() for g in both] == [[0, 0.6], [0, 0.8]]
    assert slopes(lambda x: bl.atan2(x, 1e300), 1e300) == pytest.approx([5e-301], rel=1e-14)
    assert slopes(lambda x: bl.atan2(x, 0.0), 2.0) == [0]
    assert math.isnan(slopes(lambda x: bl.atan2(x, 0.0), 0.0)[0])


def test_derivatives_of_logaddexp_and_xlogy():
    pairs = np.array([[0.0, 0.0], [-INF, 0.0], [-INF, -INF], [INF, INF], [1e4, 1e4]])
    gx, gy = grad(lambda x, y: bl.logaddexp(x, y).sum(), argnums=(0, 1))(*pairs.T)
    assert gx.tolist() == [0.5, 0, 0, 0, 0.5] and gy.tolist() == [0.5, 1, 0, 0, 0.5]
    curve = grad(lambda x: grad(lambda x: bl.logaddexp(x, np.zeros(2)).sum())(x).sum())(np.array([0.0, 2.0]))
    np.testing.assert_allclose(curve.numpy(), [0.25, math.exp(-2) / (1 + math.exp(-2)) ** 2], rtol=1e-15)
    x, y = np.array([0.0, 0.0, 0.0, 2.0, 0.0]), np.array([0.0, -1.0, 3.0, 3.0, INF])
    assert bl.xlogy(x, y).tolist() == [0, 0, 0, 2 * math.log(3), 0] and math.isnan(bl.xlogy(0.0, NAN).item())
    gx, gy = grad(lambda x, y: bl.xlogy(x, y).sum(), argnums=(0, 1))(x, y)
    assert gx.tolist() == [0, 0, math.log(3), math.log(3), INF] and gy.tolist() == [0, 0, 0, 2 / 3, 0]
    assert grad(lambda x: bl.xlogy(x, 2.0).sum())(x).tolist() == [math.log(2.0)] * 5
    assert bl.xlogy(np.ones(2, np.float32), 3.0).dtype == bl.xlogy(3.0, np.ones(2, np.float32)).dtype == np.float32
    assert grad(lambda y: bl.xlogy(2.0, y).sum())(np.array([4.0])).tolist() == [0.5]


def test_sinc_near_and_at_integers():
    x = np.array([0.0, 1.0, -2.0, 2.0**52, 1e-200, 5e-324, 0.5])
    assert np.abs(bl.sinc(x).numpy()).tolist() == [1, 0, 0, 0, 1, 1, 2 / math.pi]
    points = [0.0, 1e-9, 0.1, 0.4999, 0.5, 0.75, 1.0, 1.43, 2.0, 7.3, 1e5 + 0.25]
    with mpmath.workdps(50):
        slope = [mpmath.diff(mpmath.sincpi, mpmath.mpf(p)) if p else mpmath.mpf(0) for p in points]
        curve = [mpmath.diff(mpmath.sincpi, mpmath.mpf(p), 2) if p else -(mpmath.pi**2) / 3 for p in points]
    np.testing.assert_allclose(slopes(bl.sinc, *points), np.array(slope, float), rtol=3e-15, atol=3e-16)
    second = grad(lambda x: grad(lambda x: bl.sinc(x).sum())(x).sum())(np.array(points)).numpy()
    np.testing.assert_allclose(second, np.array(curve, float), rtol=1e-13, atol=1e-14)


def test_logit():
    x = np.array([0.0, 1.0, 0.5, 0.25, -0.1, 0.5 + 2.0**-40])
    wanted = [-INF, INF, 0.0, -math.log(3), NAN, 2.0**-38]
    np.testing.assert_allclose(bl.logit(x).numpy(), wanted, rtol=1e-15)
    held = bl.logit(x, eps=0.25)
    np.testing.assert_allclose(held.numpy()[:4], [-math.log(3), math.log(3), 0.0, -math.log(3)], rtol=1e-15)
    assert slopes(lambda x: bl.logit(x, 0.25), 0.0, 0.5, 0.9) == [0, 4, 0]


def test_nan_to_num():
    x = np.array([NAN, INF, -INF, 2.0])
    big = np.finfo(np.float64).max
    assert bl.nan_to_num(x).tolist() == [0, big, -big, 2] == np.nan_to_num(bl.Tensor(x)).tolist()
    assert bl.nan_to_num(x, 1.0, posinf=5.0, neginf=-7.0).tolist() == [1, 5, -7, 2]
    for dtype in ("float32", "float16", bl.bfloat16):
        got = bl.nan_to_num(bl.Tensor(x).astype(dtype))
        assert got.dtype == np.dtype(dtype) and np.isfinite(got.numpy().astype(float)).all()
    assert slopes(bl.nan_to_num, *x) == [0, 0, 0, 1]
    rooted = grad(lambda x: bl.nan_to_num(bl.sqrt(x - 1.0) / 0.0).sum())(np.array([0.0, 1.0]))
    assert rooted.tolist() == [0, 0]


def test_numpy_functions_that_round_or_clean():
    t = bl.tensor([0.5, 1.5])
    assert np.round(t).tolist() == [0, 2] and np.sinc(t).numpy()[0] == pytest.approx(2 / math.pi)
    assert np.round(bl.asarray(np.array([0.125, 1.005])), 2).tolist() == np.round(np.array([0.125, 1.005]), 2).tolist()
