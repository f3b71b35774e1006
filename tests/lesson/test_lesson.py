"""The worked examples, the practice and the ideas of the lesson, against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import grad, jvp, vjp
from backlit.core.record import Listener, listening

RNG = np.random.default_rng(0)
F = bl.nn.functional


def assert_close(a, b, rtol=1e-12):
    np.testing.assert_allclose(np.asarray(a.detach()), b, rtol=rtol, atol=1e-13)


def draw(*shapes):
    return [RNG.standard_normal(s) for s in shapes]


@pytest.mark.parametrize("x, y", [(2.0, 3.0), (-1.5, 0.5), (0.0, 4.0)])
def test_a_merge(x, y):
    """u = x y, v = u + y, L = v^2: y receives 2v through v and 2v x through u."""
    received = []

    class Contributions(Listener):
        def contribution(self, child, argnum, parent, cotangent):
            if parent is b.node:
                received.append((child.op.name, cotangent.item()))

    a, b = (bl.tensor(np.float64(v), requires_grad=True) for v in (x, y))
    u = a * b
    v = u + b
    with listening(Contributions()):
        (v**2).backward()
    value = y * (x + 1)
    assert received == [("add", 2 * value), ("mul", 2 * value * x)]
    assert_close(b.grad, 2 * value * (1 + x))
    assert_close(a.grad, 2 * value * y)


@pytest.mark.parametrize("phi, slope", [(bl.tanh, lambda z: 1 - np.tanh(z) ** 2), (F.relu, lambda z: z > 0)])
def test_one_hidden_layer(phi, slope):
    W1, b1, W2, b2, x, y = draw((4, 3), 4, (2, 4), 2, 3, 2)

    def loss(W1, b1, W2, b2, x):
        off = W2 @ phi(W1 @ x + b1) + b2 - y
        return 0.5 * (off * off).sum()

    dW1, db1, dW2, db2, dx = grad(loss, argnums=(0, 1, 2, 3, 4))(W1, b1, W2, b2, x)
    z1 = W1 @ x + b1
    a1 = np.asarray(phi(z1))
    delta2 = W2 @ a1 + b2 - y
    delta1 = (W2.T @ delta2) * slope(z1)
    assert_close(dW2, np.outer(delta2, a1))
    assert_close(db2, delta2)
    assert_close(dW1, np.outer(delta1, x))
    assert_close(db1, delta1)
    assert_close(dx, W1.T @ delta1)


def test_the_layerwise_recurrence_through_many_layers():
    weights = draw(*[(5, 5)] * 6)
    x, g = draw(5, 5)
    pre = []

    def network(x):
        for k, W in enumerate(weights):
            z = W @ x
            z.register_hook(lambda delta, k=k: deltas.__setitem__(k, np.asarray(delta)))
            pre.append(np.asarray(z.detach()))
            x = bl.tanh(z)
        return x

    deltas: dict[int, np.ndarray] = {}
    leaf = bl.tensor(x, requires_grad=True)
    network(leaf).backward(g)
    delta = g * (1 - np.tanh(pre[-1]) ** 2)
    for k in range(5, 0, -1):
        np.testing.assert_allclose(deltas[k], delta, rtol=1e-11)
        delta = (weights[k].T @ delta) * (1 - np.tanh(pre[k - 1]) ** 2)
    assert_close(leaf.grad, weights[0].T @ delta, rtol=1e-11)


def test_softmax_with_cross_entropy_starts_at_p_minus_y():
    (z,) = draw(5)
    y = np.array([0.1, 0.2, 0.0, 0.3, 0.4])
    p = np.exp(z) / np.exp(z).sum()
    assert_close(grad(lambda z: F.cross_entropy(z, y))(z), p - y)
    assert_close(grad(lambda z: F.cross_entropy(z, 2))(z), p - np.eye(5)[2])
    assert_close(grad(lambda z: -(bl.tensor(y) * F.log_softmax(z)).sum())(z), p - y)
    started = []

    class Nodes(Listener):
        def recorded(self, node, out, args):
            started.append(node.op.name)

    leaf = bl.tensor(z, requires_grad=True)
    with listening(Nodes()):
        F.cross_entropy(leaf, y)
    assert started.count("softmax_cross_entropy") == 1 and "exp" not in started and "log" not in started


def test_squared_error_starts_at_a_minus_y():
    a, y = draw(4, 4)
    assert_close(grad(lambda a: 0.5 * ((a - y) ** 2).sum())(a), a - y)
    assert_close(grad(lambda a: F.mse_loss(a, y, reduction="sum"))(a), 2 * (a - y))


def test_practice_easy():
    """a = x + y, b = x a, L = b^2."""
    for x, y in RNG.standard_normal((5, 2)):
        dx, dy = grad(lambda x, y: (x * (x + y)) ** 2, argnums=(0, 1))(x, y)
        assert_close(dx, 2 * x * (x + y) * (2 * x + y))
        assert_close(dy, 2 * x * x * (x + y))


def test_practice_medium():
    """z = W x + b, a = ReLU(z), upstream g."""
    W, x, b, g = draw((4, 3), 3, 4, 4)
    dW, dx, db = vjp(lambda W, x, b: F.relu(W @ x + b), W, x, b)[1](g)
    delta = g * (W @ x + b > 0)
    assert_close(dW, np.outer(delta, x))
    assert_close(db, delta)
    assert_close(dx, W.T @ delta)


def test_practice_hard():
    """h = x + F(x), upstream u: dx = u + J^T u."""
    W, x, u = draw((4, 4), 4, 4)
    branch = lambda x: bl.tanh(W @ x)
    jacobian = np.diag(1 - np.tanh(W @ x) ** 2) @ W
    assert_close(vjp(lambda x: x + branch(x), x)[1](u)[0], u + jacobian.T @ u)


def test_rules_of_common_nodes():
    x, y, g = draw(5, 5, 5)
    sigma = 1 / (1 + np.exp(-x))
    for f, args, expected in (
        (lambda x, y: x + y, (x, y), (g, g)),
        (lambda x, y: x * y, (x, y), (g * y, g * x)),
        (F.relu, (x,), (g * (x > 0),)),
        (F.sigmoid, (x,), (g * sigma * (1 - sigma),)),
        (bl.tanh, (x,), (g * (1 - np.tanh(x) ** 2),)),
    ):
        for got, want in zip(vjp(f, *args)[1](g), expected, strict=True):
            assert_close(got, want)
    W, b, G = draw((4, 5), 4, 4)
    dW, dx, db = vjp(lambda W, x, b: W @ x + b, W, x, b)[1](G)
    assert_close(dW, np.outer(G, x))
    assert_close(dx, W.T @ G)
    assert_close(db, G)


def test_the_batched_affine_layer():
    W, b, X, G = draw((4, 3), (4, 1), (3, 6), (4, 6))
    dW, db, dX = vjp(lambda W, b, X: W @ X + b, W, b, X)[1](G)
    assert_close(dW, G @ X.T)
    assert_close(db, G.sum(1, keepdims=True))
    assert_close(dX, W.T @ G)
    rows = vjp(lambda W, b, x: F.linear(x, W, b), W, b[:, 0], X.T.copy())[1](G.T.copy())
    assert_close(rows[0], G @ X.T)
    assert_close(rows[1], G.sum(1))
    assert_close(rows[2], (W.T @ G).T)


def test_forward_and_reverse_mode_give_the_same_jacobian():
    (W,) = draw((3, 4))
    f = lambda x: bl.tanh(W @ x) * x[:3]
    (x,) = draw(4)
    columns = np.stack([np.asarray(jvp(f, (x,), (e,))[1]) for e in np.eye(4)], axis=1)
    _, pullback = vjp(f, x)
    rows = np.stack([np.asarray(pullback(e)[0]) for e in np.eye(3)])
    np.testing.assert_allclose(columns, rows, rtol=1e-13)


@pytest.mark.parametrize("gain, residual, grows", [(0.5, False, False), (1.5, False, True), (0.5, True, None)])
def test_a_deep_chain_multiplies_jacobians(gain, residual, grows):
    """Norms below 1 vanish, above 1 explode; the identity path of a residual chain carries the gradient."""
    orthogonal, _ = np.linalg.qr(RNG.standard_normal((8, 8)))
    step = (lambda x: x + 0.1 * gain * (orthogonal @ x)) if residual else (lambda x: gain * (orthogonal @ x))

    def chain(x):
        for _ in range(30):
            x = step(x)
        return x

    (x,) = draw(8)
    g = np.eye(8)[0]
    norm = np.linalg.norm(np.asarray(vjp(chain, x)[1](g)[0]))
    if grows is None:
        assert 0.01 < norm < 100
    else:
        assert norm == pytest.approx(gain**30, rel=1e-9)
