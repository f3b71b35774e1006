"""Affine and bilinear maps."""

from __future__ import annotations

from typing import Any

from backlit.core.dtypes import is_float
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.array import matmul
from backlit.ops.shape import expand_dims, matrix_transpose, permute_dims, reshape
from backlit.ops.statistics import sum


@scope
def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """Affine map of the last axis: `input @ weight.T + bias`.

    Shapes:
      input: [..., in_features]; weight: [out_features, in_features] or [in_features]; bias: [out_features] or [];
      result: [..., out_features] or [...].

    Raises:
      ShapeError: the last axis of `input` is not `in_features` long, or `bias` does not fit.
      DTypeError: input and weight are floats of different dtypes.
    """
    x, weight = as_tensor(input), as_tensor(weight)
    if weight.ndim not in (1, 2):
        raise ShapeError(f"linear: expected a weight [out_features, in_features], got {shown(weight)}{here()}")
    if not x.ndim or x.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: expected input [..., {weight.shape[-1]}] for weight {shown(weight)}, got {shown(x)}{here()}"
        )
    if x.dtype != weight.dtype and is_float(x.dtype):
        raise DTypeError(
            f"linear: input {shown(x)} and weight {shown(weight)} differ in dtype; "
            f"use .astype({str(weight.dtype)!r}) on the input{here()}"
        )
    out = matmul(x, matrix_transpose(weight) if weight.ndim == 2 else weight)
    if bias is None:
        return out
    offset = as_tensor(bias)
    if offset.shape != weight.shape[:-1]:
        raise ShapeError(f"linear: bias {shown(offset)} does not fit weight {shown(weight)}{here()}")
    return out + offset


@scope
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """x1 W_k x2 + b_k for each output k.

    Shapes:
      input1: [..., in1]; input2: [..., in2]; weight W: [out, in1, in2]; bias b: [out]; result: [..., out].

    Costs rows in1 out in2 products, by one product of matrices, and rows out in2 numbers in between.

    Raises:
      ShapeError: the shapes do not fit.
    """
    x, y, w = as_tensor(input1), as_tensor(input2), as_tensor(weight)
    if w.ndim != 3 or not x.ndim or x.shape[:-1] != y.shape[:-1] or (x.shape[-1], y.shape[-1]) != w.shape[1:]:
        raise ShapeError(
            f"bilinear: expected [..., in1], [..., in2] and weight [out, in1, in2], got {shown(x)}, {shown(y)} and "
            f"{shown(w)}{here()}"
        )
    n_out, in1, in2 = w.shape
    columns = reshape(permute_dims(w, (1, 0, 2)), (in1, n_out * in2))
    turned = reshape(matmul(x, columns), (*x.shape[:-1], n_out, in2))
    out = sum(turned * expand_dims(y, axis=-2), axis=-1)
    if bias is None:
        return out
    offset = as_tensor(bias)
    if offset.shape != (n_out,):
        raise ShapeError(f"bilinear: bias {shown(offset)} does not fit weight {shown(w)}{here()}")
    return out + offset
