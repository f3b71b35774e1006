"""Losses that want a margin: what is on the right side by more than it costs nothing and has no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.distance import pairwise_distance
from backlit.functional.reduction import check_reduction, pair, reduced
from backlit.ops import elementwise as ew
from backlit.ops import special
from backlit.ops.array import matmul
from backlit.ops.classes import classes
from backlit.ops.picking import one_hot, take, take_along_axis
from backlit.ops.shape import expand_dims
from backlit.ops.statistics import mean, sum


def _hinge(x: Tensor) -> Tensor:
    return ew.maximum(x, 0.0)  # its derivative at 0 is 0, as that of relu


@scope
def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """`input`, a distance, where the target is 1, and max(0, margin - input) where it is -1; then reduced.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    x, y = as_tensor(input), as_tensor(target)
    losses = ew.where(y == -1, 0.0, x) + ew.where(y == 1, 0.0, _hinge(margin - x))
    return reduced(losses, reduction, "hinge_embedding_loss")


@scope
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:  # fmt: skip
    """max(0, margin - target (input1 - input2)), then reduced: a target of 1 wants the first larger, -1 the second.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    x, y, t = as_tensor(input1), as_tensor(input2), as_tensor(target)
    return reduced(_hinge(margin - t * (x - y)), reduction, "margin_ranking_loss")


@scope
def soft_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target input)), without overflow, then reduced; targets are 1 and -1.

    Raises:
      ShapeError: the shapes do not broadcast.
    """
    return reduced(special.softplus(-(as_tensor(target) * as_tensor(input))), reduction, "soft_margin_loss")


@scope
def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """Mean over the classes of the cross-entropy of sigmoid(input) with the target, then reduced over the batch.

    Shapes:
      input, target: [..., classes]; weight: [classes].

    Raises:
      ShapeError: the shapes differ.
    """
    x, y = pair(input, target, "multilabel_soft_margin_loss")
    losses = y * special.softplus(-x) + (1.0 - y) * special.softplus(x)
    if weight is not None:
        losses = losses * as_tensor(weight).astype(losses.dtype)
    return reduced(mean(losses, axis=-1), reduction, "multilabel_soft_margin_loss")


@scope
def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """Mean over the classes j of weight[y] max(0, margin - input[y] + input[j])^p, j = y left out, then reduced.

    Shapes:
      input: [classes] or [batch, classes]; target y: class numbers [] or [batch]; weight: [classes].

    Raises:
      ShapeError: the shapes do not fit.
      ArgumentError: `p` is neither 1 nor 2, or a class number is out of range.
    """
    who = "multi_margin_loss"
    x, labels = as_tensor(input), as_tensor(target)
    if p not in (1, 2):
        raise ArgumentError(f"{who}: p must be 1 or 2, got {p}")
    if x.ndim not in (1, 2) or labels.shape not in (x.shape[:-1], (1,) * (2 - x.ndim)) or labels.dtype.kind not in "iu":
        raise ShapeError(
            f"{who}: expected [batch, classes] and integers [batch], got {shown(x)} and {shown(labels)}{here()}"
        )
    n = x.shape[-1]
    labels = classes(labels.reshape(x.shape[:-1]), n=n, ignored=-1 - n, who=who)
    right = take_along_axis(x, expand_dims(labels, axis=-1), axis=-1)
    over = _hinge(margin - right + x)
    over = over * over if p == 2 else over
    if weight is not None:
        over = over * expand_dims(take(as_tensor(weight).astype(x.dtype), labels, axis=0), axis=-1)
    others = ew.equal(one_hot(labels, n, dtype=bool), False)
    return reduced(sum(ew.where(others, over, 0.0), axis=-1) / n, reduction, who)


