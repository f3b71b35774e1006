"""Split rows into training and test, each class keeping its share."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator

Array = np.ndarray[Any, Any]


def split_rows(labels: Any, n_rows: int, fraction: float = 0.2, seed: int = 0) -> tuple[Array, Array]:
    """Row numbers for training and for test, int64 and ascending; the same arguments give the same rows.

    About `fraction` of the rows are for test, at least one and never all. With `labels` [n_rows] every class has that
    share, rounded up or down so that the total is right (largest remainder), as far as at least one row of each stays
    in training; `labels` None splits regardless of class.

    Raises:
      ArgumentError: `fraction` is not between 0 and 1.
      DataError: fewer than two rows, another number of labels, or all classes have a single row.
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"split_rows: fraction must be between 0 and 1, got {fraction}")
    if n_rows < 2:
        raise DataError(f"split_rows: expected at least 2 rows to split, got {n_rows}")
    labels = np.zeros(n_rows, np.int64) if labels is None else np.asarray(labels)
    if labels.shape != (n_rows,):
        raise DataError(f"split_rows: expected labels [{n_rows}], got {list(labels.shape)}")
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    share = fraction * counts
    n_test = np.floor(share).astype(np.int64)
    missing = max(1, round(fraction * n_rows)) - n_test.sum()
    # Largest remainder first among the classes that have one and can give a row; the sort is stable: ties to the first.
    able = np.flatnonzero((n_test < counts - 1) & (n_test < share))
    n_test[able[np.argsort((n_test - share)[able], kind="stable")][: max(0, missing)]] += 1
    if n_test.sum() == 0:
        raise DataError("split_rows: every class has a single row; none is left for test")
    order = Generator(seed).permutation(n_rows)
    by_class = [order[classes[order] == c] for c in range(len(counts))]
    test = np.concatenate([rows[:n] for rows, n in zip(by_class, n_test, strict=True)])
    train = np.concatenate([rows[n:] for rows, n in zip(by_class, n_test, strict=True)])
    return np.sort(train), np.sort(test)
