"""What a run says while it goes on: a bar on a terminal; elsewhere a line now and then when it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SILENT_S = 30.0  # off a terminal a run says something when so many seconds are over, and again each time they are


class Reporter:
    """Tells of steps and epochs on stderr; `verbose` None is as described above, False nothing, True a line an epoch too."""

    def __init__(self, verbose: bool | None) -> None:
        self.verbose = verbose
        self._bar: Any = None
        self._task: Any = None
        self._said = time.monotonic()
        self._epochs = 0
        self._per_epoch: int | None = None

    def say(self, text: str) -> None:
        """One line, unless `verbose` is False."""
        if self.verbose is not False:
            _console().print(text, soft_wrap=True, markup=False)

    @contextmanager
    def bar(self, epoch: int, epochs: int, batch: int, per_epoch: int | None) -> Iterator[None]:
        """Inside, steps and epochs are shown; so many are done already."""
        self._epochs, self._per_epoch = epochs, per_epoch
        self._said = time.monotonic()
        if self.verbose is False or not sys.stderr.isatty():
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"), BarColumn(), TextColumn("{task.fields[status]}"),
            MofNCompleteColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        total = None if per_epoch is None else per_epoch * epochs
        self._bar = Progress(*columns, console=_console(), transient=True)
        self._task = self._bar.add_task(
            "", total=total, completed=epoch * (per_epoch or 0) + batch, epoch=min(epoch + 1, epochs), epochs=epochs,
            status="compiling",
        )  # fmt: skip
        try:
            with self._bar:
                yield
        finally:
            self._bar = None

    def stepped(self, epoch: int, batch: int, taken: int, loss: float) -> None:
        """A step is done."""
        if self._bar is not None:
            self._bar.update(self._task, advance=taken, status=f"loss {loss:.4f}", epoch=min(epoch + 1, self._epochs))
        elif self.verbose is not False and time.monotonic() - self._said >= SILENT_S:
            self._said = time.monotonic()
            of = "" if self._per_epoch is None else f"/{self._per_epoch}"
            self.say(f"epoch {epoch + 1}/{self._epochs}, batch {batch}{of}: loss {loss:.4f}")

    def epoch_done(self, epoch: int, logs: dict[str, Any]) -> None:
        """An epoch is done."""
        due = time.monotonic() - self._said >= SILENT_S and self._bar is None
        if self.verbose or (due and self.verbose is None):
            self._said = time.monotonic()
            self.say(f"epoch {epoch}/{self._epochs}: {described(logs)}")


def _console() -> Any:
    # imported where something is said: it would take a tenth of the time of `import backlit`
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def described(logs: dict[str, Any]) -> str:
    """The numbers of an epoch in one line."""
    left_out = ("epoch", "step", "rows")
    found = [f"{n} {v:.4g}" for n, v in logs.items() if isinstance(v, (int, float)) and n not in left_out]
    return "  ".join(found)
