"""Functions that give arrays other shapes, with the array API's signatures: views, copies and joins of elements."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float, promote
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, stacked
from backlit.ops import contract, linear
from backlit.ops.indexing import WHOLE, index

Axis = int | tuple[int, ...] | None


def reshape(x: Any, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Tensor:
    """The elements of `x` in `shape`, of which one length may be -1.

    A value is never written to while another refers to it, so whether it is copied (`copy`) makes no difference.
    """
    return linear.reshape(x, shape=shape)


def ravel(x: Any, /) -> Tensor:
    """`x` with all its axes made one."""
    return linear.reshape(x, shape=(-1,)) if as_tensor(x).size else linear.reshape(x, shape=(0,))


def flatten(x: Any, /, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """`x` with the axes from `start_dim` to `end_dim` (included) made one.

    Raises:
      ShapeError: an axis is out of range, or the first comes behind the last.
    """
    x = as_tensor(x)
    if not x.ndim:
        return reshape(x, (1,))
    (start,), (end,) = (linear.normalize_axes("flatten", a, x.ndim) for a in (start_dim, end_dim))
    if start > end:
        raise ShapeError(f"flatten: start_dim {start_dim} comes behind end_dim {end_dim} in {shown(x)}{here()}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def unflatten(x: Any, /, dim: int, sizes: Sequence[int]) -> Tensor:
    """`x` with the axis `dim` made several, of lengths `sizes`, one of which may be -1."""
    x = as_tensor(x)
    (at,) = linear.normalize_axes("unflatten", dim, x.ndim)
    sizes, known = tuple(sizes), math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and x.shape[at] % known == 0:
        sizes = tuple(x.shape[at] // known if n == -1 else n for n in sizes)
    if any(n < 0 for n in sizes) or math.prod(sizes) != x.shape[at]:
        raise ShapeError(f"unflatten: axis {at} of {shown(x)} cannot be made {list(sizes)}{here()}")
    return reshape(x, (*x.shape[:at], *sizes, *x.shape[at + 1 :]))


def broadcast_to(x: Any, /, shape: int | Sequence[int]) -> Tensor:
    """`x` repeated to `shape`, as a view."""
    return linear.broadcast_to(x, shape=(shape,) if isinstance(shape, (int, np.integer)) else tuple(shape))


def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """The arrays, each repeated to the shape that they have together.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    tensors = [as_tensor(a) for a in arrays]
    shape = broadcast_shapes(*(t.shape for t in tensors))
    return [t if t.shape == shape else linear.broadcast_to(t, shape=shape) for t in tensors]


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape of an elementwise result for operands of these shapes.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(str(s if isinstance(s, int) else list(s)) for s in shapes)
        raise ShapeError(f"broadcast: shapes do not broadcast: {listed}; see reshape and expand_dims{here()}") from None


def permute_dims(x: Any, /, axes: Sequence[int]) -> Tensor:
    """`x` with its axes in the order `axes`, as a view."""
    return linear.permute_dims(x, axes=tuple(axes))


