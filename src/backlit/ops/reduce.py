"""Reductions that select or are not linear: max, min, any, all, logsumexp, argmax, argmin."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval, reduced_shape
from backlit.core.dtypes import accumulator, is_float
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import Masked, Op, Value, declare, shown
from backlit.core.source import here
from backlit.ops.complex import conj, real
from backlit.ops.elementwise import equal, exp, not_equal, where
from backlit.ops.linear import astype, broadcast_to, normalize_axes, reshape, sum


class Reduction(Op):
    """An op over `axis`, a tuple after `prepare`."""

    empty = False  # whether a reduction over no elements has a value
    ordered = True  # whether it compares, which complex numbers cannot be

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[0])

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(reduced_shape(avals[0].shape, params["axis"], params["keepdims"]), avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        axis = normalize_axes(self.name, params.get("axis"), x.ndim)
        params.update(axis=axis, keepdims=params.get("keepdims", False))
        if self.ordered and x.dtype.kind == "c":
            raise DTypeError(
                f"{self.name}: {shown(x)} has no order, its numbers being complex; take .real or abs(){here()}"
            )
        if not self.empty and 0 in [x.shape[a] for a in axis]:
            raise ShapeError(f"{self.name}: nothing to choose from along axis {list(axis)} of {shown(x)}{here()}")
        return (x,)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], **{**params, "axis": tuple(a + 1 for a in params["axis"])})

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((2, 3),), {"axis": (0,)}),
            (((3, 2, 2),), {"axis": (0, 2), "keepdims": True}),
            (((3, 2),), {"axis": -1}),
            (((3,),), {}),
            (((),), {}),
        ]


def spread(reduced: Value, x: Value, axis: tuple[int, ...]) -> Value:
    """A reduced value repeated along the reduced axes of `x`."""
    return broadcast_to(reshape(reduced, shape=reduced_shape(x.shape, axis, True)), shape=x.shape)


class _Extreme(Reduction):
    """Equal elements share the gradient equally; what was not chosen is structurally zero."""

    def _shares(self, out: Value, x: Value, axis: tuple[int, ...]) -> tuple[Value, Value]:
        chosen = equal(x, spread(out, x, axis)) | (not_equal(x, x) & spread(not_equal(out, out), x, axis))
        count = sum(astype(chosen, dtype=x.dtype), axis=axis, keepdims=True)
        return chosen, broadcast_to(1.0 / count, shape=x.shape)

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), (x,), axis = cotangent, inputs, node.params["axis"]
        chosen, share = self._shares(out, x, axis)
        if mask is not None:
            chosen = chosen & spread(mask, x, axis)
        return ((where(chosen, spread(value, x, axis) * share, 0.0), chosen),)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (x,), axis = inputs, params["axis"]
        assert tangents[0] is not None
        value, mask = tangents[0]
        chosen, share = self._shares(out, x, axis)
        pushed = sum(where(chosen, value * share, 0.0), **params)
        return pushed, None if mask is None else any(chosen & mask, **params)


class Max(_Extreme):
    """The largest element along `axis`."""

    name, notation = "max", r"\max {x}"

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return np.max(x, axis=axis, keepdims=keepdims)


class Min(_Extreme):
    """The smallest element along `axis`."""

    name, notation = "min", r"\min {x}"

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return np.min(x, axis=axis, keepdims=keepdims)


class Smooth(Reduction):
    """A reduction with a slope: one local derivative an element serves both modes, as in an elementwise op.

    Of complex numbers it is the complex derivative; a real `out` changes by Re(slope dx).
    """

    @abstractmethod
    def slope(self, x: Value, out: Value, **params: Any) -> Value:
        """The derivative of `out` with respect to every element of `x`, in the shape of `x`."""

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        return (x if is_float(x.dtype) else astype(x, dtype=np.float64),)

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), (x,), axis = cotangent, inputs, node.params["axis"]
        pulled = spread(value, x, axis) * conj(self.slope(x, out, **node.params))
        if mask is None:
            return ((pulled, None),)
        alive = spread(mask, x, axis)
        return ((where(alive, pulled, 0.0), alive),)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        assert tangents[0] is not None
        value, mask = tangents[0]
        over = {"axis": params["axis"], "keepdims": params["keepdims"]}
        terms = value * self.slope(inputs[0], out, **params)
        terms = terms if terms.dtype == out.dtype else real(terms)
        if mask is None:
            return sum(terms, **over), None
        return sum(where(mask, terms, 0.0), **over), any(mask, **over)


class LogSumExp(Smooth):
    """log(sum(exp(x))) along `axis`, shifted by the maximum so that nothing overflows; -inf over no elements."""

    name, notation = "logsumexp", r"\log \textstyle\sum e^{{{x}}}"
    empty = True

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 4 * math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        wide = x.astype(accumulator(x.dtype), copy=False)
        high = np.max(wide, axis=axis, keepdims=True, initial=-np.inf)
        high = np.where(np.isfinite(high), high, 0).astype(wide.dtype)
        total = (np.log(np.sum(np.exp(wide - high), axis=axis, keepdims=True)) + high).astype(x.dtype, copy=False)
        return total if keepdims else np.squeeze(total, axis)[()]

    def slope(self, x: Value, out: Value, **params: Any) -> Value:
        # x - out is NaN where both are -inf: an element of no weight
        return where(equal(x, -np.inf), 0.0, exp(x - spread(out, x, params["axis"])))


class _Truth(Reduction):
    """A question about the elements that are not zero; NaN is not zero. No gradient."""

    differentiable, empty, ordered = False, True, False

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(reduced_shape(avals[0].shape, params["axis"], params["keepdims"]), np.dtype(bool))

    def samples(self) -> list[tuple[Any, ...]]:
        x = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, 2.0]])
        return [
            ((x,), {"axis": (0,)}),
            ((x,), {"axis": (0, 1), "keepdims": True}),
            ((x > 0,), {"axis": -1}),
            ((np.array([0, 3]),), {}),
            ((np.array(True),), {}),
            ((np.zeros((0, 3)),), {"axis": 0}),
        ]


class Any_(_Truth):
    """Whether some element along `axis` is not zero; false over no elements."""

    name, notation = "any", r"\exists {x}"

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return np.any(x, axis=axis, keepdims=keepdims)


class All(_Truth):
    """Whether every element along `axis` is not zero; true over no elements."""

    name, notation = "all", r"\forall {x}"

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return np.all(x, axis=axis, keepdims=keepdims)


class _Position(Reduction):
    """Position of the first extreme element along one axis, or in the flattened array; no gradient."""

    differentiable = False

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        shape, axis = avals[0].shape, params["axis"]
        axes = tuple(range(len(shape))) if axis is None else (axis,)
        return Aval(reduced_shape(shape, axes, params["keepdims"]), np.dtype(np.intp))

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, axis = super().prepare(args, dict(params))[0], params.get("axis")
        params.update(axis=None if axis is None else int(axis) % x.ndim, keepdims=params.get("keepdims", False))
        return (x,)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        (x,), axis = args, params["axis"]
        if axis is not None:
            return self(x, axis=axis + 1, keepdims=params["keepdims"])
        found = self(reshape(x, shape=(size, -1)), axis=1)
        return reshape(found, shape=(size, *(1,) * (x.ndim - 1))) if params["keepdims"] else found

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3),), {"axis": 0}), (((2, 3),), {"axis": -1, "keepdims": True}), (((3,),), {})]


class ArgMax(_Position):
    """Position of the first largest element."""

    name, notation = "argmax", r"\arg\max {x}"

    @staticmethod
    def forward(x: Any, *, axis: int | None, keepdims: bool) -> Any:
        return np.argmax(x, axis=axis, keepdims=keepdims)


class ArgMin(_Position):
    """Position of the first smallest element."""

    name, notation = "argmin", r"\arg\min {x}"

    @staticmethod
    def forward(x: Any, *, axis: int | None, keepdims: bool) -> Any:
        return np.argmin(x, axis=axis, keepdims=keepdims)


max, min, any, all, logsumexp = (declare(c) for c in (Max, Min, Any_, All, LogSumExp))
argmax, argmin = declare(ArgMax), declare(ArgMin)
