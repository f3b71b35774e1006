"""Functions that NumPy has beyond the array API, composed of backlit's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.numpy.views import WEAK, known, lift, lift_all
from backlit.ops import (
    array,
    complex,
    elementwise,
    linear,
    padding,
    picking,
    rounding,
    shape,
    sorting,
)
from backlit.ops.at import At, like
from backlit.ops.einsum import einsum

Axis = int | tuple[int, ...] | None


def floating(x: Tensor) -> Tensor:
    return x if is_float(x.dtype) else linear.astype(x, dtype=np.float64)


def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Tensor:
    """`array` with elements added at both ends of each axis, in NumPy's modes."""
    return padding.pad(lift(array), pad_width, mode, **kwargs)


def transpose(x: Tensor, *, axes: Any = None) -> Tensor:
    """`x` with its axes in the order `axes`, turned round when None."""
    return shape.permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else axes)


def rollaxis(x: Tensor, axis: int, *, start: int = 0) -> Tensor:
    """`x` with `axis` brought before the axis that is at `start`."""
    (at,) = linear.normalize_axes("rollaxis", axis, x.ndim)
    to = start + x.ndim if start < 0 else start
    return shape.moveaxis(x, at, to - (at < to))


def broadcast_arrays(*arrays: Any) -> tuple[Tensor, ...]:
    """The arrays, each repeated to the shape that they have together."""
    return tuple(shape.broadcast_arrays(*(lift(a) for a in arrays)))


def _each(one: Callable[[Any], Tensor]) -> Callable[..., Any]:
    def apply(*arrays: Any) -> Any:
        found = tuple(one(lift(a)) for a in arrays)
        return found[0] if len(found) == 1 else found

    apply.__doc__ = one.__doc__
    return apply


atleast_1d, atleast_2d, atleast_3d = _each(shape.atleast_1d), _each(shape.atleast_2d), _each(shape.atleast_3d)


def fliplr(x: Tensor) -> Tensor:
    """`x` with its columns in the opposite order."""
    return shape.flip(x, axis=1)


def flipud(x: Tensor) -> Tensor:
    """`x` with its rows in the opposite order."""
    return shape.flip(x, axis=0)


