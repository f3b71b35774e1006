"""The training loop: epochs of batches, one event an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.compiler.compile import Compiled, compile
from backlit.core.errors import BacklitError
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor, assign, no_grad
from backlit.data.loader import batches
from backlit.nn import Module
from backlit.ops.elementwise import sqrt, where
from backlit.ops.statistics import sum as sum_of
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
    compiled: bool = False,
) -> Iterator[Epoch]:
    """Trains on rows `x: [rows, ...]` with targets `y: [rows, ...]`, giving an `Epoch` after each pass.

    `schedule(progress)` gives a factor of the starting learning rate for the progress in [0, 1); `on_step(rows, loss)`
    is called after each step with the number of rows it took. Rows are shuffled by `generator`. With `compiled` the
    step is one native program for whole batches and one for the smaller batch at the end, if there is one.

    Raises:
      TrainingDivergedError: the loss is not finite; the step and the parameters whose values or gradients are not
        finite are named. The model is left as before that step.
    """
    stepper = Stepper(model, loss, optimizer, compiled)
    return epochs_of(
        stepper, x, y, epochs=epochs, batch_size=batch_size, generator=generator, schedule=schedule, on_step=on_step
    )


def epochs_of(
    stepper: Stepper, x: Array, y: Array, *, epochs: int, batch_size: int, generator: Generator | None = None,
    schedule: Callable[[float], float] | None = None, on_step: Callable[[int, float], Any] | None = None,
    around: Callable[[int], AbstractContextManager[Any]] = lambda step: nullcontext(),
) -> Iterator[Epoch]:  # fmt: skip
    """What `fit` does, by a stepper; a step runs inside `around(its number)`, from 0."""
    model, optimizer = stepper.model, stepper.optimizer
    start_lr = optimizer.lr
    steps_an_epoch = max(1, math.ceil(len(x) / batch_size))
    step = 0
    for number in range(1, epochs + 1):
        began, total = time.perf_counter(), 0.0
        stepper.begin()
        for rows in batches(len(x), batch_size, generator or default_generator()):
            if schedule is not None:
                optimizer.lr = start_lr * schedule(step / (epochs * steps_an_epoch))
            with around(step):
                now = stepper.step(Tensor(x[rows]), Tensor(y[rows]))
            step += 1
            if not math.isfinite(now):
                raise TrainingDivergedError(_diverged(model, step, number, now))
            total += now * len(rows)
            if on_step is not None:
                on_step(len(rows), now)
        yield Epoch(
            number, total / max(len(x), 1), time.perf_counter() - began, len(x), optimizer.lr,
            {name: norm / steps_an_epoch for name, norm in stepper.norms().items()},
        )  # fmt: skip


class Stepper:
    """One step of training after another, as they are or compiled; the norms of gradients are summed between `begin`s."""

    def __init__(
        self, model: Module, loss: Callable[[Tensor, Tensor], Tensor], optimizer: Optimizer, compiled: bool
    ) -> None:
        self.model, self._loss, self.optimizer = model, loss, optimizer
        self._parameters = dict(model.named_parameters())
        self._sums = {name: Tensor(np.zeros((), p.dtype)) for name, p in self._parameters.items()}
        optimizer.prepare_state()
        # all that a step changes, in this order
        self._cells = [*self._parameters.values(), *(c for s in optimizer.state.values() for c in s.values())]
        self._compiled: Compiled | None = (
            compile(_step_of(model, loss, optimizer, self._sums, self._cells)) if compiled else None
        )

    def begin(self) -> None:
        """Another epoch begins."""
        for cell in self._sums.values():
            assign(cell, Tensor(np.zeros((), cell.dtype)))

    def norms(self) -> dict[str, float]:
        """By parameter, the sum of the norms of its gradient since the epoch began."""
        return {name: float(cell.item()) for name, cell in self._sums.items()}

    def how(self) -> str:
        """How the steps ran, in words."""
        if self._compiled is None:
            return "op by op (eager)"
        reports = self._compiled.reports()
        kernels = " and ".join(str(len(r.kernels)) for r in reports)
        seconds = sum(sum(r.seconds.values()) for r in reports)
        loaded = "loaded" if all(r.cache_hit for r in reports) else "compiled"
        programs = "program" if len(reports) == 1 else "programs"
        return f"{len(reports)} native {programs} of {kernels} kernels, made in {seconds:.2f} s (machine code {loaded})"

    def step(self, x: Tensor, y: Tensor) -> float:
        """One step; its loss. Where that is not finite nothing has changed, and `.grad` holds what was found."""
        if self._compiled is not None:
            now = float(self._compiled(x, y).item())
            if math.isfinite(now):
                return now
        self.optimizer.zero_grad()
        value = self._loss(self.model(x), y)
        value.backward()
        now = float(value.item())
        if math.isfinite(now):
            _add_norms(self._parameters, self._sums)
            self.optimizer.step()
        return now


def _step_of(
    model: Module, loss: Callable[[Tensor, Tensor], Tensor], optimizer: Optimizer, sums: dict[str, Tensor],
    cells: list[Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:  # fmt: skip
    """A step as a function of tensors alone, which can be compiled."""
    parameters = dict(model.named_parameters())

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        _add_norms(parameters, sums)
        before = [Tensor(cell._value) for cell in cells]
        optimizer.step()
        with no_grad():
            finite = value.detach() - value.detach() == 0.0  # infinity less infinity is no number
            for cell, old in zip(cells, before, strict=True):
                assign(cell, where(finite, Tensor(cell._value), old))
        return value.detach()

    return step


def _add_norms(parameters: dict[str, Tensor], sums: dict[str, Tensor]) -> None:
    with no_grad():
        for name, p in parameters.items():
            if p.grad is not None:
                grad = p.grad.detach()
                assign(sums[name], sums[name] + sqrt(sum_of(grad * grad)))


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
