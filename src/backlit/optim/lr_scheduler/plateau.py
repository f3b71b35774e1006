"""A learning rate that falls when a number no longer improves."""

from __future__ import annotations

import math
from typing import Any

from backlit.core.errors import ArgumentError
from backlit.optim.base import Optimizer
from backlit.optim.lr_scheduler.base import LRScheduler


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` after more than `patience` epochs in which the metric did not improve by `threshold`.

    Raises:
      ArgumentError: `factor` is not below 1, a mode is unknown, or another number of `min_lr` than groups.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self._take(optimizer)
        if not 0 <= factor < 1:
            raise ArgumentError(f"ReduceLROnPlateau: factor must be in [0, 1), got {factor}")
        if mode not in ("min", "max"):
            raise ArgumentError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ArgumentError(f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = self._per_group("min_lr", min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = self._rates()

    @property
    def in_cooldown(self) -> bool:
        """Whether bad epochs do not count now."""
        return self.cooldown_counter > 0

    def _is_better(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            limit = self.best * (1.0 + sign * self.threshold)
        else:
            limit = self.best + sign * self.threshold
        return metric > limit if self.mode == "max" else metric < limit

    def get_lr(self) -> list[float]:
        """The rates lowered once; one that `min_lr` or `eps` holds stays."""
        lower = [max(rate * self.factor, low) for rate, low in zip(self._rates(), self.min_lrs, strict=True)]
        return [n if r - n > self.eps else r for r, n in zip(self._rates(), lower, strict=True)]

    def step(self, metrics: Any = None) -> None:
        """Takes the metric of an epoch, and lowers the rates if it is time.

        Raises:
          TypeError: there is no metric.
        """
        if metrics is None:
            raise TypeError("ReduceLROnPlateau: step needs the metric")
        metric = float(metrics)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._write(self.get_lr())
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()
