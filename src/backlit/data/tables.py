"""A table as datasets: read, split, and encoded by what its training rows tell."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backlit.data.dataset import TensorDataset
from backlit.data.split import split_rows
from backlit.data.tabular import Encoder
from backlit.data.target import Target
from backlit.io.replace import Path
from backlit.io.tables import read_table

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class TableSplit:
    """Rows to train on and rows held out; an item is (features float32 [features], target).

    The target is a class number int64, or of a regression the standardised value, float32 [1]; `encoder.decode` turns what
    a network gives back into values. `report` says in sentences what was done with the columns.
    """

    train: TensorDataset
    test: TensorDataset
    encoder: Encoder
    report: tuple[str, ...]


def split_table(
    table: Path | polars.DataFrame, target: str, task: str | None = None, drop: Iterable[str] = (), fraction: float = 0.2,
    seed: int = 0,
) -> TableSplit:  # fmt: skip
    """The rows of a table, or of its file (see `read_table`), about `fraction` of them held out, `target` to be predicted.

    Everything is learned from the training rows alone: medians, means, categories. Each class keeps its share (see
    `split_rows`), and the same `seed` gives the same rows. `task` is "classification" or "regression", as the target
    suggests unless given; columns in `drop` are left out.

    Raises:
      DataError: the table or its columns cannot be used.
      ArgumentError: an unknown task, or a fraction that is none.
    """
    frame = read_table(table) if isinstance(table, (str, os.PathLike)) else table
    aim = Target.infer(frame, target, task)
    frame = aim.labelled(frame)
    rows = split_rows(aim.encode(frame) if aim.task == "classification" else None, frame.height, fraction, seed)
    encoder = Encoder.fit(frame[rows[0]], aim, drop=drop)
    report = [f"{frame.height} rows, {len(rows[1])} held out", *encoder.report]
    parts = []
    for number, some in enumerate(rows):
        features = encoder.transform(frame[some], report if number else [])
        y = encoder.encode_target(frame[some])
        parts.append(TensorDataset(features, y if aim.task == "classification" else y.reshape(-1, 1)))
    return TableSplit(parts[0], parts[1], encoder, tuple(report))
