"""Activations, elementwise and along an axis."""

from __future__ import annotations

import math
from typing import Any

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import array, linear, reduce, rounding, special
from backlit.ops import elementwise as ew

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


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
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """`x` where it is positive, else `negative_slope * x`; its derivative at 0 is `negative_slope`."""
    x = as_tensor(x)
    return ew.where(x > 0.0, x, x * negative_slope)


@scope
def prelu(x: Any, weight: Any) -> Tensor:
    """`x` where it is positive, else `weight * x`; its derivative at 0 is `weight`.

    Shapes:
      x: [batch, channels, ...]; weight: one number, or [channels].

    Raises:
      ShapeError: `weight` has neither one element nor one for each channel.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.size == 1:
        slope = array.reshape(weight, ())
    elif weight.ndim == 1 and x.ndim > 1 and weight.size == x.shape[1]:
        slope = array.reshape(weight, (-1, *(1 for _ in x.shape[2:])))
    else:
        raise ShapeError(
            f"prelu: expected a weight of one element or one a channel of [batch, channels, ...], got weight {shown(weight)} "
            f"for {shown(x)}{here()}"
        )
    return ew.where(x > 0.0, x, x * slope)


@scope
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x` where it is positive, else alpha (exp(x) - 1); its derivative at 0 is `alpha`."""
    x = as_tensor(x)
    return ew.where(x > 0.0, x, ew.expm1(x) * alpha)


@scope
def selu(x: Any) -> Tensor:
    """1.0507 elu(x, 1.6733), the numbers of Klambauer et al. (2017), under which moments keep 0 and 1."""
    return elu(x, SELU_ALPHA) * SELU_SCALE


@scope
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """`x` where it is positive, else alpha (exp(x / alpha) - 1); its derivative at 0 is 1.

    Raises:
      ArgumentError: `alpha` is 0.
    """
    if alpha == 0:
        raise ArgumentError("celu: alpha must not be 0")
    x = as_tensor(x)
    return ew.where(x > 0.0, x, ew.expm1(x / alpha) * alpha)


@scope
def mish(x: Any) -> Tensor:
    """x tanh(log(1 + exp(x))) (Misra, 2019)."""
    x = as_tensor(x)
    return x * ew.tanh(special.softplus(x))  # type: ignore[no-any-return]


@scope
def logsigmoid(x: Any) -> Tensor:
    """log(sigmoid(x)), exact in both tails."""
    return -special.softplus(-as_tensor(x))


@scope
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`x` held between `min_val` and `max_val`; its derivative at both is 0.

    Raises:
      ArgumentError: `min_val` is above `max_val`.
    """
    if min_val > max_val:
        raise ArgumentError(f"hardtanh: min_val {min_val} is above max_val {max_val}")
    return array.clip(x, min_val, max_val)


@scope
def relu6(x: Any) -> Tensor:
    """`x` held between 0 and 6; its derivative at both is 0."""
    return array.clip(x, 0.0, 6.0)


@scope
def hardsigmoid(x: Any) -> Tensor:
    """relu6(x + 3) / 6; its derivative at -3 and 3 is 0."""
    return relu6(as_tensor(x) + 3.0) / 6.0


@scope
def hardswish(x: Any) -> Tensor:
    """x relu6(x + 3) / 6; its derivative at -3 is 0, at 3 it is 1."""
    x = as_tensor(x)
    return x * relu6(x + 3.0) / 6.0  # type: ignore[no-any-return]


@scope
def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    x = as_tensor(x)
    return x / (1.0 + ew.abs(x))  # type: ignore[no-any-return]


@scope
def tanhshrink(x: Any) -> Tensor:
    """x - tanh(x)."""
    x = as_tensor(x)
    return x - ew.tanh(x)  # type: ignore[no-any-return]


@scope
def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """`x` moved by `lambd` towards 0, and 0 where |x| <= lambd, with the derivative 0 there.

    Raises:
      ArgumentError: `lambd` is negative.
    """
    if lambd < 0:
        raise ArgumentError(f"softshrink: lambd must not be negative, got {lambd}")
    x = as_tensor(x)
    return ew.where(ew.abs(x) <= lambd, 0.0, x - rounding.copysign(float(lambd), x))


@scope
def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """`x`, and 0 where |x| <= lambd, with the derivative 0 there."""
    x = as_tensor(x)
    return ew.where(ew.abs(x) <= lambd, 0.0, x)


@scope
def threshold(x: Any, threshold: float, value: float) -> Tensor:
    """`x` where it is above `threshold`, else `value`, with the derivative 0."""
    x = as_tensor(x)
    return ew.where(x <= threshold, value, x)


@scope
def glu(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """a sigmoid(b) with a, b the halves of `x` along `axis`, the last unless given (Dauphin et al., 2017).

    Raises:
      ShapeError: the axis has an odd length.
    """
    x, at = as_tensor(x), _axis(axis, dim)
    (at,) = linear.normalize_axes("glu", at, x.ndim)
    n = x.shape[at]
    if n % 2:
        raise ShapeError(f"glu: axis {at} must have an even length, got {shown(x)}{here()}")
    before = (slice(None),) * at
    a, b = x[(*before, slice(0, n // 2))], x[(*before, slice(n // 2, n))]
    return a * sigmoid(b)  # type: ignore[no-any-return]


@scope
def log_softmax(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """log(softmax(x)) along `axis` (the last unless given), without overflow."""
    x, at = as_tensor(x), _axis(axis, dim)
    return x - reduce.logsumexp(x, axis=at, keepdims=True)  # type: ignore[no-any-return]


@scope
def softmax(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis` (the last unless given), without overflow."""
    return ew.exp(log_softmax(x, axis, dim=dim))


@scope
def softmin(x: Any, axis: int | None = None, *, dim: int | None = None) -> Tensor:
    """softmax(-x) along `axis` (the last unless given)."""
    return softmax(-as_tensor(x), axis, dim=dim)


def _axis(axis: int | None, dim: int | None) -> int:
    return -1 if axis is None and dim is None else dim if axis is None else axis  # type: ignore[return-value]
