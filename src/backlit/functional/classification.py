"""Losses of classes: cross-entropies of many classes and of two."""

from __future__ import annotations

from typing import Any

from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.reduction import check_reduction, pair, reduced, scaled
from backlit.ops import elementwise as ew
from backlit.ops import entropy, special
from backlit.ops.classes import classes
from backlit.ops.picking import one_hot, take, take_along_axis
from backlit.ops.shape import expand_dims, permute_dims, squeeze
from backlit.ops.statistics import sum


def _weights(
    who: str, labels: Tensor, n: int, weight: Any, ignore_index: int, dtype: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels with the ignored ones replaced by 0, 1 for those that count, and the weight of each example."""
    labels = classes(labels, n=n, ignored=ignore_index, who=who)
    counts = labels != ignore_index
    safe, counted = ew.where(counts, labels, 0), counts.astype(dtype)
    return safe, counted, counted if weight is None else counted * take(as_tensor(weight).astype(dtype), safe, axis=0)


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
        if label_smoothing:
            y = y * (1.0 - label_smoothing) + label_smoothing / n
        if weight is not None:
            y = y * as_tensor(weight).astype(x.dtype)
        return reduced(entropy.softmax_cross_entropy(logits, y), reduction, "cross_entropy")
    if target.shape != logits.shape[:-1] or target.dtype.kind not in "iu":
        raise ShapeError(
            f"cross_entropy: expected class numbers {list(logits.shape[:-1])} (integers) or probabilities "
            f"{list(x.shape)}, got {shown(target)} for logits {shown(x)}{here()}"
        )
    check_reduction(reduction, "cross_entropy")
    safe, counted, shares = _weights("cross_entropy", target, n, weight, ignore_index, x.dtype)
    y = one_hot(safe, n, dtype=x.dtype)
    if label_smoothing and weight is not None:
        # the uniform part is weighted by class, the mean by the weight of the true class
        spread = label_smoothing / n * as_tensor(weight).astype(x.dtype)
        y = y * expand_dims(shares, axis=-1) * (1.0 - label_smoothing) + spread * expand_dims(counted, axis=-1)
        losses = entropy.softmax_cross_entropy(logits, y)
    else:
        if label_smoothing:
            y = y * (1.0 - label_smoothing) + label_smoothing / n
        losses = entropy.softmax_cross_entropy(logits, y) * shares
    return sum(losses) / sum(shares) if reduction == "mean" else reduced(losses, reduction, "cross_entropy")


@scope
def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log likelihood of class numbers under log-probabilities. (PyTorch's function of this name.)

    Shapes:
      input: [classes], [batch, classes] or [batch, classes, ...]; target: shaped like input without the class axis.

    `weight: [classes]` scales the classes; the mean is then the weighted one. Examples of class `ignore_index` do not count.

    Raises:
      ShapeError: `target` does not fit.
      ArgumentError: a class number out of range.
    """
    x, target = as_tensor(input), as_tensor(target)
    axis = 0 if x.ndim < 2 else 1
    if not x.ndim or target.shape != (*x.shape[:axis], *x.shape[axis + 1 :]) or target.dtype.kind not in "iu":
        raise ShapeError(
            f"nll_loss: expected [batch, classes, ...] and integers [batch, ...], got {shown(x)} and {shown(target)}{here()}"
        )
    check_reduction(reduction, "nll_loss")
    safe, _, shares = _weights("nll_loss", target, x.shape[axis], weight, ignore_index, x.dtype)
    picked = squeeze(take_along_axis(x, expand_dims(safe, axis=axis), axis=axis), axis)
    losses = -(picked * shares)
    return sum(losses) / sum(shares) if reduction == "mean" else reduced(losses, reduction, "nll_loss")


@scope
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(y log p + (1 - y) log(1 - p)), elementwise for probabilities p, then reduced; logarithms are held above -100.

    A probability of 0 or 1 whose logarithm is held there has no gradient through it: neither infinity nor NaN. From logits
    `binary_cross_entropy_with_logits` is exact. `weight` broadcasts to the losses; the mean is over all elements.

    Raises:
      ShapeError: the shapes differ, or `weight` does not fit.
    """
    who = "binary_cross_entropy"
    p, y = pair(input, target, who)
    log_p, log_q = ew.maximum(ew.log(p), -100.0), ew.maximum(ew.log1p(-p), -100.0)
    losses = -(y * log_p + (1.0 - y) * log_q)
    return reduced(losses if weight is None else scaled(losses, weight, who), reduction, who)


@scope
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Cross-entropy of sigmoid(x) with the target y: pos_weight y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)).

    Exact in both tails, and so is the gradient. `weight` and `pos_weight` broadcast to the losses; the mean is over all
    elements. (PyTorch's function of this name.)

    Raises:
      ShapeError: the shapes differ, or a weight does not fit.
    """
    who = "binary_cross_entropy_with_logits"
    x, y = pair(input, target, who)
    hits = y * special.softplus(-x)
    hits = hits if pos_weight is None else scaled(hits, pos_weight, who)
    losses = hits + (1.0 - y) * special.softplus(x)
    return reduced(losses if weight is None else scaled(losses, weight, who), reduction, who)
