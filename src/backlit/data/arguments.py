"""Arguments that are sizes, as the classes of this package take them."""

from __future__ import annotations

from typing import Any

from backlit.core.arguments import integer
from backlit.core.errors import ArgumentError


def height_and_width(who: str, size: Any) -> tuple[int, int]:
    """A size given as one number, or as (height, width).

    Raises:
      ArgumentError: it is neither, or a number is below 1.
    """
    lengths = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(lengths) != 2:
        raise ArgumentError(f"{who}: size must be one number or (height, width), got {size!r}")
    return integer(who, "size", lengths[0]), integer(who, "size", lengths[1])
