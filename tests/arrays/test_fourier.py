"""Fourier transforms against NumPy's over generated inputs, and their derivatives against differences and PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl

ALONG = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = ("fftn", "ifftn", "rfftn", "irfftn")
REAL = ("rfft", "ihfft", "rfftn")  # of real numbers
NORMS = ("backward", "ortho", "forward")
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


def drawn(name, shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    x = x if name in REAL else x + 1j * rng.standard_normal(shape)
    return x.astype(dtype) if name in REAL else x.astype(np.result_type(dtype, np.complex64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ALONG)
def test_along_one_axis(name, norm, dtype):
    ours, theirs = getattr(bl.fft, name), getattr(np.fft, name)
    for shape in ((5,), (4, 3), (2, 1, 6), (0, 4)):
        x = drawn(name, shape, dtype)
        for axis in range(-len(shape), len(shape)):
            for n in (None, 1, 2, 3, 4, 7):
                if n is None and (shape[axis] == 0 or (name in ("irfft", "hfft") and shape[axis] == 1)):
                    continue
                if shape[axis] == 0:
                    continue
                got, want = ours(x, n=n, axis=axis, norm=norm), theirs(x, n=n, axis=axis, norm=norm)
                assert (got.shape, got.dtype) == (want.shape, want.dtype)
                np.testing.assert_allclose(got.numpy(), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", MANY)
def test_along_several_axes(name, norm, dtype):
    ours, theirs = getattr(bl.fft, name), getattr(np.fft, name)
    x = drawn(name, (3, 4, 5), dtype)
    for axes, s in (
        (None, None), ((0, 1, 2), (2, 5, 4)), ((1,), None), ((0, 2), None), ((2, 0), None), ((-1, 0), (3, -1)), ((0, 1), (4, 3)),
        ((2, 1), (6, 7)),
    ):  # fmt: skip
        if name == "irfftn" and s and s[-1] == -1:  # NumPy takes as many numbers as there are frequencies
            continue
        want = theirs(x, s=s, axes=axes, norm=norm)
        got = ours(x, s=s, axes=axes, norm=norm)
        assert (got.shape, got.dtype) == (want.shape, want.dtype), (axes, s)
        np.testing.assert_allclose(got.numpy(), want, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])
    got = ours(x, s=(2, 3), norm=norm)  # of the last two axes
    np.testing.assert_allclose(got.numpy(), theirs(x, s=(2, 3), axes=(1, 2), norm=norm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ALONG + MANY)
def test_derivatives_of_two_orders(name, norm):
    f = getattr(bl.fft, name)
    kwargs = [{"n": n, "axis": axis} for n, axis in ((None, 0), (3, 1), (8, 1), (2, 0))]
    kwargs = [{"axes": (0, 1)}, {"s": (5, 2), "axes": (1, 0)}, {"axes": (0,)}] if name in MANY else kwargs
    x = drawn(name, (4, 5))
    for k in kwargs:
        g = lambda x, k=k: f(x, norm=norm, **k)
        assert bl.gradcheck(g, x)
        squared = lambda x, g=g: (bl.abs(g(x)) ** 2).sum()
        assert bl.gradcheck(bl.grad(squared), x)


@pytest.mark.parametrize("name", ALONG + MANY)
def test_gradients_equal_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    x = drawn(name, (4, 6))
    leaf, theirs = bl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    many = name in MANY
    weights = np.random.default_rng(1).standard_normal((12, 12))
    for norm in NORMS:
        leaf.grad = theirs.grad = None
        out = getattr(bl.fft, name)(leaf, norm=norm, **({"axes": (0, 1)} if many else {"n": 7, "axis": 0}))
        other = getattr(torch.fft, name)(theirs, norm=norm, **({"dim": (0, 1)} if many else {"n": 7, "dim": 0}))
        w = weights[: out.shape[0], : out.shape[1]]
        (bl.abs(out * w + 0.3) ** 1.5).sum().backward()
        ((other * torch.tensor(w) + 0.3).abs() ** 1.5).sum().backward()
        np.testing.assert_allclose(leaf.grad.numpy(), theirs.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_in_all_transforms():
    x = drawn("rfft", (3, 8))
    power = lambda x: bl.abs(bl.fft.rfft(x * bl.sin(x), norm="ortho")) ** 2
    rows = bl.vmap(power)(x)
    np.testing.assert_allclose(rows.numpy(), np.stack([power(row).numpy() for row in x]), rtol=1e-13)
    each = bl.vmap(bl.grad(lambda row: (power(row) * np.arange(5.0)).sum()))(x)
    together = bl.grad(lambda x: (power(x) * np.arange(5.0)).sum())
    np.testing.assert_allclose(each.numpy(), together(x).numpy(), rtol=1e-12)
    np.testing.assert_allclose(bl.compile(together)(x).numpy(), together(x).numpy(), rtol=1e-13)
    np.testing.assert_allclose(bl.hessian(lambda v: power(v).sum())(x[0]).numpy(), 2 * np.eye(8), atol=9)
    np.testing.assert_allclose(bl.jacfwd(power)(x[0]).numpy(), bl.jacrev(power)(x[0]).numpy(), atol=1e-12)
    back = bl.linear_transpose(lambda z: bl.fft.ifft(z), x.astype(np.complex128))(x.astype(np.complex128))[0]
    np.testing.assert_allclose(back.numpy(), np.fft.fft(x) / 8, atol=1e-14)


def test_a_line_that_was_not_selected_stays_zero():
    x = np.array([[0.0, 0.0, 0.0], [1.0, 4.0, 9.0]])
    rows = np.array([[False], [True]])
    f = lambda x: (bl.abs(bl.where(rows, bl.fft.fft(bl.sqrt(x)), 0.0)) ** 2).sum()
    pulled = bl.grad(f)(x).numpy()
    assert (pulled[0] == 0).all() and np.isfinite(pulled).all()


def test_what_is_transformed_in_which_dtype():
    for given, wanted in (
        ("float16", "complex64"), (bl.bfloat16, "complex64"), ("float32", "complex64"), ("int32", "complex128"),
        ("bool", "complex128"), ("complex64", "complex64"),
    ):  # fmt: skip
        x = bl.tensor(np.ones((2, 4))).astype(given)
        assert bl.fft.fft(x).dtype == bl.fft.ifftn(x).dtype == wanted
        if wanted != given:
            assert bl.fft.rfft(x).dtype == wanted
            assert bl.fft.irfft(bl.fft.rfft(x)).dtype == ("float32" if wanted == "complex64" else "float64")
    assert bl.grad(lambda x: bl.abs(bl.fft.rfft(x)).sum())(np.ones(4, np.float16)).dtype == np.float16
    assert bl.fft.fftn(np.float64(2.0)).numpy() == 2.0


def test_frequencies_and_shifts():
    for n in (1, 2, 5, 8):
        np.testing.assert_allclose(bl.fft.fftfreq(n, d=0.5), np.fft.fftfreq(n, 0.5), rtol=1e-7)
        np.testing.assert_allclose(bl.fft.rfftfreq(n, d=2.0), np.fft.rfftfreq(n, 2.0), rtol=1e-7)
        assert bl.fft.fftfreq(n).dtype == np.float32 and bl.fft.rfftfreq(n, dtype="float64").dtype == np.float64
    x = np.arange(60.0).reshape(3, 4, 5)
    for axes in (None, 0, -1, (0, 2), ()):
        for ours, theirs in ((bl.fft.fftshift, np.fft.fftshift), (bl.fft.ifftshift, np.fft.ifftshift)):
            np.testing.assert_array_equal(ours(x, axes=axes), theirs(x, axes=axes))
    assert bl.gradcheck(bl.fft.fftshift, x) and bl.fft.fftshift(np.zeros((0, 2))).shape == (0, 2)


def test_wrong_input_says_what_is_wrong():
    z = np.ones((2, 3), np.complex128)
    for error, call, said in (
        (bl.DTypeError, lambda: bl.fft.rfft(z), "use fft"),
        (bl.DTypeError, lambda: bl.fft.fftfreq(3, dtype="int32"), "real floats"),
        (bl.ShapeError, lambda: bl.fft.fft(z, axis=2), "out of range"),
        (bl.ShapeError, lambda: bl.fft.fft(z, n=0), "positive"),
        (bl.ShapeError, lambda: bl.fft.fft(z[:, :0]), "nothing to transform"),
        (bl.ShapeError, lambda: bl.fft.irfft(z[:, :1]), "positive n"),
        (bl.ShapeError, lambda: bl.fft.fftn(z, axes=(0, 0)), "twice"),
        (bl.ShapeError, lambda: bl.fft.fftn(z, s=(2,), axes=(0, 1)), "1 lengths for 2 axes"),
        (bl.ShapeError, lambda: bl.fft.rfftn(np.float64(1.0)), "at least one axis"),
        (bl.ShapeError, lambda: bl.fft.irfftn(np.float64(1.0)), "at least one axis"),
        (ValueError, lambda: bl.fft.fft(z, norm="unitary"), "'ortho'"),
        (ValueError, lambda: bl.fft.hfft(z, norm=None), "'ortho'"),
        (bl.ShapeError, lambda: bl.ops.fourier.irfft(z, n=9, axis=1), "frequencies"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            call()
