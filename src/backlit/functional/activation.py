"""Activations, elementwise and along an axis; formulas call the input x."""

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
from backlit.ops.operators import replace
from backlit.ops.shape import reshape

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0); its derivative at 0 is 0."""
    x = as_tensor(input)
    return _put(x, ew.maximum(x, 0.0), inplace)


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow and exact in both tails."""
    return special.sigmoid(input)


def tanh(input: Any) -> Tensor:
    """Hyperbolic tangent."""
    return ew.tanh(input)


@scope
def silu(input: Any, inplace: bool = False) -> Tensor:
    """x * sigmoid(x) (also named swish)."""
    x = as_tensor(input)
    return _put(x, ew.mul(x, sigmoid(x)), inplace)


@scope
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; `input` itself where beta * x is above `threshold`."""
    x = as_tensor(input)
    scaled = x if beta == 1.0 else x * beta
    smooth = special.softplus(scaled)
    return ew.where(scaled > threshold, x, smooth if beta == 1.0 else smooth / beta)


@scope
def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the normal distribution function Phi (Hendrycks and Gimpel, 2016).

    `approximate="tanh"` gives 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    Raises:
      ArgumentError: `approximate` is neither "none" nor "tanh".
    """
    x = as_tensor(input)
    if approximate == "none":
        return x * special.normal_cdf(x)
    if approximate == "tanh":
        inner = math.sqrt(8.0 / math.pi) * (x + 0.044715 * (x * x * x))
        return x * sigmoid(inner)
    raise ArgumentError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")


@scope
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`input` where it is positive, else `negative_slope * x`; its derivative at 0 is `negative_slope`."""
    x = as_tensor(input)
    return _put(x, ew.where(x > 0.0, x, x * negative_slope), inplace)


@scope
def prelu(input: Any, weight: Any) -> Tensor:
    """`input` where it is positive, else `weight * x`; its derivative at 0 is `weight`.

    Shapes:
      x: [batch, channels, ...]; weight: one number, or [channels].

    Raises:
      ShapeError: `weight` has neither one element nor one for each channel.
    """
    x, weight = as_tensor(input), as_tensor(weight)
    if weight.size == 1:
        slope = reshape(weight, ())
    elif weight.ndim == 1 and x.ndim > 1 and weight.size == x.shape[1]:
        slope = reshape(weight, (-1, *(1 for _ in x.shape[2:])))
    else:
        raise ShapeError(
            f"prelu: expected a weight of one element or one a channel of [batch, channels, ...], got weight {shown(weight)} "
            f"for {shown(x)}{here()}"
        )
    return ew.where(x > 0.0, x, x * slope)


@scope
def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` where it is positive, else alpha (exp(x) - 1); its derivative at 0 is `alpha`."""
    x = as_tensor(input)
    return _put(x, ew.where(x > 0.0, x, ew.expm1(x) * alpha), inplace)


@scope
def selu(input: Any, inplace: bool = False) -> Tensor:
    """1.0507 elu(x, 1.6733), the numbers of Klambauer et al. (2017), under which moments keep 0 and 1."""
    x = as_tensor(input)
    return _put(x, elu(x, SELU_ALPHA) * SELU_SCALE, inplace)


