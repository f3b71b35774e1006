"""Ops linear in their first argument that move elements about: each one's transpose is another one."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval, reduced_shape
from backlit.core.dtypes import accumulator, promote
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import REGISTRY, LinearOp, Masked, Op, Value, declare, ones, shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor


def normalize_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers; None means all.

    Raises:
      ShapeError: an axis is out of range or named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    try:
        axes = tuple(map(operator.index, axis)) if isinstance(axis, (tuple, list)) else (operator.index(axis),)
    except TypeError:
        raise ShapeError(f"{name}: axis {axis!r} is not an integer{here()}") from None
    for a in axes:
        if not -ndim <= a < ndim:
            raise ShapeError(f"{name}: axis {a} is out of range for an array with {ndim} axes{here()}")
    found = tuple(sorted(a % ndim for a in axes))
    if len(set(found)) != len(found):
        raise ShapeError(f"{name}: axis {axes} names an axis twice{here()}")
    return found


class BroadcastTo(LinearOp):
    """`x` repeated to `shape`, as a view."""

    name, notation = "broadcast_to", r"\operatorname{{broadcast}} {x}"

    @staticmethod
    def forward(x: Any, *, shape: tuple[int, ...]) -> Any:
        return np.broadcast_to(x, shape)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(params["shape"], avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,), shape = super().prepare(args, params), tuple(params["shape"])
        params["shape"] = shape
        lead = len(shape) - x.ndim
        if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[lead:], strict=True)):
            raise ShapeError(f"broadcast_to: {shown(x)} does not broadcast to {list(shape)}{here()}")
        return (x,)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return sum_to(cotangent, shape=x.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        (x,), shape = args, params["shape"]
        padded = reshape(x, shape=(size, *(1,) * (len(shape) - x.ndim + 1), *x.shape[1:]))
        return broadcast_to(padded, shape=(size, *shape))

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((3, 1),), {"shape": (2, 3, 4)}), (((),), {"shape": (2,)}), (((1,),), {"shape": (0,)})]


class SumTo(LinearOp):
    """`x` summed over the axes along which `shape` would be broadcast to it."""

    name, notation = "sum_to", r"\textstyle\sum {x}"

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, *, shape: tuple[int, ...]) -> Any:
        lead = x.ndim - len(shape)
        inner = tuple(lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1)
        axes = tuple(range(lead)) + inner
        if not axes:
            return np.reshape(x, shape)
        return np.reshape(
            np.sum(x, axis=axes, dtype=x.dtype if x.dtype.kind in "biu" else accumulator(x.dtype)).astype(
                x.dtype, copy=False
            ),
            shape,
        )

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(params["shape"], avals[0].dtype)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return broadcast_to(cotangent, shape=x.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        (x,), shape = args, params["shape"]
        padded = (size, *(1,) * (x.ndim - 1 - len(shape)), *shape)
        return reshape(sum_to(x, shape=padded), shape=(size, *shape))

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3, 4),), {"shape": (3, 1)}), (((2,),), {"shape": ()}), (((0, 3),), {"shape": (3,)})]


class Sum(LinearOp):
    """Sum over `axis`; integers and booleans give NumPy's default integer, float16 and bfloat16 add up in float32."""

    name, notation = "sum", r"\textstyle\sum {x}"

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype.kind in "biu":
            return np.sum(x, axis=axis, keepdims=keepdims)
        total = np.sum(x, axis=axis, keepdims=keepdims, dtype=accumulator(x.dtype))
        return total if total.dtype == x.dtype else total.astype(x.dtype)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        (x,) = avals
        dtype = np.sum(np.ones(1, x.dtype)).dtype if x.dtype.kind in "biu" else x.dtype
        return Aval(reduced_shape(x.shape, params["axis"], params["keepdims"]), dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        params.update(axis=normalize_axes("sum", params.get("axis"), x.ndim), keepdims=params.get("keepdims", False))
        return (x,)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        kept = tuple(1 if i in params["axis"] else n for i, n in enumerate(x.shape))
        if cotangent.shape != kept:
            cotangent = reshape(cotangent, shape=kept)
        return broadcast_to(cotangent, shape=x.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], axis=tuple(a + 1 for a in params["axis"]), keepdims=params["keepdims"])

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((2, 3),), {"axis": (0,)}),
            (((2, 3),), {"axis": (0, 1), "keepdims": True}),
            (((3, 2),), {"axis": -1}),
            (((),), {}),
            (((0, 3),), {"axis": (0,)}),
        ]