@scope
def multilabel_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Sum of max(0, 1 - (input[j] - input[i])) / classes over target classes j and other classes i, then reduced.

    Shapes:
      input: [classes] or [batch, classes]; target: shaped like it, class numbers up to the first negative one.

    Costs classes^2 numbers for each example.

    Raises:
      ShapeError: the shapes differ.
      ArgumentError: a class number is out of range.
    """
    who = "multilabel_margin_loss"
    x, labels = as_tensor(input), as_tensor(target)
    if x.shape != labels.shape or x.ndim not in (1, 2) or labels.dtype.kind not in "iu":
        raise ShapeError(
            f"{who}: expected [batch, classes] and integers shaped so, got {shown(x)} and {shown(labels)}{here()}"
        )
    n = x.shape[-1]
    ended = matmul((labels < 0).astype(np.float32), np.triu(np.ones((n, n), np.float32))) > 0.0
    labels = classes(ew.where(ended, -1, labels), n=n, ignored=-1, who=who)
    hits = one_hot(labels, n, dtype=bool)  # [..., k, class]; a label of -1 has no class
    others = ew.equal(sum(hits.astype(np.int64), axis=-2), 0)  # [..., class]
    scores = take_along_axis(x, ew.where(ended, 0, labels), axis=-1)  # [..., k]
    over = _hinge(1.0 - expand_dims(scores, axis=-1) + expand_dims(x, axis=-2))  # [..., k, class]
    counted = ew.logical_and(expand_dims(ew.logical_not(ended), axis=-1), expand_dims(others, axis=-2))
    return reduced(sum(ew.where(counted, over, 0.0), axis=(-2, -1)) / n, reduction, who)


@scope
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:  # fmt: skip
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1, then reduced.

    Shapes:
      input1, input2: [size] or [batch, size]; target: [] or [batch].

    As in PyTorch 1e-12 is added to each squared length, so that the cosine with a vector of zeros is 0.

    Raises:
      ShapeError: the shapes do not fit.
    """
    who = "cosine_embedding_loss"
    x, y, t = as_tensor(input1), as_tensor(input2), as_tensor(target)
    if x.ndim not in (1, 2) or x.ndim != y.ndim or t.ndim != x.ndim - 1:
        raise ShapeError(
            f"{who}: expected [batch, size] twice and [batch], got {shown(x)}, {shown(y)}, {shown(t)}{here()}"
        )
    squares = [sum(v * v, axis=-1) + 1e-12 for v in (x, y)]
    cosine = sum(x * y, axis=-1) / ew.sqrt(squares[0] * squares[1])
    losses = ew.where(t == 1, 1.0 - cosine, 0.0) + ew.where(t == -1, _hinge(cosine - margin), 0.0)
    return reduced(losses, reduction, who)


@scope
def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with d the `pairwise_distance`, then reduced.

    With `swap` the negative's distance is the smaller of those to the anchor and to the positive (Balntas et al., 2016).

    Raises:
      ShapeError: the inputs differ in their number of axes, or do not broadcast.
      ArgumentError: `margin` is not positive.
    """
    if margin <= 0:
        raise ArgumentError(f"triplet_margin_loss: margin must be positive, got {margin}")
    return _triplet(
        "triplet_margin_loss", (anchor, positive, negative), lambda x, y: pairwise_distance(x, y, p, eps), margin, swap, reduction
    )  # fmt: skip


@scope
def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0, swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`triplet_margin_loss` with any distance of two batches, `pairwise_distance` unless given."""
    if margin <= 0:
        raise ArgumentError(f"triplet_margin_with_distance_loss: margin must be positive, got {margin}")
    who, distance = "triplet_margin_with_distance_loss", distance_function or pairwise_distance
    return _triplet(who, (anchor, positive, negative), distance, margin, swap, reduction)


def _triplet(
    who: str, inputs: tuple[Any, Any, Any], distance: Callable[[Tensor, Tensor], Tensor], margin: float, swap: bool, reduction: str
) -> Tensor:  # fmt: skip
    check_reduction(reduction, who)
    a, b, c = (as_tensor(x) for x in inputs)
    if not a.ndim == b.ndim == c.ndim:
        raise ShapeError(
            f"{who}: the inputs differ in their number of axes: {shown(a)}, {shown(b)}, {shown(c)}{here()}"
        )
    near, far = distance(a, b), distance(a, c)
    far = ew.minimum(far, distance(b, c)) if swap else far
    return reduced(_hinge(near - far + margin), reduction, who)