@scope
def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` where it is positive, else alpha (exp(x / alpha) - 1); its derivative at 0 is 1.

    Raises:
      ArgumentError: `alpha` is 0.
    """
    if alpha == 0:
        raise ArgumentError("celu: alpha must not be 0")
    x = as_tensor(input)
    return _put(x, ew.where(x > 0.0, x, ew.expm1(x / alpha) * alpha), inplace)


@scope
def mish(input: Any, inplace: bool = False) -> Tensor:
    """x tanh(log(1 + exp(x))) (Misra, 2019)."""
    x = as_tensor(input)
    return _put(x, x * ew.tanh(special.softplus(x)), inplace)


@scope
def logsigmoid(input: Any) -> Tensor:
    """log(sigmoid(x)), exact in both tails."""
    return -special.softplus(-as_tensor(input))


@scope
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` held between `min_val` and `max_val`; its derivative at both is 0.

    Raises:
      ArgumentError: `min_val` is above `max_val`.
    """
    if min_val > max_val:
        raise ArgumentError(f"hardtanh: min_val {min_val} is above max_val {max_val}")
    x = as_tensor(input)
    return _put(x, array.clip(x, min_val, max_val), inplace)


@scope
def relu6(input: Any, inplace: bool = False) -> Tensor:
    """`input` held between 0 and 6; its derivative at both is 0."""
    x = as_tensor(input)
    return _put(x, array.clip(x, 0.0, 6.0), inplace)


@scope
def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6; its derivative at -3 and 3 is 0."""
    x = as_tensor(input)
    return _put(x, relu6(x + 3.0) / 6.0, inplace)


@scope
def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """x relu6(x + 3) / 6; its derivative at -3 is 0, at 3 it is 1."""
    x = as_tensor(input)
    return _put(x, x * relu6(x + 3.0) / 6.0, inplace)


@scope
def softsign(input: Any) -> Tensor:
    """x / (1 + |x|)."""
    x = as_tensor(input)
    return x / (1.0 + ew.abs(x))


@scope
def tanhshrink(input: Any) -> Tensor:
    """x - tanh(x)."""
    x = as_tensor(input)
    return x - ew.tanh(x)


@scope
def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """`input` moved by `lambd` towards 0, and 0 where |x| <= lambd, with the derivative 0 there.

    Raises:
      ArgumentError: `lambd` is negative.
    """
    if lambd < 0:
        raise ArgumentError(f"softshrink: lambd must not be negative, got {lambd}")
    x = as_tensor(input)
    return ew.where(ew.abs(x) <= lambd, 0.0, x - rounding.copysign(float(lambd), x))


@scope
def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """`input`, and 0 where |x| <= lambd, with the derivative 0 there."""
    x = as_tensor(input)
    return ew.where(ew.abs(x) <= lambd, 0.0, x)


@scope
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`input` where it is above `threshold`, else `value`, with the derivative 0."""
    x = as_tensor(input)
    return _put(x, ew.where(x <= threshold, value, x), inplace)


@scope
def glu(input: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """a sigmoid(b) with a, b the halves of `input` along `dim` (Dauphin et al., 2017).

    Raises:
      ShapeError: the axis has an odd length.
    """
    x = as_tensor(input)
    (at,) = linear.normalize_axes("glu", dim if axis is None else axis, x.ndim)
    n = x.shape[at]
    if n % 2:
        raise ShapeError(f"glu: axis {at} must have an even length, got {shown(x)}{here()}")
    before = (slice(None),) * at
    a, b = x[(*before, slice(0, n // 2))], x[(*before, slice(n // 2, n))]
    return a * sigmoid(b)


@scope
def log_softmax(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """log(softmax(input)) along `dim` (the last axis unless given), without overflow; of `dtype` first, where that is given."""
    x, at = _cast(input, dtype), _axis(dim, axis)
    return x - reduce.logsumexp(x, axis=at, keepdims=True)


@scope
def softmax(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """exp(input) / sum(exp(input)) along `dim` (the last axis unless given), without overflow."""
    return ew.exp(log_softmax(input, dim, dtype, axis=axis))


@scope
def softmin(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """softmax(-input) along `dim` (the last axis unless given)."""
    return softmax(-as_tensor(input), dim, dtype, axis=axis)


def _axis(dim: int | None, axis: int | None) -> int:
    return axis if axis is not None else -1 if dim is None else dim


def _cast(x: Any, dtype: Any) -> Tensor:
    return as_tensor(x) if dtype is None else array.astype(x, dtype)


def _put(x: Tensor, out: Tensor, inplace: bool) -> Tensor:
    """`out`, as the new value of `input` itself where it is to be in place."""
    return replace(x, out) if inplace else out
