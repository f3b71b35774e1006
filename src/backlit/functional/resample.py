"""Arrays of another size from neighbouring elements: interpolate, and pixels moved between channels and space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.lengths import several
from backlit.functional.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from backlit.ops.linear import broadcast_to, permute_dims, reshape

_SMOOTH = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}  # how many axes each mode is for
_MODES = ("nearest", "nearest-exact", *_SMOOTH, "area")
CUBIC = -0.75  # the slope that makes the cubic kernel (Keys, 1981, calls it a)


@scope
def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """`input: [batch, channels, ...]` with one to three axes behind, made `size` long, or `scale_factor` times as long.

    Element i of a result lies at x = (i + 1/2) s - 1/2 of the input, s being the ratio of lengths (or 1 / scale_factor);
    with `align_corners` at i (n - 1) / (m - 1), so that the ends coincide. "nearest" takes element floor(i s),
    "nearest-exact" floor((i + 1/2) s); "linear", "bilinear" and "trilinear" weigh the two neighbours along each axis by
    their distance, "bicubic" four of them by Keys's kernel with a = -3/4; "area" takes means (`adaptive_avg_pool2d`).
    What would lie outside is the element at the edge. With `antialias`, which "bilinear" and "bicubic" (then with
    a = -1/2) take, the kernel is as much wider as the result is smaller, and what lies outside has no weight. Costs a
    pass for each neighbour and axis.

    Raises:
      ShapeError: the axes do not fit the mode, or a length would be 0.
      ArgumentError: the mode is none of these, both or none of size and scale are given, or align_corners or
        antialias are given for a mode without them.
    """
    x = as_tensor(input)
    n = x.ndim - 2
    if mode not in _MODES:
        raise ArgumentError(f"interpolate: mode must be one of {', '.join(_MODES)}, got {mode!r}{here()}")
    if not 1 <= n <= 3 or _SMOOTH.get(mode, n) != n:
        wanted = _SMOOTH.get(mode)
        axes = f"{wanted} ax{'es' if wanted != 1 else 'is'}" if wanted else "one to three axes"
        raise ShapeError(
            f"interpolate: {mode!r} is for [batch, channels, ...] with {axes} behind, got {shown(x)}{here()}"
        )
    if align_corners is not None and mode not in _SMOOTH:
        raise ArgumentError(f"interpolate: align_corners has no meaning for {mode!r}{here()}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(f"interpolate: antialias is for 'bilinear' and 'bicubic', got {mode!r}{here()}")
    if mode in _SMOOTH and not is_float(x.dtype):
        raise DTypeError(f"interpolate: {mode!r} is for floats, got {shown(x)}; use .astype{here()}")
    lengths, ratios = _lengths(x.shape[2:], size, scale_factor, recompute_scale_factor)
    if mode == "area":
        pool: Callable[..., Tensor] = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[n - 1]
        return pool(x, lengths)
    for axis, (m, ratio) in enumerate(zip(lengths, ratios, strict=True), 2):
        x = _along(x, axis, m, ratio, mode, bool(align_corners), antialias)
    return x if x is not input else reshape(x, shape=x.shape)


def _lengths(
    size: tuple[int, ...], wanted: Any, scale: Any, recompute: bool | None
) -> tuple[tuple[int, ...], list[float]]:
    """The lengths of the result, and how many elements of the input one of it takes up."""
    n = len(size)
    if (wanted is None) == (scale is None):
        raise ArgumentError(f"interpolate: expected either size or scale_factor{here()}")
    if wanted is not None:
        lengths = several("interpolate", "size", wanted, n, 1)
        ratios = [m / k for m, k in zip(size, lengths, strict=True)]
    else:
        scales = tuple(scale) if isinstance(scale, (tuple, list)) else (scale,) * n
        if len(scales) != n or not all(s > 0 for s in scales):
            raise ArgumentError(f"interpolate: scale_factor is a positive number or {n} of them, got {scale!r}{here()}")
        lengths = tuple(math.floor(m * s) for m, s in zip(size, scales, strict=True))
        ratios = [m / max(k, 1) if recompute else 1.0 / s for m, k, s in zip(size, lengths, scales, strict=True)]
    if min(*size, *lengths) < 1:
        raise ShapeError(f"interpolate: lengths {list(size)} cannot become {list(lengths)}{here()}")
    return lengths, ratios


def _along(x: Tensor, axis: int, m: int, ratio: float, mode: str, corners: bool, antialias: bool) -> Tensor:
    """`x` with `axis` made `m` long."""
    n = x.shape[axis]
    at = np.arange(m, dtype=np.float64)
    if mode.startswith("nearest"):
        if m % n == 0 and ratio * m == n:  # as many of each
            return _repeated(x, axis, m // n)
        nearest = np.floor((at + 0.5) * ratio if mode == "nearest-exact" else at * ratio)
        return _taken(x, axis, np.minimum(nearest, n - 1))
    if m == n and (corners or ratio == 1.0):
        return x
    if corners:
        ratio = (n - 1) / (m - 1) if m > 1 else 0.0
    if antialias:
        return _weighed(x, axis, *_wide(n, m, ratio, mode))
    at = at * ratio if corners else (at + 0.5) * ratio - 0.5
    if mode == "bicubic":
        first = np.floor(at)
        t = at - first
        places = [first + k for k in range(-1, 3)]
        weights: list[Any] = [far(t + 1.0, CUBIC), near(t, CUBIC), near(1.0 - t, CUBIC), far(2.0 - t, CUBIC)]
    else:
        at = np.maximum(at, 0.0)
        first = np.minimum(np.floor(at), n - 1)
        t = at - first
        places, weights = [first, first + 1], [1.0 - t, t]
    return _weighed(x, axis, places, weights)


def _wide(n: int, m: int, ratio: float, mode: str) -> tuple[list[Any], list[Any]]:
    """Places and weights of a kernel made wider by `ratio` where that is above 1; weights add to 1."""
    wider = max(ratio, 1.0)
    reach = (2.0 if mode == "bicubic" else 1.0) * wider
    centre = (np.arange(m) + 0.5) * ratio
    first = np.maximum(np.trunc(centre - reach + 0.5), 0.0)
    end = np.minimum(np.trunc(centre + reach + 0.5), n)
    places = [first + k for k in range(int((end - first).max()))]
    weights = []
    for p in places:
        t = np.abs(p - centre + 0.5) / wider
        kernel = np.where(t < 1.0, near(t, -0.5), np.where(t < 2.0, far(t, -0.5), 0.0))
        weights.append(np.where(p < end, kernel if mode == "bicubic" else np.maximum(1.0 - t, 0.0), 0.0))
    total: Any = sum(weights)
    return places, [w / total for w in weights]


def _weighed(x: Tensor, axis: int, places: list[Any], weights: list[Any]) -> Tensor:
    """The sum of elements along `axis` times weights; a place outside is the element at the edge."""
    heaviest = np.stack(places)[np.abs(weights).argmax(0), np.arange(len(weights[0]))]
    out: Any = None
    for place, weight in zip(places, weights, strict=True):
        seen = np.where(weight == 0.0, heaviest, place)  # what has no weight may be infinite
        picked = _taken(x, axis, np.clip(seen, 0, x.shape[axis] - 1))
        part = picked * Tensor(weight.reshape(-1, *(1,) * (x.ndim - axis - 1)).astype(x.dtype))
        out = part if out is None else out + part
    return out  # type: ignore[no-any-return]


def near(t: Any, a: float) -> Any:
    """Keys's kernel at distances up to 1."""
    return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0


