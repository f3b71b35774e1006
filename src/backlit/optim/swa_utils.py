"""Averages of a model's weights over the steps: the plain mean (SWA) and the exponential one (EMA)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor, assign, no_grad
from backlit.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Module
from backlit.ops.elementwise import where
from backlit.optim.base import Optimizer
from backlit.optim.lr_scheduler.base import LRScheduler

Average = Callable[[Tensor, Tensor, Tensor], Tensor]
MultiAverage = Callable[[list[Tensor], list[Tensor], Tensor], None]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The exponential average, `decay * average + (1 - decay) * parameter`, for `AveragedModel`.

    Raises:
      ArgumentError: `decay` is not in [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ArgumentError(f"get_ema_avg_fn: decay must be in [0, 1], got {decay}")
    return lambda average, parameter, count: decay * average + (1 - decay) * parameter


def get_swa_avg_fn() -> Average:
    """The mean of all (Izmailov et al., 2018), for `AveragedModel`."""
    return lambda average, parameter, count: average + (parameter - average) / (count + 1.0).astype(average.dtype)


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """The exponential average of many parameters at once, for `AveragedModel(multi_avg_fn=...)`.

    Raises:
      ArgumentError: `decay` is not in [0, 1].
    """
    return _each(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> MultiAverage:
    """The mean of all of many parameters at once, for `AveragedModel(multi_avg_fn=...)`."""
    return _each(get_swa_avg_fn())


def _each(average: Average) -> MultiAverage:
    def averages(own: list[Tensor], others: list[Tensor], count: Tensor) -> None:
        with no_grad():
            for mine, other in zip(own, others, strict=True):
                assign(mine, average(Tensor(mine._value), Tensor(other._value), count))

    return averages


class AveragedModel(Module):
    """A copy of `model` whose parameters are averages; `update_parameters(model)` after a step takes the next.

    `avg_fn(average, parameter, count)` gives the next average, `multi_avg_fn(averages, parameters, count)` writes all of them
    into the tensors of its first list; the mean unless one is given. The first update copies. Buffers are copied at every
    update, with `use_buffers` those of real numbers are averaged. The number of updates is a buffer, `n_averaged`. An update
    may be part of a compiled step.

    Raises:
      ArgumentError: both functions are given.
    """

    def __init__(
        self,
        model: Module,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", Tensor(np.int64(0)))
        self.avg_fn = get_swa_avg_fn() if avg_fn is None and multi_avg_fn is None else avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the parameters of `model` into the averages."""
        averaged = list(zip(self.module.parameters(), model.parameters(), strict=True))
        copied: list[tuple[Tensor, Tensor]] = []
        for own, other in zip(self.module.buffers(), model.buffers(), strict=True):
            (averaged if self.use_buffers and own.dtype.kind == "f" else copied).append((own, other))
        with no_grad():
            count = Tensor(self.n_averaged._value)
            news = [Tensor(own._value) for own, _ in averaged]
            others = [Tensor(other._value) for _, other in averaged]
            if self.multi_avg_fn is not None:
                self.multi_avg_fn(news, others, count)
            elif self.avg_fn is not None:
                news = [self.avg_fn(now, other, count) for now, other in zip(news, others, strict=True)]
            for (own, _), new, other in zip(averaged, news, others, strict=True):
                assign(own, where(count == 0, other, new))
            for own, other in copied:
                assign(own, Tensor(other._value))
            assign(self.n_averaged, count + 1)


def update_bn(loader: Iterable[Any], model: Module) -> None:
    """Sets the running moments of all batch normalisation in `model` to their means over the batches of `loader`.

    For weights that were averaged, whose moments no batch was seen with. A batch is what the model is called with, or of a
    tuple or list the first. The model runs in training mode, without gradients, and is left in the mode it was in.
    """
    normed = [m for m in model.modules() if isinstance(m, (BatchNorm1d, BatchNorm2d, BatchNorm3d))]
    if not normed:
        return
    momenta, modes = [m.momentum for m in normed], [(m, m.training) for m in model.modules()]
    model.train()
    try:
        for module in normed:
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
        with no_grad():
            for batch in loader:
                model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    finally:
        for module, momentum in zip(normed, momenta, strict=True):
            module.momentum = momentum
        for each, mode in modes:
            each.training = mode


class SWALR(LRScheduler):
    """From the present rate to `swa_lr` in `anneal_epochs`, and there it stays (Izmailov et al., 2018).

    `anneal_strategy` is "cos" or "linear". Called in place of the schedule before it, from some epoch on.

    Raises:
      ArgumentError: an unknown strategy, or a number out of range or that does not fit the groups.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self._take(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"SWALR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ArgumentError(f"SWALR: anneal_epochs must be a number of at least 0, got {anneal_epochs!r}")
        self.swa_lrs = self._per_group("swa_lr", swa_lr)
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        part = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return part if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[float]:
        """The rates from those before, whatever made them."""
        step = self._step_count - 1
        step = max(1, step) if self.anneal_epochs == 0 else step
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for rate, last in zip(self._rates(), self.swa_lrs, strict=True):
            start = last if before == 1 else (rate - before * last) / (1 - before)
            rates.append(last * now + start * (1 - now))
        return rates
