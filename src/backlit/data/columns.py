"""One column of a table as numbers: its kind, what is learned from the training rows, and the features it gives.

Polars is reached through the methods of the series alone: whoever has a frame has it installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import DataError

if TYPE_CHECKING:
    import polars

MAX_CATEGORIES = 100
Array = np.ndarray[Any, Any]
_KINDS = {bool: "boolean", str: "text", type(None): "missing"}


def kind_of(series: polars.Series) -> str:
    """ "numeric", "boolean", "text" (also dates and times), "missing" when it has no values, else "unusable"."""
    if series.drop_nulls().is_empty():
        return "missing"
    if series.dtype.is_numeric():
        return "numeric"
    return "text" if series.dtype.is_temporal() else _KINDS.get(series.dtype.to_python(), "unusable")


def numbers_of(series: polars.Series) -> Array:
    """The values as float64 [rows], NaN where missing.

    Raises:
      DataError: a value is infinite.
    """
    numbers = np.asarray(series.cast(float).to_numpy(), dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(numbers))
    if infinite.size:
        raise DataError(
            f"column {series.name!r} has {infinite.size} infinite values, the first in row {infinite[0] + 1} of the data; "
            "correct them or leave them empty"
        )
    return numbers


def mean_and_std(numbers: Array, name: str) -> tuple[float, float]:
    """Mean and standard deviation of `numbers`; the latter 1 when all are the same.

    Raises:
      DataError: the deviation overflows or underflows.
    """
    if numbers.min() == numbers.max():
        return float(numbers[0]), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(numbers.mean()), float(numbers.std())
    if not (np.isfinite(std) and std > 0):
        low, high = numbers.min(), numbers.max()
        raise DataError(f"column {name!r} ranges over {low:g} to {high:g}, which cannot be standardised; rescale it")
    return mean, std


@dataclass(frozen=True)
class Column:
    """What is known of one column from the training rows.

    kind: "numeric" gives one standardised feature, "boolean" one of 0 and 1, "categorical" one of 0 and 1 for each
    value. With `has_missing` there is one more, 1 where the value is missing; a missing number is `fill`, the training
    median (of booleans: the more frequent one).
    """

    name: str
    kind: str
    has_missing: bool
    fill: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    categories: tuple[str, ...] = ()

    @staticmethod
    def fit(series: polars.Series) -> Column | str:
        """The column as learned from training rows, or why it cannot be a feature.

        Text is categorical when each value comes twice on average and there are at most `MAX_CATEGORIES` of them.

        Raises:
          DataError: infinite numbers, or a range too wide.
        """
        kind, name, has_missing = kind_of(series), series.name, series.null_count() > 0
        if kind == "unusable":
            return f"values of type {series.dtype} cannot be features"
        if series.n_unique() == 1:
            return "it has the same value in every row"
        if kind == "text":
            text = series.drop_nulls().cast(str)
            categories = text.unique().sort().to_list()
            if 2 * len(categories) > len(text) or len(categories) > MAX_CATEGORIES:
                return _why_not_categorical(text, len(categories))
            return Column(name, "categorical", has_missing, categories=tuple(categories))
        numbers = numbers_of(series)
        present = numbers[~np.isnan(numbers)]
        if kind == "boolean":
            return Column(name, kind, has_missing, fill=float(2 * present.sum() > present.size))
        fill = float(np.median(present))
        mean, std = mean_and_std(np.where(np.isnan(numbers), fill, numbers), name)
        return Column(name, kind, has_missing, fill, mean, std)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features in the order in which `encode` gives them."""
        own = [f"{self.name}={c}" for c in self.categories] if self.kind == "categorical" else [self.name]
        return own + [f"{self.name} is missing"] * self.has_missing

    def mismatch(self, series: polars.Series) -> str | None:
        """What is wrong with the kind of `series`, None when it can be encoded."""
        kind = kind_of(series)
        # Categories may look like numbers or booleans when a file holds few rows.
        fits = kind in ("text", "numeric", "boolean") if self.kind == "categorical" else kind == self.kind
        if fits or kind == "missing":
            return None
        example = series.drop_nulls()[0]
        return f"{self.name!r} was {self.kind} in training and is {kind} here, such as {example!r}"

    def encode(self, series: polars.Series, report: list[str]) -> Array:
        """The features, float32 [rows, features]; appends to `report` what the training rows did not have.

        Raises:
          DataError: a number is infinite, or too far from the training rows for float32.
        """
        n_missing = series.null_count()
        if n_missing and not self.has_missing:
            how = "no category" if self.kind == "categorical" else f"{self.fill:g}, the middle of the training values"
            report.append(f"{self.name!r}: {n_missing} missing values, none in training; taken as {how}")
        missing = [series.is_null().to_numpy()] * self.has_missing
        if self.kind == "categorical":
            text = series.cast(str)
            self._report_unknown(text, report)
            values = [(text == category).fill_null(False).to_numpy() for category in self.categories]
            return np.stack([*values, *missing], axis=1).astype(np.float32)
        numbers = numbers_of(series)
        with np.errstate(over="ignore"):
            scaled = (np.where(np.isnan(numbers), self.fill, numbers) - self.mean) / self.std
        if np.any(np.abs(scaled) > np.finfo(np.float32).max):
            worst = numbers[np.argmax(np.abs(scaled))]
            raise DataError(f"column {self.name!r} has values too far from those in training, such as {worst:g}")
        return np.stack([scaled, *missing], axis=1).astype(np.float32)

    def _report_unknown(self, text: polars.Series, report: list[str]) -> None:
        unknown = text.drop_nulls().filter(~text.drop_nulls().is_in(list(self.categories)))
        if len(unknown):
            examples = ", ".join(map(repr, unknown.unique().sort().head(3)))
            report.append(
                f"{self.name!r}: {len(unknown)} values not seen in training ({examples}), taken as no category"
            )


def _why_not_categorical(text: polars.Series, n_distinct: int) -> str:
    reason = f"it has {n_distinct} distinct texts in {len(text)} rows, too many to be categories"
    numbers = text.cast(float, strict=False)
    if 2 * numbers.count() > len(text):
        odd = text.filter(numbers.is_null())[0]
        reason += f"; {numbers.count()} of them are numbers, {odd!r} is not"
    return reason
