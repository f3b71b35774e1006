"""The history of a run: one JSON object a line, written as it happens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backlit.core.errors import DataError


class History:
    """Appends events to a `.jsonl` file, each on the disk before the next begins.

    The first line has `event: "run"` with the configuration; then come `epoch` lines with loss, learning rate,
    seconds and the gradient norm of every parameter, and one `evaluation` line. NaN and infinity become null.

    Raises:
      DataError: the file cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from error

    def write(self, event: str, **fields: Any) -> None:
        """One line."""
        self._file.write(json.dumps({"event": event, **{k: _plain(v) for k, v in fields.items()}}) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def _plain(x: Any) -> Any:
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    return x
