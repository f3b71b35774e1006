"""What losses share: the shapes that they take and how their elements are made one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.shape import broadcast_to
from backlit.ops.statistics import mean, sum

REDUCTIONS = ("mean", "sum", "none")


def reduced(losses: Tensor, reduction: str, who: str) -> Tensor:
    """The mean or the sum of `losses`, or `losses` themselves.

    Raises:
      ArgumentError: `reduction` is none of 'mean', 'sum', 'none'.
    """
    check_reduction(reduction, who)
    return losses if reduction == "none" else mean(losses) if reduction == "mean" else sum(losses)


def scaled(losses: Tensor, weight: Any, who: str) -> Tensor:
    """`losses` times `weight`, which broadcasts to them.

    Raises:
      ShapeError: it does not.
    """
    factors = as_tensor(weight)
    try:
        fits = np.broadcast_shapes(losses.shape, factors.shape) == losses.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{who}: weight {shown(factors)} does not broadcast to the losses {shown(losses)}{here()}")
    return losses * (factors if factors.dtype == losses.dtype else factors.astype(losses.dtype))


def weighted(losses: Tensor, weight: Any, reduction: str, who: str) -> Tensor:
    """`losses` scaled by `weight`; their mean is divided by the sum of the weights."""
    if weight is None:
        return reduced(losses, reduction, who)
    products = scaled(losses, weight, who)
    if reduction == "mean":
        return sum(products) / sum(broadcast_to(as_tensor(weight).astype(losses.dtype), losses.shape))
    return reduced(products, reduction, who)


def check_reduction(reduction: str, who: str) -> None:
    """Refuses what is no reduction."""
    if reduction not in REDUCTIONS:
        raise ArgumentError(f"{who}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def pair(input: Any, target: Any, who: str) -> tuple[Tensor, Tensor]:
    """Both as tensors of one shape, the target in the dtype of a float input.

    Raises:
      ShapeError: the shapes differ; they are not broadcast, which hides mistakes.
      DTypeError: neither is a float.
    """
    x, y = as_tensor(input), as_tensor(target)
    if x.shape != y.shape:
        raise ShapeError(f"{who}: input {shown(x)} and target {shown(y)} differ in shape{here()}")
    if x.dtype.kind not in "fVc" and y.dtype.kind not in "fVc":
        raise DTypeError(f"{who}: expected floats, got {shown(x)} and {shown(y)}; use .astype{here()}")
    return x, y
