"""Padding: constants, or the elements of the array itself by one of NumPy's rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise, linear
from backlit.ops.at import like

_MODES = {  # NumPy's names and PyTorch's
    "edge": "edge", "replicate": "edge", "reflect": "reflect", "symmetric": "symmetric", "wrap": "wrap", "circular": "wrap",
}  # fmt: skip


def pad(x: Any, /, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0.0) -> Tensor:
    """`x` with `pad_width` (one number, one pair, a pair an axis, or a dict of those by axis) elements around it.

    `mode` is "constant", "edge" (also "replicate"), "reflect" (without the edge itself), "symmetric" (with it) or "wrap"
    (also "circular"); `constant_values` is a number, an array of no axes, or pairs like `pad_width`. A constant has no
    gradient path to `x`; elsewhere each element of `x` sums the gradients of its copies.

    Raises:
      ShapeError: a width is negative or does not fit the axes, or there is nothing to copy along an axis.
      ArgumentError: there is no such mode.
    """
    x = as_tensor(x)
    width = _pairs("pad", x, pad_width)
    if any(n < 0 for pair in width for n in pair):
        raise ShapeError(f"pad: negative widths {width} for {shown(x)}; use a slice{here()}")
    if mode == "constant":
        return _constant(x, width, constant_values)
    if mode not in _MODES:
        raise ArgumentError(f"pad: {mode!r} is none of constant, {', '.join(_MODES)}{here()}")
    for axis, (before, after) in enumerate(width):
        if before or after:
            if not x.shape[axis]:
                raise ShapeError(f"pad: nothing to copy along axis {axis} of {shown(x)}{here()}")
            places = np.pad(np.arange(x.shape[axis]), (before, after), mode=_MODES[mode])  # type: ignore[call-overload]
            x = x[(*(slice(None),) * axis, places)]
    return x  # type: ignore[no-any-return]


def _pairs(name: str, x: Tensor, given: Any) -> list[tuple[int, int]]:
    """A pair for each axis."""
    if isinstance(given, dict):
        pairs = [(0, 0)] * x.ndim
        for axis, pair in given.items():
            (at,) = linear.normalize_axes(name, axis, x.ndim)
            pairs[at] = (int(pair), int(pair)) if isinstance(pair, (int, np.integer)) else (int(pair[0]), int(pair[1]))
        return pairs
    width = np.asarray(given)
    if width.dtype.kind not in "iu" and width.size:
        raise ShapeError(f"{name}: widths must be integers, got {given!r}{here()}")
    try:
        return [(int(a), int(b)) for a, b in np.broadcast_to(width, (x.ndim, 2))]
    except ValueError:
        raise ShapeError(f"{name}: expected {x.ndim} pairs of widths for {shown(x)}, got {given!r}{here()}") from None


def _constant(x: Tensor, width: list[tuple[int, int]], values: Any) -> Tensor:
    if isinstance(values, (int, float, complex, np.number)) and values == 0:
        return linear.pad(x, width=tuple(width))
    if isinstance(values, (tuple, list, np.ndarray)) and np.ndim(values):
        return _each_side(x, width, values)
    inside = linear.pad(Tensor(np.ones(x.shape, bool)), width=tuple(width))
    return elementwise.where(inside, linear.pad(x, width=tuple(width)), like(x, values))


def _each_side(x: Tensor, width: list[tuple[int, int]], values: Any) -> Tensor:
    """A constant for each side of each axis, one axis after the other."""
    try:
        pairs = np.broadcast_to(np.asarray(values), (x.ndim, 2))
    except ValueError:
        raise ShapeError(f"pad: expected {x.ndim} pairs of constants for {shown(x)}, got {values!r}{here()}") from None
    for axis, (before, after) in enumerate(width):
        blocks = [
            Tensor(np.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), value).astype(x.dtype))
            for n, value in zip((before, after), pairs[axis], strict=True)
        ]
        x = linear.concat(blocks[0], x, blocks[1], axis=axis)
    return x
