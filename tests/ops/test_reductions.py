"""Reductions, norms, medians and quantiles against NumPy and PyTorch, at their special points, and in every dtype."""

from __future__ import annotations

import functools
import math

import ml_dtypes
import numpy as np
import pytest

import backlit as bl
from backlit import grad, hessian, jvp, vmap
from backlit.ops.norm import vector_norm

INF, NAN = math.inf, math.nan
AXES = (None, 0, -1, 1, (0, 2), (-1, 0), (0, 1, 2), ())
DTYPES = (np.float16, bl.bfloat16, np.float32, np.float64, np.int8, np.uint8, np.int64, np.uint32, bool, np.complex64)


def data(dtype, shape=(3, 4, 2), seed=0):
    x = np.random.default_rng(seed).uniform(-2, 2, shape)
    if np.dtype(dtype).kind == "c":
        return (x + 1j * x[::-1]).astype(dtype)
    return (x > 0 if dtype is bool else x * (1 if np.dtype(dtype).kind in "fV" else 2)).astype(dtype)


def assert_near(got, want, eps=None):
    """Equal but for some roundings of the dtype."""
    got, want = got.numpy(), np.asarray(want)
    assert got.shape == want.shape
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
    else:
        eps = float(ml_dtypes.finfo(got.dtype).eps) if eps is None else eps
        wide = complex if got.dtype.kind == "c" else float
        np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=16 * eps, atol=4 * eps)


def wide(x):
    return x.astype(np.float32) if x.dtype in (np.float16, bl.bfloat16) else x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "any", "all", "count_nonzero"])
def test_values_and_dtypes_are_numpys(name, dtype):
    x = data(dtype)
    for axis in AXES:
        for keepdims in (False, True):
            got = getattr(bl, name)(x, axis=axis, keepdims=keepdims)
            if name == "count_nonzero" and axis == ():
                assert got.tolist() == (x != 0).astype(int).tolist()
                continue
            with np.errstate(all="ignore"):
                want = np.asarray(getattr(np, name)(wide(x), axis=axis, keepdims=keepdims))
            small = x.dtype in (np.float16, bl.bfloat16) and name not in ("any", "all", "count_nonzero")
            assert got.dtype == (x.dtype if small else want.dtype), (axis, got.dtype, want.dtype)
            assert_near(got, want)
            by_method = getattr(bl.tensor(x), name)(axis, keepdims)
            np.testing.assert_array_equal(by_method.numpy(), got.numpy())


@pytest.mark.parametrize("name", ["max", "min", "median", "argmax", "argmin"])
def test_choices_are_numpys(name):
    for dtype in (np.float32, np.float64, np.int8, np.uint64):
        x = data(dtype, (4, 3, 5))
        for axis in (None, 0, -1) if name.startswith("arg") else AXES[:-1]:
            assert_near(getattr(bl, name)(x, axis=axis, keepdims=True), getattr(np, name)(x, axis=axis, keepdims=True))
    x = np.array([[1.0, NAN, 3.0], [-INF, INF, 0.0]])
    assert_near(getattr(bl, name)(x, axis=1), getattr(np, name)(x, axis=1))
    if name != "median":
        assert_near(
            getattr(bl, name)(data(bl.bfloat16), axis=1), getattr(np, name)(data(bl.bfloat16).astype(float), axis=1)
        )


