"""Metrics that add up over batches, so that a mean over ragged batches is the mean over all rows.

A metric keeps its sums in cells and adds to them with ops: the whole of it is part of a compiled step. Counts are int64
and sums float64.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DataError
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, assign
from backlit.functional.classification import cross_entropy
from backlit.ops.elementwise import where
from backlit.ops.picking import take_along_axis
from backlit.ops.statistics import argmax
from backlit.ops.statistics import sum as total


class Metric(ABC):
    """Base of the metrics: `update(output, target)` takes a batch, `compute()` gives the number over all of them.

    A subclass makes its cells with `make_cell` and writes them with `add` and `put`.
    """

    def __init__(self) -> None:
        self.cells: dict[str, Tensor] = {}

    def make_cell(self, name: str, shape: tuple[int, ...] = (), dtype: Any = np.float64) -> None:
        """A cell of zeros, for `__init__`."""
        self.cells[name] = Tensor(np.zeros(shape, dtype))

    def add(self, name: str, value: Any) -> None:
        """Adds to a cell."""
        cell = self.cells[name]
        assign(cell, cell + as_tensor(value).astype(cell.dtype))

    def put(self, name: str, value: Any) -> None:
        """Writes a cell."""
        assign(self.cells[name], as_tensor(value).astype(self.cells[name].dtype))

    def value(self, name: str) -> Any:
        """What is in a cell, as a NumPy array."""
        return np.asarray(self.cells[name].detach())

    @abstractmethod
    def update(self, output: Any, target: Any) -> None:
        """Takes the outputs and targets of a batch."""

    @abstractmethod
    def compute(self) -> Any:
        """The metric of all batches since `reset`: a float, or an array."""

    def reset(self) -> None:
        """Forgets all batches."""
        for cell in self.cells.values():
            assign(cell, Tensor(np.zeros(cell.shape, cell.dtype)))

    def state_dict(self) -> dict[str, Tensor]:
        """The sums so far."""
        return {name: cell.detach() for name, cell in self.cells.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave.

        Raises:
          DataError: it is the state of another metric.
        """
        arrays = {name: np.asarray(value) for name, value in state.items()}
        if {n: a.shape for n, a in arrays.items()} != {n: c.shape for n, c in self.cells.items()}:
            raise DataError(f"load_state_dict: the state is of another metric than {type(self).__name__}")
        for name, cell in self.cells.items():
            assign(cell, Tensor(np.array(arrays[name], cell.dtype)))


def _ratio(a: Any, b: Any) -> float:
    return float(a) / float(b) if b else float("nan")


class Mean(Metric):
    """The mean of `function(output, target)` over all elements that it gives; a single number stands for a whole batch.

    So `Mean(nn.functional.mse_loss)`, and the same with `reduction="none"`, is the mean over all rows.
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.make_cell("sum")
        self.make_cell("count", dtype=np.int64)

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch; a single number counts as often as there are rows."""
        if not n_rows(output):
            return
        value = as_tensor(self.function(output, target))
        rows = n_rows(output) if value.ndim == 0 else value.size
        value = value.astype(np.float64)
        self.add("sum", value * float(rows) if value.ndim == 0 else total(value))
        self.add("count", rows)

    def compute(self) -> float:
        """The mean; NaN of nothing."""
        return _ratio(self.value("sum"), self.value("count"))


def n_rows(batch: Any) -> int:
    """How many rows a batch has, by the first axis of its first array; 1 where that has no axis."""
    while isinstance(batch, (tuple, list, dict)):
        if not batch:
            return 0
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    shape = batch.shape if hasattr(batch, "shape") else np.shape(batch)
    return int(shape[0]) if shape else 1


