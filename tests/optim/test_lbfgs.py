"""L-BFGS against PyTorch's, step by step, with every closure and from saved states."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.core.errors import ArgumentError, DataError
from backlit.optim.line_search import strong_wolfe

RNG = np.random.default_rng(4)
X, Y, W = RNG.standard_normal((30, 4)), RNG.standard_normal((30, 2)), RNG.standard_normal((4, 2))
SETTINGS = [
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "lr": 0.3, "history_size": 3, "max_iter": 7},
    {"line_search_fn": "strong_wolfe", "max_eval": 6},
    {"line_search_fn": "strong_wolfe", "lr": 20.0, "max_iter": 4},
    {"lr": 0.1},
    {"lr": 0.2, "max_iter": 5, "history_size": 2},
    {"lr": 0.2, "max_eval": 3},
]


def valley(m, p, q):
    """Rosenbrock's valley in four dimensions, and a sum of cosines."""
    return m.sum(100.0 * (p[1:] - p[:-1] ** 2) ** 2 + (1.0 - p[:-1]) ** 2) + m.sum(m.cos(q) + 0.1 * q**2)


def fit(m, x, y, w, b):
    return m.mean((m.tanh(x @ w + b) - y) ** 2) + 0.01 * m.sum(w**2)


PROBLEMS = {
    "valley": (
        lambda m, cells, data: valley(m, *cells),
        [np.array([-1.2, 1.0, 0.5, 2.0]), RNG.standard_normal((2, 3))],
    ),
    "regression": (lambda m, cells, data: fit(m, *data, *cells), [W, np.zeros(2)]),
}


def own_run(problem, settings, how="eager", steps=6, dtype=np.float64, state=None, start=None):
    f, arrays = PROBLEMS[problem]
    cells = [bl.tensor(np.array(a, dtype), requires_grad=True) for a in (arrays if start is None else start)]
    data = [bl.tensor(np.array(a, dtype)) for a in (X, Y)]
    optimizer = optim.LBFGS(cells, **settings)
    if state is not None:
        optimizer.load_state_dict(state)

    def closure():
        optimizer.zero_grad()
        loss = f(bl, cells, data)
        loss.backward()
        return loss

    closure = bl.compile(closure, keep_grads=True) if how == "compiled" else closure
    trace, losses = [], []
    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
        trace.append(np.concatenate([c.detach().numpy().ravel() for c in cells]))
    return np.array(trace), losses, optimizer, cells


def other_run(problem, settings, steps=6, dtype=np.float64, state=None, start=None):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    f, arrays = PROBLEMS[problem]
    cells = [torch.tensor(np.array(a, dtype), requires_grad=True) for a in (arrays if start is None else start)]
    data = [torch.tensor(np.array(a, dtype)) for a in (X, Y)]
    optimizer = torch.optim.LBFGS(cells, **settings)
    if state is not None:
        optimizer.load_state_dict(state)

    def closure():
        optimizer.zero_grad()
        loss = f(torch, cells, data)
        loss.backward()
        return loss

    trace, losses = [], []
    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
        trace.append(np.concatenate([c.detach().numpy().ravel() for c in cells]))
    return np.array(trace), losses, optimizer, cells


