"""Trainer: its loop against loops written out by hand, what it leaves untouched, what it says."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest

import backlit as bl
from backlit import Generator, nn, optim
from backlit.core.errors import ArgumentError, DataError, TraceError
from backlit.optim import lr_scheduler
from backlit.train import (
    Accuracy,
    Callback,
    EarlyStopping,
    KeepBest,
    MeanSquaredError,
    Metric,
    TensorBoard,
    Trainer,
    TrainingDivergedError,
    build_mlp,
)


def line():
    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    return x, 3 * x - 0.5, nn.Linear(1, 1, generator=Generator(0))


def classes(rows=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 6)).astype(np.float32)
    return x, (x @ rng.standard_normal((6, 3))).argmax(1)


@pytest.mark.parametrize("compile", [False, True])
def test_a_line_is_found(compile):
    x, y, model = line()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.2), nn.MSELoss(), [MeanSquaredError()], compile=compile)
    history = trainer.fit((x, y), 60, batch_size=8, generator=Generator(0))
    assert model.weight.item() == pytest.approx(3.0, abs=1e-4) and model.bias.item() == pytest.approx(-0.5, abs=1e-4)
    assert [e["epoch"] for e in history.epochs] == list(range(1, 61)) and trainer.step == 240
    assert history["loss"][-1] < 1e-7 < history["loss"][0]
    assert history["mean_squared_error"] == pytest.approx(history["loss"], rel=1e-5)


@pytest.mark.parametrize("compile", [False, True])
def test_it_is_the_loop_written_out(compile):
    """Ragged batches, a schedule a step, clipping, an average of the weights: the same weights as a plain loop gives."""
    x, y = classes()

    def parts():
        model = build_mlp(6, (8,), 3, "tanh", Generator(0))
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        return model, optimizer, lr_scheduler.ExponentialLR(optimizer, 0.97)

    model, optimizer, schedule = parts()
    trainer = Trainer(
        model, optimizer, nn.CrossEntropyLoss(), [Accuracy()], scheduler=schedule, scheduler_interval="step", clip_norm=0.5,
        ema=0.9, compile=compile,
    )  # fmt: skip
    history = trainer.fit((x, y), 3, batch_size=16, shuffle=False)

    plain, optimizer, schedule = parts()
    average = optim.swa_utils.AveragedModel(plain, optim.swa_utils.get_ema_avg_fn(0.9))
    for epoch in range(3):
        total, right = 0.0, 0
        for k in range(0, 50, 16):
            optimizer.zero_grad()
            output = plain(x[k : k + 16])
            loss = nn.functional.cross_entropy(output, y[k : k + 16])
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            average.update_parameters(plain)
            total += loss.item() * len(x[k : k + 16])
            right += int((np.asarray(output.detach()).argmax(1) == y[k : k + 16]).sum())
        assert history["loss"][epoch] == pytest.approx(total / 50, rel=1e-5)
        assert history["accuracy"][epoch] == right / 50  # exact, with a last batch of 2 rows
    for own, other in zip(
        (*model.parameters(), *trainer.ema.parameters()), (*plain.parameters(), *average.parameters()), strict=True
    ):
        np.testing.assert_allclose(own.detach(), other.detach(), rtol=1e-4, atol=1e-6)


def test_compiled_steps_give_the_same_curves_and_two_programs_for_two_sizes_of_batches():
    x, y = classes()
    found, made = [], []
    for compile in (False, True):
        model = build_mlp(6, (8,), 3, "tanh", Generator(0))
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
        trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), gradient_norms=True, compile=compile)
        found.append(trainer.fit((x, y), 4, batch_size=16, generator=Generator(1)).epochs)
        made.append(trainer.how())
    for a, b in zip(*found, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=2e-6)
        assert set(a["gradient_norms"]) == {"0.weight", "0.bias", "2.weight", "2.bias"}
        assert b["gradient_norms"] == pytest.approx(a["gradient_norms"], rel=2e-5)
    assert made[0] == "op by op (eager)" and made[1].startswith("2 native programs of ")


@pytest.mark.parametrize("compile", [False, True])
def test_a_diverging_loss_names_the_step_and_leaves_everything_as_before_it(compile):
    x, y, _ = line()
    y = y.copy()
    y[5] = np.nan
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
    optimizer = optim.Adam(model.parameters())
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    with pytest.raises(TrainingDivergedError, match=r"step 1 \(epoch 1\).*gradients of 0\.weight, 0\.bias, 1\.weight"):
        Trainer(model, optimizer, nn.MSELoss(), compile=compile).fit((x, y), 1)
    assert all((np.asarray(value) == before[name]).all() for name, value in model.state_dict().items())
    assert all(not cell.numpy().any() for state in optimizer.state.values() for cell in state.values())


@pytest.mark.parametrize("compile", [False, True])
def test_what_is_not_finite_can_be_ignored(compile):
    x, y, model = line()
    y = y.copy()
    y[20] = np.nan
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    history = Trainer(model, optimizer, nn.MSELoss(), nonfinite="ignore", compile=compile).fit(
        (x, y), 1, batch_size=8, shuffle=False
    )
    assert math.isnan(model.weight.item()) and "skipped" not in history.epochs[0]


@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("compile", [False, True])
def test_a_step_that_updates_itself_changes_nothing_either_where_its_loss_is_not_finite(compile, nonfinite):
    x, _, model = line()
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    def step(model, batch):
        optimizer.zero_grad()
        loss = ((model(batch) - 1.0) ** 2.0).mean()
        loss.backward()
        optimizer.step()
        return loss

    trainer = Trainer(model, [optimizer], step=step, compile=compile, nonfinite=nonfinite)
    trainer.fit(x, 1)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    steps = optimizer.state[0]["step"].item()
    if nonfinite == "raise":
        with pytest.raises(TrainingDivergedError, match="every parameter was finite before it"):
            trainer.fit(x * np.nan, 1)
    else:
        assert trainer.fit(x * np.nan, 1)["skipped"] == [math.ceil(len(x) / 32)]
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())
    assert optimizer.state[0]["step"].item() == steps > 0


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_steps_that_are_not_finite_are_passed_over_and_said_once(compile, where, capsys):
    x, y, model = line()
    if where == "loss":
        y = y.copy()
        y[[3, 9]] = np.nan  # in two of four batches

    def loss(output, target):
        value = ((output - target) ** 2.0).mean()
        # the root has the derivative infinity at 0: a finite loss, gradients that are not
        return value if where == "loss" else value + ((output * 0.0) ** 2.0 * (target > 2.0)).sum() ** 0.5

    optimizer = optim.Adam(model.parameters(), lr=0.1)
    trainer = Trainer(model, optimizer, loss, nonfinite="skip", compile=compile)
    history = trainer.fit((x, y), 2, batch_size=8, shuffle=False)
    if where == "loss":
        assert history["skipped"] == [2, 4] and history["rows"] == [16, 16]
        assert optimizer.state[0]["step"].item() == 4
    else:
        assert history["skipped"] == [4, 8] and optimizer.state[0]["step"].item() == 0
        assert math.isnan(history["loss"][0])
    assert np.isfinite(model.weight.item())
    assert capsys.readouterr().err.count("changed nothing") == 1


@pytest.mark.parametrize("compile", [False, True])
def test_validation_leaves_modes_running_statistics_and_random_numbers_alone(compile):
    x, y = classes()
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model[1].eval()  # frozen on purpose: it stays so while training
    trainer = Trainer(
        model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), [Accuracy()], compile=compile
    )
    before = np.array(model[1].running_mean)
    state = bl.random.default_generator().get_state()
    found = trainer.evaluate((x, y), batch_size=16)
    assert found == trainer.evaluate((x, y), batch_size=50) or found["accuracy"] == trainer.evaluate((x, y))["accuracy"]
    assert (np.asarray(model[1].running_mean) == before).all()
    assert bl.random.default_generator().get_state()["counter"] == state["counter"]
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    trainer.fit((x, y), 2, validation=(x, y))
    assert (np.asarray(model[1].running_mean) == before).all()
    assert [m.training for m in model.modules()] == [True, True, False, True, True]

    def broken(output, target):
        raise ZeroDivisionError

    trainer = Trainer(model, optim.SGD(model.parameters()), broken, compile=compile)
    with pytest.raises(ZeroDivisionError):
        trainer.evaluate((x, y))
    assert [m.training for m in model.modules()] == [True, True, False, True, True]


def test_evaluation_is_the_mean_over_rows_whatever_the_batches():
    x, y = classes()
    model = build_mlp(6, (8,), 3)
    trainer = Trainer(model, optim.SGD(model.parameters()), nn.CrossEntropyLoss(), {"right": Accuracy()})
    output = np.asarray(model(x).detach(), np.float64)
    true = np.mean(np.log(np.exp(output).sum(1)) - output[np.arange(50), y])
    for batch_size in (1, 7, 50, 64):
        found = trainer.evaluate((x, y), batch_size=batch_size)
        assert found["loss"] == pytest.approx(true, rel=1e-5) and found["right"] == np.mean(output.argmax(1) == y)


def test_predict_joins_batches():
    x, _ = classes()
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    trainer = Trainer(model, optim.SGD(model.parameters()), nn.CrossEntropyLoss())
    whole = np.asarray(trainer.predict(x))
    assert whole.shape == (50, 3) and model.training
    np.testing.assert_allclose(trainer.predict(x, batch_size=16), whole, rtol=1e-5)
    np.testing.assert_allclose(trainer.predict([x[:20], x[20:]]), whole, rtol=1e-5)


def test_models_of_several_inputs_and_batches_of_every_kind():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, left, right):
            return self.a(left) + self.b(right)

    rng = np.random.default_rng(0)
    left, right, y = (rng.standard_normal((20, n)).astype(np.float32) for n in (3, 4, 2))
    losses = []
    for data in (
        ((left, right), y),
        ({"left": left, "right": right}, y),
        (left, right, y),
        [((left[k : k + 8], right[k : k + 8]), y[k : k + 8]) for k in (0, 8, 16)],
    ):
        bl.random.seed(0)
        model = Two()
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
        losses.append(trainer.fit(data, 2, batch_size=8, shuffle=False)["loss"])
    assert losses[1:] == losses[:1] * 3


def test_a_step_of_ones_own_gives_the_loss_and_more():
    x, _ = classes()
    model = nn.Linear(6, 6)

    def step(model, batch):
        noise = bl.random.normal(batch.shape)
        error = ((model(batch + 0.1 * noise) - batch) ** 2.0).mean()
        size = (model.weight**2.0).mean()
        return {"loss": error + 0.01 * size, "error": error, "size": size, "output": error, "target": error}

    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.05), step=step)
    history = trainer.fit(x, 5, validation=x)
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(history["loss"], np.add(history["error"], 0.01 * np.array(history["size"])), rtol=1e-5)
    assert set(history.epochs[0]) >= {"val_loss", "val_error", "val_size"}
    with pytest.raises(ArgumentError, match="'loss' must be among them"):
        Trainer(model, optim.SGD(model.parameters()), step=lambda model, batch: {"error": 1.0}).fit(x, 1)


@pytest.mark.parametrize("compile", [False, True])
def test_two_optimizers_whose_step_updates_itself(compile):
    real = np.random.default_rng(0).normal(2.0, 0.5, (64, 1)).astype(np.float32)
    model = nn.ModuleDict(
        {"maker": nn.Linear(2, 1), "judge": nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))}
    )
    maker, judge = (optim.Adam(model[name].parameters(), lr=0.02) for name in ("maker", "judge"))
    logistic = nn.functional.binary_cross_entropy_with_logits

    def step(model, batch):
        made = model["maker"](bl.random.normal((len(batch), 2)))
        judge.zero_grad()
        told = logistic(model["judge"](batch), bl.ones((len(batch), 1)))
        told = told + logistic(model["judge"](made.detach()), bl.zeros((len(batch), 1)))
        told.backward()
        judge.step()
        maker.zero_grad()
        fooled = logistic(model["judge"](made), bl.ones((len(batch), 1)))
        fooled.backward()
        maker.step()
        return {"loss": fooled, "judge": told}

    trainer = Trainer(model, [maker, judge], step=step, compile=compile)
    history = trainer.fit(real, 30, batch_size=64)
    made = np.asarray(model["maker"](bl.random.normal((500, 2))).detach())
    assert abs(made.mean() - 2.0) < 1.5 and len(history["judge"]) == 30
    with pytest.raises(ArgumentError, match="several optimizers"):
        trainer.evaluate(real)


def test_an_optimizer_in_a_list_is_stepped_by_the_step_itself():
    x, y, model = line()
    optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")

    def step(model, batch):
        def closure():
            optimizer.zero_grad()
            loss = ((model(batch[0]) - batch[1]) ** 2.0).mean()
            loss.backward()
            return loss

        return optimizer.step(closure)

    history = Trainer(model, [optimizer], step=step, compile=False).fit((x, y), 2)
    assert history["loss"][1] < 1e-8 and model.weight.item() == pytest.approx(3.0, abs=1e-4)


def test_schedules_a_step_an_epoch_and_by_a_metric():
    x, y, model = line()

    def rates(make, **more):
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        seen = []

        class Rates(Callback):
            def on_step_end(self, trainer):
                seen.append(trainer.optimizer.lr)

        schedule = make(optimizer)
        trainer = Trainer(model, optimizer, lambda o, t: ((o - t) ** 2.0).mean() * 0.0, callbacks=[Rates()],
                          scheduler=schedule, **more)  # fmt: skip
        history = trainer.fit((x, y), 3, batch_size=16)
        return seen, history["lr"]

    assert rates(lambda o: lr_scheduler.ExponentialLR(o, 0.5))[0] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    halves = rates(lambda o: lr_scheduler.ExponentialLR(o, 0.5), scheduler_interval="step")
    assert halves == ([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625], [0.5, 0.125, 0.03125])
    cycle = rates(lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=7, cycle_momentum=False))
    assert len(set(cycle[0])) == 6  # a step, without being asked
    plateau = rates(lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0), monitor="loss")
    assert plateau[1] == [1.0, 1.0, pytest.approx(0.1)]


def test_early_stopping_and_the_best_weights(capsys):
    x, y, model = line()
    values = iter([3.0, 2.0, math.nan, 2.0, 1.9, 5.0, 5.0, 5.0, 5.0])
    seen = []

    class Told(Callback):
        def on_epoch_end(self, trainer):
            trainer.logs["told"] = next(values)
            seen.append(model.weight.item())

    stopping, best = EarlyStopping("told", patience=2), KeepBest("told")
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.01), nn.MSELoss(), callbacks=[Told(), stopping, best])
    history = trainer.fit((x, y), 20)
    assert len(history) == 8 and best.best_epoch == 5 and model.weight.item() == seen[4] != seen[7]
    assert "stopped after epoch 8: told was best in epoch 5 (1.9)" in capsys.readouterr().err
    values = iter([9.0, 8.0])
    assert len(trainer.fit((x, y), 2)) == 2 and best.best == 8.0  # another run knows nothing of the first
    with pytest.raises(ArgumentError, match=r"no number 'val_loss' to watch among .*loss.*validation="):
        Trainer(model, optim.SGD(model.parameters()), nn.MSELoss(), callbacks=[EarlyStopping()]).fit((x, y), 1)


def test_the_history_is_a_file_too(tmp_path):
    x, y, model = line()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    history = trainer.fit((x, y), 3, history=tmp_path / "h.jsonl", about={"name": "line"})
    lines = [json.loads(text) for text in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert lines == history.records and lines[0] == {"event": "run", "name": "line"}
    assert [record["event"] for record in lines[1:]] == ["epoch"] * 3 and lines[3]["rows"] == 32
    with pytest.raises(KeyError, match=r"'acuracy' is none of .*loss"):
        history["acuracy"]


def test_what_is_wrong_is_said_in_one_sentence(tmp_path):
    x, y, model = line()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for words, make in {
        "a loss, or a step": lambda: Trainer(model, optimizer),
        "'raise', 'skip' or 'ignore'": lambda: Trainer(model, optimizer, nn.MSELoss(), nonfinite="stop"),
        "'step' or 'epoch'": lambda: Trainer(model, optimizer, nn.MSELoss(), scheduler_interval="batch"),
        "several optimizers": lambda: Trainer(model, [optimizer, optimizer], nn.MSELoss()),
        "two are named": lambda: Trainer(model, optimizer, nn.MSELoss(), [Accuracy(), Accuracy()]),
        "expected metrics": lambda: Trainer(model, optimizer, nn.MSELoss(), ["accuracy"]),
        "through once only": lambda: Trainer(model, optimizer, nn.MSELoss()).fit(iter([(x, y)]), 1),
        "different numbers of rows": lambda: Trainer(model, optimizer, nn.MSELoss()).fit((x, y[1:]), 1),
        "iterable of batches, got int": lambda: Trainer(model, optimizer, nn.MSELoss()).fit(3, 1),
        "needs checkpoints": lambda: Trainer(model, optimizer, nn.MSELoss()).fit((x, y), 1, resume=True),
        "every must be an integer of at least 1": lambda: Trainer(model, optimizer, nn.MSELoss()).fit(
            (x, y), 1, every=0
        ),
        "epochs must be an integer of at least 0": lambda: Trainer(model, optimizer, nn.MSELoss()).fit((x, y), -1),
        "keep must be an integer of at least 1": lambda: Trainer(model, optimizer, nn.MSELoss()).fit((x, y), 1, keep=0),
        "every_s must be a finite number of at least 0": lambda: Trainer(model, optimizer, nn.MSELoss()).fit(
            (x, y), 1, every_s=-1.0
        ),
        "clip_norm must be a finite number above 0": lambda: Trainer(model, optimizer, nn.MSELoss(), clip_norm=-1.0),
        "clip_value must be a finite number above 0": lambda: Trainer(model, optimizer, nn.MSELoss(), clip_value="1"),
        "make arrays of lists": lambda: Trainer(model, optimizer, nn.MSELoss()).fit((x.tolist(), y.tolist()), 1),
    }.items():
        with pytest.raises(ArgumentError, match=words):
            make()
    with pytest.raises(DataError, match="cannot write"):
        Trainer(model, optimizer, nn.MSELoss()).fit((x, y), 1, history=tmp_path / "no" / "h.jsonl")
    for empty in ((x[:0], y[:0]), [], Once([(x, y)])):
        with pytest.raises(DataError, match=r"no batches in epoch [12]"):
            Trainer(model, optimizer, nn.MSELoss()).fit(empty, 2)
    with pytest.raises(DataError, match="no rows"):
        Trainer(model, optimizer, nn.MSELoss()).predict(x[:0])
    with pytest.raises(DataError, match="no step had a finite loss"):
        _ = Trainer(model, optimizer, nn.MSELoss()).find_lr((x * np.nan, y)).suggestion


@pytest.mark.parametrize("compile", [False, True])
def test_steps_op_by_op_are_named_as_the_way_out_where_they_are_compiled(compile):
    x, y, model = line()

    def loss(output, target):
        raise TraceError("no program can do this")

    trainer = Trainer(model, optim.SGD(model.parameters()), loss, compile=compile)
    with pytest.raises(TraceError) as raised:
        trainer.train_step((x, y))
    assert ("compile=False" in "".join(getattr(raised.value, "__notes__", ()))) is compile


class Once:
    """Batches that are there once, behind an `__iter__` that does not tell."""

    def __init__(self, batches):
        self.rest = iter(batches)

    def __iter__(self):
        return self.rest


def test_what_falls_back_is_said_once(capsys):
    x, y, model = line()

    def loss(output, target):
        return ((bl.fft.fft(output, axis=0).real - target) ** 2.0).mean()

    trainer = Trainer(model, optim.SGD(model.parameters(), lr=1e-4), loss)
    trainer.fit((x, y), 3, batch_size=16, verbose=True)
    told = capsys.readouterr().err
    assert told.count("eager forward: fft") == 1 and "native program" in told and "epoch 3/3: loss" in told
    assert "fft" in trainer.report()


@pytest.mark.parametrize("compile", [False, True])
def test_a_metric_of_ones_own(compile):
    class Largest(Metric):
        def __init__(self):
            super().__init__()
            self.make_cell("largest")

        def update(self, output, target):
            self.put("largest", bl.maximum(self.cells["largest"], bl.abs(output - target).max().astype(np.float64)))

        def compute(self):
            return float(self.value("largest"))

    x, y, model = line()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss(), [Largest()], compile=compile)
    found = trainer.evaluate((x, y), batch_size=5)
    assert found["largest"] == pytest.approx(np.abs(np.asarray(model(x).detach()) - y).max(), rel=1e-6)
    assert trainer.fit((x, y), 2)["largest"][0] > 0


@pytest.mark.parametrize("compile", [False, True])
def test_accumulated_gradients_are_those_of_one_large_batch(compile):
    x, y = classes()
    found = []
    for batch_size, accumulate in ((30, 1), (10, 3)):
        model = build_mlp(6, (8,), 3, "tanh", Generator(0))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        trainer = Trainer(
            model, optimizer, nn.CrossEntropyLoss(), [Accuracy()], accumulate=accumulate, clip_norm=0.3, compile=compile
        )
        history = trainer.fit(
            (x, y), 2, batch_size=batch_size, shuffle=False
        )  # the last: 20 rows, or two batches of 10
        found.append((history, [p.numpy() for p in model.parameters()], trainer.step))
    (large, weights, steps), (small, others, same) = found
    assert steps == same == 4
    for name in ("loss", "accuracy", "gradient_norm"):
        np.testing.assert_allclose(small[name], large[name], rtol=1e-5)
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    with pytest.raises(ArgumentError, match="accumulate must be an integer of at least 1"):
        Trainer(model, optimizer, nn.MSELoss(), accumulate=0)


@pytest.mark.parametrize("compile", [False, True])
def test_the_learning_rate_finder_changes_nothing(compile, tmp_path):
    x, y = classes(200)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), [Accuracy()], ema=0.9, compile=compile)
    trainer.fit((x, y), 1)

    def everything():
        state = trainer.state_dict()
        return [np.asarray(leaf).tolist() for leaf in bl.tree.leaves({**state, "history": None, "loader": None})]

    before = everything()
    found = trainer.find_lr((x, y), low=1e-5, high=1e3, steps=60)
    assert everything()[4:] == before[4:] and optimizer.lr == 0.1
    assert 1e-3 < found.suggestion < 10.0 and found.rates == sorted(found.rates) and len(found.rates) < 60
    with pytest.raises(ArgumentError, match="0 < low < high"):
        trainer.find_lr((x, y), low=1.0, high=0.1)
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    assert found.plot().get_xscale() == "log"
    ax = trainer.history.plot()
    ax.figure.savefig(tmp_path / "curves.png")
    assert [line.get_label() for line in ax.get_lines()] == ["loss"]
    pyplot.close("all")


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    x, y, model = line()
    board = TensorBoard(tmp_path, every=4)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss(), callbacks=[board])
    history = trainer.fit((x, y), 3, batch_size=8, validation=(x, y))
    (path,) = tmp_path.iterdir()
    content, found = path.read_bytes(), {}
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert found["epoch/val_loss"] == [(4 * k, pytest.approx(v)) for k, v in enumerate(history["val_loss"], 1)]
    assert [step for step, _ in found["step/loss"]] == [4, 8, 12] and {"epoch/loss", "epoch/lr", "step/lr"} <= set(
        found
    )
