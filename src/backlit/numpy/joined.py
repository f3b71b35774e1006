"""NumPy's functions that join and cut arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.numpy.views import cast, known, lift
from backlit.ops import linear, shape


def concatenate(arrays: Sequence[Tensor], axis: int | None = 0, dtype: Any = None) -> Tensor:
    """Arrays joined along `axis`; flattened first when None."""
    return shape.concat([cast(a, dtype) for a in arrays], axis=axis)


def stack(arrays: Sequence[Tensor], axis: int = 0, dtype: Any = None) -> Tensor:
    """Arrays of one shape along a new axis."""
    return shape.stack([cast(a, dtype) for a in arrays], axis=axis)


def vstack(arrays: Sequence[Tensor], dtype: Any = None) -> Tensor:
    """Arrays below each other, vectors as rows."""
    return concatenate([shape.atleast_2d(a) for a in arrays], 0, dtype)


def hstack(arrays: Sequence[Tensor], dtype: Any = None) -> Tensor:
    """Arrays beside each other."""
    found = [shape.atleast_1d(a) for a in arrays]
    return concatenate(found, 0 if found and found[0].ndim == 1 else 1, dtype)


def dstack(arrays: Sequence[Tensor]) -> Tensor:
    """Arrays behind each other, along the third axis."""
    return concatenate([shape.atleast_3d(a) for a in arrays], 2)


def column_stack(arrays: Sequence[Tensor]) -> Tensor:
    """Vectors as columns of a matrix, matrices beside them."""
    return concatenate([a if a.ndim > 1 else shape.reshape(a, (a.size, 1)) for a in arrays], 1)


def block(arrays: Any) -> Tensor:
    """Arrays joined from nested lists, the innermost along the last axis."""
    depth, ndim = _depth(arrays), _most_axes(arrays)
    return _joined(arrays, depth, max(depth, ndim))


def _depth(arrays: Any) -> int:
    return 1 + max((_depth(a) for a in arrays), default=0) if isinstance(arrays, list) else 0


def _most_axes(arrays: Any) -> int:
    return max((_most_axes(a) for a in arrays), default=0) if isinstance(arrays, list) else lift(arrays, "block").ndim


def _joined(arrays: Any, depth: int, ndim: int) -> Tensor:
    if isinstance(arrays, list):
        return concatenate([_joined(a, depth - 1, ndim) for a in arrays], -depth)
    return _as_many(lift(arrays, "block"), ndim)


def append(x: Tensor, values: Tensor, axis: int | None = None) -> Tensor:
    """`x` with `values` behind it along `axis`, both flattened when None."""
    return concatenate([x, values], axis)


def insert(x: Tensor, places: Any, values: Tensor, axis: int | None = None) -> Tensor:
    """`x` with `values` before the positions `places` along `axis`, flattened first when None."""
    x = shape.ravel(x) if axis is None else x
    (at,) = linear.normalize_axes("insert", axis or 0, x.ndim)
    n, found = x.shape[at], np.asarray(known(places, "insert"))
    spots = found.reshape(-1).astype(np.int64)
    if spots.size and (spots.min() < -n or spots.max() > n):
        raise ShapeError(f"np.insert: {spots.tolist()} are not all positions along axis {at} of {shown(x)}{here()}")
    spots = np.where(spots < 0, spots + n, spots)
    values = linear.astype(values, dtype=x.dtype)
    if found.ndim == 0:  # one place for all that `values` has along the axis
        values = (
            shape.moveaxis(_as_many(values, x.ndim), 0, at)
            if values.ndim <= x.ndim and values.ndim
            else _as_many(values, x.ndim)
        )
        spots = np.repeat(spots, values.shape[at])
    lengths = [spots.size if i == at else m for i, m in enumerate(x.shape)]
    spread = linear.broadcast_to(_as_many(values, x.ndim), shape=tuple(lengths))
    order = np.argsort(np.concatenate([np.arange(n) * 2 + 1, spots * 2]), kind="stable")
    together = shape.concat([x, spread], axis=at)
    return together[(*(slice(None),) * at, order)]


def _as_many(x: Tensor, ndim: int) -> Tensor:
    return shape.reshape(x, (*(1,) * (ndim - x.ndim), *x.shape))


def delete(x: Tensor, places: Any, axis: int | None = None) -> Tensor:
    """`x` without the positions `places` (integers, a slice or a mask) along `axis`, flattened first when None."""
    x = shape.ravel(x) if axis is None else x
    (at,) = linear.normalize_axes("delete", axis or 0, x.ndim)
    kept = np.delete(np.arange(x.shape[at]), known(places, "delete"))
    return x[(*(slice(None),) * at, kept)]


def _cuts(sections: Any) -> Any:
    found = np.asarray(known(sections, "split"))
    return int(found) if found.ndim == 0 else [int(k) for k in found]


def split(x: Tensor, sections: Any, axis: int = 0) -> list[Tensor]:
    """`x` cut along `axis` into so many equal sections, or at these positions."""
    return shape.split(x, _cuts(sections), axis)


def array_split(x: Tensor, sections: Any, axis: int = 0) -> list[Tensor]:
    """As `split`, but sections may differ by one in length."""
    return shape.array_split(x, _cuts(sections), axis)


def hsplit(x: Tensor, sections: Any) -> list[Tensor]:
    """`x` cut along its second axis, a vector along its only one."""
    return split(x, sections, 1 if x.ndim > 1 else 0)


def vsplit(x: Tensor, sections: Any) -> list[Tensor]:
    """`x` cut along its first axis."""
    return split(x, sections, 0)


def dsplit(x: Tensor, sections: Any) -> list[Tensor]:
    """`x` cut along its third axis."""
    return split(x, sections, 2)


class _Joiner:
    """`np.r_[...]` and `np.c_[...]`: pieces, ranges as slices among them, joined along the last axis or as columns."""

    def __init__(self, columns: bool) -> None:
        self._columns = columns

    def __getitem__(self, key: Any) -> Tensor:
        pieces = [shape.atleast_1d(_piece(k)) for k in (key if isinstance(key, tuple) else (key,))]
        return column_stack(pieces) if self._columns else shape.concat(pieces, axis=0)


def _piece(key: Any) -> Tensor:
    if isinstance(key, slice):
        return Tensor(np.r_[key])
    if isinstance(key, str):
        raise ShapeError(f"np.r_: directives such as {key!r} are not supported; use concatenate{here()}")
    return lift(key, "r_")


r_, c_ = _Joiner(columns=False), _Joiner(columns=True)
