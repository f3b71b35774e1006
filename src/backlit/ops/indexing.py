"""Picking and writing elements: index, scatter_add, put.

An index is a template, static and hashable, in which `"array"` stands for the integer arrays in order and a slice
is the tuple ("slice", start, stop, step).
"""

from __future__ import annotations

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
from backlit.ops.linear import broadcast_to, permute_dims, reshape

Template = tuple[Any, ...]
_NAMES = ("x", *(f"i{k}" for k in range(64)))
_WHOLE = ("slice", None, None, None)


def parse(x: Any, key: Any) -> tuple[Template, list[Tensor]]:
    """Template and integer arrays of the index `key` into `x`, with one entry for every axis of `x`.

    Raises:
      ShapeError: too many indices, an index out of range, a boolean array of another shape.
      DTypeError: an index that is not an integer, a slice, a boolean or integer array, `...` or None.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    template: list[Any] = []
    arrays: list[Tensor] = []
    for part in parts:
        if part is None or part is Ellipsis:
            template.append(part)
        elif isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            template.append(("slice", *(None if b is None else int(b) for b in bounds)))
        elif isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool)):
            template.append(int(part))
        else:
            _parse_array(part, template, arrays)
    used = len([t for t in template if t is not None and t is not Ellipsis])
    if used > x.ndim or template.count(Ellipsis) > 1:
        raise ShapeError(f"index: {used} indices for {shown(x)}, which has {x.ndim} axes{here()}")
    at = template.index(Ellipsis) if Ellipsis in template else len(template)
    if used < x.ndim or not arrays:  # an ellipsis of no axes still keeps the arrays beside it apart
        template[at : at + 1] = [_WHOLE] * (x.ndim - used)
    _check_range(x, template)
    return tuple(template), arrays


def _parse_array(part: Any, template: list[Any], arrays: list[Tensor]) -> None:
    tensor = as_tensor(np.asarray(part, np.intp) if isinstance(part, (list, tuple)) and not len(part) else part)
    if tensor.dtype == bool:
        if isinstance(tensor._value, Box):
            raise ShapeError(f"index: a traced boolean index gives a shape that is not known; use where{here()}")
        picked = np.nonzero(np.asarray(tensor._value))
        template.extend(["array"] * len(picked))
        arrays.extend(Tensor(p) for p in picked)
    elif tensor.dtype.kind in "iu":
        template.append("array")
        arrays.append(tensor)
    else:
        raise DTypeError(f"index: {shown(tensor)} is no index; expected integers or booleans{here()}")


def _check_range(x: Any, template: list[Any]) -> None:
    axis = 0
    for part in template:
        if part is None or part is Ellipsis:
            continue
        if isinstance(part, int) and not -x.shape[axis] <= part < x.shape[axis]:
            raise ShapeError(f"index: {part} is out of range for axis {axis} of {shown(x)}{here()}")
        axis += 1


def fill(template: Template, arrays: Any) -> tuple[Any, ...]:
    """The NumPy index that a template stands for."""
    rest = iter(arrays)
    return tuple(
        slice(*part[1:]) if isinstance(part, tuple) else next(rest) if part == "array" else part for part in template
    )


def _picked_shape(shape: tuple[int, ...], template: Template, arrays: Any) -> tuple[int, ...]:
    blank = np.broadcast_to(np.empty((), np.int8), shape)
    try:
        return tuple(blank[fill(template, arrays)].shape)
    except IndexError as error:
        raise ShapeError(f"index: {error}{here()}") from None


def _batched(
    size: int, template: Template, arrays: tuple[Value, ...], batched: tuple[bool, ...]
) -> tuple[Template, list[Value], int, int]:
    """The index with a leading batch axis, and how many axes the arrays give and where these belong."""
    if not arrays:
        return (_WHOLE, *template), [], 0, 0
    width = max(len(a.shape) - b for a, b in zip(arrays, batched, strict=True))
    made = [Tensor(np.arange(size).reshape(size, *(1,) * width))]
    for a, b in zip(arrays, batched, strict=True):
        inner = a.shape[1:] if b else a.shape
        made.append(reshape(a, shape=(size if b else 1, *(1,) * (width - len(inner)), *inner)))
    advanced = [i for i, part in enumerate(template) if part == "array" or isinstance(part, int)]
    together = advanced[-1] - advanced[0] == len(advanced) - 1
    before = len([part for part in template[: advanced[0]] if part is not Ellipsis])
    return ("array", *template), made, width, before if together else 0


def _move(x: Value, ndim: int, start: int, count: int, to: int) -> Value:
    """`x` with `count` axes from `start` moved to begin at `to` (counted without them)."""
    if start == to or not count:
        return x
    rest = [a for a in range(ndim) if not start <= a < start + count]
    axes = rest[:to] + list(range(start, start + count)) + rest[to:]
    return permute_dims(x, axes=tuple(axes))


class Index(LinearOp):
    """`x[index]`; its transpose adds the cotangent where it was picked, all else is structurally zero."""

    name, notation = "index", r"{x}[\cdot]"
    inputs = _NAMES
    fixed_arity = False
    sparse_transpose = True

    @staticmethod
    def forward(x: Any, *arrays: Any, index: Template) -> Any:
        try:
            return x[fill(index, arrays)]
        except IndexError as error:
            raise ShapeError(f"index: {error}{here()}") from None

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        blanks = [np.broadcast_to(np.intp(0), a.shape) for a in avals[1:]]
        return Aval(_picked_shape(avals[0].shape, params["index"], blanks), avals[0].dtype)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return scatter_add(cotangent, *rest, index=params["index"], shape=x.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x = args[0] if batched[0] else broadcast_to(args[0], shape=(size, *args[0].shape))
        template, arrays, width, at = _batched(size, params["index"], args[1:], batched[1:])
        out = self(x, *arrays, index=template)
        return _move(out, out.ndim, 1, width, 1 + at)

    def samples(self) -> list[tuple[Any, ...]]:
        i, j = np.array([1, 0, 1]), np.array([[0], [1]])
        return [
            (((4, 3),), {"index": (("slice", 1, None, 2), 0)}),
            (((2, 3), i), {"index": ("array", _WHOLE)}),
            (((3, 2, 3), i, i), {"index": ("array", _WHOLE, "array")}),
            (((2, 3, 2), i, j), {"index": (_WHOLE, "array", "array")}),
            (((2,),), {"index": (None, ("slice", None, None, -1))}),
        ]


class ScatterAdd(LinearOp):
    """Zeros of `shape` with `x` added at `index`, repeated places adding up; the rest is structurally zero."""

    name, notation = "scatter_add", r"\operatorname{{scatter}} {x}"
    inputs = _NAMES
    fixed_arity = False
    sparse = True

    @staticmethod
    def forward(x: Any, *arrays: Any, index: Template, shape: tuple[int, ...]) -> Any:
        out = np.zeros(shape, x.dtype)
        if arrays:
            np.add.at(out, fill(index, arrays), x)
        else:
            out[fill(index, arrays)] = x
        return out

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(params["shape"], avals[0].dtype)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return index(cotangent, *rest, index=params["index"])

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x = args[0] if batched[0] else broadcast_to(args[0], shape=(size, *args[0].shape))
        template, arrays, width, at = _batched(size, params["index"], args[1:], batched[1:])
        return self(_move(x, x.ndim, 1 + at, width, 1), *arrays, index=template, shape=(size, *params["shape"]))

    def samples(self) -> list[tuple[Any, ...]]:
        i = np.array([1, 0, 1])
        return [
            (((2,),), {"index": (("slice", 1, None, 2), 0), "shape": (4, 3)}),
            (((3, 3), i), {"index": ("array", _WHOLE), "shape": (2, 3)}),
            (((2, 3), i), {"index": (_WHOLE, "array"), "shape": (2, 2)}),
        ]


class Put(Op):
    """`x` with `y` written at `index`; of two writes to one place the last counts.

    What was overwritten in `x`, and what of `y` was overwritten in turn, is structurally zero.
    """

    name, notation = "put", r"{x}[\cdot \leftarrow {y}]"
    inputs = ("x", "y", *_NAMES[1:])
    fixed_arity = False

    @staticmethod
    def forward(x: Any, y: Any, *arrays: Any, index: Template) -> Any:
        out = np.array(x)
        out[fill(index, arrays)] = y
        return out

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y, *arrays = (as_tensor(a) for a in args)
        blanks = [np.zeros(a.shape, np.intp) for a in arrays]
        return x, broadcast_to(y, shape=_picked_shape(x.shape, params["index"], blanks)), *arrays

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
        x, y = (a if b else broadcast_to(a, shape=(size, *a.shape)) for a, b in zip(args[:2], batched[:2], strict=True))
        template, arrays, width, at = _batched(size, params["index"], args[2:], batched[2:])
        return self(x, _move(y, y.ndim, 1 + at, width, 1), *arrays, index=template)

    def samples(self) -> list[tuple[Any, ...]]:
        i = np.array([1, 0, 1])
        return [
            (((4, 3), (2,)), {"index": (("slice", 1, None, 2), 0)}),
            (((2, 3), (3, 3), i), {"index": ("array", _WHOLE)}),
            (((2, 2), (2, 3), i), {"index": (_WHOLE, "array")}),
            (((), ()), {"index": ()}),
        ]


def _winners(shape: tuple[int, ...], arrays: Sequence[Value], template: Template) -> Value:
    """Where an element written is the last one written to its place."""
    picked = index(Tensor(np.broadcast_to(np.int64(0), shape)), *arrays, index=template).shape
    count = Tensor(np.arange(int(np.prod(picked))).reshape(picked))
    board = put(Tensor(np.full(shape, -1)), count, *arrays, index=template)
    return equal(index(board, *arrays, index=template), count)


index, scatter_add, put = declare(Index), declare(ScatterAdd), declare(Put)
