"""A table under construction."""

from __future__ import annotations

from typing import Any

import numpy as np


class Columns:
    """A table that is put together row by row; each column has a type, "" for text."""

    def __init__(self, **kinds: str) -> None:
        self.kinds = kinds
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *row: Any) -> int:
        """Appends a row, in the order of the columns; gives its number."""
        self.rows.append(row)
        return len(self.rows) - 1

    def columns(self) -> dict[str, Any]:
        """The columns, as arrays and lists of text."""
        by_column = list(zip(*self.rows, strict=True)) or [()] * len(self.kinds)
        return {
            name: np.array(values, kind) if kind else list(values)
            for (name, kind), values in zip(self.kinds.items(), by_column, strict=True)
        }
