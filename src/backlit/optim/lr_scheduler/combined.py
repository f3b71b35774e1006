"""Schedules made of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from backlit.core.errors import ArgumentError, DataError
from backlit.optim.base import Optimizer
from backlit.optim.lr_scheduler.base import LRScheduler
from backlit.optim.lr_scheduler.plateau import ReduceLROnPlateau


class _Several(LRScheduler):
    """Schedules of one optimizer, whose states are kept together."""

    _not_state = ("optimizer", "_schedulers")
    _schedulers: Sequence[LRScheduler]

    def _gather(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        who = type(self).__name__
        if not schedulers:
            raise ArgumentError(f"{who}: there are no schedulers")
        self._take(schedulers[0].optimizer if optimizer is None else optimizer)
        for scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ArgumentError(
                    f"{who}: {type(scheduler).__name__} needs a metric at each step and has no place here"
                )
            if scheduler.optimizer is not self.optimizer:
                raise ArgumentError(f"{who}: {type(scheduler).__name__} is of another optimizer")
        self._schedulers = schedulers

    def get_lr(self) -> list[float]:
        """The rates as the schedules have written them."""
        return self._rates()

    def state_dict(self) -> dict[str, Any]:
        """The states of all, and which is at work."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave.

        Raises:
          DataError: the state is of other schedules. Nothing has changed.
        """
        super().load_state_dict(state_dict)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        states = state_dict.get("_schedulers", ())
        if len(states) != len(self._schedulers):
            raise DataError(
                f"load_state_dict: {type(self).__name__}: {len(self._schedulers)} schedulers, "
                f"and the state is of {len(states)}"
            )
        super()._check_state({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler._check_state(state)

    def _undo(self) -> None:
        for scheduler in self._schedulers:
            if isinstance(scheduler, _Several):
                scheduler._undo()
            else:
                scheduler.last_epoch -= 1


class SequentialLR(_Several):
    """One schedule after the other; `milestones` say at which step the next begins.

    Raises:
      ArgumentError: no schedules, milestones that do not fit, schedules of other optimizers, or one on a metric.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        self._gather(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones, got {len(milestones)}"
            )
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        # each made a step when it was made; only the first of them counts
        self._undo()
        first = schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """A step of the schedule whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            scheduler._restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """All the schedules at each step; those that multiply the rate before multiply each other.

    Raises:
      ArgumentError: no schedules, schedules of other optimizers, or one on a metric.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self._gather(optimizer, schedulers)
        self._last_lr = self.get_lr()

    def step(self) -> None:
        """A step of each, in their order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self.get_lr()
