"""Tangents of an op by finite differences of its own forward, element by element, with a bound on their error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.core.quiet import silence, variable

Array = np.ndarray[Any, Any]
EPS = float(np.finfo(np.float64).eps)
STEPS = (3e-4, 1e-5, 1e-2)  # relative to the direction; a smooth function of moderate growth needs the first alone
_ENOUGH = 1e-6  # relative error with which no further step is tried


def tangent(
    forward: Callable[..., Any], values: Sequence[Any], directions: Sequence[Array | None], inside: Any = 0.0
) -> tuple[Array, Array]:
    """The derivative of `forward(*values)` in the given directions, and a bound on the error of each element.

    `inside` is the size of what is rounded on the way to a result, where that is larger than the result.
    Central differences in double precision with one step of Richardson's extrapolation (1911), at the best of three
    steps for each element. At a kink or a jump, and where the function is not finite, the error is infinite. Costs five
    evaluations, thirteen where one step is not enough.
    """
    token = variable.set(silence)
    try:
        at = np.asarray(forward(*values), np.float64)
        best, error = np.zeros(at.shape), np.full(at.shape, np.inf)
        for step in STEPS:
            found, its_error = _at_step(forward, values, directions, at, step, inside)
            better = its_error < error
            best, error = np.where(better, found, best), np.where(better, its_error, error)
            if np.all(error <= _ENOUGH * np.abs(best)):
                break
    finally:
        variable.reset(token)
    return best, error


def _at_step(
    forward: Callable[..., Any],
    values: Sequence[Any],
    directions: Sequence[Array | None],
    at: Array,
    step: float,
    inside: Any,
) -> tuple[Array, Array]:
    def moved(t: float) -> Array:
        return np.asarray(
            forward(*(v if d is None else v + t * d for v, d in zip(values, directions, strict=True))), np.float64
        )

    with np.errstate(all="ignore"):
        above, below = moved(step), moved(-step)
        half = step / 2
        near_above, near_below = moved(half), moved(-half)
        wide, narrow = (above - below) / (2 * step), (near_above - near_below) / step
        found = (4 * narrow - wide) / 3
        rounding = 4 * EPS * (np.maximum(np.abs(above), np.abs(below)) + inside) / step
        error = np.abs(found - narrow) + rounding
        # the second difference shrinks with the step where the function is smooth, and stays at a kink
        bend, near_bend = np.abs(above + below - 2 * at) / step, np.abs(near_above + near_below - 2 * at) / half
        kink = (near_bend > 0.75 * bend) & (near_bend > np.maximum(1e-6 * np.abs(found), 8 * rounding))
        return found, np.where(kink | ~np.isfinite(error), np.inf, error)
