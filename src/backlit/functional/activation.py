"""Activations, elementwise and along an axis."""

from __future__ import annotations

import math
from typing import Any

from backlit.core.errors import ArgumentError
from backlit.core.record import scope
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise as ew
from backlit.ops import reduce, special


def relu(x: Any) -> Tensor:
    """max(x, 0); its derivative at 0 is 0."""
    return ew.maximum(x, 0.0)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow and exact in both tails."""
    return special.sigmoid(x)


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent."""
    return ew.tanh(x)


@scope
def silu(x: Any) -> Tensor:
    """x * sigmoid(x) (also named swish)."""
    return ew.mul(x, sigmoid(x))


@scope
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; `x` itself where beta * x is above `threshold`."""
    x = as_tensor(x)
    scaled = x if beta == 1.0 else x * beta
    smooth = special.softplus(scaled)
    return ew.where(scaled > threshold, x, smooth if beta == 1.0 else smooth / beta)


@scope
def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the normal distribution function Phi (Hendrycks and Gimpel, 2016).

    `approximate="tanh"` gives 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    Raises:
      ArgumentError: `approximate` is neither "none" nor "tanh".
    """
    x = as_tensor(x)
    if approximate == "none":
        return x * special.normal_cdf(x)  # type: ignore[no-any-return]
    if approximate == "tanh":
        inner = math.sqrt(8.0 / math.pi) * (x + 0.044715 * (x * x * x))
        return x * sigmoid(inner)  # type: ignore[no-any-return]  # which keeps the digits that 1 + tanh loses
    raise ArgumentError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")


@scope
def log_softmax(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """log(softmax(x)) along `axis` (the last unless given), without overflow."""
    x, at = as_tensor(x), _axis(axis, dim)
    return x - reduce.logsumexp(x, axis=at, keepdims=True)  # type: ignore[no-any-return]


@scope
def softmax(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis` (the last unless given), without overflow."""
    return ew.exp(log_softmax(x, axis, dim=dim))


def _axis(axis: int | None, dim: int | None) -> int:
    return -1 if axis is None and dim is None else dim if axis is None else axis  # type: ignore[return-value]
