"""Pooling over windows in one, two and three dimensions: largest, mean, and norms; and windows side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import bfloat16, default_dtype, is_float
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.lengths import Numbers, check_axes, rows, several, with_lead
from backlit.ops import elementwise as ew
from backlit.ops import reduce, windows
from backlit.ops.convolution import conv
from backlit.ops.linear import astype, reshape, sum


@scope
def max_pool1d(
    input: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, dilation: Numbers = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of `input: [batch, channels, length]`; `max_pool2d` says the rest."""
    return _max("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@scope
def max_pool2d(
    input: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, dilation: Numbers = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of `input: [batch, channels, height, width]`.

    Of equal elements the first counts and gets the whole gradient; the others are structurally zero. A NaN is larger
    than all. Windows start every `stride` places (`kernel_size` unless given), the first `padding` before the input,
    of whose places only those inside count; with `ceil_mode` a last window may reach beyond the end. The batch axis may
    be left out. With `return_indices` the result is a pair, with the place of each largest element among the flattened
    last axes. Kept for the gradient: one byte for each result.

    Raises:
      ShapeError: the axes do not fit, or there is no window.
      DTypeError: the input is complex.
      ArgumentError: a number is out of range; padding is more than half of the kernel.
    """
    return _max("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@scope
def max_pool3d(
    input: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, dilation: Numbers = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of `input: [batch, channels, depth, height, width]`; `max_pool2d` says the rest."""
    return _max("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@scope
def avg_pool1d(
    input: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of `input: [batch, channels, length]`; `avg_pool2d` says the rest."""
    return _average("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@scope
def avg_pool2d(
    input: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of `input: [batch, channels, height, width]`.

    Windows start every `stride` places (`kernel_size` unless given), the first `padding` before the input; the zeros
    there are counted unless `count_include_pad` is False. With `ceil_mode` a last window may reach beyond the end, of
    which nothing counts. `divisor_override` divides the sums instead of the count. The batch axis may be left out.

    Raises:
      ShapeError: the axes do not fit, or there is no window.
      ArgumentError: a number is out of range; padding is more than half of the kernel.
    """
    return _average(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@scope
def avg_pool3d(
    input: Any, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of `input: [batch, channels, depth, height, width]`; `avg_pool2d` says the rest."""
    return _average(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@scope
def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Numbers, stride: Numbers | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p) over each window of `input: [batch, channels, length]`; `lp_pool2d` says the rest."""
    return _norm("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


@scope
def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Numbers, stride: Numbers | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p) over each window of `input: [batch, channels, height, width]`, p being `norm_type`.

    The powers are of x, not of |x|. Where the sum is 0 the derivative is 0. Windows are those of `avg_pool2d`.

    Raises:
      ShapeError: the axes do not fit, or there is no window.
      ArgumentError: a number is out of range; `norm_type` is not positive.
    """
    return _norm("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


@scope
def lp_pool3d(
    input: Any, norm_type: float, kernel_size: Numbers, stride: Numbers | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p) over each window of `input: [batch, channels, depth, height, width]`; `lp_pool2d` says the rest."""
    return _norm("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


@scope
def unfold(
    input: Any, kernel_size: Numbers, dilation: Numbers = 1, padding: Numbers = 0, stride: Numbers = 1
) -> Tensor:
    """The windows of `input: [batch, channels, height, width]` side by side: `[batch, channels * places, windows]`.

    Places before and behind the input are zero. The batch axis may be left out.

    Raises:
      ShapeError: the axes do not fit, or there is no window.
      ArgumentError: a number is out of range.
    """
    x = as_tensor(input)
    check_axes("unfold", x, 2)
    params = _windows("unfold", x.shape[-2:], kernel_size, stride, padding, dilation, False)
    out = windows.unfold(x, **params)
    places, count = math.prod(params["kernel"]), math.prod(params["count"])
    return reshape(out, shape=(*x.shape[:-3], x.shape[-3] * places, count))


@scope
def fold(
    input: Any, output_size: Numbers, kernel_size: Numbers, dilation: Numbers = 1, padding: Numbers = 0,
    stride: Numbers = 1,
) -> Tensor:  # fmt: skip
    """Windows `[batch, channels * places, windows]` added up where `unfold` took them from `[batch, channels, *output_size]`.

    The batch axis may be left out.

    Raises:
      ShapeError: the axes do not fit the windows of an array of `output_size`, or there is no window.
      ArgumentError: a number is out of range.
    """
    x, size = as_tensor(input), several("fold", "output_size", output_size, 2, 1)
    params = _windows("fold", size, kernel_size, stride, padding, dilation, False)
    places, count = math.prod(params["kernel"]), math.prod(params["count"])
    if x.ndim not in (2, 3) or x.shape[-2] % places or x.shape[-1] != count:
        raise ShapeError(f"fold: expected [batch, channels * {places}, {count}], got {shown(x)}{here()}")
    shape = (*x.shape[:-2], x.shape[-2] // places, *params["kernel"], *params["count"])
    return windows.fold(reshape(x, shape=shape), **params)


def _windows(
    who: str,
    size: tuple[int, ...],
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool,
    half: bool = False,
) -> dict[str, Any]:
    """The parameters of the window ops: windows of an array of this size."""
    n = len(size)
    kernels = several(who, "kernel_size", kernel, n, 1)
    strides = kernels if stride is None else several(who, "stride", stride, n, 1)
    pads, dilations = several(who, "padding", padding, n, 0), several(who, "dilation", dilation, n, 1)
    if half and any(2 * p > k for p, k in zip(pads, kernels, strict=True)):
        raise ArgumentError(f"{who}: padding {pads} must be at most half of the kernel {kernels}{here()}")
    count = []
    for m, k, s, p, d in zip(size, kernels, strides, pads, dilations, strict=True):
        free = m + 2 * p - d * (k - 1) - 1
        there = (free + (s - 1) * ceil) // s + 1
        if ceil and (there - 1) * s >= m + p:  # it would begin behind the input
            there -= 1
        if there < 1 or m < 1:
            raise ShapeError(
                f"{who}: no window of {kernels} places fits lengths {list(size)} with padding {pads}{here()}"
            )
        count.append(there)
    return {
        "kernel": kernels, "stride": strides, "padding": pads, "dilation": dilations, "size": size, "count": tuple(count),
    }  # fmt: skip


def _max(
    who: str, n: int, input: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, indices: bool
) -> Any:
    x = _ordered(who, as_tensor(input))
    check_axes(who, x, n)
    params = _windows(who, x.shape[-n:], kernel, stride, padding, dilation, ceil, half=True)
    taps = windows.window_argmax(x, **params)
    out = windows.window_pick(x, taps, **params)
    if not indices:
        return out
    offsets, starts = windows.origins(params["size"], params["count"], params)
    return out, Tensor(offsets)[taps] + starts


def _ordered(who: str, x: Tensor) -> Tensor:
    if x.dtype.kind == "c":
        raise DTypeError(f"{who}: complex numbers have no order, got {shown(x)}{here()}")
    return x


def _floating(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else astype(x, dtype=default_dtype())


def _divided(x: Tensor, by: float) -> Tensor:
    """`x / by` in the dtype of `x`, where a number would make float32 of bfloat16."""
    return ew.div(x, np.full((1,) * x.ndim, by, x.dtype) if x.dtype == bfloat16 else by)


def _sums(x: Tensor, n: int, params: dict[str, Any]) -> Tensor:
    """The sum of each window."""
    kernel, count, size = params["kernel"], params["count"], params["size"]
    lead = x.shape[: x.ndim - n]
    if count == (1,) * n and kernel == size and not any(params["padding"]):
        return sum(x, axis=tuple(range(x.ndim - n, x.ndim)), keepdims=True)
    flat = with_lead(x, n, rows(x, n), 1)
    ones = Tensor(np.ones((1, 1, *kernel), x.dtype))
    geometry = {name: params[name] for name in ("stride", "padding", "dilation")}
    return with_lead(conv(flat, ones, groups=1, sizes=(size, kernel, count), **geometry), n, *lead)


def _average(
    who: str,
    n: int,
    input: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: bool,
    with_pad: bool,
    divisor: int | None,
) -> Tensor:
    x = _floating(as_tensor(input))
    check_axes(who, x, n)
    params = _windows(who, x.shape[-n:], kernel, stride, padding, 1, ceil, half=True)
    if divisor is not None:
        if divisor == 0:
            raise ArgumentError(f"{who}: divisor_override must not be 0{here()}")
        return _divided(_sums(x, n, params), float(divisor))
    counts = np.ones((1,) * n)
    for a, (m, k, s, p, c) in enumerate(
        zip(*(params[i] for i in ("size", "kernel", "stride", "padding", "count")), strict=True)
    ):
        start = np.arange(c) * s - p
        end = np.minimum(start + k, m + p)
        length = end - start if with_pad else np.minimum(end, m) - np.maximum(start, 0)
        counts = counts * length.reshape([-1 if i == a else 1 for i in range(n)])
    if (counts == counts.flat[0]).all():
        return _divided(_sums(x, n, params), float(counts.flat[0]))
    return _sums(x, n, params) / Tensor(counts.astype(x.dtype))


def _norm(who: str, n: int, input: Any, norm_type: float, kernel: Any, stride: Any, ceil: bool) -> Tensor:
    x, p = _floating(as_tensor(input)), float(norm_type)
    check_axes(who, x, n)
    if not p > 0:
        raise ArgumentError(f"{who}: norm_type must be positive, got {norm_type}{here()}")
    places = float(math.prod(several(who, "kernel_size", kernel, n, 1)))
    powers = x if p == 1 else x * x if p == 2 else ew.pow(x, p)
    total = _average(who, n, powers, kernel, stride, 0, ceil, True, None) * places
    nothing = ew.equal(total, 0.0)
    safe = ew.where(nothing, 1.0, total)
    root = safe if p == 1 else ew.sqrt(safe) if p == 2 else ew.pow(safe, 1.0 / p)
    return ew.where(nothing, 0.0, root)


@scope
def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of each of `output_size` stretches of `input: [batch, channels, length]`.

    `adaptive_max_pool2d` says the rest.
    """
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


@scope
def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of each of `output_size` rectangles of `input: [batch, channels, height, width]`.

    Rectangle i of n along an axis of length m goes from floor(i m / n) to ceil((i + 1) m / n); None keeps an axis. The
    first of equal elements counts. With `return_indices` the result is a pair, as of `max_pool2d`.

    Raises:
      ShapeError: the axes do not fit.
      ArgumentError: `output_size` is no number and not as many as there are axes.
    """
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)


@scope
def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of each of `output_size` boxes of `input: [batch, channels, depth, height, width]`.

    `adaptive_max_pool2d` says the rest.
    """
    return _adaptive_max("adaptive_max_pool3d", 3, input, output_size, return_indices)


@scope
def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """The mean of each of `output_size` stretches of `input: [batch, channels, length]`; `adaptive_avg_pool2d` says the rest."""
    return _adaptive_mean("adaptive_avg_pool1d", 1, input, output_size)


@scope
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """The mean of each of `output_size` rectangles of `input: [batch, channels, height, width]`.

    The rectangles are those of `adaptive_max_pool2d`.

    Raises:
      ShapeError: the axes do not fit.
      ArgumentError: `output_size` is no number and not as many as there are axes.
    """
    return _adaptive_mean("adaptive_avg_pool2d", 2, input, output_size)


@scope
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Tensor:
    """The mean of each of `output_size` boxes of `input: [batch, channels, depth, height, width]`.

    `adaptive_avg_pool2d` says the rest.
    """
    return _adaptive_mean("adaptive_avg_pool3d", 3, input, output_size)


def _target(who: str, n: int, input: Any, output_size: Any) -> tuple[Tensor, tuple[int, ...]]:
    x = as_tensor(input)
    check_axes(who, x, n)
    if 0 in x.shape[-n:]:
        raise ShapeError(f"{who}: nothing to pool in {shown(x)}{here()}")
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(given) == n:
        given = tuple(m if g is None else g for g, m in zip(given, x.shape[-n:], strict=True))
    return x, several(who, "output_size", given, n, 0)


def _stretches(size: int, count: int) -> tuple[Any, Any]:
    """Places [count, longest] of each stretch of an axis, and which of them are there; the others repeat the first."""
    i = np.arange(count)
    start, end = i * size // max(count, 1), -(-((i + 1) * size) // max(count, 1))
    places = start[:, None] + np.arange(max(end - start, default=1))
    inside = places < end[:, None]
    return np.where(inside, places, start[:, None]), inside


def _even(size: tuple[int, ...], count: tuple[int, ...]) -> bool:
    return all(c and m % c == 0 for m, c in zip(size, count, strict=True))


def _adaptive_mean(who: str, n: int, input: Any, output_size: Any) -> Tensor:
    x, count = _target(who, n, input, output_size)
    x = _floating(x)
    if _even(x.shape[-n:], count):
        kernel = tuple(m // c for m, c in zip(x.shape[-n:], count, strict=True))
        return _average(who, n, x, kernel, None, 0, False, True, None)
    for a, c in enumerate(count):  # a mean over a box is one of means along axes
        axis = x.ndim - n + a
        places, inside = _stretches(x.shape[axis], c)
        shape = (*places.shape, *(1,) * (n - a - 1))
        picked = x[(*(slice(None),) * axis, places)]
        total = sum(ew.where(inside.reshape(shape), picked, 0.0), axis=axis + 1)
        x = total / Tensor(inside.sum(1).reshape(shape[:1] + shape[2:]).astype(x.dtype))
    return x


def _adaptive_max(who: str, n: int, input: Any, output_size: Any, indices: bool) -> Any:
    x, count = _target(who, n, input, output_size)
    x = _ordered(who, x)
    size, lead = x.shape[-n:], x.shape[: x.ndim - n]
    if _even(size, count):
        kernel = tuple(m // c for m, c in zip(size, count, strict=True))
        return _max(who, n, x, kernel, None, 0, 1, False, indices)
    table = np.zeros((1,) * 2 * n, np.intp)  # places of the boxes, counted in the flattened axes
    for a, (m, c) in enumerate(zip(size, count, strict=True)):
        places, _ = _stretches(m, c)
        shape = [1] * 2 * n
        shape[a], shape[n + a] = places.shape
        table = table * m + places.reshape(shape)
    table = table.reshape(math.prod(count), -1)
    flat = reshape(x, shape=(math.prod(lead), math.prod(size)))
    # a box has its first place again where it is smaller than others, and of equal elements the first counts
    best = reduce.argmax(flat[:, table], axis=2) if table.size else Tensor(np.zeros((flat.shape[0], 0), np.intp))
    at = Tensor(table)[np.arange(len(table)), best]
    out = reshape(flat[np.arange(flat.shape[0])[:, None], at], shape=(*lead, *count))
    return (out, reshape(at, shape=(*lead, *count))) if indices else out
