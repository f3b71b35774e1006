"""Fifty steps against published formulas, op by op and compiled, and what all optimizers share; PyTorch's are in the references."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import optim
from backlit.core.errors import ArgumentError

STEPS = 50
TABLE = [
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, {"lr": 0.05, "amsgrad": True, "weight_decay": 0.1}),
    (optim.AdamW, {"lr": 0.05, "amsgrad": True}),
    (optim.RMSprop, {}),
    (optim.RMSprop, {"lr": 0.02, "alpha": 0.9, "momentum": 0.8, "centered": True, "weight_decay": 0.1}),
    (optim.Adagrad, {}),
    (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    (optim.Adadelta, {}),
    (optim.Adadelta, {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1, "maximize": True}),
    (optim.Adamax, {}),
    (optim.Adamax, {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    (optim.NAdam, {}),
    (optim.NAdam, {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    (optim.RAdam, {}),
    (optim.RAdam, {"lr": 0.05, "betas": (0.5, 0.6), "weight_decay": 0.1}),
    (optim.RAdam, {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    (optim.Lion, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.LAMB, {"lr": 0.05, "weight_decay": 0.1}),
    (optim.Muon, {"lr": 0.05}),
    (optim.Muon, {"lr": 0.05, "nesterov": False, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}),
]
START = np.random.default_rng(5).standard_normal((4, 3))
TARGET = np.random.default_rng(6).standard_normal((4, 3))


def lion(p, settings):
    m = np.zeros_like(p)
    while True:
        g = yield p
        p = p * (1 - settings["lr"] * settings["weight_decay"]) - settings["lr"] * np.sign(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g


def lamb(p, settings):
    m, v, t = np.zeros_like(p), np.zeros_like(p), 0
    while True:
        g, t = (yield p), t + 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + settings["weight_decay"] * p
        p = p - settings["lr"] * np.linalg.norm(p) / np.linalg.norm(u) * u


def muon(p, settings):
    """Of a tall matrix of four rows and three columns: the polynomial acts on the singular values."""
    buf, (a, b, c) = np.zeros_like(p), (3.4445, -4.775, 2.0315)
    rate = settings["lr"] * (0.2 * 2 if settings.get("adjust_lr_fn") == "match_rms_adamw" else (4 / 3) ** 0.5)
    while True:
        g = yield p
        buf = 0.95 * buf + 0.05 * g
        u, s, vt = np.linalg.svd(0.05 * g + 0.95 * buf if settings.get("nesterov", True) else buf, full_matrices=False)
        s = s / np.sqrt((s**2).sum())
        for _ in range(settings.get("ns_steps", 5)):
            s = a * s + b * s**3 + c * s**5
        p = p * (1 - settings["lr"] * 0.1) - rate * (u * s) @ vt


FORMULAS = {optim.Lion: lion, optim.LAMB: lamb, optim.Muon: muon}


def gradient(p):
    """Of `sum((p - target)**2 / 2 + cos(3 p))`."""
    return p - TARGET - 3 * np.sin(3 * p)


def expected(cls, settings):
    steps = FORMULAS[cls](START, settings)
    p, trace = next(steps), []
    for _ in range(STEPS):
        p = steps.send(gradient(p))
        trace.append(p)
    return np.array(trace)


def stepper(p, optimizer):
    target = bl.tensor(TARGET.astype(p.dtype))

    def step():
        optimizer.zero_grad()
        bl.sum((p - target) ** 2 / 2 + bl.cos(3 * p)).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("cls, settings", [row for row in TABLE if row[0] in FORMULAS])
def test_fifty_steps(cls, settings, compiled):
    p = bl.tensor(START, requires_grad=True)
    step = stepper(p, cls([p], **settings))
    step, trace = bl.compile(step) if compiled else step, []
    for _ in range(STEPS):
        step()
        trace.append(np.array(p.detach().numpy()))
    np.testing.assert_allclose(np.array(trace), expected(cls, settings), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls, settings", TABLE)
def test_a_saved_state_continues_bit_for_bit(cls, settings, tmp_path):
    p = bl.tensor(START.astype(np.float32), requires_grad=True)
    optimizer = cls([p], **settings)
    step = stepper(p, optimizer)
    for _ in range(4):
        step()
    bl.save({"p": p, "o": optimizer.state_dict()}, tmp_path / "state")
    for _ in range(4):
        step()
    saved = bl.load(tmp_path / "state")
    q = bl.tensor(saved["p"], requires_grad=True)
    other = cls([q], lr=123.0)
    other.load_state_dict(saved["o"])
    step = stepper(q, other)
    for _ in range(4):
        step()
    np.testing.assert_array_equal(q.detach().numpy(), p.detach().numpy())


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda p: optim.RMSprop(p, alpha=-1), "alpha"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), "lr_decay"),
        (lambda p: optim.Adadelta(p, rho=1.5), "rho"),
        (lambda p: optim.Adamax(p, betas=(0.9, 1.0)), "betas"),
        (lambda p: optim.NAdam(p, momentum_decay=-1), "momentum_decay"),
        (lambda p: optim.RAdam(p, eps=float("nan")), "eps"),
        (lambda p: optim.Lion(p, weight_decay=-1), "weight_decay"),
        (lambda p: optim.Lion(p, weight_decay=None), "weight_decay must be at least 0.0, got None"),
        (lambda p: optim.Adam(p, lr="high"), "lr must be at least 0.0, got high"),
        (lambda p: optim.Adam(p, betas=(0.9,)), "betas must be two numbers"),
        (lambda p: optim.Adam(p, betas=0.9), "betas must be two numbers"),
        (lambda p: optim.LAMB(p, lr=-1), "lr"),
        (lambda p: optim.Muon(p, adjust_lr_fn="best"), "adjust_lr_fn"),
        (lambda p: optim.Muon(p, ns_steps=100), "ns_steps"),
        (lambda p: optim.Muon(p, ns_coefficients=(1.0, 2.0)), "ns_coefficients"),
        (lambda p: optim.Muon([bl.tensor([1.0])]), "matrices"),
    ],
)
def test_bad_arguments(make, named):
    with pytest.raises(ValueError, match=named) as caught:
        make([bl.tensor(START, requires_grad=True)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", sorted({cls for cls, _ in TABLE}, key=lambda c: c.__name__))
def test_no_number_is_negative(cls):
    """Of the settings that are numbers; dampening may be."""
    p = bl.tensor(START, requires_grad=True)
    optimizer = cls([p])
    saved, defaults = optimizer.state_dict(), optimizer.defaults
    numbers = {name for name, value in defaults.items() if isinstance(value, float)} - {"dampening"}
    bad = {name: -1.0 for name in numbers} | ({"betas": (0.9, -1.0)} if "betas" in defaults else {})
    for name, value in bad.items():
        with pytest.raises(ArgumentError, match=name):
            cls([p], **{name: value})
        groups = [{**group, name: value} for group in saved["param_groups"]]
        with pytest.raises(ArgumentError, match=name):
            optimizer.load_state_dict({**saved, "param_groups": groups})