def resize(x: Tensor, new_shape: Any) -> Tensor:
    """`x` in another shape, its elements repeated as often as they are needed."""
    sizes = (new_shape,) if isinstance(new_shape, (int, np.integer)) else tuple(new_shape)
    wanted, flat = math.prod(sizes), shape.ravel(x)
    if not flat.size:
        return Tensor(np.zeros(sizes, x.dtype))
    return shape.reshape(shape.tile(flat, -(-wanted // flat.size))[:wanted], sizes)


def copy(x: Tensor) -> Tensor:
    """`x` in a tensor of its own; gradients go through."""
    return x.clone()


def astype(x: Tensor, dtype: Any) -> Tensor:
    """`x` with another dtype."""
    return linear.astype(x, dtype=dtype)


def sort(x: Tensor, *, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Tensor:
    """The elements along `axis` in rising order, of the flattened array when None; always by a stable sort."""
    return sorting.sort(shape.ravel(x) if axis is None else x, axis=-1 if axis is None else axis)


def argsort(x: Tensor, *, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Tensor:
    """The positions that put the elements along `axis` in rising order; always by a stable sort."""
    return sorting.argsort(shape.ravel(x) if axis is None else x, axis=-1 if axis is None else axis)


def where(condition: Any, *branches: Any) -> Any:
    """`x` where `condition` is true, else `y`; with the condition alone its positions that are true."""
    if not branches:
        return sorting.nonzero(lift(condition))
    if len(branches) != 2:
        raise ArgumentError(f"np.where: give both x and y, or neither{here()}")
    return elementwise.where(lift(condition), *lift_all(branches, "where"))


def compress(condition: Tensor, x: Tensor, *, axis: int | None = None) -> Tensor:
    """The parts of `x` along `axis` where `condition` is true, of the flattened array when None."""
    picked = np.flatnonzero(known(condition, "compress"))
    return picking.take(x, picked, axis=axis)


def extract(condition: Tensor, x: Tensor) -> Tensor:
    """The elements of the flattened `x` where `condition` is true."""
    return compress(shape.ravel(condition), x)


def choose(which: Tensor, choices: Any) -> Tensor:
    """For each place the element of the choice with that number."""
    options = list(choices) if isinstance(choices, Tensor) else [lift(c) for c in choices]
    which, *rest = shape.broadcast_arrays(which, *options)
    return picking.take_along_axis(shape.stack(rest), which[None], axis=0)[0]


def select(conditions: Sequence[Any], choices: Sequence[Any], *, default: Any = 0) -> Tensor:
    """For each place the first choice of which the condition is true, else `default`."""
    if len(conditions) != len(choices):
        raise ArgumentError(f"np.select: {len(conditions)} conditions for {len(choices)} choices{here()}")
    out = default
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        out = where(condition, choice, out)
    return lift(out)


def piecewise(x: Tensor, conditions: Any, functions: Sequence[Any], *args: Any, **kwargs: Any) -> Tensor:
    """For each place the function (or number) of the last condition that is true; one more for where none is."""
    stacked = list(lift(conditions)) if not isinstance(conditions, (list, tuple)) else [lift(c) for c in conditions]
    if len(functions) not in (len(stacked), len(stacked) + 1):
        raise ArgumentError(f"np.piecewise: {len(functions)} functions for {len(stacked)} conditions{here()}")
    results = [f(x, *args, **kwargs) if callable(f) else f for f in functions]
    out = elementwise.where(Tensor(np.zeros(x.shape, bool)), x, results.pop() if len(results) > len(stacked) else 0)
    for condition, result in zip(stacked, results, strict=True):
        out = elementwise.where(condition, result, out)
    return linear.astype(out, dtype=x.dtype)


def put_along_axis(x: Any, indices: Tensor, values: Any, *, axis: int = -1) -> None:
    """Writes `values` at the positions `indices` along `axis` into the tensor `x`."""
    _target("put_along_axis", x)[...] = picking.put_along_axis(x, indices, values, axis=axis)


def _target(name: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise ArgumentError(f"np.{name}: expected a tensor to write to, got {type(x).__name__}{here()}")
    return x


def put(x: Any, indices: Tensor, values: Any) -> None:
    """Writes `values`, repeated as needed, at positions of the flattened tensor `x`."""
    flat = shape.ravel(_target("put", x))
    new = At(flat, (shape.ravel(indices),)).set(resize(like(x, values), indices.size))
    x[...] = shape.reshape(new, x.shape)


def putmask(x: Any, mask: Tensor, values: Any) -> None:
    """Writes where `mask` is true the elements of `values`, repeated as needed, that lie at the same positions."""
    _target("putmask", x)[...] = elementwise.where(mask, resize(like(x, values), x.shape), x)


def place(x: Any, mask: Tensor, values: Tensor) -> None:
    """Writes `values`, one after the other and repeated as needed, where `mask` is true."""
    put(_target("place", x), Tensor(np.flatnonzero(known(mask, "place"))), values)


def copyto(target: Any, source: Tensor) -> None:
    """Writes `source`, broadcast, over all of the tensor `target`."""
    _target("copyto", target)[...] = source


def fill_diagonal(x: Any, value: Any) -> None:
    """Writes `value` on the diagonal of the tensor `x`."""
    n = min(_target("fill_diagonal", x).shape)
    x[(np.arange(n),) * x.ndim] = resize(like(x, value), n) if not isinstance(value, WEAK) else value


def diagflat(x: Tensor, *, k: int = 0) -> Tensor:
    """The matrix with the elements of `x` on its diagonal `k`."""
    return picking.diag(shape.ravel(x), k)


def meshgrid(*arrays: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tensor, ...]:
    """The coordinates of a grid from one vector for each of its axes; of length one along the others when `sparse`."""
    grids = picking.meshgrid(*(lift(a) for a in arrays), indexing=indexing)
    if not sparse:
        return grids
    order = list(range(len(grids)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    return tuple(g[tuple(slice(None) if i == at else slice(0, 1) for i in order)] for at, g in enumerate(grids))


def lifted_einsum(*operands: Any, optimize: Any = True) -> Tensor:
    """The contraction that a string of NumPy's describes."""
    head, *rest = operands
    if isinstance(head, str):
        return einsum(head, *(lift(x) for x in rest), optimize=optimize)
    return einsum(
        *(lift(x) if i % 2 == 0 and i != len(operands) - 1 else x for i, x in enumerate(operands)),
        optimize=optimize,
    )


def clip(x: Tensor, *, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between two bounds."""
    low, high = a_min if min is None else min, a_max if max is None else max
    return array.clip(x, *(b if b is None or isinstance(b, WEAK) else lift(b) for b in (low, high)))


def around(x: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number with so many decimals, an even last digit where two are; its derivative is 0."""
    if not decimals or not is_float(x.dtype):
        return rounding.round(x) if decimals >= 0 else Tensor(np.round(known(x, "round"), decimals))
    scale = 10.0 ** abs(decimals)
    return rounding.round(x * scale) / scale if decimals > 0 else rounding.round(x / scale) * scale


def angle(z: Tensor, *, deg: bool = False) -> Tensor:
    """The angle of complex numbers, in degrees when `deg`."""
    found = complex.angle(z)
    return rounding.rad2deg(found) if deg else found


def isposinf(x: Tensor) -> Tensor:
    """Where `x` is infinite and positive."""
    return rounding.isinf(x) & (x > 0)


def isneginf(x: Tensor) -> Tensor:
    """Where `x` is infinite and negative."""
    return rounding.isinf(x) & (x < 0)


def iscomplex(x: Tensor) -> Tensor:
    """Where the imaginary part is not zero."""
    return elementwise.not_equal(complex.imag(x), 0) if x.dtype.kind == "c" else Tensor(np.zeros(x.shape, bool))


def isreal(x: Tensor) -> Tensor:
    """Where the imaginary part is zero."""
    return elementwise.logical_not(iscomplex(x))


def apply_along_axis(function: Callable[..., Any], axis: int, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`function` of every vector along `axis`; its result takes the place of the axis."""
    moved = shape.moveaxis(x, axis, -1)
    lead = moved.shape[:-1]
    if not math.prod(lead):
        raise ShapeError(f"np.apply_along_axis: no vectors along axis {axis} of {shown(x)}{here()}")
    rows = shape.reshape(moved, (math.prod(lead), moved.shape[-1]))
    out = shape.stack([lift(function(row, *args, **kwargs)) for row in rows])
    out = shape.reshape(out, (*lead, *out.shape[1:]))
    (at,) = linear.normalize_axes("apply_along_axis", axis, x.ndim)
    new = tuple(range(len(lead), out.ndim))
    return shape.moveaxis(out, new, tuple(range(at, at + len(new))))
