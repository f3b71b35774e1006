"""Callbacks: what happens between the steps of a run, beside training itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from backlit.core.errors import ArgumentError
from backlit.io.state import save

if TYPE_CHECKING:
    from backlit.train.trainer import Trainer


class Callback:
    """Base of the callbacks: a subclass states those methods that it needs.

    They find everything at the trainer: `model`, `optimizer`, `epoch` and `step` (how many are done), `logs` (the numbers
    of the step, or of the epoch), `history`; `trainer.should_stop = True` ends the run after the epoch. What a callback
    keeps from one call to the next goes into checkpoints by `state_dict` and comes back by `load_state_dict`.
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step, after a checkpoint has been loaded."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Before the first batch of an epoch."""

    def around_step(self, trainer: Trainer) -> AbstractContextManager[Any] | None:
        """What the next step runs inside of, if anything."""
        return None

    def on_step_end(self, trainer: Trainer) -> None:
        """After a step."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After validation; `logs` has the numbers of the epoch."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last step, also when the run was interrupted."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: trees of arrays, numbers and strings."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""


class _Watching(Callback):
    """Watches one number of the epochs; remembers the best."""

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("min", "max"):
            raise ArgumentError(f"{type(self).__name__}: mode must be 'min' or 'max', got {mode!r}")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self._forget()

    def _forget(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = 0

    def on_fit_start(self, trainer: Trainer) -> None:
        """A new run begins with nothing known."""
        if trainer.step == 0:
            self._forget()

    def _improved(self, trainer: Trainer) -> bool:
        value = watched(trainer.logs, self.monitor, type(self).__name__)
        gain = self.best - value if self.mode == "min" else value - self.best
        if not gain > self.min_delta:  # NaN is no improvement
            return False
        self.best, self.best_epoch = value, trainer.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """The best number and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])


def watched(logs: Mapping[str, Any], name: str, who: str) -> float:
    """The number of that name.

    Raises:
      ArgumentError: there is none; those that there are are named.
    """
    if not isinstance(logs.get(name), (int, float)):
        there = ", ".join(n for n, v in logs.items() if isinstance(v, (int, float)))
        hint = "; give fit(..., validation=...)" if name.startswith("val_") else ""
        raise ArgumentError(f"{who}: there is no number {name!r} to watch among {there}{hint}")
    return float(logs[name])


class EarlyStopping(_Watching):
    """Ends the run when `monitor` has not improved by more than `min_delta` for more than `patience` epochs.

    Raises:
      ArgumentError: an unknown mode; later, there is no such number.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "min", patience: int = 5, min_delta: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience

    def _forget(self) -> None:
        super()._forget()
        self.waited = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Looks at the number."""
        self.waited = 0 if self._improved(trainer) else self.waited + 1
        if self.waited > self.patience:
            trainer.should_stop = True
            trainer.say(
                f"stopped after epoch {trainer.epoch}: {self.monitor} was best in epoch {self.best_epoch} ({self.best:.6g})"
            )

    def state_dict(self) -> dict[str, Any]:
        """The best number, its epoch, and how many epochs were no better since."""
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        super().load_state_dict(state)
        self.waited = int(state["waited"])


class KeepBest(_Watching):
    """Keeps the weights of the epoch whose `monitor` was best, and gives them back to the model when the run ends.

    With `path` they are written there as well, each time they are better. With `restore=False` the model keeps its last
    weights, and `weights` has the best. Costs one more copy of the weights.

    Raises:
      ArgumentError: an unknown mode; later, there is no such number.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "min", path: str | os.PathLike[str] | None = None, restore: bool = True
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, 0.0)
        self.path, self.restore = path, restore

    def _forget(self) -> None:
        super()._forget()
        self.weights: dict[str, Any] = {}

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Keeps the weights if they are the best; those of the average where there is one."""
        if self._improved(trainer):
            self.weights = trainer.evaluated.state_dict()
            if self.path is not None:
                save(self.weights, self.path, {"epoch": trainer.epoch, self.monitor: self.best})

    def on_fit_end(self, trainer: Trainer) -> None:
        """Gives the best weights back."""
        if self.restore and self.weights:
            trainer.evaluated.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """The best number, its epoch and the weights."""
        return {**super().state_dict(), "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        super().load_state_dict(state)
        self.weights = dict(state["weights"])