def test_of_no_elements():
    x = np.zeros((2, 0, 3))
    assert bl.sum(x, axis=1).tolist() == [[0.0] * 3] * 2 and bl.prod(x, axis=1).tolist() == [[1.0] * 3] * 2
    assert bl.prod(x).item() == 1.0 and bl.sum(x).item() == 0.0 and bl.prod(x, axis=0).shape == (0, 3)
    assert not bl.any(x).item() and bl.all(x).item() and bl.all(x, axis=1).shape == (2, 3)
    assert bl.count_nonzero(x, axis=1).tolist() == [[0] * 3] * 2 and bl.logsumexp(x).item() == -INF
    assert vector_norm(x).item() == 0.0 and vector_norm(x, ord=3).item() == 0.0 and vector_norm(x, ord=0).item() == 0.0
    for f in (bl.mean, bl.var, bl.std):
        assert np.isnan(f(x, axis=1).numpy()).all()
    for name in ("max", "min", "argmax", "argmin", "median"):
        with pytest.raises(bl.ShapeError, match=name):
            getattr(bl, name)(x, axis=1)
    assert bl.max(x, axis=0).shape == (0, 3) and bl.median(x, axis=0).shape == (0, 3)
    assert grad(lambda x: bl.prod(x, axis=1).sum())(x).shape == x.shape
    assert jvp(lambda x: bl.prod(x, axis=1), (x,), (x,))[1].tolist() == [[0.0] * 3] * 2


def test_0d_arrays():
    for name in ("sum", "prod", "mean", "max", "min", "median", "logsumexp"):
        assert getattr(bl, name)(2.5).item() == pytest.approx(2.5) and grad(getattr(bl, name))(2.5).item() == 1.0
    assert bl.var(2.5).item() == bl.std(2.5).item() == 0.0 and bl.argmax(2.5).item() == 0
    assert bl.any(2).item() is True and bl.all(0).item() is False and bl.count_nonzero(3).item() == 1


def test_the_dtype_asked_for():
    n = np.array([100, 100, 100], np.int8)
    assert bl.sum(n).dtype == np.int64 and bl.sum(n, dtype=np.int8).dtype == np.int8
    assert bl.sum(n, dtype=np.int8).item() == np.sum(n, dtype=np.int8)
    assert bl.prod(n, dtype=np.float64).item() == 1e6 and bl.prod(n, dtype=np.float64).dtype == np.float64
    assert bl.sum(np.ones(3, np.uint8)).dtype == bl.prod(np.ones(3, np.uint8)).dtype == np.uint64
    assert bl.sum(np.ones(3, np.float32), dtype=np.float64).dtype == np.float64
    assert bl.mean(n, dtype=np.float32).dtype == np.float32 and bl.mean(n).item() == 100.0
    assert np.sum(bl.tensor(n), dtype=np.int16).dtype == np.int16


@pytest.mark.parametrize("dtype", [np.float16, bl.bfloat16])
def test_small_floats_are_added_up_in_float32(dtype):
    x = np.ones(4000, dtype)
    assert bl.sum(x).item() == 4000 and bl.mean(x).item() == 1.0
    assert bl.mean(np.full(4000, 60, dtype)).item() == 60.0  # whose sum is beyond float16
    assert bl.var(np.full(100, 300, dtype)).item() == 0.0
    assert bl.cumulative_sum(x).numpy()[-1] == 4000 and bl.logsumexp(x * 0).item() == pytest.approx(
        math.log(4000), rel=4e-3
    )
    assert vector_norm(np.full(4, 300, dtype)).item() == 600
    leaf = bl.tensor(np.ones((), dtype), requires_grad=True)
    bl.broadcast_to(leaf, (3000,)).sum().backward()
    assert leaf.grad.dtype == dtype and leaf.grad.item() == pytest.approx(3000, rel=4e-3)


