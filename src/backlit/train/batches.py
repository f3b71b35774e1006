"""What `fit` takes for data: arrays, loaders, and anything that gives batches, each with its position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

import numpy as np

from backlit.core import tree
from backlit.core.errors import ArgumentError
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor
from backlit.data.dataset import Dataset, as_array
from backlit.data.loader import DataLoader


class Rows(Dataset[Any]):
    """The rows of a tree of arrays, whose first axes have one length."""

    takes_rows = True

    def __init__(self, arrays: Any) -> None:
        leaves, self._structure = tree.flatten(arrays)
        self._arrays = [as_array(leaf) for leaf in leaves]
        if not all(a.ndim for a in self._arrays):
            raise ArgumentError("fit: expected arrays with rows, got a number; make arrays of lists by np.asarray")
        lengths = {len(a) for a in self._arrays}
        if len(lengths) != 1:
            raise ArgumentError(f"fit: the arrays have different numbers of rows: {sorted(lengths)}")
        (self._rows,) = lengths

    def __getitem__(self, index: Any) -> Any:
        return tree.unflatten(self._structure, [array[index] for array in self._arrays])

    def __len__(self) -> int:
        return self._rows


class Counted:
    """Batches of something that knows no position: an epoch goes on by passing over those that were taken."""

    def __init__(self, source: Iterable[Any]) -> None:
        self.source = source
        self._next = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in islice(iter(self.source), self._next, None):
            self._next += 1
            yield batch
        self._next = 0

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the epoch were taken."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        self._next = int(state["next"])


def as_loader(data: Any, batch_size: int, shuffle: bool, generator: Generator | None = None) -> Any:
    """What gives the batches of an epoch at each iteration, and has a position by `state_dict`.

    Arrays, and tuples and dictionaries of them, are cut into batches of rows; loaders are taken as they are.

    Raises:
      ArgumentError: it is none of these, the rows do not fit, or an iterator can be gone through once only.
    """
    if isinstance(data, (np.ndarray, Tensor, tuple, dict)):
        return DataLoader(Rows(data), batch_size, shuffle, generator=generator)
    if hasattr(data, "state_dict") and hasattr(data, "load_state_dict"):
        return data
    if isinstance(data, Iterator):
        raise ArgumentError(
            f"fit: a {type(data).__name__} can be gone through once only; give a list, a loader or a class with __iter__"
        )
    if not isinstance(data, Iterable):
        raise ArgumentError(f"fit: expected arrays, a loader or an iterable of batches, got {type(data).__name__}")
    return Counted(data)


def length(loader: Any) -> int | None:
    """How many batches an epoch has, if that is known."""
    source = loader.source if isinstance(loader, Counted) else loader
    return len(source) if isinstance(source, Sized) else None


def grouped(batches: Iterable[Any], n: int) -> Iterator[list[Any]]:
    """Lists of `n` batches, the last of what is left."""
    rest = iter(batches)
    while group := list(islice(rest, n)):
        yield group
