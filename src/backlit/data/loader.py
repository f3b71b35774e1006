"""Batches: the rows of one epoch in random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.rng import Generator


def batches(n: int, batch_size: int, generator: Generator) -> Iterator[np.ndarray[Any, Any]]:
    """The integers 0..n-1, each once, in random order, in arrays int64 [batch_size]; the last may be shorter.

    The order is drawn at the call, so the generator has moved on before the first batch is taken.

    Raises:
      ArgumentError: `n` is negative or `batch_size` less than 1.
    """
    if n < 0 or batch_size < 1:
        raise ArgumentError(f"batches: expected n >= 0 and batch_size >= 1, got {n} and {batch_size}")
    order = generator.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))
