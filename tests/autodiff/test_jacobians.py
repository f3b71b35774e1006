"""linearize, linear_transpose, whole Jacobians, and products with second derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import ggnvp, grad, hessian, hvp, jacfwd, jacrev, jvp, linear_transpose, linearize, nn, vjp, vmap

RNG = np.random.default_rng(7)
A, B, X, V = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4)), RNG.normal(size=3), RNG.normal(size=3)


def net(x):
    return bl.tanh(A @ x) * bl.exp(0.1 * x[0])


def scalar(x):
    return (bl.sin(A @ x) * bl.cos(x[1])).sum()


def assert_close(a, b, rtol=1e-12):
    for x, y in zip(bl.tree.leaves(a), bl.tree.leaves(b), strict=True):
        np.testing.assert_allclose(
            bl.asarray(x).detach().numpy(), bl.asarray(y).detach().numpy(), rtol=rtol, atol=1e-13
        )


def differences(f, x, step=1e-5):
    """The Jacobian by central differences with one Richardson step; the error is about 1e-10 here."""

    def central(h):
        columns = [
            (f(x + h * e).numpy() - f(x - h * e).numpy()) / (2 * h) for e in np.eye(x.size).reshape(-1, *x.shape)
        ]
        return np.stack(columns, axis=-1).reshape(*columns[0].shape, *x.shape)

    return (4 * central(step) - central(2 * step)) / 3


def test_jacobians_by_rows_by_columns_and_by_differences():
    rows, columns = jacrev(net)(X), jacfwd(net)(X)
    assert rows.shape == (4, 3)
    assert_close(rows, columns)
    assert_close(rows, differences(net, X), rtol=1e-8)


def test_hessian_is_the_difference_of_gradients_and_symmetric():
    found = hessian(scalar)(X)
    assert_close(found, differences(grad(scalar), X), rtol=1e-8)
    assert_close(found, found.T)
    assert_close(hessian(net)(X), jacrev(jacfwd(net))(X))
    assert_close(hessian(net)(X), jacfwd(jacfwd(net))(X))
    assert_close(jacrev(jacrev(net))(X), jacfwd(jacfwd(net))(X))
    assert hessian(net)(X).shape == (4, 3, 3)


def test_jacobians_of_trees():
    def f(p, x, scale=1.0):
        return {"s": p["w"] @ x * scale, "n": [(p["b"] * x).sum()]}, "aux"

    p = {"w": A, "b": V}
    for transform in (jacrev, jacfwd):
        jacobian, aux = transform(f, argnums=(0, 1), has_aux=True)(p, X, scale=2.0)
        assert aux == "aux"
        for_p, for_x = jacobian["s"]
        assert for_p["w"].shape == (4, 4, 3) and for_p["b"].shape == (4, 3)
        assert_close(for_x, 2 * A)
        assert_close(for_p["w"], 2 * np.einsum("ij,k->ijk", np.eye(4), X))
        assert_close(for_p["b"], np.zeros((4, 3)))
        assert_close(jacobian["n"][0][0]["b"], X)
        assert_close(transform(lambda p: f(p, X)[0]["n"][0])(p)["b"], X)
    second = hessian(lambda p: (p["w"] @ p["b"]).sum())(p)
    assert_close(second["w"]["b"], np.einsum("jk,i->ijk", np.eye(3), np.ones(4)))
    assert_close(second["b"]["b"], np.zeros((3, 3)))


def test_jacobians_of_empty_and_0d_arrays():
    assert jacrev(lambda x: x * x)(np.zeros(0)).shape == (0, 0)
    assert jacfwd(lambda x: x * x)(np.zeros((2, 0))).shape == (2, 0, 2, 0)
    assert_close(jacrev(bl.sin)(0.5), np.cos(np.float32(0.5)), rtol=1e-6)
    assert_close(jacfwd(lambda x: x * V)(np.float64(0.5)), V)
    assert jacfwd(lambda x: np.ones(2))(X).tolist() == np.zeros((2, 3)).tolist()  # does not depend on x


def test_jacobians_with_respect_to_a_module():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    x = X.astype(np.float32)
    rows, columns = jacrev(lambda m: m(x))(model), jacfwd(lambda m: m(x))(model)
    for a, b in zip(bl.tree.leaves(rows), bl.tree.leaves(columns), strict=True):
        assert_close(a, b, rtol=1e-5)
    assert [leaf.shape for leaf in bl.tree.leaves(rows)] == [(2, 2, 3), (2, 2)]


@pytest.mark.parametrize("transform", [jacrev, jacfwd, hessian])
def test_what_has_no_jacobian(transform):
    with pytest.raises(bl.DTypeError, match="argument 0"):
        transform(lambda x: x * 1.0)(np.arange(3))
    with pytest.raises(bl.DTypeError, match="has_aux"):
        transform(lambda x: x > 0)(X)
    with pytest.raises(bl.GradientError, match="argnums 1"):
        transform(net, argnums=1)(X)


def test_linearize_is_jvp_for_many_directions_and_runs_once():
    calls = []

    def f(x, n, p):
        calls.append(1)
        return {"y": bl.sin(x) * n * p["a"], "z": x.sum()}, bl.tensor([5.0])

    args = (X, np.array([1, 2, 3]), {"a": V})
    out, f_jvp, aux = linearize(f, *args, has_aux=True)
    assert aux.tolist() == [5.0]
    assert_close(out["y"], np.sin(X) * args[1] * V)
    for tangents in [(V, None, {"a": X}), (X, None, {"a": None}), (None, None, None)]:
        assert_close(f_jvp(*tangents), jvp(lambda *a: f(*a)[0], args, tangents)[1])
    assert len(calls) == 4  # once for linearize
    with pytest.raises(bl.ShapeError, match=r"linearize: the tangent float64\[2\]"):
        f_jvp(np.ones(2), None, None)
    with pytest.raises(bl.ShapeError, match="3 primals, but 1"):
        f_jvp(X)
    with pytest.raises(bl.DTypeError, match="give None"):
        f_jvp(X, np.ones(3), None)
    model = nn.Linear(3, 1)
    assert linearize(lambda m: m(np.ones(3, np.float32)), model)[0].shape == (1,)


def test_linearize_keeps_the_random_numbers_of_its_run():
    generator = bl.Generator(3)
    out, f_jvp = linearize(lambda x: x * generator.normal((3,), dtype="float64"), X)
    assert_close(f_jvp(X), out)
    assert_close(f_jvp(X), out)


def test_linearize_nests():
    _, f_jvp = linearize(net, X)
    assert_close(vmap(f_jvp)(np.eye(3)), jacrev(net)(X).T)
    assert_close(linear_transpose(f_jvp, X)(np.ones(4))[0], jacrev(net)(X).numpy().sum(0))
    second = grad(lambda x: linearize(scalar, x)[1](V))(X)
    assert_close(second, hvp(scalar, (X,), (V,)))
    assert_close(linearize(grad(scalar), X)[1](V), second)
    assert_close(vmap(lambda x: linearize(net, x)[1](V))(np.stack([X, V]))[1], jvp(net, (V,), (V,))[1])
    w = bl.tensor(X, requires_grad=True)
    linearize(scalar, w)[1](V).backward()
    assert_close(w.grad, second)


def test_linearize_keeps_structural_zeros():
    f = lambda x: bl.where(x > 0, bl.sqrt(x), 0.0)
    assert_close(linearize(f, np.array([0.0, 4.0]))[1](np.ones(2)), np.array([0.0, 0.25]))


def test_linear_transpose_of_matrices_and_trees():
    (found,) = linear_transpose(lambda x: A @ x, X)(np.arange(4.0))
    assert_close(found, A.T @ np.arange(4.0))
    t = linear_transpose(lambda a, b: {"s": 2.0 * a["x"] - bl.where(V > 0, b, 0.0)}, {"x": X}, X)
    a, b = t({"s": V})
    assert_close(a["x"], 2 * V)
    assert_close(b, -np.where(V > 0, V, 0))
    assert_close(linear_transpose(lambda y: linear_transpose(lambda x: A @ x, X)(y)[0], np.ones(4))(X)[0], A @ X)
    assert_close(
        linear_transpose(lambda x: bl.scan(lambda c, y: (c + y * 2.0, c), x[0] * 0.0, x)[0], X)(1.0)[0], np.full(3, 2.0)
    )


@pytest.mark.parametrize("f", [lambda x: x * x, bl.exp, lambda x: x + 1.0, bl.abs, lambda x: x.max()])
def test_what_is_not_linear_has_no_transpose(f):
    with pytest.raises(bl.GradientError, match=r"not linear.*backlit.linearize"):
        linear_transpose(f, X)
    with pytest.raises(bl.ShapeError, match="tree"):
        linear_transpose(lambda x: A @ x, X)({"a": np.ones(4)})


def test_hvp_of_one_and_of_several_arguments():
    assert_close(hvp(scalar, (X,), (V,)), hessian(scalar)(X).numpy() @ V)

    def f(x, p):
        return (bl.sin(x) * p["w"] ** 3).sum()

    x, p = hvp(f, (X, {"w": V}), (V, {"w": X}))
    assert_close(x, -np.sin(X) * V**3 * V + np.cos(X) * 3 * V**2 * X)
    assert_close(p["w"], np.cos(X) * 3 * V**2 * V + np.sin(X) * 6 * V * X)
    with pytest.raises(bl.GradientError, match="scalar"):
        hvp(net, (X,), (V,))
    with pytest.raises(bl.ShapeError, match="tangent"):
        hvp(scalar, (X,), (np.ones(2),))


def test_ggnvp_is_the_product_of_its_three_matrices():
    loss = lambda y: bl.logsumexp(y) + (y * y * y).sum()
    jacobian, curvature = jacrev(net)(X).numpy(), hessian(loss)(net(X)).numpy()
    assert_close(ggnvp(net, loss, (X,), (V,)), jacobian.T @ curvature @ jacobian @ V)
    linear = lambda x: A @ x
    assert_close(ggnvp(linear, loss, (X,), (V,)), hvp(lambda x: loss(linear(x)), (X,), (V,)))
    both = ggnvp(lambda x, p: {"y": x * p["w"]}, lambda out: (out["y"] ** 2).sum(), (X, {"w": V}), (V, {"w": X}))
    push = X * X + V * V
    assert_close(both[0], 2 * V * push)
    assert_close(both[1]["w"], 2 * X * push)
    with pytest.raises(bl.GradientError, match="scalar"):
        ggnvp(net, lambda y: y * y, (X,), (V,))


def test_ggnvp_runs_the_function_once_so_that_both_passes_see_one_draw():
    generator, loss = bl.Generator(1), lambda y: (y * y).sum()
    found = ggnvp(lambda x: x * generator.normal((3,), dtype="float64"), loss, (X,), (V,))
    draw = bl.Generator(1).normal((3,), dtype="float64").numpy()
    assert_close(found, 2 * draw * draw * V)


TRANSFORMS = {
    "jacrev": lambda x: jacrev(net)(x),
    "jacfwd": lambda x: jacfwd(net)(x),
    "hessian": lambda x: hessian(scalar)(x),
    "linearize": lambda x: linearize(net, x)[1](x * x),
    "transpose": lambda x: linear_transpose(lambda v: A @ (v * x), x)(x[0] * np.ones(4))[0],
    "hvp": lambda x: hvp(scalar, (x,), (x * x,)),
    "ggnvp": lambda x: ggnvp(net, lambda y: bl.logsumexp(y), (x,), (x * x,)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_in_all_others(name):
    f = TRANSFORMS[name]
    plain = f(X)
    assert_close(bl.compile(f)(X), plain)
    many = np.stack([X, V, X * V])
    assert_close(vmap(f)(many)[1], f(V))
    assert_close(bl.compile(vmap(f))(many)[1], f(V))
    assert_close(jacrev(f)(X), jacfwd(f)(X), rtol=1e-10)
    assert_close(jacrev(f)(X), differences(f, X), rtol=2e-7)
    assert_close(bl.compile(jacrev(f))(X), jacrev(f)(X), rtol=1e-10)
    weights = RNG.normal(size=plain.shape)
    assert_close(grad(lambda x: (f(x) * weights).sum())(X), vjp(f, X)[1](weights)[0])


def test_loops_in_graphs_have_jacobians():
    f = lambda x: bl.scan(lambda c, y: (c * bl.sin(y), c + y), x[0], x)[1]
    g = lambda x: bl.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, bl.sin(c[1]) * x), (0, x))[1]
    assert_close(bl.compile(jacfwd(f))(X), jacrev(f)(X))
    assert_close(bl.compile(jacrev(f))(X), jacrev(f)(X))
    assert_close(bl.compile(jacfwd(g))(X), jacfwd(g)(X))
    assert_close(jacfwd(g)(X), jacrev(g)(X))


def test_jacobians_through_custom_rules():
    @bl.custom_jvp
    def logistic(x):
        return 1.0 / (1.0 + bl.exp(-x))

    @logistic.defjvp
    def _(primals, tangents):
        out = logistic(primals[0])
        return out, out * (1.0 - out) * tangents[0]

    assert_close(jacfwd(logistic)(X), jacrev(lambda x: 1.0 / (1.0 + bl.exp(-x)))(X))
    assert_close(jacrev(logistic)(X), jacfwd(logistic)(X))
    assert_close(hessian(lambda x: logistic(x).sum())(X), jacrev(jacfwd(lambda x: logistic(x).sum()))(X))


def test_nothing_is_left_behind_by_an_exception():
    def stumbles(x):
        raise ValueError("stumbled")

    model = nn.Linear(3, 1)
    before = model.weight._value
    with pytest.raises(ValueError, match="stumbled"):
        linearize(lambda m: stumbles(m), model)
    assert model.weight._value is before
