"""Extremes written to where integers say: `x.at[i].max(y)` and `.min(y)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from backlit.core.aval import Aval
from backlit.core.graph import Node
from backlit.core.op import Masked, Op, Value, declare, ones, truth
from backlit.core.tensor import as_tensor
from backlit.ops import indexing
from backlit.ops.elementwise import equal, where
from backlit.ops.linear import astype, batched_all, broadcast_to


class _ScatterExtremum(Op):
    """Elements of `x` that are reached by an element of `y` are the extreme one of all that meet there.

    Equal extremes share the gradient. A primitive, for composed of others the number of rounds would be that of the
    elements that meet at one place.
    """

    inputs = ("x", "y", *indexing.NAMES[1:])
    fixed_arity = False
    selects = True
    ufunc: ClassVar[Any]

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[1])

    @classmethod
    def _forward(cls, x: Any, y: Any, *arrays: Any, index: indexing.Template) -> Any:
        out = np.array(x, order="C")  # so that it can be flattened in place
        cls.ufunc.at(out.reshape(-1), indexing.flat_places(out.shape, index, arrays), np.ravel(y))
        return out

    def __init__(self) -> None:
        super().__init__()
        self.forward = self._forward

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y, *arrays = (as_tensor(a) for a in args)
        y = y if y.dtype == x.dtype else astype(y, dtype=x.dtype)
        return x, broadcast_to(y, shape=indexing.picked_shape(x.shape, params["index"], arrays)), *arrays

    def _shares(self, out: Value, inputs: Sequence[Value], params: dict[str, Any]) -> tuple[Value, Value, Value]:
        """Where `x` and `y` are the extreme one, and among how many the gradient is shared at each place."""
        x, y, *arrays = inputs
        mine, theirs = equal(x, out), equal(y, indexing.index(out, *arrays, index=params["index"]))
        met = indexing.scatter_add(astype(theirs, dtype=out.dtype), *arrays, index=params["index"], shape=out.shape)
        return mine, theirs, astype(mine, dtype=out.dtype) + met

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), arrays, wanted = cotangent, inputs[2:], node.plan.wanted
        mine, theirs, count = self._shares(out, inputs, node.params)
        alive = ones(node.shape) if mask is None else mask
        share = value / count
        first: Masked | None = None
        second: Masked | None = None
        if wanted[0]:
            live = mine & alive
            first = (where(live, share, 0.0), live)
        if wanted[1]:
            live = theirs & indexing.index(alive, *arrays, index=node.params["index"])
            second = (where(live, indexing.index(share, *arrays, index=node.params["index"]), 0.0), live)
        return (first, second, *(None for _ in arrays))

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        arrays, where_to = inputs[2:], {"index": params["index"], "shape": out.shape}
        mine, theirs, count = self._shares(out, inputs, params)
        total, alive = None, None
        if tangents[0] is not None:
            value, mask = tangents[0]
            alive = mine if mask is None else mine & mask
            total = where(alive, value, 0.0)
        if tangents[1] is not None:
            value, mask = tangents[1]
            live = theirs if mask is None else theirs & mask
            reached = indexing.scatter_add(where(live, value, 0.0), *arrays, **where_to)
            total = reached if total is None else total + reached
            more = truth(indexing.scatter_add(live, *arrays, **where_to))
            alive = more if alive is None else alive | more
        return None if total is None else (where(alive, total / count, 0.0), alive)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x, y = batched_all(size, args[:2], batched[:2])
        template, arrays, width, at = indexing.with_batch(size, params["index"], args[2:], batched[2:])
        return self(x, indexing.move(y, y.ndim, 1 + at, width, 1), *arrays, index=template)

    def samples(self) -> list[tuple[Any, ...]]:
        i, whole = np.array([1, 0, 1]), indexing.WHOLE
        return [
            (((4, 3), (2,)), {"index": (("slice", 1, None, 2), 0)}),
            (((2, 3), (3, 3), i), {"index": ("array", whole)}),
            (((2, 2), (2, 3), i), {"index": (whole, "array")}),
            (((), ()), {"index": ()}),
        ]


class ScatterMax(_ScatterExtremum):
    """`x` with, at each place of the index, the largest of what is there and of the elements of `y` that come there."""

    name, notation, ufunc = "scatter_max", r"{x}[\cdot \leftarrow \max({x}, {y})]", np.maximum


class ScatterMin(_ScatterExtremum):
    """`x` with, at each place of the index, the smallest of what is there and of the elements of `y` that come there."""

    name, notation, ufunc = "scatter_min", r"{x}[\cdot \leftarrow \min({x}, {y})]", np.minimum


scatter_max, scatter_min = declare(ScatterMax), declare(ScatterMin)