@pytest.mark.parametrize("how", ["eager", "compiled"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_steps_are_those_of_pytorch(problem, settings, how):
    settings = (
        dict(settings, lr=settings["lr"] * 1e-2)
        if problem == "valley" and "line_search_fn" not in settings
        else settings
    )
    steps = 3 if problem == "valley" else 6  # roundings, of sums in another order, grow tenfold a step in the valley
    trace, losses, optimizer, _ = own_run(problem, settings, how, steps)
    expected, other_losses, other, _ = other_run(problem, settings, steps)
    np.testing.assert_allclose(trace, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(losses, other_losses, rtol=1e-9, atol=1e-9)
    (mine,), (theirs,) = optimizer.state.values(), other.state.values()
    for name in ("func_evals", "n_iter"):
        assert mine[name] == theirs[name]
    assert len(mine["old_dirs"]) == len(theirs["old_dirs"])


def test_single_precision():
    trace, *_ = own_run("regression", SETTINGS[0], steps=2, dtype=np.float32)
    expected, *_ = other_run("regression", SETTINGS[0], steps=2, dtype=np.float32)
    assert trace.dtype == np.float32
    np.testing.assert_allclose(trace, expected, rtol=1e-3, atol=1e-3)  # the search branches on the last bits


@pytest.mark.parametrize("settings", SETTINGS[1:6:4], ids=str)
def test_states_are_saved_and_move_between_the_libraries(settings, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    whole, *_ = own_run("regression", settings, steps=5)
    _, _, optimizer, cells = own_run("regression", settings, steps=2)
    bl.save({"o": optimizer.state_dict(), "cells": cells}, tmp_path / "state")
    saved = bl.load(tmp_path / "state")
    rest, *_ = own_run(
        "regression", {"lr": 7.0}, steps=3, state=saved["o"], start=[np.array(c) for c in saved["cells"]]
    )
    np.testing.assert_array_equal(rest, whole[2:])
    _, _, other, theirs = other_run("regression", settings, steps=2)
    start = [c.detach().numpy() for c in theirs]
    rest, *_ = own_run("regression", settings, steps=3, state=other.state_dict(), start=start)
    np.testing.assert_allclose(rest, whole[2:], rtol=1e-9, atol=1e-9)

    def moved(x):
        return (
            torch.tensor(np.array(x))
            if isinstance(x, bl.Tensor)
            else [moved(e) for e in x]
            if isinstance(x, list)
            else x
        )

    state = {0: {name: moved(x) for name, x in saved["o"]["state"][0].items()}}
    given = {"state": state, "param_groups": saved["o"]["param_groups"]}
    rest, *_ = other_run("regression", settings, steps=3, state=given, start=[np.array(c) for c in saved["cells"]])
    np.testing.assert_allclose(rest, whole[2:], rtol=1e-9, atol=1e-9)
    optimizer = optim.LBFGS([bl.tensor(np.ones(3), requires_grad=True), bl.tensor(np.ones(3), requires_grad=True)])
    with pytest.raises(DataError, match=r"\[10\], expected \[6\]"):
        optimizer.load_state_dict(saved["o"])
    assert optimizer.state == {}


def test_complex_parameters():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    start = np.array([1.0 + 2.0j, -0.5j])
    z, r = bl.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    own, other = (o.LBFGS([p], line_search_fn="strong_wolfe", max_iter=5) for o, p in ((optim, z), (torch.optim, r)))

    def closure():
        own.zero_grad()
        loss = bl.sum(bl.abs(z - (1.0 - 1.0j)) ** 2 * bl.tensor(np.array([1.0, 3.0]))) + bl.sum(bl.real(z) ** 4)
        loss.backward()
        return loss

    def theirs():
        other.zero_grad()
        loss = (torch.abs(r - (1.0 - 1.0j)) ** 2 * torch.tensor([1.0, 3.0])).sum() + (r.real**4).sum()
        loss.backward()
        return loss

    for _ in range(2):
        own.step(closure)
        other.step(theirs)
        np.testing.assert_allclose(z.detach().numpy(), r.detach().numpy(), rtol=1e-9)


def test_a_network_is_fitted_and_gradients_may_be_absent():
    bl.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    model[0].bias.requires_grad_(False)
    before = model[0].bias.tolist()
    optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=60)
    x, y = bl.tensor(X.astype(np.float32)), bl.tensor(np.tanh(X @ W).astype(np.float32))

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    first = optimizer.step(closure).item()
    assert closure().item() < 1e-3 < first
    assert model[0].bias.tolist() == before


def test_a_step_that_is_not_finite_is_left_out():
    w = bl.tensor(np.ones(3), requires_grad=True)
    optimizer = optim.LBFGS([w])
    optimizer.skip_nonfinite = True
    scale = [1.0]

    def closure():
        optimizer.zero_grad()
        loss = bl.sum(w**2) * scale[0]
        loss.backward()
        return loss

    optimizer.step(closure)
    value, state = w.tolist(), optimizer.state_dict()
    scale[0] = np.nan
    with pytest.warns(RuntimeWarning, match="parameter 0 .* is not finite"):
        optimizer.step(closure)
    assert w.tolist() == value and optimizer.skipped == 1
    assert optimizer.state_dict()["state"][0]["n_iter"] == state["state"][0]["n_iter"]


def test_what_is_refused():
    p, q = (bl.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    for make, error, named in (
        (lambda: optim.LBFGS([p], line_search_fn="armijo"), ArgumentError, "line_search_fn"),
        (lambda: optim.LBFGS([p], lr=-1.0), ArgumentError, "lr"),
        (lambda: optim.LBFGS([p], history_size=-1), ArgumentError, "history_size"),
        (lambda: optim.LBFGS([{"params": [p]}, {"params": [q]}]), ArgumentError, "one group"),
        (lambda: optim.LBFGS([p]).step(), TypeError, "closure"),
    ):
        with pytest.raises(error, match=named) as caught:
            make()
        assert "\n" not in str(caught.value)
    optimizer = optim.LBFGS([p])

    def closure():
        optimizer.zero_grad()
        loss = bl.sum(p**2)
        loss.backward()
        return loss

    with pytest.raises(bl.TraceError, match=r"compile the closure with keep_grads=True"):
        bl.compile(lambda: optimizer.step(closure))()
    with pytest.raises(bl.GradientError, match="keep_grads=True"):
        optimizer.step(bl.compile(closure))


@pytest.mark.parametrize("max_search", [25, 4])
def test_a_line_search_goes_as_pytorchs(max_search):
    """Along waves, walls and slopes without end, from steps far too short and far too long.

    Of 240 such searches one goes another way: trials so close together that a rounding decides where the cubic is least.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.optim.lbfgs import _strong_wolfe

    rng, seen = np.random.default_rng(0), set()
    for _ in range(50):
        a, b, c, e = rng.standard_normal(4)
        wall = rng.choice([0.0, 0.0, 1.0])

        def value(x, a=a, b=b, c=c, e=e, wall=wall):
            y = 0.05 * e**2 * x**2 + a * np.sin(3 * b * x + c) + wall * np.exp(np.minimum(4 * x, 60.0)) * 1e-3
            dy = (
                0.1 * e**2 * x
                + 3 * a * b * np.cos(3 * b * x + c)
                + wall * np.where(4 * x < 60, 4 * np.exp(4 * x), 0) * 1e-3
            )
            return y, dy

        y, dy = value(0.0)
        d = -dy
        for t in (1e-3, 0.1, 1.0, 30.0):

            def own(t, d=d, value=value):
                y, dy = value(t * d)
                return float(y), np.array([dy])

            def other(x, t, d, value=value):
                y, dy = value(float(x + t * d))
                return float(y), torch.tensor([float(dy)], dtype=torch.float64)

            loss, gradient, step, n = strong_wolfe(
                own, t, np.array([d]), y, np.array([dy]), dy * d, max_search=max_search
            )
            g = torch.tensor([dy], dtype=torch.float64)
            direction, x = torch.tensor([d], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
            f, theirs, t_other, m = _strong_wolfe(other, x, t, direction, y, g, g.dot(direction), max_ls=max_search)
            np.testing.assert_allclose(
                [loss, gradient[0], step], [f, float(theirs), float(t_other)], rtol=1e-9, atol=1e-12
            )
            assert n == m
            seen.add(n)
    assert len(seen) >= 4