class Reshape(LinearOp):
    """The elements of `x` in `shape`, of which one length may be -1."""

    name, notation = "reshape", r"\operatorname{{reshape}} {x}"

    @staticmethod
    def forward(x: Any, *, shape: tuple[int, ...]) -> Any:
        return np.reshape(x, shape)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(params["shape"], avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,), shape = super().prepare(args, params), params["shape"]
        shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
        known = math.prod(n for n in shape if n != -1)
        if shape.count(-1) == 1 and known and x.size % known == 0:
            shape = tuple(x.size // known if n == -1 else n for n in shape)
        if any(n < 0 for n in shape) or math.prod(shape) != x.size:
            raise ShapeError(f"reshape: {shown(x)} has {x.size} elements, which do not fill {list(shape)}{here()}")
        params["shape"] = shape
        return (x,)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return reshape(cotangent, shape=x.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return reshape(args[0], shape=(size, *params["shape"]))

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3),), {"shape": (3, -1)}), (((1,),), {"shape": ()}), (((0, 2),), {"shape": (2, 0)})]


class PermuteDims(LinearOp):
    """`x` with its axes in the order `axes`, as a view."""

    name, notation = "permute_dims", "{x}^T"

    @staticmethod
    def forward(x: Any, *, axes: tuple[int, ...]) -> Any:
        return np.transpose(x, axes)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(tuple(avals[0].shape[a] for a in params["axes"]), avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,), axes = super().prepare(args, params), tuple(params["axes"])
        if normalize_axes("permute_dims", axes, x.ndim) != tuple(range(x.ndim)):
            raise ShapeError(f"permute_dims: {list(axes)} does not order the {x.ndim} axes of {shown(x)}{here()}")
        params["axes"] = tuple(int(a) % x.ndim for a in axes)
        return (x,)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return permute_dims(cotangent, axes=tuple(int(i) for i in np.argsort(params["axes"])))

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return permute_dims(args[0], axes=(0, *(a + 1 for a in params["axes"])))

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3, 4),), {"axes": (2, 0, 1)}), (((0, 3),), {"axes": (-1, 0)}), (((),), {"axes": ()})]


class AsType(LinearOp):
    """`x` with another dtype; the cotangent comes back in the dtype of `x`, of a complex one the real part.

    Raises:
      DTypeError: complex numbers as real ones.
    """

    name, notation = "astype", "{x}"

    @staticmethod
    def forward(x: Any, *, dtype: np.dtype[Any]) -> Any:
        return x.astype(dtype)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape, params["dtype"])

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        params["dtype"] = dtype = np.dtype(params["dtype"])
        (x,) = super().prepare(args, params)
        if x.dtype.kind == "c" and dtype.kind not in "cb":
            raise DTypeError(f"astype: {shown(x)} does not fit into {dtype}; take .real, .imag or abs{here()}")
        return (x,)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        if cotangent.dtype.kind == "c" and x.dtype.kind not in "cb":
            cotangent = REGISTRY["real"](cotangent)
        return astype(cotangent, dtype=x.dtype)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], **params)

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3),), {"dtype": np.dtype(np.longdouble)}), (((),), {"dtype": np.dtype(np.float64)})]


