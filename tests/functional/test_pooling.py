"""Pooling, unfold and fold: torch's values, places and gradients over generated arguments, ties, NaN, errors."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_convolution import compare, drawn

import backlit as bl
from backlit import grad
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.nn import functional as F


def drawn_input(draw, rng, n, least=4, most=8):
    lead = (draw.choice([0, 1, 2]), draw.randint(1, 2)) if draw.random() < 0.8 else (draw.randint(1, 3),)
    return rng.standard_normal((*lead, *(draw.randint(least, most) for _ in range(n))))


def drawn_windows(draw, n):
    kernel = tuple(draw.randint(1, 3) for _ in range(n))
    arguments = {"kernel_size": kernel, "ceil_mode": draw.random() < 0.5}
    if draw.random() < 0.7:
        arguments["stride"] = drawn(draw, n, 1, 3)
    arguments["padding"] = tuple(draw.randint(0, k // 2) for k in kernel)
    return arguments


@pytest.mark.parametrize("n", [1, 2, 3])
def test_max_pooling_is_torchs(n):
    for seed in range(25):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        arguments = drawn_windows(draw, n) | {"dilation": drawn(draw, n, 1, 2), "return_indices": draw.random() < 0.5}
        x = drawn_input(draw, rng, n, least=5)
        if draw.random() < 0.3:
            x = np.round(x)  # many ties: the first counts
        compare(f"max_pool{n}d", 1, [x], arguments)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_mean_pooling_is_torchs(n):
    for seed in range(25):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        arguments = drawn_windows(draw, n) | {"count_include_pad": draw.random() < 0.5}
        if n > 1 and draw.random() < 0.2:
            arguments["divisor_override"] = draw.choice([3, -2])
        compare(f"avg_pool{n}d", 1, [drawn_input(draw, rng, n)], arguments)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_norm_pooling_is_torchs(n):
    for seed in range(20):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        arguments = drawn_windows(draw, n)
        del arguments["padding"]
        if n == 1:
            arguments["kernel_size"] = arguments["kernel_size"][0]
        x = np.abs(drawn_input(draw, rng, n)) + 0.1
        compare(f"lp_pool{n}d", 1, [x], arguments | {"norm_type": draw.choice([1, 2, 3, 1.5])})


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_adaptive_pooling_is_torchs(n, kind):
    for seed in range(25):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        arguments = {"output_size": drawn(draw, n, 1, 9)}
        if n > 1 and draw.random() < 0.2:
            arguments["output_size"] = (None, *(2 for _ in range(n - 1)))
        x = drawn_input(draw, rng, n, 1, 8)
        if kind == "max":
            arguments["return_indices"] = draw.random() < 0.5
            x = np.round(2 * x) / 2
        compare(f"adaptive_{kind}_pool{n}d", 1, [x], arguments)


def test_unfold_and_fold_are_torchs():
    for seed in range(30):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        arguments = {
            "kernel_size": drawn(draw, 2, 1, 3), "stride": drawn(draw, 2, 1, 3), "padding": drawn(draw, 2, 0, 2),
            "dilation": drawn(draw, 2, 1, 2),
        }  # fmt: skip
        x = drawn_input(draw, rng, 2, 5, 8)
        if not x.size:
            x = np.ones((1, 1, *x.shape[-2:]))  # torch takes no empty batch here
        compare("unfold", 1, [x], arguments)
        windows = F.unfold(x, **arguments).numpy()
        compare("fold", 1, [rng.standard_normal(windows.shape)], arguments | {"output_size": x.shape[-2:]})
    assert F.unfold(np.ones((0, 2, 4, 4)), 2).shape == (0, 8, 9)


def test_ties_go_to_the_first_and_the_rest_is_structurally_zero():
    x = np.zeros((1, 4, 4))
    pulled = grad(lambda x: bl.sum(F.max_pool2d(x, 2)))(x)
    assert pulled.numpy()[0].tolist() == [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4]
    rows = np.array([[[4.0, 0.0, 0.0, 9.0]]])
    pulled = grad(lambda x: bl.sum(F.max_pool1d(bl.sqrt(x), 2)))(rows)
    assert pulled.numpy().ravel().tolist() == [0.25, 0, 0, 1 / 6]
    assert grad(lambda x: bl.sum(F.adaptive_max_pool1d(bl.sqrt(x), 1)))(rows).numpy().ravel().tolist() == [
        0,
        0,
        0,
        1 / 6,
    ]
    overlapping = grad(lambda x: bl.sum(F.max_pool1d(bl.sqrt(x), 3, 1)))(np.array([[[0.0, 4.0, 0.0, 1.0]]]))
    assert overlapping.numpy().ravel().tolist() == [0, 0.5, 0, 0]


def test_a_nan_is_larger_than_all_and_the_first_counts():
    x = np.array([[[1.0, np.nan, np.nan, 3.0, 5.0, 4.0, -np.inf, -np.inf]]])
    out, places = F.max_pool1d(x, 2, return_indices=True)
    assert np.isnan(out.numpy()[0, 0, :2]).all() and out.numpy()[0, 0, 2:].tolist() == [5.0, -np.inf]
    assert places.tolist() == [[[1, 2, 4, 6]]]
    _, places = F.max_pool1d(x, 4, return_indices=True)
    assert places.tolist() == [[[1, 4]]]


def test_integers_and_half_precision():
    n = np.array([[[3, -5, 2, 7]]], np.int32)
    assert F.max_pool1d(n, 2).tolist() == [[[3, 7]]] and F.max_pool1d(n, 2).dtype == np.int32
    assert F.max_pool1d(n, 2, padding=1).tolist() == [[[3, 2, 7]]]
    assert F.avg_pool1d(n, 2).dtype == np.float32 and F.avg_pool1d(n, 2).tolist() == [[[-1.0, 4.5]]]
    for dtype in (np.float16, bl.bfloat16):
        x = bl.tensor(np.arange(8.0).reshape(1, 1, 8)).astype(dtype)
        for f in (F.max_pool1d, F.avg_pool1d, F.adaptive_avg_pool1d, F.adaptive_max_pool1d):
            assert f(x, 2).dtype == dtype


def test_norm_pooling_at_zero_has_derivative_zero():
    x = np.array([[[0.0, 0.0, 3.0, 4.0]]])
    assert F.lp_pool1d(x, 2, 2).tolist() == [[[0.0, 5.0]]]
    np.testing.assert_allclose(grad(lambda x: bl.sum(F.lp_pool1d(x, 2, 2)))(x).numpy().ravel(), [0, 0, 0.6, 0.8])


def test_an_infinity_in_one_window_stays_there():
    x = np.ones((1, 1, 6, 6))
    x[0, 0, 0, 0] = np.inf
    for f in (lambda x: F.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 3, 1), lambda x: F.adaptive_avg_pool2d(x, 4)):
        out = f(x).numpy()[0, 0]
        assert np.isinf(out[0, 0]) and np.isfinite(out.ravel()[1:]).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: F.max_pool2d(x[0, 0], 2), ShapeError, "[batch, channels, height, width]"),
        (lambda x: F.max_pool2d(x, 2, padding=2), ArgumentError, "at most half"),
        (lambda x: F.max_pool2d(x, 9), ShapeError, "no window"),
        (lambda x: F.max_pool2d(x * 1j, 2), DTypeError, "no order"),
        (lambda x: F.adaptive_max_pool2d(x * 1j, 3), DTypeError, "no order"),
        (lambda x: F.max_pool2d(x, 0), ArgumentError, "kernel_size must be at least 1"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), ArgumentError, "must not be 0"),
        (lambda x: F.avg_pool2d(x, (2, 2, 2)), ArgumentError, "a whole number or 2"),
        (lambda x: F.lp_pool2d(x, 0, 2), ArgumentError, "must be positive"),
        (lambda x: F.adaptive_avg_pool2d(x, -1), ArgumentError, "at least 0"),
        (lambda x: F.adaptive_avg_pool2d(x[..., :0], 1), ShapeError, "nothing to pool"),
        (lambda x: F.unfold(x, 7), ShapeError, "no window"),
        (lambda x: F.fold(x[0], 5, 2), ShapeError, "[batch, channels * 4, 16]"),
    ],
)
def test_malformed_pooling_says_what_was_expected(call, error, words):
    with pytest.raises(error) as caught:
        call(np.ones((1, 2, 5, 5)))
    assert words in str(caught.value)


def test_ties_in_windows_are_kinks():
    x = np.array([[[1.0, 1.0, 0.0, 2.0, 0.5, 0.5]]])
    (kink,) = bl.kinks(lambda x: bl.sum(F.max_pool1d(x, 2)), x)
    assert (kink.op, kink.count, kink.size) == ("window_argmax", 2, 3)
    assert bl.kinks(lambda x: bl.sum(F.max_pool1d(x, 2, 1)), x[..., 2:5]) == []
