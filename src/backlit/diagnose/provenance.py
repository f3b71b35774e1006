"""Where a gradient came from: shares that are conserved like a current, from the loss to the parameter."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.errors import ArgumentError
from backlit.core.op import Masked
from backlit.core.tensor import Tensor
from backlit.diagnose.recording import Contribution, Node, Recording
from backlit.diagnose.replay import Replay, check_runs, is_joint, place_of, results_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Provenance:
    """How much of the gradient of `targets` came through each contribution, and through each node.

    With the direction d, the tangent v' of a value v and the contribution c to its gradient, the share of c is
    <c, v'> / <g, d>, where g is the gradient of the targets; d is g itself unless told. Signed shares add to 1 across every
    cut between loss and targets. `total` is <g, d>. `residual` is the largest difference from 1 that was found at a cut,
    and `cancelled` the sum of the absolute shares at that cut: rounding is of the size of the digits times that. `note`
    says when the direction is not the gradient, and why; where <g, d> is 0 the shares are parts of the sum of absolute
    values at the targets instead, and add to 0.
    """

    targets: tuple[Node, ...]
    shares: tuple[tuple[Node, Contribution, float], ...]
    node_share: dict[Node, float]
    total: float
    residual: float
    cancelled: float
    note: str

    def between(self, key: Callable[[Node], Hashable]) -> dict[tuple[Any, Any], float]:
        """The share that flows from one group of nodes to another, in the direction of the backward pass.

        `key` gives the group of a node; flow inside a group is left out.
        """
        found: dict[tuple[Any, Any], float] = {}
        for node, contribution, share in self.shares:
            ends = key(contribution.child), key(node)
            if ends[0] != ends[1]:
                found[ends] = found.get(ends, 0.0) + share
        return found


def provenance(
    recording: Recording, of: str | Node | Sequence[Node], direction: Sequence[Array] | None = None,
    element: int | tuple[int, ...] | None = None,
) -> Provenance:  # fmt: skip
    """Where the gradient of a value, of the parameters of a module, or of several nodes came from.

    `of` is a node, the name of one, or the path of a module. `element` asks for one element of the gradient (an index, or
    a position in the flattened array), `direction` for any direction, an array for each target. Costs one forward-mode pass
    through what depends on the targets, about two forward passes, and a product for each contribution (Rall 1981; the
    conservation is that of the adjoint: d<delta_v, v'> is the same at every cut).

    Raises:
      ArgumentError: there is no such node or module, no gradient reached it, `element` is out of range, or the recording was
        read from a file or holds statistics.
    """
    check_runs(recording, "provenance")
    targets = _targets(recording, of)
    along, note = _along(targets, direction, element)
    replay, results = Replay(), results_of(recording)
    tangents = _tangents(recording, targets, along, replay, results)
    currents = _Currents(recording, tangents)
    total = sum(_inner(t.cotangent, d) for t, d in zip(targets, along, strict=True))
    size = sum(abs(current) for node, _, current in currents.edges if node in targets)
    unit = total if abs(total) > 1e-12 * size else size
    if unit != total:
        note = (note + "; " if note else "") + "the gradient has no part in this direction: shares add to 0"
    unit = unit or 1.0
    shares = tuple((node, c, current / unit) for node, c, current in currents.edges)
    residual, cancelled = currents.worst_cut(targets, total / unit, unit)
    return Provenance(
        targets, shares, {n: current / unit for n, current in currents.nodes.items()}, total, residual, cancelled, note
    )


def _targets(recording: Recording, of: str | Node | Sequence[Node]) -> tuple[Node, ...]:
    if isinstance(of, str):
        inside = [
            n for n in recording.nodes
            if n.kind == "parameter" and n.step == len(recording.steps) - 1 and (n.name + "/").replace(".", "/").startswith(of.replace(".", "/") + "/")
        ]  # fmt: skip
        found = tuple(n for n in inside if n.cotangent is not None) or (recording[of],)
    else:
        found = (of,) if isinstance(of, Node) else tuple(of)
    for node in found:
        if node.cotangent is None:
            raise ArgumentError(f"provenance: no gradient reached {node.name!r}")
    if not found:
        raise ArgumentError("provenance: name at least one node")
    return found


def _along(
    targets: Sequence[Node], direction: Sequence[Array] | None, element: int | tuple[int, ...] | None
) -> tuple[list[Array], str]:
    """The direction at each target, and why it is not the gradient."""
    gradients = [np.asarray(t.cotangent) for t in targets]
    if direction is not None:
        if [np.shape(d) for d in direction] != [g.shape for g in gradients]:
            raise ArgumentError("provenance: a direction is an array for each target, of its shape")
        return [np.asarray(d, g.dtype) for d, g in zip(direction, gradients, strict=True)], "a given direction"
    if element is not None:
        if len(targets) != 1:
            raise ArgumentError("provenance: an element is of one target")
        made = np.zeros_like(gradients[0])
        made.flat[place_of(element, made.shape, "provenance", repr(targets[0].name))] = 1
        return [made], ""
    finite = [np.isfinite(g) for g in gradients]
    if not all(np.all(f) for f in finite):
        found = [np.where(f, g, 0).astype(g.dtype) for f, g in zip(finite, gradients, strict=True)]
        return found, "the gradient is not finite everywhere: only its finite elements are followed"
    if not any(np.any(g) for g in gradients):
        rng = np.random.default_rng(0)
        random = [rng.standard_normal(g.shape).astype(g.dtype) for g in gradients]
        return random, "the gradient is zero: a random direction is followed"
    return gradients, ""


def _tangents(
    recording: Recording,
    targets: Sequence[Node],
    along: Sequence[Array],
    replay: Replay,
    results: dict[Node, list[Node]],
) -> dict[Node, Masked]:
    """Tangents of all values that depend on the targets, when these move along the direction."""
    tangents: dict[Node, Masked] = {t: (Tensor(d), None) for t, d in zip(targets, along, strict=True)}
    first = min(t.index for t in targets)
    for node in recording.nodes[first + 1 :]:
        if node.op is None or node in tangents or isinstance(node.op, Pick):
            continue
        given = [
            tangents.get(a) if isinstance(a, Node) and w else None for a, w in zip(node.args, node.wanted, strict=True)
        ]
        if all(t is None for t in given):
            continue
        outs = results.get(node, [node])
        for out, tangent in zip(outs, _of_results(node, outs, replay.push(node, given)), strict=True):
            if tangent is not None and out not in tangents:
                tangents[out] = tangent
    return tangents


def _of_results(node: Node, outs: Sequence[Node], pushed: Sequence[Masked | None]) -> list[Masked | None]:
    if not is_joint(node) or node.value is not None:
        return list(pushed)
    return [pushed[out.op.position] for out in outs]  # type: ignore[union-attr]


class _Currents:
    """<c, v'> of every contribution and <delta_v, v'> of every node that the direction reaches."""

    def __init__(self, recording: Recording, tangents: dict[Node, Masked]) -> None:
        self.edges: list[tuple[Node, Contribution, float]] = []
        self.nodes: dict[Node, float] = {}
        self.seeds: list[tuple[Node, float]] = []
        for node in recording.nodes:
            found = tangents.get(node)
            if found is None or node.cotangent is None:
                continue
            tangent = found[0]._value
            if len(node.contributions) == 1 and node.seed is None and node.contributions[0].value is node.cotangent:
                current = _inner(node.cotangent, tangent)
                self.edges.append((node, node.contributions[0], current))
                self.nodes[node] = current
                continue
            self.nodes[node] = _inner(node.cotangent, tangent)
            self.edges.extend((node, c, _inner(c.value, tangent)) for c in node.contributions)
            if node.seed is not None:
                self.seeds.append((node, _inner(node.seed, tangent)))

    def worst_cut(self, targets: Sequence[Node], expected: float, unit: float) -> tuple[float, float]:
        """The largest difference from what should cross a cut, and the absolute sum of what crosses it.

        The cut behind node k separates the nodes up to k from those after it. Only cuts that no target lies behind count.
        """
        start = max(t.index for t in targets)
        spans: list[tuple[int, int | None, float]] = [
            (node.index, c.child.index, current) for node, c, current in self.edges
        ]
        spans += [(node.index, None, current) for node, current in self.seeds]
        spans += [
            (node.args[0].index, node.index, current)
            for node, current in self.nodes.items()
            if isinstance(node.op, Pick)
        ]
        stop = max((node.index for node, _ in self.seeds), default=start)
        length = stop - start + 2
        signed, absolute = np.zeros(length), np.zeros(length)
        for low, high, current in spans:
            begin = max(low - start, 0)
            end = length if high is None else high - start
            if end > begin and begin < length:
                for sums, amount in ((signed, current), (absolute, abs(current))):
                    sums[begin] += amount
                    if end < length:
                        sums[end] -= amount
        signed, absolute = (
            np.cumsum(signed)[: stop - start + 1] / unit,
            np.cumsum(absolute)[: stop - start + 1] / abs(unit),
        )
        if not len(signed):
            return 0.0, 0.0
        off = np.abs(signed - expected)
        at = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        return float(off[at]), float(absolute[at])


def _inner(x: Any, tangent: Any) -> float:
    """The inner product, in the precision of the arrays; in double precision where that is less than single or overflows."""
    a, b = np.asarray(x), np.asarray(tangent)
    if "c" in (a.dtype.kind, b.dtype.kind):
        return float(np.vdot(a, b).real)  # the change of a real loss along a complex direction
    order: Any = "K" if a.strides == b.strides else "C"  # of two transposed views neither need be copied
    a, b = a.ravel(order), b.ravel(order)
    with np.errstate(all="ignore"):
        found = float(np.dot(a, b)) if a.dtype in (np.float32, np.float64) and a.dtype == b.dtype else np.nan
        if not np.isfinite(found):
            moved = b != 0  # what is not finite where nothing moves does not count
            found = float(np.sum(np.asarray(a[moved], np.float64) * np.asarray(b[moved], np.float64)))
    return found
