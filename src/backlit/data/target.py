"""The column to predict: which task it makes, its classes, and outputs turned back into values."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import ArgumentError, DataError, ShapeError
from backlit.data.columns import kind_of, mean_and_std, numbers_of

if TYPE_CHECKING:
    import polars

MIN_ROWS = 10
MAX_INTEGER_CLASSES = 20
Array = np.ndarray[Any, Any]


def named(frame: polars.DataFrame, name: str) -> polars.Series:
    """The column `name` with NaN as missing.

    Raises:
      DataError: there is none; near names are suggested.
    """
    if name not in frame.columns:
        near = difflib.get_close_matches(name.lower(), [c.lower() for c in frame.columns], n=3)
        found = [c for c in frame.columns if c.lower() in near]
        hint = f"did you mean {listed(found)}?" if found else f"the columns are {listed(frame.columns)}"
        raise DataError(f"there is no column {name!r}; {hint}")
    series = frame[name]
    return series.fill_nan(None) if series.dtype.is_float() else series


def listed(values: Iterable[Any], limit: int = 10) -> str:
    """The first values in quotes, for a message."""
    shown = list(values)
    return ", ".join(map(repr, shown[:limit])) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")


@dataclass(frozen=True)
class Target:
    """The column to predict, `task` "classification" or "regression".

    Classification: labels are positions in `classes`, which are ascending and all texts, all booleans or all whole
    numbers. Regression: values are standardised by `mean` and `std`. `report` says in sentences what was found.
    """

    name: str
    task: str
    classes: tuple[Any, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    report: tuple[str, ...] = ()

    @staticmethod
    def infer(frame: polars.DataFrame, name: str, task: str | None = None) -> Target:
        """What the column `name` asks for, from all rows: so call it before splitting.

        Without `task` texts and booleans mean classification, and so do whole numbers of at most
        `MAX_INTEGER_CLASSES` distinct values that come five times each on average and at least twice each; other
        numbers mean regression.

        Raises:
          DataError: no such column; fewer than `MIN_ROWS` rows with a value; a single class or value; a class with a
            single row; a target that the task cannot have.
          ArgumentError: `task` is neither of the two.
        """
        if task not in (None, "classification", "regression"):
            raise ArgumentError(f"task must be 'classification' or 'regression', got {task!r}")
        series = named(frame, name)
        n_missing = series.null_count()
        series = series.drop_nulls()
        if len(series) < MIN_ROWS:
            raise DataError(f"expected at least {MIN_ROWS} rows with a target {name!r}, got {len(series)}")
        report = []
        if n_missing:
            report.append(f"{n_missing} of {frame.height} rows have no target {name!r} and are left out")
        kind = kind_of(series)
        if kind == "unusable":
            raise DataError(
                f"the target {name!r} has values of type {series.dtype}; expected numbers, texts or booleans"
            )
        asked, task = task, task or _task_of(series, kind)
        if series.n_unique() == 1:
            what = "class" if task == "classification" else "value"
            raise DataError(f"the target {name!r} has a single {what}, {series[0]!r}; there is nothing to learn")
        how = "as asked" if asked else f"taken from its {'whole ' if series.dtype.is_integer() else ''}{_plural(kind)}"
        if task == "regression":
            if kind != "numeric":
                raise DataError(f"the target {name!r} is {kind}, such as {series[0]!r}; regression needs numbers")
            mean, std = mean_and_std(numbers_of(series), name)
            report.append(f"target {name!r}: regression, {how}; mean {mean:g}, standard deviation {std:g}")
            return Target(name, task, mean=mean, std=std, report=tuple(report))
        counts = Counter(_labels(series, kind).to_list())
        classes = sorted(counts)
        single = [c for c in classes if counts[c] == 1]
        if single:
            raise DataError(
                f"the target {name!r} has classes with a single row: {listed(single)}; "
                "leave these rows out, join classes, or choose another target"
            )
        report.append(f"target {name!r}: classification, {how}; {len(classes)} classes: {listed(classes)}")
        return Target(name, task, classes=tuple(classes), report=tuple(report))

    @property
    def n_outputs(self) -> int:
        """How many outputs a network needs: the number of classes, or 1."""
        return len(self.classes) or 1

    def labelled(self, frame: polars.DataFrame) -> polars.DataFrame:
        """The rows of `frame` that have a value in the target column."""
        return frame.filter(named(frame, self.name).is_not_null())

    def on(self, frame: polars.DataFrame) -> Target:
        """The same target with mean and deviation from these rows, the training rows.

        Raises:
          DataError: there are no rows with a value, or as for `encode`.
        """
        series = named(frame, self.name).drop_nulls()
        if not len(series):
            raise DataError(f"no row has a target {self.name!r}")
        if self.task == "classification":
            return self
        self._check_kind(series)
        mean, std = mean_and_std(numbers_of(series), self.name)
        return dataclasses.replace(self, mean=mean, std=std)

    def encode(self, frame: polars.DataFrame) -> Array:
        """Labels int64 [rows], or standardised values float32 [rows].

        Raises:
          DataError: no such column, rows without a value, a class that is not one of `classes`, or another kind of
            values.
        """
        series = named(frame, self.name)
        if series.null_count():
            raise DataError(f"{series.null_count()} rows have no target {self.name!r}; leave them out with labelled()")
        self._check_kind(series)
        if self.task == "regression":
            return ((numbers_of(series) - self.mean) / self.std).astype(np.float32)
        position = {value: i for i, value in enumerate(self.classes)}
        values = _labels(series, self._class_kind()).to_list()
        unknown = sorted({v for v in values if v not in position})
        if unknown:
            raise DataError(f"the target {self.name!r} has classes not seen in training: {listed(unknown)}")
        return np.array([position[v] for v in values], dtype=np.int64)

    def decode(self, outputs: Any) -> Array:
        """Outputs of a network as values of the column: the class of the largest of [rows, classes], or numbers.

        For regression outputs are [rows] or [rows, 1] and the values float64 [rows].

        Raises:
          ShapeError: the outputs have another shape.
        """
        outputs = np.asarray(outputs)
        if self.task == "classification":
            if outputs.ndim != 2 or outputs.shape[1] != len(self.classes):
                raise ShapeError(f"decode: expected outputs [rows, {len(self.classes)}], got {list(outputs.shape)}")
            chosen: Array = np.array(self.classes)[outputs.argmax(axis=1)]
            return chosen
        if outputs.ndim not in (1, 2) or outputs.shape[1:] not in ((), (1,)):
            raise ShapeError(f"decode: expected outputs [rows] or [rows, 1], got {list(outputs.shape)}")
        values: Array = outputs.reshape(-1).astype(np.float64) * self.std + self.mean
        return values

    def _class_kind(self) -> str:
        return (
            "boolean"
            if isinstance(self.classes[0], bool)
            else "text"
            if isinstance(self.classes[0], str)
            else "numeric"
        )

    def _check_kind(self, series: polars.Series) -> None:
        kind = kind_of(series)
        expected = "numeric" if self.task == "regression" else self._class_kind()
        # Classes that are texts may look like numbers or booleans when a file holds few rows.
        if len(series) and kind != expected and (expected != "text" or kind == "unusable"):
            raise DataError(f"the target {self.name!r} was {expected} in training and is {kind} here")


def _task_of(series: polars.Series, kind: str) -> str:
    if kind != "numeric":
        return "classification"
    n_distinct = series.n_unique()
    few = series.dtype.is_integer() and n_distinct <= min(MAX_INTEGER_CLASSES, len(series) / 5)
    return "classification" if few and not series.is_unique().any() else "regression"


def _labels(series: polars.Series, kind: str) -> polars.Series:
    """The values as classes: texts, booleans or whole numbers."""
    if kind == "text":
        return series.cast(str)
    if kind == "numeric" and not series.dtype.is_integer():
        whole = series.cast(float).cast(int, strict=False)
        fractions = series.filter(whole.is_null() | (whole.cast(float) != series.cast(float)))
        if len(fractions):
            raise DataError(
                f"the target {series.name!r} has numbers that are not whole, such as {fractions[0]}; use task 'regression'"
            )
        return whole
    return series


def _plural(kind: str) -> str:
    return {"numeric": "numbers", "boolean": "booleans", "text": "texts"}[kind]
