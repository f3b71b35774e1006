"""Supported dtypes and promotion: NumPy 2's table, but an integer array with a float array gives the float's dtype."""

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
