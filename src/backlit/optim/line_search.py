"""A line search for the strong Wolfe conditions: first a bracket is found, then it is narrowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class _Point(NamedTuple):
    """A step length, with the loss there, the gradient, and its slope along the direction."""

    t: float
    loss: float
    gradient: Array
    slope: float


def cubic(one: _Point, other: _Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is least, in `[low, high]`; the middle where it has no minimum.

    Formula: Nocedal and Wright, Numerical Optimization, 2006, equation 3.59.
    """
    a, b = (one, other) if one.t <= other.t else (other, one)
    d1 = one.slope + other.slope - 3 * (one.loss - other.loss) / (one.t - other.t) if one.t != other.t else math.nan
    square = d1 * d1 - one.slope * other.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    below = b.slope - a.slope + 2 * d2
    least = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / below) if below else math.nan
    return min(max(least, low), high)


def strong_wolfe(
    evaluate: Callable[[float], tuple[float, Array]],
    t: float,
    d: Array,
    loss: float,
    gradient: Array,
    slope: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
    max_search: int = 25,
) -> tuple[float, Array, float, int]:
    """A step length along `d` with enough decrease (`c1`) and a slope flat enough (`c2`): loss, gradient, it, evaluations.

    `evaluate(t)` gives loss and gradient at `t`; `loss`, `gradient` and `slope` are those at 0. Ends after `max_search`
    evaluations, or with a bracket shorter than `tolerance`, at the lowest point seen.

    Method: Nocedal and Wright, Numerical Optimization, 2006, algorithms 3.5 and 3.6, with PyTorch's choices of the trials.
    """

    def at(t: float) -> _Point:
        value, g = evaluate(t)
        return _Point(t, value, g, float(g @ d))

    start = previous = _Point(0.0, loss, gradient, slope)
    now, evaluations, n, is_done = at(t), 1, 0, False
    bracket: list[_Point] = []
    while n < max_search:
        if now.loss > loss + c1 * now.t * slope or (n > 1 and now.loss >= previous.loss):
            bracket = [previous, now]
            break
        if abs(now.slope) <= -c2 * slope:
            bracket, is_done = [now], True
            break
        if now.slope >= 0:
            bracket = [previous, now]
            break
        t = cubic(previous, now, now.t + 0.01 * (now.t - previous.t), now.t * 10)
        previous, now = now, at(t)
        evaluations, n = evaluations + 1, n + 1
    if not bracket:
        bracket = [start, now]
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    is_slow, longest = False, float(abs(d).max())
    while not is_done and n < max_search and abs(bracket[1].t - bracket[0].t) * longest >= tolerance:
        least, most = sorted(point.t for point in bracket)
        t = cubic(bracket[0], bracket[1], least, most)
        margin = 0.1 * (most - least)
        if min(most - t, t - least) < margin:
            # close to an end: the second time, or at the end itself, a tenth of the bracket away from it
            if is_slow or t >= most or t <= least:
                t = most - margin if abs(t - most) < abs(t - least) else least + margin
                is_slow = False
            else:
                is_slow = True
        else:
            is_slow = False
        now = at(t)
        evaluations, n = evaluations + 1, n + 1
        if now.loss > loss + c1 * t * slope or now.loss >= bracket[low].loss:
            bracket[high] = now
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            if abs(now.slope) <= -c2 * slope:
                is_done = True
            elif now.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = now
    found = bracket[low if len(bracket) == 2 else 0]
    return found.loss, found.gradient, found.t, evaluations
