"""Normalisation: by the moments of a batch, a layer, groups of channels, an instance; by the mean square; by neighbours.

Moments are taken in two passes, the variance as the mean of (x - mean)^2, so that a large mean costs no digits; those of
float16 and bfloat16 in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.autodiff.batch import BatchTrace
from backlit.autodiff.reverse import stop_gradient
from backlit.core.errors import ArgumentError, DTypeError, ShapeError, TraceError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor, no_grad
from backlit.ops import exponential
from backlit.ops.linear import pad
from backlit.ops.shape import reshape
from backlit.ops.statistics import mean


def _wide(x: Tensor) -> Tensor:
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _normalised(x: Tensor, axis: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(var + eps) over `axis`, with the mean and the variance, whose axes are kept."""
    average = mean(x, axis=axis, keepdims=True)
    off = x - average
    spread = mean(off * off, axis=axis, keepdims=True)
    return off * exponential.rsqrt(spread + eps), average, spread


def _affine(x: Tensor, weight: Any, bias: Any, shape: tuple[int, ...], who: str) -> Tensor:
    """`x * weight + bias`, each of the two laid out in `shape`, which broadcasts to `x`."""
    for name, given in (("weight", weight), ("bias", bias)):
        if given is None:
            continue
        found = as_tensor(given)
        if math.prod(found.shape) != math.prod(shape):
            raise ShapeError(f"{who}: {name} {shown(found)} does not fit {shown(x)}{here()}")
        if found.dtype != x.dtype and found.dtype.itemsize != 2:
            raise DTypeError(
                f"{who}: input {shown(x)} and {name} {shown(found)} differ in dtype; "
                f"use .astype({str(found.dtype)!r}) on the input{here()}"
            )
    x = x if weight is None else x * reshape(_wide(as_tensor(weight)), shape)
    return x if bias is None else x + reshape(_wide(as_tensor(bias)), shape)


