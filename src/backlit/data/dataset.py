"""Datasets: rows by number, or a stream of items; parts and sums of datasets."""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from backlit.core import tree
from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor, as_tensor
from backlit.data.collate import collate
from backlit.data.on_disk import FileArray

Array = np.ndarray[Any, Any]
Item_co = TypeVar("Item_co", covariant=True)


class Dataset(Generic[Item_co]):
    """Items by number: a subclass states `__getitem__`, and `__len__` for loaders and samplers.

    Where `takes_rows` is True, `dataset[rows]` with an int64 array of row numbers gives the items as one batch: the arrays
    of an item with an axis of rows in front. A loader then fetches a batch by one call instead of one for each row.
    """

    takes_rows: bool = False

    def __getitem__(self, index: Any) -> Item_co:
        raise NotImplementedError(f"{type(self).__name__} states no __getitem__")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Item_co]):
    """A stream of items: a subclass states `__iter__`, which begins a pass, and `__len__` if the length is known.

    A pass that draws from `current_generator` in its `__iter__` is another one each epoch, and the same again when a run
    is resumed: the items of the epoch so far are then read and passed over.
    """

    def __iter__(self) -> Iterator[Item_co]:
        raise NotImplementedError(f"{type(self).__name__} states no __iter__")

    def __add__(self, other: Any) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Rows of arrays with a first axis of one length; an item is a tuple of a row of each.

    Takes NumPy arrays, which are not copied and may be memory-mapped, arrays that stay in their file (`open_npy`, `open_raw`,
    for what is larger than memory), tensors and lists.

    Raises:
      DataError: there is no array, one is 0-d, or the lengths differ.
    """

    takes_rows = True

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(as_array(t) for t in tensors)
        shapes = ", ".join(str(list(a.shape)) for a in self.tensors)
        if not tensors or any(a.ndim == 0 for a in self.tensors) or len({len(a) for a in self.tensors}) > 1:
            raise DataError(f"TensorDataset: expected arrays with a first axis of one length, got {shapes or 'none'}")

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple([array[index] for array in self.tensors])

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset[Any]):
    """The items of `dataset` with the numbers `indices`, in that order.

    Raises:
      DataError: the numbers are no integers, or one is not in the dataset.
    """

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset = dataset
        self.indices = row_numbers("Subset", indices)
        n = length_of("Subset", dataset)
        wrong = (self.indices < -n) | (self.indices >= n)
        if wrong.any():
            raise DataError(f"Subset: the dataset has {n} items, none with the number {self.indices[wrong][0]}")
        self.takes_rows = takes_rows(dataset)

    def __getitem__(self, index: Any) -> Any:
        picked = self.indices[index]
        return fetch(self.dataset, picked) if isinstance(picked, np.ndarray) else self.dataset[int(picked)]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[Any]):
    """The items of several datasets, one after another; a batch is fetched by one call of each that has rows in it.

    Raises:
      DataError: there is none, or one has no length.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise DataError("ConcatDataset: expected at least one dataset, got none")
        lengths = [length_of("ConcatDataset", d) for d in self.datasets]
        self.cumulative_sizes = np.cumsum(lengths).tolist()
        self.takes_rows = all(takes_rows(d) for d in self.datasets)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, np.ndarray):
            return self._batch(_counted_from_0(index, len(self)))
        number = int(_counted_from_0(np.array(operator.index(index)), len(self)))
        which = bisect.bisect_right(self.cumulative_sizes, number)
        return self.datasets[which][number - (self.cumulative_sizes[which - 1] if which else 0)]

    def _batch(self, rows: Array) -> Any:
        which = np.searchsorted(self.cumulative_sizes, rows, side="right")
        parts, places = [], []
        for number in np.unique(which).tolist() or [0]:
            places.append(np.flatnonzero(which == number))
            begin = self.cumulative_sizes[number - 1] if number else 0
            parts.append(fetch(self.datasets[number], rows[places[-1]] - begin))
        if len(parts) == 1:
            return parts[0]
        leaves = [tree.flatten(part) for part in parts]
        order = np.argsort(np.concatenate(places), kind="stable")
        joined = []
        for pieces in zip(*(found for found, _ in leaves), strict=True):
            kinds = {f"{p.dtype}{list(p.shape[1:])}" for p in map(np.asarray, pieces)}
            if len(kinds) > 1:
                raise DataError(f"ConcatDataset: items of unlike datasets in one batch: {', '.join(sorted(kinds))}")
            joined.append(np.concatenate(pieces)[order])
        return tree.unflatten(leaves[0][1], joined)

    def __len__(self) -> int:
        return int(self.cumulative_sizes[-1])


