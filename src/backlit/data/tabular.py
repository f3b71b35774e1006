"""Encoder: the columns of a table as an array of features, learned from the training rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core.errors import DataError, FileFormatError
from backlit.data.columns import Column, kind_of
from backlit.data.target import Target, listed, named

if TYPE_CHECKING:
    import polars

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Encoder:
    """How the columns of a table become features and its target labels or values.

    Numbers are standardised, a missing one is the training median; booleans are 0 and 1; texts with few distinct
    values are one feature of 0 and 1 for each value. A column with missing values in training has one more feature,
    1 where it is missing. Texts with many distinct values (names, identifiers, dates) and columns that are the same in
    every row are dropped. `report` says all this of the training rows, in sentences.
    """

    target: Target
    columns: tuple[Column, ...]
    dropped: tuple[str, ...]
    report: tuple[str, ...]

    @staticmethod
    def fit(
        frame: polars.DataFrame, target: str | Target, task: str | None = None, drop: Iterable[str] = ()
    ) -> Encoder:
        """The encoder learned from the training rows `frame`; rows without a target are left out.

        `target` is the name of a column, or a `Target` inferred from all rows before they were split. `drop` names
        columns to pass over.

        Raises:
          DataError: a column that is not there or has no values, nothing left to learn from, infinite numbers, or as
            for `Target.infer`.
          ArgumentError: `task` is neither "classification" nor "regression".
        """
        drop = list(drop)
        if isinstance(target, str):
            target = Target.infer(frame, target, task)
        elif task not in (None, target.task):
            raise DataError(f"the target was inferred for {target.task}, but {task} is asked; infer it anew")
        for name in drop:
            named(frame, name)
        if target.name in drop:
            raise DataError(f"the target {target.name!r} cannot be dropped")
        frame = target.labelled(frame)
        target = target.on(frame)
        names = [name for name in frame.columns if name != target.name and name not in drop]
        empty = [name for name in names if kind_of(named(frame, name)) == "missing"]
        if empty:
            way = " ".join(f"--drop {name}" for name in empty)
            raise DataError(f"no row has a value in {listed(empty)}; leave out with drop={empty!r} ({way})")
        fitted = {name: Column.fit(named(frame, name)) for name in names}
        columns = tuple(column for column in fitted.values() if isinstance(column, Column))
        reasons = {name: "as asked" for name in drop} | {n: c for n, c in fitted.items() if isinstance(c, str)}
        if not columns:
            why = "; ".join(f"{name!r}: {reason}" for name, reason in reasons.items())
            raise DataError(f"no column is left to learn {target.name!r} from" + (f" ({why})" if why else ""))
        report = (*target.report, *_sentences(frame, columns), *(f"dropped {n!r}: {r}" for n, r in reasons.items()))
        return Encoder(target, columns, tuple(reasons), report)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features: "age", "age is missing", "sex=female"."""
        return [name for column in self.columns for name in column.feature_names]

    def transform(self, frame: polars.DataFrame, report: list[str] | None = None) -> Array:
        """The features of `frame`, float32 [rows, features].

        A value of a text column that training did not have is 0 in all its features. This, missing values that
        training did not have, and columns that are not used are told in sentences appended to `report`.

        Raises:
          DataError: columns are missing or of another kind than in training (all are named), or numbers are infinite
            or too far from those in training.
        """
        report = [] if report is None else report
        absent = [column.name for column in self.columns if column.name not in frame.columns]
        if absent:
            raise DataError(f"the table lacks columns that were used in training: {listed(absent)}")
        series = [named(frame, column.name) for column in self.columns]
        wrong = [w for column, s in zip(self.columns, series, strict=True) if (w := column.mismatch(s))]
        if wrong:
            raise DataError("columns are of another kind than in training: " + "; ".join(wrong))
        known = {self.target.name, *self.dropped, *(column.name for column in self.columns)}
        extra = [name for name in frame.columns if name not in known]
        if extra:
            report.append(f"columns that training did not have are not used: {listed(extra)}")
        features = [column.encode(s, report) for column, s in zip(self.columns, series, strict=True)]
        return np.concatenate(features, axis=1)

    def encode_target(self, frame: polars.DataFrame) -> Array:
        """Labels int64 [rows] or standardised values float32 [rows]; see `Target.encode`."""
        return self.target.encode(frame)

    def decode(self, outputs: Any) -> Array:
        """Outputs of a network as values of the target column; see `Target.decode`."""
        return self.target.decode(outputs)

    def to_json(self) -> dict[str, Any]:
        """The encoder as JSON values; `from_json` gives an equal one."""
        return {**dataclasses.asdict(self), "columns": [dataclasses.asdict(column) for column in self.columns]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Encoder:
        """The encoder that `to_json` wrote.

        Raises:
          FileFormatError: the data are not of that form.
        """
        try:
            target, columns = _build(Target, data["target"]), [_build(Column, column) for column in data["columns"]]
            return Encoder(target, tuple(columns), tuple(data["dropped"]), tuple(data["report"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"Encoder.from_json: not the description of an encoder: {error!r}") from error


def _build(cls: Any, fields: Mapping[str, Any]) -> Any:
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def _sentences(frame: polars.DataFrame, columns: tuple[Column, ...]) -> list[str]:
    """What became of the columns, in sentences."""
    found = []
    for kind in ("numeric", "boolean", "categorical"):
        of_kind = [column for column in columns if column.kind == kind]
        names = [f"{c.name!r}" + f" ({len(c.categories)} values)" * bool(c.categories) for c in of_kind]
        if names:
            found.append(f"{kind}: {', '.join(names)}")
    for column in columns:
        if column.has_missing:
            n_missing = named(frame, column.name).null_count()
            how = "a category of their own" if column.categories else f"taken as {column.fill:g}, and marked"
            found.append(f"{column.name!r}: {n_missing} of {frame.height} values are missing; {how}")
    return found
