"""Losses of numbers: distances of prediction and target, and likelihoods of some distributions."""

from __future__ import annotations

import math
from typing import Any

from backlit.autodiff.reverse import stop_gradient
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.functional.reduction import check_reduction, pair, reduced, scaled, weighted
from backlit.ops import elementwise as ew
from backlit.ops import exponential
from backlit.ops.shape import reshape
from backlit.ops.statistics import sum


@scope
def mse_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """Squared error (input - target)^2, elementwise, then reduced; with `weight` the mean is the weighted one.

    Raises:
      ShapeError: the shapes differ; they are not broadcast, which hides mistakes.
    """
    x, y = pair(input, target, "mse_loss")
    off = x - y
    return weighted(off * off, weight, reduction, "mse_loss")


@scope
def l1_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Tensor:
    """Absolute error |input - target|, elementwise, then reduced; its derivative where they are equal is 0.

    Raises:
      ShapeError: the shapes differ.
    """
    x, y = pair(input, target, "l1_loss")
    return weighted(ew.abs(x - y), weight, reduction, "l1_loss")


@scope
def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target (Girshick, 2015).

    Raises:
      ShapeError: the shapes differ.
      ArgumentError: `beta` is negative.
    """
    if beta < 0:
        raise ArgumentError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    x, y = pair(input, target, "smooth_l1_loss")
    off = x - y
    size = ew.abs(off)
    losses = size if beta == 0 else ew.where(size < beta, off * off * (0.5 / beta), size - 0.5 * beta)
    return reduced(losses, reduction, "smooth_l1_loss")


@scope
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = input - target (Huber, 1964).

    `weight` scales the losses; the mean is divided by their number, as in PyTorch, whose `mse_loss` differs in this.

    Raises:
      ShapeError: the shapes differ.
      ArgumentError: `delta` is not positive.
    """
    if delta <= 0:
        raise ArgumentError(f"huber_loss: delta must be positive, got {delta}")
    x, y = pair(input, target, "huber_loss")
    off = x - y
    size = ew.abs(off)
    losses = ew.where(size <= delta, off * off * 0.5, (size - 0.5 * delta) * delta)
    return reduced(losses if weight is None else scaled(losses, weight, "huber_loss"), reduction, "huber_loss")


@scope
def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target (log target - input), the divergence of log-probabilities `input` from `target`, elementwise, then reduced.

    With `log_target` the target is given by its logarithm. Elements where the target is 0 give 0. `reduction="batchmean"`
    divides the sum by the length of the first axis, which makes it the divergence of distributions.

    Raises:
      ShapeError: the shapes differ.
      ArgumentError: `reduction` is none of 'mean', 'batchmean', 'sum', 'none'.
    """
    x, y = pair(input, target, "kl_div")
    losses = ew.exp(y) * (y - x) if log_target else exponential.xlogy(y, y) - y * x
    if reduction == "batchmean":
        return sum(losses) / (x.shape[0] if x.ndim else 1)
    return reduced(losses, reduction, "kl_div")


@scope
def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> Tensor:
    """exp(input) - target input: negative log likelihood of counts under a Poisson distribution, up to log(target!).

    Without `log_input` the input is the rate itself, input - target log(input + eps). `full` adds Stirling's approximation of
    log(target!) where target > 1.

    Raises:
      ShapeError: the shapes differ.
    """
    x, y = pair(input, target, "poisson_nll_loss")
    losses = ew.exp(x) - y * x if log_input else x - y * ew.log(x + eps)
    if full:
        stirling = y * ew.log(y) - y + 0.5 * ew.log(y * (2.0 * math.pi))
        losses = losses + ew.where(y <= 1.0, 0.0, stirling)
    return reduced(losses, reduction, "poisson_nll_loss")


@scope
def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log var + (input - target)^2 / var) / 2: negative log likelihood under a normal distribution of variance `var`.

    `var` is a number, or shaped like input, or lacks its last axis, or has it with length 1. It is held above `eps`; its
    gradient is that at the value so held, as in PyTorch, and does not stop there. `full` adds log(2 pi) / 2. A negative
    variance is an error where its value is there to be looked at, so not inside compiled functions and transforms.

    Raises:
      ShapeError: the shapes differ, or `var` does not fit.
      ArgumentError: `eps` is not positive, or a variance is negative.
    """
    who = "gaussian_nll_loss"
    if eps <= 0:
        raise ArgumentError(f"{who}: eps must be positive, got {eps}")
    check_reduction(reduction, who)
    x, y, v = as_tensor(input), as_tensor(target), as_tensor(var)
    try:
        off = x - y
    except ShapeError:
        raise ShapeError(f"{who}: input {shown(x)} and target {shown(y)} do not broadcast{here()}") from None
    v = v if v.dtype == off.dtype else v.astype(off.dtype)
    if v.ndim and v.shape != off.shape:
        if v.shape == off.shape[:-1]:
            v = reshape(v, (*v.shape, 1))
        elif v.ndim != off.ndim or v.shape[:-1] != off.shape[:-1] or v.shape[-1] != 1:
            raise ShapeError(f"{who}: var {shown(v)} does not fit the errors {shown(off)}{here()}")
    if not isinstance(v._value, Box) and (v._value < 0).any():
        raise ArgumentError(f"{who}: a variance is negative in {shown(v)}{here()}")
    held = ew.where(v >= eps, v, eps + (v - stop_gradient(v)))
    losses = 0.5 * (ew.log(held) + off * off / held)
    if full:
        losses = losses + 0.5 * math.log(2.0 * math.pi)
    return reduced(losses, reduction, who)
