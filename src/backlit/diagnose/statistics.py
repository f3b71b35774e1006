"""Statistics of an array: extremes, mean, root of the mean square, what is not a normal number, a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

N_BINS = 64
_LOW = -44  # the smallest magnitude that has a bin of its own is 2 ** _LOW; a bin is two binades wide
HISTOGRAM_EDGES = tuple(
    [-(2.0 ** (_LOW + 2 * k)) for k in range(N_BINS // 2, 0, -1)]
    + [0.0]
    + [2.0 ** (_LOW + 2 * k) for k in range(1, N_BINS // 2 + 1)]
)
"""Edges of the 64 bins: magnitudes from 2^-42 to 2^20, each bin four times the one before. What is smaller is in the bin
at 0, what is larger in the last one; zeros, NaN and infinities are in none."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """`n` elements; extremes, mean and root mean square are those of the finite ones (NaN where there is none)."""

    n: int
    min: float
    max: float
    mean: float
    rms: float
    absmax: float
    zeros: int
    nans: int
    infs: int
    subnormals: int
    histogram: Array | None = None

    @property
    def norm(self) -> float:
        """Root of the sum of squares."""
        return self.rms * math.sqrt(self.n - self.nans - self.infs) if self.n > self.nans + self.infs else 0.0


def plain(array: Any) -> Array:
    """`array` in a dtype of which NumPy can take statistics, exactly: float32, float64, or integers as they are."""
    x = np.asarray(array)
    if x.dtype.kind == "V" or x.dtype == np.float16:
        return x.astype(np.float32)
    if x.dtype.kind == "c":
        return np.asarray(np.abs(x))
    return x.astype(np.uint8) if x.dtype.kind == "b" else x


def measure(array: Any, histogram: bool = True) -> Statistics:
    """Statistics of `array`; costs about ten passes over it, four without the histogram where all elements are finite."""
    x = plain(array).reshape(-1)
    if not x.size:
        nan = math.nan
        empty = np.zeros(N_BINS, np.uint32) if histogram else None
        return Statistics(0, nan, nan, nan, nan, nan, 0, 0, 0, 0, empty)
    if not histogram and x.dtype.kind == "f":
        with np.errstate(all="ignore"):
            square = float(np.dot(x, x))
        if math.isfinite(square):
            low, high = float(x.min()), float(x.max())
            zeros = x.size - int(np.count_nonzero(x))
            mean = float(x.sum(dtype=np.float64)) / x.size
            return Statistics(
                x.size, low, high, mean, math.sqrt(square / x.size), max(abs(low), abs(high)), zeros, 0, 0, 0, None
            )
    return _thorough(x, histogram)


def _thorough(x: Array, histogram: bool) -> Statistics:
    n, nans, infs, subnormals = x.size, 0, 0, 0
    if x.dtype.kind == "f":
        finite = np.isfinite(x)
        if not finite.all():
            nans = int(np.isnan(x).sum())
            infs = n - int(finite.sum()) - nans
            x = x[finite]
    magnitude = np.abs(x)
    zeros = x.size - int(np.count_nonzero(x))
    if x.dtype.kind == "f":
        subnormals = int((magnitude < np.finfo(x.dtype).smallest_normal).sum()) - zeros
    counts = _histogram(x, magnitude) if histogram else None
    if not x.size:
        nan = math.nan
        return Statistics(n, nan, nan, nan, nan, nan, 0, nans, infs, 0, counts)
    low, high, absmax = float(x.min()), float(x.max()), float(magnitude.max())
    mean = float(x.mean(dtype=np.float64))
    with np.errstate(over="ignore"):
        scaled = magnitude.astype(np.float64) / (absmax or 1.0)  # so that no square overflows
        rms = math.sqrt(float(np.dot(scaled, scaled)) / x.size) * absmax
    return Statistics(n, low, high, mean, rms, absmax, zeros, nans, infs, subnormals, counts)


def _histogram(x: Array, magnitude: Array) -> Array:
    half = N_BINS // 2
    exponent = np.frexp(magnitude if x.dtype.kind == "f" else magnitude.astype(np.float64))[1]
    place = np.clip((exponent - 1 - _LOW) >> 1, 0, half - 1)
    place = np.where(x < 0, half - 1 - place, half + place)
    return np.bincount(place[x != 0], minlength=N_BINS).astype(np.uint32)
