"""Convolution, pooling, padding and resampling layers against PyTorch's: arguments, names, `repr`, values, gradients."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import backlit as bl
from backlit import nn

torch = pytest.importorskip("torch")
LENGTHS = (9, 7, 5)


def shape(n, channels=4, batch=2):
    return (batch, channels, *LENGTHS[:n])


CONVOLUTIONS = [
    *((f"Conv{n}d", (4, 6, 3), {}, shape(n)) for n in (1, 2, 3)), ("Conv1d", (4, 6, 3, 2, 1, 2, 2, False), {}, shape(1)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": 2}, shape(2)),
    ("Conv2d", (4, 4, 3), {"padding": "same", "groups": 4}, shape(2)), ("Conv1d", (4, 4, 4), {"padding": "valid"}, shape(1)),
    ("Conv2d", (4, 6, 3), {"padding": 1, "padding_mode": "reflect"}, shape(2)),
    ("Conv2d", (4, 6, (2, 3)), {"padding": "same", "padding_mode": "circular", "dilation": (2, 1)}, shape(2)),
    ("Conv3d", (4, 2, 2), {"padding": (1, 0, 1), "padding_mode": "replicate"}, shape(3)), ("Conv2d", (4, 6, 3), {}, (4, 9, 7)),
    *((f"ConvTranspose{n}d", (4, 6, 3), {}, shape(n)) for n in (1, 2, 3)),
    ("ConvTranspose1d", (4, 6, 3, 2, 1, 1, 2, False, 2), {}, shape(1)),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"stride": 2, "padding": (1, 0), "output_padding": (1, 0)}, shape(2)),
]  # fmt: skip
OTHERS = [
    *((f"MaxPool{n}d", (2,), {}, shape(n)) for n in (1, 2, 3)), ("MaxPool2d", ((3, 2), 1, 1), {"dilation": (1, 2)}, shape(2)),
    ("MaxPool2d", (2,), {"ceil_mode": True}, shape(2)), *((f"AvgPool{n}d", (2,), {}, shape(n)) for n in (1, 2, 3)),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, shape(2)), ("AvgPool2d", ((3, 2),), {"divisor_override": 5}, shape(2)),
    ("AvgPool1d", (3, 2, 1, True, False), {}, shape(1)), *((f"LPPool{n}d", (2, 2), {}, shape(n)) for n in (1, 2, 3)),
    *((f"AdaptiveAvgPool{n}d", (3,), {}, shape(n)) for n in (1, 2, 3)), ("AdaptiveAvgPool2d", ((None, 2),), {}, shape(2)),
    *((f"AdaptiveMaxPool{n}d", (3,), {}, shape(n)) for n in (1, 2, 3)), ("Upsample", (), {"scale_factor": 2}, shape(2)),
    ("Upsample", ((5, 11),), {"mode": "bilinear", "align_corners": False}, shape(2)), ("UpsamplingNearest2d", (), {"scale_factor": 2}, shape(2)),
    ("UpsamplingBilinear2d", ((5, 11),), {}, shape(2)), ("PixelShuffle", (2,), {}, shape(2)), ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
    ("ChannelShuffle", (2,), {}, shape(2)), ("Unfold", ((3, 2),), {"padding": 1, "stride": 2}, shape(2)),
    ("Fold", ((4, 5), (2, 2)), {}, (2, 12, 12)), *((f"ZeroPad{n}d", (2,), {}, shape(n)) for n in (1, 2, 3)),
    ("ZeroPad2d", ((1, -1, 0, 2),), {}, shape(2)), *((f"ConstantPad{n}d", (1, 3.5), {}, shape(n)) for n in (1, 2, 3)),
    *((f"{kind}Pad{n}d", (2,), {}, shape(n)) for kind in ("Reflection", "Replication", "Circular") for n in (1, 2, 3)),
    ("ReflectionPad2d", ((1, 0, 2, 3),), {}, shape(2)),
]  # fmt: skip
CASES = [*CONVOLUTIONS, *OTHERS]
ids = [f"{name}-{k}" for k, (name, *_) in enumerate(CASES)]


def defaults(cls):
    found = inspect.signature(cls.__init__).parameters.values()
    left_out = {"self", "device", "dtype", "generator"}
    return [(p.name, p.default) for p in found if p.name not in left_out]


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES}))
def test_arguments_and_defaults(name):
    assert defaults(getattr(nn, name)) == defaults(getattr(torch.nn, name))


@pytest.mark.parametrize(("name", "args", "kwargs", "size"), CASES, ids=ids)
def test_values_and_gradients_are_pytorchs(name, args, kwargs, size):
    of_dtype = {"dtype": np.float64} if name.startswith("Conv") else {}
    ours = getattr(nn, name)(*args, **kwargs, **of_dtype)
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    assert ours.extra_repr() == theirs.extra_repr()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        bound = 1 / np.sqrt(np.prod(ours.weight.shape[1:]))
        assert 0.5 * bound < np.abs(p.detach().numpy()).max() <= bound or p.size < 8
        q.data = torch.tensor(p.detach().numpy().copy())
    rng = np.random.default_rng(3)
    x = rng.standard_normal(size) if name[:2] != "LP" else rng.random(size) + 0.1
    mine, their = bl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = theirs(their)
    out = ours(mine)
    close = {"rtol": 1e-10, "atol": 1e-11}
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), **close)
    cotangent = rng.standard_normal(tuple(wanted.shape))
    out.backward(cotangent)
    wanted.backward(torch.tensor(cotangent))
    for a, b in zip((mine, *ours.parameters()), (their, *theirs.parameters()), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **close)


def test_indices_and_sizes():
    x = np.random.default_rng(0).standard_normal(shape(2))
    for name, args in (("MaxPool2d", (2,)), ("AdaptiveMaxPool2d", (3,))):
        out, places = getattr(nn, name)(*args, return_indices=True)(bl.tensor(x))
        wanted = getattr(torch.nn, name)(*args, return_indices=True)(torch.tensor(x))
        np.testing.assert_array_equal(out.numpy(), wanted[0].numpy())
        np.testing.assert_array_equal(places.numpy(), wanted[1].numpy())
    layer = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, dtype=np.float64)
    assert layer(bl.tensor(x)).shape[2:] == (17, 13) and layer(bl.tensor(x), [18, 14]).shape[2:] == (18, 14)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "3 groups do not divide 4 and 6 channels"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "'full'"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="edge"), "padding_mode"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"), "padding_mode must be 'zeros'"),
        (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2)(bl.ones((1, 4, 3)), [20]), "output_size [20] is not possible"),
        (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: expected 4 numbers"),
        (lambda: nn.functional.pad(np.ones(3), (1, 2, 3, 4)), "at most 1 axes"),
        (lambda: nn.functional.pad(np.ones(3), (1, 2), "edge"), "'edge'"),
        (lambda: nn.functional.pad(np.ones(3), (1, 2), "reflect", 1.0), "takes no value"),
    ],
)
def test_errors(call, said):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert said in str(caught.value)
