"""Connectionist temporal classification."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.control import scan
from backlit.functional.reduction import check_reduction, reduced
from backlit.ops import elementwise as ew
from backlit.ops.classes import classes
from backlit.ops.picking import take_along_axis
from backlit.ops.shape import broadcast_to, concat, expand_dims, reshape, stack
from backlit.ops.statistics import logsumexp, mean


@scope
def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """-log of the probability of a sequence, summed over its alignments with the frames (Graves et al., 2006, eq. 6 to 8).

    Shapes:
      log_probs: [frames, batch, classes] or [frames, classes], logarithms of probabilities;
      targets: [batch, longest] or all of them one after another [sum of target_lengths];
      input_lengths, target_lengths: [batch], or numbers without the batch axis.

    `reduction="mean"` divides each loss by its target length, then takes the mean over the batch. A target that is too long
    for its frames has the loss infinity, or 0 with `zero_infinity`; its gradient is 0 either way.

    The recursion over frames is a `scan` of ordinary ops on logarithms, so every transform and order of derivative goes
    through it (PyTorch's gradient cannot be differentiated again), and the gradient is that in `log_probs` themselves: PyTorch's
    is that in the logits before a log_softmax, which is the same once it has gone through one.

    Raises:
      ShapeError: the shapes do not fit.
      ArgumentError: `blank` or a target is no class, a length is out of range, or lengths are not known when a graph is made
        of concatenated targets.
    """
    who = "ctc_loss"
    check_reduction(reduction, who)
    x, labels = as_tensor(log_probs), as_tensor(targets)
    single = x.ndim == 2
    x = expand_dims(x, axis=1) if single else x
    if x.ndim != 3:
        raise ShapeError(f"{who}: expected log_probs [frames, batch, classes], got {shown(x)}{here()}")
    frames, batch, n = x.shape
    if not 0 <= blank < n:
        raise ArgumentError(f"{who}: blank {blank} is not in 0..{n - 1}")
    lengths = [reshape(as_tensor(v), (-1,)) for v in (input_lengths, target_lengths)]
    for name, v in zip(("input_lengths", "target_lengths"), lengths, strict=True):
        if v.shape != (batch,) or v.dtype.kind not in "iu":
            raise ShapeError(f"{who}: {name} must be integers [{batch}], got {shown(v)}{here()}")
    n_frames, n_labels = lengths
    n_frames = classes(n_frames, n=frames + 1, ignored=-1 - frames, who=f"{who}: input_lengths")
    if labels.ndim == 1 and not single:
        labels = _rows(labels, n_labels)
    labels = reshape(labels, (1, -1)) if labels.ndim == 1 else labels
    if labels.ndim != 2 or labels.shape[0] != batch or labels.dtype.kind not in "iu":
        raise ShapeError(f"{who}: expected targets [{batch}, longest] of integers, got {shown(labels)}{here()}")
    longest = labels.shape[1]
    n_labels = classes(n_labels, n=longest + 1, ignored=-1 - longest, who=f"{who}: target_lengths")
    inside = ew.less(np.arange(longest), expand_dims(n_labels, axis=1))
    labels = classes(ew.where(inside, labels, blank), n=n, ignored=-1 - n, who=who)
    losses = -_log_likelihood(x, labels, n_frames, n_labels, blank)
    if zero_infinity:
        losses = ew.where(losses == math.inf, 0.0, losses)
    if reduction == "mean":
        return mean(losses / ew.maximum(n_labels, 1).astype(x.dtype))
    losses = reshape(losses, ()) if single else losses
    return reduced(losses, reduction, who)


def _rows(labels: Tensor, n_labels: Tensor) -> Tensor:
    """Targets that follow one another, as rows that end in zeros."""
    try:
        counts = np.asarray(n_labels.numpy(), np.int64)
    except Exception as error:
        raise ArgumentError(
            f"ctc_loss: concatenated targets need target_lengths that are known; give targets [batch, longest]{here()}"
        ) from error
    if counts.sum() != labels.shape[0] or (counts < 0).any():
        raise ShapeError(f"ctc_loss: target_lengths add up to {counts.sum()}, but targets are {shown(labels)}{here()}")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    at = starts[:, None] + np.arange(int(counts.max(initial=0)))
    return labels[np.minimum(at, max(labels.shape[0] - 1, 0))] if labels.shape[0] else reshape(labels, (len(counts), 0))


def _log_likelihood(x: Tensor, labels: Tensor, n_frames: Tensor, n_labels: Tensor, blank: int) -> Tensor:
    (frames, batch, _), longest = x.shape, labels.shape[1]
    places = 2 * longest + 1  # blanks before, between and after the labels
    filled = stack([labels * 0 + blank, labels], axis=2).reshape((batch, 2 * longest))
    path = concat([filled, np.full((batch, 1), blank, labels.dtype)], axis=1)
    # a label may follow the one before it at once, unless they are the same
    repeated = concat([np.ones((batch, 1), bool), ew.equal(labels[:, 1:], labels[:, :-1])], axis=1)[:, :longest]
    repeated = stack([np.ones((batch, longest), bool), repeated], axis=2).reshape((batch, 2 * longest))
    skips = ew.logical_not(concat([repeated, np.ones((batch, 1), bool)], axis=1))
    emitted = take_along_axis(x, broadcast_to(path, (frames, batch, places)), axis=2)
    nothing = np.full((batch, places), -math.inf, x.dtype)
    start = nothing.copy()
    start[:, 0] = 0.0  # before the first frame: from there into the first blank or the first label

    def step(state: Tensor, frame: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        at, log_p = frame
        one = concat([nothing[:, :1], state[:, :-1]], axis=1)
        two = ew.where(skips, concat([nothing[:, :2], state[:, :-2]], axis=1)[:, :places], -math.inf)
        after = logsumexp(stack([state, one, two]), axis=0) + log_p
        return ew.where(expand_dims(at < n_frames, axis=1), after, state), None

    state, _ = scan(step, start, (np.arange(frames), emitted))
    last = expand_dims(2 * n_labels, axis=1)
    ends = take_along_axis(state, concat([last, ew.maximum(last - 1, 0)], axis=1), axis=1)
    ends = ew.where(ew.logical_and(np.array([False, True]), last == 0), -math.inf, ends)
    return logsumexp(ends, axis=1)
