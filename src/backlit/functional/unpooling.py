"""Pooling undone where the places of the largest elements are known, and pooling over windows of random places."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.lengths import Numbers, check_axes, several
from backlit.ops import samplers
from backlit.ops.picking import put_along_axis, take_along_axis
from backlit.ops.shape import stack
from backlit.ops.statistics import argmax


@scope
def max_unpool1d(
    input: Any, indices: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, output_size: Any = None
) -> Tensor:  # fmt: skip
    """`input: [batch, channels, windows]` at the places `indices` of zeros; `max_unpool2d` says the rest."""
    return _unpooled("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


@scope
def max_unpool2d(
    input: Any, indices: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, output_size: Any = None
) -> Tensor:  # fmt: skip
    """The elements of `input: [batch, channels, ...]` at the places `indices` of zeros, as `max_pool2d` gives them.

    The lengths of the result are those of the smallest array with so many windows, or the last of `output_size`, which may
    be up to one stride from it. Of two elements with one place the last counts, and has the gradient. The batch axis may be left out.

    Raises:
      ShapeError: the axes do not fit, or `output_size` is none that has so many windows.
      ArgumentError: a number is out of range.
    """
    return _unpooled("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


@scope
def max_unpool3d(
    input: Any, indices: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, output_size: Any = None
) -> Tensor:  # fmt: skip
    """`input: [batch, channels, ...]` at the places `indices` of zeros in three dimensions; `max_unpool2d` says the rest."""
    return _unpooled("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def _unpooled(
    who: str, n: int, input: Any, indices: Any, kernel: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    x, places = as_tensor(input), as_tensor(indices)
    check_axes(who, x, n)
    if places.shape != x.shape or places.dtype.kind not in "iu":
        raise ShapeError(f"{who}: expected integers {list(x.shape)} as indices, got {shown(places)}{here()}")
    kernels = several(who, "kernel_size", kernel, n, 1)
    strides = kernels if stride is None else several(who, "stride", stride, n, 1)
    pads = several(who, "padding", padding, n, 0)
    usual = tuple((m - 1) * s - 2 * p + k for m, s, p, k in zip(x.shape[-n:], strides, pads, kernels, strict=True))
    size = usual if output_size is None else tuple(output_size)[-n:]
    if len(size) != n or any(abs(a - b) >= s for a, b, s in zip(size, usual, strides, strict=True)):
        raise ShapeError(f"{who}: expected an output_size near {list(usual)}, got {list(size)}{here()}")
    lead = x.shape[:-n]
    flat = Tensor(np.zeros((*lead, math.prod(size)), x.dtype))
    count = math.prod(x.shape[-n:])
    out = put_along_axis(flat, places.reshape((*lead, count)), x.reshape((*lead, count)), axis=-1)
    return out.reshape((*lead, *size))


@scope
def fractional_max_pool2d(
    input: Any, kernel_size: Numbers, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None, *, generator: Generator | None = None,
) -> Any:  # fmt: skip
    """The largest of windows of `input: [batch, channels, height, width]` that begin at random places (Graham, 2015).

    `output_size` is the number of windows along each axis, or `output_ratio` its share of the length, below 1. Windows begin
    int((i + u) a) - int(u a) places on, with a = (length - kernel) / (windows - 1), the last one at the end; u is uniform in
    [0, 1) for each channel and axis, drawn from `generator` or given by `_random_samples: [batch, channels, axes]`. Of equal
    elements the first counts. The batch axis may be left out.

    Raises:
      ShapeError: the axes do not fit, or so many windows do not.
      ArgumentError: not one of the two is given, or a number is out of range.
    """
    return _fractional(
        "fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, generator
    )  # fmt: skip


@scope
def fractional_max_pool3d(
    input: Any, kernel_size: Numbers, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None, *, generator: Generator | None = None,
) -> Any:  # fmt: skip
    """The same for `input: [batch, channels, depth, height, width]`; `fractional_max_pool2d` says the rest."""
    return _fractional(
        "fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, generator
    )  # fmt: skip


def _fractional(
    who: str, n: int, input: Any, kernel: Any, output_size: Any, ratio: Any, indices: bool, samples: Any,
    generator: Generator | None,
) -> Any:  # fmt: skip
    x = as_tensor(input)
    check_axes(who, x, n)
    if x.dtype.kind == "c":
        raise DTypeError(f"{who}: complex numbers have no order, got {shown(x)}{here()}")
    if (output_size is None) == (ratio is None):
        raise ArgumentError(f"{who}: expected one of output_size and output_ratio{here()}")
    kernels = several(who, "kernel_size", kernel, n, 1)
    lengths = x.shape[-n:]
    if output_size is None:
        shares = tuple(ratio) if isinstance(ratio, (tuple, list)) else (ratio,) * n
        if len(shares) != n or not all(0 < r < 1 for r in shares):
            raise ArgumentError(f"{who}: output_ratio must be between 0 and 1, got {ratio!r}{here()}")
        output_size = [int(m * r) for m, r in zip(lengths, shares, strict=True)]
    counts = several(who, "output_size", list(output_size) if not isinstance(output_size, int) else output_size, n, 1)
    if any(c + k - 1 > m for m, k, c in zip(lengths, kernels, counts, strict=True)):
        raise ShapeError(f"{who}: {list(counts)} windows of {list(kernels)} do not fit lengths {list(lengths)}{here()}")
    whole = x if x.ndim == n + 2 else x.reshape((1, *x.shape))
    lead = whole.shape[:2]
    draws = (
        samplers.uniform((*lead, n), dtype=np.float64, generator=generator) if samples is None else as_tensor(samples)
    )
    if draws.shape != (*lead, n):
        raise ShapeError(f"{who}: expected _random_samples {[*lead, n]}, got {shown(draws)}{here()}")
    # PyTorch's order of the samples: width first in two dimensions, depth first in three
    order = range(n - 1, -1, -1) if n == 2 else range(n)
    starts = [_starts(draws[..., k], m, kn, c) for k, m, kn, c in zip(order, lengths, kernels, counts, strict=True)]
    taps = []
    for tap in itertools.product(*map(range, kernels)):
        place: Any = 0
        for axis, (start, offset, m) in enumerate(zip(starts, tap, lengths, strict=True)):
            along = [counts[axis] if a == axis else 1 for a in range(n)]
            place = place * m + (start + offset).reshape((*lead, *along))
        taps.append(place.broadcast_to((*lead, *counts)).reshape((*lead, math.prod(counts))))
    places = stack(taps, axis=-1)  # [batch, channels, windows, places of a window]
    values = take_along_axis(whole.reshape((*lead, 1, math.prod(lengths))), places, axis=-1)
    best = argmax(values.detach(), axis=-1, keepdims=True)
    shape = (*x.shape[:-n], *counts)
    out = take_along_axis(values, best, axis=-1).reshape(shape)
    return (out, take_along_axis(places, best, axis=-1).reshape(shape)) if indices else out


def _starts(u: Tensor, length: int, kernel: int, count: int) -> Tensor:
    """Where windows begin along one axis, [batch, channels, count]."""
    last = np.where(np.arange(count) == count - 1, length - kernel, 0)
    if count == 1:
        return as_tensor(np.broadcast_to(last, (*u.shape, 1)).copy())
    step = (length - kernel) / (count - 1)
    u = u.reshape((*u.shape, 1))
    begun = ((u + np.arange(count)) * step).astype(np.int64) - (u * step).astype(np.int64)
    return begun * (np.arange(count) < count - 1) + last
