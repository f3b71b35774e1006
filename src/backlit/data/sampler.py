"""Samplers: the order of an epoch as row numbers, and its batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from backlit.core.arguments import integer
from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator, default_generator
from backlit.data.dataset import as_array, length_of, row_numbers

Array = np.ndarray[Any, Any]


class Sampler:
    """The order of an epoch: a subclass states `rows`, or `__iter__` where the order is not known as a whole.

    Every epoch asks anew. A sampler whose order changes from epoch to epoch states `state_dict` and `load_state_dict`, so
    that a loader can ask for the order of an epoch again.
    """

    def rows(self) -> Array:
        """The row numbers of one epoch, int64 [rows]."""
        raise NotImplementedError(f"{type(self).__name__} states neither rows nor __iter__")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows().tolist())

    def state_dict(self) -> dict[str, Any]:
        """What the order of the next epoch depends on; nothing here."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a state given by `state_dict`."""


class SequentialSampler(Sampler):
    """All rows in their order."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source
        length_of("SequentialSampler", data_source)

    def rows(self) -> Array:
        return np.arange(len(self.data_source), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.data_source)


class _Random(Sampler):
    """A sampler that draws from `generator`; without one, from a stream split off the default generator when it is made."""

    def __init__(self, generator: Generator | None) -> None:
        self.generator = default_generator().split(1)[0] if generator is None else generator

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises:
        ArgumentError: it is no such state.
        """
        self.generator.set_state(state.get("generator", {}))


class RandomSampler(_Random):
    """All rows in random order, or `num_samples` of them; with `replacement` each is drawn from all.

    Without replacement more samples than there are rows are whole orders one after another.

    Raises:
      ArgumentError: `num_samples` is negative, or not 0 where there are no rows to draw from.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Generator | None = None
    ) -> None:  # fmt: skip
        super().__init__(generator)
        self.data_source, self.replacement = data_source, replacement
        n = length_of("RandomSampler", data_source)
        self._num_samples = None if num_samples is None else integer("RandomSampler", "num_samples", num_samples, 0)
        if self._num_samples and n == 0:
            raise ArgumentError(f"RandomSampler: {num_samples} samples cannot be drawn from {n} rows")

    @property
    def num_samples(self) -> int:
        """The number of rows of an epoch."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def rows(self) -> Array:
        n, wanted, source = len(self.data_source), self.num_samples, self.generator
        if wanted == 0:
            return np.zeros(0, np.int64)
        if self.replacement:
            return source.randint((wanted,), n).numpy()  # type: ignore[no-any-return]
        return np.concatenate([source.permutation(n) for _ in range(-(-wanted // n))])[:wanted]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_Random):
    """The rows `indices` in random order.

    Raises:
      DataError: they are no integers.
    """

    def __init__(self, indices: Any, generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.indices = row_numbers("SubsetRandomSampler", indices)

    def rows(self) -> Array:
        picked: Array = self.indices[self.generator.permutation(len(self.indices))]
        return picked

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(_Random):
    """`num_samples` rows, each drawn with a probability in proportion to its weight.

    With replacement by the inverse of the cumulated weights; without, no row comes twice, as `random.choice` draws.

    Raises:
      DataError: the weights are not on one axis, negative, not finite, or all zero.
      ArgumentError: `num_samples` is less than 1, or more than the rows of positive weight that can be drawn once.
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        super().__init__(generator)
        self.weights = np.asarray(as_array(weights), np.float64)
        self.num_samples = integer("WeightedRandomSampler", "num_samples", num_samples)
        self.replacement = replacement
        w = self.weights
        if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
            raise DataError(
                f"WeightedRandomSampler: expected weights [rows], finite, none negative, not all zero, got {w.dtype}{list(w.shape)}"
            )
        possible = np.count_nonzero(w)
        if not replacement and num_samples > possible:
            raise ArgumentError(
                f"WeightedRandomSampler: {num_samples} samples cannot be drawn from {possible} rows of positive weight "
                "without replacement"
            )

    def rows(self) -> Array:
        source = self.generator
        if not self.replacement:
            drawn = source.choice(len(self.weights), (self.num_samples,), replace=False, p=self.weights)
            return drawn.numpy()  # type: ignore[no-any-return]
        ends = np.cumsum(self.weights)
        points = source.uniform((self.num_samples,), 0.0, 1.0, dtype=np.float64).numpy() * ends[-1]
        last = np.flatnonzero(self.weights)[-1]  # a point that rounds to the end of all
        picked: Array = np.minimum(np.searchsorted(ends, points, side="right"), last)
        return picked.astype(np.int64)

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler:
    """The rows of `sampler` in batches, int64 [batch_size]; the last may be shorter, unless `drop_last`.

    The order of a sampler that states `rows` is drawn when an epoch begins.

    Raises:
      ArgumentError: `batch_size` is not a positive integer.
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool = False) -> None:
        self.sampler, self.drop_last = sampler, drop_last
        self.batch_size = integer("BatchSampler", "batch_size", batch_size)

    def __iter__(self) -> Iterator[Array]:
        if isinstance(self.sampler, Sampler) and type(self.sampler).__iter__ is Sampler.__iter__:
            order = self.sampler.rows()
            stop = len(order) - (len(order) % self.batch_size if self.drop_last else 0)
            return (order[start : start + self.batch_size] for start in range(0, stop, self.batch_size))
        return self._one_by_one(iter(self.sampler))

    def _one_by_one(self, rows: Iterator[Any]) -> Iterator[Array]:
        while batch := list(islice(rows, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield row_numbers("BatchSampler", batch)

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
