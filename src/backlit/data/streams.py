"""Streams of items: lines of text files, and a buffer that shuffles a stream."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import Any

from backlit.core.arguments import integer
from backlit.core.errors import FileFormatError
from backlit.data.dataset import IterableDataset
from backlit.data.stream import current_generator
from backlit.io.replace import Path

_DRAWN = 1024  # places drawn at a time


class ShuffleBuffer(IterableDataset[Any]):
    """The items of a stream in another order: each is picked at random from the next `size` that were not picked yet.

    Holds `size` items. The picks are of the epoch's stream in a `DataLoader`, so another order comes each epoch, and the same
    again where a run is resumed.

    Raises:
      ArgumentError: `size` is less than 1.
    """

    def __init__(self, dataset: Any, size: int) -> None:
        self.dataset, self.size = dataset, integer("ShuffleBuffer", "size", size)

    def __iter__(self) -> Iterator[Any]:
        source = current_generator()
        held: list[Any] = []
        places: list[int] = []
        for item in self.dataset:
            if len(held) < self.size:
                held.append(item)
                continue
            if not places:
                places = source.randint((_DRAWN,), self.size).tolist()
            place = places.pop()
            picked, held[place] = held[place], item
            yield picked
        for place in source.permutation(len(held)).tolist():
            yield held[place]

    def __len__(self) -> int:
        return len(self.dataset)


class TextLines(IterableDataset[str]):
    """The lines of UTF-8 text files, one file after another, without their ends; read as they are asked for, gzip too.

    Raises:
      FileFormatError: as they are read: a file cannot be, is damaged, or is no UTF-8 (its line is named).
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = [os.fspath(path) for path in paths]

    def __iter__(self) -> Iterator[str]:
        for name in self.paths:
            number = 0
            try:
                with gzip.open(name, "rb") if name.endswith(".gz") else open(name, "rb") as file:
                    for number, line in enumerate(file, 1):
                        yield line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise FileFormatError(
                    f"TextLines: {name}, line {number} is not UTF-8; save the file as UTF-8"
                ) from error
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise FileFormatError(f"TextLines: {name} is damaged after line {number}: {error}") from error
            except OSError as error:
                raise FileFormatError(f"TextLines: cannot read {name}: {error.strerror or error}") from error
