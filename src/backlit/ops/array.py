"""Matrix products, bounds and dtypes with the array API's signatures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import contract, elementwise, linear
from backlit.ops.protocols import check_device
from backlit.ops.shape import expand_dims


def matmul(x1: Any, x2: Any, /) -> Tensor:
    """Matrix product `[..., m, k] @ [..., k, n]`; leading axes broadcast, a vector is a row or a column.

    Raises:
      ShapeError: an input is 0-d, the inner sizes differ or the leading axes do not broadcast.
    """
    x, y = as_tensor(x1), as_tensor(x2)
    if not x.ndim or not y.ndim:
        raise ShapeError(f"matmul: expected [..., m, k] @ [..., k, n], got {shown(x)} @ {shown(y)}; use *{here()}")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else -1]:
        raise ShapeError(f"matmul: expected [..., m, k] @ [..., k, n], got {shown(x)} @ {shown(y)}{here()}")
    row, column = x.ndim == 1, y.ndim == 1
    x = expand_dims(x, axis=0) if row else x
    y = expand_dims(y, axis=1) if column else y
    if x.ndim > 2 and y.ndim == 2:  # one product of all rows
        rows = linear.reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))
        out = linear.reshape(contract.matmul(rows, y), shape=(*x.shape[:-1], y.shape[-1]))
    else:
        if x.shape[:-2] != y.shape[:-2]:
            try:
                lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            except ValueError:
                raise ShapeError(f"matmul: leading axes do not broadcast: {shown(x)} @ {shown(y)}{here()}") from None
            x = linear.broadcast_to(x, shape=(*lead, *x.shape[-2:]))
            y = linear.broadcast_to(y, shape=(*lead, *y.shape[-2:]))
        out = contract.matmul(x, y)
    if row or column:
        shape = (*out.shape[:-2], *(() if row else out.shape[-2:-1]), *(() if column else out.shape[-1:]))
        out = linear.reshape(out, shape=shape)
    return out


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between `min` and `max`; outside it the derivative is 0, as at a bound given as a number."""
    x = as_tensor(x)
    x = x if min is None else elementwise.maximum(x, min)
    return x if max is None else elementwise.minimum(x, max)


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """`x` with another dtype; the cotangent comes back in the dtype of `x`, of a complex one the real part.

    A value is never written to while something else refers to it, so `copy` makes no difference.

    Raises:
      DTypeError: complex numbers as real ones.
      ArgumentError: `device` is not "cpu".
    """
    check_device("astype", device)
    return linear.astype(x, dtype=dtype)
