"""The training loop: epochs of batches, one event an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.core.errors import BacklitError
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor
from backlit.data.loader import batches
from backlit.nn import Module
from backlit.optim import Optimizer

Array = np.ndarray[Any, Any]


class TrainingDivergedError(BacklitError, ArithmeticError):
    """The loss became infinite or NaN."""


@dataclass
class Epoch:
    """What one pass over the rows gave; losses and norms are means over its steps."""

    number: int
    loss: float
    seconds: float
    rows: int
    lr: float
    gradient_norms: dict[str, float] = field(default_factory=dict)


def fit(
    model: Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Array,
    y: Array,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch_size: int,
    generator: Generator | None = None,
    schedule: Callable[[float], float] | None = None,
    on_step: Callable[[int, float], Any] | None = None,
) -> Iterator[Epoch]:
    """Trains on rows `x: [rows, ...]` with targets `y: [rows, ...]`, giving an `Epoch` after each pass.

    `schedule(progress)` gives a factor of the starting learning rate for the progress in [0, 1); `on_step(rows, loss)`
    is called after each step with the number of rows it took. Rows are shuffled by `generator`.

    Raises:
      TrainingDivergedError: the loss is not finite; the step and the parameters whose values or gradients are not
        finite are named. The model is left as before that step.
    """
    start_lr = optimizer.lr
    steps_an_epoch = max(1, math.ceil(len(x) / batch_size))
    step = 0
    for number in range(1, epochs + 1):
        began, total = time.perf_counter(), 0.0
        norms = {name: 0.0 for name, _ in model.named_parameters()}
        for rows in batches(len(x), batch_size, generator or default_generator()):
            if schedule is not None:
                optimizer.lr = start_lr * schedule(step / (epochs * steps_an_epoch))
            optimizer.zero_grad()
            value = loss(model(Tensor(x[rows])), Tensor(y[rows]))
            value.backward()
            now = value.item()
            step += 1
            if not math.isfinite(now):
                raise TrainingDivergedError(_diverged(model, step, number, now))
            for name, p in model.named_parameters():
                if p.grad is not None:
                    norms[name] += float(np.linalg.norm(np.asarray(p.grad._value)))
            optimizer.step()
            total += now * len(rows)
            if on_step is not None:
                on_step(len(rows), now)
        yield Epoch(
            number, total / max(len(x), 1), time.perf_counter() - began, len(x), optimizer.lr,
            {name: n / steps_an_epoch for name, n in norms.items()},
        )  # fmt: skip


def _diverged(model: Module, step: int, epoch: int, loss: float) -> str:
    values = [n for n, p in model.named_parameters() if not np.isfinite(np.asarray(p._value)).all()]
    gradients = [
        n for n, p in model.named_parameters()
        if p.grad is not None and not np.isfinite(np.asarray(p.grad._value)).all()
    ]  # fmt: skip
    where = ", ".join(values) or "no parameter"
    return (
        f"the loss became {loss} in step {step} (epoch {epoch}); not finite: values of {where}; "
        f"gradients of {', '.join(gradients) or 'no parameter'}; try a smaller learning rate (--lr)"
    )


def cosine(progress: float, warmup: float = 0.05) -> float:
    """A factor for the learning rate: linear up over `warmup`, then half a cosine down to 0."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))
