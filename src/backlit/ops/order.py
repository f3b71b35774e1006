"""Places in an order: argsort, searchsorted, and where the largest or smallest element so far stands. No gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import promote
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import Op, Value, declare, shown
from backlit.core.source import here
from backlit.core.tensor import as_tensor
from backlit.ops.linear import astype, batched_all, normalize_axes


class _Places(Op):
    """Integers like `x`, found along one axis."""

    inputs = ("x",)
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape, np.dtype(np.intp))

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        if not x.ndim:
            raise ShapeError(f"{self.name}: expected at least one axis, got {shown(x)}; see expand_dims{here()}")
        if x.dtype.kind == "c":
            raise DTypeError(f"{self.name}: {shown(x)} is complex, and so has no order{here()}")
        params["axis"] = normalize_axes(self.name, params.get("axis", -1), x.ndim)[0]
        return (x,)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], **{**params, "axis": params["axis"] + 1})

    def samples(self) -> list[tuple[Any, ...]]:
        ties = np.array([[1, 3, 3], [2, 1, 3]])
        return [(((2, 3),), {"axis": 0}), (((5,),), {}), ((ties,), {"axis": -1}), (((0, 2),), {"axis": 0})]


class ArgSort(_Places):
    """The places of the elements in rising order along `axis`; equal ones in the order in which they stand.

    `descending` gives falling order. NaN counts as larger than all numbers. Costs a stable sort.
    """

    name, notation = "argsort", r"\operatorname{{argsort}} {x}"

    @staticmethod
    def forward(x: Any, *, axis: int, descending: bool) -> Any:
        if not descending:
            return np.argsort(x, axis=axis, kind="stable")
        last_first = np.argsort(np.flip(x, axis), axis=axis, kind="stable")  # of equal ones the last comes first in it
        return x.shape[axis] - 1 - np.flip(last_first, axis)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        params["descending"] = bool(params.get("descending", False))
        return super().prepare(args, params)

    def samples(self) -> list[tuple[Any, ...]]:
        found = super().samples()
        return [(args, {**params, "descending": d}) for d in (False, True) for args, params in found]


class _Leader(_Places):
    """The place of the first extreme element up to each place; from the first NaN on, its place."""

    @classmethod
    def forward(cls, x: Any, *, axis: int) -> Any:
        how = np.maximum if cls.name == "cumargmax" else np.minimum
        best = np.moveaxis(how.accumulate(x, axis=axis), axis, 0)
        new = np.zeros(best.shape, bool)
        new[1:] = best[1:] != best[:-1]
        if x.dtype.kind not in "biu":  # a NaN differs from itself
            new[1:] &= best[:-1] == best[:-1]
        places = np.arange(len(best)).reshape(-1, *(1,) * (best.ndim - 1))
        return np.moveaxis(np.maximum.accumulate(np.where(new, places, 0), axis=0), 0, axis)


class CumArgMax(_Leader):
    """The place of the first largest element up to each place along `axis`; from the first NaN on, its place."""

    name, notation = "cumargmax", r"\operatorname{{cumargmax}} {x}"


class CumArgMin(_Leader):
    """The place of the first smallest element up to each place along `axis`; from the first NaN on, its place."""

    name, notation = "cumargmin", r"\operatorname{{cumargmin}} {x}"


class SearchSorted(Op):
    """Where the elements of `y: [..., m]` belong in the rising rows `x: [..., n]`, as places from 0 to n.

    With `side` "left" before equal elements, with "right" behind them. Costs m log n comparisons a row.

    Raises:
      ShapeError: the leading axes differ, or an input has none.
      ArgumentError: `side` is neither.
    """

    name, notation = "searchsorted", r"\operatorname{{searchsorted}}({x}, {y})"
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @staticmethod
    def forward(x: Any, y: Any, *, side: str) -> Any:
        out = np.empty(y.shape, np.intp)
        for row in np.ndindex(y.shape[:-1]):
            out[row] = np.searchsorted(x[row], y[row], side=side)  # type: ignore[call-overload]
        return out

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[1].shape, np.dtype(np.intp))

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = (as_tensor(a) for a in args)
        params["side"] = side = params.get("side", "left")
        if side not in ("left", "right"):
            raise ArgumentError(f"{self.name}: side must be 'left' or 'right', got {side!r}{here()}")
        if not x.ndim or not y.ndim or x.shape[:-1] != y.shape[:-1]:
            raise ShapeError(f"{self.name}: expected [..., n] and [..., m], got {shown(x)} and {shown(y)}{here()}")
        dtype = promote(x.dtype, y.dtype)
        if dtype.kind == "c":
            raise DTypeError(f"{self.name}: {shown(x)} and {shown(y)} have no order{here()}")
        return tuple(a if a.dtype == dtype else astype(a, dtype=dtype) for a in (x, y))

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(*batched_all(size, args, batched), **params)

    def samples(self) -> list[tuple[Any, ...]]:
        x, y = np.array([0.0, 1.0, 1.0, 2.0]), np.array([1.0, -1.0, 3.0, 0.5, 2.0])
        return [
            ((x, y), {}),
            ((x, y), {"side": "right"}),
            ((np.stack([x, x + 1]), np.stack([y, y])), {"side": "left"}),
            ((np.zeros(0), y), {}),
            ((x, np.zeros(0)), {}),
        ]


argsort, searchsorted = declare(ArgSort), declare(SearchSorted)
cumargmax, cumargmin = declare(CumArgMax), declare(CumArgMin)
