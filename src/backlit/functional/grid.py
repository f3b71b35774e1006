"""Images read at places that are computed: affine_grid makes the places, grid_sample reads there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.resample import CUBIC, far, near
from backlit.ops import array, rounding
from backlit.ops import elementwise as ew
from backlit.ops.linear import astype, permute_dims, reshape
from backlit.ops.shape import expand_dims


@scope
def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Places for `grid_sample` by affine maps `theta: [batch, n, n + 1]`: `[batch, *lengths, n]` for `size` [batch, channels,
    *lengths].

    Each output element, at coordinates from -1 to 1 along each axis (x first), is mapped by theta [x, y, 1]. With
    `align_corners` -1 and 1 are the centres of the first and last element, else the outer edges.

    Raises:
      ShapeError: `theta` is no batch of such matrices for `size`.
      DTypeError: `theta` are no floats.
    """
    theta = as_tensor(theta)
    size = tuple(int(m) for m in size)
    n = len(size) - 2
    if n not in (2, 3) or theta.shape != (size[0], n, n + 1):
        raise ShapeError(
            f"affine_grid: expected theta [{size[0] if size else 'batch'}, n, n + 1], got {shown(theta)} for size {size}{here()}"
        )
    if not is_float(theta.dtype):
        raise DTypeError(f"affine_grid: theta must be floats, got {shown(theta)}{here()}")
    lines = []
    for m in size[2:]:
        i = np.arange(m, dtype=np.float64)
        lines.append((2.0 * i / (m - 1) - 1.0 if m > 1 else i * 0.0) if align_corners else (2.0 * i + 1.0) / m - 1.0)
    places = np.stack([*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(size[2:])], axis=-1)
    flat = Tensor(places.reshape(-1, n + 1).astype(theta.dtype))
    out = array.matmul(flat, permute_dims(theta, axes=(0, 2, 1)))
    return reshape(out, shape=(size[0], *size[2:], n))


@scope
def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """`input: [batch, channels, *lengths]` read at the places `grid: [batch, *places, n]`: `[batch, channels, *places]`.

    There are two or three axes; `grid` has the coordinates x first, from -1 to 1: of the outer edges, or with
    `align_corners` of the centres of the first and last element. "bilinear" weighs the 2^n neighbours by their distance
    (in three dimensions too), "bicubic" 4^2 of them by Keys's kernel with a = -3/4, "nearest" takes the nearest, an even
    one in the middle. Outside lie "zeros" (structural ones), the "border" element, or the "reflection" of the input. The derivative in `grid` is that of the weights; at an
    element itself that towards the next one; with "nearest" it is 0.

    Raises:
      ShapeError: the axes of input and grid do not fit, or the input has no elements.
      DTypeError: input and grid are not floats of one dtype.
      ArgumentError: a mode is none of these.
    """
    x, grid = as_tensor(input), as_tensor(grid)
    n = x.ndim - 2
    if n not in (2, 3) or grid.ndim != n + 2 or grid.shape[-1] != n or grid.shape[0] != x.shape[0] or 0 in x.shape[2:]:
        raise ShapeError(
            f"grid_sample: expected input [batch, channels, *lengths] and grid [batch, *places, n] with n = 2 or 3, got "
            f"{shown(x)} and {shown(grid)}{here()}"
        )
    if not is_float(x.dtype) or x.dtype != grid.dtype:
        raise DTypeError(f"grid_sample: expected floats of one dtype, got {shown(x)} and {shown(grid)}{here()}")
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and n == 3):
        raise ArgumentError(
            f"grid_sample: mode must be bilinear, nearest, or bicubic of two axes, got {mode!r}{here()}"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(
            f"grid_sample: padding_mode must be zeros, border or reflection, got {padding_mode!r}{here()}"
        )
    sizes = x.shape[2:]
    corners = bool(align_corners)
    # coordinates of each axis [batch, *places], counted in elements
    at = [_elements(grid[..., n - 1 - a], m, corners) for a, m in enumerate(sizes)]
    if mode != "bicubic":
        at = [_inside(c, m, padding_mode, corners) for c, m in zip(at, sizes, strict=True)]
    if mode == "nearest":
        return _picked(x, [rounding.round(c.detach()) for c in at])
    first = [ew.floor(c.detach()) for c in at]
    shares = [_shares(c - f, mode) for c, f in zip(at, first, strict=True)]
    start = -1.0 if mode == "bicubic" else 0.0
    out: Any = None
    for corner in itertools.product(range(len(shares[0])), repeat=n):
        places = [f + (k + start) for k, f in zip(corner, first, strict=True)]
        if mode == "bicubic":
            places = [_inside(p, m, padding_mode, corners) for p, m in zip(places, sizes, strict=True)]
        weight: Any = None
        for k, share in zip(corner, shares, strict=True):
            weight = share[k] if weight is None else weight * share[k]
        part = _picked(x, places) * expand_dims(weight, axis=1)
        out = part if out is None else out + part
    return out  # type: ignore[no-any-return]


def _shares(t: Tensor, mode: str) -> list[Tensor]:
    """The weights of the neighbours of a place that lies `t` behind one of them."""
    if mode == "bilinear":
        return [1.0 - t, t]
    return [far(t + 1.0, CUBIC), near(t, CUBIC), near(1.0 - t, CUBIC), far(2.0 - t, CUBIC)]


def _elements(c: Tensor, m: int, corners: bool) -> Tensor:
    """Coordinates from -1 to 1 as places of `m` elements."""
    return (c + 1.0) * ((m - 1) / 2.0) if corners else ((c + 1.0) * float(m) - 1.0) * 0.5


def _inside(at: Tensor, m: int, padding: str, corners: bool) -> Tensor:
    """Places outside of `m` elements moved to where they are read."""
    if padding == "zeros":
        return at
    if padding == "reflection":
        low, span = (0.0, float(m - 1)) if corners else (-0.5, float(m))
        if not span:
            return at * 0.0
        away = ew.abs(at - low)
        turns = ew.floor(away.detach() / span)
        rest = away - turns * span
        at = ew.where(ew.equal(ew.remainder(turns, 2.0), 0.0), rest + low, (span + low) - rest)
    return array.clip(at, 0.0, float(m - 1))


def _picked(x: Tensor, places: list[Tensor]) -> Tensor:
    """`x: [batch, channels, *lengths]` at whole `places`, one array [batch, ...] an axis; zero outside."""
    inside: Any = None
    whole = []
    for p, m in zip(places, x.shape[2:], strict=True):
        here_too = (p >= 0.0) & (p <= float(m - 1))
        inside = here_too if inside is None else inside & here_too
        whole.append(astype(ew.where(here_too, p, 0.0), dtype=np.intp))
    batch = np.arange(x.shape[0]).reshape(-1, *(1,) * (places[0].ndim - 1))
    found = x[(batch, slice(None), *whole)]  # [batch, *places, channels]
    found = permute_dims(found, axes=(0, found.ndim - 1, *range(1, found.ndim - 1)))
    return ew.where(expand_dims(inside, axis=1), found, 0.0)
