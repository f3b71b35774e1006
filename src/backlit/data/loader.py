"""DataLoader: a dataset in batches, in seeded random order, prefetched, resumable in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from backlit.core.arguments import integer
from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator, default_generator
from backlit.data.collate import collate, tensors
from backlit.data.dataset import IterableDataset, fetch, length_of, row_numbers, takes_rows
from backlit.data.prefetch import Prefetched
from backlit.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from backlit.data.stream import BatchStream, drawing_from

Array = np.ndarray[Any, Any]
State = dict[str, Any]


class DataLoader:
    """The batches of `dataset`: iterating gives those of one epoch, each a tree of tensors shaped like an item.

    `dataset` is a `Dataset`, an `IterableDataset`, an array, or anything with `__len__` and `__getitem__`. A batch of one that
    takes rows (`Dataset.takes_rows`: `TensorDataset`, arrays, files mapped into memory) is one fancy index; items of others
    are fetched one by one and stacked by `default_collate`. `collate_fn(items)` does the latter in its own way, `None`
    for `batch_size` gives the items as they are.

    `transform` is applied to every batch before it is made tensors, vectorised, as those of `data.transforms` are: to its
    first element where it is a tuple or a list, else to the whole.

    The order is drawn from `generator` when an epoch begins: the same seed gives the same epochs on every machine, and every
    epoch another order. Without one the loader splits a stream off the default generator when it is made. What a dataset
    or transform draws from `data.current_generator()` belongs to the batch.

    `state_dict` gives the exact position, batches that were prefetched but not given out left aside; after
    `load_state_dict` the next pass goes on from there. An iterable dataset is read from the beginning up to the place.

    With `num_workers` threads in the background `prefetch_factor` batches for each (2 unless given) are ready before they
    are asked for; `prefetch_factor` alone is one thread. They are threads, not processes: decoders and NumPy leave the other
    threads running while they work, and nothing need be pickled or copied between processes. A dataset whose
    `__getitem__` is long Python code gains nothing by them. With more than one, `dataset[i]` must be safe to call in several
    threads at once; an iterable dataset is read by one, whatever their number.

    Raises:
      ArgumentError: arguments that exclude each other, or numbers out of range.
      DataError: the dataset has no length and is no `IterableDataset`.
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool = False, sampler: Any = None, batch_sampler: Any = None,
        num_workers: int = 0, collate_fn: Callable[[list[Any]], Any] | None = None, *, drop_last: bool = False,
        generator: Generator | None = None, prefetch_factor: int | None = None, transform: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        self.dataset, self.drop_last = dataset, drop_last
        self.collate_fn, self.transform = collate_fn, transform
        self._is_stream = isinstance(dataset, IterableDataset)
        self._check(batch_size, shuffle, sampler, batch_sampler)
        if generator is not None and not isinstance(generator, Generator):
            raise ArgumentError(f"DataLoader: generator must be a backlit.Generator, got {type(generator).__name__}")
        self.generator = default_generator().split(1)[0] if generator is None else generator
        self.num_workers, self.prefetch_factor = _threads(num_workers, prefetch_factor)
        self._sampler_is_given = sampler is not None or batch_sampler is not None
        if not self._is_stream and sampler is None and batch_sampler is None:
            sampler = RandomSampler(dataset, generator=self.generator) if shuffle else SequentialSampler(dataset)
        self.batch_size = None
        if batch_size is not None and batch_sampler is None:
            self.batch_size = integer("DataLoader", "batch_size", batch_size)
            if sampler is not None:
                batch_sampler = BatchSampler(sampler, self.batch_size, drop_last)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self._epoch = 0  # the one in progress, or else the next
        self._progress: _Progress | None = None
        self._is_resumed = False

    def _check(self, batch_size: Any, shuffle: bool, sampler: Any, batch_sampler: Any) -> None:
        if sampler is not None and shuffle:
            raise ArgumentError("DataLoader: a sampler gives the order; leave shuffle out")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or self.drop_last):
            raise ArgumentError(
                "DataLoader: a batch_sampler gives the batches; leave batch_size, shuffle, sampler and drop_last out"
            )
        if batch_size is None and (self.drop_last or self.collate_fn is not None):
            raise ArgumentError(
                "DataLoader: batch_size=None gives items as they are; leave drop_last and collate_fn out"
            )
        if self._is_stream and (shuffle or sampler is not None or batch_sampler is not None):
            raise ArgumentError(
                "DataLoader: an IterableDataset has its own order; leave shuffle and samplers out, or wrap it in data.ShuffleBuffer"
            )
        is_tuple_of_arrays = (
            isinstance(self.dataset, tuple) and self.dataset and all(takes_rows(part) for part in self.dataset)
        )
        if is_tuple_of_arrays or isinstance(self.dataset, dict):
            raise ArgumentError(
                f"DataLoader: a {type(self.dataset).__name__} is no dataset of rows; give data.TensorDataset(*arrays)"
            )
        if not self._is_stream:
            length_of("DataLoader", self.dataset)

    def __len__(self) -> int:
        """Batches of one epoch.

        Raises:
          TypeError: the dataset is a stream that states no length.
        """
        if self._is_stream:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    @property
    def epoch(self) -> int:
        """The number of the epoch in progress, from 0; between epochs that of the next."""
        return self._epoch

    def __iter__(self) -> Iterator[Any]:
        """The batches of the next epoch, or the rest of the one whose state was loaded.

        An epoch that was begun and not finished is left.
        """
        if self._is_resumed and self._progress is not None:
            progress, now = self._progress, self.generator.get_state()
            self._set_start(progress.start)
            source = self._source(progress.given)
            self.generator.set_state(now)
        else:
            if self._progress is not None:
                self._epoch += 1
            progress = _Progress(self._epoch, 0, self._start())
            source = self._source(0)
        self._progress, self._is_resumed = progress, False
        return _Pass(self, progress, source)

    def state_dict(self) -> State:
        """The position: epoch, batches given out in it, and the state of the generator, now and when the epoch began.

        Of a sampler that was given and has a state, that at the beginning of the epoch, or between epochs that of now.
        """
        progress = self._progress
        return {
            "epoch": self._epoch,
            "batch": 0 if progress is None else progress.given,
            "batches": self._known_length(),
            "generator": self.generator.get_state(),
            "start": None if progress is None else progress.start,
            "sampler": self._kept() if progress is None else {},
        }

    def load_state_dict(self, state: State) -> None:
        """The next pass goes on from this position, with the batches that the loader of the state would have given.

        Raises:
          DataError: it is no such state, or one in the middle of an epoch of another number of batches.
        """
        try:
            epoch, batch, start = int(state["epoch"]), int(state["batch"]), state["start"]
            generator = Generator()
            generator.set_state(state["generator"])
            if start is not None:
                generator.set_state(start["generator"])
                start = {"generator": dict(start["generator"]), "sampler": dict(start["sampler"])}
            kept = dict(state["sampler"]) if start is None else start["sampler"]
            if epoch < 0 or batch < 0 or (batch > 0 and start is None):
                raise ArgumentError(f"epoch {epoch}, batch {batch}")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"DataLoader.load_state_dict: expected what state_dict gives ({error!r})") from error
        here, there = self._known_length(), state.get("batches")
        if start is not None and here != there:
            raise DataError(
                f"DataLoader.load_state_dict: the state is from the middle of an epoch of {there} batches, here are {here}; "
                "use the dataset and the batch_size of that run"
            )
        if (keeper := self._keeper()) is not None:
            try:
                keeper.load_state_dict(kept)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"DataLoader.load_state_dict: the state is of another sampler ({error})") from error
        self.generator.set_state(state["generator"])
        self._epoch, self._is_resumed = epoch, start is not None
        self._progress = None if start is None else _Progress(epoch, batch, start)

    def _known_length(self) -> int | None:
        try:
            return len(self)
        except TypeError:
            return None

    def _keeper(self) -> Any:
        """The sampler whose state is kept: one that was given and has any; of a batch sampler of this module, its sampler."""
        given = self.batch_sampler if self.batch_sampler is not None else self.sampler
        if isinstance(given, BatchSampler):
            given = given.sampler
        return given if self._sampler_is_given and hasattr(given, "load_state_dict") else None

    def _start(self) -> State:
        return {"generator": self.generator.get_state(), "sampler": self._kept()}

    def _kept(self) -> State:
        keeper = self._keeper()
        return {} if keeper is None else dict(keeper.state_dict())

    def _set_start(self, start: State) -> None:
        self.generator.set_state(start["generator"])
        keeper = self._keeper()
        if keeper is not None:
            keeper.load_state_dict(start["sampler"])

    def _source(self, skipped: int) -> Iterator[Any]:
        """The batches of an epoch but the first; draws its order and its stream, in that sequence."""
        tasks: Iterator[Any]
        if self._is_stream:
            stream, size = self.generator.split(1)[0], self.batch_size
            pulled = _pull(self.dataset, BatchStream(stream, 0))
            tasks = pulled if size is None else _grouped(pulled, size, self.drop_last)
        else:
            tasks = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
            stream = self.generator.split(1)[0]
        made = partial(_make, self._read(), self.transform, stream)
        numbered = islice(enumerate(tasks), skipped, None)
        if not self.num_workers:
            return (made(task) for task in numbered)
        n_threads = 1 if self._is_stream else self.num_workers
        return Prefetched(numbered, made, n_threads, self.num_workers * self.prefetch_factor)

    def _read(self) -> Callable[[Any], Any]:
        """What turns a task, row numbers or items, into a batch of arrays."""
        dataset, join = self.dataset, self.collate_fn
        if self._is_stream:
            if self.batch_size is None:
                return lambda item: item
            return join or collate
        if self.batch_sampler is None:
            return lambda row: dataset[row]
        if join is not None:
            return lambda rows: join([dataset[row] for row in np.asarray(rows).tolist()])
        if takes_rows(dataset):
            return lambda rows: fetch(dataset, row_numbers("DataLoader", rows))
        return lambda rows: collate([dataset[row] for row in np.asarray(rows).tolist()])


