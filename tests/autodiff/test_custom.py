"""Rules of one's own, in every transform."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import custom_jvp, custom_vjp, grad, gradcheck, jvp, vmap

X = np.array([0.5, -1.5, 2.0])
V = np.array([1.0, 2.0, -0.5])


def assert_close(a, b, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(a.detach()), b, rtol=rtol)


@custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x * x * g,))


@custom_jvp
def cube_forward(x):
    return x**3


@cube_forward.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return cube_forward(x), 3 * x * x * t


@pytest.mark.parametrize("op", [cube, cube_forward])
def test_first_and_second_order(op):
    assert_close(grad(lambda x: op(x).sum())(X), 3 * X * X)
    assert_close(grad(lambda x: grad(lambda x: op(x).sum())(x).sum())(X), 6 * X)
    assert_close(vmap(grad(op))(X), 3 * X * X)
    assert_close(grad(lambda x: vmap(op)(x).sum())(X), 3 * X * X)
    assert_close(vmap(vmap(op))(np.stack([X, V])), np.stack([X, V]) ** 3)


@pytest.mark.parametrize("op", [cube, cube_forward])
def test_imperative(op):
    x = bl.tensor(X, requires_grad=True)
    op(x).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    assert_close(first, 3 * X * X)
    first.sum().backward()
    assert_close(x.grad, 6 * X)
    with bl.no_grad():
        assert not op(x).requires_grad


def test_forward_mode():
    assert_close(jvp(cube_forward, (X,), (V,))[1], 3 * X * X * V)
    assert_close(jvp(lambda x: vmap(cube_forward)(x), (X,), (V,))[1], 3 * X * X * V)
    assert_close(vmap(lambda x, t: jvp(cube_forward, (x,), (t,))[1])(X, V), 3 * X * X * V)
    assert_close(jvp(grad(lambda x: cube_forward(x).sum()), (X,), (V,))[1], 6 * X * V)


def test_the_rule_is_used_and_not_the_function():
    @custom_vjp
    def lie(x):
        return x * 2

    lie.defvjp(lambda x: (x * 2, None), lambda r, g: (g * 100.0,))
    assert_close(grad(lambda x: lie(x).sum())(X), np.full(3, 100.0))
    with pytest.raises(bl.GradientError, match="argument 0: reverse mode"):
        gradcheck(lie, X, forward=False)


def test_several_outputs_trees_and_arguments_without_gradient():
    @custom_vjp
    def fused(p, name, n):
        assert name == "sum"
        return p["a"] * p["b"], [p["a"] + n]

    def fwd(p, name, n):
        return fused(p, name, n), p

    def bwd(p, g):
        product, (total,) = g
        return {"a": product * p["b"] + total, "b": product * p["a"]}, None, None

    fused.defvjp(fwd, bwd)
    loss = lambda p: (fused(p, "sum", np.arange(3))[0] * V).sum() + fused(p, "sum", np.arange(3))[1][0].sum()
    g = grad(loss)({"a": X, "b": V})
    assert_close(g["a"], V * V + 1)
    assert_close(g["b"], V * X)
    one = grad(lambda p: fused(p, "sum", np.arange(3))[0].sum())({"a": X, "b": V})
    assert_close(one["a"], V)


def test_arguments_shared_by_a_batch_get_the_sum():
    @custom_vjp
    def scale(a, x):
        return a * x

    scale.defvjp(lambda a, x: (a * x, (a, x)), lambda r, g: ((g * r[1]).sum(), g * r[0]))
    assert_close(grad(lambda a: vmap(lambda x: scale(a, x))(X).sum())(np.float64(2.0)), X.sum())
    assert_close(vmap(grad(lambda a, x: scale(a, x).sum()), in_axes=(None, 0))(np.float64(2.0), X), X)


@pytest.mark.parametrize(
    "bwd", [lambda r, g: g, lambda r, g: (), lambda r, g: (g, g), lambda r, g: ((g, g),), lambda r, g: (g[0],), lambda r, g: (np.arange(3),)]
)  # fmt: skip
def test_malformed_rules_are_errors(bwd):
    @custom_vjp
    def op(x):
        return x * 2

    op.defvjp(lambda x: (x * 2, None), bwd)
    with pytest.raises(bl.RuleError, match="op"):
        grad(lambda x: op(x).sum())(X)


def test_malformed_forward_rules_are_errors():
    @custom_vjp
    def op(x):
        return x

    op.defvjp(lambda x: x, lambda r, g: (g,))
    with pytest.raises(bl.RuleError, match="op: its fwd"):
        grad(lambda x: op(x).sum())(X)

    @custom_jvp
    def other(x):
        return x

    other.defjvp(lambda p, t: (p[0], t[0].sum()))
    with pytest.raises(bl.RuleError, match="other: its rule gave the tangents"):
        jvp(other, (X,), (V,))
    with pytest.raises(bl.RuleError, match="other"):
        grad(lambda x: other(x).sum())(X)


def test_gradcheck_finds_faults_and_passes_what_is_right():
    assert gradcheck(lambda x, y: (bl.sin(x) @ y, {"z": x * x}), np.ones((2, 3)), np.ones((3, 2)))
    for factor in (-1.0, 1.001, 0.0):
        wrong = custom_jvp(lambda x: bl.exp(x))
        wrong.defjvp(lambda p, t, factor=factor: (bl.exp(p[0]), factor * bl.exp(p[0]) * t[0]))
        with pytest.raises(bl.GradientError, match="times it|gives 0,"):
            gradcheck(wrong, X)
    halved = custom_vjp(lambda x: x * x)
    halved.defvjp(lambda x: (x * x, x), lambda x, g: (x * g,))  # one of the two contributions is missing
    with pytest.raises(bl.GradientError, match="0.5 times it"):
        gradcheck(halved, X, forward=False)
