"""Schedules that go up and down; two of them move the momentum against the rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from backlit.core.errors import ArgumentError
from backlit.optim.base import Optimizer
from backlit.optim.lr_scheduler.base import LRScheduler


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the first rate to `eta_min` in `T_0` epochs, again in `T_0 * T_mult`, and so on.

    Formula: Loshchilov and Hutter, 2017, equation 5.

    Raises:
      ArgumentError: `T_0` or `T_mult` is below 1.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if value < 1:
                raise ArgumentError(f"CosineAnnealingWarmRestarts: {name} must be at least 1, got {value}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at `T_cur` of the present period."""
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """The next epoch, or the one given, which may be a fraction.

        Raises:
          ArgumentError: `epoch` is below 0.
        """
        if epoch is not None and epoch < 0:
            raise ArgumentError(f"CosineAnnealingWarmRestarts: epoch must be at least 0, got {epoch}")
        self._step_count += 1
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            self.T_cur, self.T_i = epoch, self.T_0
            while self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_epoch = math.floor(epoch)
        self._write(self.get_lr())

    def _restart(self) -> None:
        self.step(0)


class _WithMomentum(LRScheduler):
    """A schedule that writes momentum too, into a cell: a compiled step is not compiled again."""

    base_momentums: list[float]
    max_momentums: list[float]

    def _cycle(self, cycle_momentum: bool, base: Any, largest: Any) -> None:
        self.cycle_momentum = cycle_momentum
        if not cycle_momentum:
            return
        self.use_beta1 = "betas" in self.optimizer.defaults
        if not self.use_beta1 and "momentum" not in self.optimizer.defaults:
            raise ArgumentError(f"{type(self).__name__}: cycle_momentum needs an optimizer with momentum or betas")
        for group in self.optimizer.param_groups:
            group.hold("betas" if self.use_beta1 else "momentum")
        self.base_momentums = self._per_group("base_momentum", base)
        self.max_momentums = self._per_group("max_momentum", largest)

    def _write_momentum(self, values: list[float]) -> None:
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            if self.use_beta1:
                group["betas"] = (value, *group["betas"][1:])
            else:
                group["momentum"] = value


class CyclicLR(_WithMomentum):
    """From `base_lr` to `max_lr` and back, in straight lines (Smith, 2017).

    `mode`: "triangular"; "triangular2", half the height with each cycle; "exp_range", the height times `gamma**step`.
    `scale_fn` is another factor, of the cycle's or the step's number as `scale_mode` says.

    Raises:
      ArgumentError: an unknown mode, numbers that do not fit the groups, or an optimizer without momentum.
    """

    _not_state = ("optimizer", "_scale")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._take(optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ArgumentError(f"CyclicLR: mode must be triangular, triangular2 or exp_range, got {mode!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(f"CyclicLR: scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}")
        low = self._per_group("base_lr", base_lr)
        self.max_lrs = self._per_group("max_lr", max_lr)
        self._cycle(cycle_momentum, base_momentum, max_momentum)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, low, strict=True):
                group["lr"] = rate
        down = float(step_size_up if step_size_down is None else step_size_down)
        self.total_size = float(step_size_up) + down
        if step_size_up <= 0 or down <= 0:
            raise ArgumentError(f"CyclicLR: step sizes must be above 0, got {step_size_up} and {down:g}")
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma, self._scale = mode, gamma, scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        super().__init__(optimizer, last_epoch)
        self.base_lrs = low

    def scale_fn(self, x: float) -> float:
        """The factor of the height."""
        if self._scale is not None:
            return self._scale(x)
        if self.mode == "triangular":
            return 1.0
        return float(1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`; writes the momentum."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        factor = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            pairs = zip(self.base_momentums, self.max_momentums, strict=True)
            self._write_momentum([high - (high - low) * height * factor for low, high in pairs])
        rates = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (high - low) * height * factor for low, high in rates]


class OneCycleLR(_WithMomentum):
    """Up to `max_lr` and down far below the start, once (Smith and Topin, 2019); one step a batch.

    Raises:
      ArgumentError: no number of steps, or an argument out of range; at a step, more steps than there are.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._take(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise ArgumentError(f"OneCycleLR: total_steps must be above 0, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ArgumentError(f"OneCycleLR: pct_start must be in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        self.max_lrs = self._per_group("max_lr", max_lr)
        self._cycle(cycle_momentum, base_momentum, max_momentum)
        self.low_lrs = [high / div_factor for high in self.max_lrs]
        self.min_lrs = [low / final_div_factor for low in self.low_lrs]
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, self.low_lrs, strict=True):
                group["initial_lr"] = low
        # the last step of each phase; a phase goes from the number of one place to that of the next
        turn = float(pct_start * total_steps) - 1
        self._ends = (
            [turn, 2 * pct_start * total_steps - 2, total_steps - 1] if three_phase else [turn, total_steps - 1]
        )
        super().__init__(optimizer, last_epoch)

    def _anneal(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[float]:
        """The rates at `last_epoch`; writes the momentum."""
        step, last = self.last_epoch, len(self._ends) - 1
        if step > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: step {step}, but total_steps is {self.total_steps}; give it all steps there will be"
            )
        phase = next((i for i, end in enumerate(self._ends) if step <= end), last)
        start = self._ends[phase - 1] if phase else 0.0
        length = self._ends[phase] - start
        part = (step - start) / length if length else 1.0  # the rise may be over at the first step
        rates = []
        for low, high, least in zip(self.low_lrs, self.max_lrs, self.min_lrs, strict=True):
            places = [low, high, low, least] if last == 2 else [low, high, least]
            rates.append(self._anneal(places[phase], places[phase + 1], part))
        if self.cycle_momentum:
            momentums = []
            for base, high in zip(self.base_momentums, self.max_momentums, strict=True):
                places = [high, base, high, high]
                momentums.append(self._anneal(places[phase], places[phase + 1], part))
            self._write_momentum(momentums)
        return rates
