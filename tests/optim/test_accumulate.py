"""Accumulated gradients: micro-batches of any sizes are one large batch."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.core.errors import ArgumentError

RNG = np.random.default_rng(2)
X, Y = RNG.standard_normal((22, 3)), RNG.standard_normal((22, 2))
SIZES = {"equal": [6, 6, 6], "ragged": [6, 6, 3], "falling": [9, 4, 1], "one": [5]}


def parts(sizes):
    ends = np.cumsum(sizes)
    return [(bl.tensor(X[e - n : e]), bl.tensor(Y[e - n : e])) for e, n in zip(ends, sizes, strict=True)]


def made(cls=optim.SGD, **settings):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for k, p in enumerate(model.parameters()):
        p._value = np.random.default_rng(k).standard_normal(p.shape)
    return model, cls(model.parameters(), **settings)


def values(model):
    return [p.detach().numpy().copy() for p in model.parameters()]


def whole(sizes, clip, steps=3, **settings):
    model, optimizer = made(**settings)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    n = sum(sizes)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(bl.tensor(X[:n])), bl.tensor(Y[:n])).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
    return values(model)


@pytest.mark.parametrize("how", ["eager", "step compiled", "passes compiled"])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_micro_batches_are_one_batch(sizes, clip, how):
    settings = {"cls": optim.SGD, "lr": 0.5, "momentum": 0.9}
    model, optimizer = made(**settings)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    micro, batches = optim.accumulate(optimizer), parts(sizes)

    def one(x, y):
        micro.add(nn.functional.mse_loss(model(x), y), len(x))

    def update():
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    def step(batches):
        with micro:
            for x, y in batches:
                one(x, y)
        update()

    if how == "passes compiled":
        one = bl.compile(one, keep_grads=True)
    step = bl.compile(step) if how == "step compiled" else step
    for _ in range(3):
        step(batches)
        schedule.step()
    for found, expected in zip(values(model), whole(sizes, clip, **settings), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    if how == "step compiled":
        assert step.reasons == []
    if how == "passes compiled":  # a program for the first of a block, one for the others, each for two sizes at most
        assert len(one.reasons) <= 2 * len(set(sizes)) - 1


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_tokens_that_count_weigh(compiled):
    """The number of examples may be computed: of masked losses the mean is over what is not masked."""
    model, optimizer = made(lr=1.0)
    mask = (np.random.default_rng(0).random((12, 2)) > 0.4).astype(np.float64)
    micro = optim.accumulate(optimizer, 2)

    def masked(x, y, m):
        return bl.sum((model(x) - y) ** 2 * m) / bl.sum(m)

    def step(rows):
        with micro:
            for x, y, m in rows:
                micro.add(masked(x, y, m), bl.sum(m))
        optimizer.step()

    rows = [tuple(bl.tensor(a[s]) for a in (X[:12], Y[:12], mask)) for s in (slice(0, 7), slice(7, 12))]
    (bl.compile(step) if compiled else step)(rows)
    other, second = made(lr=1.0)
    found, model = values(model), other
    masked(bl.tensor(X[:12]), bl.tensor(Y[:12]), bl.tensor(mask)).backward()
    second.step()
    for one, expected in zip(found, values(other), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-12)


def test_groups_of_batches():
    micro = optim.accumulate(made(lr=0.1)[1], 3)
    assert list(micro.groups(range(7))) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(micro.groups([])) == []
    with pytest.raises(ArgumentError, match="needs the number"):
        next(optim.accumulate(made(lr=0.1)[1]).groups([1]))


def test_equal_micro_batches_are_as_pytorch_divides_them():
    """With weights of 1, to the bit: the sum of the gradients divided by their number."""
    model, optimizer = made(lr=0.1)
    other, _ = made(lr=0.1)
    micro = optim.accumulate(optimizer)
    with micro:
        for x, y in parts([5, 5, 5, 5]):
            micro.add(nn.functional.mse_loss(model(x), y), 5)
    for x, y in parts([5, 5, 5, 5]):
        nn.functional.mse_loss(other(x), y).backward()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy() / 4)


def test_several_optimizers_and_large_counts_in_float16():
    a, b = (bl.tensor(np.ones(2, np.float16), requires_grad=True) for _ in range(2))
    micro = optim.accumulate([optim.SGD([a], lr=0.1), optim.SGD([b], lr=0.1)])
    with micro:
        for n in (100_000, 50_000):
            micro.add(bl.sum(a * b * 3.0), n)
    np.testing.assert_allclose(a.grad.numpy(), 3.0)
    np.testing.assert_allclose(b.grad.numpy(), 3.0)


def test_an_error_inside_leaves_the_gradients_and_the_next_block_begins_anew():
    w = bl.tensor(np.ones(2), requires_grad=True)
    micro = optim.accumulate(optim.SGD([w], lr=0.1))
    with pytest.raises(KeyError), micro:
        micro.add(bl.sum(w * 2.0), 3)
        raise KeyError
    with micro:
        micro.add(bl.sum(w * 2.0), 3)
        micro.add(bl.sum(w * 5.0), 6)
    np.testing.assert_allclose(w.grad.numpy(), 4.0)


def test_what_is_refused():
    w = bl.tensor(np.ones(2), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    for n in (0, -1, 1.5):
        with pytest.raises(ArgumentError, match="n must be"):
            optim.accumulate(optimizer, n)
    micro = optim.accumulate(optimizer)
    for examples in (-1, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="examples must be"), micro:
            micro.add(bl.sum(w), examples)
    with pytest.raises(ArgumentError, match="no example was added"), micro:
        pass
    with pytest.raises(bl.ShapeError, match="cotangent"), micro:
        micro.add(w * 2.0, 3)