class ChainDataset(IterableDataset[Any]):
    """The items of several streams, one after another."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Parts of `dataset` of these lengths, or of these shares if they add to 1, with no row in two of them.

    Shares are rounded down, and what is left over goes one each to the first parts. `generator` is the default one
    unless given.

    Raises:
      ArgumentError: the lengths do not add to that of the dataset, or one is negative.
    """
    n = length_of("random_split", dataset)
    counts = [float(length) for length in lengths]
    if any(c < 0 or not math.isfinite(c) for c in counts):
        raise ArgumentError(f"random_split: lengths cannot be negative, got {list(lengths)}")
    if math.isclose(sum(counts), 1.0) and (sum(counts) != n or any(c != int(c) for c in counts)):
        whole = [math.floor(n * c) for c in counts]
        for i in range(n - sum(whole)):
            whole[i % len(whole)] += 1
    else:
        whole = [int(c) for c in counts]
    if sum(whole) != n or (whole != counts and not math.isclose(sum(counts), 1.0)):
        raise ArgumentError(f"random_split: {list(lengths)} do not add to the {n} items of the dataset, nor to 1")
    order = (generator or default_generator()).permutation(n)
    ends = np.cumsum(whole)
    return [Subset(dataset, order[end - count : end]) for end, count in zip(ends, whole, strict=True)]


def as_array(x: Any) -> Any:
    """An array in memory or in its file as it is; the value of a tensor; anything else as `backlit.tensor` reads it."""
    if isinstance(x, FileArray):
        return x
    return np.asarray(x) if isinstance(x, np.ndarray) else as_tensor(x).detach().numpy()


def row_numbers(who: str, rows: Any) -> Array:
    """Row numbers as int64 [n].

    Raises:
      DataError: they are no integers, or not on one axis.
    """
    numbers = np.asarray(list(rows) if not isinstance(rows, (np.ndarray, Tensor)) else rows)
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"{who}: expected row numbers, integers on one axis, got {numbers.dtype}{list(numbers.shape)}")
    return numbers.astype(np.int64)


def length_of(who: str, dataset: Any) -> int:
    """The number of items.

    Raises:
      DataError: the dataset has no length.
    """
    try:
        return len(dataset)
    except TypeError as error:
        raise DataError(f"{who}: {type(dataset).__name__} has no length; state __len__ in it ({error})") from error


def takes_rows(dataset: Any) -> bool:
    """Whether `dataset[rows]` gives a batch: an array, a tensor, or a dataset that says so."""
    return isinstance(dataset, (np.ndarray, Tensor)) or bool(getattr(dataset, "takes_rows", False))


def fetch(dataset: Any, rows: Array) -> Any:
    """The items with these row numbers as one batch of arrays."""
    if not takes_rows(dataset):
        return collate([dataset[row] for row in rows.tolist()])
    return dataset.detach().numpy()[rows] if isinstance(dataset, Tensor) else dataset[rows]


def _counted_from_0(rows: Array, n: int) -> Array:
    """Negative numbers count from the end, as everywhere."""
    if ((rows < -n) | (rows >= n)).any():
        raise IndexError(f"a dataset of {n} items has none with the number {rows[(rows < -n) | (rows >= n)].flat[0]}")
    counted: Array = np.where(rows < 0, rows + n, rows)
    return counted
