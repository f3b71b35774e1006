"""The affine map."""

from __future__ import annotations

from typing import Any

from backlit.core.dtypes import is_float
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.array import matmul, matrix_transpose


@scope
def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """Affine map of the last axis: `input @ weight.T + bias`.

    Shapes:
      input: [..., in_features]; weight: [out_features, in_features]; bias: [out_features];
      result: [..., out_features].

    Raises:
      ShapeError: the last axis of `input` is not `in_features` long, or `bias` does not fit.
      DTypeError: input and weight are floats of different dtypes.
    """
    x, weight = as_tensor(input), as_tensor(weight)
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: expected input [..., in_features] and weight [out_features, in_features], "
            f"got {shown(x)} and {shown(weight)}{here()}"
        )
    if x.dtype != weight.dtype and is_float(x.dtype):
        raise DTypeError(
            f"linear: input {shown(x)} and weight {shown(weight)} differ in dtype; "
            f"use .astype({str(weight.dtype)!r}) on the input{here()}"
        )
    out = matmul(x, matrix_transpose(weight))
    if bias is None:
        return out
    offset = as_tensor(bias)
    if offset.shape != (weight.shape[0],):
        raise ShapeError(f"linear: bias {shown(offset)} does not fit weight {shown(weight)}{here()}")
    return out + offset
