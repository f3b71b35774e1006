"""Creation functions, after the array API."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.dtypes import default_dtype
from backlit.core.errors import DTypeError
from backlit.core.source import here
from backlit.core.tensor import Tensor, tensor

Shape = int | tuple[int, ...]


def asarray(obj: Any, /, *, dtype: Any = None, copy: bool | None = None) -> Tensor:
    """`obj` as a tensor: itself when it is one, else a copy.

    With `copy=False` a NumPy array is shared: whoever writes to it while a graph is alive gets wrong gradients, which
    `backlit.debug()` finds.

    Raises:
      DTypeError: `copy=False` for something that cannot be shared as it is.
    """
    if isinstance(obj, Tensor) and not copy and (dtype is None or obj.dtype == dtype):
        return obj
    if copy is False:
        if (
            not isinstance(obj, np.ndarray)
            or (dtype is not None and obj.dtype != dtype)
            or obj.dtype.kind not in "biufcV"
            or not obj.dtype.isnative
        ):
            raise DTypeError(f"asarray: {type(obj).__name__} cannot be shared without a copy{here()}")
        return Tensor(obj)
    return tensor(obj, dtype=dtype)


def _dtype(dtype: Any) -> Any:
    return default_dtype() if dtype is None else dtype


def empty(shape: Shape, *, dtype: Any = None) -> Tensor:
    """An array of arbitrary contents."""
    return Tensor(np.empty(shape, _dtype(dtype)))


def zeros(shape: Shape, *, dtype: Any = None) -> Tensor:
    """An array of zeros."""
    return Tensor(np.zeros(shape, _dtype(dtype)))


def ones(shape: Shape, *, dtype: Any = None) -> Tensor:
    """An array of ones."""
    return Tensor(np.ones(shape, _dtype(dtype)))


def full(shape: Shape, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """An array filled with `fill_value`; a Python float gives the default float dtype."""
    if dtype is None and isinstance(fill_value, float):
        dtype = default_dtype()
    return Tensor(np.full(shape, fill_value, dtype))


def zeros_like(x: Any, /, *, dtype: Any = None) -> Tensor:
    """Zeros shaped like `x`, of its dtype unless given."""
    return Tensor(np.zeros(x.shape, x.dtype if dtype is None else dtype))


def ones_like(x: Any, /, *, dtype: Any = None) -> Tensor:
    """Ones shaped like `x`, of its dtype unless given."""
    return Tensor(np.ones(x.shape, x.dtype if dtype is None else dtype))


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """`fill_value` shaped like `x`, of its dtype unless given."""
    return Tensor(np.full(x.shape, fill_value, x.dtype if dtype is None else dtype))


def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None) -> Tensor:
    """Evenly spaced numbers from `start` (0 when only one is given) up to `stop`, excluded."""
    values = np.arange(start) if stop is None else np.arange(start, stop, step)
    return Tensor(values.astype(_dtype(dtype) if values.dtype.kind == "f" or dtype is not None else values.dtype))


def linspace(start: float, stop: float, /, num: int, *, dtype: Any = None, endpoint: bool = True) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`."""
    return Tensor(np.linspace(start, stop, num, endpoint=endpoint).astype(_dtype(dtype)))


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones on the diagonal `k`, zeros elsewhere."""
    return Tensor(np.eye(n_rows, n_cols, k, dtype=_dtype(dtype)))
