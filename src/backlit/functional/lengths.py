"""Arguments of convolution and pooling: one number or one an axis, and inputs with or without a batch axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.ops.linear import reshape

Numbers = int | Sequence[int]


def several(who: str, what: str, value: Any, n: int, least: int) -> tuple[int, ...]:
    """`value` as n whole numbers, none below `least`.

    Raises:
      ArgumentError: it is neither a number nor n of them, or one is too small.
    """
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(given) == 1:
        given *= n
    if len(given) != n or not all(isinstance(m, (int, np.integer)) and not isinstance(m, bool) for m in given):
        raise ArgumentError(f"{who}: {what} is a whole number or {n} of them, got {value!r}{here()}")
    if min(given) < least:
        raise ArgumentError(f"{who}: {what} must be at least {least}, got {value!r}{here()}")
    return tuple(int(m) for m in given)


def check_axes(who: str, x: Tensor, n: int) -> None:
    """Raises ShapeError unless `x` has n axes behind its channels, with a batch axis or without."""
    if x.ndim not in (n + 1, n + 2):
        axes = ", ".join(("length",) if n == 1 else ("depth", "height", "width")[-n:])
        raise ShapeError(
            f"{who}: expected an input [batch, channels, {axes}], the batch left out or not, got {shown(x)}{here()}"
        )


def with_lead(x: Tensor, n: int, *shape: int) -> Tensor:
    """`x` with the axes before its last n made `shape`."""
    wanted = (*shape, *x.shape[x.ndim - n :])
    return x if x.shape == wanted else reshape(x, shape=wanted)


def rows(x: Tensor, n: int) -> int:
    """How many arrays of n axes `x` holds."""
    return math.prod(x.shape[: x.ndim - n])
