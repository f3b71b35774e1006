"""Statistics of an array: extremes, mean, root of the mean square, what is not a normal number, a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backlit.core.quiet import silence, variable

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


@dataclass(slots=True)
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
    """Statistics of `array`; costs about ten passes over it.

    Without the histogram it is five where all elements are finite, mean and root mean square are rounded in the array's own
    precision, and subnormal numbers are not counted.
    """
    if not histogram and array.__class__ is np.ndarray and array.dtype in _QUICK and array.flags.forc and array.size:
        x, times = array.ravel("K"), 1
    else:
        x, times = _distinct(plain(array))
        if not x.size:
            nan = math.nan
            empty = np.zeros(N_BINS, np.uint32) if histogram else None
            return Statistics(0, nan, nan, nan, nan, nan, 0, 0, 0, 0, empty)
        x = _flat(x)
    if not histogram and x.dtype.kind == "f":
        token = variable.set(silence)
        try:
            square = float(np.dot(x, x))
        finally:
            variable.reset(token)
        if math.isfinite(square):
            n = x.size
            low, high = float(np.minimum.reduce(x)), float(np.maximum.reduce(x))
            zeros = int(np.count_nonzero(x == 0)) * times if low <= 0.0 <= high else 0
            mean = float(np.dot(x, _ones(x))) / n
            return Statistics(n * times, low, high, mean, math.sqrt(square / n), max(-low, high), zeros, 0, 0, 0, None)
    found = _thorough(x, histogram)
    return found if times == 1 else _repeated(found, times)


_QUICK = (np.dtype(np.float32), np.dtype(np.float64))
_row: dict[Any, Array] = {}


def _ones(x: Array) -> Array:
    """Ones like `x`, with which a product is twice as quick as a sum."""
    found = _row.get(x.dtype)
    if found is None or found.size < x.size:
        found = _row[x.dtype] = np.ones(x.size, x.dtype)
    return found[: x.size]


def _distinct(x: Array) -> tuple[Array, int]:
    """What is repeated along an axis by a view, once; and how often it is repeated in all."""
    times, index = 1, None
    for axis, stride in enumerate(x.strides):
        if stride == 0 and x.shape[axis] > 1:
            index = index or [slice(None)] * x.ndim
            index[axis] = slice(1)
            times *= x.shape[axis]
    return (x, 1) if index is None else (x[tuple(index)], times)


def _repeated(found: Statistics, times: int) -> Statistics:
    counts = None if found.histogram is None else found.histogram * np.uint32(times)
    many = {name: getattr(found, name) * times for name in ("n", "zeros", "nans", "infs", "subnormals")}
    return replace(found, **many, histogram=counts)


def _flat(x: Array) -> Array:
    """The elements in one row, in the order of memory where that saves a copy."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    ordered = x.transpose(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))
    return ordered.reshape(-1)


def memory_key(array: Any) -> Any:
    """Equal for arrays of the same elements in the same memory, while they are alive."""
    if isinstance(array, np.ndarray) and (array.flags.c_contiguous or array.flags.f_contiguous):
        return array.__array_interface__["data"][0], array.nbytes, array.dtype
    return id(array)


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
