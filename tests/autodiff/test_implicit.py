"""custom_root and custom_linear_solve: derivatives of every order from the equation, in all transforms."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import (
    GradientError,
    ShapeError,
    custom_linear_solve,
    custom_root,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    vmap,
)
from backlit.autodiff.check import gradcheck

RNG = np.random.default_rng(3)
M, B, V = RNG.normal(size=(3, 3)) + 4 * np.eye(3), RNG.normal(size=3), RNG.normal(size=3)


def gauss(a, b):
    """a^-1 b for [3, 3] by Cramer's rule, of plain ops: what the derivatives are compared with."""
    cross = bl.stack(
        [
            a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1],
            a[1, 2] * a[2, 0] - a[1, 0] * a[2, 2],
            a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0],
        ]
    )
    det = (a[0] * cross).sum()
    inverse = [
        [cross[0], a[0, 2] * a[2, 1] - a[0, 1] * a[2, 2], a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1]],
        [cross[1], a[0, 0] * a[2, 2] - a[0, 2] * a[2, 0], a[0, 2] * a[1, 0] - a[0, 0] * a[1, 2]],
        [cross[2], a[0, 1] * a[2, 0] - a[0, 0] * a[2, 1], a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0]],
    ]
    return bl.stack([bl.stack(row) for row in inverse]) @ b / det


def jacobi(matvec, b):
    """Richardson iteration in a loop of the graph; not written to be differentiated."""

    def body(carry):
        i, x = carry
        return i + 1, x + (b - matvec(x)) / 5.0

    return bl.while_loop(lambda carry: carry[0] < 200, body, (bl.asarray(0), bl.zeros_like(b)))[1]


def dense(matvec, b):
    """The matrix written out, column by column."""
    return gauss(vmap(matvec, out_axes=1)(np.eye(3)), b)


def solved(a, b, solve=dense):
    return custom_linear_solve(lambda x: a @ x, b, solve, solve)


def newton(f, x):
    """Newton's method in one variable, with Python's loop."""
    for _ in range(50):
        value, slope = jvp(f, (x,), (bl.ones_like(x),))
        x = x - value / slope
    return x


def scalar_tangent(g, y):
    return y / g(bl.ones_like(y))


def cubic(p):
    """The real root of x^3 + p x - 1."""
    return custom_root(lambda x: x**3 + p * x - 1.0, bl.asarray(np.float64(0.5)), newton, scalar_tangent)


def vector_root(theta):
    """x with x + 0.2 tanh(M x) = theta, by fixed-point iteration; a linear solve inside its derivative."""
    f = lambda x: x + 0.2 * bl.tanh(bl.asarray(M) @ x) - theta
    iterate = lambda f, x: bl.while_loop(
        lambda c: c[0] < 300, lambda c: (c[0] + 1, c[1] - 0.4 * f(c[1])), (bl.asarray(0), x)
    )[1]
    tangent = lambda g, y: gauss(vmap(g, out_axes=1)(np.eye(3)), y)
    return custom_root(f, bl.asarray(np.zeros(3)), iterate, tangent)


def assert_close(a, b, tolerance=1e-9):
    for x, y in zip(bl.tree.leaves(a), bl.tree.leaves(b), strict=True):
        np.testing.assert_allclose(
            bl.asarray(x).detach().numpy(), bl.asarray(y).detach().numpy(), rtol=tolerance, atol=tolerance
        )


