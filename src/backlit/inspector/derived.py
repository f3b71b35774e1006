"""Tables that follow from the events of a recording alone: merges and their running sums, memory, time by operation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from backlit.core.op import Op
from backlit.diagnose.recording import FREE, SAVE, Node, Recording
from backlit.inspector.columns import Columns
from backlit.inspector.pictures import Pictures

PARTIAL_ELEMENTS = 4096  # running sums of larger gradients are not kept
_CANCELS = 10.0  # the norms of the terms add to so many times the norm of their sum

Edges = Mapping[tuple[int, int], int]  # the row of an edge, by the index of the node it leads to and the argument
Tables = dict[str, dict[str, Any]]


def derived(recording: Recording, edges: Edges, ops: Mapping[Op, int], pictures: Pictures) -> Tables:
    """The tables `merge`, `partial`, `memory` and `optime`."""
    return {**merges(recording, edges, pictures), "memory": memory(recording), "optime": times(recording, ops)}


def merges(recording: Recording, edges: Edges, pictures: Pictures) -> Tables:
    """Where contributions meet: their norms against the norm of the sum, and the sum after each, in recorded order.

    The last running sum is the bits of the gradient itself.
    """
    merge = Columns(node="i4", count="i4", norm_sum="f8", norm="f8", cancels="u1")
    partial = Columns(node="i4", edge="i4", order="i4", norm="f8", array="i4")
    for node in recording.nodes:
        terms = node.contributions
        if len(terms) < 2 or node.cotangent is None or any(c.value is None for c in terms):
            continue
        norm, norms = _norm(node.cotangent), sum(_norm(c.value) for c in terms)
        merge.add(node.index, len(terms), norms, norm, norms >= _CANCELS * norm)
        if math.prod(node.shape) > PARTIAL_ELEMENTS:
            continue
        for order, (term, total) in enumerate(zip(terms, _running(node), strict=True)):
            edge = edges.get((term.child.index, term.argnum), -1)
            partial.add(node.index, edge, order, _norm(total), pictures.add(total))
    return {"merge": merge.columns(), "partial": partial.columns()}


def _running(node: Node) -> list[Any]:
    """The sum after each contribution."""
    total, found = node.seed, []
    for term in node.contributions:
        total = term.value if total is None else np.asarray(total + term.value)
        found.append(total)
    return found


def _norm(array: Any) -> float:
    x = np.asarray(array)
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(x.astype(np.complex128 if x.dtype.kind == "c" else np.float64).reshape(-1)))


def memory(recording: Recording) -> dict[str, Any]:
    """The bytes kept for reverse rules, a row for each event that changes them."""
    table = Columns(event="i4", total="f8")
    for position, (event, total) in enumerate(zip(recording.events, recording.kept_bytes(), strict=True)):
        if event.kind in (SAVE, FREE) and event.bytes:
            table.add(position, total)
    return table.columns()


def peak_event(recording: Recording) -> int:
    """The first event after which the most is kept; -1 where nothing ever is."""
    kept = recording.kept_bytes()
    return int(np.argmax(kept)) if kept and max(kept) > 0 else -1


def times(recording: Recording, ops: Mapping[Op, int]) -> dict[str, Any]:
    """Nanoseconds that each op took, forward and in its reverse rules, where they were taken.

    For products also the ratios of what each argument's gradient took to the forward of the same nodes.
    """
    found: dict[int, list[float]] = {}
    products: dict[tuple[int, int], list[float]] = {}  # by op and argument

    def took(event: int | None) -> int:
        return 0 if event is None else recording.events[event].ns

    for node in recording.nodes:
        if node.op is not None:
            of = found.setdefault(ops[node.op], [0, 0.0, 0.0])
            of[0] += 1
            of[1] += took(node.forward_event)
            of[2] += took(node.vjp_event)
        for c in node.contributions:
            if c.ns and c.child.op is not None:
                sums = products.setdefault((ops[c.child.op], c.argnum), [0.0, 0.0])
                sums[0] += c.ns
                sums[1] += took(c.child.forward_event)
    table = Columns(
        op="i4", count="i4", forward_ns="f8", backward_ns="f8", ratio="f8", left_ratio="f8", right_ratio="f8"
    )
    for op, (count, forward, backward) in found.items():
        if forward or backward:
            pairs = (backward, forward), *(products.get((op, argnum), (0.0, 0.0)) for argnum in (0, 1))
            table.add(op, count, forward, backward, *(a / b if a and b else math.nan for a, b in pairs))
    return table.columns()