def matrix_transpose(x: Any, /) -> Tensor:
    """`x: [..., m, n]` with its last two axes exchanged."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: expected at least two axes, got {shown(x)}{here()}")
    return contract.matrix_transpose(x)  # type: ignore[no-any-return]


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int], /) -> Tensor:
    """`x` with the axes `source` brought to the places `destination`, the others in their order around them.

    Raises:
      ShapeError: an axis is out of range or named twice, or there are not as many sources as destinations.
    """
    x = as_tensor(x)
    start, to = _each_axis("moveaxis", source, x.ndim), _each_axis("moveaxis", destination, x.ndim)
    if len(start) != len(to):
        raise ShapeError(f"moveaxis: {len(start)} axes cannot go to {len(to)} places{here()}")
    order = [a for a in range(x.ndim) if a not in start]
    for place, axis in sorted(zip(to, start, strict=True)):
        order.insert(place, axis)
    return x if order == list(range(x.ndim)) else permute_dims(x, order)


def _each_axis(name: str, axis: int | Sequence[int], ndim: int) -> list[int]:
    """Axes as non-negative numbers in the order given, no one twice."""
    axes: list[Any] = list(axis) if isinstance(axis, (tuple, list)) else [axis]
    linear.normalize_axes(name, axes, ndim)
    return [operator.index(a) % ndim for a in axes]


def swapaxes(x: Any, axis1: int, axis2: int, /) -> Tensor:
    """`x` with two axes exchanged, as a view."""
    x = as_tensor(x)
    (a,), (b,) = (linear.normalize_axes("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return x if a == b else permute_dims(x, order)


def expand_dims(x: Any, /, *, axis: int | Sequence[int] = 0) -> Tensor:
    """`x` with a new axis of length one at `axis`; at each of several, counted in the result."""
    x = as_tensor(x)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    places = linear.normalize_axes("expand_dims", axis, x.ndim + count)
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in places else next(rest) for i in range(x.ndim + count)))


def squeeze(x: Any, /, axis: Axis = None) -> Tensor:
    """`x` without the axes `axis`, which have length one; without all that have when None.

    Raises:
      ShapeError: an axis is not of length one.
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    axes = linear.normalize_axes("squeeze", axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ShapeError(f"squeeze: an axis of {list(axes)} is not of length one in {shown(x)}{here()}")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Tensor:
    """Arrays joined along `axis`; flattened first when None."""
    if axis is None:
        return linear.concat(*(ravel(a) for a in arrays), axis=0)
    return linear.concat(*arrays, axis=axis)


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape along a new axis.

    Raises:
      ShapeError: there are none, or their shapes differ.
    """
    tensors = [as_tensor(a) for a in arrays]
    if len({t.shape for t in tensors}) != 1:
        listed = ", ".join(map(shown, tensors)) or "none"
        raise ShapeError(f"stack: expected arrays of one shape, got {listed}{here()}")
    return concat([expand_dims(t, axis=axis) for t in tensors], axis=axis)


def split(
    x: Any,
    /,
    indices_or_sections: int | Sequence[int] | None = None,
    axis: int = 0,
    *,
    sizes: Sequence[int] | None = None,
) -> list[Tensor]:
    """`x` cut along `axis`, as NumPy does: into so many equal sections, or at these positions.

    `sizes` gives the lengths of the parts instead.

    Raises:
      ShapeError: there are no equal sections, or the sizes do not sum to the length of the axis.
      ArgumentError: neither or both ways to cut are given.
    """
    x = as_tensor(x)
    (at,) = linear.normalize_axes("split", axis, x.ndim)
    n = x.shape[at]
    if (indices_or_sections is None) == (sizes is None):
        raise ArgumentError(f"split: give sections, positions, or sizes=[...]{here()}")
    if sizes is not None:
        if any(s < 0 for s in sizes) or sum(sizes) != n:
            raise ShapeError(f"split: sizes {list(sizes)} do not sum to {n}, axis {at} of {shown(x)}{here()}")
        cuts = list(np.cumsum([0, *sizes]))
    elif isinstance(indices_or_sections, (int, np.integer)):
        sections = int(indices_or_sections)
        if sections < 1 or n % sections:
            raise ShapeError(
                f"split: axis {at} of {shown(x)} has no {sections} equal sections; see array_split{here()}"
            )
        cuts = [k * (n // sections) for k in range(sections + 1)]
    else:
        return _cut(x, at, [0, *map(operator.index, indices_or_sections or ())], None)
    return _cut(x, at, cuts[:-1], cuts[-1])


def array_split(x: Any, /, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """As `split`, but sections may differ by one in length, the longer ones first."""
    if not isinstance(indices_or_sections, (int, np.integer)):
        return split(x, indices_or_sections, axis)
    x, sections = as_tensor(x), int(indices_or_sections)
    (at,) = linear.normalize_axes("array_split", axis, x.ndim)
    if sections < 1:
        raise ShapeError(f"array_split: expected at least one section, got {sections}{here()}")
    each, more = divmod(x.shape[at], sections)
    return split(x, axis=at, sizes=[each + (k < more) for k in range(sections)])


def chunk(x: Any, /, chunks: int, axis: int = 0) -> list[Tensor]:
    """`x` cut along `axis` into at most `chunks` parts of one length, the last of which may be shorter (PyTorch)."""
    x = as_tensor(x)
    (at,) = linear.normalize_axes("chunk", axis, x.ndim)
    if chunks < 1:
        raise ShapeError(f"chunk: expected at least one part, got {chunks}{here()}")
    n = x.shape[at]
    size = -(-n // chunks)
    return split(x, axis=at, sizes=[min(size, n - k) for k in range(0, n, size)] if n else [0] * chunks)


def _cut(x: Tensor, axis: int, starts: Sequence[int], end: int | None) -> list[Tensor]:
    bounds = [*map(int, starts), end]
    before, after = (WHOLE,) * axis, (WHOLE,) * (x.ndim - axis - 1)
    return [index(x, index=(*before, ("slice", a, b, None), *after)) for a, b in itertools.pairwise(bounds)]


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The arrays of which `x` is the stack along `axis`."""
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError(f"unstack: expected at least one axis, got {shown(x)}{here()}")
    (at,) = linear.normalize_axes("unstack", axis, x.ndim)
    before, after = (WHOLE,) * at, (WHOLE,) * (x.ndim - at - 1)
    return tuple(index(x, index=(*before, k, *after)) for k in range(x.shape[at]))


def flip(x: Any, /, *, axis: Axis = None) -> Tensor:
    """`x` with the order of its elements along `axis` turned round; along every axis when None."""
    x = as_tensor(x)
    axes = linear.normalize_axes("flip", axis, x.ndim)
    if not axes:
        return x  # type: ignore[no-any-return]
    return index(x, index=tuple(("slice", None, None, -1 if i in axes else None) for i in range(x.ndim)))


def roll(x: Any, /, shift: int | Sequence[int], *, axis: Axis = None) -> Tensor:
    """`x` with its elements moved on by `shift` along `axis`, those beyond the end coming in at the start.

    Flattened for the purpose when `axis` is None; with tuples, by each shift along its axis.

    Raises:
      ShapeError: there are not as many shifts as axes, or an axis is out of range.
    """
    x = as_tensor(x)
    if axis is None:
        total = sum(shift) if isinstance(shift, (tuple, list)) else shift
        return reshape(roll(ravel(x), total, axis=0), x.shape)
    axes = list(axis) if isinstance(axis, (tuple, list)) else [axis]
    shifts: list[Any] = list(shift) if isinstance(shift, (tuple, list)) else [shift] * len(axes)
    axes = axes * len(shifts) if len(axes) == 1 else axes
    if len(axes) != len(shifts):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes{here()}")
    for by, along in zip(shifts, axes, strict=True):
        (at,) = linear.normalize_axes("roll", along, x.ndim)
        n = x.shape[at]
        if n and (start := -operator.index(by) % n):
            x = linear.concat(*_cut(x, at, [0, start], None)[::-1], axis=at)
    return x  # type: ignore[no-any-return]


def tile(x: Any, repetitions: int | Sequence[int], /) -> Tensor:
    """`x` laid out `repetitions` times along each axis, the missing ones of `x` or of these in front."""
    x = as_tensor(x)
    counts = tuple(repetitions) if isinstance(repetitions, (tuple, list)) else (repetitions,)
    if any(n < 0 for n in counts):
        raise ShapeError(f"tile: a negative number of repetitions in {list(counts)}{here()}")
    ndim = max(x.ndim, len(counts))
    counts = (*(1,) * (ndim - len(counts)), *counts)
    shape = (*(1,) * (ndim - x.ndim), *x.shape)
    if all(c == 1 for c in counts):
        return reshape(x, shape)
    apart = reshape(x, tuple(length for n in shape for length in (1, n)))
    spread = linear.broadcast_to(
        apart, shape=tuple(length for c, n in zip(counts, shape, strict=True) for length in (c, n))
    )
    return reshape(spread, tuple(c * n for c, n in zip(counts, shape, strict=True)))


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Every element of `x` `repeats` times along `axis`, flattened first when None; `repeats` may be one count for each.

    Raises:
      ShapeError: the counts are negative, or not one for each element of the axis.
      DTypeError: they are not integers.
      TraceError: they are traced, so that the length of the result is not known.
    """
    x = ravel(x) if axis is None else as_tensor(x)
    (at,) = linear.normalize_axes("repeat", axis or 0, x.ndim)
    n = x.shape[at]
    counts = repeats._concrete() if isinstance(repeats, Tensor) else np.asarray(repeats)
    if counts.dtype.kind not in "iu" and counts.size:
        raise DTypeError(f"repeat: counts must be integers, got {counts.dtype}{list(counts.shape)}{here()}")
    if counts.ndim > 1 or (counts.size != 1 and counts.shape != (n,)) or (counts < 0).any():
        raise ShapeError(f"repeat: expected one count or {n} that are not negative, got {counts.tolist()}{here()}")
    if counts.size == 1:
        count = int(counts.reshape(()))
        before, after = x.shape[:at], x.shape[at + 1 :]
        apart = reshape(x, (*before, n, 1, *after))
        spread = linear.broadcast_to(apart, shape=(*before, n, count, *after))
        return reshape(spread, (*before, n * count, *after))
    picked = np.repeat(np.arange(n), counts.astype(np.int64))
    return x[(*(slice(None),) * at, picked)]  # type: ignore[no-any-return]


def rot90(x: Any, /, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """`x` turned by `k` quarters in the plane of two axes, from the first to the second.

    Raises:
      ShapeError: `axes` are not two different axes of `x`.
    """
    x = as_tensor(x)
    plane = _each_axis("rot90", tuple(axes), x.ndim)
    if len(plane) != 2:
        raise ShapeError(f"rot90: expected two axes, got {list(axes)}{here()}")
    first, second = plane
    k %= 4
    if k == 0:
        return x  # type: ignore[no-any-return]
    if k == 2:
        return flip(x, axis=(first, second))
    turned = swapaxes(x, first, second)
    return flip(turned, axis=first if k == 1 else second)


def atleast_1d(x: Any, /) -> Tensor:
    """`x` with one axis if it has none."""
    x = as_tensor(x)
    return x if x.ndim else reshape(x, (1,))


def atleast_2d(x: Any, /) -> Tensor:
    """`x` with at least two axes, new ones in front."""
    x = as_tensor(x)
    return x if x.ndim > 1 else reshape(x, (1, x.size))


def atleast_3d(x: Any, /) -> Tensor:
    """`x` with at least three axes: a vector in the middle, a matrix in front."""
    x = as_tensor(x)
    if x.ndim > 2:
        return x  # type: ignore[no-any-return]
    return reshape(x, (*x.shape, 1) if x.ndim == 2 else (1, x.size, 1))


def nested(data: Sequence[Any]) -> Tensor:
    """One tensor of a nested list in which some leaves are tensors; each level is an axis."""
    parts = [nested(x) if isinstance(x, (list, tuple)) else x for x in data]
    tensors = [x for x in parts if isinstance(x, Tensor)]
    dtype = functools.reduce(promote, (t.dtype for t in tensors))
    numbers = np.result_type(dtype, *(x for x in parts if not isinstance(x, Tensor))) if is_float(dtype) else dtype
    return stack([x if isinstance(x, Tensor) else Tensor(np.asarray(x, numbers)) for x in parts])


stacked.append(nested)