class Pad(LinearOp):
    """`x` with `before` and `after` zeros along each axis; what was added is structurally zero."""

    name, notation = "pad", r"\operatorname{{pad}} {x}"
    sparse = True

    @staticmethod
    def forward(x: Any, *, width: tuple[tuple[int, int], ...]) -> Any:
        return np.pad(x, width) if width else x

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        widened = zip(avals[0].shape, params["width"], strict=True)
        return Aval(tuple(n + before + behind for n, (before, behind) in widened), avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        params["width"] = tuple((int(b), int(a)) for b, a in params["width"])
        if len(params["width"]) != x.ndim or any(n < 0 for pair in params["width"] for n in pair):
            raise ShapeError(
                f"pad: expected {x.ndim} pairs of non-negative widths for {shown(x)}, got {params['width']}{here()}"
            )
        return (x,)

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        cut = tuple(slice(b, b + n) for (b, _), n in zip(params["width"], x.shape, strict=True))
        return cotangent[cut]

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], width=((0, 0), *params["width"]))

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3),), {"width": ((1, 0), (0, 2))}), (((),), {"width": ()})]


def batched_all(size: int, args: Sequence[Value], batched: Sequence[bool]) -> list[Value]:
    """The arguments of a rule for batches, those that are the same for all examples repeated, as views."""
    return [a if b else broadcast_to(a, shape=(size, *a.shape)) for a, b in zip(args, batched, strict=True)]


class Concat(Op):
    """Arrays joined along `axis`; linear in all of them."""

    name, notation = "concat", r"\operatorname{{concat}} {x}"
    inputs = ("x",)
    fixed_arity = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @staticmethod
    def forward(*xs: Any, axis: int, sizes: tuple[int, ...]) -> Any:
        return np.concatenate(xs, axis=axis)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        shape, axis = avals[0].shape, params["axis"]
        return Aval((*shape[:axis], builtins.sum(params["sizes"]), *shape[axis + 1 :]), avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        tensors = [as_tensor(a) for a in args]
        if not tensors or not tensors[0].ndim:
            raise ShapeError(f"concat: expected arrays with at least one axis; see stack{here()}")
        (axis,) = normalize_axes("concat", params.get("axis", 0), tensors[0].ndim)
        beside = {(*t.shape[:axis], *t.shape[axis + 1 :], t.ndim) for t in tensors}
        if len(beside) > 1:
            raise ShapeError(f"concat: shapes differ beside axis {axis}: {', '.join(map(shown, tensors))}{here()}")
        params.update(axis=axis, sizes=tuple(t.shape[axis] for t in tensors))
        dtype = tensors[0].dtype
        for t in tensors[1:]:
            dtype = promote(dtype, t.dtype)
        return tuple(t if t.dtype == dtype else astype(t, dtype=dtype) for t in tensors)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), result, start = cotangent, list[Masked | None](), 0
        for w, n in zip(node.plan.wanted, node.params["sizes"], strict=True):
            cut = (*(slice(None),) * node.params["axis"], slice(start, start + n))
            start += n
            result.append((value[cut], None if mask is None else mask[cut]) if w else None)
        return tuple(result)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        axis, values, masks = params["axis"], [], []
        for t, n in zip(tangents, params["sizes"], strict=True):
            shape = (*out.shape[:axis], n, *out.shape[axis + 1 :])
            values.append(Tensor(np.zeros(shape, out.dtype)) if t is None else t[0])
            masks.append(Tensor(np.zeros(shape, bool)) if t is None else ones(shape) if t[1] is None else t[1])
        return self(*values, axis=axis), self(*masks, axis=axis)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        full = batched_all(size, args, batched)
        return self(*full, axis=params["axis"] + 1)

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3), (2, 1)), {"axis": 1}), (((1,), (0,), (2,)), {}), (((2, 2),), {"axis": -2})]


class Detach(Op):
    """`x` without derivatives: what `.detach()` is in the body of a loop, which is differentiated later."""

    name, notation = "detach", "{x}"
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @staticmethod
    def forward(x: Any) -> Any:
        return x

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0])

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3),), {}), (((),), {})]


broadcast_to, sum_to, sum = (declare(c) for c in (BroadcastTo, SumTo, Sum))
reshape, permute_dims, astype = (declare(c) for c in (Reshape, PermuteDims, AsType))
pad, concat, detach = declare(Pad), declare(Concat), declare(Detach)
