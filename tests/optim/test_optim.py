"""Optimizers: one table against step-by-step references, and what they share."""

from __future__ import annotations

import math

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.core.errors import DataError


def sgd(lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    def run(p, gradients):
        velocity = None
        for g in gradients:
            g = (-g if maximize else g) + weight_decay * p
            if momentum:
                velocity = g.copy() if velocity is None else momentum * velocity + (1 - dampening) * g
                g = g + momentum * velocity if nesterov else velocity
            p = p - lr * g
        return p

    return run


def adam(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False, decoupled=False):
    """Kingma and Ba, algorithm 1; Loshchilov and Hutter, algorithm 2; Reddi et al. for amsgrad."""

    def run(p, gradients):
        m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
        for t, g in enumerate(gradients, start=1):
            g = -g if maximize else g
            if decoupled:
                p = p - lr * weight_decay * p
            else:
                g = g + weight_decay * p
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            largest = np.maximum(largest, v)
            used = largest if amsgrad else v
            p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(used / (1 - betas[1] ** t)) + eps)
        return p

    return run


TABLE = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "maximize": True}),
    (optim.Adam, adam, {"lr": 0.01}),
    (optim.Adam, adam, {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True, "betas": (0.5, 0.9)}),
    (optim.Adam, adam, {"lr": 0.01, "maximize": True, "eps": 1e-3}),
    (optim.AdamW, lambda **k: adam(decoupled=True, **k), {"lr": 0.01, "weight_decay": 0.1}),
    (optim.AdamW, lambda **k: adam(decoupled=True, **{"weight_decay": 0.01, **k}), {"lr": 0.02, "amsgrad": True}),
]


@pytest.mark.parametrize("cls, reference, settings", TABLE)
def test_against_the_formulas(cls, reference, settings):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((7, 3, 2))
    p = bl.tensor(start, requires_grad=True)
    optimizer = cls([p], **settings)
    for g in gradients:
        p.grad = bl.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), reference(**settings)(start, gradients), rtol=1e-12)
    assert p.is_leaf and p.requires_grad


@pytest.mark.parametrize("cls, reference, settings", TABLE)
def test_a_saved_state_continues_bit_for_bit(cls, reference, settings, tmp_path):
    rng = np.random.default_rng(1)
    start, gradients = rng.standard_normal(4).astype(np.float32), rng.standard_normal((6, 4)).astype(np.float32)

    def steps(p, optimizer, gs):
        for g in gs:
            p.grad = bl.tensor(g)
            optimizer.step()

    whole = bl.tensor(start, requires_grad=True)
    steps(whole, cls([whole], **settings), gradients)
    first = bl.tensor(start, requires_grad=True)
    optimizer = cls([first], **settings)
    steps(first, optimizer, gradients[:3])
    bl.save({"p": first, "o": optimizer.state_dict()}, tmp_path / "state")
    saved = bl.load(tmp_path / "state")
    second = bl.tensor(saved["p"], requires_grad=True)
    optimizer = cls([second], lr=123.0)
    optimizer.load_state_dict(saved["o"])
    steps(second, optimizer, gradients[3:])
    np.testing.assert_array_equal(second.detach().numpy(), whole.detach().numpy())


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam, optim.AdamW])
def test_what_all_share(cls):
    a, b = (bl.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimizer = cls([{"params": [a]}, {"params": [b], "lr": 0.0}], lr=0.5)
    assert optimizer.lr == 0.5 and [g["lr"] for g in optimizer.param_groups] == [0.5, 0.0]
    a.grad = b.grad = bl.tensor(np.ones(2))
    assert optimizer.step(lambda: 42) == 42
    assert a.tolist() != [1.0, 1.0] and b.tolist() == [1.0, 1.0]
    optimizer.zero_grad()
    assert a.grad is None
    optimizer.lr = 0.25
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 0.25]
    optimizer.param_groups[0]["lr"] = 0.125
    cell = optimizer.param_groups[0].cell("lr")
    assert optimizer.lr == cell.item() == 0.125 and dict(optimizer.param_groups[0].items())["lr"] == 0.125
    assert optimizer.param_groups[0].cell("lr") is cell
    with pytest.raises(ValueError, match="lr"):
        optimizer.param_groups[0]["lr"] = math.nan
    assert cls.__name__ in repr(optimizer) and "lr=0.125" in repr(optimizer)
    with pytest.raises(ValueError, match="lr"):
        optimizer.lr = -1.0
    with pytest.raises(ValueError, match="twice"):
        optimizer.add_param_group({"params": [a]})
    with pytest.raises(ValueError, match="no parameters"):
        cls([])
    with pytest.raises(TypeError, match="ndarray"):
        cls([np.ones(2)])
    with pytest.raises(ValueError, match="mean weight_decay"):
        cls([{"params": [a], "weight_deacy": 1}])
    assert cls([{"params": [a], "magic": 1}]).param_groups[0]["magic"] == 1
    with pytest.raises(DataError, match="groups of"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    a.grad = bl.tensor(np.ones(3))
    with pytest.raises(bl.ShapeError, match=r"\[3\]"):
        optimizer.step()


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda p: optim.SGD(p, lr=math.nan), "lr"),
        (lambda p: optim.SGD(p, nesterov=True), "nesterov"),
        (lambda p: optim.SGD(p, momentum=-1), "momentum"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), "betas"),
        (lambda p: optim.AdamW(p, eps=-1), "eps"),
    ],
)
def test_settings_out_of_range(call, named):
    with pytest.raises(ValueError, match=named):
        call([bl.tensor([1.0], requires_grad=True)])


@pytest.mark.parametrize("cls, lr", [(optim.SGD, 0.5), (optim.Adam, 0.05), (optim.AdamW, 0.05)])
def test_training_reaches_a_number(cls, lr):
    generator = bl.Generator(0)
    x = generator.normal((64, 2))
    y = (np.asarray(x)[:, 0] * np.asarray(x)[:, 1] > 0).astype(int)
    model = nn.Sequential(nn.Linear(2, 16, generator=generator), nn.Tanh(), nn.Linear(16, 2, generator=generator))
    optimizer = cls(model.parameters(), lr=lr)
    for _ in range(300):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.15


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True])
def test_moments_of_dead_units_become_zero(dtype, compiled):
    """Without gradients an average decays to 0 and not to a subnormal number; large numbers and NaN are left alone."""
    tiny = np.finfo(dtype).smallest_normal
    for make, names in (
        (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), ["momentum_buffer"]),
        (lambda p: optim.Adam(p, lr=0.1, betas=(0.9, 0.5)), ["exp_avg", "exp_avg_sq"]),
    ):
        w = bl.tensor(np.array([1.0, 2.0, 3.0], dtype), requires_grad=True)
        optimizer = make([w])
        first = np.array([tiny * 1e2, 1.0, np.nan], dtype)

        def step(g, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            bl.sum(w * g).backward()
            optimizer.step()

        step = bl.compile(step) if compiled else step
        step(bl.tensor(first))
        for _ in range(100):
            step(bl.tensor(np.array([0.0, 1.0, 0.0], dtype)))
        (state,) = optimizer.state.values()
        for name in names:
            moment = state[name].numpy()
            assert moment[0] == 0 and moment[1] > 0.5 and np.isnan(moment[2])
