"""LRScheduler: what writes the learning rate of every group, once a step or once an epoch."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from backlit.core.errors import ArgumentError, DataError
from backlit.optim.base import Optimizer


class LRScheduler(ABC):
    """Base of the schedules. `step()` is called after the optimizer's, outside a compiled step.

    The rate is written into the cell that the optimizer's step reads: a compiled step is not compiled again.
    `last_epoch` is the number of steps so far; a schedule that starts at another number than -1 continues groups that
    have an `initial_lr`. `state_dict` has plain values only; functions that were given are not among them.

    Raises:
      TypeError: `optimizer` is not an Optimizer.
      ArgumentError: `last_epoch` says that the schedule continues, and a group has no `initial_lr`.
    """

    _not_state: tuple[str, ...] = ("optimizer",)
    _initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._take(optimizer)
        for group in optimizer.param_groups:
            if last_epoch == -1 and "initial_lr" not in group:
                group["initial_lr"] = group["lr"]
            elif "initial_lr" not in group:
                raise ArgumentError(f"{type(self).__name__}: last_epoch is {last_epoch}, but a group has no initial_lr")
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _take(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer

    def _initial_step(self) -> None:
        self._step_count = 0
        self._initial = True
        try:
            self.step()
        finally:
            del self._initial  # the class says False

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _per_group(self, name: str, value: Any) -> list[Any]:
        """A number for every group, or one for each."""
        groups = len(self.optimizer.param_groups)
        if isinstance(value, (list, tuple)):
            if len(value) != groups:
                raise ArgumentError(f"{type(self).__name__}: expected {groups} of {name}, got {len(value)}")
            return list(value)
        return [value] * groups

    def _write(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._rates()

    @abstractmethod
    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`, from those before."""

    def get_last_lr(self) -> list[float]:
        """The rates that the last step wrote."""
        return self._last_lr

    def _closed_form(self) -> list[float]:
        """The rates at `last_epoch`, whatever was before."""
        return self.get_lr()

    def _restart(self) -> None:
        """Starts at 0, as the next of several schedules."""
        self.last_epoch = 0
        self._write(self._closed_form())

    def step(self) -> None:
        """Writes the next learning rates."""
        self._step_count += 1
        self.last_epoch += 1
        self._write(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions; later steps do not show in it."""
        return {k: copy.deepcopy(v) for k, v in self.__dict__.items() if k not in self._not_state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave; the rates themselves are in the optimizer's state.

        Raises:
          DataError: the state is of another kind of schedule, or of another number of groups. Nothing has changed.
        """
        self._check_state(state_dict)
        self.__dict__.update(copy.deepcopy({k: v for k, v in state_dict.items() if k not in self._not_state}))

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        own = {k for k in self.__dict__ if k not in self._not_state}
        if set(state_dict) != own:
            names = ", ".join(sorted(own ^ set(state_dict)))
            raise DataError(f"load_state_dict: {type(self).__name__}: the state differs in {names}")
        if len(state_dict.get("_last_lr", ())) != len(self.optimizer.param_groups):
            raise DataError(f"load_state_dict: {type(self).__name__}: the state is of another number of groups")
