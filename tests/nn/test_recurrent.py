"""Recurrent layers: compiled, trained, dropout, errors; values and gradients are compared with recorded ones of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_first_values_are_uniform_in_pytorchs_range(name):
    for p in getattr(nn, name)(3, 16).parameters():
        assert 0.8 * 0.25 < np.abs(p.detach().numpy()).max() <= 0.25


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_compiled_and_trained(name):
    bl.random.seed(0)
    layer, head = getattr(nn, name)(3, 8, 2, batch_first=True), nn.Linear(8, 1)
    opt = bl.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.mse_loss(head(layer(x)[0][:, -1]), y)
        loss.backward()
        opt.step()
        return loss

    compiled = bl.compile(step)
    x = bl.random.normal((16, 5, 3))
    y = x.sum(axis=(1, 2)).reshape((16, 1))
    before = nn.functional.mse_loss(head(layer(x)[0][:, -1]), y).item()
    losses = [compiled(x, y).item() for _ in range(60)]
    assert losses[0] == pytest.approx(before, rel=1e-5) and losses[-1] < 0.3 * losses[0]
    assert not compiled.report().callbacks and not compiled.reasons


def test_dropout_between_layers():
    layer = nn.LSTM(3, 4, 2, dropout=0.5)
    x = bl.ones((5, 2, 3))
    assert not np.array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.LSTM(3, 4)(bl.ones((5, 2, 4))), "LSTM: expected [..., batch, 3]"),
        (lambda: nn.GRU(3, 4)(bl.ones((5, 2, 3)), bl.ones((1, 3, 4))), "GRU: expected a state [1, 2, 4]"),
        (lambda: nn.GRU(3, 4)(bl.ones((5, 2, 3)), lengths=np.ones(3, int)), "lengths must be integers [2]"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), "'sin'"),
        (lambda: nn.RNN(3, 4, dropout=2.0), "dropout"),
        (lambda: nn.RNN(3, 4, 0), "num_layers"),
        (lambda: nn.GRUCell(3, 4)(bl.ones((2, 4))), "GRUCell: expected [batch, 3]"),
        (lambda: nn.LSTMCell(3, 4)(bl.ones((2, 3)), (bl.ones((2, 4)), bl.ones((2, 3)))), "cell state [2, 4]"),
    ],
)
def test_errors(call, said):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert said in str(caught.value)