def _guessed(output: Any, target: Any, axis: int) -> tuple[Tensor, Tensor]:
    """Class numbers that were given and that are true; probabilities as targets stand for the likeliest class."""
    output, target = as_tensor(output), as_tensor(target)
    guess = argmax(output, axis=axis)
    if target.shape == output.shape and target.dtype.kind == "f":
        target = argmax(target, axis=axis)
    if target.shape != guess.shape:
        raise ArgumentError(
            f"accuracy: expected class numbers {list(guess.shape)} for an output {list(output.shape)} with the classes on "
            f"axis {axis}, got {list(target.shape)}{here()}"
        )
    return guess, target.astype(np.int64)


class Accuracy(Metric):
    """The share of rows whose largest output is at the true class.

    Shapes:
      output: [batch, classes, ...]; target: class numbers [batch, ...], or probabilities like `output`. `axis` is that of the
      classes. Rows whose target is `ignore_index` do not count.
    """

    def __init__(self, axis: int = 1, ignore_index: int = -100) -> None:
        super().__init__()
        self.axis, self.ignore_index = axis, ignore_index
        self.make_cell("right", dtype=np.int64)
        self.make_cell("count", dtype=np.int64)

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch."""
        guess, true = _guessed(output, target, self.axis)
        counts = true != self.ignore_index
        self.add("right", total(((guess == true) & counts).astype(np.int64)))
        self.add("count", total(counts.astype(np.int64)))

    def compute(self) -> float:
        """The share; NaN of nothing."""
        return _ratio(self.value("right"), self.value("count"))


class BinaryAccuracy(Accuracy):
    """The share of elements on the right side of `threshold`: 0 for logits, 0.5 for probabilities; targets are 0 or 1."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch."""
        output, target = as_tensor(output), as_tensor(target)
        right = (output > self.threshold) == (target > 0.5)
        self.add("right", total(right.astype(np.int64)))
        self.add("count", right.size)


class TopKAccuracy(Accuracy):
    """The share of rows whose true class is among the `k` largest outputs; of equal outputs all count as larger.

    Shapes as those of `Accuracy`, with class numbers as targets.
    """

    def __init__(self, k: int = 5, axis: int = 1, ignore_index: int = -100) -> None:
        super().__init__(axis, ignore_index)
        if k < 1:
            raise ArgumentError(f"TopKAccuracy: k must be at least 1, got {k}")
        self.k = k

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch."""
        output = as_tensor(output)
        _, true = _guessed(output, target, self.axis)
        counts = true != self.ignore_index
        place = where(counts, true, 0)
        expanded = place.reshape(*place.shape[: self.axis % output.ndim], 1, *place.shape[self.axis % output.ndim :])
        own = take_along_axis(output, expanded, axis=self.axis)
        # itself among them; NaN is never right
        ahead = total((output >= own).astype(np.int64), axis=self.axis)
        self.add("right", total(((ahead <= self.k) & (ahead > 0) & counts).astype(np.int64)))
        self.add("count", total(counts.astype(np.int64)))


class ConfusionMatrix(Metric):
    """Counts int64 `[classes, classes]`: rows are the true classes, columns those given.

    Shapes as those of `Accuracy`.
    """

    def __init__(self, classes: int, axis: int = 1, ignore_index: int = -100) -> None:
        super().__init__()
        self.classes, self.axis, self.ignore_index = classes, axis, ignore_index
        self.make_cell("counts", (classes * classes + 1,), np.int64)

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch."""
        guess, true = _guessed(output, target, self.axis)
        n = self.classes
        known = (true >= 0) & (true < n) & (true != self.ignore_index) & (guess < n)
        place = where(known, true * n + guess.astype(np.int64), n * n)  # the last is of those that do not count
        self.put("counts", self.cells["counts"].at[place.reshape(-1)].add(1))

    def compute(self) -> Any:
        """The counts."""
        return self.value("counts")[:-1].reshape(self.classes, self.classes)


