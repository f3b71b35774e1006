"""The page of a training run: some of its steps recorded, its curves, and what the model still gets wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from backlit.diagnose.record import Sampler
from backlit.diagnose.recording import Example, Recording
from backlit.inspector.file import save
from backlit.train.callbacks import Callback
from backlit.train.job import Problem, Result, Settings, outputs_of
from backlit.train.trainer import Trainer

N_STEPS = 6  # so many are recorded, the first and the last among them
N_EXAMPLES = 24
N_POINTS = 2000  # a curve has at most so many
MAX_MB = 4.0


class TrainingPage(Callback):
    """Collects what the page of a run shows while the run goes on."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.problem = problem
        total = max(1, math.ceil(len(problem.train[0]) / settings.batch_size)) * settings.epochs
        self.chosen = {round(n) - 1 for n in np.geomspace(1, total, N_STEPS)}
        self.sampler = Sampler()
        self.losses: list[float] = []

    def around_step(self, trainer: Trainer) -> AbstractContextManager[Any] | None:
        """What a step runs inside."""
        return self.sampler.step(trainer.step) if trainer.step in self.chosen else None

    def on_step_end(self, trainer: Trainer) -> None:
        """A step is done."""
        self.losses.append(trainer.logs["loss"])

    def state_dict(self) -> dict[str, Any]:
        """The losses; recorded steps are too large to be kept."""
        return {"losses": np.array(self.losses, np.float64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        self.losses = np.asarray(state["losses"]).tolist()

    def recording(self, result: Result) -> Recording:
        """The recording, with curves and examples."""
        made = self.sampler.finish()
        every = max(1, math.ceil(len(self.losses) / N_POINTS))
        made.series["loss"] = list(enumerate(self.losses))[::every]
        for epoch in result.history.epochs:
            at = epoch["step"] - 1
            made.series.setdefault("loss, mean of the epoch", []).append((at, epoch["loss"]))
            made.series.setdefault("learning rate", []).append((at, epoch["lr"]))
            for name, norm in epoch["gradient_norms"].items():
                made.series.setdefault(f"gradient norm of {name}", []).append((at, norm))
        made.examples = _mistakes(result, self.problem)
        numbers = ", ".join(str(step.number) for step in made.steps)
        ran = "native programs" if "native" in result.how else "ops one by one"
        made.note = (
            f"A training run of {len(self.losses)} steps. Recorded, op by op: {numbers}; the others ran as {ran}."
        )
        return made

    def write(self, result: Result, path: Path) -> None:
        """Writes the page."""
        save(self.recording(result), path, max_mb=MAX_MB, sources=False)


def _mistakes(result: Result, problem: Problem) -> list[Example]:
    """Held-out rows of which the model is most sure and wrong."""
    if problem.task != "classification":
        return []
    x, y = problem.test
    outputs = np.asarray(outputs_of(result.model, x), np.float64)
    odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    guessed = odds.argmax(axis=1)
    sure = odds[np.arange(len(y)), guessed]
    wrong = np.flatnonzero(guessed != y)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:N_EXAMPLES]
    side = math.isqrt(x.shape[1])
    shape = (side, side) if problem.name == "digits" else (1, x.shape[1])
    return [
        Example(str(problem.classes[y[k]]), str(problem.classes[guessed[k]]), float(sure[k]), x[k].reshape(shape))
        for k in wrong
    ]
