"""Padding under PyTorch's name: numbers for the last axis first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import padding


@scope
def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`input` with elements around it: `pad` has pairs (before, behind) for the last axis, the one before it, and so on.

    `mode` is 'constant' (`value`, 0 unless given), 'reflect' (without the edge), 'replicate' or 'circular'. With 'constant' a
    negative number takes away.

    Raises:
      ShapeError: there are no pairs, or too many.
      ArgumentError: `mode` is unknown, or `value` is given with a mode that has none.
    """
    x = as_tensor(input)
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(f"pad: expected pairs for at most {x.ndim} axes of {shown(x)}, got {list(pad)}{here()}")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ArgumentError(f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if mode != "constant" and value is not None:
        raise ArgumentError(f"pad: mode {mode!r} takes no value")
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [(int(pad[i]), int(pad[i + 1])) for i in range(len(pad) - 2, -1, -2)]
    if mode == "constant":
        inner = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pairs, x.shape, strict=True))
        if any(part != slice(0, n) for part, n in zip(inner, x.shape, strict=True)):
            x = x[inner]
        pairs = [(max(a, 0), max(b, 0)) for a, b in pairs]
        return padding.pad(x, pairs, constant_values=0.0 if value is None else value)
    return padding.pad(x, pairs, mode)
