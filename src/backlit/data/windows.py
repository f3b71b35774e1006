"""Sequences for language models: windows over a long array of tokens, in memory or in a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.arguments import integer
from backlit.core.errors import DataError
from backlit.data.dataset import Dataset, as_array
from backlit.data.on_disk import FileArray

Array = np.ndarray[Any, Any]


class TokenWindows(Dataset[tuple[Any, Any]]):
    """Windows of `length` tokens and, as targets, the same moved on by one: (int64 [length], int64 [length]).

    A window begins every `stride` tokens, every `length` unless given; with `stride=1` and a `RandomSampler` with replacement
    any place of the text may begin one. Tokens after the last whole window are left out.

    Raises:
      DataError: the tokens are no integers on one axis, or fewer than `length + 1`.
      ArgumentError: `length` or `stride` is less than 1.
    """

    takes_rows = True

    def __init__(self, tokens: Any, length: int, stride: int | None = None) -> None:
        self.tokens = as_array(tokens)
        self.length = integer("TokenWindows", "length", length)
        self.stride = self.length if stride is None else integer("TokenWindows", "stride", stride)
        if self.tokens.ndim != 1 or self.tokens.dtype.kind not in "iu" or len(self.tokens) <= self.length:
            raise DataError(
                f"TokenWindows: expected at least {self.length + 1} tokens, integers on one axis, "
                f"got {self.tokens.dtype}{list(self.tokens.shape)}"
            )

    def __getitem__(self, index: Any) -> tuple[Array, Array]:
        rows = np.asarray(index)
        wrong = (rows < -len(self)) | (rows >= len(self))
        if wrong.any():
            raise IndexError(f"TokenWindows: of {len(self)} windows none has the number {rows[wrong].flat[0]}")
        begin = np.where(rows < 0, rows + len(self), rows) * self.stride
        if isinstance(self.tokens, FileArray):
            read = self.tokens.runs(begin.reshape(-1), self.length + 1).reshape(*begin.shape, -1)
        else:
            read = self.tokens[begin[..., None] + np.arange(self.length + 1)]
        found = read.astype(np.int64)
        return found[..., :-1], found[..., 1:]

    def __len__(self) -> int:
        return (len(self.tokens) - 1 - self.length) // self.stride + 1
