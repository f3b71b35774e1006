"""The range test of learning rates: short training with a rate that grows, nothing of which stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DataError
from backlit.train.plots import axes

SMOOTHING = 0.9  # of the losses, as an exponential average without its bias towards 0


@dataclass(frozen=True)
class LRFinder:
    """What `Trainer.find_lr` found: rates, the loss at each, and the same smoothed."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest with the logarithm of the rate, before it is lowest.

        Raises:
          DataError: the loss never falls, or was not finite from the first step on.
        """
        if not self.losses:
            raise DataError("find_lr: no step had a finite loss; look at the data, or begin with a smaller rate, low=")
        end = int(np.argmin(self.smoothed)) + 1
        if end < 3:
            raise DataError("find_lr: the loss never falls; begin with a smaller rate, low=")
        slopes = np.gradient(np.array(self.smoothed[:end]), np.log(self.rates[:end]))
        return self.rates[int(np.argmin(slopes))]

    def plot(self, ax: Any = None) -> Any:
        """The losses against the rates, with the suggestion, on matplotlib axes, which it gives."""
        ax = axes(ax)
        ax.plot(self.rates, self.losses, color="0.8", label="loss")
        ax.plot(self.rates, self.smoothed, label="smoothed")
        ax.axvline(self.suggestion, color="C3", linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend()
        return ax


def find_lr(
    take: Callable[[Any], float], set_lr: Callable[[float], None], loader: Any, low: float, high: float, steps: int
) -> LRFinder:
    """Takes up to `steps` steps: `take(batch)` is one at the rate that `set_lr` was told, and gives the loss.

    Raises:
      ArgumentError: `low` is not above 0, `high` not above it, or there are fewer than 3 steps.
    """
    if not 0.0 < low < high < math.inf or steps < 3:
        raise ArgumentError(f"find_lr: expected 0 < low < high and at least 3 steps, got {low}, {high} and {steps}")
    rates, losses, smoothed = [], [], []
    average = 0.0
    for k, batch in enumerate(islice(_endless(loader), steps)):
        rate = low * (high / low) ** (k / (steps - 1))
        set_lr(rate)
        loss = take(batch)
        if not math.isfinite(loss):
            break
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss
        now = average / (1.0 - SMOOTHING ** (k + 1))
        rates.append(rate)
        losses.append(loss)
        smoothed.append(now)
        if now > 4.0 * min(smoothed):
            break
    return LRFinder(rates, losses, smoothed)


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            return
