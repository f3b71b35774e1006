"""Recurrent layers against PyTorch's: arguments, names, `repr`, values, gradients, lengths, compiled."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import backlit as bl
from backlit import nn

torch = pytest.importorskip("torch")
CASES = [
    ("RNN", {}), ("RNN", {"nonlinearity": "relu", "num_layers": 2, "batch_first": True}), ("RNN", {"bias": False, "bidirectional": True}),
    ("GRU", {}), ("GRU", {"num_layers": 2, "bidirectional": True}), ("GRU", {"bias": False, "batch_first": True}), ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}), ("LSTM", {"bias": False, "proj_size": 2, "num_layers": 2}),
]  # fmt: skip
ids = [f"{name}-{'-'.join(kwargs)}" for name, kwargs in CASES]
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def both(name, *args, **kwargs):
    ours = getattr(nn, name)(*args, **kwargs, dtype=np.float64)
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, tuple(p.shape)) for n, p in theirs.named_parameters()
    ]
    assert ours.extra_repr() == theirs.extra_repr()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        q.data = torch.tensor(p.detach().numpy().copy())
    return ours, theirs


def flat(tree):
    return [tree] if hasattr(tree, "shape") else [x for part in tree for x in flat(part)]


def compare(ours, theirs, mine, their):
    """All outputs, and the gradients of all inputs and parameters, under random cotangents."""
    rng = np.random.default_rng(1)
    outs, wanted = flat(ours(*mine)), flat(theirs(*their))
    total, other = 0.0, 0.0
    for a, b in zip(outs, wanted, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **CLOSE)
        cotangent = rng.standard_normal(tuple(b.shape))
        total, other = total + (a * cotangent).sum(), other + (b * torch.tensor(cotangent)).sum()
    total.backward()
    other.backward()
    for a, b in zip((*flat(mine), *ours.parameters()), (*flat(their), *theirs.parameters()), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **CLOSE)


def leaves(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(s) for s in shapes]
    return [bl.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def sizes(layer):
    n = layer.num_layers * layer.n_directions
    return [(n, layer.proj_size or 4), (n, 4)][: 2 if type(layer).__name__ == "LSTM" else 1]


def paired(layer, states):
    return tuple(states) if type(layer).__name__ == "LSTM" else states[0]


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=ids)
def test_values_and_gradients_are_pytorchs(name, kwargs):
    for given in (False, True):
        ours, theirs = both(name, 3, 4, **kwargs)
        batched = [(6, 2, 3) if not kwargs.get("batch_first") else (2, 6, 3), *((n, 2, s) for n, s in sizes(ours))]
        for shapes in (batched, [(6, 3), *sizes(ours)]):
            mine, their = leaves(*(shapes if given else shapes[:1]))
            ours.zero_grad()
            theirs.zero_grad()
            ours_args = [mine[0], *([paired(ours, mine[1:])] if given else [])]
            compare(ours, theirs, ours_args, [their[0], *([paired(ours, their[1:])] if given else [])])


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=ids)
def test_lengths_are_packed_sequences(name, kwargs):
    ours, theirs = both(name, 3, 4, **kwargs)
    first = kwargs.get("batch_first", False)
    mine, their = leaves((4, 6, 3) if first else (6, 4, 3))
    lengths = np.array([3, 6, 1, 4])
    utils = torch.nn.utils.rnn

    def packed(x):
        out, last = theirs(utils.pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False))
        return utils.pad_packed_sequence(out, batch_first=first)[0], last

    packed.parameters = theirs.parameters
    given = lambda x: ours(x, lengths=lengths)
    given.parameters = ours.parameters
    compare(given, packed, mine, their)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("name", "kwargs"), [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("GRUCell", {}), ("LSTMCell", {})]
)
def test_cells(name, kwargs, bias):
    for lead in ((2,), ()):
        for given in (True, False):
            ours, theirs = both(name, 3, 4, bias, **kwargs)
            n = 2 if name == "LSTMCell" else 1
            mine, their = leaves((*lead, 3), *([(*lead, 4)] * n if given else []))
            pair = lambda x, n=n, given=given: [x[0], *([] if not given else [tuple(x[1:]) if n == 2 else x[1]])]
            compare(ours, theirs, pair(mine), pair(their))


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_compiled_and_trained(name):
    bl.random.seed(0)
    layer, head = getattr(nn, name)(3, 8, 2, batch_first=True), nn.Linear(8, 1)
    opt = bl.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.mse_loss(head(layer(x)[0][:, -1]), y)
        loss.backward()
        opt.step()
        return loss

    compiled = bl.compile(step)
    x = bl.random.normal((16, 5, 3))
    y = x.sum(axis=(1, 2)).reshape((16, 1))
    before = nn.functional.mse_loss(head(layer(x)[0][:, -1]), y).item()
    losses = [compiled(x, y).item() for _ in range(60)]
    assert losses[0] == pytest.approx(before, rel=1e-5) and losses[-1] < 0.3 * losses[0]
    assert not compiled.report().callbacks and not compiled.reasons


def test_dropout_between_layers():
    layer = nn.LSTM(3, 4, 2, dropout=0.5)
    x = bl.ones((5, 2, 3))
    assert not np.array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())


def test_arguments_and_defaults():
    left_out = {"self", "device", "dtype", "generator"}
    listed = lambda cls: [
        (p.name, p.default) for p in inspect.signature(cls.__init__).parameters.values() if p.name not in left_out
    ]
    for name in ("RNNCell", "GRUCell", "LSTMCell"):
        assert listed(getattr(nn, name)) == listed(getattr(torch.nn, name))
    theirs = torch.nn.LSTM(3, 4)
    for name, default in listed(nn.LSTM)[2:]:
        assert getattr(theirs, name) == default


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.LSTM(3, 4)(bl.ones((5, 2, 4))), "LSTM: expected [..., batch, 3]"),
        (lambda: nn.GRU(3, 4)(bl.ones((5, 2, 3)), bl.ones((1, 3, 4))), "GRU: expected a state [1, 2, 4]"),
        (lambda: nn.GRU(3, 4)(bl.ones((5, 2, 3)), lengths=np.ones(3, int)), "lengths must be integers [2]"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), "'sin'"),
        (lambda: nn.RNN(3, 4, dropout=2.0), "dropout"),
        (lambda: nn.RNN(3, 4, 0), "num_layers"),
        (lambda: nn.GRUCell(3, 4)(bl.ones((2, 4))), "GRUCell: expected [batch, 3]"),
        (lambda: nn.LSTMCell(3, 4)(bl.ones((2, 3)), (bl.ones((2, 4)), bl.ones((2, 3)))), "cell state [2, 4]"),
    ],
)
def test_errors(call, said):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert said in str(caught.value)
