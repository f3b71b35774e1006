"""What all schedules share, from one table; their rates are compared with recorded ones of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import optim
from backlit.core.errors import DataError
from backlit.optim import lr_scheduler

METRICS = [1.0 / (1 + k) if k < 6 else 0.2 + 0.001 * (k % 3) for k in range(50)]


def sequential(s, o):
    return s.SequentialLR(o, [s.LinearLR(o, total_iters=4), s.CosineAnnealingLR(o, 20), s.StepLR(o, 7, 0.5)], [5, 25])


def nested(s, o):
    warm = s.CosineAnnealingWarmRestarts(o, 4, 2)
    return s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 3), s.PolynomialLR(o, 9, 2.0), warm, s.ExponentialLR(o, 0.9)], [5, 15, 30]
    )


TABLE = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda k: 0.95**k),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda k: 0.95**k, lambda k: 1 / (1 + k)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda k: 0.9 if k % 2 else 1.05),
    "step": lambda s, o: s.StepLR(o, 7),
    "steps": lambda s, o: s.MultiStepLR(o, [20, 5, 20, 33], gamma=0.5),
    "constant": lambda s, o: s.ConstantLR(o),
    "linear": lambda s, o: s.LinearLR(o, 0.1, 0.9, total_iters=12),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, 30, power=1.7),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 12, eta_min=1e-3),
    "cosine to 0": lambda s, o: s.CosineAnnealingLR(o, 50),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, T_mult=2, eta_min=1e-4),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=60),
    "one cycle, linear": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.2], epochs=10, steps_per_epoch=6, three_phase=True, anneal_strategy="linear"
    ),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=5, step_size_down=9),
    "cyclic 2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.1, step_size_up=6, mode="triangular2", cycle_momentum=False),
    "cyclic 3": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=6, mode="exp_range", gamma=0.97),
    "cyclic 4": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 6, scale_fn=lambda k: 1 / (1 + k), scale_mode="iterations"),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2, cooldown=3, min_lr=[1e-4, 1e-3], factor=0.3),
    "plateau up": lambda s, o: s.ReduceLROnPlateau(o, mode="max", patience=4, threshold=0.01, threshold_mode="abs"),
    "swa": lambda s, o: optim.swa_utils.SWALR(o, 0.02, anneal_epochs=7),
    "swa, linear": lambda s, o: optim.swa_utils.SWALR(o, [0.5, 0.2], anneal_epochs=9, anneal_strategy="linear"),
    "swa at once": lambda s, o: optim.swa_utils.SWALR(o, 0.02, anneal_epochs=0),
    "sequential": sequential,
    "nested": nested,
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 8), s.ExponentialLR(o, 0.95), s.StepLR(o, 9)]),
}


def optimizers(optimizer="SGD"):
    a, b = (bl.tensor(np.ones(2), requires_grad=True) for _ in range(2))
    settings = {"momentum": 0.9} if optimizer == "SGD" else {}
    return getattr(optim, optimizer)([{"params": [a]}, {"params": [b], "lr": 0.04}], lr=0.1, **settings)


def advance(scheduler, k):
    scheduler.step(METRICS[k]) if "Plateau" in type(scheduler).__name__ else scheduler.step()


@pytest.mark.parametrize("name", TABLE)
def test_a_saved_schedule_continues_bit_for_bit(name, tmp_path):
    optimizer = optimizers()
    scheduler = TABLE[name](lr_scheduler, optimizer)
    for k in range(17):
        advance(scheduler, k)
    bl.save({"s": scheduler.state_dict(), "o": optimizer.state_dict()}, tmp_path / "state")
    other = optimizers()
    second = TABLE[name](lr_scheduler, other)
    saved = bl.load(tmp_path / "state")
    other.load_state_dict(saved["o"])
    second.load_state_dict(saved["s"])
    for k in range(17, 50):
        advance(scheduler, k)
        advance(second, k)
        assert second.get_last_lr() == scheduler.get_last_lr()
        assert [dict(g.items())["momentum"] for g in other.param_groups] == [
            dict(g.items())["momentum"] for g in optimizer.param_groups
        ]
    with pytest.raises(DataError, match="load_state_dict"):
        second.load_state_dict({})


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
