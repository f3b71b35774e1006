"""Initial values of parameters, under PyTorch's names: each writes into `tensor` where it lies, and gives it.

Nothing of it is recorded. The samplers take `generator`, the default one unless given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, no_grad
from backlit.ops import samplers

_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights before `nonlinearity` are scaled up so that variances stay; `param` is the slope of leaky_relu.

    Raises:
      ArgumentError: there is no such nonlinearity.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1.0 + slope**2))
    if nonlinearity not in _GAINS:
        raise ArgumentError(
            f"calculate_gain: no nonlinearity {nonlinearity!r}; there are leaky_relu, {', '.join(_GAINS)}"
        )
    return _GAINS[nonlinearity]


def _written(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        tensor[...] = values
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Values uniform in [a, b)."""
    return _written(tensor, samplers.uniform(tensor.shape, a, b, tensor.dtype, generator))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Values normal with the given mean and standard deviation."""
    return _written(tensor, samplers.normal(tensor.shape, mean, std, tensor.dtype, generator))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Values normal with the given mean and standard deviation under the condition that they are in [a, b]."""
    lower, upper = (a - mean) / std, (b - mean) / std
    return _written(tensor, samplers.truncated_normal(tensor.shape, lower, upper, mean, std, tensor.dtype, generator))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The number `val` everywhere."""
    return _written(tensor, val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return _written(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return _written(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Raises:
      ShapeError: `tensor` is no matrix.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: expected a matrix, got {shown(tensor)}{here()}")
    return _written(tensor, np.eye(*tensor.shape, dtype=tensor.dtype))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Weights of a convolution that hands on as many channels as it can, in each group: ones at the middle, zeros elsewhere.

    Raises:
      ShapeError: `tensor` has not three to five axes, or `groups` does not divide the first.
    """
    if tensor.ndim not in (3, 4, 5) or groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: expected [{groups} n, channels, lengths of the kernel], got {shown(tensor)}{here()}")
    values = np.zeros(tensor.shape, tensor.dtype)
    rows = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for g in range(groups):
        for k in range(min(rows, tensor.shape[1])):
            values[(g * rows + k, k, *middle)] = 1
    return _written(tensor, values)


def _fans(tensor: Tensor, who: str) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ShapeError(f"{who}: expected [out, in, ...], got {shown(tensor)}{here()}")
    places = math.prod(tensor.shape[2:])
    return tensor.shape[1] * places, tensor.shape[0] * places


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Values uniform in +-gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).

    Raises:
      ShapeError: `tensor` has fewer than two axes.
    """
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor, "xavier_uniform_")))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Values normal with the standard deviation gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010).

    Raises:
      ShapeError: `tensor` has fewer than two axes.
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor, "xavier_normal_"))), generator)


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str, who: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"{who}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(tensor, who)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Values uniform in +-gain sqrt(3 / fan); `a` is the slope of leaky_relu behind (He et al., 2015).

    Raises:
      ShapeError: `tensor` has fewer than two axes.
      ArgumentError: `mode` or `nonlinearity` is unknown.
    """
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Values normal with the standard deviation gain / sqrt(fan); `a` is the slope of leaky_relu behind (He et al., 2015).

    Raises:
      ShapeError: `tensor` has fewer than two axes.
      ArgumentError: `mode` or `nonlinearity` is unknown.
    """
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity, "kaiming_normal_"), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al., 2014).

    What has more than two axes is taken as [out, all others].

    Raises:
      ShapeError: `tensor` has fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: expected [out, in, ...], got {shown(tensor)}{here()}")
    if not tensor.size:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = np.asarray(samplers.normal((rows, columns), dtype=np.float64, generator=generator))
    q, r = np.linalg.qr(drawn.T if rows < columns else drawn)
    q = q * np.sign(np.diag(r))  # so that all orthogonal matrices are equally likely (Mezzadri, 2007)
    return _written(tensor, (gain * (q.T if rows < columns else q)).reshape(tensor.shape).astype(tensor.dtype))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Normal values of which in each column the share `sparsity` is 0 (Martens, 2010).

    Raises:
      ShapeError: `tensor` is no matrix.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: expected a matrix, got {shown(tensor)}{here()}")
    rows, columns = tensor.shape
    n_zero = math.ceil(sparsity * rows)
    values = np.array(samplers.normal((rows, columns), 0.0, std, tensor.dtype, generator))
    order = np.argsort(np.asarray(samplers.uniform((rows, columns), dtype=np.float64, generator=generator)), axis=0)
    np.put_along_axis(values, order[:n_zero], 0, axis=0)
    return _written(tensor, values)
