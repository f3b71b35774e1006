"""Products of arrays composed of the matrix product: vecdot, tensordot, inner, outer, kron, cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.dtypes import promote
from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import array, contract, linear
from backlit.ops.complex import conj
from backlit.ops.elementwise import mul


@scope
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Products of vectors along `axis`, the other axes broadcasting: the sum of conj(x1) * x2.

    `axis` counts from the end: it is negative, and means the same axis of both.

    Raises:
      ShapeError: the axis differs in length or is out of range, or the other axes do not broadcast.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if not -min(x1.ndim, x2.ndim) <= axis < 0 and not (x1.ndim == x2.ndim and 0 <= axis < x1.ndim):
        raise ShapeError(f"vecdot: axis {axis} is not an axis of both {shown(x1)} and {shown(x2)}{here()}")
    if x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(f"vecdot: axis {axis} differs in length in {shown(x1)} and {shown(x2)}{here()}")
    x1, x2 = _last(x1, axis), _last(x2, axis)
    shape = x1.shape
    if x1.shape != x2.shape:
        try:
            shape = np.broadcast_shapes(x1.shape, x2.shape)
        except ValueError:
            raise ShapeError(f"vecdot: shapes do not broadcast: {shown(x1)} and {shown(x2)}{here()}") from None
        x1, x2 = (linear.broadcast_to(x, shape=shape) for x in (x1, x2))
    out = contract.matmul(
        linear.reshape(conj(x1), shape=(*shape[:-1], 1, shape[-1])), linear.reshape(x2, shape=(*shape, 1))
    )
    return linear.reshape(out, shape=shape[:-1])


def _last(x: Tensor, axis: int) -> Tensor:
    """`x` with `axis` moved to the end."""
    at = axis % x.ndim
    return x if at == x.ndim - 1 else linear.permute_dims(x, axes=(*(a for a in range(x.ndim) if a != at), at))


@scope
def tensordot(x1: Any, x2: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """Sum of products over `axes`, as one product of matrices.

    `axes` is a number n, for the last n axes of `x1` and the first n of `x2` in order, or two sequences of axes that
    belong together. The result has the other axes of `x1`, then those of `x2`.

    Raises:
      ShapeError: axes are out of range, named twice, not as many in both, or differ in length.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    first, second = _paired(x1, x2, axes)
    if [x1.shape[a] for a in first] != [x2.shape[a] for a in second]:
        raise ShapeError(f"tensordot: axes {first} of {shown(x1)} and {second} of {shown(x2)} differ in length{here()}")
    n = math.prod(x1.shape[a] for a in first)
    rows = [a for a in range(x1.ndim) if a not in first]
    columns = [a for a in range(x2.ndim) if a not in second]
    m_shape, n_shape = [x1.shape[a] for a in rows], [x2.shape[a] for a in columns]
    left = linear.reshape(linear.permute_dims(x1, axes=(*rows, *first)), shape=(math.prod(m_shape), n))
    right = linear.reshape(linear.permute_dims(x2, axes=(*second, *columns)), shape=(n, math.prod(n_shape)))
    return linear.reshape(contract.matmul(left, right), shape=(*m_shape, *n_shape))


def _paired(x1: Tensor, x2: Tensor, axes: Any) -> tuple[list[int], list[int]]:
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(x1.ndim, x2.ndim):
            raise ShapeError(f"tensordot: {axes} axes cannot be taken of {shown(x1)} and {shown(x2)}{here()}")
        return list(range(x1.ndim - int(axes), x1.ndim)), list(range(int(axes)))
    pairs = [[a] if isinstance(a, (int, np.integer)) else list(a) for a in axes]
    if len(pairs) != 2 or len(pairs[0]) != len(pairs[1]):
        raise ShapeError(f"tensordot: expected a number, or two sequences of as many axes, got {axes!r}{here()}")
    for x, chosen in zip((x1, x2), pairs, strict=True):
        linear.normalize_axes("tensordot", tuple(chosen), x.ndim)
    return [int(a) % x1.ndim for a in pairs[0]], [int(a) % x2.ndim for a in pairs[1]]


