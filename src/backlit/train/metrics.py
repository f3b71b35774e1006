"""Metrics of predictions against what is true, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.train.running import macro_f1_of

Array = np.ndarray[Any, Any]


def confusion(true: Array, predicted: Array, n_classes: int) -> Array:
    """Counts `[n_classes, n_classes]`: rows are the true classes, columns the predicted ones."""
    table = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(table, (true, predicted), 1)
    return table


def accuracy(true: Array, predicted: Array) -> float:
    """The share of rows predicted right; NaN without rows."""
    return float(np.mean(true == predicted)) if len(true) else float("nan")


def macro_f1(true: Array, predicted: Array, n_classes: int) -> float:
    """The mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""
    return macro_f1_of(confusion(true, predicted, n_classes))


def rmse(true: Array, predicted: Array) -> float:
    """Root of the mean squared error, in the target's units."""
    return float(np.sqrt(np.mean((true - predicted) ** 2))) if len(true) else float("nan")


def mae(true: Array, predicted: Array) -> float:
    """Mean absolute error, in the target's units."""
    return float(np.mean(np.abs(true - predicted))) if len(true) else float("nan")


def r2(true: Array, predicted: Array) -> float:
    """1 - squared error / variance: 1 is exact, 0 as good as the mean; NaN when the truth is constant."""
    spread = float(np.sum((true - np.mean(true)) ** 2)) if len(true) else 0.0
    return 1.0 - float(np.sum((true - predicted) ** 2)) / spread if spread else float("nan")
