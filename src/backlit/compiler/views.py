"""Where the elements of an array are found from a loop over another shape, through moves such as broadcasts and slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backlit.compiler.ir import Eqn, Var
from backlit.compiler.llvm.conversion import SCALARS

MOVES = frozenset({"broadcast_to", "permute_dims", "reshape", "index", "pad"})


@dataclass(frozen=True)
class Axis:
    """Coordinate along one axis: `offset + step * i` with i the loop index of `axis`; a constant where it is -1.

    To it come the values of loop nodes that were picked, times factors: pairs in `picks`.
    """

    axis: int = -1
    step: int = 0
    offset: int = 0
    picks: tuple[tuple[int, int], ...] = ()

    def stepped(self, start: int, step: int) -> Axis:
        """The coordinate `start + step * self`."""
        picks = tuple((node, factor * step) for node, factor in self.picks)
        return Axis(self.axis, self.step * step, start + self.offset * step, picks)


@dataclass(frozen=True)
class Guard:
    """A value is there where `low <= i < high` for the loop index i of `axis`."""

    axis: int
    low: int
    high: int


Map = tuple[Axis, ...]


def identity(ndim: int) -> Map:
    """Each loop goes along its own axis."""
    return tuple(Axis(a, 1, 0) for a in range(ndim))


def is_move(e: Eqn) -> bool:
    """Whether an equation only moves elements about, in a way that `through` follows."""
    if e.op.name not in MOVES or not isinstance(e.inputs[0], Var) or e.out.aval.dtype not in SCALARS:
        return False
    if e.op.name == "index":
        return len(e.inputs) == 1
    return e.op.name != "reshape" or _units_only(e.inputs[0].aval.shape, e.out.aval.shape)


def _units_only(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return [n for n in a if n != 1] == [n for n in b if n != 1] and 0 not in a


def through(e: Eqn, at: Map) -> tuple[Map, tuple[Guard, ...], bool]:
    """From coordinates in the result of a move to those in its operand, with guards; False where it is never there."""
    (x,) = e.inputs
    assert isinstance(x, Var)
    name, shape = e.op.name, x.aval.shape
    if name == "broadcast_to":
        lead = len(at) - len(shape)
        return tuple(Axis() if n == 1 else at[lead + j] for j, n in enumerate(shape)), (), True
    if name == "permute_dims":
        back: list[Axis] = [Axis()] * len(shape)
        for i, a in enumerate(e.params["axes"]):
            back[a] = at[i]
        return tuple(back), (), True
    if name == "reshape":
        rest = iter([a for a, n in zip(at, e.out.aval.shape, strict=True) if n != 1])
        return tuple(Axis() if n == 1 else next(rest) for n in shape), (), True
    if name == "index":
        return _indexed(e.params["index"], shape, at), (), True
    return _padded(e.params["width"], shape, at)


def _indexed(template: tuple[Any, ...], shape: tuple[int, ...], at: Map) -> Map:
    found: list[Axis] = []
    places = iter(at)
    for part in template:
        if part is None:
            next(places)
        elif isinstance(part, int):
            found.append(Axis(offset=part % shape[len(found)]))
        elif part is Ellipsis:
            for _ in range(len(shape) - sum(p is not None and p is not Ellipsis for p in template)):
                found.append(next(places))
        else:
            start, _, step = slice(*part[1:]).indices(shape[len(found)])
            found.append(next(places).stepped(start, step))
    return tuple(found)


def _padded(width: tuple[tuple[int, int], ...], shape: tuple[int, ...], at: Map) -> tuple[Map, tuple[Guard, ...], bool]:
    found, guards = [], []
    for (before, _), n, a in zip(width, shape, at, strict=True):
        offset = a.offset - before
        found.append(Axis(a.axis, a.step, offset))
        if a.axis < 0 or a.step == 0:
            if not 0 <= offset < n:
                return tuple(found), (), False
        elif a.step > 0:
            guards.append(Guard(a.axis, -(offset // a.step), -((offset - n) // a.step)))
        else:  # 0 <= offset - s i < n
            s = -a.step
            guards.append(Guard(a.axis, (offset - n) // s + 1, offset // s + 1))
    return tuple(found), tuple(guards), True


def linear(at: Map, shape: tuple[int, ...], ndim: int) -> tuple[int, tuple[int, ...]]:
    """Offset and stride along each of `ndim` loops, in elements, in a contiguous array of `shape`."""
    offset, strides = 0, [0] * ndim
    for j, a in enumerate(at):
        stride = math.prod(shape[j + 1 :])
        offset += a.offset * stride
        if a.axis >= 0:
            strides[a.axis] += a.step * stride
    return offset, tuple(strides)
