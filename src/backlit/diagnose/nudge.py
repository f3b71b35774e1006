"""The nudge test: one element moved a little, the loss computed again, beside what the backward pass says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.quiet import silence, variable
from backlit.diagnose.recording import Node, Recording
from backlit.diagnose.replay import check_runs, is_joint, place_of, raised

Array = np.ndarray[Any, Any]
STEPS = tuple(10.0**-k for k in range(1, 11))


@dataclass(frozen=True)
class Point:
    """The estimate with one step, (L(x + h) - L(x - h)) / 2h, and how far it is from the gradient."""

    step: float
    estimate: float
    error: float


@dataclass(frozen=True)
class Nudge:
    """The gradient of one element of a node (a place in the flattened array), and what moving that element says.

    `estimate` is that of the `step` at which the estimate is least sensitive to it; `error` how far it is from `delta`.
    `points` is the curve over the steps: errors fall with the square of the step until rounding takes over.
    """

    node: Node
    element: int
    delta: float
    estimate: float
    step: float
    error: float
    points: tuple[Point, ...]


def nudge(
    recording: Recording, of: str | Node, element: int | tuple[int, ...], steps: Sequence[float] = STEPS
) -> Nudge:
    """The finite difference beside the gradient of one element, in double precision.

    What depends on the element is computed again by the recorded ops, twice for each step; the user's program is not run.
    Steps are relative to the element, where it is larger than 1.

    Raises:
      ArgumentError: the recording was read from a file or holds statistics, there is no such node or element, no gradient
        reached it, or a function with a rule of its own, which
        only its program can compute, lies between it and the loss.
    """
    check_runs(recording, "nudge")
    node = recording[of] if isinstance(of, str) else of
    if node.cotangent is None or node.value is None:
        raise ArgumentError(f"nudge: no gradient reached {node.name!r}")
    if node.dtype.kind == "c":
        raise ArgumentError(f"nudge: {node.name!r} is complex; a nudge moves a real number")
    place = place_of(element, node.shape, "nudge", repr(node.name))
    delta = float(np.asarray(node.cotangent).reshape(-1)[place])
    start = float(np.asarray(node.value).reshape(-1)[place])
    loss = _Loss(recording, node)
    size = max(1.0, abs(start))
    points = []
    for h in steps:
        moved = h * size
        above, below = loss.at(place, start + moved), loss.at(place, start - moved)
        with np.errstate(all="ignore"):
            estimate = float((above - below) / ((start + moved) - (start - moved)))
        points.append(Point(moved, estimate, abs(estimate - delta)))
    best = _steadiest(points)
    return Nudge(node, place, delta, points[best].estimate, points[best].step, points[best].error, tuple(points))


def sampled_nudges(recording: Recording, most: int = 60, each: int = 2, work: float = 3e7) -> Iterator[Nudge]:
    """Nudges of elements of parameters, then of other values, for a file: the largest gradients and others.

    `work` bounds how many elements are computed again in all; after many that cost too much only those near the loss are tried.
    """
    known = (n for n in recording.nodes if n.cotangent is not None and n.value is not None and n.dtype.kind != "c")
    nodes = sorted(known, key=_importance)
    made = missed = 0
    for node in nodes:
        if missed > 20 and node.index < len(recording.nodes) - 60:
            continue  # too far from the loss to be worth a look
        try:
            loss = _Loss(recording, node)
        except ArgumentError:
            continue
        cost = 2.0 * len(STEPS) * loss.size
        flat = np.abs(np.asarray(node.cotangent, np.float64).reshape(-1))
        if not flat.size or not np.all(np.isfinite(flat)):
            continue
        picked = list(dict.fromkeys([int(np.argmax(flat)), *(int(x) for x in np.linspace(0, flat.size - 1, each))]))
        for element in picked[:each]:
            if made >= most:
                return
            if cost > work:
                missed += 1
                break
            work -= cost
            made += 1
            yield nudge(recording, node, element)


def _importance(node: Node) -> tuple[int, int]:
    return ("parameter", "input", "op", "constant").index(node.kind), node.index


def _steadiest(points: Sequence[Point]) -> int:
    """The step between whose neighbours the estimate changes least; it does not look at the gradient."""
    values = [p.estimate for p in points]
    changes = [
        max(abs(values[i] - values[j]) for j in (i - 1, i + 1) if 0 <= j < len(values)) if len(values) > 1 else 0.0
        for i in range(len(values))
    ]
    return int(np.argmin([c if np.isfinite(c) else np.inf for c in changes]))


class _Loss:
    """What the backward passes began with, as a function of one element of a node."""

    def __init__(self, recording: Recording, node: Node) -> None:
        self.node = node
        roots = {
            n: np.asarray(n.seed, np.float64) for n in recording.nodes if n.seed is not None and n.step == node.step
        }
        last = max((n.index for n in roots), default=node.index)
        depends = {node}
        for other in recording.nodes[node.index + 1 : last + 1]:
            if other.op is not None and any(w and a in depends for a, w in zip(other.args, other.wanted, strict=True)):
                depends.add(other)
        needed = {n for n in roots if n in depends}
        for other in reversed(recording.nodes[node.index : last + 1]):
            if other in needed:
                needed.update(a for a, w in zip(other.args, other.wanted, strict=True) if w and a in depends)
        self.roots = {n: seed for n, seed in roots.items() if n in depends}
        self.again = sorted(needed - {node}, key=lambda n: n.index)
        for other in self.again:
            if is_joint(other) or isinstance(other.op, Pick):
                raise ArgumentError(f"nudge: only its program can compute {other.name!r}")
            if any(isinstance(a, Node) and a.value is None for a in other.args):
                raise ArgumentError(f"nudge: the values of {other.name!r} were not kept")
        self.size = sum(np.size(n.value) for n in self.again) + 1

    def at(self, place: int, number: float) -> float:
        """The loss with another number in one element."""
        moved = np.array(raised(self.node.value), np.float64)
        moved.reshape(-1)[place] = number
        values: dict[Node, Any] = {self.node: moved}
        token = variable.set(silence)
        try:
            for node in self.again:
                inputs = [
                    a if not isinstance(a, Node) else values[a] if w and a in values else raised(a.value)
                    for a, w in zip(node.args, node.wanted, strict=True)
                ]
                params = node.params
                if node.op is not None and node.op.name == "astype" and is_float(node.dtype):
                    params = {**params, "dtype": np.dtype(np.float64)}
                values[node] = node.op.forward(*inputs, **params)  # type: ignore[union-attr]
        finally:
            variable.reset(token)
        return sum(float(np.vdot(seed, values[root])) for root, seed in self.roots.items())
