"""What schedules do beside their rates, which are compared with recorded ones of PyTorch, as their saved states are continued."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import optim
from backlit.core.errors import ArgumentError, DataError
from backlit.optim import lr_scheduler


def optimizers(optimizer="SGD"):
    a, b = (bl.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    settings = {"momentum": 0.9} if optimizer == "SGD" else {}
    return getattr(optim, optimizer)([{"params": [a]}, {"params": [b], "lr": 0.04}], lr=0.1, **settings)


def test_a_state_that_does_not_fit_changes_nothing():
    s, o = lr_scheduler, optimizers()
    one, other = s.ConstantLR(o), s.ExponentialLR(o, 0.9)
    both = s.SequentialLR(o, [one, other], [2])
    before, states = both.state_dict(), both.state_dict()
    states["last_epoch"], states["_schedulers"][0]["last_epoch"], states["_schedulers"][1] = 7, 7, {}
    with pytest.raises(DataError, match="ExponentialLR"):
        both.load_state_dict(states)
    assert both.state_dict() == before


@pytest.mark.parametrize("three_phase", [False, True])
def test_a_cycle_whose_rise_is_over_at_the_first_step(three_phase):
    o = optimizers()
    schedule = lr_scheduler.OneCycleLR(o, 0.5, total_steps=10, pct_start=0.1, three_phase=three_phase)
    rates = [o.lr]
    for _ in range(9):
        schedule.step()
        rates.append(o.lr)
    assert rates[0] == 0.5
    assert rates[1:] == sorted(rates[1:], reverse=True)
    np.testing.assert_allclose(rates[-1], 0.5 / 25 / 1e4)
    schedule.step()
    with pytest.raises(ArgumentError, match="step 11, but total_steps is 10"):
        schedule.step()


def test_a_compiled_step_reads_the_rate_and_is_compiled_once():
    p = bl.tensor(np.ones(3), requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)

    def step():
        optimizer.zero_grad()
        bl.sum(p).backward()
        optimizer.step()

    step = bl.compile(step)
    for _ in range(6):
        step()
        scheduler.step()
    np.testing.assert_array_equal(p.detach().numpy(), np.full(3, 1.0 - (2 - 2.0**-5)))
    assert step.reasons == []


@pytest.mark.parametrize(
    "make, error, named",
    [
        (lambda s, o: s.StepLR(None, 1), TypeError, "Optimizer"),
        (lambda s, o: s.StepLR(o, 0), ValueError, "step_size"),
        (lambda s, o: s.StepLR(o, 2, last_epoch=3), ValueError, "initial_lr"),
        (lambda s, o: s.LambdaLR(o, [abs]), ValueError, "expected 2 of lr_lambda"),
        (lambda s, o: s.ConstantLR(o, 2.0), ValueError, "factor"),
        (lambda s, o: s.LinearLR(o, 0.0), ValueError, "start_factor"),
        (lambda s, o: s.LinearLR(o, 0.1, -1.0), ValueError, "end_factor"),
        (lambda s, o: s.PolynomialLR(o, 0), ValueError, "total_iters"),
        (lambda s, o: s.CosineAnnealingLR(o, 0), ValueError, "T_max"),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0"),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 2).step(-1), ValueError, "epoch"),
        (lambda s, o: s.OneCycleLR(o, 0.1), ValueError, "total_steps"),
        (lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=2), ValueError, "pct_start"),
        (lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="up"), ValueError, "anneal_strategy"),
        (lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"), ValueError, "mode"),
        (lambda s, o: s.CyclicLR(o, 0.1, [0.2]), ValueError, "max_lr"),
        (lambda s, o: s.CyclicLR(optim.Adagrad(o.param_groups[0]["params"]), 0.1, 0.2), ValueError, "momentum"),
        (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor"),
        (lambda s, o: s.ReduceLROnPlateau(o, mode="up"), ValueError, "mode"),
        (lambda s, o: s.ReduceLROnPlateau(o).step(), TypeError, "metric"),
        (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]), ValueError, "milestones"),
        (lambda s, o: s.ChainedScheduler([]), ValueError, "no schedulers"),
        (lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), ValueError, "ReduceLROnPlateau"),
        (lambda s, o: s.ChainedScheduler([s.StepLR(o, 1)], optimizers()), ValueError, "another optimizer"),
    ],
)
def test_bad_arguments(make, error, named):
    with pytest.raises(error, match=named) as caught:
        make(lr_scheduler, optimizers())
    assert "\n" not in str(caught.value)
