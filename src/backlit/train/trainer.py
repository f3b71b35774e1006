"""Trainer: a model, its optimizer, its loss and what watches them, in a plain loop."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from backlit.compiler.compile import compile as compiled
from backlit.compiler.report import Report
from backlit.compiler.state import Reached
from backlit.core import tree
from backlit.core.arguments import integer, positive
from backlit.core.errors import ArgumentError, BacklitError, DataError
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor, no_grad
from backlit.nn import Module
from backlit.optim import Optimizer, lr_scheduler
from backlit.optim.swa_utils import AveragedModel, get_ema_avg_fn
from backlit.train.batches import as_loader, grouped, length
from backlit.train.callbacks import Callback, watched
from backlit.train.checkpoints import Checkpoints
from backlit.train.history import History
from backlit.train.lr_finder import LRFinder, find_lr
from backlit.train.modes import evaluating, training
from backlit.train.progress import Reporter
from backlit.train.running import as_metrics, n_rows
from backlit.train.signals import Interruption, Stop, interruption
from backlit.train.step import ByLoss, ByStep, Stepper, TrainingDivergedError, called

HISTORY = "history.jsonl"


class Trainer:
    """Trains `model` with `optimizer` on a `loss(output, target)`.

    A step (forward, backward, clipping, update, averages, metrics) is one compiled program; `compile=False` runs it op by op.
    What runs by an op's eager forward is said once with `fit(..., verbose=True)` and by `report()`.

    - `metrics`: a dictionary or list of metrics (`backlit.train.Accuracy()` ...) or of functions of output and target; of
      training rows while they are trained on, of validation rows with `val_` before the name. Means are over all rows.
    - `callbacks`: see `backlit.train.Callback`; `EarlyStopping`, `KeepBest`, `TensorBoard` are there.
    - `step(model, batch)` stands in the place of `loss`: it gives the loss of a batch, or a dictionary with "loss", numbers to
      be logged and, for metrics, "output" and "target". With a list of optimizers, of one too, it does `backward` and `step()` itself.
    - `scheduler` is stepped after each "epoch" or "step" (`scheduler_interval`; by itself OneCycleLR and CyclicLR a step, all
      others an epoch); ReduceLROnPlateau gets the number named `monitor`, "val_loss" where there is validation, else "loss".
    - `clip_norm`, `clip_value` clip gradients before the update. `accumulate=n` adds up the gradients of n batches for a
      step, of which the means count by their rows; all n are in one program. `ema=0.999` keeps an exponential average of the weights,
      `trainer.ema`, which validation, `evaluate` and `predict` use.
    - `nonfinite="raise"` ends the run where the loss is not finite; "skip" passes over steps whose loss or gradients are not,
      and says so; of a step that updates itself the loss alone is looked at. Either way such a step changes nothing; "ignore" looks at nothing, which is quicker where weights are large
      and batches small (by a seventh for 784-512-256-10, Adam, 128 rows).
    - `gradient_norms`: the mean norm of every parameter's gradient goes into the history.
    - `generators`: further random generators that checkpoints keep, beside the default one and those that the step reaches.

    Mixed precision has no switch yet; a loss that casts, as in `step=`, is the place for it.

    Raises:
      ArgumentError: options that contradict each other.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer | Sequence[Optimizer], loss: Callable[..., Any] | None = None,
        metrics: Any = None, callbacks: Iterable[Callback] = (), *, step: Callable[[Module, Any], Any] | None = None,
        scheduler: Any = None, scheduler_interval: str | None = None, monitor: str | None = None, compile: bool = True,
        clip_norm: float | None = None, clip_value: float | None = None, accumulate: int = 1, ema: float | None = None, nonfinite: str = "raise",
        gradient_norms: bool = False, generators: Iterable[Generator] = (),
    ) -> None:  # fmt: skip
        if (loss is None) == (step is None):
            raise ArgumentError("Trainer: give a loss, or a step that gives the loss; one of them")
        if nonfinite not in ("raise", "skip", "ignore"):
            raise ArgumentError(f"Trainer: nonfinite must be 'raise', 'skip' or 'ignore', got {nonfinite!r}")
        if scheduler_interval not in (None, "step", "epoch"):
            raise ArgumentError(f"Trainer: scheduler_interval must be 'step' or 'epoch', got {scheduler_interval!r}")
        self.model = model
        self._updates_itself = not isinstance(optimizer, Optimizer)
        self.optimizers: list[Optimizer] = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
        if step is None and self._updates_itself:
            raise ArgumentError("Trainer: several optimizers need a step, which does backward and updates itself")
        if self._updates_itself and (clip_norm, clip_value, accumulate) != (None, None, 1):
            raise ArgumentError("Trainer: with several optimizers the step clips and accumulates gradients itself")
        accumulate = integer("Trainer", "accumulate", accumulate)
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None:
                positive("Trainer", name, limit)
        self.metrics = as_metrics(metrics)
        self._validation_metrics = copy.deepcopy(self.metrics)
        self.callbacks = list(callbacks)
        self._around = [c for c in self.callbacks if type(c).around_step is not Callback.around_step]
        self.scheduler, self.monitor = scheduler, monitor
        self._each_step = (scheduler_interval or _usual_interval(scheduler)) == "step"
        self.ema = None if ema is None else AveragedModel(model, get_ema_avg_fn(ema))
        self.nonfinite, self.accumulate = nonfinite, accumulate
        self._given_generators = list(generators)
        self._forward = ByStep(step) if step is not None else ByLoss(loss)  # type: ignore[arg-type]
        self._is_compiled = compile
        self._stepper = Stepper(
            model, self.optimizers, self._forward, self.metrics, updates_itself=self._updates_itself, compiled=compile, clip_norm=clip_norm, clip_value=clip_value,
            ema=self.ema, nonfinite=nonfinite, norms=gradient_norms, accumulated=accumulate > 1,
        )  # fmt: skip
        self._predicted: dict[int, Any] = {}
        self._reporter = Reporter(None)
        self._checkpoints: Checkpoints | None = None
        self._loader: Any = None
        self._held_out: Any = None
        self._clock = self._saved_at = 0.0
        self.history = History()
        self._told_how = False
        self._generators = self._all_generators()
        self._start_anew()

    def _start_anew(self) -> None:
        self.epoch = self.step = 0  # so many are done
        self.should_stop = False
        self.logs: dict[str, Any] = {}
        self.skipped = 0
        self._new_epoch()

    def _new_epoch(self) -> None:
        self.batch = 0  # so many of this epoch are done
        self._trained = False  # whether all are
        self._rows = 0
        self._seconds = 0.0
        self._lr = self.optimizer.lr  # of the last step
        self._sums: dict[str, Any] = {}
        for metric in self.metrics.values():
            metric.reset()

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, the first of several."""
        return self.optimizers[0]

    @property
    def evaluated(self) -> Module:
        """The model that is evaluated: the average where there is one."""
        return self.model if self.ema is None else self.ema.module

    # The loop

    def fit(
        self, data: Any, epochs: int, *, validation: Any = None, batch_size: int = 32, shuffle: bool = True,
        checkpoints: str | os.PathLike[str] | None = None, keep: int = 3, every: int | None = None,
        every_s: float | None = None, resume: bool = False, history: str | os.PathLike[str] | None = None,
        generator: Generator | None = None, about: Mapping[str, Any] | None = None, verbose: bool | None = None,
    ) -> History:  # fmt: skip
        """Trains until `epochs` epochs are done; gives the history.

        `data` is a loader (or any iterable) of batches `(inputs, target)`, or the arrays themselves, of which batches of
        `batch_size` rows are made, shuffled each epoch by `generator` (one split off the default one); `validation` likewise, without shuffling.

        With `checkpoints`, a folder, everything that the rest of the run depends on is written there: after each epoch, after
        each `every` steps, or where `every_s` seconds are over since the last; the last `keep` stay, and `history.jsonl` is
        there. `resume=True` continues from the newest that is whole, to the bit as if nothing had happened, and starts a new
        run where there is none. Ctrl-C ends the run after the step, with a checkpoint; pressed again it ends at once.

        `verbose` None shows a bar on a terminal and elsewhere a line when the run takes long; False nothing; True a line an
        epoch too, and what was compiled.

        Raises:
          TrainingDivergedError: the loss is not finite; the step and what else is not finite are named. The model is as
            before that step.
          DataError: the folder holds checkpoints and `resume` is not given; or they are of another model; or an epoch has no batches.
          ArgumentError: the data is nothing that has rows or batches, or a number is out of range.
          FileFormatError: every checkpoint is damaged.
        """
        epochs, keep = integer("fit", "epochs", epochs, least=0), integer("fit", "keep", keep)
        if every is not None:
            every = integer("fit", "every", every)
        if every_s is not None:
            positive("fit", "every_s", every_s, or_zero=True)
        self._loader = loader = as_loader(data, batch_size, shuffle, generator)
        self._held_out = held_out = None if validation is None else as_loader(validation, batch_size, False)
        with ExitStack() as stack:
            self._begin(checkpoints, keep, resume, history, dict(about or {}), verbose)
            stack.callback(self.history.close)
            stack.enter_context(training(self.model))
            stop = stack.enter_context(interruption())
            stack.enter_context(self._reporter.bar(self.epoch, epochs, self.batch, length(loader)))
            for callback in self.callbacks:
                callback.on_fit_start(self)
            self._clock = self._saved_at = time.perf_counter()
            try:
                while self.epoch < epochs and not self.should_stop:
                    if self.batch == 0:
                        self._start_epoch()
                    while not self._trained:  # once, or not at all where a resumed epoch lacks only its validation
                        for batches in grouped(loader, self.accumulate):
                            self._take(batches)
                            stop.check()
                            if self._is_due(every, every_s):
                                self.save_checkpoint()
                        if self.batch == 0:
                            raise DataError(f"fit: the data gives no batches in epoch {self.epoch + 1}")
                        self._trained = True
                    self._end_epoch(held_out, stop)
                    last = self.epoch >= epochs or self.should_stop
                    if last or (every, every_s) == (None, None) or self._is_due(every, every_s):
                        self.save_checkpoint()
            except Interruption:
                self._say_interrupted(self.save_checkpoint())
            for callback in self.callbacks:
                callback.on_fit_end(self)
        return self.history

    def _begin(
        self, checkpoints: Any, keep: int, resume: bool, history: Any, about: dict[str, Any], verbose: bool | None
    ) -> None:  # fmt: skip
        """Everything before the first batch: a new run, or the rest of one."""
        self._reporter = Reporter(verbose)
        self._start_anew()
        self._generators = self._all_generators()
        self._checkpoints = None if checkpoints is None else Checkpoints(checkpoints, keep)
        if resume and self._checkpoints is None:
            raise ArgumentError("fit: resume=True needs checkpoints, the folder of the run")
        path = Path(checkpoints) / HISTORY if history is None and checkpoints is not None else history
        found = self._checkpoints.newest() if self._checkpoints is not None and resume else None
        if found is not None:
            state, file = found
            self.load_state_dict(state)
            self.history = History(path, state["history"])
            self.say(f"goes on after step {self.step} (epoch {self.epoch + 1}), from {file}")
            return
        if self._checkpoints is not None and self._checkpoints.paths():
            raise DataError(
                f"fit: {checkpoints} holds the checkpoints of a run; continue it with resume=True, or give another folder"
            )
        self.history = History(path)
        self.history.write("run", **about)

    def _start_epoch(self) -> None:
        for callback in self.callbacks:
            callback.on_epoch_start(self)

    def _take(self, batches: Sequence[Any]) -> None:
        """A step, and what is counted."""
        with ExitStack() as stack:
            for callback in self._around:
                if (context := callback.around_step(self)) is not None:
                    stack.enter_context(context)
            self.logs = numbers = self.train_step(*batches)
        self.step += 1
        self.batch += len(batches)
        if math.isfinite(numbers["loss"]):
            rows = sum(n_rows(batch) for batch in batches)
            self._rows += rows
            for name, value in numbers.items():
                weight = 1 if name.startswith("gradient_norm") else rows
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value * weight, count + weight
        self._lr = self.optimizer.lr
        if self._each_step and self.scheduler is not None:
            self.scheduler.step()
        self._reporter.stepped(self.epoch, self.batch, len(batches), numbers["loss"])
        for callback in self.callbacks:
            callback.on_step_end(self)

    def train_step(self, *batches: Any) -> dict[str, Any]:
        """One step on a batch `(inputs, target)`, or on several whose gradients are added up; gives its numbers.

        This is all that a loop of your own needs; the model must be in training mode.

        Raises:
          TrainingDivergedError: the loss is not finite, and `nonfinite` is "raise".
        """
        batches = tuple(tree.map(_as_array, batch) for batch in batches)
        numbers = self._stepper.step(*batches)
        if not math.isfinite(numbers["loss"]):
            if self.nonfinite == "raise":
                raise TrainingDivergedError(
                    f"the loss became {numbers['loss']} in step {self.step + 1} (epoch {self.epoch + 1}); "
                    f"{self._stepper.diverged(*batches)}; try a smaller learning rate"
                )
            self.skipped += self.nonfinite == "skip"
            if self.skipped == 1 and self.nonfinite == "skip":
                self.say(f"step {self.step + 1} changed nothing: its loss or a gradient is not finite (said once)")
        return numbers

    def _end_epoch(self, held_out: Any, stop: Stop) -> None:
        """Validation, the schedule, callbacks, and the line in the history."""
        self._tally()
        logs: dict[str, Any] = {name: total / count for name, (total, count) in self._sums.items()}
        logs.setdefault("loss", math.nan)
        logs |= {name: metric.compute() for name, metric in self.metrics.items()} if self._rows else {}
        if "gradient_norms" in logs:
            logs["gradient_norms"] = dict(zip(self._stepper.names, logs["gradient_norms"].tolist(), strict=True))
        if held_out is not None:
            logs |= {f"val_{name}": value for name, value in self._evaluated(held_out, stop).items()}
            self._tally()
        if self.scheduler is not None and not self._each_step:
            self._step_scheduler(logs)
        self.epoch += 1
        skipped = {"skipped": self.skipped} if self.nonfinite == "skip" else {}
        self.logs = {
            "epoch": self.epoch, "step": self.step, **logs, **skipped, "lr": self._lr, "rows": self._rows, "seconds": self._seconds,
        }  # fmt: skip
        for callback in self.callbacks:
            callback.on_epoch_end(self)
        self.history.write("epoch", **self.logs)
        if self._reporter.verbose and not self._told_how:
            self.say(self.report())
            self._told_how = True
        self._reporter.epoch_done(self.epoch, self.logs)
        self._new_epoch()

    def _step_scheduler(self, logs: Mapping[str, Any]) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
            self.scheduler.step(watched(logs, name, "ReduceLROnPlateau"))
        else:
            self.scheduler.step()

    def _tally(self) -> None:
        """Adds the time since the last call to that of the epoch."""
        now = time.perf_counter()
        self._seconds, self._clock = self._seconds + now - self._clock, now

    def _is_due(self, every: int | None, every_s: float | None) -> bool:
        """Whether it is time for a checkpoint."""
        if self._checkpoints is None:
            return False
        if every is not None and self.step % every == 0:
            return True
        return every_s is not None and time.perf_counter() - self._saved_at >= every_s

    # Without training

    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, Any]:
        """Loss and metrics over `data`, arrays or a loader as for `fit`, in evaluation mode; nothing is changed.

        Means are over all rows, whatever the batches. Each module's mode is as before afterwards.
        """
        return self._evaluated(as_loader(data, batch_size, False), Stop())

    def _evaluated(self, loader: Any, stop: Stop) -> dict[str, Any]:
        if self._updates_itself:
            raise ArgumentError("Trainer: with several optimizers a step updates; evaluate in a callback of your own")
        model, metrics = self.evaluated, self._validation_metrics
        for metric in metrics.values():
            metric.reset()
        sums: dict[str, tuple[float, int]] = {}
        position = loader.state_dict()
        try:
            with evaluating(model):
                for batch in loader:
                    rows = n_rows(batch)
                    for name, value in self._stepper.measure(tree.map(_as_array, batch), model, metrics).items():
                        total, count = sums.get(name, (0.0, 0))
                        sums[name] = total + value * rows, count + rows
                    stop.check()
        except Interruption:
            loader.load_state_dict(position)  # all of it is gone through again
            raise
        if not sums:
            return {}
        found = {name: total / count for name, (total, count) in sums.items()}
        return found | {name: metric.compute() for name, metric in metrics.items()}

    def find_lr(
        self, data: Any, *, low: float = 1e-7, high: float = 10.0, steps: int = 100, batch_size: int = 32
    ) -> LRFinder:
        """A range test of learning rates (Smith, 2017): the loss over steps whose rate grows from `low` to `high`.

        It ends early where the loss is four times the lowest. Everything is put back afterwards: weights, optimizer,
        random numbers. `trainer.find_lr(...).suggestion` is a rate, `.plot()` a picture.

        Raises:
          ArgumentError: `low` is not above 0, `high` not above it, or there are fewer than 3 steps.
        """

        def take(batch: Any) -> float:
            return float(self._stepper.step(tree.map(_as_array, batch))["loss"])

        def set_lr(rate: float) -> None:
            for optimizer in self.optimizers:
                optimizer.lr = rate

        self._loader = self._held_out = None
        self._generators = self._all_generators()
        loader = as_loader(data, batch_size, True, Generator(0))
        position, before = loader.state_dict(), self.state_dict()
        try:
            with training(self.model):
                return find_lr(take, set_lr, loader, low, high, steps)
        finally:
            self._load(before)
            loader.load_state_dict(position)

    def predict(self, inputs: Any, *, batch_size: int = 256) -> Any:
        """The model's outputs for `inputs`, arrays or an iterable of batches of inputs, in evaluation mode.

        A tuple of arrays are the arguments of the model, a dictionary those by name. Outputs are joined along the first axis.

        Raises:
          DataError: there are none.
        """
        model = self.evaluated
        loader = as_loader(inputs, batch_size, False)
        several = (length(loader) or 2) > 1
        found = []
        with evaluating(model), no_grad():
            for batch in loader:
                apply = self._predictor(model) if several and self._is_compiled else called
                found.append(apply(model, tree.map(_as_array, batch)))
        if not found:
            raise DataError("predict: the inputs have no rows")
        if len(found) == 1:
            return found[0]
        return tree.map(lambda *parts: Tensor(np.concatenate([np.asarray(p) for p in parts])), *found)

    def _predictor(self, model: Module) -> Callable[[Module, Any], Any]:
        if id(model) not in self._predicted:
            self._predicted[id(model)] = compiled(lambda batch: called(model, batch))
        program = self._predicted[id(model)]
        return lambda _, batch: program(batch)

    def report(self) -> str:
        """How the steps ran, and which ops ran by their eager forward."""
        told = [f"by its eager forward: {why}" for why in self._stepper.fallbacks()]
        return "\n".join([f"steps ran as {self.how()}", *told])

    def how(self) -> str:
        """How the steps ran, in words."""
        return self._stepper.how()

    def reports(self) -> list[Report]:
        """What the compiled steps are made of, a report for each program; none before the first step, or without `compile`."""
        return self._stepper.reports()

    def say(self, text: str) -> None:
        """A line for the user, unless the run is not to say anything."""
        self._reporter.say(text)

    # Checkpoints

    def save_checkpoint(self) -> Path | None:
        """Writes a checkpoint now, where `fit` has a folder for them; gives its path."""
        self._tally()
        if self._checkpoints is None:
            return None
        path = self._checkpoints.save(self.state_dict(), self.step, epoch=self.epoch)
        self._saved_at = time.perf_counter()
        return path

    def _say_interrupted(self, path: Path | None) -> None:
        self.history.interrupted = True
        at = f"stopped after step {self.step} (epoch {self.epoch + 1})"
        if path is None:
            self.say(f"{at}; with checkpoints=FOLDER the run could be resumed")
        else:
            self.say(f"{at}; everything is in {path}: resume goes on from there")

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on, as a tree of arrays, numbers and strings."""
        sums = {name: [total, count] for name, (total, count) in self._sums.items()}
        return {
            "progress": {
                "epoch": self.epoch, "step": self.step, "batch": self.batch, "trained": self._trained, "rows": self._rows,
                "stopped": self.should_stop, "skipped": self.skipped, "seconds": self._seconds, "lr": self._lr,
                "sums": sums,
            },
            "history": self.history.position(),
            "model": self.model.state_dict(),
            "optimizers": [[type(o).__name__, o.state_dict()] for o in self.optimizers],
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "metrics": {name: metric.state_dict() for name, metric in self.metrics.items()},
            "callbacks": [[type(c).__name__, c.state_dict()] for c in self.callbacks],
            "loader": None if self._loader is None else self._loader.state_dict(),
            "validation": None if self._held_out is None else self._held_out.state_dict(),
            "generators": [generator.get_state() for generator in self._generators],
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave; on an error nothing has changed.

        Raises:
          DataError: it is the state of another model, optimizer, or set of callbacks.
        """
        before = self.state_dict()
        try:
            self._load(state)
        except (BacklitError, AttributeError, LookupError, TypeError, ValueError) as error:
            self._load(before)
            if isinstance(error, BacklitError):
                raise
            raise DataError(f"load_state_dict: this is no state of such a trainer ({error!r})") from error

    def _load(self, state: Mapping[str, Any]) -> None:
        callbacks, optimizers, generators = state["callbacks"], state["optimizers"], self._generators
        for what, saved, own in (
            ("callbacks", [name for name, _ in callbacks], [type(c).__name__ for c in self.callbacks]),
            ("metrics", sorted(state["metrics"]), sorted(self.metrics)),
            ("optimizers", [name for name, _ in optimizers], [type(o).__name__ for o in self.optimizers]),
            ("random generators", len(state["generators"]), len(generators)),
            ("a scheduler", state["scheduler"] is not None, self.scheduler is not None),
            ("validation", state["validation"] is not None, self._held_out is not None),
            ("an average of the weights", state["ema"] is not None, self.ema is not None),
        ):
            if saved != own:
                raise DataError(
                    f"load_state_dict: the state has other {what} than this trainer: {saved}, expected {own}"
                )
        progress = state["progress"]
        sums = {n: (_as_array(t), int(c)) for n, (t, c) in progress["sums"].items()}
        self.model.load_state_dict(state["model"])
        for optimizer, (_, part) in zip(self.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(part)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        for name, metric in self.metrics.items():
            metric.load_state_dict(state["metrics"][name])
        for callback, (_, part) in zip(self.callbacks, callbacks, strict=True):
            callback.load_state_dict(part)
        for loader, part in ((self._loader, state["loader"]), (self._held_out, state["validation"])):
            if loader is not None:
                loader.load_state_dict(part)
        for generator, part in zip(generators, state["generators"], strict=True):  # after all that may draw
            generator.set_state(part)
        self.epoch, self.step, self.batch = (int(progress[name]) for name in ("epoch", "step", "batch"))
        self._trained, self.should_stop = bool(progress["trained"]), bool(progress["stopped"])
        self._rows, self.skipped = int(progress["rows"]), int(progress["skipped"])
        self._seconds, self._lr, self._sums = float(progress["seconds"]), float(progress["lr"]), sums
        self._stepper.renew()

    def _all_generators(self) -> list[Generator]:
        """The default generator, those that the step or a callback reaches, and those that were given; each once."""
        parts = {"forward": self._forward, "model": self.model, "callbacks": self.callbacks}
        reached = Reached(parts)
        found = [default_generator(), *reached.generators(), *self._given_generators]
        return list({id(generator): generator for generator in found}.values())


def _usual_interval(scheduler: Any) -> str:
    return "step" if isinstance(scheduler, (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)) else "epoch"


def _as_array(leaf: Any) -> Any:
    """A leaf of a batch as what a compiled step takes: numbers too are arrays, whose value is no guard."""
    return leaf if isinstance(leaf, (Tensor, np.ndarray, str)) else np.asarray(leaf)
