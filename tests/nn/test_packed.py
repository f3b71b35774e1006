"""Sequences of different lengths and parameters as a vector, against PyTorch's; recurrent layers of packed sequences."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.nn.utils import rnn

try:
    import torch
except ImportError:
    torch = None
with_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
theirs = torch and torch.nn.utils.rnn
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def leaf(array):
    return bl.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def same_packed(ours, wanted):
    for a, b in zip(ours, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


@with_torch
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("lengths", "sort"), [([5, 3, 3, 1], True), ([5, 3, 3, 1], False), ([2, 4, 1, 4], False), ([5], True)]
)
def test_packing_and_padding(lengths, sort, batch_first):
    n = len(lengths)
    a, b = leaf(normal(n, 5, 2) if batch_first else normal(5, n, 2))
    mine = rnn.pack_padded_sequence(a, lengths, batch_first, sort)
    its = theirs.pack_padded_sequence(b, lengths, batch_first, sort)
    same_packed(mine, its)
    for kwargs in ({}, {"padding_value": 3.0, "batch_first": True}, {"total_length": 7}):
        out, counts = rnn.pad_packed_sequence(mine, **kwargs)
        wanted, its_counts = theirs.pad_packed_sequence(its, **kwargs)
        np.testing.assert_array_equal(out.detach().numpy(), wanted.detach().numpy())
        np.testing.assert_array_equal(counts.numpy(), its_counts.numpy())
    cotangent = normal(*out.shape)
    out.backward(cotangent)
    wanted.backward(torch.tensor(cotangent))
    np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
    for x, y in zip(rnn.unpack_sequence(mine), theirs.unpack_sequence(its), strict=True):
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())
    for x, y in zip(
        rnn.unpad_sequence(a, lengths, batch_first),
        theirs.unpad_sequence(b.detach(), torch.tensor(lengths), batch_first),
        strict=True,
    ):
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())


@with_torch
@pytest.mark.parametrize(
    "kwargs", [{}, {"batch_first": True}, {"padding_value": -1.0}, {"padding_side": "left", "batch_first": True}]
)
def test_sequences_side_by_side(kwargs):
    arrays = [normal(n, 2) for n in (3, 5, 1)]
    mine, its = zip(*map(leaf, arrays), strict=True)
    out, wanted = rnn.pad_sequence(mine, **kwargs), theirs.pad_sequence(list(its), **kwargs)
    np.testing.assert_array_equal(out.detach().numpy(), wanted.detach().numpy())
    cotangent = normal(*out.shape)
    out.backward(cotangent)
    wanted.backward(torch.tensor(cotangent))
    for a, b in zip(mine, its, strict=True):
        np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
    same_packed(
        rnn.pack_sequence(arrays, enforce_sorted=False),
        theirs.pack_sequence([torch.tensor(a) for a in arrays], enforce_sorted=False),
    )


def both(name, **kwargs):
    ours, its = getattr(nn, name)(3, 4, **kwargs, dtype=np.float64), getattr(torch.nn, name)(3, 4, **kwargs).double()
    its.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in ours.state_dict().items()})
    return ours, its


def flat(x):
    return [y for part in x for y in flat(part)] if isinstance(x, tuple) else [x]


@with_torch
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("RNN", {}), ("GRU", {"num_layers": 2, "bidirectional": True}), ("LSTM", {"batch_first": True, "bidirectional": True}), ("LSTM", {"proj_size": 2})],
)  # fmt: skip
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 4, 1, 4], [3, 3, 3, 3]])
def test_recurrent_layers_of_packed_sequences(name, kwargs, lengths, given):
    ours, its = both(name, **kwargs)
    sort = lengths[0] == 5
    a, b = leaf(normal(5, 4, 3))
    n = ours.num_layers * ours.n_directions
    sizes = [kwargs.get("proj_size", 4), 4][: 2 if name == "LSTM" else 1]
    states = [leaf(normal(n, 4, size)) for size in sizes]
    mine, their = zip(*states, strict=True)
    hx = lambda s: [] if not given else [s] if name == "LSTM" else [s[0]]
    out, last = ours(rnn.pack_padded_sequence(a, lengths, enforce_sorted=sort), *hx(mine))
    wanted, its_last = its(theirs.pack_padded_sequence(b, lengths, enforce_sorted=sort), *hx(their))
    for x, y in zip((*out, *flat(last)), (*wanted, *flat(its_last)), strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), **CLOSE)
    total, other = 0.0, 0.0
    for x, y in zip((out.data, *flat(last)), (wanted.data, *flat(its_last)), strict=True):
        cotangent = normal(*x.shape)
        total, other = total + (x * cotangent).sum(), other + (y * torch.tensor(cotangent)).sum()
    total.backward()
    other.backward()
    for x, y in zip(
        (a, *(mine if given else ()), *ours.parameters()),
        (b, *(their if given else ()), *its.parameters()),
        strict=True,
    ):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), **CLOSE)


@with_torch
def test_packed_sequences_are_trees_with_one_leaf():
    layer = nn.GRU(3, 4)
    x = normal(5, 3, 3).astype(np.float32)
    packed = lambda lengths: rnn.pack_padded_sequence(bl.tensor(x), lengths, enforce_sorted=False)
    f = lambda p: (layer(p)[0].data ** 2).sum()
    compiled = bl.compile(f)
    for lengths in ([1, 5, 2], [2, 2, 5], [1, 5, 2], [4, 1, 3]):
        np.testing.assert_allclose(compiled(packed(lengths)).item(), f(packed(lengths)).item(), rtol=1e-5)
    assert not compiled.report().callbacks and len(bl.tree.leaves(packed([1, 2, 3]))) == 1
    g = bl.grad(f)(packed([1, 5, 2]))
    wanted = bl.grad(lambda x: (layer(x, lengths=np.array([1, 5, 2]))[0] ** 2).sum())(x)
    np.testing.assert_allclose(
        g.data.detach().numpy(),
        rnn.pack_padded_sequence(wanted, [1, 5, 2], enforce_sorted=False).data.detach().numpy(),
        rtol=1e-5,
    )
    doubled = bl.tree.map(lambda leaf: leaf * 2.0, packed([1, 5, 2]))
    assert doubled.batch_sizes.tolist() == [3, 2, 1, 1, 1] and "sorted_indices=(1, 2, 0)" in repr(doubled)


@with_torch
def test_arguments_and_defaults():
    for name in rnn.__dict__:
        if inspect.isfunction(getattr(rnn, name)) and not name.startswith("_") and hasattr(theirs, name):
            listed = lambda f: [(p.name, p.default) for p in inspect.signature(f).parameters.values()]
            assert listed(getattr(rnn, name)) == listed(getattr(theirs, name)), name


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: rnn.pack_padded_sequence(bl.ones((4, 2, 1)), [1, 3]), ValueError, "the lengths [1, 3] grow; sort the sequences or use enforce_sorted=False"),
        (lambda: rnn.pack_padded_sequence(bl.ones((4, 2, 1)), [5, 1]), ValueError, "lengths must be from 1 to 4, got [5, 1]"),
        (lambda: rnn.pack_padded_sequence(bl.ones((4, 2, 1)), [3, 0]), ValueError, "lengths must be from 1 to 4, got [3, 0]"),
        (lambda: rnn.pack_padded_sequence(bl.ones((4, 2, 1)), [3]), bl.ShapeError, "lengths must be integers [2]"),
        (lambda: rnn.pack_padded_sequence(bl.ones(4), [3]), bl.ShapeError, "expected [steps, batch, ...]"),
        (lambda: rnn.pack_padded_sequence(bl.ones((4, 0)), bl.zeros(0, dtype="int64")), bl.ShapeError, "there are no sequences"),
        (lambda: rnn.pad_packed_sequence(bl.ones((4, 2))), TypeError, "expected a PackedSequence, got Tensor"),
        (lambda: rnn.pad_packed_sequence(rnn.pack_sequence([bl.ones(3)]), total_length=2), ValueError, "total_length 2 is below the longest sequence, 3"),
        (lambda: rnn.pad_sequence([]), bl.ShapeError, "got none"),
        (lambda: rnn.pad_sequence([bl.ones((2, 1)), bl.ones((2, 3))]), bl.ShapeError, "alike behind the first axis"),
        (lambda: rnn.pad_sequence([bl.ones((0, 1))]), bl.ShapeError, "have no steps"),
        (lambda: rnn.pad_sequence([bl.ones(1)], padding_side="top"), ValueError, "'right' or 'left', got 'top'"),
        (lambda: rnn.PackedSequence(bl.ones(3), [1, 2]), bl.ShapeError, "they must not grow"),
        (lambda: nn.GRU(1, 2)(rnn.pack_sequence([bl.ones((3, 1))]), lengths=[3]), ValueError, "GRU: packed sequences have lengths of their own"),
        (lambda: nn.GRU(1, 2)(rnn.pack_sequence([bl.ones((3, 2))])), bl.ShapeError, "GRU: expected [..., batch, 1]"),
        (lambda: bl.compile(lambda n: rnn.pack_padded_sequence(bl.ones((4, 2)), n))(np.array([3, 1])), bl.TraceError, "no contents yet"),
        (lambda: nn.utils.parameters_to_vector([]), bl.ShapeError, "there are no parameters"),
        (lambda: nn.utils.vector_to_parameters(bl.ones(3), [bl.ones(2)]), bl.ShapeError, "expected [2], got float32[3]"),
        (lambda: nn.utils.get_total_norm([bl.ones(2)], 0.0), ValueError, "get_total_norm: norm_type must be above 0"),
        (lambda: nn.utils.get_total_norm([bl.full(2, np.nan)], error_if_nonfinite=True), ValueError, "get_total_norm: the norm of the gradients is nan"),
    ],
)  # fmt: skip
def test_mistakes(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, (bl.BacklitError, TypeError)) and said in str(caught.value)


@with_torch
def test_parameters_as_a_vector():
    ours = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    other.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in ours.state_dict().items()})
    vector = nn.utils.parameters_to_vector(ours.parameters())
    np.testing.assert_array_equal(
        vector.detach().numpy(), torch.nn.utils.parameters_to_vector(other.parameters()).detach().numpy()
    )
    (vector**2).sum().backward()
    np.testing.assert_allclose(ours[1].bias.grad.numpy(), 2 * ours[1].bias.detach().numpy())
    cells, held = list(ours.parameters()), vector.detach().numpy() * 2.0
    nn.utils.vector_to_parameters(held.astype(np.float64), ours.parameters())
    assert all(
        a is b and a.requires_grad and a.dtype == np.float32 for a, b in zip(cells, ours.parameters(), strict=True)
    )
    np.testing.assert_array_equal(nn.utils.parameters_to_vector(ours.parameters()).detach().numpy(), held)


@with_torch
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, np.inf])
def test_gradients_clipped_in_two_steps(norm_type):
    grads = [normal(3, 2), normal(4)]
    mine, its = [bl.tensor(g * 0) for g in grads], [torch.tensor(g * 0) for g in grads]
    for a, b, g in zip(mine, its, grads, strict=True):
        a.grad, b.grad = bl.tensor(g), torch.tensor(g)
    norm = nn.utils.get_total_norm([a.grad for a in mine], norm_type)
    wanted = torch.nn.utils.get_total_norm([b.grad for b in its], norm_type)
    np.testing.assert_allclose(norm.item(), wanted.item(), rtol=1e-12)
    nn.utils.clip_grads_with_norm_(mine, 0.5, norm)
    torch.nn.utils.clip_grads_with_norm_(its, 0.5, wanted)
    for a, b in zip(mine, its, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)
