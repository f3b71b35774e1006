"""Gradients of every example by vmap, against a loop over the examples: an MLP, a convolutional network, a transformer block."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import functional as F
from backlit import nn, tree, vmap

RNG = np.random.default_rng(8)


def weights(**shapes):
    return {name: RNG.normal(size=shape) * 0.3 for name, shape in shapes.items()}


def mlp(p, x, target):
    hidden = F.layer_norm(F.gelu(x @ p["w1"] + p["b1"]), (16,), p["scale"], p["shift"])
    return F.cross_entropy(hidden @ p["w2"], target)


def cnn(p, image, target):
    x = F.relu(F.conv2d(image[None], p["c1"], p["b1"], padding=1))
    x = F.max_pool2d(x, 2)
    x = F.group_norm(F.conv2d(x, p["c2"], stride=2, padding="valid"), 2)
    x = F.silu(F.conv_transpose2d(F.avg_pool2d(x, 2, ceil_mode=True), p["c3"])).mean((2, 3))
    return F.cross_entropy(x @ p["w"], target[None])


def block(p, tokens, targets):
    """Embedding, attention behind a norm, an MLP behind another, both around a residual, tied weights at the end."""
    x = F.embedding(tokens, p["table"]) + p["places"]
    length, width, heads = 5, 8, 2
    q, k, v = (
        (F.rms_norm(x, (width,)) @ p[name]).reshape(length, heads, width // heads).permute(1, 0, 2)
        for name in ("q", "k", "v")
    )
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).permute(1, 0, 2).reshape(length, width)
    x = x + mixed @ p["o"]
    x = x + F.gelu(F.layer_norm(x, (width,)) @ p["up"]) @ p["down"]
    return F.cross_entropy(x @ p["table"].T, targets, label_smoothing=0.1)


PROGRAMS = {
    "MLP": (mlp, weights(w1=(6, 16), b1=(16,), scale=(16,), shift=(16,), w2=(16, 4)), RNG.normal(size=(7, 6)), RNG.integers(4, size=7)),
    "CNN": (cnn, weights(c1=(4, 2, 3, 3), b1=(4,), c2=(4, 4, 2, 2), c3=(4, 3, 2, 2), w=(3, 5)), RNG.normal(size=(6, 2, 10, 9)), RNG.integers(5, size=6)),
    "transformer block": (
        block, weights(table=(11, 8), places=(5, 8), q=(8, 8), k=(8, 8), v=(8, 8), o=(8, 8), up=(8, 32), down=(32, 8)),
        RNG.integers(11, size=(4, 5)), RNG.integers(11, size=(4, 5)),
    ),
}  # fmt: skip


def assert_same(a, b, tolerance=1e-12):
    for path, x, y in zip(tree.paths(a), tree.leaves(a), tree.leaves(b), strict=True):
        x, y = (bl.asarray(v).detach().numpy() for v in (x, y))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * max(1.0, np.abs(y).max()), err_msg=str(path))


def one_by_one(f, p, x, y):
    found = [f(p, a, b) for a, b in zip(x, y, strict=True)]
    return tree.map(lambda *leaves: bl.stack(leaves), *found)


@pytest.mark.parametrize("name", PROGRAMS)
def test_vmap_of_grad_is_a_loop_of_grads(name):
    loss, p, x, y = PROGRAMS[name]
    expected = one_by_one(bl.grad(loss), p, x, y)
    mapped = vmap(bl.grad(loss), in_axes=(None, 0, 0))
    assert_same(mapped(p, x, y), expected)
    assert_same(bl.compile(mapped)(p, x, y), expected, 1e-11)
    mean = bl.grad(lambda p: vmap(loss, in_axes=(None, 0, 0))(p, x, y).mean())(p)
    assert_same(mean, tree.map(lambda g: g.mean(axis=0), expected))
    assert all(
        g.shape == (len(x), *w.shape) and np.abs(g.numpy()).max() > 0
        for g, w in zip(tree.leaves(expected), tree.leaves(p), strict=True)
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_forward_mode_and_products_with_the_hessian_of_every_example(name):
    loss, p, x, y = PROGRAMS[name]
    direction = tree.map(lambda w: RNG.normal(size=w.shape), p)
    for f in (
        lambda p, a, b: bl.jvp(lambda p: loss(p, a, b), (p,), (direction,))[1],
        lambda p, a, b: bl.hvp(lambda p: loss(p, a, b), (p,), (direction,)),
        lambda p, a, b: bl.grad(bl.checkpoint(loss))(p, a, b),
    ):
        assert_same(vmap(f, in_axes=(None, 0, 0))(p, x, y), one_by_one(f, p, x, y), 1e-11)


def test_the_gradient_of_every_example_of_a_module():
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 3))
    x, y = RNG.normal(size=(5, 6)).astype(np.float32), RNG.integers(3, size=5)
    loss = lambda m, a, b: F.cross_entropy(m(a), b)
    mapped = vmap(bl.grad(loss), in_axes=(None, 0, 0))(model, x, y)
    for k in range(5):
        one = bl.grad(loss)(model, x[k], y[k])
        assert_same(tree.map(lambda g, k=k: g[k], dict(mapped.named_parameters())), dict(one.named_parameters()), 1e-5)


def test_clipped_gradients_of_every_example():
    """What they are for: each example's gradient held to a norm before they are summed."""
    loss, p, x, y = PROGRAMS["MLP"]

    def clipped(g):
        norm = bl.sqrt(sum((leaf**2).sum() for leaf in tree.leaves(g)))
        return tree.map(lambda leaf: leaf * bl.minimum(1.0, 0.5 / norm), g)

    mapped = vmap(lambda p, a, b: clipped(bl.grad(loss)(p, a, b)), in_axes=(None, 0, 0))(p, x, y)
    norms = np.sqrt(sum((g.numpy().reshape(7, -1) ** 2).sum(axis=1) for g in tree.leaves(mapped)))
    assert (norms <= 0.5 + 1e-12).all() and np.isclose(norms.max(), 0.5)
