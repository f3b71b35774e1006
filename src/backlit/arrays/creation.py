"""Creation functions, after the array API: of numbers, of other arrays' shapes, of memory that others own.

`device` may be given where the standard has it; there is one, "cpu".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.dtypes import complex_dtype, default_dtype
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, tensor
from backlit.ops.elementwise import where
from backlit.ops.linear import astype, broadcast_to, reshape
from backlit.ops.protocols import check_device

Shape = int | Sequence[int]


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """`obj` as a tensor: itself when it is one, else a copy.

    With `copy=False` a NumPy array is shared: whoever writes to it while a graph is alive gets wrong gradients, which
    `backlit.debug()` finds. A nested list may hold tensors, of which the result is made by recorded ops.

    Raises:
      DTypeError: `copy=False` for something that cannot be shared as it is.
    """
    check_device("asarray", device)
    if isinstance(obj, Tensor):
        if obj.node is not None or not (copy or not _is_kept(dtype, obj)):
            if copy is False and not _is_kept(dtype, obj):
                raise DTypeError(f"asarray: {shown(obj)} cannot be made {np.dtype(dtype)} without a copy{here()}")
            return obj if _is_kept(dtype, obj) else astype(obj, dtype=dtype)
        return tensor(obj, dtype=dtype)
    if copy is False:
        if (
            not isinstance(obj, np.ndarray)
            or (dtype is not None and obj.dtype != dtype)
            or obj.dtype.kind not in "biufcV"
            or not obj.dtype.isnative
        ):
            raise DTypeError(f"asarray: {type(obj).__name__} cannot be shared without a copy{here()}")
        return Tensor(obj)
    made = as_tensor(obj) if isinstance(obj, (list, tuple)) else None
    if made is not None and (made.node is not None or dtype is None):
        return made if _is_kept(dtype, made) else astype(made, dtype=dtype)
    return tensor(obj, dtype=dtype)


def _is_kept(dtype: Any, x: Tensor) -> bool:
    """Whether `dtype` asks for nothing else than `x` has; a comparison with None would find float64."""
    return dtype is None or bool(x.dtype == dtype)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """The array that `x` gives out through DLPack, in shared memory unless `copy`.

    Whoever writes to shared memory while a graph is alive gets wrong gradients, which `backlit.debug()` finds.
    """
    check_device("from_dlpack", device)
    array = np.from_dlpack(x)
    return tensor(array) if copy else Tensor(array)


def _dtype(dtype: Any) -> Any:
    return default_dtype() if dtype is None else dtype


def _shape(name: str, shape: Shape) -> tuple[int, ...]:
    lengths = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if any(n < 0 for n in lengths):
        raise ShapeError(f"{name}: an axis cannot have a negative length: {list(lengths)}{here()}")
    return tuple(int(n) for n in lengths)


def empty(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of arbitrary contents."""
    check_device("empty", device)
    return Tensor(np.empty(_shape("empty", shape), _dtype(dtype)))


def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of zeros."""
    check_device("zeros", device)
    return Tensor(np.zeros(_shape("zeros", shape), _dtype(dtype)))


def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of ones."""
    check_device("ones", device)
    return Tensor(np.ones(_shape("ones", shape), _dtype(dtype)))


def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array filled with `fill_value`; a Python float gives the default float dtype, a complex number its complex one."""
    check_device("full", device)
    lengths = _shape("full", shape)
    if isinstance(fill_value, Tensor):
        spread: Tensor = broadcast_to(fill_value, shape=lengths)
        return spread if _is_kept(dtype, spread) else astype(spread, dtype=dtype)
    if dtype is None and isinstance(fill_value, (float, complex)):
        dtype = default_dtype() if isinstance(fill_value, float) else complex_dtype(default_dtype())
    return Tensor(np.full(lengths, fill_value, dtype))


def _like(name: str, x: Any, dtype: Any, device: Any) -> tuple[tuple[int, ...], Any]:
    check_device(name, device)
    x = x if hasattr(x, "shape") and hasattr(x, "dtype") else as_tensor(x)
    return tuple(x.shape), x.dtype if dtype is None else dtype


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Arbitrary contents shaped like `x`, of its dtype unless given."""
    return Tensor(np.empty(*_like("empty_like", x, dtype, device)))


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros shaped like `x`, of its dtype unless given."""
    return Tensor(np.zeros(*_like("zeros_like", x, dtype, device)))


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones shaped like `x`, of its dtype unless given."""
    return Tensor(np.ones(*_like("ones_like", x, dtype, device)))


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """`fill_value` shaped like `x`, of its dtype unless given."""
    shape, dtype = _like("full_like", x, dtype, device)
    return full(shape, fill_value, dtype=dtype)


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Evenly spaced numbers from `start` (0 when only one is given) up to `stop`, excluded.

    Raises:
      ArgumentError: the step is 0.
    """
    check_device("arange", device)
    if step == 0:
        raise ArgumentError(f"arange: the step must not be 0{here()}")
    bounds: Any = (0, start, step) if stop is None else (start, stop, step)
    values = np.arange(*bounds)
    if dtype is None:
        return Tensor(values.astype(default_dtype()) if values.dtype.kind == "f" else values)
    return Tensor(np.arange(*bounds, dtype=dtype) if np.dtype(dtype).kind in "iuf" else values.astype(dtype))


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, which may be tensors: then along a new leading axis.

    Raises:
      ArgumentError: `num` is negative.
    """
    check_device("linspace", device)
    if num < 0:
        raise ArgumentError(f"linspace: a negative number of samples, {num}{here()}")
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        return _line(as_tensor(start), as_tensor(stop), num, dtype, endpoint)
    whole = None if dtype is None or np.dtype(dtype).kind not in "iu" else dtype  # rounded down, as NumPy does
    made = np.linspace(start, stop, num, endpoint=endpoint, dtype=whole)
    kind = complex_dtype(default_dtype()) if made.dtype.kind == "c" else None
    return Tensor(made.astype(_dtype(dtype) if dtype is not None or kind is None else kind))


def _line(start: Tensor, stop: Tensor, num: int, dtype: Any, endpoint: bool) -> Tensor:
    """Samples between tensors: `start` and `stop` themselves at the ends."""
    gap = stop - start
    parts = max(num - 1 if endpoint else num, 1)
    steps = Tensor((np.arange(num) / parts).astype(gap.dtype if gap.dtype.kind in "fc" else default_dtype()))
    steps = reshape(steps, shape=(num, *(1,) * gap.ndim))
    line = start + gap * steps
    if endpoint and num > 1:
        last = Tensor(np.arange(num) == num - 1)
        line = where(reshape(last, shape=steps.shape), stop, line)
    return line if _is_kept(dtype, line) else astype(line, dtype=dtype)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the diagonal `k`, zeros elsewhere."""
    check_device("eye", device)
    _shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    return Tensor(np.eye(n_rows, n_cols, k, dtype=_dtype(dtype)))
