"""Keys and values that attention has seen, kept so that a sequence can be made step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor


class KeyValueCache:
    """Keys and values `[batch, heads, capacity, size]` of which the first `length` are there.

    `length` is a cell, so that a compiled step that goes on with a cache is one program for all steps. Gradients do not go
    back into earlier calls. One that is `fixed` holds what does not grow, such as the keys of a memory. `MultiheadAttention.make_cache` and `remember` make them.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int, fixed: bool = False) -> None:
        self.keys = keys
        self.values = values
        self.length = Tensor(np.array(length, np.int64))
        self.fixed = fixed

    @property
    def capacity(self) -> int:
        """How many steps there is room for."""
        return self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Adds keys and values `[batch, heads, n, size]`.

        Gives the keys and values to look at, and which of them each of the n sees: those up to its own, [n, steps].

        Raises:
          ShapeError: they do not fit, or there is no room left.
        """
        n, there = keys.shape[2], self.keys.shape
        if (*keys.shape[:2], keys.shape[3]) != (*there[:2], there[3]) or keys.dtype != self.keys.dtype:
            raise ShapeError(
                f"KeyValueCache: expected {self.keys.dtype}[{there[0]}, {there[1]}, steps, {there[3]}], got {shown(keys)}{here()}"
            )
        known = None if isinstance(self.length._value, Box) else int(self.length.item())
        if n > self.capacity or (known is not None and known + n > self.capacity):
            raise ShapeError(f"KeyValueCache: no room for {n} steps behind {known or 0} of {self.capacity}{here()}")
        places = self.length + np.arange(n)
        found = []
        end = self.capacity if known is None else known + n  # a program looks at all of it, whatever the length
        for cell, new in ((self.keys, keys), (self.values, values)):
            if new.requires_grad:
                whole = cell.at[:, :, places].set(new)
                cell[...] = whole.detach()
            else:
                cell[:, :, places] = new
                whole = cell
            found.append(whole[:, :, :end])
        self.length[...] = self.length + n
        return found[0], found[1], as_tensor(np.arange(end)) <= places.reshape((n, 1))

    def reset(self) -> None:
        """Forgets everything."""
        for cell in (self.keys, self.values, self.length):
            cell[...] = 0

    def reorder(self, rows: Any) -> None:
        """Row k of the batch goes on with what row `rows[k]` has seen, as in a beam search."""
        picked = as_tensor(rows)
        for cell in (self.keys, self.values):
            cell[...] = cell[picked]

    def __repr__(self) -> str:
        return f"KeyValueCache({int(self.length.item())} of {self.capacity} steps, {shown(self.keys)}{', fixed' * self.fixed})"
