"""Averages of a model's weights over the steps: the plain mean (SWA) and the exponential one (EMA)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor, assign, no_grad
from backlit.nn import Module
from backlit.ops.elementwise import where

Average = Callable[[Tensor, Tensor, Tensor], Tensor]


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


class AveragedModel(Module):
    """A copy of `model` whose parameters are averages; `update_parameters(model)` after a step takes the next.

    `avg_fn(average, parameter, count)` is the mean unless given. The first update copies. Buffers are copied at every
    update, with `use_buffers` those of real numbers are averaged. The number of updates is a buffer, `n_averaged`.
    """

    def __init__(self, model: Module, avg_fn: Average | None = None, use_buffers: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", Tensor(np.int64(0)))
        self.avg_fn = get_swa_avg_fn() if avg_fn is None else avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the parameters of `model` into the averages."""
        pairs = [(a, b, True) for a, b in zip(self.module.parameters(), model.parameters(), strict=True)]
        buffers = zip(self.module.buffers(), model.buffers(), strict=True)
        pairs += [(a, b, self.use_buffers and a.dtype.kind == "f") for a, b in buffers]
        with no_grad():
            count = Tensor(self.n_averaged._value)
            for own, other, averaged in pairs:
                now, new = Tensor(own._value), Tensor(other._value)
                if averaged:
                    new = where(count == 0, new, self.avg_fn(now, new, count))
                assign(own, new)
            assign(self.n_averaged, count + 1)
