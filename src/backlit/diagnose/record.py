"""record: what runs inside a block, kept to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backlit.core.record import listening
from backlit.diagnose.capture import Capture
from backlit.diagnose.recording import Recording
from backlit.diagnose.summary import Summary


@contextmanager
def record(*, statistics: bool = False) -> Iterator[Recording]:
    """Records what runs inside, to be looked at when the block has ended.

    Every op that takes part in a gradient becomes a node, with its value, its place in modules and functions, the
    user's line, what is kept of it, and in the backward pass every contribution to its gradient. Steps of an optimizer
    are recorded too; a forward pass after a backward pass begins another step. Compiled functions run as the plain functions
    they were made of, and the note says so: `compiled.record(...)` also compares with the program. Nothing is copied, but
    every value stays alive as long as the recording; a step takes about 1.3 times as long.

    With `statistics` no array stays: parameters and what modules and functions return have the statistics of their
    values and gradients, updates their norms, and contributions are left out. This is for many steps of training.
    """
    recording = Recording()
    capture = Summary(recording) if statistics else Capture(recording)
    try:
        with listening(capture):
            yield recording
    finally:
        capture.finish()


class Sampler:
    """A recording of some steps of many: those that run inside `step(number)`."""

    def __init__(self) -> None:
        self._recording = Recording()
        self._capture = Capture(self._recording)

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Records what runs inside, as a step of that number in training."""
        first = len(self._recording.steps)
        self._capture.next_step()
        try:
            with listening(self._capture):
                yield
        finally:
            self._capture.next_step()
            for step in self._recording.steps[first:]:
                step.number = number

    def finish(self) -> Recording:
        """The recording; nothing more is added to it."""
        self._capture.finish()
        return self._recording
