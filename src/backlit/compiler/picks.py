"""How an index with integer arrays goes over an array: NumPy's rules for which axis of the result is chosen by what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.ir import Eqn, Literal, Var
from backlit.compiler.llvm.conversion import SCALARS

OPERANDS = {"index": 1, "scatter_add": 1, "put": 2}  # before the integer arrays


@dataclass(frozen=True)
class At:
    """The one place `place` of an axis."""

    place: int


@dataclass(frozen=True)
class Along:
    """Places `start + step * i`, with i the index along axis `axis` of the result, `length` of them."""

    axis: int
    start: int
    step: int
    length: int


@dataclass(frozen=True)
class Chosen:
    """Places that integer array `number` holds."""

    number: int


@dataclass(frozen=True)
class Picking:
    """For every axis of what is picked from, which places; `shape` is what the integer arrays broadcast to.

    The axes of `shape` are those of the result from `first` on.
    """

    parts: tuple[At | Along | Chosen, ...]
    first: int
    shape: tuple[int, ...]


def picking(template: tuple[Any, ...], shape: tuple[int, ...], arrays: list[tuple[int, ...]]) -> Picking:
    """What an index does on an array of `shape` with integer arrays of these shapes."""
    common = np.broadcast_shapes(*arrays)
    chosen = [i for i, part in enumerate(template) if part == "array" or isinstance(part, int)]
    together = "array" in template and chosen[-1] - chosen[0] == len(chosen) - 1
    first = sum(part is not Ellipsis for part in template[: chosen[0]]) if together else 0
    parts: list[At | Along | Chosen] = []
    axis = number = 0
    for part in template:
        if part is Ellipsis:
            continue
        if part is None:
            axis += 1
            continue
        n = shape[len(parts)]
        if part == "array":
            parts.append(Chosen(number))
            number += 1
        elif isinstance(part, int):
            parts.append(At(part % n))
        else:
            places = range(n)[slice(*part[1:])]
            at = axis if axis < first else axis + len(common)
            parts.append(Along(at, places.start, places.step, len(places)))
            axis += 1
    return Picking(tuple(parts), first, common)


def arrays_of(e: Eqn) -> list[Var]:
    """The integer arrays of an equation that picks or writes."""
    return [a for a in e.inputs[OPERANDS[e.op.name] :] if isinstance(a, Var)]


def picked_shape(e: Eqn) -> tuple[int, ...]:
    """The shape of what is picked from or written to."""
    a = e.inputs[0]
    return a.aval.shape if e.op.name == "index" and isinstance(a, Var) else e.out.aval.shape


def is_picked(e: Eqn) -> bool:
    """Whether an equation picks by integer arrays, or writes, in a way that has native code."""
    n = OPERANDS.get(e.op.name)
    if n is None or (len(e.inputs) == n and e.op.name == "index") or any(isinstance(a, Literal) for a in e.inputs):
        return False
    dtypes = [a.aval.dtype for a in e.inputs if isinstance(a, Var)]
    if any(d not in SCALARS for d in (*dtypes, e.out.aval.dtype)) or len(set(dtypes[:n])) > 1:
        return False
    return 0 not in picked_shape(e)


def is_gather(e: Eqn) -> bool:
    """Whether an equation picks elements by integer arrays: a read at places that a loop computes."""
    return e.op.name == "index" and is_picked(e)


def picking_of(e: Eqn) -> Picking:
    """What such an equation does."""
    return picking(e.params["index"], picked_shape(e), [a.aval.shape for a in arrays_of(e)])
