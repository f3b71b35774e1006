"""The training loop, metrics and history."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from backlit import Generator, nn, optim
from backlit.core.errors import ArgumentError, DataError
from backlit.train import History, TrainingDivergedError, build_mlp, fit, metrics
from backlit.train.loop import Stepper, cosine, epochs_of


def test_confusion_and_what_follows_from_it():
    true, guess = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    assert metrics.confusion(true, guess, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert metrics.accuracy(true, guess) == 0.6
    # classes: 2*1/(2+2) = 1/2, 2*2/(2+3) = 4/5, 0
    assert metrics.macro_f1(true, guess, 3) == pytest.approx((0.5 + 0.8 + 0.0) / 3)
    assert metrics.macro_f1(true, guess, 4) == pytest.approx((0.5 + 0.8 + 0.0) / 3)
    assert math.isnan(metrics.accuracy(true[:0], guess[:0]))


def test_errors_of_quantities():
    true, guess = np.array([1.0, 2.0, 6.0]), np.array([1.0, 4.0, 5.0])
    assert metrics.rmse(true, guess) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.mae(true, guess) == pytest.approx(1.0)
    assert metrics.r2(true, guess) == pytest.approx(1 - 5 / 14)
    assert math.isnan(metrics.r2(np.ones(3), guess))


def line(generator):
    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    return x, 3 * x - 0.5, nn.Linear(1, 1, generator=generator)


@pytest.mark.parametrize("compiled", [False, True])
def test_fit_finds_a_line(compiled):
    generator = Generator(0)
    x, y, model = line(generator)
    epochs = list(
        fit(model, nn.functional.mse_loss, x, y, optim.SGD(model.parameters(), lr=0.2), epochs=60, batch_size=8,
            generator=generator, compiled=compiled)
    )  # fmt: skip
    assert [e.number for e in epochs] == list(range(1, 61))
    assert model.weight.item() == pytest.approx(3.0, abs=1e-4) and model.bias.item() == pytest.approx(-0.5, abs=1e-4)
    assert epochs[-1].loss < 1e-7 < epochs[0].loss and set(epochs[0].gradient_norms) == {"weight", "bias"}


@pytest.mark.parametrize("compiled", [False, True])
def test_fit_calls_after_each_step_and_follows_the_schedule(compiled):
    x, y, model = line(Generator(0))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    seen = []
    epochs = fit(model, nn.functional.mse_loss, x, y, optimizer, epochs=2, batch_size=20, generator=Generator(1),
                 schedule=lambda progress: 1 - progress, on_step=lambda rows, loss: seen.append((rows, optimizer.lr)),
                 compiled=compiled)  # fmt: skip
    assert [e.rows for e in epochs] == [32, 32]
    assert [rows for rows, _ in seen] == [20, 12, 20, 12]
    np.testing.assert_allclose([lr for _, lr in seen], [0.1, 0.075, 0.05, 0.025])


@pytest.mark.parametrize("compiled", [False, True])
def test_a_diverging_loss_names_the_step_and_leaves_the_model_as_before_it(compiled):
    x, y, model = line(Generator(0))
    y = y.copy()
    y[5] = np.nan
    optimizer = optim.Adam(model.parameters())
    before = model.weight.item()
    with pytest.raises(TrainingDivergedError, match=r"step 1 \(epoch 1\).*gradients of weight, bias"):
        list(fit(model, nn.functional.mse_loss, x, y, optimizer, epochs=1, batch_size=32, compiled=compiled))
    assert model.weight.item() == before
    assert all(not cell.numpy().any() for state in optimizer.state.values() for cell in state.values())


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_compiled_steps_give_the_same_curves_and_two_programs_for_two_sizes_of_batches(optimizer):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)).astype(np.float32), rng.integers(0, 3, 50)
    found, made = [], []
    for compiled in (False, True):
        model = build_mlp(6, (8,), 3, "tanh", Generator(0))
        stepper = Stepper(model, nn.functional.cross_entropy, OPTIMIZERS[optimizer](model.parameters()), compiled)
        found.append(list(epochs_of(stepper, x, y, epochs=4, batch_size=16, generator=Generator(1), schedule=cosine)))
        made.append(stepper.how())
    for a, b in zip(*found, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=2e-6) and b.lr == a.lr
        assert b.gradient_norms == pytest.approx(a.gradient_norms, rel=2e-5)
    assert made[0] == "op by op (eager)" and made[1].startswith("2 native programs of ")


def test_cosine_starts_low_peaks_at_one_and_ends_at_zero():
    values = [cosine(p) for p in np.linspace(0, 1, 201)]
    assert max(values) == pytest.approx(1.0) and values[0] < 0.05 and values[-1] == pytest.approx(0.0, abs=1e-12)
    peak = int(np.argmax(values))
    assert all(np.diff(values[: peak + 1]) > 0) and all(np.diff(values[peak:]) < 0)


def test_build_mlp_shapes_and_errors():
    model = build_mlp(3, (5, 4), 2, "tanh", Generator(0))
    assert [p.shape for p in model.parameters()] == [(5, 3), (5,), (4, 5), (4,), (2, 4), (2,)]
    assert isinstance(model[1], nn.Tanh) and len(model) == 5
    with pytest.raises(ArgumentError, match="magic"):
        build_mlp(3, (5,), 2, "magic")
    with pytest.raises(ArgumentError, match="unit"):
        build_mlp(3, (0,), 2)


def test_history_is_on_the_disk_after_each_line(tmp_path):
    path = tmp_path / "h.jsonl"
    with History(path) as history:
        history.write("run", seed=1, hidden=(2, 3))
        assert json.loads(path.read_text()) == {"event": "run", "seed": 1, "hidden": [2, 3]}
        history.write("epoch", loss=float("nan"), norms={"a": float("inf"), "b": 1.5})
    assert json.loads(path.read_text().splitlines()[1]) == {
        "event": "epoch",
        "loss": None,
        "norms": {"a": None, "b": 1.5},
    }
    with pytest.raises(DataError, match="cannot write"):
        History(tmp_path / "no" / "h.jsonl")
