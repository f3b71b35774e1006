"""Where eigenvalues or singular values coincide, so that their vectors are not determined and have no derivative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import GradientError
from backlit.core.op import Op, Value, declare
from backlit.core.source import here
from backlit.core.tensor import as_tensor
from backlit.ops.linear import astype, batched_all


class Coincident(Op):
    """Which pairs of the values `x: [..., n]` are equal to within rounding: `out: [..., n, n]`, false on the diagonal.

    Equal means up to n eps times the largest. With `zero` the diagonal says which values are 0 in that sense. A cotangent
    that must be divided by such a difference is an error: `y: [..., n]` says of which vectors the cotangent is alive, and
    `who` asks, which may be "" where the caller marks the places itself.

    Raises:
      GradientError: a pair is equal, or a value is 0, of which a vector is alive.
    """

    name, notation = "coincident", r"[{x}_i = {x}_j]"
    inputs = ("x", "y")
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return math.prod(out)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = map(as_tensor, args)
        return x, y if y.dtype == bool else astype(y, dtype=bool)

    @staticmethod
    def forward(x: Any, y: Any, *, who: str, zero: bool) -> Any:
        n = x.shape[-1]
        size = np.abs(x)
        near = n * np.finfo(x.dtype).eps * np.max(size, axis=-1, keepdims=True, initial=0)
        found = np.abs(x[..., :, None] - x[..., None, :]) <= near[..., None]
        own = np.arange(n)
        found[..., own, own] = size <= near if zero else False
        if who:
            wrong = np.argwhere(found & (y[..., :, None] | y[..., None, :]))
            if wrong.size:
                *at, i, j = map(int, wrong[0])
                matrix = f"matrix {at} of the batch" if at else "the matrix"
                what = f"{i} of {matrix} is 0" if i == j else f"{i} and {j} of {matrix} are equal"
                kind, only = ("eigenvalues", "eigvalsh") if who == "eigh" else ("singular values", "svdvals")
                kind = kind[:-1] if i == j else kind
                raise GradientError(
                    f"{who}: {kind} {what} to within rounding ({x[(*at, i)]:.6g}), so that the vectors are not determined "
                    f"and have no derivative; use {only} where the values alone are needed{here()}"
                )
        return found

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        shape = avals[0].shape
        return Aval((*shape, shape[-1]), np.dtype(bool))

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(*batched_all(size, args, batched), **params)

    def samples(self) -> list[tuple[Any, ...]]:
        x = np.array([1.0, 2.0, 1.0, 0.0])
        return [
            ((x, np.zeros(4, bool)), {"who": "eigh", "zero": False}),
            ((x, np.ones(4, bool)), {"who": "", "zero": True}),
            (((0, 3), np.ones((0, 3), bool)), {"who": "svd", "zero": True}),
        ]


coincident = declare(Coincident)
