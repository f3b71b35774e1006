"""Checkpoints: a run that is stopped anywhere goes on to the bit as if nothing had happened; damaged files are refused."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import backlit as bl
from backlit import data, nn, optim
from backlit.core.errors import DataError, FileFormatError
from backlit.io import load, load_metadata, save
from backlit.optim import lr_scheduler
from backlit.train import Accuracy, Callback, EarlyStopping, KeepBest, Trainer
from backlit.train.checkpoints import Checkpoints
from backlit.train.signals import interruption

sys.path.insert(0, str(Path(__file__).parent))
import damaging
import killing

ROWS = 40


def arrays():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 6)).astype(np.float32)
    return x, (x @ rng.standard_normal((6, 3))).argmax(1)


class StopAt(Callback):
    """Ends the process, as far as a test can do so, after a step."""

    def __init__(self, step=None):
        self.at = step

    def on_step_end(self, trainer):
        if trainer.step == self.at:
            raise ZeroDivisionError


def everything(at=None, compile=False):
    x, y = arrays()
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    trainer = Trainer(
        model, optimizer, nn.CrossEntropyLoss(), [Accuracy()], [StopAt(at), EarlyStopping(patience=9), KeepBest(mode="max")],
        scheduler=lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=40, cycle_momentum=False), clip_norm=1.0, ema=0.9,
        compile=compile, gradient_norms=True,
    )  # fmt: skip
    return trainer, (x, y), (x[:10], y[:10])


def loader_in_threads(at=None, compile=False):
    trainer, rows, held_out = everything(at, compile)
    loader = data.DataLoader(
        data.TensorDataset(*rows), 7, shuffle=True, num_workers=2,
        transform=lambda batch: batch + 0.1 * data.current_generator().normal(batch.shape).numpy(),
    )  # fmt: skip
    return trainer, loader, held_out


def plain_list(at=None, compile=False):
    x, y = arrays()
    generator = bl.Generator(3)  # which nobody is told of: the step reaches it
    model = nn.Linear(6, 3)

    def step(model, batch):
        x, y = batch
        x = x + 0.1 * bl.random.normal(x.shape, generator=generator)
        return {"loss": nn.functional.cross_entropy(model(x), y), "size": (model.weight**2.0).sum()}

    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Trainer(
        model, optimizer, step=step, callbacks=[StopAt(at)], monitor="loss", compile=compile,
        scheduler=lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
    )  # fmt: skip
    return trainer, [(x[k : k + 9], y[k : k + 9]) for k in range(0, ROWS, 9)], None


def two_optimizers(at=None, compile=False):
    x, _ = arrays()
    model = nn.ModuleDict({"a": nn.Linear(6, 2), "b": nn.Linear(2, 6)})
    optimizers = [optim.Adam(model[name].parameters(), lr=0.01) for name in ("a", "b")]

    def step(model, batch):
        for optimizer in optimizers:
            model.zero_grad()
            loss = ((model["b"](nn.functional.dropout(model["a"](batch), 0.1)) - batch) ** 2.0).mean()
            loss.backward()
            optimizer.step()
        return loss

    return Trainer(model, optimizers, step=step, callbacks=[StopAt(at)], compile=compile), x, None


def of(trainer):
    """All that a run depends on, but for times, as bytes."""
    state = trainer.state_dict()
    del state["history"], state["progress"]["seconds"]
    leaves, structure = bl.tree.flatten(state)
    return [
        np.asarray(leaf).tobytes() if isinstance(leaf, (bl.Tensor, np.ndarray)) else leaf for leaf in leaves
    ], structure


def lines(path):
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


def fitted(make, folder, at=None, epochs=3, resume=False, compile=False, seed=1, **more):
    bl.random.seed(seed)
    trainer, rows, held_out = make(at, compile)
    trainer.fit(
        rows, epochs, batch_size=9, validation=held_out, checkpoints=folder, resume=resume, verbose=False, **more
    )
    return trainer


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("make", [everything, loader_in_threads, plain_list, two_optimizers])
def test_a_run_that_is_stopped_goes_on_to_the_bit(make, compile, tmp_path):
    whole = fitted(make, tmp_path / "whole", compile=compile)
    for at in (3, 6, 11) if not compile else (8,):
        folder = tmp_path / str(at)
        with pytest.raises(ZeroDivisionError):
            fitted(make, folder, at, every=2, compile=compile)
        # another seed: everything that was drawn comes back
        again = fitted(make, folder, every=2, resume=True, compile=compile, seed=77)
        assert again.step == whole.step and of(again) == of(whole)
        assert lines(folder / "history.jsonl") == lines(tmp_path / "whole" / "history.jsonl")
        assert [dict(e, seconds=0) for e in again.history.epochs] == [dict(e, seconds=0) for e in whole.history.epochs]


def test_a_finished_run_is_resumed_at_its_end_and_can_be_made_longer(tmp_path):
    whole = fitted(everything, tmp_path / "whole", epochs=4)
    fitted(everything, tmp_path / "run")
    same = fitted(everything, tmp_path / "run", resume=True)
    assert same.epoch == 3 and len(same.history) == 3
    longer = fitted(everything, tmp_path / "run", epochs=4, resume=True)
    assert of(longer) == of(whole)
    assert fitted(everything, tmp_path / "new", resume=True).epoch == 3  # where there is nothing to resume


def test_early_stopping_is_remembered(tmp_path):
    def make(at, compile):
        trainer, rows, held_out = everything()
        trainer.callbacks[1].patience = 0
        for group in trainer.optimizer.param_groups:
            group["lr"] = 0.0
        trainer.scheduler = None
        return trainer, rows, held_out

    first = fitted(make, tmp_path, epochs=9)
    assert first.epoch < 9 and first.should_stop
    assert fitted(make, tmp_path, epochs=9, resume=True).epoch == first.epoch


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
@pytest.mark.parametrize("where", ["training", "validation"])
def test_ctrl_c_ends_with_a_checkpoint_and_a_sentence(where, tmp_path, capsys):
    whole = fitted(everything, tmp_path / "whole")

    class Press(Callback):
        def on_step_end(self, trainer):
            if where == "training" and trainer.step == 7:
                signal.raise_signal(signal.SIGINT)

    def make(at, compile):
        trainer, rows, (x, y) = everything()
        trainer.callbacks[0] = press
        return trainer, rows, (x, y)

    press = Press()
    press.__class__.__name__ = "StopAt"  # as the whole run has it
    bl.random.seed(1)
    trainer, rows, held_out = make(None, False)
    if where == "validation":
        evaluated = trainer._evaluated

        def interrupted(loader, stop):
            if trainer.epoch == 1:
                signal.raise_signal(signal.SIGINT)
            return evaluated(loader, stop)

        trainer._evaluated = interrupted
    history = trainer.fit(rows, 3, batch_size=9, validation=held_out, checkpoints=tmp_path / "run", every=100)
    assert history.interrupted and len(history) == 1 and trainer.step == (7 if where == "training" else 10)
    assert "stopped after step" in (told := capsys.readouterr().err) and "resume goes on from there" in told
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert of(fitted(everything, tmp_path / "run", resume=True, seed=3)) == of(whole)


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_ctrl_c_pressed_again_interrupts_and_other_threads_are_left_alone():
    with pytest.raises(KeyboardInterrupt), interruption() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    seen = []

    def elsewhere():
        with interruption() as stop:
            seen.append(stop.asked)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False]


def test_the_last_few_stay_and_leftovers_of_a_killed_write_go(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".backlit-0123456789abcdef.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    fitted(everything, folder, every=2, keep=2)
    assert sorted(p.name for p in folder.iterdir()) == [
        "history.jsonl", "notes.txt", "step-000000014.safetensors", "step-000000015.safetensors",
    ]  # fmt: skip
    assert load_metadata(folder / "step-000000014.safetensors") == {
        "format": "backlit checkpoint 1",
        "step": 14,
        "epoch": 2,
    }


def test_the_checkpoint_of_another_optimizer_is_refused(tmp_path):
    model = nn.Linear(6, 3)
    sgd, adam = optim.SGD(model.parameters()), optim.Adam(model.parameters())  # SGD keeps nothing that Adam could miss
    Trainer(model, sgd, nn.CrossEntropyLoss(), compile=False).fit(arrays(), 1, checkpoints=tmp_path, verbose=False)
    before = model.weight.numpy().copy()
    with pytest.raises(DataError, match=r"other optimizers than this trainer: \['SGD'\], expected \['Adam'\]"):
        Trainer(model, adam, nn.CrossEntropyLoss(), compile=False).fit(arrays(), 2, checkpoints=tmp_path, resume=True)
    assert (model.weight.numpy() == before).all()


def test_a_folder_with_checkpoints_is_resumed_or_refused(tmp_path):
    fitted(everything, tmp_path)
    with pytest.raises(DataError, match="holds the checkpoints of a run; continue it with resume=True"):
        fitted(everything, tmp_path)

    def other(at, compile):
        trainer, rows, held_out = everything()
        model = nn.Sequential(*[nn.Linear(6, 9), *list(trainer.model)[1:]])
        optimizer = optim.Adam(model.parameters())
        return Trainer(model, optimizer, nn.CrossEntropyLoss()), rows, held_out

    bl.random.seed(1)
    with pytest.raises(DataError, match="other callbacks than this trainer"):
        fitted(other, tmp_path, resume=True)

    def wider(at, compile):
        trainer, rows, held_out = everything()
        trainer.model[0] = nn.Linear(6, 9)
        return trainer, rows, held_out

    bl.random.seed(1)
    trainer, rows, held_out = wider(None, False)
    before = [p.numpy().copy() for p in trainer.model.parameters()]
    with pytest.raises(DataError, match=r"wrong shape: 0\.weight"):
        trainer.fit(rows, 3, checkpoints=tmp_path, resume=True, validation=held_out)
    assert all((a == b.numpy()).all() for a, b in zip(before, trainer.model.parameters(), strict=True))
    (tmp_path / "history.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="does not go with the checkpoint"):
        fitted(everything, tmp_path, resume=True)


def test_a_state_that_fits_only_at_first_changes_nothing(tmp_path):
    trainer = fitted(everything, tmp_path / "a")
    state = trainer.state_dict()
    state["callbacks"][2] = ["KeepBest", {"best": 1.0}]
    state["model"] = {name: value * 2.0 for name, value in state["model"].items()}
    before = of(trainer)
    with pytest.raises(DataError, match="no state of such a trainer"):
        trainer.load_state_dict(state)
    assert of(trainer) == before


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_runs_that_are_killed_end_with_the_same_bits(tmp_path):
    """A small part of `make kill`."""
    found = killing.kill_often(tmp_path, 2, 1, small=True)
    assert found["kills"] == 2


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return damaging.make(tmp_path_factory.mktemp("two") / "run")


def test_damaged_checkpoints_are_refused_and_the_one_before_is_used(two, tmp_path):
    """A part of `make kill`: some of every kind."""
    older, newer = two
    damages = damaging.every_damage(older, newer, 1, 0)
    random.Random(0).shuffle(damages)
    kinds = {}
    for what, file in damages:
        kinds.setdefault(what, []).append(file)
    for files in kinds.values():
        for file in files[:4]:
            damaging.refused(tmp_path / "tried", older, lambda path, file=file: path.write_bytes(file))
    damaging.refused(tmp_path / "tried", older, lambda path: damaging.sparse(path, newer, 1 << 40))


def test_where_no_checkpoint_is_left_the_run_is_not_started_anew(two, tmp_path):
    (tmp_path / "step-000000006.safetensors").write_bytes(two[0][:-1])
    with pytest.raises(FileFormatError, match=r"step-000000006.* is damaged.*no other checkpoint is left"):
        Checkpoints(tmp_path).newest()
    assert Checkpoints(tmp_path).paths()  # it stays


def test_an_undamaged_one_is_taken(two, tmp_path):
    for step, file in zip((6, 8), two, strict=True):
        (tmp_path / f"step-{step:09d}.safetensors").write_bytes(file)
    state, path = Checkpoints(tmp_path).newest()
    assert path.name == "step-000000008.safetensors" and state["progress"]["step"] == 8
    (tmp_path / path.name).write_bytes(damaging.forged(two[1], lambda head, arrays: None))  # a forger changes nothing
    assert Checkpoints(tmp_path).newest()[0]["progress"]["step"] == 8


def test_what_would_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(DataError, match="16 are the most; make long lists of numbers NumPy arrays"):
        save({"losses": ["x" * 1000] * 17_000}, tmp_path / "x")
    assert not list(tmp_path.iterdir())
    save({"losses": np.full(2_000_000, 0.5)}, tmp_path / "x")
    assert load(tmp_path / "x")["losses"].shape == (2_000_000,)
