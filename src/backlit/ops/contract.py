"""Contractions: the batched matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import promote
from backlit.core.errors import ShapeError
from backlit.core.graph import Node
from backlit.core.op import Masked, Op, Value, add_masked, declare, shown
from backlit.core.source import here
from backlit.core.tensor import as_tensor
from backlit.ops.complex import conj
from backlit.ops.elementwise import where
from backlit.ops.linear import astype, batched_all, broadcast_to, permute_dims, reshape, sum


def matrix_transpose(x: Value) -> Value:
    """`x: [..., m, n]` with its last two axes exchanged."""
    n = len(x.shape)
    return permute_dims(x, axes=(*range(n - 2), n - 1, n - 2))


class Matmul(Op):
    """Matrix products of `x: [..., m, k]` and `y: [..., k, n]`, giving `out: [..., m, n]`.

    Leading axes are equal; `matmul` the function broadcasts them, and takes vectors. The VJP costs one product of
    the same size for each input whose cotangent is asked for. A row or column whose cotangent is structurally zero
    throughout gives structural zeros, so an infinity in a factor does not reach them.

    Raises:
      ShapeError: an input has fewer than two axes, the inner sizes or the leading axes differ.
    """

    name, notation = "matmul", "{x} {y}"

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 2 * inputs[0][-1] * math.prod(out)

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        out = np.matmul(x, y)
        return out if out.dtype == x.dtype else out.astype(x.dtype)  # of bfloat16 NumPy gives float32

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval((*avals[0].shape[:-1], avals[1].shape[-1]), avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = (as_tensor(a) for a in args)
        if min(x.ndim, y.ndim) < 2 or x.shape[-1] != y.shape[-2] or x.shape[:-2] != y.shape[:-2]:
            raise ShapeError(f"matmul: expected [m, k] @ [k, n], got {shown(x)} @ {shown(y)}{here()}")
        dtype = promote(x.dtype, y.dtype)
        return tuple(a if a.dtype == dtype else astype(a, dtype=dtype) for a in (x, y))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"y"} if argnum == 0 else {"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x, y = inputs
        return (
            matmul(cotangent, matrix_transpose(conj(y))) if wanted[0] else None,  # [m, n] @ [n, k]
            matmul(matrix_transpose(conj(x)), cotangent) if wanted[1] else None,  # [k, m] @ [m, n]
        )

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        value, mask = cotangent
        x, y = self.vjp(node.plan.wanted, value, out, inputs)
        return (
            None if x is None else _alive(x, mask, -1),
            None if y is None else _alive(y, mask, -2),
        )

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        (x, y), (first, second) = inputs, tangents
        return add_masked(
            None if first is None else _alive(matmul(first[0], y), first[1], -1),
            None if second is None else _alive(matmul(x, second[0]), second[1], -2),
        )

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        x, y = args
        if batched == (True, False) and x.ndim == 3 and y.ndim == 2:  # one product of all rows
            rows = reshape(x, shape=(x.shape[0] * x.shape[1], x.shape[2]))
            return reshape(matmul(rows, y), shape=(*x.shape[:2], y.shape[1]))
        if batched == (False, True) and x.ndim == 2 and y.ndim == 3 and y.shape[2] == 1:  # one product of all columns
            rows = reshape(y, shape=y.shape[:2])
            return reshape(matmul(rows, matrix_transpose(x)), shape=(y.shape[0], x.shape[0], 1))
        full = batched_all(size, args, batched)
        return self(*full)

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((2, 3), (3, 4)), {}),
            (((2, 2, 3), (2, 3, 1)), {}),
            (((1, 0), (0, 2)), {}),
            (((0, 2), (2, 3)), {}),
            (((2, 0, 2, 3), (2, 0, 3, 1)), {}),
        ]


def _alive(value: Value, mask: Value, axis: int) -> Masked:
    if mask is None:
        return value, None
    some = sum(mask, axis=axis, keepdims=True) > 0
    live = broadcast_to(some, shape=value.shape)
    return where(live, value, 0.0), live


matmul = declare(Matmul)
