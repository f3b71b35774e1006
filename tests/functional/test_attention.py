"""Attention: torch's values and gradients over generated arguments, masks that hide everything, dropout, errors."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_convolution import compare

import backlit as bl
from backlit import grad, jvp, vmap
from backlit import random as streams
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.nn import functional as F

attend = F.scaled_dot_product_attention


def test_attention_is_torchs():
    for seed in range(40):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        n, m, e, v = (draw.randint(1, 5) for _ in range(4))
        lead = [(), (2,), (2, 4)][draw.randrange(3)]
        heads = lead
        arguments = {"is_causal": draw.random() < 0.3}
        if draw.random() < 0.3:
            arguments["scale"] = draw.uniform(0.1, 2)
        if len(lead) == 2 and draw.random() < 0.5:
            arguments["enable_gqa"], heads = True, (2, draw.choice([1, 2]))
        arrays = [
            rng.standard_normal((*lead, n, e)),
            rng.standard_normal((*heads, m, e)),
            rng.standard_normal((*heads, m, v)),
        ]
        if not arguments["is_causal"] and draw.random() < 0.6:
            shape = draw.choice([(n, m), (1, m), (*lead, n, m)])
            arrays.append(rng.random(shape) < 0.6 if draw.random() < 0.5 else rng.standard_normal(shape))
        compare("scaled_dot_product_attention", len(arrays), arrays, arguments)


def test_a_query_that_sees_nothing_gives_zero_and_no_gradient():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((2, 3)), rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    mask = np.array([[True, False, True, False], [False] * 4])
    added = np.where(mask, 0.0, -np.inf)
    for hidden in (mask, added):
        out = attend(q, k, v, hidden).numpy()
        assert out[1].tolist() == [0.0, 0.0] and np.isfinite(out).all()
        pulled = grad(lambda q, k, v, hidden=hidden: bl.sum(attend(q, k, v, hidden) ** 2), argnums=(0, 1, 2))(q, k, v)
        assert all(np.isfinite(p.numpy()).all() for p in pulled)
        twice = lambda q, k, hidden=hidden: bl.sum(grad(lambda q: bl.sum(attend(q, k, v, hidden) ** 2))(q) ** 2)
        assert all(np.isfinite(p.numpy()).all() for p in grad(twice, argnums=(0, 1))(q, k))
        _, pushed = jvp(lambda q, k, hidden=hidden: attend(q, k, v, hidden), (q, k), (q, k))
        assert np.isfinite(pushed.numpy()).all() and pushed.numpy()[1].tolist() == [0.0, 0.0]
        assert pulled[0].numpy()[1].tolist() == [0.0] * 3 and pulled[1].numpy()[[1, 3]].tolist() == [[0.0] * 3] * 2


def test_hidden_keys_are_structurally_zero():
    k = np.array([[1.0], [0.0]])
    seen = np.array([[True, False]])
    f = lambda k: bl.sum(attend(np.ones((1, 1)), bl.sqrt(k), np.array([[1.0], [2.0]]), seen))
    assert grad(f)(k).tolist() == [[0.0], [0.0]]


def test_dropout_draws_from_the_generator():
    q = np.ones((1, 1, 2))
    k = v = np.ones((1, 1000, 2))
    once = attend(q, k, v, dropout_p=0.5, generator=streams.Generator(3)).numpy()
    assert attend(q, k, v, dropout_p=0.5, generator=streams.Generator(3)).numpy().tolist() == once.tolist()
    assert attend(q, k, v, dropout_p=0.5, generator=streams.Generator(4)).numpy().tolist() != once.tolist()
    assert 0.8 < once[0, 0, 0] < 1.2 and once[0, 0, 0] != 1.0


def test_per_example_attention_and_second_derivatives():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((3, 4, 2)) for _ in range(3))
    together = vmap(lambda q, k, v: attend(q, k, v, is_causal=True))(q, k, v)
    np.testing.assert_allclose(together.numpy(), attend(q, k, v, is_causal=True).numpy(), rtol=1e-12)
    assert bl.gradcheck(lambda q: grad(lambda q: bl.sum(attend(q, k[0], v[0], is_causal=True) ** 2))(q), q[0])


def test_attention_compiles_without_a_call_back():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 2, 8, 4)).astype(np.float32) for _ in range(3))
    f = lambda q, k, v: bl.sum(attend(q, k, v, is_causal=True) ** 2)
    step = bl.compile(bl.value_and_grad(f, argnums=(0, 1, 2)))
    (value, pulled), (wanted, theirs) = step(q, k, v), bl.value_and_grad(f, argnums=(0, 1, 2))(q, k, v)
    np.testing.assert_allclose(value.numpy(), wanted.numpy(), rtol=1e-5)
    for a, b in zip(pulled, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    assert not step.report(q, k, v).callbacks


def test_no_keys_and_half_precision():
    assert attend(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 2))).tolist() == [[0.0, 0.0]] * 2
    assert attend(np.ones((0, 3)), np.ones((2, 3)), np.ones((2, 2))).shape == (0, 2)
    for dtype in (np.float16, bl.bfloat16):
        x = bl.tensor(np.ones((2, 3))).astype(dtype)
        assert attend(x, x, x, np.zeros((2, 2))).dtype == attend(x, x, x, is_causal=True).dtype == dtype


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda q, k, v: attend(q[0, 0], k, v), ShapeError, "expected query [..., n, e]"),
        (lambda q, k, v: attend(q, k[..., 1:], v), ShapeError, "expected query [..., n, e]"),
        (lambda q, k, v: attend(q, k, v.astype(np.float32)), DTypeError, "floats of one dtype"),
        (
            lambda q, k, v: attend(q, k, v, np.ones((2, 2)), is_causal=True),
            ArgumentError,
            "either attn_mask or is_causal",
        ),
        (lambda q, k, v: attend(q, k, v, np.ones((3, 5))), ShapeError, "does not broadcast"),
        (lambda q, k, v: attend(q, k, v, np.ones((2, 4), int)), DTypeError, "boolean or floats"),
        (lambda q, k, v: attend(q[:2], k, v, enable_gqa=True), ShapeError, "no multiple"),
        (lambda q, k, v: attend(q, k, v, dropout_p=2.0), ArgumentError, "between 0 and 1"),
    ],
)
def test_malformed_attention_says_what_was_expected(call, error, words):
    rng = np.random.default_rng(0)
    with pytest.raises(error) as caught:
        call(rng.standard_normal((3, 2, 3)), rng.standard_normal((3, 4, 3)), rng.standard_normal((3, 4, 2)))
    assert words in str(caught.value)
