"""The paths from a loss to a value: how many, the heaviest, all of them where they are few."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.errors import ArgumentError
from backlit.diagnose.recording import Node, Recording
from backlit.diagnose.replay import results_of

LISTED = 10_000


@dataclass(frozen=True)
class Path:
    """One path, its nodes from the loss to the value.

    `weight` is the product of the weights of its edges: for scalars, times the gradient that the pass began with, exactly
    what this path gives to the gradient; for arrays the product of the factors by which the norm changed.
    """

    nodes: tuple[Node, ...]
    weight: float


@dataclass(frozen=True)
class Paths:
    """The paths from the loss to `target`.

    `count` is exact. `entropy`, in nats, is that of paths drawn by their absolute weights: exp(entropy) paths would weigh as
    much if all weighed the same. `exact` says that all values on the way are scalars, so that the weights of the paths add
    to the gradient. `listed` has every path, the heaviest first, where there are fewer than 10,000.
    """

    target: Node
    count: int
    heaviest: Path
    entropy: float
    exact: bool
    listed: tuple[Path, ...] | None


@dataclass
class _Sums:
    """What is known of all paths from the loss to one node."""

    count: int = 0
    log_weight: float = -math.inf  # of the sum of the absolute weights
    mean_log: float = 0.0  # of the absolute weight, weighed by it
    best: float = -math.inf
    came_from: Node | None = None


def paths(recording: Recording, of: str | Node) -> Paths:
    """The paths of the backward pass to a node.

    One pass over the contributions, each a few operations: counts in whole numbers, weights in the semirings (max, times)
    and of expectations (Li and Eisner 2009). The edge of a contribution c from a node with gradient delta weighs
    ||c|| / ||delta||, with its sign where both are scalars.

    Raises:
      ArgumentError: there is no such node, or no gradient reached it.
    """
    target = recording[of] if isinstance(of, str) else of
    if target.cotangent is None:
        raise ArgumentError(f"paths: no gradient reached {target.name!r}")
    below = _upwards(target, results_of(recording))
    sums: dict[Node, _Sums] = {}
    exact = True
    for node in sorted(below, key=lambda n: -n.index):
        found = sums[node] = _Sums()
        terms: list[tuple[float, float]] = []
        if node.seed is not None:
            found.count = 1
            found.best = _log(_norm(node.seed))
            terms.append((found.best, found.best))
        for child, weight in _edges(node, below):
            exact = exact and np.size(node.value) == 1
            other, log = sums[child], _log(abs(weight))
            found.count += other.count
            terms.append((other.log_weight + log, other.mean_log + log))
            if other.best + log > found.best or (found.came_from is None and node.seed is None):
                found.best, found.came_from = other.best + log, child
        _add(found, terms)
    whole = sums[target]
    way = [target]
    while (before := sums[way[-1]].came_from) is not None:
        way.append(before)
    way.reverse()
    listed = _listed(target, below) if whole.count < LISTED else None
    entropy = max(0.0, whole.log_weight - whole.mean_log) if math.isfinite(whole.log_weight) else math.nan
    return Paths(target, whole.count, Path(tuple(way), _weight(way)), entropy, exact, listed)


def _upwards(target: Node, results: dict[Node, list[Node]]) -> dict[Node, list[Node]]:
    """The nodes between the loss and the target, each with the results that stand for it."""
    found: dict[Node, list[Node]] = {}
    ahead = [target]
    while ahead:
        node = ahead.pop()
        if node not in found:
            found[node] = [r for r in results.get(node, ()) if r.cotangent is not None]
            ahead.extend([*(c.child for c in node.contributions), *found[node]])
    return found


def _edges(node: Node, below: dict[Node, list[Node]]) -> list[tuple[Node, float]]:
    """Where the gradient of a node came from, and the weight of each edge; one child may be there twice."""
    found = [(c.child, _edge_weight(c.value, c.child)) for c in node.contributions]
    return found + [(result, 1.0) for result in below[node]]


def _edge_weight(value: Any, child: Node) -> float:
    delta = child.cotangent
    if delta is None:
        return _norm(value)
    if np.size(value) == 1 and np.size(delta) == 1:
        below = float(np.asarray(delta).reshape(-1)[0])
        return float(np.asarray(value).reshape(-1)[0]) / below if below else 0.0
    below = _norm(delta)
    return _norm(value) / below if below else 0.0


def _norm(x: Any) -> float:
    return float(np.linalg.norm(np.abs(np.asarray(x)).astype(np.float64).reshape(-1)))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _add(found: _Sums, terms: list[tuple[float, float]]) -> None:
    """The sum of weights and the mean of their logarithms, of which the terms are logarithms."""
    top = max((log for log, _ in terms), default=-math.inf)
    if top == -math.inf or math.isnan(top):
        return
    shares = [math.exp(log - top) for log, _ in terms]
    total = sum(shares)
    found.log_weight = top + math.log(total)
    found.mean_log = sum(s * mean for s, (_, mean) in zip(shares, terms, strict=True) if s) / total


def _weight(way: list[Node]) -> float:
    """The product of the seed and the weights along a way; of two edges between the same nodes, the heavier."""
    seed = np.asarray(way[0].seed)
    weight = float(seed.reshape(-1)[0]) if seed.size == 1 else _norm(seed)
    for child, node in pairwise(way):
        if not (isinstance(child.op, Pick) and child.args[0] is node):
            weight *= max((_edge_weight(c.value, child) for c in node.contributions if c.child is child), key=abs)
    return weight


def _listed(target: Node, below: dict[Node, list[Node]]) -> tuple[Path, ...]:
    found: list[Path] = []
    ahead: list[tuple[Node, tuple[Node, ...], float]] = [(target, (target,), 1.0)]
    while ahead:
        node, way, weight = ahead.pop()
        if node.seed is not None:
            seed = np.asarray(node.seed)
            found.append(Path(way, weight * (float(seed.reshape(-1)[0]) if seed.size == 1 else _norm(seed))))
        ahead.extend((child, (child, *way), weight * w) for child, w in _edges(node, below))
    return tuple(sorted(found, key=lambda p: -abs(p.weight)))