LINEAR = {
    "value": lambda s: s,
    "jacrev": lambda s: jacrev(s, argnums=(0, 1)),
    "jacfwd": lambda s: jacfwd(s, argnums=(0, 1)),
    "hessian": lambda s: hessian(lambda a, b: (s(a, b) * V).sum(), argnums=(0, 1)),
    "third": lambda s: jacrev(lambda b: hessian(lambda a: (s(a, b) ** 2).sum())(bl.asarray(M))),
    "reverse over reverse": lambda s: grad(
        lambda a, b: (grad(lambda a: (s(a, b) ** 2).sum())(a) ** 2).sum(), argnums=(0, 1)
    ),
    "forward over forward": lambda s: (
        lambda a, b: jvp(lambda a: jvp(lambda a: s(a, b), (a,), (np.ones((3, 3)),))[1], (a,), (M,))
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_solve_has_the_derivatives_of_the_solution(name):
    args = (B,) if name == "third" else (M, B)
    expected = LINEAR[name](gauss)(*args)
    assert_close(LINEAR[name](solved)(*args), expected)
    assert_close(bl.compile(LINEAR[name](solved))(*args), expected)


def test_a_solver_with_a_loop():
    iterated = lambda a, b: solved(a, b, jacobi)
    for name in ("value", "jacrev", "jacfwd"):
        expected = LINEAR[name](gauss)(M, B)
        assert_close(LINEAR[name](iterated)(M, B), expected)
        assert_close(bl.compile(LINEAR[name](iterated))(M, B), expected)
    assert_close(vmap(LINEAR["jacrev"](iterated))(M[None], B[None]), [j[None] for j in LINEAR["jacrev"](gauss)(M, B)])


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("name", ["value", "jacrev", "jacfwd", "hessian"])
def test_a_linear_solve_under_vmap(name, axes):
    many = [np.stack([x, 1.1 * x + 0.1]) if axis == 0 else x for x, axis in zip((M, B), axes, strict=True)]
    mapped = lambda s: vmap(LINEAR[name](s), in_axes=axes)
    assert_close(mapped(solved)(*many), mapped(gauss)(*many))
    total = lambda s: grad(lambda a, b: (vmap(s, in_axes=axes)(a, b) ** 2).sum(), argnums=(0, 1))
    assert_close(total(solved)(*many), total(gauss)(*many))


def test_backward_and_a_graph_that_is_differentiated_again():
    found = []
    for s in (solved, gauss):
        a, b = bl.tensor(M, requires_grad=True), bl.tensor(B, requires_grad=True)
        (s(a, b) ** 2).sum().backward(create_graph=True)
        first = (a.grad**2).sum() + (b.grad**3).sum()
        a_grad, b_grad = a.grad.detach(), b.grad.detach()
        a.grad = b.grad = None
        first.backward()
        found.append((a_grad, b_grad, a.grad, b.grad))
    assert_close(found[0], found[1])


def test_trees_symmetric_matrices_and_aux():
    symmetric = M @ M.T
    seen = []

    def solve(matvec, b):
        seen.append(True)
        x = gauss(bl.asarray(symmetric), b["x"])
        return {"x": x, "y": b["y"] / 2.0}, {
            "steps": 7,
            "residual": (matvec({"x": x, "y": b["y"]})["x"] - b["x"]).sum(),
        }

    def run(scale, b):
        matvec = lambda v: {"x": symmetric @ v["x"] * scale, "y": 2.0 * v["y"] * scale}
        return custom_linear_solve(matvec, b, solve, symmetric=True, has_aux=True)

    out, aux = run(1.0, {"x": B, "y": V})
    assert aux["steps"].item() == 7 and abs(aux["residual"].item()) < 1e-10
    assert_close(out, {"x": gauss(bl.asarray(symmetric), bl.asarray(B)), "y": V / 2})
    loss = lambda s, b: (run(s, b)[0]["x"] * V).sum() + run(s, b)[0]["y"].sum()
    ds, db = grad(loss, argnums=(0, 1))(np.float64(1.0), {"x": B, "y": V})
    assert np.isclose(ds.item(), -loss(1.0, {"x": B, "y": V}).item())  # x is proportional to 1 / scale
    assert_close(db, {"x": gauss(bl.asarray(symmetric), bl.asarray(V)), "y": np.full(3, 0.5)})


def test_the_solver_is_not_differentiated():
    def rough(matvec, b):
        with pytest.raises(AssertionError):
            assert b.requires_grad
        return gauss(bl.asarray(M), b)

    a = bl.tensor(M, requires_grad=True)
    b = bl.tensor(B, requires_grad=True)
    x = custom_linear_solve(lambda x: a @ x, b, rough, lambda _, c: gauss(bl.asarray(M.T), c))
    x.sum().backward()
    expected = jacrev(gauss, argnums=(0, 1))(M, B)
    assert_close((a.grad, b.grad), tuple(j.sum(axis=0) for j in expected))


def test_a_root_of_one_variable_to_the_third_order():
    x = cubic(np.float64(2.0)).item()
    assert abs(x**3 + 2 * x - 1) < 1e-14
    slope = 3 * x * x + 2.0
    first = -x / slope
    # differentiate 3 x^2 x' + x + p x' = 0 again, and once more
    second = -(6 * x * first**2 + 2 * first) / slope
    third = -(6 * first**3 + 18 * x * first * second + 3 * second) / slope
    d1, d2, d3 = grad(cubic), grad(grad(cubic)), grad(grad(grad(cubic)))
    for d, expected in ((d1, first), (d2, second), (d3, third)):
        assert np.isclose(d(np.float64(2.0)).item(), expected, rtol=1e-10)
        assert np.isclose(bl.compile(d)(np.float64(2.0)).item(), expected, rtol=1e-10)
    assert np.isclose(jvp(grad(cubic), (np.float64(2.0),), (np.float64(1.0),))[1].item(), second, rtol=1e-10)
    assert np.isclose(
        grad(lambda p: jvp(cubic, (p,), (np.float64(1.0),))[1])(np.float64(2.0)).item(), second, rtol=1e-10
    )


def test_a_root_of_many_variables():
    theta = RNG.normal(size=3)
    x = vector_root(theta).detach().numpy()
    np.testing.assert_allclose(x + 0.2 * np.tanh(M @ x), theta, rtol=1e-12)
    expected = np.linalg.inv(np.eye(3) + 0.2 * (1 - np.tanh(M @ x) ** 2)[:, None] * M)
    assert_close(jacrev(vector_root)(theta), expected)
    assert_close(jacfwd(vector_root)(theta), expected)
    gradcheck(lambda t: (vector_root(t) * V).sum(), theta)
    gradcheck(lambda t: (jacrev(vector_root)(t) * M).sum(), theta)
    many = np.stack([theta, 2 * theta])
    assert_close(vmap(jacrev(vector_root))(many), np.stack([jacrev(vector_root)(t).numpy() for t in many]))
    assert_close(bl.compile(jacrev(vector_root))(theta), expected)


def test_roots_under_vmap_with_shared_parameters():
    def root(p, q):
        return custom_root(lambda x: x**3 + p * x - q, bl.asarray(np.float64(0.5)), newton, scalar_tangent)

    p, q = np.float64(2.0), np.array([0.5, 1.0, 1.5])
    loss = lambda p, q: (vmap(root, in_axes=(None, 0))(p, q) ** 2).sum()
    dp, dq = grad(loss, argnums=(0, 1))(p, q)
    one = [grad(lambda p, q: root(p, q) ** 2, argnums=(0, 1))(p, v) for v in q]
    assert_close(dp, np.sum([g[0].item() for g in one]))
    assert_close(dq, np.array([g[1].item() for g in one]))


def test_a_root_with_aux_and_closed_over_parameters_that_require_grad():
    p = bl.tensor(np.float64(2.0), requires_grad=True)
    solve = lambda f, x: (newton(f, x), "newton")
    x, how = custom_root(
        lambda x: x**3 + p * x - 1.0,
        bl.asarray(np.float64(0.5)),
        lambda f, x: (newton(f, x), 50),
        scalar_tangent,
        has_aux=True,
    )
    assert how.item() == 50 and solve is not None
    x.backward()
    assert np.isclose(p.grad.item(), grad(cubic)(np.float64(2.0)).item(), rtol=1e-12)


def test_what_is_refused():
    with pytest.raises(
        ShapeError,
        match=r"custom_linear_solve: the function must give a tree like its argument, float64\[3\], but gave",
    ):
        custom_linear_solve(lambda x: x[:2], B, jacobi, jacobi)
    with pytest.raises(ShapeError, match="custom_root: solve must give a tree like its argument"):
        custom_root(lambda x: x - 1.0, B, lambda f, x: x[:2], scalar_tangent)
    with pytest.raises(ShapeError, match="custom_root: tangent_solve must give"):
        grad(lambda t: custom_root(lambda x: x - t, B, lambda f, x: t, lambda g, y: y[:2]).sum())(B)
    with pytest.raises(bl.DTypeError, match=r"custom_root: expected floats, got int64\[\]"):
        custom_root(lambda x: x, np.int64(1), newton, scalar_tangent)
    with pytest.raises(GradientError, match="custom_root: has_aux=True expects a solve that returns"):
        custom_root(lambda x: x - 1.0, B, lambda f, x: x, scalar_tangent, has_aux=True)
    only_forward = lambda b: custom_linear_solve(lambda x: M @ x, b, jacobi)
    assert_close(jvp(only_forward, (B,), (V,))[1], np.linalg.solve(M, V))
    with pytest.raises(GradientError, match="give transpose_solve, or symmetric=True"):
        grad(lambda b: only_forward(b).sum())(B)
