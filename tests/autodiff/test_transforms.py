"""Transforms of functions: each alone, and nested in any order."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import backlit as bl
from backlit import grad, jvp, nn, value_and_grad, vjp, vmap

X = np.array([0.3, -1.2, 2.0])
V = np.array([0.5, -1.0, 2.0])


def f(x):
    return (bl.sin(x) * x * x).sum()


def df(x):
    return np.cos(x) * x * x + 2 * np.sin(x) * x


def ddf(x):
    return -np.sin(x) * x * x + 4 * np.cos(x) * x + 2 * np.sin(x)


def assert_close(a, b, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(a.detach() if isinstance(a, bl.Tensor) else a), b, rtol=rtol, atol=1e-12)


def test_grad_and_value():
    value, g = value_and_grad(f)(X)
    assert_close(value, np.sum(np.sin(X) * X * X))
    assert_close(g, df(X))


def test_argnums_aux_and_keywords():
    def loss(a, b, scale=1.0):
        return (a * a * b).sum() * scale, {"a": a * 2}

    (ga, gb), aux = grad(loss, argnums=(0, -1), has_aux=True)(X, V, scale=3.0)
    assert_close(ga, 6 * X * V)
    assert_close(gb, 3 * X * X)
    assert_close(aux["a"], 2 * X)
    (value, aux), g = value_and_grad(loss, argnums=1, has_aux=True)(X, V)
    assert_close(value, np.sum(X * X * V))
    assert_close(g, X * X)
    with pytest.raises(bl.GradientError, match="has_aux"):
        grad(lambda x: x.sum(), has_aux=True)(X)


def test_trees_in_and_out():
    from collections import namedtuple

    Pair = namedtuple("Pair", "first second")
    tree = {"p": Pair(X, [V, None]), "q": (2.0,)}
    g = grad(lambda t: (t["p"].first * t["p"].second[0]).sum() * t["q"][0])(tree)
    assert isinstance(g["p"], Pair) and g["p"].second[1] is None
    assert_close(g["p"].first, 2 * V)
    assert_close(g["q"][0], np.dot(X, V), rtol=1e-6)
    _, pullback = vjp(lambda t: {"s": t[0] * t[1], "u": [t[1]]}, (X, V))
    (cot,) = pullback({"s": np.ones(3), "u": [2 * np.ones(3)]})
    assert_close(cot[0], V)
    assert_close(cot[1], X + 2)
    with pytest.raises(bl.ShapeError, match="tree"):
        pullback({"s": np.ones(3)})


def test_vjp_is_reusable_and_gives_none_to_integers():
    _, pullback = vjp(lambda x, n: x * n, X, np.array([1, 2, 3]))
    for scale in (1.0, 5.0):
        cot, nothing = pullback(np.full(3, scale))
        assert_close(cot, scale * np.array([1, 2, 3]))
        assert nothing is None
    with pytest.raises(bl.ShapeError, match=r"float64\[2\]"):
        pullback(np.ones(2))


def test_jvp_with_trees_and_zero_tangents():
    _, tangent = jvp(lambda p, y: (p["a"] * y, p["b"]), ({"a": X, "b": V}, X), ({"a": V, "b": None}, None))
    assert_close(tangent[0], V * X)
    assert_close(tangent[1], np.zeros(3))
    _, tangent, aux = jvp(lambda x: (x * x, x), (X,), (V,), has_aux=True)
    assert_close(tangent, 2 * X * V)
    assert_close(aux, X)
    with pytest.raises(bl.ShapeError, match="float64\\[2\\]"):
        jvp(f, (X,), (np.ones(2),))
    with pytest.raises(bl.DTypeError, match="int64"):
        jvp(lambda n: n, (np.arange(3),), (np.ones(3),))


def test_an_output_that_does_not_depend_has_zero_gradient():
    assert_close(grad(lambda x: bl.tensor(np.float64(3.0)) + 0.0 * 1)(X), np.zeros(3))
    _, tangent = jvp(lambda x: bl.tensor(X), (V,), (V,))
    assert_close(tangent, np.zeros(3))


def test_no_perturbation_confusion():
    inner = lambda x: x * grad(lambda y: x + y)(1.0)
    assert_close(grad(inner)(2.0), 1.0)
    assert_close(jvp(lambda x: x * jvp(lambda y: x * y, (1.0,), (1.0,))[1], (3.0,), (1.0,))[1], 6.0)
    assert_close(grad(lambda x: jvp(lambda y: x * x * y, (x,), (1.0,))[1])(3.0), 6.0)


def test_second_and_third_order_in_every_nesting():
    assert_close(jvp(grad(f), (X,), (V,))[1], ddf(X) * V)
    assert_close(grad(lambda x: jvp(f, (x,), (V,))[1])(X), ddf(X) * V)
    assert_close(grad(lambda x: (grad(f)(x) * V).sum())(X), ddf(X) * V)
    assert_close(jvp(lambda x: jvp(f, (x,), (V,))[1], (X,), (V,))[1], np.sum(ddf(X) * V * V))
    assert_close(vmap(lambda t: jvp(grad(f), (X,), (t,))[1])(np.eye(3)), np.diag(ddf(X)))
    assert_close(vmap(vjp(grad(f), X)[1])(np.eye(3))[0], np.diag(ddf(X)))
    assert_close(grad(grad(grad(lambda x: bl.exp(x * 2.0))))(np.float64(0.3)), 8 * np.exp(0.6))


def test_vmap_of_grad_and_grad_of_vmap():
    both = np.stack([X, V, X * V])
    assert_close(vmap(grad(f))(both), df(both))
    assert_close(grad(lambda x: vmap(f)(x).sum())(both), df(both))
    assert_close(vmap(vmap(lambda x: x * x))(both), both**2)
    nested = vmap(grad(lambda w, x: vmap(lambda a, b: a * b)(w, x).sum()), in_axes=(None, 0))(X, both)
    assert_close(nested, both)


def test_vmap_axes():
    a = np.arange(24.0).reshape(2, 3, 4)
    assert_close(vmap(lambda x: x.sum(axis=0), in_axes=1)(a), a.transpose(1, 0, 2).sum(1))
    assert_close(vmap(lambda x: x * 2, in_axes=-1, out_axes=-1)(a), a * 2)
    assert_close(vmap(lambda x, y: x + y, in_axes=(0, None))(a, 1.0), a + 1)
    out = vmap(lambda t, k: {"s": t["x"] * k, "c": 1.0}, in_axes=({"x": 0}, None))({"x": X}, 3.0)
    assert_close(out["s"], 3 * X)
    assert_close(out["c"], np.ones(3))
    assert_close(vmap(lambda x, k: x * k)(X, k=V), X * V)
    assert_close(vmap(lambda x: (x, 1.0), out_axes=(0, None))(X)[1], 1.0)
    with pytest.raises(bl.ShapeError, match="out_axes"):
        vmap(lambda x: x, out_axes=None)(X)
    with pytest.raises(bl.ShapeError, match="in_axes"):
        vmap(lambda x: x, in_axes=(0, 0))(X)
    with pytest.raises(bl.ShapeError, match="no argument"):
        vmap(lambda x: x, in_axes=None)(X)
    with pytest.raises(bl.ShapeError, match="no axis 2"):
        vmap(lambda x: x, in_axes=2)(X)


def test_leaves_that_require_grad_are_recorded_beneath_every_transform():
    def gradient_of(run):
        w = bl.tensor(X, requires_grad=True)
        run(w).backward()
        return w.grad

    assert_close(gradient_of(lambda w: grad(lambda x: (w * x * x).sum())(V).sum()), 2 * V)
    assert_close(gradient_of(lambda w: jvp(lambda x: (w * x * x).sum(), (V,), (X,))[1]), 2 * V * X)
    assert_close(gradient_of(lambda w: vmap(lambda x: (w * x).sum())(np.stack([X, V])).sum()), X + V)
    assert_close(gradient_of(lambda w: vjp(lambda x: x * w, V)[1](X)[0].sum()), X)
    assert_close(gradient_of(lambda w: grad(f)(w).sum()), ddf(X))


def test_no_grad_outside_and_inside():
    with bl.no_grad():
        assert_close(grad(f)(X), df(X))
        assert not (bl.tensor(X, requires_grad=True) * 2).requires_grad
        with bl.enable_grad():
            assert (bl.tensor(X, requires_grad=True) * 2).requires_grad

    def constant_square(x):
        with bl.no_grad():
            square = x * x
        return (square * x).sum()

    assert_close(grad(constant_square)(X), X * X)
    with pytest.raises(ZeroDivisionError), bl.no_grad():
        raise ZeroDivisionError
    assert bl.is_grad_enabled()


def test_stop_gradient_in_every_mode():
    g = lambda x: (bl.stop_gradient(x * x) * x).sum()
    assert_close(grad(g)(X), X * X)
    assert_close(jvp(g, (X,), (V,))[1], np.sum(X * X * V))
    assert_close(vmap(lambda x: bl.stop_gradient(x) * 2)(X), 2 * X)
    assert_close(vmap(grad(lambda x: bl.stop_gradient(x) * x))(X), X)
    assert bl.stop_gradient({"a": 3, "b": None}) == {"a": 3, "b": None}


def test_structural_zeros_in_every_mode_and_order():
    g = lambda x: bl.where(x > 0, bl.sqrt(x) * bl.log(x), 0).sum()
    at = np.array([0.0, 1.0])
    assert_close(grad(g)(at), [0.0, 1.0])
    assert_close(jvp(g, (at,), (np.array([1.0, 0.0]),))[1], 0.0)
    assert_close(jvp(g, (at,), (np.array([0.0, 1.0]),))[1], 1.0)
    assert_close(grad(lambda x: grad(g)(x).sum())(at), [0.0, 0.0])
    assert_close(jvp(grad(g), (at,), (np.ones(2),))[1], [0.0, 0.0])
    assert_close(vmap(grad(lambda x: bl.where(x > 0, bl.sqrt(x) * bl.log(x), 0)))(at), [0.0, 1.0])
    x = bl.tensor(at, requires_grad=True)
    g(x).backward(create_graph=True)
    first, x.grad = x.grad, None
    assert_close(first, [0.0, 1.0])
    first.sum().backward()
    assert_close(x.grad, [0.0, 0.0])
    assert np.isnan(grad(lambda x: bl.sqrt(x) * bl.sqrt(x))(np.float64(0.0)).item())


@pytest.mark.parametrize(
    "move",
    [
        lambda y: y.reshape(2, 2).sum(axis=0),
        lambda y: y.reshape(2, 2).T,
        lambda y: bl.concat([y, y]),
        lambda y: bl.pad(y, 1),
        lambda y: y[::-1],
        lambda y: y[np.array([0, 0, 3, 1, 2])],
        lambda y: y.broadcast_to(3, 4),
        lambda y: y.astype(np.float32),
        lambda y: bl.tanh(-y * 2.0) + 1.0,
        lambda y: y * np.arange(4.0),
    ],
)
def test_masks_move_with_their_elements(move):
    # sqrt has an infinite slope at the zeros, which the where behind the move discards
    at = np.array([0.0, 4.0, 0.0, 9.0])
    keep = at > 0

    def g(x):
        y = bl.where(keep, bl.sqrt(x), 1.0)
        return (move(y) ** 2).sum()

    got = np.asarray(grad(g)(at))
    assert np.isfinite(got).all() and (got[~keep] == 0).all() and (got[keep] != 0).all()
    _, tangent = jvp(g, (at,), (np.ones(4),))
    assert np.isfinite(tangent.item())


def test_rows_that_nothing_selects_survive_infinite_factors():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    w = np.array([[1.0, np.inf], [2.0, 1.0]])
    g = grad(lambda x: bl.where(np.array([[False], [True]]) & np.array([True, False]), x @ w, 0).sum())(x)
    assert_close(g[0], [0.0, 0.0])


def test_modules_are_trees_of_their_own_cells():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    model.register_buffer("scale", bl.tensor([2.0]))
    x = np.ones((1, 3), np.float32)
    weight = model[0].weight
    loss = lambda m, x: (m(x) * m.scale).sum()
    g = grad(loss)(model, x)
    assert type(g) is nn.Sequential and g.scale is None and model[0].weight is weight and weight.requires_grad
    loss(model, x).backward()
    assert_close(g[0].weight, weight.grad.numpy(), rtol=1e-6)

    def failing(m):
        m(x)
        raise ZeroDivisionError

    before = weight.numpy().copy()
    with pytest.raises(ZeroDivisionError):
        grad(failing)(model)
    assert_close(model[0].weight, before)
    assert model[0].weight.requires_grad


def test_python_control_flow_on_the_values_of_one_example():
    g = lambda x: x * 2 if x > 0 else -x
    assert_close(grad(g)(3.0), 2.0)
    assert_close(grad(g)(-3.0), -1.0)
    assert_close(grad(lambda x: x * float(x))(3.0), 3.0)
    shown = []
    grad(lambda x: (shown.append(repr(x)), x)[1])(np.float64(1.5))
    vmap(lambda x: (shown.append(repr(x)), x)[1])(X)
    assert shown == ["tensor(1.5, dtype=float64, traced by grad)", "tensor(traced by vmap, float64[])"]


def test_threads_are_independent():
    wrong = []

    def work(k):
        for _ in range(30):
            with bl.no_grad() if k % 2 else bl.enable_grad():
                if not np.allclose(np.asarray(grad(f)(X * k)), df(X * k)):
                    wrong.append(k)
            if bl.is_grad_enabled() is False:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
