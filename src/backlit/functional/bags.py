"""Sums, means and largest elements of the rows of a table at bags of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.functional.embedding import embedding
from backlit.ops import elementwise as ew
from backlit.ops.linear import sum
from backlit.ops.shape import expand_dims
from backlit.ops.sorting import searchsorted


@scope
def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean, sum or largest elements of the rows of `weight: [rows, size]` at each bag of numbers: `[bags, size]`.

    `input: [bags, n]` are bags of n numbers, or `input: [total]` all of them, of which bag k begins at `offsets[k]`; with
    `include_last_offset` one more offset says where the last one ends. `per_sample_weights`, like `input`, are factors, with
    `mode="sum"`. Numbers that are `padding_idx` do not count; of an empty bag the result is 0. The other arguments are those
    of `embedding`. Offsets that are traced, as in a compiled function, are not looked at.

    Raises:
      ShapeError: shapes do not fit, or offsets are missing or too many.
      DTypeError: `input` or `offsets` are no integers.
      ArgumentError: there is no such mode, weights with another mode, or offsets that do not begin at 0, go down or end behind the last number.
    """
    numbers, table = as_tensor(input), as_tensor(weight)
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"embedding_bag: mode must be 'sum', 'mean' or 'max', got {mode!r}{here()}")
    if numbers.ndim not in (1, 2) or (numbers.ndim == 1) != (offsets is not None):
        raise ShapeError(
            f"embedding_bag: expected numbers [bags, n] without offsets, or [total] with them, got {shown(numbers)}{here()}"
        )
    rows = embedding(numbers, table, None, max_norm, norm_type, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        factors = as_tensor(per_sample_weights)
        if mode != "sum":
            raise ArgumentError(f"embedding_bag: per_sample_weights need mode='sum', got {mode!r}{here()}")
        if factors.shape != numbers.shape:
            raise ShapeError(f"embedding_bag: expected weights {list(numbers.shape)}, got {shown(factors)}{here()}")
        rows = rows * expand_dims(factors, axis=-1)
    counted = None if padding_idx is None else ew.not_equal(numbers, padding_idx % table.shape[0])
    if numbers.ndim == 2:
        return _of_rows(rows, counted, mode)
    return _of_stretches(rows, counted, as_tensor(offsets), include_last_offset, mode)


def _of_rows(rows: Tensor, counted: Tensor | None, mode: str) -> Tensor:
    """Of `rows: [bags, n, size]`."""
    if mode == "max" and rows.shape[1]:
        if counted is None:
            return rows.max(axis=1)
        best = ew.where(expand_dims(counted, axis=-1), rows, -math.inf).max(axis=1)
        return ew.where(counted.any(axis=1, keepdims=True), best, 0.0)
    total: Tensor = sum(rows if counted is None else ew.where(expand_dims(counted, axis=-1), rows, 0.0), axis=1)
    if mode != "mean":
        return total
    if counted is None:
        return total / max(rows.shape[1], 1)
    return total / ew.maximum(sum(counted.astype(rows.dtype), axis=1, keepdims=True), 1.0)


def _of_stretches(rows: Tensor, counted: Tensor | None, offsets: Tensor, last: bool, mode: str) -> Tensor:
    """Of `rows: [total, size]`, bag k from `offsets[k]` on."""
    if offsets.dtype.kind not in "iu":
        raise DTypeError(f"embedding_bag: expected integers as offsets, got {shown(offsets)}{here()}")
    if offsets.ndim != 1 or (last and not offsets.size):
        raise ShapeError(f"embedding_bag: expected offsets [bags], got {shown(offsets)}{here()}")
    starts = offsets[:-1] if last else offsets
    n, total = starts.shape[0], rows.shape[0]
    if not isinstance(offsets._value, Box):
        ends = np.asarray(offsets._value)
        if ends.size and (ends[0] or ends[-1] > total or (ends[1:] < ends[:-1]).any()):
            raise ArgumentError(
                f"embedding_bag: expected offsets that begin at 0, do not go down and end at {total} at most, got "
                f"{shown(offsets)} from {ends.min()} to {ends.max()}{here()}"
            )
    places = np.arange(total)
    bags = searchsorted(starts, places, side="right") - 1  # of all that begin here or before, the last
    inside = bags >= 0 if not last else ew.logical_and(bags >= 0, ew.less(places, offsets[-1]))
    if counted is not None:
        inside = ew.logical_and(inside, counted)
    at = ew.where(inside, bags, n)  # what does not count goes into one bag more
    shape = (n + 1, rows.shape[1])
    if mode == "max":
        low = Tensor(np.full(shape, -math.inf, rows.dtype))
        best = low.at[at].max(rows)[:n]
        there = Tensor(np.zeros(n + 1, np.int64)).at[at].add(np.ones(total, np.int64))[:n] > 0
        return ew.where(expand_dims(there, axis=-1), best, 0.0)
    summed: Tensor = Tensor(np.zeros(shape, rows.dtype)).at[at].add(rows)[:n]
    if mode == "sum":
        return summed
    counts = Tensor(np.zeros(n + 1, rows.dtype)).at[at].add(np.ones(total, rows.dtype))[:n]
    return summed / expand_dims(ew.maximum(counts, 1.0), axis=-1)
