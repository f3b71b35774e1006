"""Statistics of an array: extremes, mean, root of the mean square, what is not a normal number, a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backlit.diagnose.onepass import APART, ROW, SQUARES, one_pass

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
    """Statistics of `array`: one pass over float32 and float64, in native code, and another for the histogram; some ten
    over others."""
    if array.__class__ is np.ndarray and array.dtype in _NATIVE and array.flags.forc and array.size:
        return _native(array, histogram)
    x, times = _distinct(plain(array))
    if not x.size:
        nan = math.nan
        return Statistics(0, nan, nan, nan, nan, nan, 0, 0, 0, 0, np.zeros(N_BINS, np.uint32) if histogram else None)
    x = _flat(x)
    found = _native(np.ascontiguousarray(x), histogram) if x.dtype in _NATIVE else _thorough(x, histogram)
    return found if times == 1 else _repeated(found, times)


_NATIVE = (np.dtype(np.float32), np.dtype(np.float64))
_LEAST_SQUARES = 1e-280  # a sum of squares below may have lost digits of doubles


def _native(x: Array, histogram: bool) -> Statistics:
    """Statistics of floats that lie one behind the other."""
    native, address, n = one_pass(N_BINS, _LOW), x.__array_interface__["data"][0], x.size
    row = ROW.unpack(native.measure(x.dtype, address, n))
    if x.dtype == np.float64 and not _LEAST_SQUARES < row[SQUARES] < math.inf:
        return _thorough(x.ravel("K"), histogram)
    found = Statistics(*_found(row, n))
    if histogram:
        found.histogram = native.histogram(x.dtype, address, n)
    return found


def _found(row: Any, n: int) -> tuple[Any, ...]:
    low, high, total, squares, zeros, subnormals, nans, infs, _ = row
    kept = n - int(nans) - int(infs)
    if not kept:
        return n, math.nan, math.nan, math.nan, math.nan, math.nan, 0, int(nans), int(infs), 0
    rms = math.sqrt(squares / kept)
    return n, low, high, total / kept, rms, abs(max(-low, high)), int(zeros), int(nans), int(infs), int(subnormals)


class Late(Statistics):
    """Statistics that are worked out of what a native pass left when somebody asks for one of them."""

    __slots__ = ("_of", "_row")
    _row: bytes
    _of: int

    def __getattr__(self, name: str) -> Any:
        if name not in _NAMES:
            raise AttributeError(name)
        for own, value in zip(_NAMES, (*_found(ROW.unpack(self._row), self._of), None), strict=True):
            setattr(self, own, value)
        return getattr(self, name)


_NAMES = tuple(Statistics.__slots__)


def late(array: Any) -> Statistics:
    """The statistics of an array without its histogram, of which no more is done at once than has to be."""
    n = array.size
    if n == 1 and array.dtype == _SINGLE and math.isfinite(x := float(array.reshape(()))):
        zero = float(x == 0.0)
        return _late(ROW.pack(x, x, x, x * x, zero, float(abs(x) < _SMALLEST) - zero, 0.0, 0.0, 0.0), 1)
    if array.__class__ is not np.ndarray or array.dtype != _SINGLE or not array.flags.forc or not n:
        return measure(array, histogram=False)
    return _late(one_pass(N_BINS, _LOW).measure(_SINGLE, array.__array_interface__["data"][0], n), n)


def _late(row: bytes, n: int) -> Late:
    found = Late.__new__(Late)
    found._row, found._of = row, n
    return found


_SINGLE = _NATIVE[0]
_SMALLEST = float(np.finfo(_SINGLE).smallest_normal)


def compared(after: Any, before: Any) -> tuple[Statistics, float]:
    """The statistics of `after` without its histogram, and the norm of `after - before`, whose elements are rounded as
    those of the arrays; both are read once."""
    arrays = before.__class__ is after.__class__ is np.ndarray
    if arrays and before.dtype == after.dtype == _SINGLE and _side_by_side(before, after):
        address, other = (x.__array_interface__["data"][0] for x in (after, before))
        row = one_pass(N_BINS, _LOW).compare(_SINGLE, address, other, after.size)
        return _late(row, after.size), math.sqrt(ROW.unpack(row)[APART])
    with np.errstate(all="ignore"):
        whole = plain if before.dtype.kind != "c" else np.asarray  # of complex numbers the change of both parts
        change = (whole(after) - whole(before)).reshape(-1)
        return measure(after, histogram=False), math.sqrt(float(np.vdot(change, change).real))


def _side_by_side(x: Array, y: Array) -> bool:
    """Whether equal places in memory hold elements of the same index."""
    return x.shape == y.shape and x.strides == y.strides and x.flags.forc and bool(x.size)


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
    if isinstance(array, np.ndarray) and array.flags.forc:
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
