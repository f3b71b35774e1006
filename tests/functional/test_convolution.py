"""Convolution and transposed convolution: torch's values and gradients over generated arguments, errors, structural zeros."""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
import pytest

import backlit as bl
from backlit import grad, jvp, vjp, vmap
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.nn import functional as F
from backlit.ops import columns


def compare(name, n_inputs, arrays, arguments, tolerance=1e-9):
    """Value and gradients of a function of both libraries, whose first `n_inputs` arguments are arrays."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    wanted = getattr(torch.nn.functional, name)(*theirs, **arguments)
    outs, pullback = vjp(lambda *xs: getattr(F, name)(*xs, **arguments), *arrays)
    got = outs
    pair = isinstance(wanted, tuple)
    if pair:
        assert got[1].numpy().tolist() == wanted[1].tolist(), (name, arguments)
        wanted, got = wanted[0], got[0]
    assert got.shape == tuple(wanted.shape), (name, arguments)
    np.testing.assert_allclose(
        got.numpy(), wanted.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=str(arguments)
    )
    weight = np.random.default_rng(0).standard_normal(wanted.shape)
    places = [t for t in theirs if t.requires_grad]
    grads = iter(torch.autograd.grad(wanted, places, torch.tensor(weight)))
    pulled = pullback((weight, np.zeros(outs[1].shape)) if pair else weight)
    for p, t in zip(pulled, theirs, strict=True):
        if t.requires_grad:
            wanted_grad = next(grads).numpy()
            np.testing.assert_allclose(
                p.numpy(), wanted_grad, rtol=tolerance, atol=tolerance, err_msg=f"{name} {arguments}"
            )


def drawn(draw, n, least, most):
    return draw.randint(least, most) if draw.random() < 0.4 else tuple(draw.randint(least, most) for _ in range(n))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_convolution_is_torchs(n):
    for seed in range(25):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        groups = draw.choice([1, 1, 2, 3])
        c, o = groups * draw.randint(1, 2), groups * draw.randint(1, 2)
        kernel = [draw.randint(1, 3) for _ in range(n)]
        arguments = {"dilation": drawn(draw, n, 1, 2), "groups": groups}
        how = draw.random()
        if how < 0.2:
            arguments["padding"] = "same"
        else:
            arguments |= {"stride": drawn(draw, n, 1, 3), "padding": "valid" if how < 0.3 else drawn(draw, n, 0, 3)}
        lead = (draw.choice([0, 1, 3]), c) if draw.random() < 0.8 else (c,)
        x = rng.standard_normal((*lead, *(draw.randint(5, 8) for _ in range(n))))
        arrays = [x, rng.standard_normal((o, c // groups, *kernel))]
        if draw.random() < 0.5:
            arrays.append(rng.standard_normal(o))
        compare(f"conv{n}d", len(arrays), arrays, arguments)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_transposed_convolution_is_torchs(n):
    for seed in range(25):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        groups = draw.choice([1, 1, 2])
        c, o = groups * draw.randint(1, 2), groups * draw.randint(1, 2)
        stride, dilation = draw.randint(1, 3), draw.randint(1, 3)
        arguments = {
            "stride": stride, "dilation": dilation, "groups": groups, "padding": drawn(draw, n, 0, 2),
            "output_padding": draw.randint(0, max(stride, dilation) - 1),
        }  # fmt: skip
        lead = (draw.choice([0, 1, 3]), c) if draw.random() < 0.8 else (c,)
        x = rng.standard_normal((*lead, *(draw.randint(3, 5) for _ in range(n))))
        arrays = [x, rng.standard_normal((c, o // groups, *(draw.randint(2, 3) for _ in range(n))))]
        if draw.random() < 0.5:
            arrays.append(rng.standard_normal(o))
        if not np.prod(getattr(F, f"conv_transpose{n}d")(*arrays, **arguments).shape[-n:]):
            continue
        compare(f"conv_transpose{n}d", len(arrays), arrays, arguments)


def test_blocks_do_not_change_what_is_computed(monkeypatch):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 4, 9, 8)), rng.standard_normal((6, 2, 3, 2))
    for stride, padding in itertools.product((1, 2), (0, 1)):
        f = functools.partial(F.conv2d, stride=stride, padding=padding, groups=2)
        whole, pullback = vjp(f, x, w)
        cotangent = rng.standard_normal(whole.shape)
        pulled = pullback(cotangent)
        for size in (1, 3000, 20000):
            monkeypatch.setattr(columns, "BLOCK_BYTES", size)
            out, again = vjp(f, x, w)
            np.testing.assert_allclose(out.numpy(), whole.numpy(), rtol=1e-13, atol=1e-13)
            for a, b in zip(again(cotangent), pulled, strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13)
            monkeypatch.undo()


def test_columns_take_little_memory():
    import tracemalloc

    x, w = np.ones((4, 16, 96, 96), np.float32), np.ones((16, 16, 3, 3), np.float32)
    out = F.conv2d(x, w)
    tracemalloc.start()
    F.conv2d(x, w)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < out.size * 4 + 4 * columns.BLOCK_BYTES < 9 * x.nbytes


def test_half_precision_is_summed_in_float32_and_integers_stay():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 64, 12)), rng.standard_normal((2, 64, 5))
    for dtype in (np.float16, bl.bfloat16):
        low, small = x.astype(dtype), w.astype(dtype)
        out, pullback = vjp(lambda x, w: F.conv1d(x, w), low, small)
        exact = F.conv1d(low.astype(np.float64), small.astype(np.float64)).numpy()
        assert out.dtype == dtype and [p.dtype for p in pullback(out)] == [dtype, dtype]
        eps = float(bl.core.dtypes.ml_dtypes.finfo(dtype).eps)
        np.testing.assert_allclose(out.numpy().astype(float), exact, rtol=eps / 2 * 1.01, atol=1e-4)
        wide = vjp(lambda x, w: F.conv1d(x, w), low.astype(np.float64), small.astype(np.float64))[1]
        for p, e in zip(pullback(out), wide(out.astype(np.float64)), strict=True):
            np.testing.assert_allclose(p.numpy().astype(float), e.numpy(), rtol=eps / 2 * 1.01, atol=1e-4)
    n = np.arange(6).reshape(1, 1, 6)
    out = F.conv1d(n, np.array([[[1, -1]]]))
    assert out.dtype == np.int64 and out.tolist() == [[[-1] * 5]]


def test_complex_convolutions_have_torchs_gradients():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    for name, weight_shape in (("conv1d", (4, 2, 3)), ("conv_transpose1d", (4, 2, 3))):
        x, w = draw(2, 4, 6), draw(*weight_shape)
        theirs = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
        wanted = getattr(torch.nn.functional, name)(*theirs, groups=2, stride=2)
        out, pullback = vjp(lambda x, w, name=name: getattr(F, name)(x, w, groups=2, stride=2), x, w)
        np.testing.assert_allclose(out.numpy(), wanted.detach().numpy(), rtol=1e-12)
        cotangent = draw(*out.shape)
        grads = torch.autograd.grad(wanted, theirs, torch.tensor(cotangent))
        for p, t in zip(pullback(cotangent), grads, strict=True):
            np.testing.assert_allclose(p.numpy(), t.numpy(), rtol=1e-12, atol=1e-12)


def test_what_is_not_finite_stays_where_windows_take_it():
    rng = np.random.default_rng(0)
    x, w, y = rng.standard_normal((2, 1, 5, 5)), rng.standard_normal((2, 1, 3, 3)), rng.standard_normal((2, 2, 3, 3))
    x[0, 0, 2, 0] = np.inf
    out, pullback = vjp(lambda w: F.conv2d(x, w), w)
    assert np.isfinite(out.numpy()[0, 0, :, 1:]).all() and not np.isfinite(out.numpy()[0, 0, :, 0]).any()
    (pulled,) = pullback(y)
    assert np.isfinite(pulled.numpy()[..., 1:]).all() and np.isinf(pulled.numpy()[..., 0]).all()
    x[0, 0, 2, 0], w[0, 0, 0, 2] = 1.0, np.nan
    (pulled,) = vjp(lambda x: F.conv2d(x, w), x)[1](y)
    assert np.isnan(pulled.numpy()[:, :, :3, 2:]).all()
    assert np.isfinite(pulled.numpy()[:, :, :, :2]).all() and np.isfinite(pulled.numpy()[:, :, 3:]).all()


def test_dead_places_stay_zero_through_infinite_slopes():
    x = np.zeros((1, 1, 8))
    x[..., 4:] = 1.0
    w = np.ones((1, 1, 2))
    alive = np.arange(7) > 3

    def f(x, w):
        return bl.sum(bl.where(alive, F.conv1d(bl.sqrt(x), w), 0.0))

    for pulled in grad(f, argnums=(0, 1))(x, w):
        assert np.isfinite(pulled.numpy()).all()
    assert grad(f)(x, w).numpy()[0, 0].tolist() == [0, 0, 0, 0, 0.5, 1, 1, 0.5]

    def transposed(x, w):
        made = F.conv_transpose1d(bl.sqrt(x), w)
        return bl.sum(bl.where(np.arange(9) > 4, made, 0.0))

    assert np.isfinite(grad(transposed)(x, w).numpy()).all()
    _, pushed = jvp(lambda x: bl.sqrt(F.conv1d(bl.where(x > 0.5, x, 0.0), w)), (x,), (np.ones_like(x),))
    assert np.isfinite(pushed.numpy()).all()
    kernels = np.zeros((2, 1, 1))
    kernels[1] = 4.0
    through = lambda w: bl.sum(bl.where(np.array([[False], [True]]), F.conv1d(x + 1.0, bl.sqrt(w)), 0.0))
    assert grad(through)(kernels).numpy().ravel().tolist() == [0.0, 0.25 * float((x + 1).sum())]


def test_per_example_gradients_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((3, 2, 5, 5)), rng.standard_normal((4, 2, 3, 3)), rng.standard_normal(4)

    def loss(w, b, x):
        return bl.sum(bl.tanh(F.max_pool2d(F.conv2d(x, w, b, padding=1), 2)))

    together = vmap(grad(loss, argnums=(0, 1)), in_axes=(None, None, 0))(w, b, x)
    for i in range(3):
        for a, one in zip(together, grad(loss, argnums=(0, 1))(w, b, x[i]), strict=True):
            np.testing.assert_allclose(a.numpy()[i], one.numpy(), rtol=1e-12, atol=1e-13)


def test_a_compiled_convolution_is_the_eager_one():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 1, 6, 6)).astype(np.float32), rng.standard_normal((2, 1, 3, 3)).astype(np.float32)
    f = lambda x, w: bl.sum(bl.tanh(F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, padding="same"), 2), 2, padding=1)))
    step = bl.compile(bl.value_and_grad(f, argnums=(0, 1)))
    (value, grads), (wanted, theirs) = step(x, w), bl.value_and_grad(f, argnums=(0, 1))(x, w)
    np.testing.assert_allclose(value.numpy(), wanted.numpy(), rtol=1e-6)
    for a, b in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, w: F.conv2d(x[0, 0], w), ShapeError, "[batch, channels, height, width]"),
        (lambda x, w: F.conv1d(x, w), ShapeError, "[batch, channels, length]"),
        (lambda x, w: F.conv2d(x, w[:, :1]), ShapeError, "2 channels in 1 group"),
        (lambda x, w: F.conv2d(x, w, groups=2), ShapeError, "2 channels in 2 groups"),
        (lambda x, w: F.conv2d(x, w[..., :0]), ShapeError, "expected a weight"),
        (lambda x, w: F.conv2d(x, w, groups=0), ArgumentError, "at least 1"),
        (lambda x, w: F.conv2d(x, w, np.ones(4)), ShapeError, "expected a bias [3]"),
        (lambda x, w: F.conv2d(x, w, stride=0), ArgumentError, "stride must be at least 1"),
        (lambda x, w: F.conv2d(x, w, stride=(1, 2, 3)), ArgumentError, "a whole number or 2"),
        (lambda x, w: F.conv2d(x, w, padding=-1), ArgumentError, "padding must be at least 0"),
        (lambda x, w: F.conv2d(x, w, padding=0.5), ArgumentError, "a whole number or 2"),
        (lambda x, w: F.conv2d(x, w, padding="full"), ArgumentError, "'same' or 'valid'"),
        (lambda x, w: F.conv2d(x, w, padding="same", stride=2), ArgumentError, "needs a stride of 1"),
        (lambda x, w: F.conv2d(x, w, dilation=9), ShapeError, "do not fit an input"),
        (lambda x, w: F.conv2d(x.astype(np.float32), w), DTypeError, ".astype('float64')"),
        (lambda x, w: F.conv_transpose2d(x, w), ShapeError, "[in, out / groups, ...]"),
        (lambda x, w: F.conv_transpose2d(x, w[:2], output_padding=1), ArgumentError, "must be below"),
        (lambda x, w: F.conv_transpose2d(x, w[:2], padding=9), ShapeError, "would have the lengths"),
    ],
)
def test_malformed_convolutions_say_what_was_expected(call, error, words):
    rng = np.random.default_rng(0)
    with pytest.raises(error) as caught:
        call(rng.standard_normal((1, 2, 5, 5)), rng.standard_normal((3, 2, 3, 3)))
    assert words in str(caught.value)


def test_the_ops_check_their_own_arguments():
    from backlit.ops.convolution import conv

    given = {"stride": (1,), "padding": (0,), "dilation": (1,)}
    with pytest.raises(ShapeError, match="do not have the sizes"):
        conv(np.ones((1, 2, 4)), np.ones((1, 2, 2)), groups=1, sizes=((4,), (3,), (3,)), **given)
    with pytest.raises(ShapeError, match="do not fit 2 groups"):
        conv(np.ones((1, 2, 4)), np.ones((1, 2, 2)), groups=2, sizes=((4,), (2,), (3,)), **given)
