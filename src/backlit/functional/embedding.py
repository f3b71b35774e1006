"""Rows of a table by their numbers, and ones at the number of a class."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.autodiff.reverse import stop_gradient
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, no_grad
from backlit.ops import elementwise as ew
from backlit.ops import picking
from backlit.ops.classes import classes
from backlit.ops.norm import vector_norm
from backlit.ops.picking import take
from backlit.ops.shape import expand_dims, reshape
from backlit.ops.statistics import sum


@scope
def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of `weight` at the numbers `input`.

    Shapes:
      input: [...] of integers; weight: [rows, size]; result: [..., size].

    Row `padding_idx` gets no gradient. With `max_norm` the rows that are looked up and whose `norm_type`-norm is above it are
    first scaled down to it in `weight` itself. `scale_grad_by_freq` divides the gradient of a row by how often it is looked up.
    Gradients are dense: `sparse` is refused.

    Raises:
      ShapeError: `weight` is no matrix.
      DTypeError: `input` are no integers.
      ArgumentError: a number is not in 0 .. rows - 1, `padding_idx` is no row, or `sparse` is asked for.
    """
    numbers, table = as_tensor(input), as_tensor(weight)
    if table.ndim != 2:
        raise ShapeError(f"embedding: expected weight [rows, size], got {shown(table)}{here()}")
    if numbers.dtype.kind not in "iu":
        raise DTypeError(f"embedding: expected integers, got {shown(numbers)}{here()}")
    if sparse:
        raise ArgumentError("embedding: sparse gradients are not there; leave sparse=False")
    rows = table.shape[0]
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ArgumentError(f"embedding: padding_idx {padding_idx} is not among {rows} rows")
    numbers = classes(numbers, n=rows, ignored=-1 - rows, who="embedding")
    if max_norm is not None:
        _shorten(table, reshape(numbers, (-1,)), max_norm, norm_type)
    picked = take(table, numbers, axis=0)
    if scale_grad_by_freq:
        flat = reshape(numbers, (-1,))
        counts = sum(picking.one_hot(flat, rows, dtype=table.dtype), axis=0)
        fixed = stop_gradient(picked)
        picked = fixed + (picked - fixed) / expand_dims(take(counts, numbers, axis=0), axis=-1)
    if padding_idx is not None:
        padding = expand_dims(ew.equal(numbers, padding_idx % rows), axis=-1)
        picked = ew.where(padding, stop_gradient(picked), picked)
    return picked


def _shorten(table: Tensor, numbers: Tensor, max_norm: float, p: float) -> None:
    with no_grad():
        found = take(table, numbers, axis=0)
        length = vector_norm(found, axis=-1, keepdims=True, ord=p)
        table[numbers] = ew.where(length > max_norm, found * (max_norm / (length + 1e-7)), found)


@scope
def one_hot(tensor: Any, num_classes: int = -1) -> Tensor:
    """int64 ones at the class numbers `tensor: [...]`, zeros elsewhere: `[..., num_classes]`; by default as many as are needed.

    Raises:
      DTypeError: `tensor` are no integers.
      ArgumentError: a number is negative or not below `num_classes`.
    """
    numbers = as_tensor(tensor)
    if numbers.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: expected integers, got {shown(numbers)}{here()}")
    if num_classes == -1:
        if not numbers.size:
            raise ArgumentError("one_hot: of no numbers num_classes has to be given")
        num_classes = int(np.asarray(numbers.detach()).max()) + 1
    numbers = classes(numbers, n=num_classes, ignored=-1 - num_classes, who="one_hot")
    return picking.one_hot(numbers, num_classes, dtype=np.int64)
