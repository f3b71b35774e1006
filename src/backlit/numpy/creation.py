"""NumPy's functions that make arrays: float64 unless another dtype is given."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.arrays import creation
from backlit.core.errors import ArgumentError, DTypeError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.numpy.views import cast, known, lift, recorded, unsupported
from backlit.ops import exponential, picking, shape

_IGNORED = {"order": (None, "C", "K"), "device": (None, "cpu"), "subok": (False,), "like": (None,)}


def _check(name: str, options: dict[str, Any]) -> None:
    """What NumPy has beyond ours may be given where it changes nothing."""
    for parameter, value in options.items():
        if parameter not in _IGNORED:
            raise ArgumentError(f"np.{name}: there is no parameter {parameter!r}{here()}")
        if value not in _IGNORED[parameter]:
            raise unsupported(name, parameter)


def array(object: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0, **options: Any) -> Tensor:
    """A tensor with the elements of `object`, nested lists of tensors included, through which gradients go."""
    _check("array", options)
    if dtype is not None and np.dtype(dtype).kind not in "biufcV":
        raise DTypeError(f"np.array: {np.dtype(dtype)} arrays are not supported; expected numbers or booleans{here()}")
    x = cast(lift(object, "array"), dtype)
    x = x.clone() if x is object and copy else x
    return shape.reshape(x, (*(1,) * (ndmin - x.ndim), *x.shape)) if x.ndim < ndmin else x


def asarray(a: Any, dtype: Any = None, *, copy: bool | None = None, **options: Any) -> Tensor:
    """`a` as a tensor: itself when it is one of that dtype."""
    return array(a, dtype, copy=copy, **options)


asanyarray = ascontiguousarray = asfortranarray = asarray


def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Tensor:
    """`a` as a tensor, once there is neither NaN nor an infinity in it."""
    x = array(a, dtype, copy=None, order=order)
    if not np.isfinite(known(x, "asarray_chkfinite")).all():
        raise ArgumentError(f"np.asarray_chkfinite: there are infinities or NaNs{here()}")
    return x


def _shape(sizes: Any) -> Any:
    """One length or several, of which each may be a tensor of one integer."""
    if isinstance(sizes, (tuple, list)):
        return tuple(operator.index(n) for n in sizes)
    return tuple(sizes.tolist()) if isinstance(sizes, Tensor) and sizes.ndim else operator.index(sizes)


def _made(name: str, ours: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(shape: Any, dtype: Any = None, **options: Any) -> Tensor:
        _check(name, options)
        return ours(_shape(shape), dtype=np.float64 if dtype is None else dtype)

    make.__name__, make.__doc__ = name, ours.__doc__
    return make


zeros, ones, empty = (_made(f.__name__, f) for f in (creation.zeros, creation.ones, creation.empty))


def _alike(name: str, ours: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(a: Any, dtype: Any = None, *, shape: Any = None, **options: Any) -> Tensor:
        _check(name, {k: v for k, v in options.items() if k != "subok"})
        x = lift(a, name)
        if shape is not None:
            return _PLAIN[name](_shape(shape), dtype=x.dtype if dtype is None else dtype)
        return ours(x, dtype=dtype)

    make.__name__, make.__doc__ = name, ours.__doc__
    return make


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "zeros_like": creation.zeros, "ones_like": creation.ones, "empty_like": creation.empty,
}  # fmt: skip
zeros_like, ones_like, empty_like = (
    _alike(f.__name__, f) for f in (creation.zeros_like, creation.ones_like, creation.empty_like)
)


def full(shape: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Tensor:
    """An array filled with `fill_value`."""
    _check("full", options)
    return creation.full(_shape(shape), cast(lift(fill_value, "full"), dtype))


def full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None, **options: Any) -> Tensor:
    """`fill_value` shaped like `a`, of its dtype unless given."""
    _check("full_like", {k: v for k, v in options.items() if k != "subok"})
    x = lift(a, "full_like")
    return full(x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float, **options: Any) -> Tensor:
    """Ones on the diagonal `k`, zeros elsewhere."""
    _check("eye", options)
    return creation.eye(N, M, k=k, dtype=dtype)


def identity(n: int, dtype: Any = None, **options: Any) -> Tensor:
    """The identity matrix."""
    _check("identity", options)
    return creation.eye(n, dtype=np.float64 if dtype is None else dtype)


def arange(*bounds: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Evenly spaced numbers: `arange(stop)`, `arange(start, stop)` or `arange(start, stop, step)`."""
    given = {k: options.pop(k) for k in ("start", "stop", "step") if k in options}
    _check("arange", options)
    return Tensor(np.arange(*(known(b, "arange") for b in bounds), dtype=dtype, **given))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    **more: Any,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`, through which gradients go."""
    _check("linspace", more)
    num = operator.index(num)
    if recorded(start) or recorded(stop):
        out = cast(shape.moveaxis(creation.linspace(lift(start), lift(stop), num, endpoint=endpoint), 0, axis), dtype)
        return (out, (lift(stop) - lift(start)) / max(num - endpoint, 1)) if retstep else out
    options: dict[str, Any] = {"num": num, "endpoint": endpoint, "retstep": retstep, "dtype": dtype, "axis": axis}
    made: Any = np.linspace(known(start, "linspace"), known(stop, "linspace"), **options)
    return (Tensor(made[0]), Tensor(np.asarray(made[1]))) if retstep else Tensor(made)


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Tensor:
    """`num` powers of `base` with evenly spaced exponents from `start` to `stop`."""
    return cast(lift(base) ** linspace(start, stop, num, endpoint, axis=axis), dtype)


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Tensor:
    """`num` numbers from `start` to `stop` of which each is the same multiple of the one before."""
    if recorded(start) or recorded(stop):
        first, last = lift(start), lift(stop)
        return cast(
            first * exponential.exp2(linspace(first * 0.0, exponential.log2(last / first), num, endpoint, axis=axis)),
            dtype,
        )
    return Tensor(np.geomspace(known(start, "geomspace"), known(stop, "geomspace"), num, endpoint, dtype, axis))


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """What `function` makes of the coordinates of an array of this shape."""
    return function(*(Tensor(a) for a in np.indices(_shape(shape), dtype=dtype)), **kwargs)


def fromiter(iter: Any, dtype: Any, count: int = -1) -> Tensor:
    """The numbers that an iterator gives."""
    found = list(iter if count < 0 else itertools.islice(iter, count))
    if len(found) < count:
        raise ArgumentError(f"np.fromiter: expected {count} numbers, got {len(found)}{here()}")
    return array(found, dtype)


def from_dlpack(x: Any, **options: Any) -> Tensor:
    """The array that `x` gives out through DLPack, in shared memory."""
    return creation.from_dlpack(x, **options)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Tensor:
    """Ones on and below the diagonal `k`, zeros elsewhere."""
    return picking.tril(creation.ones((N, N if M is None else M), dtype=dtype), k=k)


class _Grid:
    """`np.mgrid[...]` and `np.ogrid[...]`: coordinates of the ranges that the slices say."""

    def __init__(self, grid: Any) -> None:
        self._grid = grid

    def __getitem__(self, key: Any) -> Any:
        found = self._grid[key]
        return Tensor(found) if isinstance(found, np.ndarray) else tuple(Tensor(a) for a in found)


mgrid, ogrid = _Grid(np.mgrid), _Grid(np.ogrid)
