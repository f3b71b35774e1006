"""The stream of random numbers that belongs to the batch being made.

A loader gives every batch of every epoch a stream of its own, so what is drawn for a batch depends neither on the batches
before it nor on the thread that makes it, and a run that goes on in the middle of an epoch draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from backlit.core import record
from backlit.core.rng import Generator, default_generator


class BatchStream:
    """The `number`-th stream of an epoch, split off when it is first asked for."""

    __slots__ = ("_made", "epoch", "number")

    def __init__(self, epoch: Generator, number: int) -> None:
        self.epoch, self.number = epoch, number
        self._made: Generator | None = None

    def generator(self) -> Generator:
        """The stream; the same object each time."""
        if self._made is None:
            parent = Generator()
            parent.set_state({**self.epoch.get_state(), "children": self.number})
            (self._made,) = parent.split(1)
        return self._made


_current: ContextVar[BatchStream | None] = ContextVar("batch_stream", default=None)


@contextmanager
def drawing_from(stream: BatchStream) -> Iterator[None]:
    """`current_generator` gives this stream inside, in this thread; a recording of what is done with the batch hears nothing."""
    token = _current.set(stream)
    try:
        with record.unheard():
            yield
    finally:
        _current.reset(token)


def current_generator() -> Generator:
    """The stream of the batch that a `DataLoader` is making, in the thread that makes it; else the default generator.

    For datasets and transforms that draw: what they draw from it comes again when a run is resumed.
    """
    stream = _current.get()
    return default_generator() if stream is None else stream.generator()
