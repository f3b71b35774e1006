"""A training run killed over and over, and damaged checkpoints: `python tests/train/killing.py` runs all of it (`make kill`).

`python tests/train/killing.py FOLDER [small]` is the run itself, which is started and killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import backlit as bl
from backlit import data, nn, optim
from backlit.train import Accuracy, EarlyStopping, KeepBest, Trainer

BATCH, ROWS = 24, 500
PER_EPOCH = -(-ROWS // BATCH)


def run(folder: Path, small: bool = False) -> None:
    """An MLP with dropout on made-up classes: everything that a checkpoint must hold is there; one after each step.

    A small one is shorter, and runs op by op.
    """
    epochs = 6 if small else 80
    bl.random.seed(5)
    rng = np.random.default_rng(5)
    x = rng.standard_normal((ROWS + 100, 12)).astype(np.float32)
    y = (x @ rng.standard_normal((12, 4)) + rng.normal(0, 0.5, (ROWS + 100, 4))).argmax(1)
    model = nn.Sequential(
        nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 32), nn.GELU(), nn.Dropout(0.1),
        nn.Linear(32, 4),
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=epochs * PER_EPOCH + 1, cycle_momentum=False)
    trainer = Trainer(
        model, optimizer, nn.CrossEntropyLoss(), {"accuracy": Accuracy()}, [EarlyStopping(patience=epochs), KeepBest()],
        scheduler=schedule, clip_norm=1.0, ema=0.9, compile=not small,
    )  # fmt: skip
    loader = data.DataLoader(
        data.TensorDataset(x[:ROWS], y[:ROWS]), BATCH, shuffle=True, generator=bl.Generator(7), num_workers=1,
        transform=lambda batch: batch + 0.01 * data.current_generator().normal(batch.shape).numpy(),
    )  # fmt: skip
    (folder / "started").touch()
    trainer.fit(
        loader, epochs, validation=(x[ROWS:], y[ROWS:]), checkpoints=folder / "run", every=1, resume=True, verbose=False
    )  # fmt: skip
    last = trainer.state_dict()
    del last["history"], last["progress"]["seconds"]  # which say how long it took
    bl.save({"model": model.state_dict(), "last": last}, folder / "final.safetensors")


def start(folder: Path, small: bool) -> subprocess.Popen[bytes]:
    """The run in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "started").unlink(missing_ok=True)
    return subprocess.Popen([sys.executable, str(Path(__file__)), str(folder), *(["small"] if small else [])])


def wait(process: subprocess.Popen[bytes], event: Callable[[], bool], deadline_s: float = 120.0) -> bool:
    """Waits for something to happen; False where the process has ended before."""
    deadline = time.monotonic() + deadline_s
    while not event() and process.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.0005)
    return process.poll() is None


def history(folder: Path) -> list[dict[str, object]]:
    """The lines of the history without their times."""
    lines = [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def newest(folder: Path) -> int:
    """After how many steps the last checkpoint was written; -1 where there is none."""
    return max((int(path.name[5:14]) for path in folder.glob("run/step-*.safetensors")), default=-1)


def kill_often(folder: Path, kills: int, seed: int, small: bool = False) -> dict[str, int]:
    """Runs once to the end, and once more killed `kills` times; raises unless both leave the same bits.

    A kill comes at a random instant of up to some ten steps after a random number of steps; one of ten comes while the run
    is set up.
    """
    chance = random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    process = start(whole, small)
    assert process.wait() == 0, "the run that nobody kills failed"
    total = newest(whole)
    found = {"kills": 0, "before the first step": 0, "within a write": 0, "in the middle of an epoch": 0}
    while found["kills"] < kills:
        before = newest(killed)
        process = start(killed, small)
        alive = wait(process, (killed / "started").exists)
        if alive and chance.random() < 0.9:
            most = (total - max(before, 0)) / (kills - found["kills"] + 1)
            target = max(before, 0) + chance.uniform(0.0, 1.5 * most)
            alive = wait(process, lambda target=target: newest(killed) >= target)
        if alive:
            time.sleep(chance.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise AssertionError(f"the run ended after {found['kills']} kills (exit code {process.returncode})")
        found["kills"] += 1
        found["within a write"] += bool(list(killed.glob("run/.backlit-*.tmp")))
        after = newest(killed)
        found["before the first step"] += after == before
        found["in the middle of an epoch"] += max(after, 0) % PER_EPOCH != 0
    process = start(killed, small)
    assert process.wait() == 0, "the run failed after the last kill"
    assert (whole / "final.safetensors").read_bytes() == (killed / "final.safetensors").read_bytes(), "other bits"
    assert history(whole) == history(killed), "another history"
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]), "small" in sys.argv[2:])
    else:
        import damaging

        with tempfile.TemporaryDirectory() as place:
            os.environ.setdefault("BACKLIT_CACHE_DIR", str(Path(place) / "cache"))
            seed = int(os.environ.get("KILL_SEED", time.time()))
            print(f"seed {seed}; again with KILL_SEED={seed}")
            began = time.monotonic()
            kills = kill_often(Path(place) / "kills", int(os.environ.get("KILLS", "60")), seed)
            print(f"{kills}: the same bits, the same history ({time.monotonic() - began:.0f} s)")
            print(damaging.report(Path(place) / "damaged", int(os.environ.get("DAMAGED", "1500")), seed))
