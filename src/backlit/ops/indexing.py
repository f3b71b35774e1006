"""Picking and writing elements: index, scatter_add, put.

An index is a template, static and hashable, in which `"array"` stands for the integer arrays in order and a slice
is the tuple ("slice", start, stop, step).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import LinearOp, Masked, Op, Value, declare, ones, shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.ops.elementwise import equal, where
from backlit.ops.linear import batched_all, broadcast_to, permute_dims, reshape

Template = tuple[Any, ...]
NAMES = ("x", *(f"i{k}" for k in range(64)))
WHOLE = ("slice", None, None, None)  # in a template, an axis taken whole


def parse(x: Any, key: Any) -> tuple[Template, list[Tensor]]:
    """Template and integer arrays of the index `key` into `x`, with one entry for every axis of `x`.

    Raises:
      ShapeError: too many indices, an index out of range, a boolean array of another shape.
      DTypeError: an index that is not an integer, a slice, a boolean or integer array, `...` or None.
    """
    parts = [_part(p) for p in (key if isinstance(key, tuple) else (key,))]
    used = sum(_axes_of(p) for p in parts)
    ellipses = sum(p is Ellipsis for p in parts)
    if used > x.ndim or ellipses > 1:
        what = f"{used} indices" if used > x.ndim else "more than one ellipsis"
        raise ShapeError(f"index: {what} for {shown(x)}, which has {x.ndim} axes{here()}")
    template: list[Any] = []
    arrays: list[Tensor] = []
    axis = 0
    for part in parts:
        if part is Ellipsis:
            template.append(Ellipsis)
            axis += x.ndim - used
        elif isinstance(part, Tensor):
            picked = _nonzero(x, axis, part) if part.dtype == bool else [part]
            template.extend(["array"] * len(picked))
            arrays.extend(picked)
            axis += len(picked)
        else:
            if isinstance(part, int) and not -x.shape[axis] <= part < x.shape[axis]:
                raise ShapeError(f"index: {part} is out of range for axis {axis} of {shown(x)}{here()}")
            template.append(part)
            axis += part is not None
    at = template.index(Ellipsis) if ellipses else len(template)
    if used < x.ndim or not arrays:  # an ellipsis of no axes still keeps the arrays beside it apart
        template[at : at + 1] = [WHOLE] * (x.ndim - used)
    return tuple(template), arrays


def _part(part: Any) -> Any:
    """One part of an index: None, an ellipsis, an int, a slice as a tuple, or a tensor of integers or booleans."""
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):
        try:
            start, stop, step = (None if b is None else operator.index(b) for b in (part.start, part.stop, part.step))
        except TypeError:
            raise DTypeError(f"index: the bounds of {part} must be integers{here()}") from None
        if step == 0:
            raise ShapeError(f"index: the step of {part} must not be 0{here()}")
        return ("slice", start, stop, step)
    if isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool)):
        return int(part)
    empty = isinstance(part, (list, tuple)) and not len(part)
    tensor = as_tensor(np.asarray(part, np.intp) if empty else part)
    if tensor.dtype != bool and tensor.dtype.kind not in "iu":
        raise DTypeError(f"index: {shown(tensor)} is no index; expected integers or booleans{here()}")
    return tensor


def _axes_of(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, Tensor) and part.dtype == bool else 1


def _nonzero(x: Any, axis: int, mask: Tensor) -> list[Tensor]:
    """Where a boolean index into the axes of `x` from `axis` on is true, an integer array for each of them."""
    if mask.shape != x.shape[axis : axis + mask.ndim]:
        raise ShapeError(
            f"index: a boolean index {shown(mask)} does not fit axes {axis} to {axis + mask.ndim - 1} of {shown(x)}{here()}"
        )
    found = contents(mask)
    if found is None:
        raise ShapeError(f"index: a traced boolean index gives a shape that is not known; use where{here()}")
    return [Tensor(p) for p in np.nonzero(found)]


def contents(x: Tensor) -> Any:
    """The elements of `x`, or None where it stands for many or has none yet."""
    value = x._value
    while isinstance(value, Box):
        if not value.trace.one_value:
            return None
        value = value.primal._value
    return np.asarray(value)


def unknown_mask(x: Tensor, key: Any) -> Tensor | None:
    """The index `key` when it is one boolean tensor that fits and has no contents to look at; else None."""
    key = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if (
        not isinstance(key, Tensor)
        or key.dtype != bool
        or key.shape != x.shape[: key.ndim]
        or contents(key) is not None
    ):
        return None
    return key


def lift_truths(x: Any, key: Any) -> tuple[Any, Any]:
    """`x` and `key` without 0-d booleans, each of which is an axis of length one that is picked from once or never."""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(_is_truth(p) for p in parts):
        return x, key
    parts = tuple(_part(p) for p in parts)
    used, axis = sum(_axes_of(p) for p in parts), 0
    shape, made = list(x.shape), list[Any]()
    for part in parts:
        if _is_truth(part):
            truth = contents(part)
            if truth is None:
                raise ShapeError(f"index: a traced boolean index gives a shape that is not known; use where{here()}")
            shape.insert(axis, 1)
            made.append(np.zeros(int(truth), np.intp))
            axis += 1
        else:
            made.append(slice(*part[1:]) if isinstance(part, tuple) else part)
            axis += x.ndim - used if part is Ellipsis else _axes_of(part)
    if axis > len(shape):
        raise ShapeError(f"index: {used} indices for {shown(x)}, which has {x.ndim} axes{here()}")
    return reshape(x, shape=tuple(shape)), tuple(made)


def _is_truth(part: Any) -> bool:
    return (
        part is True
        or part is False
        or (isinstance(part, (np.ndarray, np.generic, Tensor)) and part.dtype == bool and not part.ndim)
    )


def fill(template: Template, arrays: Any) -> tuple[Any, ...]:
    """The NumPy index that a template stands for."""
    rest = iter(arrays)
    return tuple(
        slice(*part[1:]) if isinstance(part, tuple) else next(rest) if part == "array" else part for part in template
    )


def flat_places(shape: tuple[int, ...], template: Template, arrays: Sequence[Any]) -> Any:
    """Where in the flattened array the elements lie that an index picks, in their order.

    NumPy's `ufunc.at` goes through places of one axis 10 to 20 times faster than through rows (4,096 rows of 256 floats
    into 1,000: 1.3 and 23 ms, the same bits).

    Raises:
      ShapeError: an index is out of bounds.
    """
    whole = 0
    while whole < min(len(shape), len(template)) and template[-1 - whole] == WHOLE:
        whole += 1
    outer, inner = shape[: len(shape) - whole], math.prod(shape[len(shape) - whole :])
    try:
        places = np.arange(math.prod(outer)).reshape(outer)[fill(template[: len(template) - whole], arrays)]
    except IndexError as error:
        raise ShapeError(f"index: {error}{here()}") from None
    return (places[..., None] * inner + np.arange(inner)).ravel() if whole else places.ravel()


def picked_shape(shape: tuple[int, ...], template: Template, arrays: Sequence[Any]) -> tuple[int, ...]:
    """The shape of what an index picks from an array of this shape; of the integer arrays only shapes are looked at.

    Raises:
      ShapeError: the arrays do not broadcast.
    """
    blank = np.broadcast_to(
        np.empty((), np.int8), tuple(max(n, 1) if p == "array" else n for n, p in _axes(shape, template))
    )
    blanks = [np.broadcast_to(np.intp(0), a.shape) for a in arrays]
    try:
        return tuple(blank[fill(template, blanks)].shape)
    except IndexError as error:
        raise ShapeError(f"index: {error}{here()}") from None


def _axes(shape: tuple[int, ...], template: Template) -> list[tuple[int, Any]]:
    """The axes and the part of the index for each."""
    return list(zip(shape, (p for p in template if p is not None and p is not Ellipsis), strict=True))


def with_batch(
    size: int, template: Template, arrays: tuple[Value, ...], batched: tuple[bool, ...], shared: bool = False
) -> tuple[Template, list[Value], int, int]:
    """The index with a leading batch axis, how many axes the arrays give behind it, and where these belong.

    The batch axis is picked along with the arrays; not where all examples `shared` what is picked from.
    """
    if not arrays:
        return (WHOLE, *template), [], 0, 0
    width = max(len(a.shape) - b for a, b in zip(arrays, batched, strict=True))
    made = [] if shared else [Tensor(np.arange(size).reshape(size, *(1,) * width))]
    for a, b in zip(arrays, batched, strict=True):
        inner = a.shape[1:] if b else a.shape
        made.append(reshape(a, shape=(size if b else 1, *(1,) * (width - len(inner)), *inner)))
    advanced = [i for i, part in enumerate(template) if part == "array" or isinstance(part, int)]
    together = advanced[-1] - advanced[0] == len(advanced) - 1
    before = len([part for part in template[: advanced[0]] if part is not Ellipsis])
    return (template if shared else ("array", *template)), made, width, before if together else 0


def move(x: Value, ndim: int, start: int, count: int, to: int) -> Value:
    """`x` with `count` axes from `start` moved to begin at `to` (counted without them)."""
    if start == to or not count:
        return x
    rest = [a for a in range(ndim) if not start <= a < start + count]
    axes = rest[:to] + list(range(start, start + count)) + rest[to:]
    return permute_dims(x, axes=tuple(axes))


class Index(LinearOp):
    """`x[index]`; its transpose adds the cotangent where it was picked, all else is structurally zero."""

    name, notation = "index", r"{x}[\cdot]"
    inputs = NAMES
    fixed_arity = False
    sparse_transpose = True

    @staticmethod
    def forward(x: Any, *arrays: Any, index: Template) -> Any:
        try:
            return x[fill(index, arrays)]
        except IndexError as error:
            raise ShapeError(f"index: {error}{here()}") from None

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(picked_shape(avals[0].shape, params["index"], avals[1:]), avals[0].dtype)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return scatter_add(cotangent, *rest, index=params["index"], shape=x.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        if not batched[0]:  # picked from what all examples share, which is not copied for each
            template, arrays, width, at = with_batch(size, params["index"], args[1:], batched[1:], shared=True)
            out = self(args[0], *arrays, index=template)
            return move(out, out.ndim, at, 1, 0)
        template, arrays, width, at = with_batch(size, params["index"], args[1:], batched[1:])
        out = self(args[0], *arrays, index=template)
        return move(out, out.ndim, 1, width, 1 + at)

    def samples(self) -> list[tuple[Any, ...]]:
        i, j = np.array([1, 0, 1]), np.array([[0], [1]])
        return [
            (((4, 3),), {"index": (("slice", 1, None, 2), 0)}),
            (((2, 3), i), {"index": ("array", WHOLE)}),
            (((3, 2, 3), i, i), {"index": ("array", WHOLE, "array")}),
            (((2, 3, 2), i, j), {"index": (WHOLE, "array", "array")}),
            (((2,),), {"index": (None, ("slice", None, None, -1))}),
        ]


class ScatterAdd(LinearOp):
    """Zeros of `shape` with `x` added at `index`, repeated places adding up; the rest is structurally zero."""

    name, notation = "scatter_add", r"\operatorname{{scatter}} {x}"
    inputs = NAMES
    fixed_arity = False
    sparse = True

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, *arrays: Any, index: Template, shape: tuple[int, ...]) -> Any:
        out = np.zeros(shape, x.dtype)
        if arrays:
            np.add.at(out.reshape(-1), flat_places(shape, index, arrays), np.ravel(x))
        else:
            out[fill(index, arrays)] = x
        return out

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(params["shape"], avals[0].dtype)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return index(cotangent, *rest, index=params["index"])

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x = args[0] if batched[0] else broadcast_to(args[0], shape=(size, *args[0].shape))
        template, arrays, width, at = with_batch(size, params["index"], args[1:], batched[1:])
        return self(move(x, x.ndim, 1 + at, width, 1), *arrays, index=template, shape=(size, *params["shape"]))

    def samples(self) -> list[tuple[Any, ...]]:
        i = np.array([1, 0, 1])
        return [
            (((2,),), {"index": (("slice", 1, None, 2), 0), "shape": (4, 3)}),
            (((3, 3), i), {"index": ("array", WHOLE), "shape": (2, 3)}),
            (((2, 3), i), {"index": (WHOLE, "array"), "shape": (2, 2)}),
        ]


class Put(Op):
    """`x` with `y` written at `index`; of two writes to one place the last counts.

    What was overwritten in `x`, and what of `y` was overwritten in turn, is structurally zero.
    """

    name, notation = "put", r"{x}[\cdot \leftarrow {y}]"
    inputs = ("x", "y", *NAMES[1:])
    fixed_arity = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @staticmethod
    def forward(x: Any, y: Any, *arrays: Any, index: Template) -> Any:
        out = np.array(x)
        try:
            out[fill(index, arrays)] = y
        except IndexError as error:
            raise ShapeError(f"index: {error}{here()}") from None
        return out

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y, *arrays = (as_tensor(a) for a in args)
        return x, broadcast_to(y, shape=picked_shape(x.shape, params["index"], arrays)), *arrays

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset(self.inputs[2:])

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), arrays, template = cotangent, inputs[2:], node.params["index"]
        alive = ones(node.shape) if mask is None else mask
        first: Masked | None = None
        second: Masked | None = None
        if node.plan.wanted[0]:
            first = (put(value, 0.0, *arrays, index=template), put(alive, False, *arrays, index=template))
        if node.plan.wanted[1]:
            won = _winners(node.shape, arrays, template)
            live = index(alive, *arrays, index=template) & won
            second = (where(live, index(value, *arrays, index=template), 0.0), live)
        return (first, second, *(None for _ in arrays))

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (x, y), arrays = tangents[:2], inputs[2:]
        zero: Masked = (Tensor(np.zeros((), out.dtype)), Tensor(np.zeros((), bool)))
        if x is None:
            x = tuple(broadcast_to(z, shape=out.shape) for z in zero)  # type: ignore[assignment]
        (value, mask), (new, live) = x, zero if y is None else y  # type: ignore[misc]
        mask = ones(out.shape) if mask is None else mask
        return put(value, new, *arrays, **params), put(mask, True if live is None else live, *arrays, **params)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x, y = batched_all(size, args[:2], batched[:2])
        template, arrays, width, at = with_batch(size, params["index"], args[2:], batched[2:])
        return self(x, move(y, y.ndim, 1 + at, width, 1), *arrays, index=template)

    def samples(self) -> list[tuple[Any, ...]]:
        i = np.array([1, 0, 1])
        return [
            (((4, 3), (2,)), {"index": (("slice", 1, None, 2), 0)}),
            (((2, 3), (3, 3), i), {"index": ("array", WHOLE)}),
            (((2, 2), (2, 3), i), {"index": (WHOLE, "array")}),
            (((), ()), {"index": ()}),
        ]


def _winners(shape: tuple[int, ...], arrays: Sequence[Value], template: Template) -> Value:
    """Where an element written is the last one written to its place."""
    picked = index(Tensor(np.broadcast_to(np.int64(0), shape)), *arrays, index=template).shape
    count = Tensor(np.arange(int(np.prod(picked))).reshape(picked))
    board = put(Tensor(np.full(shape, -1)), count, *arrays, index=template)
    return equal(index(board, *arrays, index=template), count)


index, scatter_add, put = declare(Index), declare(ScatterAdd), declare(Put)
