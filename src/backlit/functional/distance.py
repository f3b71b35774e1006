"""Distances and similarities of vectors, with derivatives that are finite where vectors coincide."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise as ew
from backlit.ops.array import expand_dims
from backlit.ops.statistics import max, sum


def norm(x: Any, p: float = 2.0, *, axis: int = -1, keepdims: bool = False) -> Tensor:
    """The p-norm of `x` along `axis`; where it is 0 its derivative is 0.

    `p` is a non-negative number or infinity; 0 counts what is not 0, with the derivative 0.

    Raises:
      ArgumentError: `p` is negative.
    """
    if not p >= 0:
        raise ArgumentError(f"norm: p must not be negative, got {p}")
    x = as_tensor(x)
    if p == 0:
        return sum((x != 0).astype(x.dtype), axis=axis, keepdims=keepdims)
    if p == 1:
        return sum(ew.abs(x), axis=axis, keepdims=keepdims)
    if p == math.inf:
        return max(ew.abs(x), axis=axis, keepdims=keepdims)
    if p == 2:
        squares = sum(x * x, axis=axis, keepdims=keepdims)
        return ew.where(squares == 0.0, 0.0, ew.sqrt(squares))
    size = ew.abs(x)
    total = sum(
        ew.where(size == 0.0, 0.0, size**p), axis=axis, keepdims=keepdims
    )  # |x|^p has no derivative at 0 for p < 1
    return ew.where(total == 0.0, 0.0, total ** (1.0 / p))


@scope
def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False, *, keepdims: bool = False
) -> Tensor:
    """p-norm of x1 - x2 + eps along the last axis; the other axes broadcast. (PyTorch's function of this name.)

    Where the norm is 0, as for equal vectors without `eps`, its derivative is 0.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    return norm(ew.sub(as_tensor(x1), as_tensor(x2)) + eps, p, keepdims=keepdim or keepdims)


@scope
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8, *, axis: int | None = None) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`; each norm is held above `eps`.

    Shapes:
      x1, x2: broadcast; result: their shape without the axis.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    at = dim if axis is None else axis
    x, y = as_tensor(x1), as_tensor(x2)
    lengths = [ew.maximum(norm(v, axis=at, keepdims=True), eps) for v in (x, y)]
    return sum((x / lengths[0]) * (y / lengths[1]), axis=at)


@scope
def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, *, axis: int | None = None) -> Tensor:
    """`input` divided by its p-norm along `dim`; the norm is held above `eps`."""
    x = as_tensor(input)
    at = dim if axis is None else axis
    return x / ew.maximum(norm(x, p, axis=at, keepdims=True), eps)


@scope
def cdist(x1: Any, x2: Any, p: float = 2.0) -> Tensor:
    """p-norms between all rows: `x1: [..., n, d]` and `x2: [..., m, d]` give `[..., n, m]`.

    By differences, so that near rows keep their digits: n m d numbers are kept for the gradient. The derivative is 0
    where two rows are equal.

    Raises:
      ShapeError: the last axes differ, or an input has fewer than two axes.
    """
    x, y = as_tensor(x1), as_tensor(x2)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"cdist: expected [..., n, d] and [..., m, d], got {shown(x)} and {shown(y)}{here()}")
    return norm(expand_dims(x, axis=-2) - expand_dims(y, axis=-3), p)


@scope
def pdist(input: Any, p: float = 2.0) -> Tensor:
    """p-norms between each two different rows of `input: [n, d]`, in the order (0, 1), (0, 2) ... (n - 2, n - 1).

    Raises:
      ShapeError: `input` is not a matrix.
    """
    x = as_tensor(input)
    if x.ndim != 2:
        raise ShapeError(f"pdist: expected [n, d], got {shown(x)}{here()}")
    first, second = np.triu_indices(x.shape[0], 1)
    return norm(x[first] - x[second], p)
