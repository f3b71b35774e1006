"""Differences, integrals, interpolation, convolution and polynomials with NumPy's names, composed of backlit's functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.numpy.composed import floating
from backlit.numpy.views import WEAK, cast, known, lift
from backlit.ops import (
    array,
    elementwise,
    linear,
    shape,
    sorting,
)

Axis = int | tuple[int, ...] | None


def ediff1d(x: Tensor, *, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """The differences of neighbours in the flattened `x`, with numbers before and behind them."""
    x = shape.ravel(x)
    parts = [x[1:] - x[:-1]]
    parts = parts if to_begin is None else [shape.ravel(cast(to_begin, x.dtype)), *parts]
    return shape.concat(parts if to_end is None else [*parts, shape.ravel(cast(to_end, x.dtype))])


def gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Differences of `f` along each axis: central inside, one-sided of first or second order at the ends.

    The spacing is one number or one vector of coordinates for each axis.
    """
    f = floating(lift(f, "gradient"))
    axes = linear.normalize_axes("gradient", axis, f.ndim)
    spacings = [1.0] * len(axes) if not varargs else list(varargs) * (len(axes) if len(varargs) == 1 else 1)
    if len(spacings) != len(axes):
        raise ArgumentError(f"np.gradient: {len(varargs)} spacings for {len(axes)} axes{here()}")
    if edge_order not in (1, 2) or any(f.shape[a] <= edge_order for a in axes):
        raise ShapeError(f"np.gradient: expected more than {edge_order} elements along each axis of {shown(f)}{here()}")
    found = [_slope(f, h, a, edge_order) for a, h in zip(axes, spacings, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(f: Tensor, spacing: Any, axis: int, edge_order: int) -> Tensor:
    f = shape.moveaxis(f, axis, -1)
    n = f.shape[-1]
    if isinstance(spacing, WEAK) or lift(spacing).ndim == 0:
        inside = (f[..., 2:] - f[..., :-2]) / (2.0 * spacing)
        first, last = (f[..., 1:2] - f[..., :1]) / spacing, (f[..., -1:] - f[..., -2:-1]) / spacing
        if edge_order == 2:
            first = (-1.5 * f[..., :1] + 2.0 * f[..., 1:2] - 0.5 * f[..., 2:3]) / spacing
            last = (1.5 * f[..., -1:] - 2.0 * f[..., -2:-1] + 0.5 * f[..., -3:-2]) / spacing
    else:
        x = floating(lift(spacing))
        if x.shape != (n,):
            raise ShapeError(f"np.gradient: coordinates {shown(x)} for an axis of length {n}{here()}")
        h = x[1:] - x[:-1]
        a, b = h[:-1], h[1:]
        inside = -b / (a * (a + b)) * f[..., :-2] + (b - a) / (a * b) * f[..., 1:-1] + a / (b * (a + b)) * f[..., 2:]
        first, last = (f[..., 1:2] - f[..., :1]) / h[0], (f[..., -1:] - f[..., -2:-1]) / h[-1]
        if edge_order == 2:
            first = _end(f[..., 0:1], f[..., 1:2], f[..., 2:3], h[0], h[1])
            last = -_end(f[..., -1:], f[..., -2:-1], f[..., -3:-2], h[-1], h[-2])
    return shape.moveaxis(shape.concat([first, inside, last], axis=-1), -1, axis)


def _end(f0: Tensor, f1: Tensor, f2: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The slope of the parabola through three points, `a` and `b` apart, at the first."""
    return -(2.0 * a + b) / (a * (a + b)) * f0 + (a + b) / (a * b) * f1 - a / (b * (a + b)) * f2


def interp(x: Tensor, xp: Tensor, fp: Tensor, *, left: Any = None, right: Any = None) -> Tensor:
    """`fp` at the coordinates `xp`, which increase, joined by straight lines, at `x`; constant outside."""
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ShapeError(f"np.interp: expected vectors of one length, got {shown(xp)} and {shown(fp)}{here()}")
    x, xp, fp = floating(x), floating(xp), floating(fp)
    lower, upper = (fp[0] if left is None else left), (fp[-1] if right is None else right)
    if xp.size == 1:
        inside = shape.broadcast_to(fp[0], x.shape)
    else:
        at = sorting.searchsorted(xp[1:-1], x, side="right")
        x0, f0 = xp[at], fp[at]
        inside = f0 + (x - x0) * ((fp[at + 1] - f0) / (xp[at + 1] - x0))
        inside = elementwise.where(elementwise.equal(x, xp[-1]), fp[-1], inside)
    return elementwise.where(x < xp[0], lower, elementwise.where(x > xp[-1], upper, inside))


def unwrap(x: Tensor, *, axis: int = -1) -> Tensor:
    """Angles without jumps of more than half a turn: whole turns are added."""
    x = shape.moveaxis(floating(x), axis, -1)
    step = x[..., 1:] - x[..., :-1]
    turns = known(elementwise.floor((step + math.pi) / (2 * math.pi)), "unwrap")
    held = known(step, "unwrap")
    turns = np.where((held - 2 * np.pi * turns == -np.pi) & (held > 0), turns - 1, turns)
    turns = np.where(np.abs(held) < np.pi, 0.0, turns)
    shifts = np.concatenate([np.zeros((*turns.shape[:-1], 1)), np.cumsum(turns, -1)], -1)
    return shape.moveaxis(x - Tensor((2 * np.pi * shifts).astype(x.dtype)), -1, axis)


def correlate(x: Tensor, v: Tensor, *, mode: str = "valid") -> Tensor:
    """Sums of products of `x` with `v` moved along it."""
    v = v.conj() if v.dtype.kind == "c" else v
    if x.size < v.size:  # NumPy moves the shorter one, and its "same" counts the middle from the other end
        return shape.flip(convolve(shape.flip(x), v, mode=mode))
    return convolve(x, shape.flip(v), mode=mode)


def convolve(x: Tensor, v: Tensor, *, mode: str = "full") -> Tensor:
    """The convolution of two vectors: the coefficients of the product of two polynomials."""
    if x.ndim > 1 or v.ndim > 1 or not x.size or not v.size:
        raise ShapeError(f"np.convolve: expected vectors with elements, got {shown(x)} and {shown(v)}{here()}")
    if mode not in ("full", "same", "valid"):
        raise ArgumentError(f'np.convolve: mode must be "full", "same" or "valid", got {mode!r}{here()}')
    x, v = shape.atleast_1d(x), shape.atleast_1d(v)
    x, v = (x, v) if x.size >= v.size else (v, x)
    n, m = x.size, v.size
    around = linear.pad(x, width=((m - 1, m - 1),))
    windows = around[np.arange(n + m - 1)[:, None] + np.arange(m)]
    full = array.matmul(windows, shape.flip(v))
    if mode == "full":
        return full
    start, length = ((m - 1) // 2, n) if mode == "same" else (m - 1, n - m + 1)
    return full[start : start + length]


def vander(x: Tensor, *, N: int | None = None, increasing: bool = False) -> Tensor:
    """The matrix of powers of `x`, the highest first unless `increasing`."""
    n = x.size if N is None else N
    powers = [shape.ravel(x) ** k if k else linear.astype(Tensor(np.ones(x.shape)), dtype=x.dtype) for k in range(n)]
    if not powers:
        return Tensor(np.zeros((x.size, 0), x.dtype))
    return shape.stack(powers if increasing else powers[::-1], axis=1)


def polyval(p: Tensor, x: Tensor) -> Tensor:
    """The polynomial with coefficients `p`, the highest power first, at `x`."""
    out = x * 0
    for coefficient in shape.unstack(p):
        out = out * x + coefficient
    return out


def polyder(p: Tensor, *, m: int = 1) -> Tensor:
    """The coefficients of the derivative of order `m`."""
    for _ in range(m):
        p = p[:-1] * np.arange(p.size - 1, 0, -1)
    return p


def polyadd(p: Tensor, q: Tensor) -> Tensor:
    """The coefficients of the sum of two polynomials."""
    n = max(p.size, q.size)
    return linear.pad(p, width=((n - p.size, 0),)) + linear.pad(q, width=((n - q.size, 0),))


def polymul(p: Tensor, q: Tensor) -> Tensor:
    """The coefficients of the product of two polynomials."""
    return convolve(p, q)


def polysub(p: Tensor, q: Tensor) -> Tensor:
    """The coefficients of the difference of two polynomials."""
    return polyadd(p, -q)
