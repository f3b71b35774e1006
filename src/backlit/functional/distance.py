"""Distances and similarities of vectors, with derivatives that are finite where vectors coincide."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise as ew
from backlit.ops.norm import vector_norm
from backlit.ops.shape import expand_dims
from backlit.ops.statistics import sum


@scope
def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False, *, keepdims: bool = False
) -> Tensor:
    """p-norm of x1 - x2 + eps along the last axis; the other axes broadcast. (PyTorch's function of this name.)

    Where the norm is 0, as for equal vectors without `eps`, its derivative is 0.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    return vector_norm(ew.sub(as_tensor(x1), as_tensor(x2)) + eps, axis=-1, keepdims=keepdim or keepdims, ord=p)


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
    lengths = [ew.maximum(vector_norm(v, axis=at, keepdims=True), eps) for v in (x, y)]
    return sum((x / lengths[0]) * (y / lengths[1]), axis=at)


@scope
def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, *, axis: int | None = None) -> Tensor:
    """`input` divided by its p-norm along `dim`; the norm is held above `eps`."""
    x = as_tensor(input)
    at = dim if axis is None else axis
    return x / ew.maximum(vector_norm(x, axis=at, keepdims=True, ord=p), eps)


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
    return vector_norm(expand_dims(x, axis=-2) - expand_dims(y, axis=-3), axis=-1, ord=p)


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
    return vector_norm(x[first] - x[second], axis=-1, ord=p)
