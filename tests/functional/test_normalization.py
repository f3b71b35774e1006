"""Normalisation with large means, in every transform, compiled without a call back; values are compared with recorded ones."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import grad, gradcheck
from backlit.compiler import make_graph
from backlit.compiler.native import Program
from backlit.nn import functional as F

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def same_numbers():
    global RNG
    RNG = np.random.default_rng(5)


# name, shape of the input, arguments, shape of weight and bias
CASES = [
    ("layer_norm", (4, 6), {"normalized_shape": (6,)}, (6,)),
    ("layer_norm", (2, 3, 4), {"normalized_shape": (3, 4), "eps": 1e-3}, (3, 4)),
    ("layer_norm", (2, 3, 4), {"normalized_shape": (4,)}, None),
    ("rms_norm", (4, 6), {"normalized_shape": (6,)}, (6,)),
    ("rms_norm", (2, 3, 4), {"normalized_shape": (3, 4), "eps": 1e-3}, (3, 4)),
    ("rms_norm", (5,), {"normalized_shape": (5,)}, None),
    ("group_norm", (2, 6), {"num_groups": 3}, (6,)),
    ("group_norm", (2, 6, 4, 3), {"num_groups": 2, "eps": 1e-3}, (6,)),
    ("group_norm", (2, 4, 3), {"num_groups": 4}, None),
    ("instance_norm", (2, 3, 5), {}, (3,)),
    ("instance_norm", (2, 3, 4, 2), {"eps": 1e-2}, None),
    ("local_response_norm", (2, 7, 3), {"size": 5}, None),
    ("local_response_norm", (2, 5, 3, 2), {"size": 2, "alpha": 0.5, "beta": 0.6, "k": 2.0}, None),
    ("local_response_norm", (2, 3, 2), {"size": 7, "alpha": 1.0}, None),
]
ids = [f"{name}-{len(shape)}-{'-'.join(kwargs)}" for name, shape, kwargs, _ in CASES]


def drawn(shape, affine, name, dtype="float64"):
    """Input, weight and bias; the latter two as keyword arguments."""
    names = ["weight", "bias"][: 1 if name == "rms_norm" else 2] if affine else []
    return RNG.standard_normal(shape).astype(dtype), {n: RNG.standard_normal(affine).astype(dtype) for n in names}


@pytest.mark.parametrize(("name", "shape", "kwargs", "affine"), CASES, ids=ids)
def test_derivatives_of_first_and_second_order(name, shape, kwargs, affine):
    x, parameters = drawn(shape, affine, name)
    f = lambda x: getattr(F, name)(x, **parameters, **kwargs)
    assert gradcheck(f, x) and gradcheck(grad(lambda x: (f(x) ** 3).sum()), x)


@pytest.mark.parametrize(("name", "shape", "kwargs", "affine"), CASES, ids=ids)
def test_compiled_without_a_call_back(name, shape, kwargs, affine):
    x, parameters = drawn(shape, affine, name, "float32")
    f = lambda x: bl.value_and_grad(lambda x: (getattr(F, name)(x, **parameters, **kwargs) ** 3).sum())(x)
    program = Program(make_graph(f)(x))
    assert program.callbacks == []
    for got, wanted in zip(program(x), f(x), strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-4)


def moments(n=3, dtype="float64"):
    return {"running_mean": RNG.standard_normal(n).astype(dtype), "running_var": RNG.random(n).astype(dtype) + 0.5}


def test_running_moments_in_every_transform():
    x, running = RNG.standard_normal((5, 3)), moments()
    once = {k: bl.tensor(v) for k, v in running.items()}
    F.batch_norm(x, **once, training=True)
    f = lambda x, cells: (F.batch_norm(x, **cells, training=True) ** 3).sum()
    leaf = bl.tensor(x, requires_grad=True)
    runs = {
        "backward": lambda cells: f(leaf, cells).backward(),
        "grad": lambda cells: grad(lambda x: f(x, cells))(x),
        "jvp": lambda cells: bl.jvp(lambda x: f(x, cells), (x,), (x,)),
        "second": lambda cells: bl.hvp(lambda x: f(x, cells), (x,), (x,)),
        "compiled": lambda cells: bl.compile(lambda x: grad(lambda x: f(x, cells))(x))(bl.tensor(x)),
    }
    for name, run in runs.items():
        cells = {k: bl.tensor(v) for k, v in running.items()}
        run(cells)
        for k in running:
            np.testing.assert_allclose(cells[k].numpy(), once[k].numpy(), rtol=1e-14, err_msg=name)
    cells = {k: bl.tensor(v) for k, v in running.items()}
    with pytest.raises(bl.TraceError, match="group_norm"):
        bl.vmap(lambda x: F.batch_norm(x, **cells, training=True))(np.stack([x, x]))
    assert all(np.array_equal(cells[k].numpy(), running[k]) for k in running)
    out = bl.vmap(lambda x: F.batch_norm(x, **cells))(np.stack([x, -x]))
    np.testing.assert_allclose(out[1].numpy(), F.batch_norm(-x, **cells).numpy(), rtol=1e-13)


def test_a_large_mean_costs_no_digits():
    x = RNG.standard_normal((3, 64)).astype(np.float32) + np.float32(3e4)
    exact = x.astype(np.float64)
    wanted = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(F.layer_norm(x, (64,)).numpy(), wanted, atol=3e-3)  # the mean is rounded to 2e-3
    compiled = bl.compile(lambda x: F.layer_norm(x, (64,)))(bl.tensor(x)).numpy()
    np.testing.assert_allclose(compiled, wanted, atol=3e-3)


@pytest.mark.parametrize("dtype", ["float16", bl.bfloat16])
def test_half_precision_takes_its_moments_in_float32(dtype):
    x = (RNG.standard_normal((4, 256)) * 300).astype(dtype)  # squares of which float16 does not hold
    wide = x.astype(np.float32)
    for out, wanted in (
        (F.layer_norm(x, (256,)), F.layer_norm(wide, (256,))),
        (F.rms_norm(x, (256,), np.ones(256, dtype)), F.rms_norm(wide, (256,))),
        (F.group_norm(x, 2), F.group_norm(wide, 2)),
    ):
        assert out.dtype == dtype
        np.testing.assert_array_equal(out.numpy(), wanted.numpy().astype(dtype))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.layer_norm(np.ones((2, 3)), (2,)), bl.ShapeError, "last axes to be [2], got float64[2, 3]"),
        (lambda: F.layer_norm(np.ones((2, 3)), (3,), np.ones(2)), bl.ShapeError, "weight float64[2]"),
        (lambda: F.layer_norm(np.ones((2, 3)), (3,), np.ones(3, np.float32)), bl.DTypeError, ".astype('float32')"),
        (lambda: F.group_norm(np.ones((2, 6)), 4), bl.ShapeError, "6 channels are not 4 equal groups"),
        (lambda: F.batch_norm(np.ones(3), None, None, training=True), bl.ShapeError, "[batch, channels, ...]"),
        (lambda: F.batch_norm(np.ones((1, 3)), None, None, training=True), bl.ShapeError, "more than one value"),
        (lambda: F.batch_norm(np.ones((2, 3)), None, None), bl.BacklitError, "expected running_mean and running_var"),
        (lambda: F.batch_norm(np.ones((2, 3)), bl.ones(2), bl.ones(3)), bl.ShapeError, "running_mean float32[2]"),
        (lambda: F.instance_norm(np.ones((2, 3, 1))), bl.ShapeError, "more than one value"),
        (lambda: F.local_response_norm(np.ones((2, 3)), 2), bl.ShapeError, "[batch, channels, ...]"),
        (lambda: F.local_response_norm(np.ones((2, 3, 1)), 0), bl.BacklitError, "size must be positive"),
    ],
)
def test_errors(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
