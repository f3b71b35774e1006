"""Norms of vectors: safe at 0, where their derivative is 0, and against overflow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import accumulator, is_float, real_dtype
from backlit.core.op import Value, declare
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import reduce
from backlit.ops.complex import conj
from backlit.ops.elementwise import abs, equal, not_equal, sign, where
from backlit.ops.linear import astype, normalize_axes, sum
from backlit.ops.reduce import Smooth, spread


class Norm(Smooth):
    """(sum |x|^p)^(1/p) over `axis` for a number p that is neither 0 nor infinite; 0 over no elements.

    A primitive for its accuracy and memory: elements are scaled by a power of two where their powers would overflow or
    vanish, and nothing but `x` and `out` is kept. The derivative, sign(x) (|x| / out)^(p - 1), is 0 in an element that is 0
    and where all are.
    """

    name, notation = "norm", r"\lVert {x} \rVert"
    empty, ordered = True, False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 2 * math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, *, p: float, axis: tuple[int, ...], keepdims: bool) -> Any:
        size = np.abs(x.astype(accumulator(x.dtype), copy=False))
        total = _powers(size, p, axis)
        info = np.finfo(size.dtype)
        if np.all((total >= info.tiny / info.eps**2) & (total <= info.max)):
            out = total ** (1 / p) if p != 2 else np.sqrt(total)
        else:
            extreme = np.max(size, axis=axis, keepdims=True, initial=0) if p > 0 else np.min(
                size, axis=axis, keepdims=True, initial=np.inf
            )  # fmt: skip
            usual = (extreme > 0) & np.isfinite(extreme)
            scale = np.ldexp(size.dtype.type(1), np.where(usual, np.frexp(extreme)[1] - 1, 0))
            total = _powers(size / scale, p, axis)
            out = (total ** (1 / p) if p != 2 else np.sqrt(total)) * scale
        out = out.astype(real_dtype(x.dtype), copy=False)
        return out if keepdims else np.squeeze(out, axis)[()]

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(super().abstract(*avals, **params).shape, real_dtype(avals[0].dtype))

    def slope(self, x: Value, out: Value, **params: Any) -> Value:
        p, total = params["p"], spread(out, x, params["axis"])
        if p == 2:
            return where(equal(total, 0.0), 0.0, conj(x) / total)
        return where(equal(x, 0.0), 0.0, conj(sign(x)) * (abs(x) / total) ** (p - 1.0))

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((2, 3),), {"p": 2.0, "axis": (0,)}),
            (((3, 2, 2),), {"p": 3.0, "axis": (0, 2), "keepdims": True}),
            (((3, 2),), {"p": 0.5, "axis": -1}),
            (((3,),), {"p": -1.0}),
            (((),), {"p": 2.0}),
            (((0, 2),), {"p": 2.0, "axis": 0}),
        ]


def _powers(size: Any, p: float, axis: tuple[int, ...]) -> Any:
    return np.sum(size * size if p == 2 else size**p, axis=axis, keepdims=True)


norm = declare(Norm)


def vector_norm(
    x: Any, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """Norm of the vectors along `axis`, of all elements as one vector when None.

    `ord` is 2 (Euclidean), 1 (sum of magnitudes), inf and -inf (largest and smallest magnitude), 0 (how many elements are not
    zero; no gradient) or another number p, (sum |x|^p)^(1/p). Nothing overflows or vanishes on the way. Where a vector is 0
    the derivative is 0; equal largest magnitudes share it equally. Integers give floats.

    Raises:
      ShapeError: `ord` is -inf and there are no elements, or an axis is out of range.
    """
    x = as_tensor(x)
    x = x if is_float(x.dtype) else astype(x, dtype=np.float64)
    if ord == 0:
        return astype(sum(not_equal(x, 0), axis=axis, keepdims=keepdims), dtype=abs(x).dtype)
    some = all(x.shape[a] for a in normalize_axes("vector_norm", axis, x.ndim))
    if ord == 1 or (ord == float("inf") and not some):
        return sum(abs(x), axis=axis, keepdims=keepdims)
    if ord == float("inf"):
        return reduce.max(abs(x), axis=axis, keepdims=keepdims)
    if ord == float("-inf"):
        return reduce.min(abs(x), axis=axis, keepdims=keepdims)
    return norm(x, p=float(ord), axis=axis, keepdims=keepdims)
