"""One step of training: forward, backward, clipping, update, averages and metrics, compiled as one program or op by op."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from backlit.compiler.compile import Compiled, compile
from backlit.compiler.report import Report
from backlit.core.errors import ArgumentError, BacklitError, TraceError
from backlit.core.tensor import Tensor, as_tensor, assign, no_grad
from backlit.nn import Module
from backlit.nn.utils import clip_grad_norm_, clip_grad_value_
from backlit.ops.elementwise import sqrt, where
from backlit.ops.rounding import isfinite
from backlit.ops.shape import stack
from backlit.ops.statistics import sum as total
from backlit.optim import Optimizer, accumulate
from backlit.optim.swa_utils import AveragedModel
from backlit.train.running import Metric, n_rows

Forward = Callable[[Module, Any], "Found"]


class TrainingDivergedError(BacklitError, ArithmeticError):
    """The loss became infinite or NaN."""


class Found(NamedTuple):
    """What a model gives for a batch: the loss, what metrics compare, and numbers to be logged."""

    loss: Any
    output: Any
    target: Any
    more: dict[str, Any]


class ByLoss:
    """`loss(model(inputs), target)` of a batch `(inputs, target)`.

    Of more than two the last is the target, and the others are the arguments of the model; a batch that is one array, or a
    tuple of one, has no target, and the loss is `loss(output)`. Inputs that are a tuple or list are the positional
    arguments of the model, a dictionary those by name.
    """

    def __init__(self, loss: Callable[..., Any]) -> None:
        self.loss = loss

    def __call__(self, model: Module, batch: Any) -> Found:
        inputs, target = batch, None
        if isinstance(batch, (tuple, list)):
            *first, target = batch if len(batch) > 1 else (*batch, None)
            inputs = first[0] if len(first) == 1 else tuple(first)
        output = called(model, inputs)
        value = self.loss(output) if target is None else self.loss(output, target)
        return Found(value, output, target, {})


def called(model: Module, inputs: Any) -> Any:
    """The model's output for inputs: one array, a tuple of arguments, or a dictionary of them."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


class ByStep:
    """What a user's `step(model, batch)` gives: the loss, or a dictionary with it and more."""

    def __init__(self, step: Callable[[Module, Any], Any]) -> None:
        self.step = step

    def __call__(self, model: Module, batch: Any) -> Found:
        found = self.step(model, batch)
        if not isinstance(found, Mapping):
            return Found(found, None, None, {})
        if "loss" not in found:
            raise ArgumentError(f"Trainer: step gives {', '.join(map(repr, found))}; 'loss' must be among them")
        more = {name: value for name, value in found.items() if name not in ("loss", "output", "target")}
        return Found(found["loss"], found.get("output"), found.get("target"), more)


