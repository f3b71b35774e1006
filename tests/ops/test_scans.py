"""Running totals, products and extremes along an axis against NumPy and PyTorch, with zeros, infinities and selections."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import grad, hessian, jvp, vjp, vmap
from backlit.ops.scan import cumprod, cumsum, recurrence

INF, NAN = math.inf, math.nan


def assert_near(got, want, rtol=1e-13):
    got, want = got.numpy(), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint8, np.int64, bool, np.complex64])
@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_values_and_dtypes_are_numpys(name, dtype):
    x = (np.random.default_rng(0).standard_normal((3, 4, 2)) * 2).astype(dtype)
    for axis in (0, 1, -1):
        for initial in (False, True):
            got = getattr(bl, name)(x, axis=axis, include_initial=initial)
            want = getattr(np, name)(x, axis=axis, include_initial=initial)
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got.numpy(), want)
    short = {"cumulative_sum": "cumsum", "cumulative_prod": "cumprod"}[name]
    for axis in (None, 0, -1):
        np.testing.assert_array_equal(getattr(bl, short)(x, axis).numpy(), getattr(np, short)(x, axis))
        np.testing.assert_array_equal(getattr(np, short)(bl.tensor(x), axis).numpy(), getattr(np, short)(x, axis))
    np.testing.assert_array_equal(getattr(bl.tensor(x), short)(dim=1).numpy(), getattr(np, short)(x, 1))
    if dtype is not np.complex64:
        got, want = getattr(bl, name)(x, axis=0, dtype=np.int16), getattr(np, name)(x, axis=0, dtype=np.int16)
        assert got.dtype == np.int16
        np.testing.assert_array_equal(got.numpy(), want)
    for empty in (x[:0], x[:, :, :0]):
        assert_near(
            getattr(bl, name)(empty, axis=0, include_initial=True),
            getattr(np, name)(empty, axis=0, include_initial=True),
        )
    one = np.arange(4.0)
    assert_near(getattr(bl, name)(one), getattr(np, name)(one))


@pytest.mark.parametrize("zeros", [(), (0,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_products_with_zeros_to_second_order(zeros, reverse, exclusive):
    """Against the same products written out, factor by factor."""
    x = np.array([2.0, -3.0, 0.5, 4.0])
    x[list(zeros)] = 0.0
    weight = np.array([1.0, 0.3, -2.0, 0.7])

    def written_out(x):
        total, outs, order = 1.0, {}, range(3, -1, -1) if reverse else range(4)
        for i in order:
            before, total = total, total * x[i]
            outs[i] = before if exclusive else total
        return sum(outs[i] * weight[i] for i in range(4))

    f = lambda x: (cumprod(x, axis=0, reverse=reverse, exclusive=exclusive) * weight).sum()
    for of in (lambda f: grad(f), lambda f: hessian(f), lambda f: bl.jacfwd(f), lambda f: bl.jacfwd(hessian(f))):
        assert_near(of(f)(x), of(written_out)(x).numpy())


def test_logsumexps_against_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((3, 5)) * 4
    weight = np.random.default_rng(1).standard_normal((3, 5))
    for axis in (0, 1):
        t = torch.tensor(x, requires_grad=True)
        out = torch.logcumsumexp(t, axis)
        (out * torch.tensor(weight)).sum().backward()
        got, pullback = vjp(lambda x, axis=axis: bl.logcumsumexp(x, axis), x)
        assert_near(got, out.detach().numpy())
        assert_near(bl.cumulative_logsumexp(x, axis=axis), out.detach().numpy())
        assert_near(pullback(weight)[0], t.grad.numpy(), rtol=1e-12)
    assert_near(bl.cumulative_logsumexp(np.array([-INF, 0.0]), include_initial=True), [-INF, -INF, 0.0])
    far = np.array([1000.0, -1000.0, 1000.0, -INF])
    assert bl.logcumsumexp(far, 0).tolist() == [1000.0, 1000.0, 1000.0 + math.log(2), 1000.0 + math.log(2)]
    assert_near(grad(lambda x: bl.logcumsumexp(x, 0)[3])(far), [0.5, 0.0, 0.5, 0.0])
    low = np.array([-INF, -INF, 0.0])
    assert grad(lambda x: bl.logcumsumexp(x, 0)[2])(low).tolist() == [0.0, 0.0, 1.0]
    assert jvp(lambda x: bl.logcumsumexp(x, 0), (low,), (np.ones(3),))[1].tolist() == [0.0, 0.0, 1.0]


def test_extremes_against_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((4, 5, 3))
    for axis in (0, 1, -1):
        for name in ("cummax", "cummin"):
            found, theirs = getattr(bl, name)(x, axis), getattr(torch, name)(torch.tensor(x), axis)
            np.testing.assert_array_equal(found.values.numpy(), theirs.values.numpy())
            np.testing.assert_array_equal(found.indices.numpy(), theirs.indices.numpy())


def test_extremes_of_ties_and_nan():
    ties = np.array([1.0, 3.0, 3.0, NAN, 2.0, NAN, 9.0])
    values, indices = bl.tensor(ties).cummax(dim=0)
    assert indices.tolist() == [0, 1, 1, 3, 3, 3, 3] and np.isnan(values.numpy()[3:]).all()
    assert bl.cummin(-ties, 0).indices.tolist() == [0, 1, 1, 3, 3, 3, 3]
    assert bl.cummax(np.array([2, 1, 5], np.uint8), 0).values.dtype == np.uint8
    assert grad(lambda x: bl.cummax(x, 0).values.sum())(ties[:3]).tolist() == [1.0, 2.0, 0.0]
    rooted = grad(lambda x: bl.cummax(bl.sqrt(x), 0).values.sum())(np.array([4.0, 0.0, 1.0]))
    assert rooted.tolist() == [0.75, 0.0, 0.0]
    x = np.random.default_rng(0).standard_normal((4, 5))
    both = vmap(lambda r: bl.cummax(r, 0).values)(x)
    np.testing.assert_array_equal(both.numpy(), np.maximum.accumulate(x, axis=1))


@pytest.mark.parametrize(
    "scan", [lambda x: bl.cumsum(x, 0), lambda x: bl.cumprod(x, 0), lambda x: bl.logcumsumexp(x, 0)]
)
def test_what_is_not_used_is_structurally_zero(scan):
    """An element behind all places that count has no gradient, whatever its slope is, and neither has its product."""
    x = np.array([1.0, 4.0, 0.0, INF])
    first = grad(lambda x: scan(bl.sqrt(x))[:2].sum())(x).numpy()
    assert np.isfinite(first).all() and first[:2].all() and not first[2:].any()
    late = lambda x: scan(bl.where(np.arange(4) < 3, bl.sqrt(np.array([1.0, 4.0, 2.0, 1.0])), bl.sqrt(x)))
    pushed = jvp(late, (np.array([0.0, 0.0, 0.0, 4.0]),), (np.ones(4),))[1].numpy()
    assert not pushed[:3].any() and np.isfinite(pushed[3]) and pushed[3] != 0
    curve = grad(lambda x: grad(lambda x: scan(bl.sqrt(x))[:2].sum())(x).sum())(x).numpy()
    assert np.isfinite(curve).all() and not curve[2:].any()


def test_products_before_an_infinite_factor():
    """A tangent that begins behind an infinite factor is not made NaN by it."""
    f = lambda x: cumprod(bl.where(np.arange(4) == 3, x, np.array([2.0, INF, 3.0, 0.0])), axis=0)
    assert jvp(f, (np.full(4, 5.0),), (np.ones(4),))[1].tolist() == [0.0, 0.0, 0.0, INF]


@pytest.mark.parametrize("lanes", [1, 3, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_recurrences(lanes, dtype):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((6, lanes)).astype(dtype) for _ in range(2))
    want = np.array(y)
    for i in range(1, 6):
        want[i] = x[i] * want[i - 1] + y[i]
    np.testing.assert_array_equal(recurrence(x, y, axis=0).numpy(), want)
    np.testing.assert_array_equal(recurrence(x.T, y.T, axis=1).numpy(), want.T)
    np.testing.assert_array_equal(recurrence(x[::-1], y[::-1], axis=0, reverse=True).numpy(), want[::-1])
    assert recurrence(x[:0], y[:0], axis=0).shape == (0, lanes)
    cotangent = np.zeros((0, lanes))
    assert [g.shape for g in vjp(lambda a, b: recurrence(a, b, axis=0), x[:0], y[:0])[1](cotangent)] == [(0, lanes)] * 2


def test_an_infinite_factor_at_the_beginning_is_not_used():
    x, y = np.array([INF, 2.0]), np.array([0.0, 1.0])
    assert recurrence(x, y, axis=0).tolist() == [0.0, 1.0]
    assert bl.compile(lambda x, y: recurrence(x, y, axis=0))(bl.tensor(x), bl.tensor(y)).tolist() == [0.0, 1.0]
    turned = bl.compile(lambda x, y: recurrence(x, y, axis=0, reverse=True))
    assert turned(bl.tensor(x[::-1].copy()), bl.tensor(y[::-1].copy())).tolist() == [1.0, 0.0]
    gx, gy = grad(lambda x, y: recurrence(x, y, axis=0).sum(), argnums=(0, 1))(x, y)
    assert gx.tolist() == [0.0, 0.0] and gy.tolist() == [3.0, 1.0]


def test_differences_are_numpys():
    x = np.random.default_rng(0).integers(0, 9, (3, 5)).astype(float)
    for n in (0, 1, 2, 6):
        for axis in (0, -1):
            assert_near(bl.diff(x, n=n, axis=axis), np.diff(x, n=n, axis=axis))
    assert_near(bl.diff(x, prepend=0, append=x[:, :2]), np.diff(x, prepend=0, append=x[:, :2]))
    assert_near(bl.diff(x, axis=0, prepend=x[:1]), np.diff(x, axis=0, prepend=x[:1]))
    assert bl.diff(np.array([True, True, False])).tolist() == [False, True]
    assert bl.diff(np.array([1, 4, 9], np.uint8)).dtype == np.uint8
    assert_near(np.diff(bl.tensor(x), 2), np.diff(x, 2))
    assert_near(grad(lambda x: (bl.diff(x) * np.arange(1.0, 5.0)).sum())(x), np.tile([-1.0, -1, -1, -1, 4], (3, 1)))


def test_per_example_gradients():
    x = np.random.default_rng(0).standard_normal((4, 6))
    for f in (bl.cumprod, bl.cumsum, bl.logcumsumexp):
        one = grad(lambda r, f=f: (f(r, 0) * np.arange(6.0)).sum())
        assert_near(vmap(one)(x), np.stack([one(r).numpy() for r in x]))
        assert_near(vmap(lambda r, f=f: f(r, 0), in_axes=1)(x), np.stack([f(r, 0).numpy() for r in x.T]))


def test_compiled_as_loops():
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    program = bl.compile(
        lambda x: (
            bl.cumsum(x, 0), cumsum(x, axis=1, reverse=True), bl.cumprod(x, 1), bl.cummax(x, 1).indices, bl.cummin(x, 0).values,
            grad(lambda x: bl.cumprod(x, 0).sum())(x), bl.cumulative_sum(x, axis=1, include_initial=True), bl.diff(x),
        )
    )  # fmt: skip
    for got, want in zip(program(bl.tensor(x)), program.__wrapped__(bl.tensor(x)), strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    assert not program.report().callbacks


@pytest.mark.parametrize(
    ("misuse", "named"),
    [
        (lambda x: bl.cumulative_sum(x), "cumulative_sum: expected an array with one axis, or axis="),
        (lambda x: bl.cumulative_prod(1.0), "cumulative_prod: expected an array with one axis"),
        (lambda x: bl.cumsum(x, 2), "cumsum: axis 2"),
        (lambda x: bl.cummax(1.0, 0), "cumargmax: expected at least one axis"),
        (lambda x: bl.cummax(x * 1j, 0), "complex"),
        (lambda x: bl.logcumsumexp(x * 1j, 0), "complex"),
        (lambda x: bl.diff(x, n=-1), "diff: n must not be negative"),
        (lambda x: bl.diff(x[0, 0]), "diff: expected at least one axis"),
        (lambda x: recurrence(x, x[0], axis=0), "recurrence: expected factors and terms of one shape"),
    ],
)  # fmt: skip
def test_misuse(misuse, named):
    with pytest.raises(bl.BacklitError) as caught:
        misuse(bl.tensor(np.ones((2, 3))))
    assert named in str(caught.value)
