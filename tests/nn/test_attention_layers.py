"""Attention and transformer layers against PyTorch's: arguments, names, values, gradients, masks, compiled."""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest

import backlit as bl
from backlit import nn

torch = pytest.importorskip("torch")
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
ATTENTION = [
    {}, {"bias": False, "batch_first": True}, {"kdim": 5, "vdim": 3}, {"add_bias_kv": True}, {"add_zero_attn": True, "add_bias_kv": True},
]  # fmt: skip


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def both(name, *args, **kwargs):
    ours = getattr(nn, name)(*args, **kwargs, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, tuple(p.shape)) for n, p in theirs.named_parameters()
    ]
    rng = np.random.default_rng(9)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        value = 0.4 * rng.standard_normal(p.shape)
        p._value, q.data = value, torch.tensor(value)
    return ours, theirs


def compare(ours, theirs, arrays, **kwargs):
    """The first output and the gradients of all inputs and parameters; the weights where both give them."""
    mine = [bl.tensor(a, requires_grad=True) for a in arrays]
    their = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours.zero_grad()
    theirs.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = theirs(*their, **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()})
    out = ours(*mine, **kwargs)
    if isinstance(out, tuple):
        assert (out[1] is None) == (wanted[1] is None)
        if out[1] is not None:
            np.testing.assert_allclose(out[1].detach().numpy(), wanted[1].detach().numpy(), **CLOSE)
        out, wanted = out[0], wanted[0]
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), **CLOSE)
    cotangent = draw(*wanted.shape, seed=5)
    out.backward(cotangent)
    wanted.backward(torch.tensor(cotangent))
    for a, b in zip((*mine, *ours.parameters()), (*their, *theirs.parameters()), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **CLOSE)


def masks(batch, heads, n, m):
    padding = np.zeros((batch, m), bool)
    padding[0, -2:] = True
    causal = np.triu(np.ones((n, m), bool), 1)
    return [
        {}, {"key_padding_mask": padding}, {"attn_mask": causal}, {"attn_mask": draw(n, m, seed=2)},
        {"attn_mask": causal, "key_padding_mask": padding},
        {"attn_mask": draw(batch * heads, n, m, seed=3), "key_padding_mask": np.where(padding, -np.inf, 0.0)},
    ]  # fmt: skip


@pytest.mark.parametrize("kwargs", ATTENTION, ids=lambda k: "-".join(k) or "plain")
def test_attention_is_pytorchs(kwargs):
    ours, theirs = both("MultiheadAttention", 8, 2, **kwargs)
    swap = (lambda a: a.swapaxes(0, 1).copy()) if kwargs.get("batch_first") else (lambda a: a)
    arrays = [
        swap(draw(4, 3, 8)),
        swap(draw(5, 3, kwargs.get("kdim", 8))),
        swap(draw(5, 3, kwargs.get("vdim", 8), seed=1)),
    ]
    for mask in masks(3, 2, 4, 5):
        compare(ours, theirs, arrays, **mask)
    compare(ours, theirs, arrays, need_weights=False)
    compare(ours, theirs, arrays, average_attn_weights=False)
    compare(ours, theirs, [draw(4, 8), draw(5, kwargs.get("kdim", 8)), draw(5, kwargs.get("vdim", 8))])


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


LAYER = [{}, {"norm_first": True, "activation": "gelu"}, {"batch_first": True, "bias": False}]


@pytest.mark.parametrize("kwargs", LAYER, ids=lambda k: "-".join(k) or "plain")
def test_transformer_layers_are_pytorchs(kwargs):
    swap = (lambda a: a.swapaxes(0, 1).copy()) if kwargs.get("batch_first") else (lambda a: a)
    padding = np.zeros((3, 5), bool)
    padding[1, 4:] = True
    causal = np.triu(np.ones((5, 5), bool), 1)
    ours, theirs = both("TransformerEncoderLayer", 8, 2, 16, 0.0, **kwargs)
    compare(ours, theirs, [swap(draw(5, 3, 8))], src_mask=causal, src_key_padding_mask=padding)
    compare(ours, theirs, [draw(5, 8)])
    ours, theirs = both("TransformerDecoderLayer", 8, 2, 16, 0.0, **kwargs)
    arrays = [swap(draw(5, 3, 8)), swap(draw(4, 3, 8))]
    compare(ours, theirs, arrays, tgt_mask=causal, memory_key_padding_mask=padding[:, 1:])


def test_a_whole_transformer():
    args = {
        "d_model": 8,
        "nhead": 2,
        "num_encoder_layers": 2,
        "num_decoder_layers": 1,
        "dim_feedforward": 16,
        "dropout": 0.0,
    }
    ours, theirs = both("Transformer", **args)
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=np.float64).numpy()
    assert causal[0, 1] == -math.inf and causal[1, 0] == 0
    compare(ours, theirs, [draw(5, 3, 8), draw(4, 3, 8)], tgt_mask=causal)
    assert set(ours.state_dict()) == set(theirs.state_dict())


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
    "name",
    [
        "MultiheadAttention",
        "TransformerEncoderLayer",
        "TransformerDecoderLayer",
        "TransformerEncoder",
        "TransformerDecoder",
        "Transformer",
    ],
)
def test_arguments_and_defaults(name):
    left_out = {"self", "device", "dtype", "generator", "activation", "rotary", "cache"}  # the last two are ours alone

    listed = lambda f: [(p.name, p.default) for p in inspect.signature(f).parameters.values() if p.name not in left_out]
    assert listed(getattr(nn, name).__init__) == listed(getattr(torch.nn, name).__init__)
    assert listed(getattr(nn, name).forward) == listed(getattr(torch.nn, name).forward)


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
