"""Control flow against plain loops, through every transform."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import associative_scan, cond, fori_loop, grad, gradcheck, jvp, scan, switch, vmap, while_loop
from backlit.compiler import evaluate, make_graph

RNG = np.random.default_rng(0)
W, XS, H0 = RNG.standard_normal((3, 3)) * 0.5, RNG.standard_normal((5, 3)), RNG.standard_normal(3)


def assert_close(a, b):
    np.testing.assert_allclose(np.asarray(a.detach() if isinstance(a, bl.Tensor) else a), b, rtol=1e-12, atol=1e-14)


def recurrent(W, h, xs, **kwargs):
    def step(h, x):
        h = bl.tanh(W @ h + x)
        return h, {"h": h, "s": h.sum()}

    return scan(step, h, xs, **kwargs)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_the_loop(reverse):
    last, ys = recurrent(W, H0, XS, reverse=reverse)
    h, hs = H0, [None] * 5
    for i in reversed(range(5)) if reverse else range(5):
        h = np.tanh(W @ h + XS[i])
        hs[i] = h
    assert_close(last, h)
    assert_close(ys["h"], np.stack(hs))
    assert_close(ys["s"], np.stack(hs).sum(1))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_in_every_transform(reverse):
    def loss(W, h, xs):
        last, ys = recurrent(W, h, xs, reverse=reverse)
        return (last**2).sum() + (ys["h"] * np.arange(15.0).reshape(5, 3)).sum()

    assert gradcheck(loss, W, H0, XS)
    assert gradcheck(lambda W: grad(loss)(W, H0, XS), W)
    batch = RNG.standard_normal((4, 5, 3))
    together = vmap(grad(loss), in_axes=(None, None, 0))(W, H0, batch)
    assert_close(together, np.stack([np.asarray(grad(loss)(W, H0, xs)) for xs in batch]))
    graph = make_graph(grad(loss))(W, H0, XS)
    assert_close(evaluate(graph, W, H0, XS)[0], grad(loss)(W, H0, XS).numpy())


def test_scan_without_xs_and_without_steps():
    last, ys = scan(lambda c, _: (c * 2, c), np.float64(1.0), length=4)
    assert last.item() == 16.0 and ys.tolist() == [1, 2, 4, 8]
    last, ys = scan(lambda c, x: (c + x.sum(), (c, x * 2)), np.float64(3.0), np.zeros((0, 2)))
    assert last.item() == 3.0 and ys[0].shape == (0,) and ys[1].shape == (0, 2) and ys[1].dtype == np.float64
    nested = scan(
        lambda c, row: (scan(lambda d, x: (d + x, None), c, row)[0], None),
        np.float64(0.0),
        np.arange(6.0).reshape(2, 3),
    )
    assert nested[0].item() == 15.0 and nested[1] is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: scan(lambda c, x: (c, x), 0.0, (np.ones(3), np.ones(4))), "float64[4]"),
        (lambda: scan(lambda c, x: (c, x), 0.0), "no xs"),
        (lambda: scan(lambda c, x: (c, x), 0.0, np.ones(3), length=4), "length=4"),
        (lambda: scan(lambda c, x: (c, x), 0.0, np.float64(1.0)), "float64[]"),
        (lambda: scan(lambda c, x: c, np.ones(2), np.ones(3)), "(carry, y)"),
        (lambda: scan(lambda c, x: (np.ones(3), x), np.ones(2), np.ones(3)), "from float64[2] to float64[3]"),
        (lambda: scan(lambda c, x: ((c, c), x), np.ones(2), np.ones(3)), "structure"),
        (lambda: fori_loop(0, 3, lambda i, v: v.astype(np.float32), np.ones(2)), "to float32[2]"),
        (lambda: while_loop(lambda v: v < 3, lambda v: v[None], np.float64(1.0)), "to float64[1]"),
        (lambda: cond(np.ones(2) > 0, bl.sin, bl.cos, 1.0), "bool[2]"),
        (lambda: cond(0.5, bl.sin, bl.cos, 1.0), "float32[]"),
        (lambda: vmap(lambda x: cond(x > 0, lambda x: x, lambda x: (x, x), x))(XS[0]), "structure"),
        (lambda: switch(0, []), "branch"),
        (lambda: associative_scan(lambda a, b: a, (np.ones(2), np.ones(3))), "float64[3]"),
        (lambda: make_graph(lambda x: while_loop(lambda v: v < 3, lambda v: v[None], x))(1.0), "to float32[1]"),
        (lambda: make_graph(lambda x: cond(x > 3, lambda v: v, lambda v: v[None], x))(1.0), "to float32[1]"),
    ],
)
def test_errors(call, named):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert named in str(caught.value)


def test_cond_runs_the_chosen_branch_only():
    ran = []
    f = lambda x: cond(x > 0, lambda x: (ran.append("yes"), x * 2)[1], lambda x: (ran.append("no"), -x)[1], x)
    assert f(np.float64(3.0)).item() == 6.0 and grad(f)(np.float64(-3.0)).item() == -1.0 and ran == ["yes", "no"]


def test_cond_by_example_selects_by_structure():
    f = lambda x: cond(x > 0, bl.sqrt, lambda x: x * 0.0, x)
    x = np.array([4.0, 0.0, 9.0])
    assert_close(vmap(f)(x), [2.0, 0.0, 3.0])
    assert_close(vmap(grad(f))(x), [0.25, 0.0, 1 / 6])  # no 0 * inf from the root that is not taken
    assert_close(grad(lambda x: vmap(f)(x).sum())(x), [0.25, 0.0, 1 / 6])
    assert_close(evaluate(make_graph(f)(np.float64(1.0)), np.float64(16.0))[0], 4.0)


def test_switch():
    branches = [lambda x: x, lambda x: x * x, bl.exp]
    for k, expected in ((-5, 2.0), (0, 2.0), (1, 4.0), (2, np.exp(2.0)), (9, np.exp(2.0))):
        assert_close(switch(k, branches, np.float64(2.0)), expected)
    index = np.array([-1, 0, 1, 2, 7])
    assert_close(vmap(lambda i: switch(i, branches, np.float64(2.0)))(index), [2, 2, 4, np.exp(2.0), np.exp(2.0)])
    slopes = vmap(lambda i: grad(lambda x: switch(i, branches, x))(np.float64(2.0)))(index)
    assert_close(slopes, [1, 1, 4, np.exp(2.0), np.exp(2.0)])


def test_while_and_fori_loops():
    newton = lambda a: while_loop(lambda v: bl.abs(v * v - a) > 1e-12, lambda v: 0.5 * (v + a / v), np.float64(1.0))
    assert_close(newton(2.0), np.sqrt(2))
    np.testing.assert_allclose(grad(newton)(np.float64(2.0)).item(), 0.5 / np.sqrt(2), rtol=1e-6)
    _, tangent = jvp(newton, (np.float64(2.0),), (np.float64(1.0),))
    np.testing.assert_allclose(tangent.item(), 0.5 / np.sqrt(2), rtol=1e-6)
    a = np.array([1.0, 2.0, 100.0])
    assert_close(vmap(newton)(a), np.array([newton(v).item() for v in a]))
    doubled = vmap(lambda x: while_loop(lambda s: s[0] < 10, lambda s: (s[0] * 2, s[1] + 1), (x, 0)))(
        np.array([1.0, 3.0, 20.0])
    )
    assert doubled[0].tolist() == [16.0, 12.0, 20.0] and doubled[1].tolist() == [4, 2, 0]
    power = lambda x: fori_loop(0, 5, lambda i, v: v * x + i, np.float64(1.0))
    x = 1.3
    assert_close(power(np.float64(x)), x**5 + x**3 + 2 * x**2 + 3 * x + 4)
    assert_close(grad(power)(np.float64(x)), 5 * x**4 + 3 * x**2 + 4 * x + 3)
    assert fori_loop(3, 3, lambda i, v: v + 1, 7).item() == 7


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n, reverse):
    x = RNG.standard_normal((2, n))
    flip = (lambda a: a[:, ::-1]) if reverse else (lambda a: a)
    assert_close(associative_scan(lambda a, b: a + b, x, reverse=reverse, axis=1), flip(np.cumsum(flip(x), axis=1)))
    matrices = RNG.standard_normal((n, 2, 2))
    got = associative_scan(lambda a, b: a @ b, matrices, reverse=reverse).numpy()
    product, order = np.eye(2), reversed(range(n)) if reverse else range(n)
    for i in order:
        product = product @ matrices[i]
        np.testing.assert_allclose(got[i], product, rtol=1e-9, atol=1e-12)
    if n:
        affine = lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1])
        assert gradcheck(lambda a, b: associative_scan(affine, (a, b), reverse=reverse, axis=-1), x, x + 1)


def test_a_bounded_while_loop_has_a_reverse_mode_in_a_graph():
    def halved(x, n=20):
        return while_loop(lambda c: c[0] > 1.0, lambda c: (c[0] / 2.0, c[1] * bl.sin(c[0])), (x, x), max_steps=n)[1]

    x = np.float64(10.0)
    assert bl.compile(halved)(x).item() == halved(x).item()
    expected = grad(halved)(x).item()
    assert np.isclose(bl.compile(grad(halved))(x).item(), expected, rtol=1e-14)
    assert np.isclose(bl.compile(grad(grad(halved)))(x).item(), grad(grad(halved))(x).item(), rtol=1e-13)
    many = np.array([0.5, 3.0, 10.0, 100.0])
    one = [grad(halved)(v).item() for v in many]
    np.testing.assert_allclose(vmap(grad(halved))(many), one, rtol=1e-13)
    np.testing.assert_allclose(bl.compile(vmap(grad(halved)))(many), one, rtol=1e-13)
    for n in (0, 1, 3):  # the bound ends the loop
        stopped = lambda x, n=n: halved(x, n)
        assert np.isclose(bl.compile(stopped)(x).item(), stopped(x).item(), rtol=1e-15)
        assert np.isclose(bl.compile(grad(stopped))(x).item(), grad(stopped)(x).item(), rtol=1e-14)
    assert halved(x, 1).item() == (x * np.sin(x)).item() and halved(x, 0).item() == 10.0
    with pytest.raises(bl.GradientError, match="give max_steps"):
        bl.compile(grad(lambda x: halved(x, None)))(x)
    with pytest.raises(bl.BacklitError, match="max_steps must not be negative, got -1"):
        halved(x, -1)
