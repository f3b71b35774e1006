"""Arrays as the page draws them: exact contents while there is room, else thumbnails that keep every spike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.diagnose.statistics import plain

Array = np.ndarray[Any, Any]
BAD = -128  # stands in a thumbnail for a block with a NaN or an infinity


@dataclass(frozen=True)
class Limits:
    """How much of the contents goes into a file.

    Arrays of at most `full_elements` elements are kept exactly, `full_bytes` in all, the smallest first; the others, and
    those for which there is no room, as thumbnails of at most `side` by `side`, which take `thumbnail_bytes` in all (the
    side is halved until they do).
    """

    full_elements: int = 4096
    full_bytes: int = 2 << 20
    side: int = 32
    thumbnail_bytes: int = 5 << 19

    def tighter(self) -> Limits:
        """Half of everything."""
        return Limits(self.full_elements // 2, self.full_bytes // 2, max(self.side // 2, 1), self.thumbnail_bytes // 2)


class Pictures:
    """Collects arrays, each once, and lays them out as the tables `array` and `raw`."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.arrays: list[Array] = []

    def add(self, array: Any) -> int:
        """The row of `array`; -1 for one without elements."""
        if array is None or not np.size(array):
            return -1
        row = self.rows.get(id(array))
        if row is None:
            row = self.rows[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return row

    def tables(self, limits: Limits) -> dict[str, dict[str, Any]]:
        """The tables `array` and `raw`, of contents within the limits."""
        shown = [_shown(a) for a in self.arrays]
        full, room = [False] * len(shown), limits.full_bytes
        for k in sorted(range(len(shown)), key=lambda k: shown[k].nbytes):
            if shown[k].size <= limits.full_elements and shown[k].nbytes <= room:
                full[k] = True
                room -= shown[k].nbytes
        side = limits.side
        while side > 1 and sum(_pooled_size(x, side) for x, f in zip(shown, full, strict=True) if not f) > (
            limits.thumbnail_bytes
        ):
            side //= 2
        columns: dict[str, list[Any]] = {
            name: [] for name in ("rows", "cols", "slices", "full", "scale", "dtype", "at", "nbytes")
        }
        blocks: list[bytes] = []
        place = 0
        for x, exact in zip(shown, full, strict=True):
            slices, (rows, cols), scale = _slices(x), _plane(x), 1.0
            if not exact:
                x, scale = pooled(x.reshape(slices * rows, cols), side)
                slices, (rows, cols) = 1, x.shape
            data = np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()
            kind = f"{x.dtype.kind}{x.dtype.itemsize}"
            for name, value in zip(columns, (rows, cols, slices, exact, scale, kind, place, len(data)), strict=True):
                columns[name].append(value)
            data += bytes(-len(data) % 8)
            blocks.append(data)
            place += len(data)
        kinds = {"rows": "i4", "cols": "i4", "slices": "i4", "full": "u1", "scale": "f8", "at": "f8", "nbytes": "f8"}
        return {
            "array": {n: np.array(c, kinds[n]) if n in kinds else c for n, c in columns.items()},
            "raw": {"byte": np.frombuffer(b"".join(blocks), np.uint8)},
        }


def _shown(array: Any) -> Array:
    """The array in a type that the file has."""
    x = plain(array)
    if x.dtype.kind in "iu" and x.dtype.itemsize != 4:
        fits = x.size == 0 or (int(x.min()) >= -(2**31) and int(x.max()) < 2**31)
        return x.astype(np.int32 if fits else np.float64)
    return x


def _plane(x: Array) -> tuple[int, int]:
    return (1, 1) if not x.ndim else (1, x.shape[0]) if x.ndim == 1 else (x.shape[-2], x.shape[-1])


def _slices(x: Array) -> int:
    return math.prod(x.shape[:-2]) if x.ndim > 2 else 1


def _pooled_size(x: Array, side: int) -> int:
    rows, cols = _plane(x)
    return min(rows * _slices(x), side) * min(cols, side)


def pooled(x: Array, side: int) -> tuple[Array, float]:
    """`x: [rows, cols]` in at most `side` by `side` blocks, of each the element that is largest in magnitude.

    The result is int8, to be multiplied by the scale that is given with it; `BAD` marks a block that holds a NaN or an
    infinity. An element that is not zero does not become zero unless it is below 1/254 of the largest.
    """
    top = low = x
    for axis in (0, 1):
        n = x.shape[axis]
        starts = np.arange(min(n, side)) * n // min(n, side)
        top = np.maximum.reduceat(top, starts, axis=axis)
        low = np.minimum.reduceat(low, starts, axis=axis)
    top, low = top.astype(np.float64), low.astype(np.float64)
    with np.errstate(invalid="ignore"):
        largest = np.where(-low > top, low, top)
    bad = ~np.isfinite(top) | ~np.isfinite(low)
    largest[bad] = 0.0
    scale = float(np.abs(largest).max(initial=0.0)) / 127.0
    with np.errstate(invalid="ignore", divide="ignore"):
        levels = np.rint(largest / scale) if scale else np.zeros_like(largest)
    levels[bad] = BAD
    return levels.astype(np.int8), scale
