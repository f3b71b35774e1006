"""interpolate, grid_sample, affine_grid and the shuffles: torch's values and gradients over generated arguments; errors."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_convolution import compare

import backlit as bl
from backlit import grad, gradcheck, vmap
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.nn import functional as F

SMOOTH = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


@pytest.mark.parametrize("mode", [*SMOOTH, "nearest", "nearest-exact", "area"])
def test_interpolation_is_torchs(mode):
    for seed in range(25):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        n = SMOOTH.get(mode) or draw.choice([1, 2, 3])
        lengths = [draw.randint(1, 6) for _ in range(n)]
        arguments = {"mode": mode}
        if draw.random() < 0.5:
            arguments["size"] = draw.choice([draw.randint(1, 9), tuple(draw.randint(1, 9) for _ in range(n))])
        else:
            scales = [0.5, 1.5, 2, 3, 2.5]  # exact, for torch computes places in single precision
            arguments["scale_factor"] = draw.choice([draw.choice(scales), tuple(draw.choice(scales) for _ in range(n))])
            if draw.random() < 0.3 and mode != "area":
                arguments["recompute_scale_factor"] = True
            lengths = [max(m, 2) for m in lengths]
        if mode in SMOOTH:
            arguments["align_corners"] = draw.choice([True, False, None])
            arguments["antialias"] = SMOOTH[mode] == 2 and draw.random() < 0.4
        x = rng.standard_normal((draw.choice([1, 2]), draw.randint(1, 2), *lengths))
        compare("interpolate", 1, [x], arguments)


def test_interpolation_keeps_dtypes_empty_batches_and_infinities_where_they_are():
    for dtype in (np.float16, bl.bfloat16, np.float32):
        for mode in ("nearest", "bilinear", "bicubic", "area"):
            assert F.interpolate(bl.tensor(np.ones((1, 1, 2, 3))).astype(dtype), (5, 4), mode=mode).dtype == dtype
    assert F.interpolate(np.ones((1, 1, 3), np.int32), 6).dtype == np.int32
    assert F.interpolate(np.ones((0, 2, 3, 3)), scale_factor=2, mode="bilinear").shape == (0, 2, 6, 6)
    x = np.array([[[1.0, np.inf, 2.0, 3.0]]])
    assert F.interpolate(x, 7, mode="linear", align_corners=True).tolist()[0][0][0] == 1.0
    assert np.isfinite(F.interpolate(x, 8, mode="linear").numpy()[0, 0, 6:]).all()
    x = bl.tensor(np.ones((1, 1, 3)))
    assert F.interpolate(x, 3) is not x


@pytest.mark.parametrize(
    ("mode", "n"), [("bilinear", 2), ("bilinear", 3), ("nearest", 2), ("nearest", 3), ("bicubic", 2)]
)
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_reading_at_places_is_torchs(mode, padding_mode, n):
    for seed in range(12):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        batch = draw.choice([1, 2])
        x = rng.standard_normal((batch, draw.randint(1, 2), *(draw.randint(1, 5) for _ in range(n))))
        grid = rng.uniform(-1.6, 1.6, (batch, *(draw.randint(1, 4) for _ in range(n)), n))
        arguments = {"mode": mode, "padding_mode": padding_mode, "align_corners": draw.choice([True, False])}
        compare("grid_sample", 2, [x, grid], arguments)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
@pytest.mark.parametrize("corners", [True, False])
def test_affine_grids_are_torchs(corners):
    rng = np.random.default_rng(0)
    for size in ((2, 3, 4, 5), (1, 1, 1, 3), (2, 1, 2, 3, 4)):
        n = len(size) - 2
        theta = rng.standard_normal((size[0], n, n + 1))
        compare("affine_grid", 1, [theta], {"size": size, "align_corners": corners})


def test_what_lies_outside_is_structurally_zero_and_places_have_second_derivatives():
    x = np.zeros((1, 1, 2, 2))
    far = np.full((1, 1, 1, 2), 5.0)
    assert grad(lambda x: bl.sum(F.grid_sample(bl.sqrt(x), far)))(x).tolist() == np.zeros((1, 1, 2, 2)).tolist()
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((1, 1, 3, 3)), rng.uniform(-0.6, 0.6, (1, 2, 2, 2))
    assert gradcheck(lambda x, g: F.grid_sample(x, g) ** 2, x, grid)
    assert gradcheck(lambda x, g: grad(lambda g: bl.sum(F.grid_sample(x, g) ** 2))(g), x, grid)


def test_shuffles_are_torchs_and_inverses():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 4, 6))
    compare("pixel_shuffle", 1, [x], {"upscale_factor": 2})
    compare("pixel_unshuffle", 1, [x], {"downscale_factor": 2})
    compare("channel_shuffle", 1, [x], {"groups": 4})
    assert F.pixel_unshuffle(F.pixel_shuffle(x[0], 2), 2).tolist() == x[0].tolist()


def test_all_of_it_under_vmap_is_a_loop():
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((2, 2, 4, 5, 6)), rng.uniform(-1, 1, (2, 2, 3, 3, 2))
    theta = rng.standard_normal((2, 2, 2, 3))
    for f, given in (
        (lambda x: F.interpolate(x, (7, 4), mode="bicubic"), (x,)),
        (lambda x: F.interpolate(x, scale_factor=2), (x,)),
        (lambda x, g: F.grid_sample(x, g, padding_mode="reflection"), (x, grid)),
        (lambda t: F.affine_grid(t, (2, 4, 3, 3)), (theta,)),
        (lambda x: F.adaptive_max_pool2d(x, (2, 4)), (x,)),
        (lambda x: F.adaptive_avg_pool2d(x, (2, 4)), (x,)),
        (lambda x: F.max_pool2d(x, 3, 1, 1, return_indices=True)[1], (x,)),
        (lambda x: F.lp_pool2d(abs(x), 3, 2), (x,)),
        (lambda x: F.fold(F.unfold(x, 2), (5, 6), 2), (x,)),
    ):
        together = vmap(f)(*given).numpy()
        for i in range(2):
            np.testing.assert_allclose(together[i], f(*(a[i] for a in given)).numpy(), rtol=1e-12, atol=1e-13)


def test_resampling_compiles_without_a_call_back():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, 3, 3)).astype(np.float32)

    def f(x):
        return bl.sum(F.interpolate(F.pixel_shuffle(x, 2), (5, 7), mode="bilinear") ** 2)

    step = bl.compile(bl.value_and_grad(f))
    for a, b in zip(step(x), bl.value_and_grad(f)(x), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-5)
    assert not step.report(x).callbacks


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: F.interpolate(x, 3, mode="cubic"), ArgumentError, "mode must be one of"),
        (lambda x: F.interpolate(x, 3, mode="linear"), ShapeError, "1 axis behind"),
        (lambda x: F.interpolate(x[0, 0], 3), ShapeError, "one to three axes"),
        (lambda x: F.interpolate(x, 3, align_corners=True), ArgumentError, "no meaning for 'nearest'"),
        (lambda x: F.interpolate(x, 3, antialias=True), ArgumentError, "antialias is for"),
        (lambda x: F.interpolate(x), ArgumentError, "either size or scale_factor"),
        (lambda x: F.interpolate(x, 3, 2.0), ArgumentError, "either size or scale_factor"),
        (lambda x: F.interpolate(x, scale_factor=-1.0), ArgumentError, "a positive number or 2"),
        (lambda x: F.interpolate(x, scale_factor=0.1), ShapeError, "cannot become [0, 0]"),
        (lambda x: F.interpolate(x.astype(int), 3, mode="bilinear"), DTypeError, "is for floats"),
        (lambda x: F.grid_sample(x, x), ShapeError, "grid [batch, *places, n]"),
        (lambda x: F.grid_sample(x, np.ones((1, 2, 2, 2), np.float32)), DTypeError, "floats of one dtype"),
        (lambda x: F.grid_sample(x, np.ones((1, 2, 2, 2)), mode="cubic"), ArgumentError, "must be bilinear, nearest"),
        (lambda x: F.grid_sample(x, np.ones((1, 2, 2, 2)), padding_mode="wrap"), ArgumentError, "zeros, border or"),
        (lambda x: F.affine_grid(x, (1, 1, 2, 2)), ShapeError, "expected theta [1, n, n + 1]"),
        (lambda x: F.affine_grid(np.ones((1, 2, 3), int), (1, 1, 2, 2)), DTypeError, "theta must be floats"),
        (lambda x: F.pixel_shuffle(x, 3), ShapeError, "channels * 9"),
        (lambda x: F.pixel_unshuffle(x, 3), ShapeError, "height * 3"),
        (lambda x: F.channel_shuffle(x, 3), ShapeError, "channels * 3"),
    ],
)
def test_malformed_resampling_says_what_was_expected(call, error, words):
    with pytest.raises(error) as caught:
        call(np.ones((1, 4, 4, 4)))
    assert words in str(caught.value)
