"""Windows over the last axes of an array: which place of each is largest, what lies there, and all of them side by side.

A window starts every `stride` places, `padding` before the first, and has `kernel` places, `dilation` apart; places outside
of the array do not exist. Places of a window are numbered in row-major order. Any axes lie in front.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import ShapeError
from backlit.core.op import LinearOp, Op, Value, declare, shown
from backlit.core.source import here
from backlit.core.tensor import as_tensor
from backlit.ops.linear import batched_all

Shape = tuple[int, ...]
_GEOMETRY = ("kernel", "stride", "padding", "dilation")


def taps(
    size: Shape, count: Shape, params: dict[str, Any]
) -> Iterator[tuple[int, Shape, tuple[Any, ...], tuple[Any, ...]]]:
    """Of each place of a window its number, its position, the windows that have it, and where in the array they have it."""
    ranges = [
        [_along(k, *of) for k in range(of[0])]
        for of in zip(*(params[name] for name in _GEOMETRY), size, count, strict=True)
    ]
    for number, tap in enumerate(itertools.product(*map(range, params["kernel"]))):
        found = [r[k] for r, k in zip(ranges, tap, strict=True)]
        if all(f is not None for f in found):
            yield number, tap, (..., *(f[0] for f in found)), (..., *(f[1] for f in found))  # type: ignore[index]


def _along(
    tap: int, kernel: int, stride: int, padding: int, dilation: int, size: int, count: int
) -> tuple[slice, slice] | None:
    """Along one axis: the windows whose place `tap` exists, and those places."""
    offset = tap * dilation - padding
    first = max(0, -(offset // stride))  # the least p with p * stride + offset >= 0
    last = min(count, (size - 1 - offset) // stride + 1)
    if first >= last:
        return None
    return slice(first, last), slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)


def origins(size: Shape, count: Shape, params: dict[str, Any]) -> tuple[Any, Any]:
    """In a flattened array, how far each place of a window, by its number, is from the first, and where windows start: [*count]."""
    n = len(size)
    offsets, starts = np.zeros((1,) * n, np.intp), np.zeros((1,) * n, np.intp)
    for a, (m, c, k, s, p, d) in enumerate(zip(size, count, *(params[name] for name in _GEOMETRY), strict=True)):
        along = [-1 if i == a else 1 for i in range(n)]
        offsets = offsets * m + (np.arange(k) * d).reshape(along)
        starts = starts * m + (np.arange(c) * s - p).reshape(along)
    return offsets.ravel(), starts


def flat(numbers: Any, size: Shape, params: dict[str, Any]) -> Any:
    """Of the place `numbers[..., *count]` of each window its place in a flattened array [..., *size]."""
    offsets, starts = origins(size, numbers.shape[numbers.ndim - len(size) :], params)
    found = offsets.take(numbers)
    found += starts
    rows = found.reshape(-1, math.prod(starts.shape))
    rows += (np.arange(len(rows)) * math.prod(size))[:, None]
    return rows


def ties(x: Any, numbers: Any, params: dict[str, Any]) -> Any:
    """For each window whether another place is as large as the one that was chosen."""
    best = WindowPick.forward(x, numbers, **params)
    equal = np.zeros(best.shape, np.intp)
    for _, _, windows, places in taps(params["size"], params["count"], params):
        equal[windows] += x[places] == best[windows]
    return equal > 1


class _Windowed(Op):
    """An op on the last axes; `size` are the lengths of the array that windows lie in, `count` the numbers of windows."""

    ends: ClassVar[
        tuple[tuple[str, ...], tuple[str, ...]]
    ]  # parameters that are the last lengths of `x` and of the result

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        found = tuple(as_tensor(a) for a in args)
        names = (*_GEOMETRY, "size", "count")
        for name in names:
            params[name] = tuple(int(n) for n in params[name])
        want = _lengths(self.ends[0], params)
        if len({len(params[name]) for name in names}) > 1 or found[0].shape[-len(want) :] != want:
            raise ShapeError(f"{self.name}: expected last axes {list(want)}, got {shown(found[0])}{here()}")
        return found

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        x, (taken, given) = avals[0], (_lengths(names, params) for names in self.ends)
        return Aval((*x.shape[: len(x.shape) - len(taken)], *given), x.dtype)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(*batched_all(size, args, batched), **params)

    def samples(self) -> list[tuple[Any, ...]]:
        made = []
        for lead, numbers, params in _SAMPLES:
            shape = (*lead, *_lengths(self.ends[0], params))
            taps = np.array(numbers, np.intp).reshape((*lead, *params["count"]))
            made.append(((shape, taps) if "taps" in self.inputs else (shape,), params))
        return made


def _lengths(names: tuple[str, ...], params: dict[str, Any]) -> Shape:
    return tuple(n for name in names for n in params[name])


def _number_type(params: dict[str, Any]) -> np.dtype[Any]:
    return np.min_scalar_type(max(math.prod(params["kernel"]) - 1, 0))


def _first(count: Shape, params: dict[str, Any]) -> Any:
    """The number of the first place that exists of each window."""
    number = np.zeros((1,) * len(count), np.intp)
    for a, (c, k, s, p, d) in enumerate(zip(count, *(params[name] for name in _GEOMETRY), strict=True)):
        first = np.maximum(-((np.arange(c) * s - p) // d), 0)
        number = number * k + first.reshape([-1 if i == a else 1 for i in range(len(count))])
    return number


class WindowArgmax(_Windowed):
    """The number of the first largest place in each window of `x: [..., *size]`, in the smallest unsigned integers that hold it.

    The first NaN counts as largest. Every window has a place that exists. No gradient.
    """

    name, notation = "window_argmax", r"\arg\max_{{\mathrm{{window}}}} {x}"
    ends = (("size",), ("count",))
    inputs = ("x",)
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        n_places: int = math.prod(params["kernel"])
        return math.prod(out) * n_places

    @staticmethod
    def forward(x: Any, *, size: Shape, count: Shape, **geometry: Any) -> Any:
        lead = x.shape[: x.ndim - len(size)]
        low = False if x.dtype == bool else np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        numbers = np.empty((*lead, *count), _number_type(geometry))
        numbers[...] = _first(count, geometry)
        best: Any = None
        for number, _, windows, places in taps(size, count, geometry):
            candidate = x[places]
            if candidate.shape == numbers.shape:
                candidate = np.ascontiguousarray(candidate)  # what comes is fast on whole arrays, not on short rows
            else:
                candidate = np.full(numbers.shape, low, x.dtype)
                candidate[windows] = x[places]
            if best is None:
                best = candidate.copy() if candidate.base is x else candidate
                continue
            # a larger number replaces one that came before
            np.maximum(numbers, np.multiply(candidate > best, number, dtype=numbers.dtype), out=numbers)
            np.maximum(best, candidate, out=best)
        if x.dtype.kind in "fV" and np.isnan(best).any():
            for number, _, windows, places in reversed([*taps(size, count, geometry)]):
                np.copyto(numbers[windows], number, where=np.isnan(x[places]))
        return numbers

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(super().abstract(*avals, **params).shape, _number_type(params))


class WindowPick(_Windowed, LinearOp):
    """Of each window of `x: [..., *size]` the place with the number in `taps: [..., *count]`; the rest is structurally zero.

    A primitive for memory and speed: the gradient reads numbers of one byte, and is written without a scatter.
    """

    name, notation = "window_pick", r"\operatorname{{pick}}({x}, {taps})"
    ends = (("size",), ("count",))
    inputs = ("x", "taps")
    sparse_transpose = True

    @staticmethod
    def forward(x: Any, numbers: Any, *, size: Shape, count: Shape, **geometry: Any) -> Any:
        return x.reshape(-1).take(flat(numbers, size, geometry)).reshape(numbers.shape)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return window_put(cotangent, *rest, **params)


class WindowPut(_Windowed, LinearOp):
    """Zeros `[..., *size]` with `x: [..., *count]` added at the place of each window that has the number in `taps`.

    The transpose of `window_pick`. What no window puts anything at is structurally zero.
    """

    name, notation = "window_put", r"\operatorname{{put}}({x}, {taps})"
    ends = (("count",), ("size",))
    inputs = ("x", "taps")
    sparse = True

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, numbers: Any, *, size: Shape, count: Shape, **geometry: Any) -> Any:
        out = np.zeros((*x.shape[: x.ndim - len(size)], *size), x.dtype)
        # one line of places is what NumPy adds quickly at
        np.add.at(out.reshape(-1), flat(numbers, size, geometry).reshape(-1), x.reshape(-1))
        return out

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return window_pick(cotangent, *rest, **params)


class Unfold(_Windowed, LinearOp):
    """All windows of `x: [..., *size]`, as `[..., *kernel, *count]`; a place that does not exist is structurally zero.

    A primitive for speed, which copies as many slices as a window has places where indices would pick every element.
    """

    name, notation = "unfold", r"\operatorname{{unfold}} {x}"
    ends = (("size",), ("kernel", "count"))
    sparse = sparse_transpose = True

    @staticmethod
    def forward(x: Any, *, size: Shape, count: Shape, **geometry: Any) -> Any:
        out = np.zeros((*x.shape[: x.ndim - len(size)], *geometry["kernel"], *count), x.dtype)
        for _, tap, windows, places in taps(size, count, geometry):
            out[(..., *tap, *windows[1:])] = x[places]
        return out

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return fold(cotangent, **params)


class Fold(_Windowed, LinearOp):
    """Windows `x: [..., *kernel, *count]` added up where they lie in `[..., *size]`; the transpose of `unfold`."""

    name, notation = "fold", r"\operatorname{{fold}} {x}"
    ends = (("kernel", "count"), ("size",))
    sparse = sparse_transpose = True

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, *, size: Shape, count: Shape, **geometry: Any) -> Any:
        out = np.zeros((*x.shape[: x.ndim - 2 * len(size)], *size), x.dtype)
        for _, tap, windows, places in taps(size, count, geometry):
            out[places] += x[(..., *tap, *windows[1:])]
        return out

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return unfold(cotangent, **params)


def _sample(size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, count: Shape) -> dict[str, Any]:
    return {
        "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "size": size, "count": count,
    }  # fmt: skip


_SAMPLES: tuple[tuple[Shape, list[int], dict[str, Any]], ...] = (
    # axes in front; places of the windows that exist, also where all are moved on by one; parameters
    ((2,), [0, 1, 1, 0], _sample((5,), (2,), (2,), (0,), (1,), (2,))),
    ((2,), [2, 5, 3, 4], _sample((4, 3), (3, 2), (2, 1), (1, 0), (1, 2), (2, 1))),
    ((), [1, 2, 0, 2, 0, 1], _sample((6,), (3,), (1,), (1,), (1,), (6,))),
    ((0,), [], _sample((2, 2), (2, 2), (2, 2), (0, 0), (1, 1), (1, 1))),
)

window_argmax = declare(WindowArgmax)
window_pick, window_put = declare(WindowPick), declare(WindowPut)
unfold, fold = declare(Unfold), declare(Fold)