class Stepper:
    """Takes one step after another, and evaluates batches; what it is made of says what a step does.

    Where it `updates_itself` the forward function does backward and the optimizers' steps.
    """

    def __init__(
        self, model: Module, optimizers: Sequence[Optimizer], forward: Forward, metrics: Mapping[str, Metric], *,
        compiled: bool, updates_itself: bool = False, clip_norm: float | None = None, clip_value: float | None = None, ema: AveragedModel | None = None,
        nonfinite: str = "raise", norms: bool = False, accumulated: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.optimizers = model, list(optimizers)
        self.names = [name for name, _ in model.named_parameters()]
        self.buffers = list(model.buffers())
        for optimizer in self.optimizers:
            optimizer.prepare_state()
        micro = accumulate(self.optimizers) if accumulated else None
        self._update_of = functools.partial(
            update_of, model, self.optimizers, forward, metrics, micro, clip_norm=clip_norm, clip_value=clip_value, ema=ema,
            nonfinite=nonfinite, norms=norms, updates_itself=updates_itself,
        )  # fmt: skip
        self._forward, self._metrics, self._ema = forward, metrics, ema
        self._nonfinite, self._updates_itself, self._is_compiled = nonfinite, updates_itself, compiled
        self._update: Callable[..., dict[str, Any]] | None = None  # made when the first step is taken
        self._measured: dict[int, tuple[Any, ...]] = {}

    def _cells(self) -> list[Tensor]:
        """All that a step changes."""
        optimizers = self.optimizers
        found = [*self.model.parameters(), *self.model.buffers()]
        found += [
            cell
            for o in optimizers
            for state in o.state.values()
            for cell in state.values()
            if isinstance(cell, Tensor)
        ]
        found += [p for o in optimizers for group in o.param_groups for p in group["params"]]
        found += [cell for metric in self._metrics.values() for cell in metric.cells.values()]
        if self._ema is not None:
            found += [*self._ema.parameters(), *self._ema.buffers()]
        return list({id(cell): cell for cell in found}.values())

    def step(self, *batches: Any) -> dict[str, Any]:
        """One step on a batch, or on several whose gradients are added up; gives its numbers.

        Where the loss is not finite nothing has changed, with "skip" also where a gradient is not.
        """
        if self._update is None:
            self.renew()
        assert self._update is not None
        try:
            return _numbers(self._update(*batches))
        except TraceError as error:
            if self._is_compiled:
                error.add_note("Trainer(..., compile=False) runs steps op by op")
            raise

    def renew(self) -> None:
        """The cells of a step may be others than before: another program is made."""
        for optimizer in self.optimizers:
            optimizer.prepare_state()
        guarded = None  # op by op the loss is looked at before the update
        if self._is_compiled or self._updates_itself:
            guarded = [] if self._nonfinite == "ignore" else self._cells()
        update = self._update_of(guarded=guarded)
        self._update = compile(update) if self._is_compiled else update

    def measure(self, batch: Any, model: Module, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """Loss and numbers of a batch, without a step; the metrics take it."""
        forward = self._forward

        def measured(batch: Any) -> dict[str, Any]:
            with no_grad():
                found = forward(model, batch)
                for metric in metrics.values():
                    metric.update(*_compared(found))
                return _told(found)

        key = id(model)
        if key not in self._measured:
            self._measured[key] = (compile(measured) if self._is_compiled else measured, model, metrics)
        return _numbers(self._measured[key][0](batch))

    def reports(self) -> list[Report]:
        """What the compiled steps are made of, a report for each program."""
        return self._update.reports() if isinstance(self._update, Compiled) else []

    def how(self) -> str:
        """How the steps ran, in words."""
        reports = self.reports()
        if not reports:
            return "op by op (eager)"
        kernels = " and ".join(str(len(r.kernels)) for r in reports)
        seconds = sum(sum(r.seconds.values()) for r in reports)
        loaded = "loaded" if all(r.cache_hit for r in reports) else "compiled"
        programs = "program" if len(reports) == 1 else "programs"
        return f"{len(reports)} native {programs} of {kernels} kernels, made in {seconds:.2f} s (machine code {loaded})"

    def fallbacks(self) -> list[str]:
        """The ops of compiled steps that run by their eager forward, each with its reason."""
        return list(dict.fromkeys(f"{k.ops[0]}: {k.why}" for r in self.reports() for k in r.callbacks))

    def diverged(self, *batches: Any) -> str:
        """Which parameters and gradients are not finite at a step whose loss was not, in words.

        Of a step that updates itself the gradients are not known: it may have several, and a compiled one keeps none.
        """
        values = [n for n, p in self.model.named_parameters() if not _finite(p)]
        if self._updates_itself:
            return f"not finite: values of {', '.join(values)}" if values else "every parameter was finite before it"
        kept = _values(self.buffers)
        self.optimizers[0].zero_grad()
        for batch in batches:
            self._forward(self.model, batch).loss.backward()
        _put(self.buffers, kept)
        gradients = [n for n, p in self.model.named_parameters() if p.grad is not None and not _finite(p.grad)]
        return (
            f"not finite: values of {', '.join(values) or 'no parameter'}; "
            f"gradients of {', '.join(gradients) or 'no parameter'}"
        )


def update_of(
    model: Module, optimizers: Sequence[Optimizer], forward: Forward, metrics: Mapping[str, Metric], micro: accumulate | None, *,
    clip_norm: float | None, clip_value: float | None, ema: AveragedModel | None, nonfinite: str, norms: bool, updates_itself: bool,
    guarded: list[Tensor] | None,
) -> Callable[..., dict[str, Any]]:  # fmt: skip
    """A step as a function of the batch, or of several.

    Where the loss is not finite it puts back the cells `guarded`, which is all that can be done in a compiled step; with None
    it looks at the loss before the update.
    """
    # what this function names is part of what a compiled step watches, so ops stand in the functions below
    parameters = list(model.parameters())
    buffers = list(model.buffers())

    def update(*batches: Any) -> dict[str, Any]:
        before = _values(buffers if guarded is None else guarded)
        alone = not updates_itself
        if micro is not None:
            with micro:
                every = [forward(model, batch) for batch in batches]
                for found, batch in zip(every, batches, strict=True):
                    micro.add(found.loss, n_rows(batch))
        else:
            if alone:
                optimizers[0].zero_grad()
            every = [forward(model, batches[0])]
            if alone:
                every[0].loss.backward()
        told = _mean([_told(found) for found in every], [n_rows(batch) for batch in batches])
        if alone:
            if norms:
                told["gradient_norms"] = _norms(parameters)
            if clip_value is not None:
                clip_grad_value_(parameters, clip_value)
            if clip_norm is not None:
                told["gradient_norm"] = clip_grad_norm_(parameters, clip_norm)
            if nonfinite == "skip":
                told["loss"] = _unless_infinite(told["loss"], told.get("gradient_norm"), parameters)
            if guarded is None and nonfinite != "ignore" and not math.isfinite(told["loss"].item()):
                _put(buffers, before)
                return told
            optimizers[0].step()
        if ema is not None:
            ema.update_parameters(model)
        with no_grad():
            for found in every if metrics else ():
                for metric in metrics.values():
                    metric.update(*_compared(found))
        if guarded:
            _put_unless_finite(told["loss"], guarded, before)
        return told

    return update


def _values(cells: Sequence[Tensor]) -> list[Tensor]:
    """The values as they are now, whatever is written into the cells meanwhile."""
    return [Tensor(cell._value) for cell in cells]


def _put(cells: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for cell, value in zip(cells, values, strict=True):
        assign(cell, value)


def _put_unless_finite(loss: Tensor, cells: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Takes back what was written where the loss is not finite."""
    with no_grad():
        finite = isfinite(loss)
        _put(cells, [where(finite, Tensor(cell._value), old) for cell, old in zip(cells, before, strict=True)])


def _unless_infinite(loss: Tensor, norm: Tensor | None, parameters: Sequence[Tensor]) -> Tensor:
    """The loss, or NaN where a gradient is not finite."""
    with no_grad():
        size = sqrt(_squares(parameters)) if norm is None else norm
        return where(isfinite(size), loss, math.nan)


def _told(found: Found) -> dict[str, Any]:
    """The numbers of a batch, without a graph."""
    return {name: as_tensor(value).detach() for name, value in {"loss": found.loss, **found.more}.items()}


def _mean(told: list[dict[str, Any]], rows: list[int]) -> dict[str, Any]:
    """The numbers of several batches, each weighed by its rows."""
    if len(told) == 1:
        return told[0]
    with no_grad():
        return {
            name: total(stack([t[name].astype(np.float64) * (n / sum(rows)) for t, n in zip(told, rows, strict=True)]))
            for name in told[0]
        }


def _compared(found: Found) -> tuple[Any, Any]:
    if found.output is None or found.target is None:
        raise ArgumentError(
            "Trainer: metrics compare outputs with targets; give batches (inputs, target), or let step give "
            "'output' and 'target' as well"
        )
    return as_tensor(found.output).detach(), found.target


def _squares(parameters: Sequence[Tensor]) -> Tensor:
    with no_grad():
        found = [total(abs(p.grad.detach()) ** 2.0) for p in parameters if p.grad is not None]
        return total(stack(found)) if found else Tensor(np.float64(0.0))


def _norms(parameters: Sequence[Tensor]) -> Tensor:
    """The norm of the gradient of every parameter, [parameters]; 0 where there is none."""
    with no_grad():
        zero = Tensor(np.float64(0.0))
        return stack(
            [
                zero if p.grad is None else sqrt(total(p.grad.detach() * p.grad.detach())).astype(np.float64)
                for p in parameters
            ]
        )


def _numbers(told: dict[str, Any]) -> dict[str, Any]:
    return {n: v.item() if v.ndim == 0 else np.asarray(v.detach()) for n, v in told.items()}


def _finite(cell: Tensor) -> bool:
    return bool(np.isfinite(np.asarray(cell.detach())).all())
