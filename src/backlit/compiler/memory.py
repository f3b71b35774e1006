"""Memory planning: the live range of every intermediate, and a place for each in one arena."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from backlit.compiler.ir import Eqn, Graph, Var
from backlit.core.op import Elementwise

ALIGNMENT_BYTES = 64  # a cache line, and a full vector register
MANY = 4000  # buffers for which orders are tried that take some microseconds for each


class Range(NamedTuple):
    """A buffer that holds a value from `start` to `end`, both included."""

    start: int
    end: int
    size_bytes: int


@dataclass(frozen=True)
class Plan:
    """Where each buffer of an arena begins, and how large the arena is.

    `lower_bound_bytes` is the most that is live at one moment: no plan is smaller.
    """

    offsets: tuple[int, ...]
    peak_bytes: int
    lower_bound_bytes: int


def place(ranges: Sequence[Range]) -> Plan:
    """Offsets at which buffers that are live together do not overlap, each at a multiple of `ALIGNMENT_BYTES`.

    First fit in three orders (by start, by size, by length of life), the best of them, or the first that reaches the
    lower bound (Pisarchyk and Lee, arXiv 2001.03288). The first takes time in proportion to the number of buffers, and
    reaches the bound where they are freed in the reverse of the order in which they were made, as in a train step; the
    others take time quadratic in it and are left out beyond `MANY`.
    """
    sizes = [_aligned(r.size_bytes) for r in ranges]
    bound = _most_live(ranges, sizes)
    orders: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-sizes[i], ranges[i].start),
        lambda i: (ranges[i].start - ranges[i].end, -sizes[i]),
    )
    offsets = _first_fit_by_start(ranges, sizes)
    best = Plan(tuple(offsets), _peak(offsets, sizes), bound)
    for order in orders if len(ranges) <= MANY else ():
        if best.peak_bytes == bound:
            break
        offsets = _first_fit(ranges, sizes, sorted(range(len(ranges)), key=order))
        if _peak(offsets, sizes) < best.peak_bytes:
            best = Plan(tuple(offsets), _peak(offsets, sizes), bound)
    return best


def _peak(offsets: list[int], sizes: list[int]) -> int:
    return max(map(int.__add__, offsets, sizes), default=0)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _most_live(ranges: Sequence[Range], sizes: list[int]) -> int:
    changes: dict[int, int] = {}
    for r, size in zip(ranges, sizes, strict=True):
        changes[r.start] = changes.get(r.start, 0) + size
        changes[r.end + 1] = changes.get(r.end + 1, 0) - size
    live = most = 0
    for moment in sorted(changes):
        live += changes[moment]
        most = max(most, live)
    return most


def _first_fit_by_start(ranges: Sequence[Range], sizes: list[int]) -> list[int]:
    """First fit in order of the starts, the largest first: an allocator's run through the program."""
    offsets = [0] * len(ranges)
    live: list[tuple[int, int]] = []  # a heap of ends, with whose they are
    gaps: list[tuple[int, int]] = [(0, sum(sizes))]  # where nothing lies: from, to; in order
    for i in sorted(range(len(ranges)), key=lambda i: (ranges[i].start, -sizes[i])):
        while live and live[0][0] < ranges[i].start:
            freed = heappop(live)[1]
            _add_gap(gaps, offsets[freed], offsets[freed] + sizes[freed])
        if not sizes[i]:
            continue
        k = next(k for k, (low, high) in enumerate(gaps) if high - low >= sizes[i])
        low, high = gaps[k]
        gaps[k : k + 1] = [(low + sizes[i], high)] if high - low > sizes[i] else []
        offsets[i] = low
        heappush(live, (ranges[i].end, i))
    return offsets


def _add_gap(gaps: list[tuple[int, int]], low: int, high: int) -> None:
    k = bisect(gaps, (low, high))
    if k < len(gaps) and gaps[k][0] == high:
        high = gaps.pop(k)[1]
    if k and gaps[k - 1][1] == low:
        k -= 1
        low = gaps.pop(k)[0]
    gaps.insert(k, (low, high))


def _first_fit(ranges: Sequence[Range], sizes: list[int], order: list[int]) -> list[int]:
    """First fit in any order."""
    offsets = [0] * len(ranges)
    start, end, low, high = np.zeros((4, len(order)), np.int64)  # of what is placed
    n = 0
    for i in order:
        r = ranges[i]
        if not sizes[i]:
            continue
        beside = np.flatnonzero((start[:n] <= r.end) & (end[:n] >= r.start))
        at = 0
        if beside.size:
            beside = beside[np.argsort(low[beside], kind="stable")]
            taken = np.concatenate(([0], np.maximum.accumulate(high[beside])))  # up to where, before each
            fits = low[beside] - taken[:-1] >= sizes[i]
            at = int(taken[np.argmax(fits)] if fits.any() else taken[-1])
        offsets[i] = at
        start[n], end[n], low[n], high[n] = r.start, r.end, at, at + sizes[i]
        n += 1
    return offsets


@dataclass(frozen=True)
class GraphPlan:
    """Where the intermediates of a graph lie: `offsets` by variable, and the arena's size and lower bound."""

    offsets: dict[Var, int]
    peak_bytes: int
    lower_bound_bytes: int


def plan_memory(graph: Graph) -> GraphPlan:
    """One arena for all intermediates of a graph; inputs, constants and outputs lie outside.

    An elementwise result takes the place of an operand of its shape and dtype that nothing reads any more, exactly, so
    that it can be written element by element; a reshaped value shares the place of what it was.
    """
    outside = {*graph.inputs, *graph.consts, *(a for a in graph.outputs if isinstance(a, Var))}
    last_read: dict[Var, int] = {}
    for t, e in enumerate(graph.eqns):
        last_read.update((a, t) for a in e.inputs if isinstance(a, Var))
    for e in reversed(graph.eqns):  # what is reshaped into an output is computed there
        if e.op.name == "reshape" and e.out in outside and isinstance(e.inputs[0], Var):
            outside.add(e.inputs[0])
    buffer: dict[Var, Var] = {}  # the variable for which the place was made
    start: dict[Var, int] = {}
    end: dict[Var, int] = {}
    for t, e in enumerate(graph.eqns):
        for v in e.outs if e.regions else ():
            if v not in outside:
                buffer[v], start[v], end[v] = v, t, last_read.get(v, t)
        if e.regions or e.out in outside:
            continue
        shared = _shared(e, t, buffer, end)
        if e.op.name == "reshape" and shared is None:
            outside.add(e.out)  # a view of an input or constant
            continue
        place_of = e.out if shared is None else shared
        buffer[e.out] = place_of
        start.setdefault(place_of, t)
        end[place_of] = max(end.get(place_of, t), last_read.get(e.out, t))
    made = list(start)
    ranges = [Range(start[v], end[v], math.prod(v.aval.shape) * v.aval.dtype.itemsize) for v in made]
    plan = place(ranges)
    offsets = dict(zip(made, plan.offsets, strict=True))
    return GraphPlan({v: offsets[b] for v, b in buffer.items()}, plan.peak_bytes, plan.lower_bound_bytes)


def _shared(e: Eqn, t: int, buffer: dict[Var, Var], end: dict[Var, int]) -> Var | None:
    """The buffer that the result of equation `t` may lie in, if there is one."""
    for a in e.inputs:
        if isinstance(a, Var) and a in buffer:
            if e.op.name == "reshape":
                return buffer[a]
            if isinstance(e.op, Elementwise) and a.aval == e.out.aval and end[buffer[a]] == t:
                return buffer[a]
    return None