def _last_axes(x: Tensor, normalized_shape: int | Sequence[int], who: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`normalized_shape` as a tuple, and the axes of `x` that it names."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(int(n) for n in normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"{who}: expected the last axes to be {list(shape)}, got {shown(x)}{here()}")
    return shape, tuple(range(-len(shape), 0))


def _channels(x: Tensor, who: str) -> tuple[int, ...]:
    """The shape in which one number for each channel broadcasts to `x: [batch, channels, ...]`."""
    if x.ndim < 2:
        raise ShapeError(f"{who}: expected [batch, channels, ...], got {shown(x)}{here()}")
    return (1, x.shape[1], *(1 for _ in x.shape[2:]))


@scope
def layer_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over the last axes, which are `normalized_shape` (Ba et al., 2016).

    `weight` and `bias`, shaped like these axes, scale and shift the result.

    Raises:
      ShapeError: the last axes of `input`, or `weight`, or `bias`, are shaped otherwise.
    """
    x = as_tensor(input)
    shape, axis = _last_axes(x, normalized_shape, "layer_norm")
    out, _, _ = _normalised(_wide(x), axis, eps)
    return _affine(out, weight, bias, shape, "layer_norm").astype(x.dtype)


@scope
def rms_norm(
    input: Any, normalized_shape: int | Sequence[int], weight: Any = None, eps: float | None = None
) -> Tensor:  # fmt: skip
    """x / sqrt(mean(x^2) + eps) over the last axes, which are `normalized_shape` (Zhang and Sennrich, 2019).

    `weight`, shaped like these axes, scales the result. Without `eps` it is the distance from 1 to the next number of the dtype.

    Raises:
      ShapeError: the last axes of `input`, or `weight`, are shaped otherwise.
    """
    x = as_tensor(input)
    shape, axis = _last_axes(x, normalized_shape, "rms_norm")
    wide = _wide(x)
    least = float(np.finfo(wide.dtype).eps) if eps is None else eps
    out = wide * exponential.rsqrt(mean(wide * wide, axis=axis, keepdims=True) + least)
    return _affine(out, weight, None, shape, "rms_norm").astype(x.dtype)


@scope
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) over each of `num_groups` groups of channels of an example (Wu and He, 2018).

    Shapes:
      input: [batch, channels, ...]; weight, bias: [channels].

    Raises:
      ShapeError: the channels cannot be divided into so many groups, or `weight` or `bias` does not fit.
    """
    x = as_tensor(input)
    by_channel = _channels(x, "group_norm")
    batch, channels = x.shape[:2]
    if num_groups <= 0 or channels % num_groups:
        raise ShapeError(f"group_norm: {channels} channels are not {num_groups} equal groups in {shown(x)}{here()}")
    rows = reshape(_wide(x), (batch, num_groups, math.prod(x.shape[1:]) // num_groups))
    out, _, _ = _normalised(rows, (2,), eps)
    return _affine(reshape(out, x.shape), weight, bias, by_channel, "group_norm").astype(x.dtype)


@scope
def batch_norm(
    input: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) for each channel over all other axes (Ioffe and Szegedy, 2015).

    Shapes:
      input: [batch, channels, ...]; running_mean, running_var, weight, bias: [channels].

    With `training` by the moments of the batch; the running ones, where given, move to them by `momentum`, to the variance with
    n - 1 for n. Otherwise by the running ones, which are then taken as constants.

    Raises:
      ShapeError: there are no channels, an argument does not fit, or a batch for training has one value for each channel.
      ArgumentError: no running moments are given and `training` is False.
    """
    x = as_tensor(input)
    by_channel = _channels(x, "batch_norm")
    others = (0, *range(2, x.ndim))
    return _by_moments(
        "batch_norm", x, others, by_channel, running_mean, running_var, weight, bias, training, momentum, eps
    )  # fmt: skip


@scope
def instance_norm(
    input: Any, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) for each channel of each example over its places (Ulyanov et al., 2016).

    Shapes:
      input: [batch, channels, ...]; running_mean, running_var, weight, bias: [channels].

    The running moments, where given, move by `momentum` to the mean over the batch of those of its examples. Without
    `use_input_stats` the running ones are used instead.

    Raises:
      ShapeError: there are no channels, an argument does not fit, or an example has one place.
      ArgumentError: no running moments are given and `use_input_stats` is False.
    """
    x = as_tensor(input)
    by_channel = _channels(x, "instance_norm")
    places = tuple(range(2, x.ndim))
    return _by_moments(
        "instance_norm", x, places, by_channel, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )  # fmt: skip


def _by_moments(
    who: str, x: Tensor, axis: tuple[int, ...], by_channel: tuple[int, ...], running_mean: Tensor | None,
    running_var: Tensor | None, weight: Any, bias: Any, own: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    wide = _wide(x)
    for name, cell in (("running_mean", running_mean), ("running_var", running_var)):
        if cell is not None and cell.shape != (x.shape[1],):
            raise ShapeError(f"{who}: {name} {shown(cell)} does not fit the channels of {shown(x)}{here()}")
    if own:
        n = math.prod(x.shape[a] for a in axis)
        if n == 1:
            raise ShapeError(
                f"{who}: expected more than one value for each channel to train on, got {shown(x)}{here()}"
            )
        out, average, spread = _normalised(wide, axis, eps)
        unbiased = n / (n - 1.0) if n else 1.0
        for cell, moment in ((running_mean, average), (running_var, spread * unbiased)):
            if cell is not None:
                _move(cell, moment, momentum)
    elif running_mean is None or running_var is None:
        raise ArgumentError(
            f"{who}: expected running_mean and running_var where the moments are not those of the input"
        )
    else:
        average, spread = (reshape(_wide(stop_gradient(v)), by_channel) for v in (running_mean, running_var))
        out = (wide - average) * exponential.rsqrt(spread + eps)
    return _affine(out, weight, bias, by_channel, who).astype(x.dtype)


def _move(cell: Tensor, moment: Tensor, momentum: float) -> None:
    """Writes the running moment: `momentum` of the way to the mean of the new ones over the batch."""
    value, before = moment._value, cell._value
    mapped = isinstance(value, Box) and isinstance(value.trace, BatchTrace)
    if mapped and (not isinstance(before, Box) or before.trace is not value.trace):
        raise TraceError(
            "normalisation: inside vmap each example has moments of its own, and the running ones are one state for all; "
            f"use eval mode, no running moments, or group_norm{here()}"
        )
    with no_grad():
        new = reshape(mean(stop_gradient(moment), axis=0), cell.shape)
        cell[...] = cell * (1.0 - momentum) + new * momentum


@scope
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha mean(x^2))^beta, the mean over `size` neighbouring channels (Krizhevsky et al., 2012).

    Shapes:
      input: [batch, channels, ...].

    Beyond the first and the last channel there are zeros, which count; an even `size` has one channel more before than behind.

    Raises:
      ShapeError: `input` has fewer than three axes.
      ArgumentError: `size` is not positive.
    """
    x = as_tensor(input)
    if x.ndim < 3:
        raise ShapeError(f"local_response_norm: expected [batch, channels, ...], got {shown(x)}{here()}")
    if size < 1:
        raise ArgumentError(f"local_response_norm: size must be positive, got {size}")
    wide = _wide(x)
    around = ((0, 0), (size // 2, (size - 1) // 2), *((0, 0) for _ in x.shape[2:]))
    squares = pad(wide * wide, width=around)
    total = squares[:, : x.shape[1]]
    for start in range(1, size):
        total = total + squares[:, start : start + x.shape[1]]
    return (wide / (k + (alpha / size) * total) ** beta).astype(x.dtype)