@scope
def inner(x1: Any, x2: Any, /) -> Tensor:
    """Sum of products over the last axis of both; a product with a number where one is 0-d.

    Raises:
      ShapeError: the last axes differ in length.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if not x1.ndim or not x2.ndim:
        return mul(x1, x2)
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"inner: the last axes differ in length: {shown(x1)} and {shown(x2)}{here()}")
    return tensordot(x1, x2, axes=((-1,), (-1,)))


@scope
def dot(x1: Any, x2: Any, /) -> Tensor:
    """NumPy's dot: sum of products over the last axis of `x1` and the last but one of `x2`, or its only one.

    Raises:
      ShapeError: these axes differ in length.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if not x1.ndim or not x2.ndim:
        return mul(x1, x2)
    axis = max(x2.ndim - 2, 0)
    if x1.shape[-1] != x2.shape[axis]:
        raise ShapeError(f"dot: expected [..., k] and [..., k, n], got {shown(x1)} and {shown(x2)}{here()}")
    return tensordot(x1, x2, axes=((-1,), (axis,)))


@scope
def vdot(x1: Any, x2: Any, /) -> Tensor:
    """Sum of the products of all elements, both arrays flattened; complex ones of `x1` are conjugated.

    Raises:
      ShapeError: they have different numbers of elements.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if x1.size != x2.size:
        raise ShapeError(f"vdot: different numbers of elements: {shown(x1)} and {shown(x2)}{here()}")
    return vecdot(linear.reshape(x1, shape=-1), linear.reshape(x2, shape=-1))


@scope
def outer(x1: Any, x2: Any, /) -> Tensor:
    """All products of an element of `x1` and one of `x2`, both flattened: [size of x1, size of x2]."""
    return mul(linear.reshape(x1, shape=(-1, 1)), linear.reshape(x2, shape=(1, -1)))


@scope
def kron(x1: Any, x2: Any, /) -> Tensor:
    """Kronecker product: blocks `x1[i, j] * x2`; the one with fewer axes gets axes of length one in front."""
    x1, x2 = as_tensor(x1), as_tensor(x2)
    n = max(x1.ndim, x2.ndim)
    first = (1,) * (n - x1.ndim) + x1.shape
    second = (1,) * (n - x2.ndim) + x2.shape
    spread = [linear.reshape(x1, shape=[m for a in first for m in (a, 1)])]
    spread.append(linear.reshape(x2, shape=[m for b in second for m in (1, b)]))
    return linear.reshape(mul(*spread), shape=[a * b for a, b in zip(first, second, strict=True)])


@scope
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Cross products of vectors of three along `axis`, the other axes broadcasting.

    Raises:
      ShapeError: an axis is not three long, or the other axes do not broadcast.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    for x in (x1, x2):
        if not -x.ndim <= axis < x.ndim or x.shape[axis] != 3:
            raise ShapeError(f"cross: expected length 3 along axis {axis}, got {shown(x1)} and {shown(x2)}{here()}")
    if axis >= 0 and x1.ndim != x2.ndim:
        raise ShapeError(f"cross: axis {axis} of {shown(x1)} and {shown(x2)} is ambiguous; count from the end{here()}")
    dtype = promote(x1.dtype, x2.dtype)
    a, b = (_last(x if x.dtype == dtype else linear.astype(x, dtype=dtype), axis) for x in (x1, x2))
    turned = [(x[..., [1, 2, 0]], x[..., [2, 0, 1]]) for x in (a, b)]
    out = turned[0][0] * turned[1][1] - turned[0][1] * turned[1][0]
    at = axis % out.ndim
    last = out.ndim - 1
    return linear.permute_dims(out, axes=(*range(at), last, *range(at, last)))


def attach() -> None:
    """Gives Tensor the products as methods."""
    for function in (array.matmul, vecdot, tensordot, inner, dot, vdot, outer, kron, cross):
        setattr(Tensor, function.__name__, function)


attach()