@dataclass
class _Progress:
    """How far an epoch is, and the states that its order was drawn from."""

    epoch: int
    given: int
    start: State


class _Pass(Iterator[Any]):
    """The batches of one epoch; the loader knows how many were given out."""

    def __init__(self, loader: DataLoader, progress: _Progress, source: Iterator[Any]) -> None:
        self._loader, self._progress, self._source = loader, progress, source

    def __next__(self) -> Any:
        try:
            batch = next(self._source)
        except StopIteration:
            loader = self._loader
            if loader._progress is self._progress:
                loader._epoch, loader._progress, loader._is_resumed = self._progress.epoch + 1, None, False
            raise
        self._progress.given += 1
        return batch

    def close(self) -> None:
        """Ends the threads that prefetch for this pass."""
        if isinstance(self._source, Prefetched):
            self._source.close()


def _threads(num_workers: Any, prefetch_factor: Any) -> tuple[int, int]:
    workers = integer("DataLoader", "num_workers", num_workers or 0, 0)
    if prefetch_factor is None:
        return workers, 2
    ahead = integer("DataLoader", "prefetch_factor", prefetch_factor, 0)
    return (max(workers, 1), ahead) if ahead else (0, 2)


def _make(
    read: Callable[[Any], Any], transform: Callable[[Any], Any] | None, epoch: Generator, task: tuple[int, Any]
) -> Any:
    """One batch, in the stream of its number."""
    number, what = task
    with drawing_from(BatchStream(epoch, number + 1)):
        batch = read(what)
        return tensors(batch if transform is None else _transformed(transform, batch))


def _transformed(transform: Callable[[Any], Any], batch: Any) -> Any:
    if not isinstance(batch, (tuple, list)) or not batch:
        return transform(batch)
    parts = [transform(batch[0]), *batch[1:]]
    return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


def _pull(dataset: Any, stream: BatchStream) -> Iterator[Any]:
    """The items, each made within the stream."""
    with drawing_from(stream):
        items = iter(dataset)
    while True:
        with drawing_from(stream):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _grouped(items: Iterator[Any], size: int, drop_last: bool) -> Iterator[list[Any]]:
    while group := list(islice(items, size)):
        if len(group) == size or not drop_last:
            yield group