def far(t: Any, a: float) -> Any:
    """Keys's kernel at distances from 1 to 2."""
    return ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a


def _taken(x: Tensor, axis: int, places: Any) -> Tensor:
    return x[(*(slice(None),) * axis, places.astype(np.intp))]


def _repeated(x: Tensor, axis: int, times: int) -> Tensor:
    before, n, behind = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    spread = broadcast_to(reshape(x, shape=(*before, n, 1, *behind)), shape=(*before, n, times, *behind))
    return reshape(spread, shape=(*before, n * times, *behind))


@scope
def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """`input: [..., channels * r^2, height, width]` as `[..., channels, height * r, width * r]`, r being `upscale_factor`.

    Raises:
      ShapeError: there are fewer than three axes, or the channels are not a multiple of r^2.
      ArgumentError: r is not a positive whole number.
    """
    x = as_tensor(input)
    (r,) = several("pixel_shuffle", "upscale_factor", upscale_factor, 1, 1)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ShapeError(f"pixel_shuffle: expected [..., channels * {r * r}, height, width], got {shown(x)}{here()}")
    *lead, c, h, w = x.shape
    k = len(lead)
    split = reshape(x, shape=(*lead, c // (r * r), r, r, h, w))
    moved = permute_dims(split, axes=(*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape(moved, shape=(*lead, c // (r * r), h * r, w * r))


@scope
def pixel_unshuffle(input: Any, downscale_factor: int) -> Tensor:
    """`input: [..., channels, height * r, width * r]` as `[..., channels * r^2, height, width]`, r being `downscale_factor`.

    Raises:
      ShapeError: there are fewer than three axes, or height or width are not multiples of r.
      ArgumentError: r is not a positive whole number.
    """
    x = as_tensor(input)
    (r,) = several("pixel_unshuffle", "downscale_factor", downscale_factor, 1, 1)
    if x.ndim < 3 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle: expected [..., channels, height * {r}, width * {r}], got {shown(x)}{here()}"
        )
    *lead, c, h, w = x.shape
    k = len(lead)
    split = reshape(x, shape=(*lead, c, h // r, r, w // r, r))
    moved = permute_dims(split, axes=(*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape(moved, shape=(*lead, c * r * r, h // r, w // r))


@scope
def channel_shuffle(input: Any, groups: int) -> Tensor:
    """`input: [batch, channels, ...]` with the channels of `groups` groups taken in turn.

    Raises:
      ShapeError: there is no axis of channels, or they are not a multiple of `groups`.
      ArgumentError: `groups` is not a positive whole number.
    """
    x = as_tensor(input)
    (g,) = several("channel_shuffle", "groups", groups, 1, 1)
    if x.ndim < 2 or x.shape[1] % g:
        raise ShapeError(f"channel_shuffle: expected [batch, channels * {g}, ...], got {shown(x)}{here()}")
    n, c, *rest = x.shape
    split = reshape(x, shape=(n, g, c // g, *rest))
    return reshape(permute_dims(split, axes=(0, 2, 1, *range(3, split.ndim))), shape=x.shape)
