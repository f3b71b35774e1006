"""Attention and transformer layers: masks, compiled, trained, errors; values are compared with recorded ones of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_query_that_sees_nothing_gives_the_bias_and_no_nan():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=np.float64)
    x = bl.tensor(draw(2, 4, 8), requires_grad=True)
    padding = np.array([[True] * 4, [False] * 4])
    out, weights = layer(x, x, x, key_padding_mask=padding)
    out.sum().backward()
    assert np.isfinite(x.grad.numpy()).all() and (weights[0].detach().numpy() == 0).all()
    np.testing.assert_allclose(out[0].detach().numpy(), np.zeros((4, 8)), atol=1e-15)


def test_causal_without_a_mask():
    layer = nn.MultiheadAttention(8, 2, dtype=np.float64)
    x = bl.tensor(draw(5, 3, 8))
    one = layer(x, x, x, is_causal=True)[0].detach().numpy()
    other = layer(x, x, x, attn_mask=np.triu(np.ones((5, 5), bool), 1))[0].detach().numpy()
    np.testing.assert_array_equal(one, other)


def test_the_mask_of_subsequent_places():
    mask = nn.Transformer.generate_square_subsequent_mask(3).numpy()
    assert mask.dtype == np.float32
    assert mask.tolist() == [[0.0, -np.inf, -np.inf], [0.0, 0.0, -np.inf], [0.0, 0.0, 0.0]]


def test_compiled_and_trained():
    bl.random.seed(0)
    model = nn.Sequential(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2, nn.LayerNorm(8)), nn.Linear(8, 1)
    )  # fmt: skip
    opt = bl.optim.Adam(model.parameters(), lr=0.01)
    x = bl.random.normal((8, 6, 8))
    y = x[:, :, :1].mean(axis=1, keepdims=True).broadcast_to((8, 6, 1))

    @bl.compile
    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        return loss

    before = nn.functional.mse_loss(model(x), y).item()
    losses = [step(x, y).item() for _ in range(40)]
    assert losses[0] == pytest.approx(before, rel=1e-4) and losses[-1] < 0.3 * losses[0]
    assert not step.report().callbacks and not step.reasons


def test_dropout_only_while_training():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.5)
    x = bl.ones((3, 2, 8))
    assert not np.array_equal(layer(x).detach().numpy(), layer(x).detach().numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x).detach().numpy(), layer(x).detach().numpy())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.MultiheadAttention(8, 3), "3 heads do not divide embed_dim 8"),
        (lambda: nn.MultiheadAttention(8, 2)(bl.ones((4, 3, 8)), bl.ones((4, 8)), bl.ones((4, 8))), "3 axes, or 2"),
        (lambda: nn.MultiheadAttention(8, 2)(*[bl.ones((4, 3, 8))] * 3, attn_mask=np.ones((3, 4), bool)), "attn_mask [4, 4]"),
        (lambda: nn.MultiheadAttention(8, 2)(*[bl.ones((4, 3, 8))] * 3, np.ones((3, 5), bool)), "key_padding_mask [3, 4]"),
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="tanh"), "'tanh'"),
    ],
)  # fmt: skip
def test_errors(call, said):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert said in str(caught.value)