@pytest.mark.parametrize("zeros", [(), (1,), (0, 3), (0, 1, 2, 3)])
def test_products_with_zeros_to_third_order(zeros):
    """Each derivative is the product of the factors left over."""
    x = np.array([2.0, -3.0, 0.5, 4.0])
    x[list(zeros)] = 0.0
    left = lambda *out: math.prod(x[k] for k in range(4) if k not in out)
    np.testing.assert_array_equal(grad(bl.prod)(x).numpy(), [left(i) for i in range(4)])
    second = [[left(i, j) if i != j else 0.0 for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(hessian(bl.prod)(x).numpy(), second)
    third = bl.jacfwd(hessian(bl.prod))(x).numpy()
    for i, j, k in np.ndindex(4, 4, 4):
        assert third[i, j, k] == (left(i, j, k) if len({i, j, k}) == 3 else 0.0)
    rows = np.stack([x, x[::-1], x + 1])
    np.testing.assert_array_equal(
        grad(lambda a: bl.prod(a, axis=(1,)).sum())(rows).numpy(), np.stack([grad(bl.prod)(r).numpy() for r in rows])
    )
    np.testing.assert_array_equal(
        vmap(grad(bl.prod))(rows).numpy(), grad(lambda a: bl.prod(a, axis=1).sum())(rows).numpy()
    )


def test_products_leave_structural_zeros_alone():
    """What was not picked has no gradient through the infinite slope of a root, in both modes."""
    x = np.array([[0.0, 4.0], [9.0, 4.0]])
    f = lambda x: bl.prod(bl.sqrt(x), axis=1)[1]
    assert grad(f)(x).tolist() == [[0.0, 0.0], [2.0 / 6.0, 3.0 / 4.0]]
    picked = lambda x: bl.prod(bl.where(x > 0, bl.sqrt(x), 3.0), axis=1)
    assert jvp(picked, (x,), (np.ones_like(x),))[1].tolist() == [0.75, 2 / 6 + 3 / 4]
    assert grad(lambda x: picked(x).sum())(x).tolist() == [[0.0, 0.75], [2.0 / 6.0, 0.75]]


@pytest.mark.parametrize("f", [bl.max, bl.min, bl.prod, bl.sum, vector_norm])
def test_reductions_of_nothing_selected_are_structural_zeros(f):
    """Where all elements of a row were discarded, the infinite slope of a root behind the reduction is not seen."""
    keep = np.array([[True, True], [False, False]])
    g = lambda x: bl.sqrt(f(bl.where(keep, x, 0.0), axis=1))
    x = np.full((2, 2), 4.0)
    pushed = jvp(g, (x,), (np.ones((2, 2)),))[1].numpy()
    assert pushed[1] == 0.0 and np.isfinite(pushed[0]) and pushed[0] > 0
    pulled = grad(lambda x: g(x).sum())(x).numpy()
    assert (pulled[1] == 0.0).all() and (pulled[0] > 0).all()


def test_variances_against_torch():
    torch = pytest.importorskip("torch")
    x = data(np.float64, (4, 5))
    for correction in (0, 1, 2.5):
        for name in ("var", "std"):
            t = torch.tensor(x, requires_grad=True)
            out = getattr(torch, name)(t, dim=1, correction=correction)
            weight = torch.arange(1.0, 5.0, dtype=torch.float64)
            (out * weight).sum().backward()
            got, pullback = bl.vjp(functools.partial(getattr(bl, name), axis=1, correction=correction), x)
            assert_near(got, out.detach().numpy())
            assert_near(pullback(weight.numpy())[0], t.grad.numpy())
    assert grad(bl.std)(np.full(3, 0.5)).tolist() == [0.0, 0.0, 0.0]
    for n, correction in ((1, 1), (1, 2), (3, 3)):
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
            want = np.var(np.arange(float(n)), ddof=correction)
        np.testing.assert_array_equal(bl.var(np.arange(float(n)), correction=correction).numpy(), want)


ORDERS = (0, 1, 2, 3, 0.5, -1, -2.5, INF, -INF)


@pytest.mark.parametrize("order", ORDERS)
def test_norms_against_torch(order):
    torch = pytest.importorskip("torch")
    x = data(np.float64, (3, 4, 2))
    for axis in (None, 0, -1, (0, 2), (0, 1, 2)):
        for keepdims in (False, True):
            t = torch.tensor(x, requires_grad=True)
            out = torch.linalg.vector_norm(t, order, dim=axis, keepdim=keepdims)
            f = functools.partial(vector_norm, ord=order, axis=axis, keepdims=keepdims)
            got, pullback = bl.vjp(f, x)
            assert_near(got, out.detach().numpy())
            assert_near(bl.tensor(x).norm(order, axis, keepdims), out.detach().numpy())
            weight = np.random.default_rng(1).standard_normal(got.shape)
            if order != 0:
                (out * torch.tensor(weight)).sum().backward()
                assert_near(pullback(weight)[0], t.grad.numpy())
    assert vector_norm(data(np.int64), ord=order).dtype == np.float64
    assert vector_norm(data(np.float32), ord=order).dtype == np.float32
    assert vector_norm(data(np.complex64), ord=order).dtype == np.float32


@pytest.mark.parametrize("order", ORDERS[1:])
def test_norms_at_zero(order):
    """Where all is 0 the derivative is 0, to second order."""
    f = lambda x: vector_norm(x, ord=order)
    assert grad(f)(np.zeros(3)).tolist() == [0.0] * 3
    assert hessian(f)(np.zeros(2)).tolist() == [[0.0, 0.0]] * 2
    assert jvp(f, (np.zeros(3),), (np.ones(3),))[1].item() == 0.0
    one = grad(f)(np.array([0.0, 2.0])).tolist()
    assert one[0] == 0.0 and one[1] == (0.0 if order in (-1, -2.5, -INF) else 1.0)


def test_norms_neither_overflow_nor_vanish():
    for dtype in (np.float32, np.float64):
        top, low = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
        for scale in (top / 16, low, 1.0):
            x = np.array([3 * scale, -4 * scale], dtype)
            np.testing.assert_allclose(vector_norm(x).numpy(), 5 * scale, rtol=4 * np.finfo(dtype).eps)
            np.testing.assert_allclose(grad(vector_norm)(x).numpy(), [0.6, -0.8], rtol=4 * np.finfo(dtype).eps)
            cubes = vector_norm(x, ord=3).numpy() / dtype(scale)
            np.testing.assert_allclose(cubes, 91 ** (1 / 3), rtol=32 * np.finfo(dtype).eps)
    assert vector_norm(np.array([INF, 1.0])).item() == INF and math.isnan(vector_norm(np.array([INF, NAN])).item())
    assert vector_norm(np.array([5e-324])).item() == 5e-324


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles_are_numpys(method):
    rng = np.random.default_rng(0)
    for shape, axis in (((7,), None), ((3, 6), 0), ((3, 6, 4), (0, 2)), ((5, 1), 1), ((2, 3), ())):
        x = rng.standard_normal(shape)
        for q in (0, 0.1, 0.35, 0.5, 1, [0.2, 0.9], np.array([[0.1, 0.2], [0.5, 0.75]])):
            for keepdims in (False, True):
                got = bl.quantile(x, q, axis=axis, method=method, keepdims=keepdims)
                want = np.quantile(x, q, axis=axis, method=method, keepdims=keepdims) if axis != () else x
                if axis == ():
                    want = np.broadcast_to(x, (*np.shape(q), *x.shape))
                assert_near(got, want)
    x = np.array([[1.0, NAN, 3.0], [1.0, 2.0, 4.0]])
    assert_near(bl.quantile(x, 0.25, axis=1, method=method), np.quantile(x, 0.25, axis=1, method=method))
    assert_near(
        bl.nanquantile(x, [0.25, 1.0], axis=1, method=method), np.nanquantile(x, [0.25, 1.0], axis=1, method=method)
    )
    assert bl.nanquantile(np.full(3, NAN), 0.5, method=method).numpy() != 0.0
    inf = bl.quantile(np.array([-INF, 1.0, INF, INF]), [0.0, 0.9, 1.0], method=method).tolist()
    assert inf == [-INF, INF, INF]


def test_medians():
    x = np.array([[3.0, 1.0, 2.0, NAN], [5.0, 4.0, 7.0, 6.0]])
    assert math.isnan(bl.median(x).item()) and bl.median(x, axis=1).numpy()[1] == 5.5
    assert_near(bl.nanmedian(x, axis=1), np.nanmedian(x, axis=1))
    assert_near(bl.nanmedian(x), np.nanmedian(x))
    assert bl.median(np.array([1, 2])).item() == 1.5 and bl.median(np.array([1.0, 2.0], np.float32)).dtype == np.float32
    assert bl.tensor(x).median(dim=1, keepdim=True).shape == (2, 1)
    assert bl.tensor(x).quantile(0.5, dim=1).shape == (2,)
    assert bl.median(np.array([1e308, 1.6e308])).item() == pytest.approx(1.3e308)


def test_gradients_of_quantiles_go_to_what_is_taken():
    x = np.array([4.0, 0.0, 9.0, 1.0])
    assert grad(bl.median)(x).tolist() == [0.5, 0.0, 0.0, 0.5] and grad(bl.median)(x[:3]).tolist() == [1.0, 0.0, 0.0]
    np.testing.assert_allclose(grad(lambda x: bl.quantile(x, 0.25))(x).numpy(), [0, 0.25, 0, 0.75])
    np.testing.assert_allclose(grad(lambda q: bl.quantile(x, q))(np.float64(0.5)).item(), 9.0)  # (4 - 1) times 3 gaps
    for method, want in (("lower", [0, 0, 0, 1]), ("higher", [1, 0, 0, 0]), ("nearest", [0, 0, 0, 1])):
        assert grad(lambda x, m=method: bl.quantile(x, 0.45, method=m))(x).tolist() == want, method
    rooted = grad(lambda x: bl.median(bl.sqrt(x)))(x)  # the slope at 0 is infinite, and not taken
    assert rooted.tolist() == [0.125, 0.0, 0.0, 0.25]
    rows = np.stack([x, x + 1, x[::-1]])
    assert_near(vmap(lambda r: bl.quantile(r, 0.3))(rows), np.quantile(rows, 0.3, axis=1))


@pytest.mark.parametrize(
    ("misuse", "named"),
    [
        (lambda x: bl.prod(x, axis=2), "prod: axis 2"),
        (lambda x: bl.any(x, axis=(0, 0)), "any: axis"),
        (lambda x: bl.argmax(x, axis=5), "argmax: axis 5"),
        (lambda x: bl.quantile(x, 1.5), "quantile: q must be between 0 and 1"),
        (lambda x: bl.quantile(x, 0.5, method="cubic"), "quantile: method must be one of"),
        (lambda x: vector_norm(x, ord=INF, axis=0)[5], "index"),
        (lambda x: bl.max(x[:0], axis=0), "max: nothing to choose"),
        (lambda x: bl.logsumexp(x * 1j), "logsumexp"),
        (lambda x: bl.median(x[:0]), "median: no elements"),
    ],
)  # fmt: skip
def test_misuse(misuse, named):
    with pytest.raises(bl.BacklitError) as caught:
        misuse(bl.tensor(np.ones((2, 3))))
    assert named in str(caught.value)


def test_numpys_functions_come_here():
    t = bl.tensor(data(np.float64), requires_grad=True)
    x = data(np.float64)
    for f in (
        np.prod, np.any, np.all, np.median, np.count_nonzero, np.mean, lambda a: np.quantile(a, 0.3), np.nanmedian,
        lambda a: np.prod(a, axis=1), lambda a: np.median(a, axis=(0, 1)), lambda a: np.quantile(a, [0.1, 0.2], axis=0),
    ):  # fmt: skip
        assert isinstance(f(t), bl.Tensor)
        assert_near(f(t).detach(), f(x))


def test_kinks_of_norms_are_counted():
    found = bl.kinks(lambda x: vector_norm(x, axis=1).sum(), np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]]))
    assert [(k.op, k.count, k.size) for k in found] == [("norm", 3, 6)]


def test_compiled_as_loops():
    x = data(np.float32, (6, 5, 4))
    program = bl.compile(
        lambda x: (
            bl.prod(x, axis=1), bl.any(x > 1.9, axis=0), bl.all(x, axis=(0, 1)), bl.count_nonzero(x > 0), bl.var(x, axis=2),
            bl.std(x), vector_norm(x, axis=0), grad(lambda x: bl.prod(x, axis=2).sum())(x), bl.mean(x, axis=(0, 2)),
        )
    )  # fmt: skip
    for got, want in zip(program(bl.tensor(x)), program.__wrapped__(bl.tensor(x)), strict=True):
        assert_near(got, want.numpy())
    assert not program.report().callbacks
