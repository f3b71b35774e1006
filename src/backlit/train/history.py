"""The history of a run: one JSON object a line, written as it happens."""

from __future__ import annotations

import json
import math
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backlit.core.errors import DataError
from backlit.train.plots import curves


class History:
    """Events of a run, kept in memory and, with `path`, appended to a `.jsonl` file, each written before the next begins.

    `history["loss"]` is the list of that number over the epochs that have it. The file's first line has `event: "run"`;
    then come `epoch` lines. NaN and infinity are null in the file. `resume` continues a file from a position that `position`
    gave: what was written after it is cut off.

    Raises:
      DataError: the file cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, position: dict[str, int] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.records: list[dict[str, Any]] = []
        self.interrupted = False  # by Ctrl-C
        self._bytes = self._crc = 0
        self._file: Any = None
        if self.path is None:
            return
        try:
            if position is not None:
                self._continue(self.path, position)
            else:
                self._file = self.path.open("wb")
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _continue(self, path: Path, position: dict[str, int]) -> None:
        """Cuts the file off at a position, and reads what is before it."""
        size, crc = position["bytes"], position["crc32"]
        there = path.read_bytes()[:size] if path.exists() else b""
        if len(there) != size or zlib.crc32(there) != crc:
            raise DataError(
                f"{path} does not go with the checkpoint: its first {size} bytes are others than were written; put the file "
                "back, or give another one by history="
            )
        self.records = [json.loads(line) for line in there.splitlines()]
        self._bytes, self._crc = size, crc
        self._file = path.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)

    def write(self, event: str, **fields: Any) -> None:
        """One line."""
        record = {"event": event, **fields}
        self.records.append(record)
        if self.path is not None:
            if self._file is None:
                self._file = self.path.open("ab")
            line = (json.dumps(_plain(record)) + "\n").encode()
            self._file.write(line)
            self._file.flush()
            self._bytes += len(line)
            self._crc = zlib.crc32(line, self._crc)

    def position(self) -> dict[str, int]:
        """How far the file is written; it is on the disk when this returns."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "crc32": self._crc}

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """What each epoch gave, in order."""
        return [record for record in self.records if record["event"] == "epoch"]

    def plot(self, *names: str, ax: Any = None) -> Any:
        """These numbers of the epochs, "loss" and "val_loss" unless given, as curves on matplotlib axes, which it gives.

        Raises:
          ArgumentError: matplotlib is not installed.
        """
        return curves(
            self.epochs, names or [n for n in ("loss", "val_loss") if self.epochs and n in self.epochs[0]], ax
        )

    def __getitem__(self, name: str) -> list[Any]:
        found = [record[name] for record in self.epochs if name in record]
        if not found and self.epochs:
            raise KeyError(f"{name!r} is none of {', '.join(dict.fromkeys(n for r in self.epochs for n in r))}")
        return found

    def __len__(self) -> int:
        return len(self.epochs)

    def close(self) -> None:
        """Closes the file, until something else is written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        last = "".join(f", {n} {v:.4g}" for n, v in (self.epochs or [{}])[-1].items() if isinstance(v, float))
        return f"History({len(self.epochs)} epochs{last})"


def _plain(x: Any) -> Any:
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    return _plain(x.tolist()) if hasattr(x, "tolist") else x
