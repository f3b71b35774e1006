"""Norms, rank and condition of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.arrays.linalg import _tolerance, inv, svdvals
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.ops import elementwise, linear, statistics
from backlit.ops.linalg.common import as_matrices, check_matrices, check_square
from backlit.ops.norm import vector_norm

_ORDERS = ("fro", "nuc", 1, 2, math.inf, -1, -2, -math.inf)


@scope
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norm of the matrices `x: [..., m, n]`.

    `ord` is "fro" (root of the sum of squares), "nuc" (sum of the singular values), 2 and -2 (largest and smallest singular
    value), 1 and -1 (largest and smallest sum of magnitudes of a column), inf and -inf (of a row). Where several are largest
    they share the gradient equally; at a matrix of zeros it is 0.

    Raises:
      ArgumentError: `ord` is none of these.
      ShapeError: there are no elements to choose from.
    """
    x = as_matrices("matrix_norm", x)
    check_matrices("matrix_norm", x)
    if ord not in _ORDERS:
        raise ArgumentError(f"matrix_norm: ord must be one of {', '.join(map(repr, _ORDERS))}, got {ord!r}{here()}")
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord == "nuc":
        out = statistics.sum(svdvals(x), axis=-1)
    else:
        if not x.shape[-1] or not x.shape[-2]:
            raise ShapeError(f"matrix_norm: nothing to choose from in {shown(x)} for ord {ord!r}{here()}")
        sizes = svdvals(x) if abs(ord) == 2 else statistics.sum(elementwise.abs(x), axis=-2 if abs(ord) == 1 else -1)
        out = (statistics.max if ord > 0 else statistics.min)(sizes, axis=-1)
    return linear.reshape(out, shape=(*out.shape, 1, 1)) if keepdims else out


@scope
def matrix_rank(x: Any, /, *, rtol: Any = None) -> Tensor:
    """Number of singular values of `x: [..., m, n]` above `rtol` times the largest, by default max(m, n) eps; an integer."""
    x = as_matrices("matrix_rank", x)
    check_matrices("matrix_rank", x)
    values = svdvals(x).detach()
    if not values.shape[-1]:
        return Tensor(np.zeros(values.shape[:-1], np.int64))
    limit = np.asarray(_tolerance("matrix_rank", x, rtol), values.dtype)[..., None]
    return statistics.sum(values > values[..., :1] * limit, axis=-1)


@scope
def cond(x: Any, /, *, ord: Any = 2) -> Tensor:
    """Condition of `x: [..., m, n]`: for 2 and -2 the ratio of the extreme singular values, else the norms of `x` and its inverse.

    Raises:
      LinAlgError: a matrix is singular and `ord` is neither 2 nor -2, for which the condition is inf.
    """
    x = as_matrices("cond", x)
    check_matrices("cond", x)
    if ord in (2, -2):
        if not x.shape[-1] or not x.shape[-2]:
            raise ShapeError(f"cond: nothing to choose from in {shown(x)}{here()}")
        values = svdvals(x)
        largest, smallest = values[..., 0], values[..., -1]
        return largest / smallest if ord == 2 else smallest / largest
    check_square("cond", x)
    return matrix_norm(x, ord=ord) * matrix_norm(inv(x), ord=ord)
