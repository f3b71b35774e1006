"""Arguments that are numbers, as classes and functions take them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError


def integer(who: str, name: str, value: Any, least: int = 1) -> int:
    """`value` as an int.

    Raises:
      ArgumentError: it is no integer of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{who}: {name} must be an integer of at least {least}, got {value!r}")
    return int(value)


def positive(who: str, name: str, value: Any, or_zero: bool = False) -> float:
    """`value` as a float.

    Raises:
      ArgumentError: it is no finite number above 0, nor 0 where that is allowed.
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not (0 < value < math.inf or (or_zero and value == 0)):
        least = "of at least 0" if or_zero else "above 0"
        raise ArgumentError(f"{who}: {name} must be a finite number {least}, got {value!r}")
    return float(value)
