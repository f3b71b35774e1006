"""Supported dtypes and promotion: NumPy 2's table, but an integer array with a float array gives the float's dtype.

The real floats are float16, bfloat16, float32 and float64, the complex ones complex64 and complex128.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

bfloat16 = np.dtype(ml_dtypes.bfloat16)
_default = np.dtype(np.float32)


def default_dtype() -> np.dtype[Any]:
    """The dtype that Python floats get; float32 unless changed."""
    return _default


def set_default_dtype(dtype: Any) -> None:
    """Sets the dtype that `tensor` gives Python floats."""
    global _default
    _default = np.dtype(dtype)


def is_float(dtype: Any) -> bool:
    """Whether values of this dtype have gradients."""
    dtype = np.dtype(dtype)
    return dtype.kind in "fc" or dtype == bfloat16


def complex_dtype(dtype: Any) -> np.dtype[Any]:
    """The complex dtype that holds `dtype`: complex64 up to float32, complex128 for float64 and integers."""
    found: np.dtype[Any] = np.dtype(dtype)
    if found.kind == "c":
        return found
    return np.dtype(np.complex64 if is_float(found) and found.itemsize <= 4 else np.complex128)


def real_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of the real part of numbers of this dtype."""
    dtype = np.dtype(dtype)
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else np.dtype(dtype)


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which numbers of a float dtype are added up: float16 and bfloat16 would soon stand still."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def wide_dtype(dtype: Any) -> np.dtype[Any]:
    """float64, and complex128 for complex numbers: what measurements are made in."""
    return np.dtype(np.complex128 if np.dtype(dtype).kind == "c" else np.float64)


def promote(x: np.dtype[Any], y: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of an op on arrays of dtypes `x` and `y`."""
    if x == y:
        return x
    x_float, y_float = is_float(x), is_float(y)
    if x_float and not y_float:
        return x
    if y_float and not x_float:
        return y
    if bfloat16 in (x, y) and np.dtype(np.float16) in (x, y):  # neither holds the other
        return np.dtype(np.float32)
    return np.promote_types(x, y)