class MacroF1(ConfusionMatrix):
    """The mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""

    def compute(self) -> float:
        """The mean; NaN of nothing."""
        return macro_f1_of(super().compute())


def macro_f1_of(table: Any) -> float:
    """From counts `[true, given]`, the mean over the classes that occur of 2 tp / (2 tp + fp + fn); NaN of nothing."""
    both = table.sum(0) + table.sum(1)
    there = both > 0
    return float(np.mean(2 * np.diag(table)[there] / both[there])) if there.any() else float("nan")


class MeanAbsoluteError(Mean):
    """The mean of |output - target| over all elements."""

    def __init__(self) -> None:
        super().__init__(lambda output, target: abs(_difference(output, target)))


class MeanSquaredError(Mean):
    """The mean of (output - target)^2 over all elements."""

    def __init__(self) -> None:
        super().__init__(lambda output, target: _difference(output, target) ** 2.0)


class RootMeanSquaredError(MeanSquaredError):
    """The root of the mean of (output - target)^2 over all elements."""

    def compute(self) -> float:
        """The root; NaN of nothing."""
        return float(np.sqrt(super().compute()))


def _difference(output: Any, target: Any) -> Tensor:
    given, true = as_tensor(output).astype(np.float64), as_tensor(target).astype(np.float64)
    if given.shape != true.shape:
        raise ArgumentError(f"metric: expected a target {list(given.shape)}, got {list(true.shape)}{here()}")
    return given - true


class Perplexity(Mean):
    """exp of the mean cross entropy, of logits `[batch, classes, ...]` and class numbers `[batch, ...]`."""

    def __init__(self, ignore_index: int = -100) -> None:
        def summed(output: Any, target: Any) -> Any:
            return cross_entropy(output, target, reduction="sum", ignore_index=ignore_index)

        super().__init__(summed)
        self.ignore_index = ignore_index

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch."""
        self.add("sum", self.function(as_tensor(output).astype(np.float64), target))
        self.add("count", total((as_tensor(target) != self.ignore_index).astype(np.int64)))

    def compute(self) -> float:
        """The perplexity; NaN of nothing."""
        return float(np.exp(super().compute()))


class R2(Metric):
    """1 - squared error / squared deviation of the targets from their mean; NaN where the targets are constant.

    The deviation is added up around a running mean (Chan, Golub, LeVeque, 1983), so that nothing cancels.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("error", "mean", "deviation", "count"):
            self.make_cell(name)

    def update(self, output: Any, target: Any) -> None:
        """Takes a batch."""
        difference = _difference(output, target)
        true = as_tensor(target).astype(np.float64)
        n = float(true.size)
        if not n:
            return
        before, mean = self.cells["count"], total(true) / n
        off = mean - self.cells["mean"]
        self.add("deviation", total((true - mean) ** 2.0) + off * off * before * n / (before + n))
        self.add("mean", off * n / (before + n))
        self.add("count", n)
        self.add("error", total(difference**2.0))

    def compute(self) -> float:
        """The share that is explained; NaN of nothing."""
        deviation = float(self.value("deviation"))
        return 1.0 - float(self.value("error")) / deviation if deviation else float("nan")


def as_metrics(given: Any) -> dict[str, Metric]:
    """Metrics by name, from a dictionary or a list of them, and of functions of output and target, which give means.

    Raises:
      ArgumentError: something is neither, or two have one name.
    """
    if given is None:
        return {}
    pairs = list(given.items()) if isinstance(given, Mapping) else [(None, m) for m in _listed(given)]
    found: dict[str, Metric] = {}
    for name, metric in pairs:
        if not isinstance(metric, Metric):
            if not callable(metric) or isinstance(metric, type):
                raise ArgumentError(f"metrics: expected metrics or functions of output and target, got {metric!r}")
            name, metric = name or getattr(metric, "__name__", type(metric).__name__), Mean(metric)
        name = name or _snake(type(metric).__name__)
        if name in found:
            raise ArgumentError(f"metrics: two are named {name!r}; give a dictionary of names and metrics")
        found[name] = metric
    return found


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, (list, tuple)) else [given]


def _snake(name: str) -> str:
    """`TopKAccuracy` as `top_k_accuracy`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
