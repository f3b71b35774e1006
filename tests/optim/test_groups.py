"""Parameter groups: settings in cells, names, arguments of PyTorch's that are refused, and what is left out of a step."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.core.errors import ArgumentError
from backlit.optim import lr_scheduler

CLASSES = {name: getattr(optim, name) for name in optim.__all__ if isinstance(getattr(optim, name), type)}
CLASSES = {n: c for n, c in CLASSES.items() if issubclass(c, optim.Optimizer) and c is not optim.Optimizer}
STEPWISE = [c for n, c in CLASSES.items() if n != "LBFGS"]
START = np.random.default_rng(5).standard_normal((4, 3))


def cell(dtype=np.float64):
    return bl.tensor(START.astype(dtype), requires_grad=True)


def stepper(p, optimizer):
    def step():
        optimizer.zero_grad()
        bl.sum((p - 0.5) ** 2 / 2 + bl.cos(3 * p)).backward()
        optimizer.step()

    return step


# Settings that change


@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
def test_a_setting_that_is_written_lives_in_a_cell(cls):
    """Each number, and each of the betas: with it changed at every step a compiled step is made once and like an eager one."""
    p, q = cell(), cell()
    settings = {"momentum": 0.5, "dampening": 0.1} if cls in (optim.SGD, optim.RMSprop) else {}
    settings = {k: v for k, v in settings.items() if k in cls([cell()]).defaults}
    eager, made = cls([p], **settings), cls([q], **settings)
    numbers = [n for n, v in eager.defaults.items() if isinstance(v, float) and n != "initial_accumulator_value"]
    first, second = stepper(p, eager), bl.compile(stepper(q, made))
    for k in range(6):
        for optimizer in (eager, made):
            (group,) = optimizer.param_groups
            for n in numbers:
                group[n] = optimizer.defaults[n] * (1 - 0.1 * k) + 0.01
                assert group[n] == group.get(n) == dict(group)[n] == dict(group.items())[n]
            if "betas" in group:
                group["betas"] = (0.5 + 0.05 * k, 0.8 - 0.1 * k)
                assert group["betas"] == (0.5 + 0.05 * k, 0.8 - 0.1 * k)
        first()
        second()
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-12, atol=1e-12)
    assert second.reasons == []


@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
def test_a_cell_is_the_number_to_the_bit(cls):
    settings = {"momentum": 0.9} if cls is optim.SGD else {}
    p, q = cell(np.float32), cell(np.float32)
    plain, held = cls([p], **settings), cls([q], **settings)
    for name in held.param_groups[0]:
        if isinstance(held.defaults.get(name), (float, tuple)) and name not in ("ns_coefficients", "weight_decay"):
            held.param_groups[0].hold(name)
    for _ in range(5):
        stepper(p, plain)()
        stepper(q, held)()
    np.testing.assert_array_equal(q.detach().numpy(), p.detach().numpy())


@pytest.mark.parametrize("cls", [optim.SGD, optim.RMSprop, optim.Adam, optim.RAdam, optim.Muon])
@pytest.mark.parametrize("make", ["OneCycleLR", "CyclicLR"])
def test_a_cycle_of_the_momentum_is_compiled_once(cls, make):
    p, q = cell(), cell()
    settings = {"momentum": 0.9} if cls in (optim.SGD, optim.RMSprop) else {}
    pairs = [(p, cls([p], lr=0.01, **settings)), (q, cls([q], lr=0.01, **settings))]
    arguments = {"total_steps": 20} if make == "OneCycleLR" else {"base_lr": 0.001, "step_size_up": 4}
    schedules = [getattr(lr_scheduler, make)(o, max_lr=0.02, **arguments) for _, o in pairs]
    steps = [stepper(*pairs[0]), bl.compile(stepper(*pairs[1]))]
    seen = set()
    for _ in range(12):
        for step, schedule in zip(steps, schedules, strict=True):
            step()
            schedule.step()
        seen.add(pairs[1][1].param_groups[0].get("momentum", pairs[1][1].param_groups[0].get("betas")))
    assert len(seen) >= 5 and steps[1].reasons == []
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-10)


def test_momentum_that_is_switched_on_later_gets_its_buffer():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    p, q, r = cell(), cell(), torch.tensor(START, requires_grad=True)
    eager, made, theirs = optim.SGD([p], lr=0.1), optim.SGD([q], lr=0.1), torch.optim.SGD([r], lr=0.1)
    step, compiled = stepper(p, eager), bl.compile(stepper(q, made))
    for k in range(5):
        if k == 2:
            for optimizer in (eager, made, theirs):
                optimizer.param_groups[0]["momentum"] = 0.9
        step()
        compiled()
        theirs.zero_grad()
        ((r - 0.5) ** 2 / 2 + torch.cos(3 * r)).sum().backward()
        theirs.step()
        for x in (p, q):
            np.testing.assert_allclose(x.detach().numpy(), r.detach().numpy(), rtol=1e-12)
    assert len(compiled.reasons) == 1


def test_a_setting_out_of_range_is_refused_when_it_is_written():
    optimizer = optim.Adam([cell()])
    for name, value in (("betas", (1.0, 0.9)), ("eps", -1.0), ("lr", -1.0)):
        with pytest.raises(ArgumentError, match=name):
            optimizer.param_groups[0][name] = value
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_copy_and_a_loaded_state_keep_their_cells():
    p = cell()
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer.param_groups[0]["momentum"] = 0.5
    stepper(p, optimizer)()
    other = copy.deepcopy(optimizer)
    other.param_groups[0]["momentum"] = 0.25
    assert optimizer.param_groups[0]["momentum"] == 0.5 and other.param_groups[0]["momentum"] == 0.25
    assert other.param_groups[0]["params"][0] is not p and list(other.state) == [0]
    saved = optimizer.state_dict()
    assert type(saved["param_groups"][0]["momentum"]) is float
    other.load_state_dict(saved)
    assert other.param_groups[0]["momentum"] == 0.5 and other.param_groups[0].is_held("momentum")


# Groups and arguments as in PyTorch


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda c: c.__name__)
def test_arguments_that_are_refused(cls):
    for name in ("foreach", "fused", "capturable", "differentiable"):
        with pytest.raises(ArgumentError, match=f"{name}=True is not supported") as caught:
            cls([cell()], **{name: True})
        assert "\n" not in str(caught.value)
        cls([cell()], **{name: False})
    cls([cell()], foreach=None, fused=None)
    with pytest.raises(TypeError, match="'learning_rate'"):
        cls([cell()], learning_rate=0.1)


def test_groups_of_named_parameters():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"][0] == "0.weight"
    with pytest.raises(ArgumentError, match="names to all"):
        optimizer.add_param_group({"params": [cell()]})
    with pytest.raises(ArgumentError, match="names to all"):
        optim.SGD([("a", cell()), cell()])
    with pytest.raises(ArgumentError, match=r"0.weight \[3, 2\] is given twice"):
        optimizer.add_param_group({"params": list(model[0].named_parameters(prefix="0")), "lr": 1.0})
    optimizer.add_param_group({"params": [("new", cell())], "lr": 1.0, "name": "late"})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0] and optimizer.param_groups[1]["name"] == "late"


def test_groups_that_are_refused():
    p = cell()
    for make, error, named in (
        (lambda: optim.SGD({p}), TypeError, "no order"),
        (lambda: optim.SGD([{"params": {p}}]), TypeError, "no order"),
        (lambda: optim.SGD(p), TypeError, "iterable"),
        (lambda: optim.SGD([{"lr": 1.0}]), TypeError, "'params'"),
        (lambda: optim.SGD([p * 2.0]), ArgumentError, "computed from others"),
        (lambda: optim.SGD([{"params": [p], "nesterv": True}]), ArgumentError, "mean nesterov"),
        (lambda: optim.SGD([{"params": [p], "betas": (0.9, 0.9)}]), ArgumentError, "no setting of it"),
        (lambda: optim.Adam([{"params": [p], "momentum": 0.9}]), ArgumentError, "no setting of it"),
        (lambda: optim.LBFGS([{"params": [p], "maximize": True}]), ArgumentError, "no setting of it"),
        (lambda: optim.SGD([{"params": [p], "nesterov": True}]), ArgumentError, "nesterov needs"),
        (lambda: optim.SGD([{"params": [p]}, {"params": p}]), ArgumentError, "given twice"),
    ):
        with pytest.raises(error, match=named) as caught:
            make()
        assert "\n" not in str(caught.value)
    assert optim.SGD([{"params": []}, {"params": p}]).param_groups[0]["params"] == []


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda c: c.__name__)
def test_settings_of_other_optimizers_are_refused(cls):
    own = set(cls([cell()]).defaults)
    others = {name: value for other in CLASSES.values() for name, value in other([cell()]).defaults.items()}
    for name in others.keys() - own:
        with pytest.raises(ArgumentError, match=f"{name} is no setting of it"):
            cls([{"params": [cell()], name: others[name]}])


def test_an_optimizer_of_the_user_states_its_own_settings_only():
    class Signs(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.5})

        def _update(self, value, grad, state, group):
            return value - group.cell("lr") * bl.sign(grad)

    p = cell()
    bl.sum(p).backward()
    Signs([p]).step()
    np.testing.assert_array_equal(p.detach().numpy(), START - 0.5)


# Steps that are left out


@pytest.mark.parametrize("bad, compiled", [(np.nan, False), (np.inf, False), (np.nan, True)])
@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
def test_a_step_that_is_not_finite_is_left_out(cls, bad, compiled):
    """Parameters, moments and counters are as if it had not been; so are all steps after it."""
    settings = {"momentum": 0.9} if cls is optim.SGD else {}
    rng = np.random.default_rng(1)
    gradients = rng.standard_normal((6, 2, 4, 3))
    broken = gradients.copy()
    broken[2, 1, 0, 1], broken[4, 0, 3, 2] = bad, bad
    results = []
    for rows, skip in ((np.delete(gradients, [2, 4], 0), False), (broken, True)):
        pair = [cell(), cell()]
        optimizer = cls([("first", pair[0]), ("second", pair[1])], **settings)
        optimizer.skip_nonfinite = skip

        def step(a, b, pair=pair, optimizer=optimizer):
            for p, g in zip(pair, (a, b), strict=True):
                p.grad = g
            optimizer.step()

        step = bl.compile(step) if compiled else step
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for row in rows:
                step(bl.tensor(row[0]), bl.tensor(row[1]))
            assert optimizer.skipped == (2 if skip else 0)
            assert optimizer.skipped == (2 if skip else 0)
            step(bl.tensor(rows[0, 0]), bl.tensor(rows[0, 1]))
        messages = [str(w.message) for w in caught]
        assert len(messages) == skip and all("gradient of second is not finite" in m for m in messages)
        assert not compiled or step.reasons == []
        results.append(
            [x.detach().numpy() for x in (*pair, *(c for s in optimizer.state.values() for c in s.values()))]
        )
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_parameter_is_named_as_in_the_model():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = optim.Adam(model.parameters())
    optimizer.skip_nonfinite = True
    model[1].weight.grad = bl.tensor(np.array([[1.0, np.inf, 0.0]], np.float32))
    before = model[1].weight.tolist()
    with pytest.warns(RuntimeWarning, match=r"gradient of 1\.weight is not finite"):
        optimizer.step()
    assert model[1].weight.tolist() == before and optimizer.skipped == 1 and optimizer.skip_nonfinite
    optimizer.skip_nonfinite = 1  # as it is: the count goes on
    assert optimizer.skipped == 1
    optimizer.skip_nonfinite = False
    assert optimizer.skipped == 0


# Parameters of all kinds


@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
def test_parameters_without_gradient_frozen_empty_and_without_axes(cls):
    shapes = [(2, 2)] * 2 if cls is optim.Muon else [(2,), (3,), (), (0, 3)]
    cells = [bl.tensor(np.ones(shape), requires_grad=k != 1) for k, shape in enumerate(shapes)]
    optimizer = cls(cells, lr=0.1)
    for p in (cells[0], *cells[2:]):
        p.grad = bl.ones_like(p.detach())
    optimizer.step()
    assert cells[1].tolist() == np.ones(shapes[1]).tolist() and 1 not in optimizer.state
    assert all((np.asarray(p.detach()) != 1).all() for p in (cells[0], *cells[2:]))


@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_step_in_their_own_dtype(cls, dtype):
    dtype = getattr(bl, dtype)
    p = bl.tensor(START, requires_grad=True).detach().astype(dtype).requires_grad_()
    q = bl.tensor(START, requires_grad=True)
    settings = {"eps": 1e-3} if "eps" in cls([q]).defaults else {}  # 1e-8 is 0 in float16, in PyTorch too
    for x in (p, q):
        optimizer = cls([x], lr=0.01, **settings)
        for _ in range(3):
            x.grad = bl.tensor(START * 0.5 + 0.25).astype(dtype)
            optimizer.step()
        assert all(c.dtype == x.dtype for c in optimizer.state[0].values() if c.shape)
    unit = 2.0 ** (-10 if dtype == bl.float16 else -7)
    np.testing.assert_allclose(p.detach().astype("float64").numpy(), q.detach().numpy(), atol=16 * unit)


@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
def test_complex_parameters_step_as_in_pytorch_or_are_refused(cls):
    z = bl.tensor(START + 1j * START[::-1], requires_grad=True)
    z.grad = bl.tensor(START * 0.5 - 0.25j)
    optimizer = cls([z], lr=0.1, **({"momentum": 0.9, "weight_decay": 0.1} if cls is optim.SGD else {}))
    if cls is not optim.SGD:
        with pytest.raises(bl.DTypeError, match="expected real parameters"):
            optimizer.step()
        return
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    other = torch.tensor(START + 1j * START[::-1], requires_grad=True)
    theirs = torch.optim.SGD([other], lr=0.1, momentum=0.9, weight_decay=0.1)
    other.grad = torch.tensor(START * 0.5 - 0.25j)
    for _ in range(3):
        z.grad = bl.tensor(START * 0.5 - 0.25j)
        optimizer.step()
        theirs.step()
    np.testing.assert_allclose(z.detach().numpy(), other.detach().numpy(), rtol=1e-12)


# Saved states between the two libraries


@pytest.mark.parametrize("cls", STEPWISE, ids=lambda c: c.__name__)
def test_states_move_between_pytorch_and_backlit(cls):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not hasattr(torch.optim, cls.__name__):
        pytest.skip("PyTorch has no such optimizer")
    settings = {"momentum": 0.9} if cls in (optim.SGD, optim.RMSprop) else {}
    theirs, rng = getattr(torch.optim, cls.__name__), np.random.default_rng(3)
    gradients = rng.standard_normal((9, 4, 3)) * 0.1
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # NAdam keeps `mu_product` in it
    try:
        r = torch.tensor(START, requires_grad=True)
        first = theirs([r], lr=0.02, **settings)
        for g in gradients[:3]:
            r.grad = torch.tensor(g)
            first.step()
        p = bl.tensor(r.detach().numpy(), requires_grad=True)
        second = cls([p], lr=123.0)
        second.load_state_dict(first.state_dict())
        for g in gradients[3:6]:
            p.grad = bl.tensor(g)
            second.step()
        q = torch.tensor(p.detach().numpy().copy(), requires_grad=True)
        third = theirs([q], lr=123.0)
        saved = second.state_dict()
        state = {k: {n: torch.tensor(np.array(v)) for n, v in s.items()} for k, s in saved["state"].items()}
        third.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
        for g in gradients[6:]:
            q.grad = torch.tensor(g)
            third.step()
        for g in gradients[3:]:
            r.grad = torch.tensor(g)
            first.step()
    finally:
        torch.set_default_dtype(before)
    tolerance = 3e-2 if cls is optim.Muon else 1e-9  # PyTorch's iterations are in bfloat16
    np.testing.assert_allclose(q.detach().numpy(), r.detach().numpy(), rtol=tolerance, atol=tolerance)
