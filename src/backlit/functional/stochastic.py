"""Activations that draw: random slopes, relaxed samples of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.autodiff.reverse import stop_gradient
from backlit.core.errors import ArgumentError
from backlit.core.record import scope
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.activation import softmax
from backlit.ops import elementwise as ew
from backlit.ops.linear import normalize_axes
from backlit.ops.operators import replace
from backlit.ops.samplers import gumbel, uniform
from backlit.ops.statistics import argmax


@scope
def rrelu(
    input: Any, lower: float = 1.0 / 8.0, upper: float = 1.0 / 3.0, training: bool = False, inplace: bool = False, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """`input` where it is positive, else a times it: a uniform in [lower, upper] while `training`, else (lower + upper) / 2.

    Its derivative at 0 is a (Xu et al., 2015).

    Raises:
      ArgumentError: `lower` is above `upper`.
    """
    if lower > upper:
        raise ArgumentError(f"rrelu: lower {lower} is above upper {upper}")
    x = as_tensor(input)
    slope = uniform(x.shape, lower, upper, x.dtype, generator) if training else (lower + upper) / 2.0
    out = ew.where(x > 0.0, x, x * slope)
    return replace(x, out) if inplace else out


@scope
def gumbel_softmax(
    logits: Any, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """softmax((logits + g) / tau) along `dim` with g Gumbel noise: a relaxed sample of classes (Jang et al., 2017).

    `hard` gives ones at the largest element, with the gradient of the relaxed sample. `eps` does nothing, as in PyTorch.
    """
    x = as_tensor(logits)
    soft = softmax((x + gumbel(x.shape, dtype=x.dtype, generator=generator)) / tau, dim)
    if not hard:
        return soft
    (at,) = normalize_axes("gumbel_softmax", dim, x.ndim)
    places = np.arange(x.shape[at]).reshape((-1, *(1 for _ in x.shape[at + 1 :])))
    chosen = ew.equal(argmax(soft, axis=at, keepdims=True), places).astype(x.dtype)
    return chosen + (soft - stop_gradient(soft))  # type: ignore[no-any-return]
