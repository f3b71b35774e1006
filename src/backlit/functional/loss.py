"""Losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise as ew
from backlit.ops import entropy
from backlit.ops.array import mean, one_hot, permute_dims, sum, take
from backlit.ops.classes import classes


def _reduced(losses: Tensor, reduction: str, who: str) -> Tensor:
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ArgumentError(f"{who}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


@scope
def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Squared error `(input - target)^2`, elementwise, then reduced.

    Raises:
      ShapeError: the shapes differ; they are not broadcast, which hides mistakes.
    """
    x, target = as_tensor(input), as_tensor(target)
    if x.shape != target.shape:
        raise ShapeError(f"mse_loss: input {shown(x)} and target {shown(target)} differ in shape{here()}")
    off = x - target
    return _reduced(off * off, reduction, "mse_loss")


def _weights(who: str, labels: Tensor, n: int, weight: Any, ignore_index: int, dtype: Any) -> tuple[Tensor, Tensor]:
    """Labels with the ignored ones replaced by 0, and the weight of each example."""
    labels = classes(labels, n=n, ignored=ignore_index, who=who)
    counted = labels != ignore_index
    safe = ew.where(counted, labels, 0)
    shares = counted.astype(dtype)
    return safe, shares if weight is None else shares * take(as_tensor(weight).astype(dtype), safe, axis=0)


@scope
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of softmax(logits) with the target; the gradient at the logits is p - y.

    Shapes:
      input: [classes], [batch, classes] or [batch, classes, ...];
      target: class numbers shaped like input without the class axis, or probabilities shaped like input.

    `weight: [classes]` scales the classes; the mean is then the weighted one. Examples of class `ignore_index` do not
    count. `label_smoothing` mixes the target with the uniform distribution. (PyTorch's function of this name.)

    Raises:
      ShapeError: the target fits in neither form.
      ArgumentError: a class number out of range.
      DTypeError: the logits are not floats.
    """
    x, target = as_tensor(input), as_tensor(target)
    if not x.ndim or x.dtype.kind not in "fV":
        raise DTypeError(f"cross_entropy: expected float logits [batch, classes], got {shown(x)}{here()}")
    axis = 0 if x.ndim == 1 else 1
    n = x.shape[axis]
    last = (*(i for i in range(x.ndim) if i != axis), axis)
    logits = x if axis == x.ndim - 1 else permute_dims(x, last)
    if target.shape == x.shape and target.dtype.kind in "fV":
        y = target if axis == x.ndim - 1 else permute_dims(target, last)
        shares = None
        if weight is not None:
            y = y * as_tensor(weight).astype(x.dtype)
    elif target.shape == logits.shape[:-1] and target.dtype.kind in "iu":
        safe, shares = _weights("cross_entropy", target, n, weight, ignore_index, x.dtype)
        y = one_hot(safe, n, dtype=x.dtype)
    else:
        raise ShapeError(
            f"cross_entropy: expected class numbers {list(logits.shape[:-1])} (integers) or probabilities "
            f"{list(x.shape)}, got {shown(target)} for logits {shown(x)}{here()}"
        )
    if label_smoothing:
        spread = label_smoothing / n
        if shares is not None and weight is not None:
            return _smoothed(logits, y, shares, as_tensor(weight).astype(x.dtype), spread, label_smoothing, reduction)
        y = y * (1.0 - label_smoothing) + spread * sum(y, axis=-1, keepdims=True)
    losses = entropy.softmax_cross_entropy(logits, y)
    if shares is None:
        return _reduced(losses, reduction, "cross_entropy")
    losses = losses * shares
    if reduction == "mean":
        return sum(losses) / sum(shares)
    return _reduced(losses, reduction, "cross_entropy")


def _smoothed(
    logits: Tensor, y: Tensor, shares: Tensor, weight: Tensor, spread: float, smoothing: float, reduction: str
) -> Tensor:
    # with class weights the uniform part is weighted by class, the mean by the weight of the true class
    counted = (shares != 0).astype(logits.dtype)
    mixed = y * shares.reshape((*shares.shape, 1)) * (1.0 - smoothing) + spread * weight * counted.reshape(
        (*shares.shape, 1)
    )
    losses = entropy.softmax_cross_entropy(logits, mixed)
    return sum(losses) / sum(shares) if reduction == "mean" else _reduced(losses, reduction, "cross_entropy")


@scope
def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log likelihood of class numbers under log-probabilities `input: [batch, classes]`.

    Raises:
      ShapeError: `target` is not [batch].
    """
    x, target = as_tensor(input), as_tensor(target)
    if x.ndim != 2 or target.shape != x.shape[:1] or target.dtype.kind not in "iu":
        raise ShapeError(f"nll_loss: expected [batch, classes] and [batch], got {shown(x)} and {shown(target)}{here()}")
    safe, shares = _weights("nll_loss", target, x.shape[1], weight, ignore_index, x.dtype)
    losses = -(x[(np.arange(x.shape[0]), safe)] * shares)
    return sum(losses) / sum(shares) if reduction == "mean" else _reduced(losses, reduction, "nll_loss")
