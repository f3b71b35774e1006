"""Attention that goes on with a cache gives what the whole sequence gives; positions by angles and by rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import backlit as bl
from backlit import nn

F = nn.functional


def normal(*shape, seed=0):
    return bl.tensor(np.random.default_rng(seed).standard_normal(shape))


def assert_close(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)


def in_parts(n, parts):
    ends = np.cumsum([0, *parts])
    assert ends[-1] == n
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def causal(n):
    return np.triu(np.ones((n, n), bool), 1)


PARTS = [[1] * 6, [4, 1, 1], [2, 3, 1]]


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("rotary", [None, "whole", "part"])
def test_attention_step_by_step(parts, batch_first, rotary):
    turn = None if rotary is None else nn.RotaryEmbedding(4 if rotary == "whole" else 2)
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first, rotary=turn, dtype=np.float64)
    assert "rotary" not in " ".join(layer.state_dict())
    x = normal(3, 6, 8) if batch_first else normal(6, 3, 8)
    whole, weights = layer(x, x, x, is_causal=True)
    cache = layer.make_cache(3, 9)
    assert cache.capacity == 9 and "0 of 9 steps" in repr(cache)
    for part in in_parts(6, parts):
        piece = (slice(None), part) if batch_first else part
        out, seen = layer(x[piece], x[piece], x[piece], cache=cache)
        assert_close(out, whole[piece])
        assert_close(seen, weights[:, part, : part.stop])
    assert cache.length.item() == 6
    cache.reset()
    first = (slice(None), slice(0, 2)) if batch_first else slice(0, 2)
    assert_close(layer(x[first], x[first], x[first], cache=cache)[0], whole[first])


@pytest.mark.parametrize("float_mask", [False, True])
def test_padding_of_what_is_in_the_cache(float_mask):
    layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=np.float64)
    x, hidden = normal(2, 5, 8), np.array([[1, 1, 0, 0, 0, 0, 0], [0] * 7], bool)
    mask = np.where(hidden, -np.inf, 0.0) if float_mask else hidden
    whole = layer(
        x, x, x, key_padding_mask=mask[:, :5], attn_mask=np.where(causal(5), -np.inf, 0.0) if float_mask else causal(5)
    )[0]
    cache = layer.make_cache(2, 7)
    for k in range(5):
        assert_close(
            layer(x[:, k : k + 1], x[:, k : k + 1], x[:, k : k + 1], mask, cache=cache)[0], whole[:, k : k + 1]
        )


@pytest.mark.parametrize("norm_first", [False, True])
def test_stacks_step_by_step_and_compiled(norm_first):
    bl.random.seed(1)
    kind = {"dim_feedforward": 16, "dropout": 0.3, "batch_first": True, "norm_first": norm_first, "dtype": np.float64}
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, **kind), 2, nn.LayerNorm(8, dtype=np.float64)
    ).eval()
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **kind), 2).eval()
    x, memory = normal(2, 5, 8), normal(2, 4, 8, seed=1)
    encoded, decoded = encoder(x, is_causal=True), decoder(x, memory, tgt_is_causal=True)
    caches, pairs = encoder.make_cache(2, 6), decoder.make_cache(memory, 6)
    assert all(fixed.fixed and "fixed" in repr(fixed) for _, fixed in pairs)

    def step(x, memory):
        with bl.no_grad():
            return encoder(x, cache=caches), decoder(x, memory, cache=pairs)

    compiled = bl.compile(step)
    for f, given in ((step, None), (step, memory), (compiled, None)):
        for cache in (*caches, *(own for own, _ in pairs)):
            cache.reset()
        for k in range(5):
            for found, wanted in zip(f(x[:, k : k + 1], given), (encoded, decoded), strict=True):
                assert_close(found, wanted[:, k : k + 1])
    assert not compiled.reasons and not compiled.report().callbacks
    assert [cache.length.item() for cache in caches] == [5, 5]
    compiled(x[:, :1], None)
    with pytest.raises(bl.BacklitError, match="out of bounds"):  # the length is not known when it is compiled
        compiled(x[:, :1], None)
    assert [cache.length.item() for cache in caches] == [6, 6]


def test_a_whole_transformer_decodes():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True, dtype=np.float64).eval()
    source, target = normal(2, 4, 8), normal(2, 3, 8, seed=1)
    wanted = model(source, target, tgt_is_causal=True)
    memory = model.encoder(source)
    cache = model.decoder.make_cache(memory, 3)
    for k in range(3):
        assert_close(model.decoder(target[:, k : k + 1], None, cache=cache), wanted[:, k : k + 1])


def test_gradients_of_a_call_with_a_cache():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=np.float64)
    x = normal(2, 4, 8).requires_grad_()
    wanted = bl.grad(lambda m, x: (m(x, x, x, is_causal=True)[0] ** 2).sum(), argnums=(0, 1))(layer, x)
    cache = layer.make_cache(2, 6)
    (layer(x, x, x, cache=cache)[0] ** 2).sum().backward()
    assert_close(x.grad, wanted[1])
    for name, p in layer.named_parameters():
        assert_close(p.grad, wanted[0].get_parameter(name))
    assert not cache.keys.requires_grad and not cache.values.requires_grad  # nothing is held of the graph
    layer.zero_grad()
    last = x[:, 3:].detach()
    (layer(last, last, last, cache=cache)[0] ** 2).sum().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters())


def test_rows_of_a_cache_in_another_order():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=np.float64)
    x = normal(3, 3, 8)
    order = np.array([2, 0, 0])
    one, other = layer.make_cache(3, 4), layer.make_cache(3, 4)
    y = x[order]
    for k in range(2):
        layer(x[:, k : k + 1], x[:, k : k + 1], x[:, k : k + 1], cache=one)
        layer(y[:, k : k + 1], y[:, k : k + 1], y[:, k : k + 1], cache=other)
    one.reorder(order)
    assert_close(layer(y[:, 2:], y[:, 2:], y[:, 2:], cache=one)[0], layer(y[:, 2:], y[:, 2:], y[:, 2:], cache=other)[0])


def test_what_does_not_go_with_a_cache():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x, cache = bl.ones((2, 1, 8)), layer.make_cache(2, 2)
    for call, error, said in (
        (lambda: layer(x, x, x, attn_mask=causal(1), cache=cache), ValueError, "a cache goes with no attn_mask"),
        (lambda: layer(x[:1], x[:1], x[:1], cache=cache), bl.ShapeError, "the cache is of 2 sequences, 1 are given"),
        (lambda: layer(*[bl.ones((2, 3, 8))] * 3, cache=cache), bl.ShapeError, "no room for 3 steps behind 0 of 2"),
        (lambda: layer(x, x, x, np.zeros((2, 1), bool), cache=cache), bl.ShapeError, "expected key_padding_mask [2, 2]"),
        (lambda: nn.MultiheadAttention(8, 4)(*[bl.ones((1, 2, 8))] * 3, cache=cache), bl.ShapeError, "KeyValueCache: expected float32[2, 2, steps, 4]"),
        (lambda: nn.MultiheadAttention(8, 2, rotary=nn.RotaryEmbedding(4)).remember(x, x), ValueError, "no rotary positions"),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2)(x, cache=[cache]), ValueError, "a cache for each of 2 layers, got 1"),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            call()
        assert said in str(caught.value) and isinstance(caught.value, bl.BacklitError)
    assert cache.length.item() == 0 and not cache.keys.numpy().any()
    layer(*[bl.ones((2, 2, 8))] * 3, cache=cache)
    with pytest.raises(bl.ShapeError, match="no room for 1 steps behind 2 of 2"):
        layer(x, x, x, cache=cache)


# Positions


def turned(x, positions, speeds, interleaved):
    """By complex numbers."""
    n = len(speeds)
    pairs = (x[..., : 2 * n : 2], x[..., 1 : 2 * n : 2]) if interleaved else (x[..., :n], x[..., n : 2 * n])
    z = (pairs[0] + 1j * pairs[1]) * np.exp(1j * positions[..., None] * speeds)
    out = x.copy()
    if interleaved:
        out[..., : 2 * n : 2], out[..., 1 : 2 * n : 2] = z.real, z.imag
    else:
        out[..., :n], out[..., n : 2 * n] = z.real, z.imag
    return out


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(
    ("kwargs", "speeds"),
    [
        ({}, 10000.0 ** (-np.arange(4) / 4)),
        ({"dims": 6, "base": 100.0}, 100.0 ** (-np.arange(3) / 3)),
        ({"scaling": 4.0}, 10000.0 ** (-np.arange(4) / 4) / 4),
        ({"scaling": 4.0, "scaling_type": "ntk"}, (10000.0 * 4.0 ** (8 / 6)) ** (-np.arange(4) / 4)),
    ],
)
def test_rotary_positions(interleaved, kwargs, speeds):
    x = normal(2, 3, 5, 8)
    given = {"interleaved": interleaved, **kwargs}
    wanted = turned(x.numpy(), np.arange(5), speeds, interleaved)
    np.testing.assert_allclose(F.rotary_embedding(x, **given).numpy(), wanted, rtol=1e-12, atol=1e-14)
    places = np.array([[[0, 7, 1000, 2, 3]], [[5, 5, 100000, 1, 0]]])
    wanted = turned(x.numpy(), places, speeds, interleaved)
    np.testing.assert_allclose(F.rotary_embedding(x, places, **given).numpy(), wanted, rtol=1e-10, atol=1e-12)
    layer = nn.RotaryEmbedding(kwargs.get("dims", 8), **{k: v for k, v in given.items() if k != "dims"})
    np.testing.assert_array_equal(layer(x, places).numpy(), F.rotary_embedding(x, places, **given).numpy())
    assert not layer.state_dict() and bl.gradcheck(lambda x: layer(x, places), x)
    compiled = bl.compile(lambda x, p: layer(x, p))
    np.testing.assert_allclose(compiled(x, places).numpy(), layer(x, places).numpy(), rtol=1e-9, atol=1e-12)
    assert not compiled.report().callbacks


def test_products_of_turned_vectors_depend_on_the_distance_only():
    q, k = normal(1, 8), normal(1, 8, seed=1)
    at = lambda p, r: (F.rotary_embedding(q, np.array([p])) * F.rotary_embedding(k, np.array([r]))).sum().item()
    assert at(3, 1) == pytest.approx(at(1002, 1000), rel=1e-9) and at(3, 1) != pytest.approx(at(3, 2), rel=1e-3)
    half = F.rotary_embedding(q.astype("float16"), np.array([100000]))
    np.testing.assert_allclose(half.numpy(), F.rotary_embedding(q, np.array([100000])).numpy(), rtol=5e-3, atol=5e-3)


def test_sines_and_rows_of_positions():
    x = normal(2, 5, 6)
    angle = np.arange(5)[:, None] * 10000.0 ** (-np.arange(0, 6, 2) / 6)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(5, 6)
    np.testing.assert_allclose(nn.SinusoidalEmbedding(6)(x).numpy(), x.numpy() + table, rtol=1e-12)
    np.testing.assert_allclose(
        nn.SinusoidalEmbedding(6)(x[:, :1], np.array([[3], [4]])).numpy()[:, 0], x.numpy()[:, 0] + table[3:], rtol=1e-12
    )
    assert F.sinusoidal_embedding(np.arange(3), 4).dtype == np.float32 and not nn.SinusoidalEmbedding(6).state_dict()
    rows = nn.PositionEmbedding(7, 6, dtype=np.float64, generator=bl.Generator(0))
    assert list(rows.state_dict()) == ["weight"] and rows.weight.shape == (7, 6)
    assert 0.01 < rows.weight.detach().numpy().std() < 0.03
    assert_close(rows(x), x + rows.weight[:5])
    assert_close(rows(x[:, :1], np.array([6])), x[:, :1] + rows.weight[6])
    rows(x).sum().backward()
    np.testing.assert_array_equal(rows.weight.grad.numpy()[:, 0], [2, 2, 2, 2, 2, 0, 0])
    assert (
        repr(nn.RotaryEmbedding(4, interleaved=True, scaling=2.0))
        == "RotaryEmbedding(4, base=10000.0, interleaved=True, scaling=2.0, scaling_type='linear')"
    )
    assert repr(nn.SinusoidalEmbedding(4)) == "SinusoidalEmbedding(4, base=10000.0)"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.rotary_embedding(bl.ones(4)), bl.ShapeError, "expected [..., steps, size]"),
        (lambda: F.rotary_embedding(bl.ones((2, 3))), ValueError, "even number of dimensions above 0, got 3"),
        (lambda: F.rotary_embedding(bl.ones((2, 4)), dims=6), bl.ShapeError, "a size of at least 6"),
        (lambda: F.rotary_embedding(bl.ones((2, 4), dtype="int64")), bl.DTypeError, "expected floats"),
        (lambda: F.rotary_embedding(bl.ones((2, 4)), np.arange(3)), bl.ShapeError, "do not broadcast to [2]"),
        (lambda: F.rotary_embedding(bl.ones((2, 4)), np.ones((5, 2))), bl.ShapeError, "do not broadcast to [2]"),
        (lambda: F.rotary_embedding(bl.ones((2, 4)), scaling=0.0), ValueError, "must be above 0"),
        (lambda: F.rotary_embedding(bl.ones((2, 4)), scaling_type="yarn"), ValueError, "'linear' or 'ntk', got 'yarn'"),
        (lambda: nn.RotaryEmbedding(3), ValueError, "RotaryEmbedding: dim must be even"),
        (lambda: nn.RotaryEmbedding(4, base=-1.0), ValueError, "RotaryEmbedding: expected base"),
        (lambda: nn.SinusoidalEmbedding(5), ValueError, "SinusoidalEmbedding: embedding_dim must be even"),
        (lambda: nn.SinusoidalEmbedding(4)(bl.ones((2, 6))), bl.ShapeError, "SinusoidalEmbedding: expected [..., steps, 4]"),
        (lambda: nn.PositionEmbedding(3, 2)(bl.ones((4, 2))), bl.ShapeError, "has more than 3 steps"),
        (lambda: nn.PositionEmbedding(3, 2)(bl.ones((2, 2)), np.array([0, 3])), bl.BacklitError, "3"),
    ],
)  # fmt: skip
def test_mistakes_with_positions(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value) and isinstance(caught.value, bl.BacklitError)
