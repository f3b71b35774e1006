"""Normalisation as modules, with PyTorch's names of parameters and buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from backlit import functional as F
from backlit.arrays.creation import ones, zeros
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, tensor
from backlit.nn.module import Module, Parameter


class _Norm(Module):
    """`weight` of ones and `bias` of zeros, each None where it is not wanted."""

    weight: Parameter | None
    bias: Parameter | None

    def scales(self, shape: tuple[int, ...], weight: bool, bias: bool, dtype: Any) -> None:
        """Registers both."""
        self.register_parameter("weight", Parameter(ones(shape, dtype=dtype)) if weight else None)
        self.register_parameter("bias", Parameter(zeros(shape, dtype=dtype)) if bias else None)


class _Running(_Norm):
    """Normalisation of channels that may keep running moments."""

    n_axes: ClassVar[tuple[int, ...]] = ()  # how many an input may have
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, bias: bool,
        dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_features < 0:
            raise ArgumentError(f"{type(self).__name__}: num_features must not be negative, got {num_features}")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.scales((num_features,), affine, affine and bias, dtype)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros((num_features,), dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones((num_features,), dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(np.array(0, np.int64)) if tracked else None)

    def reset_running_stats(self) -> None:
        """Sets the running moments to mean 0 and variance 1."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean[...] = 0.0
            self.running_var[...] = 1.0
            self.num_batches_tracked[...] = 0

    def check(self, x: Tensor) -> None:
        """Refuses inputs with another number of axes or channels."""
        if x.ndim not in self.n_axes:
            raise ShapeError(
                f"{type(self).__name__}: expected {' or '.join(map(str, self.n_axes))} axes, got {shown(x)}{here()}"
            )

    def rate(self) -> Any:
        """How far the running moments move to those of the batch at hand."""
        if self.momentum is not None:
            return self.momentum
        if self.num_batches_tracked is None or self.running_mean is None:
            return 0.0
        return 1.0 / (self.num_batches_tracked + 1).astype(self.running_mean.dtype)  # their mean over all batches

    def count(self) -> None:
        """Counts a batch."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked[...] = self.num_batches_tracked + 1

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Running):
    """Normalisation of each channel by the moments of the batch, in `eval` mode by the running ones.

    `weight` (ones) and `bias` (zeros), [num_features], are there with `affine`; `running_mean`, `running_var`, [num_features],
    and `num_batches_tracked` with `track_running_stats`, without which the moments of the batch are used in `eval` mode too. The
    running moments move by `momentum` to those of each batch; with `momentum=None` they are the mean over all batches.

    Raises:
      ShapeError: the input has another number of axes or channels, or one value a channel while training.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, bias: bool = True, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x`."""
        self.check(x)
        own = self.training or self.running_mean is None
        out = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, self.rate(), self.eps
        )  # fmt: skip
        if self.training:
            self.count()
        return out


class BatchNorm1d(_BatchNorm):
    """Normalises each channel of `[batch, channels]` or `[batch, channels, length]` over all else.

    While training by the moments of the batch, in `eval` mode by the running ones. `weight` and `bias` are there with `affine`,
    `running_mean`, `running_var` and `num_batches_tracked` with `track_running_stats`.
    """

    n_axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for `[batch, channels, height, width]`."""

    n_axes = (4,)


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for `[batch, channels, depth, height, width]`."""

    n_axes = (5,)


class _InstanceNorm(_Running):
    """Normalisation of each channel of each example by its own moments.

    `weight` (ones) and `bias` (zeros), [num_features], are there with `affine`; with `track_running_stats` running moments as
    those of `BatchNorm1d`, which are used in `eval` mode; with `momentum=None` they stay as they are.

    Raises:
      ShapeError: the input has another number of axes or channels, or one place.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
        track_running_stats: bool = False, *, bias: bool = True, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x`."""
        self.check(x)
        single = x.ndim == min(self.n_axes)
        out = F.instance_norm(
            x.unsqueeze(0) if single else x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each example of `[batch, channels, length]` (or without the batch axis) over its places.

    `weight` and `bias` are there with `affine`; with `track_running_stats` running moments, which are used in `eval` mode.
    """

    n_axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` for `[batch, channels, height, width]`, or without the batch axis."""

    n_axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` for `[batch, channels, depth, height, width]`, or without the batch axis."""

    n_axes = (4, 5)


class LayerNorm(_Norm):
    """Normalisation by the moments over the last axes, which are `normalized_shape`.

    `weight` (ones) and `bias` (zeros), shaped like them, are there with `elementwise_affine`, the latter with `bias` too.

    Raises:
      ShapeError: the last axes of the input are others.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, *,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.scales(self.normalized_shape, elementwise_affine, elementwise_affine and bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x`."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Division by the root of the mean square over the last axes, which are `normalized_shape`.

    `weight` (ones), shaped like them, is there with `elementwise_affine`. Without `eps` it is that of the dtype.

    Raises:
      ShapeError: the last axes of the input are others.
    """

    weight: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True, *,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter(
            "weight", Parameter(ones(self.normalized_shape, dtype=dtype)) if elementwise_affine else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x`."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Norm):
    """Normalisation of `[batch, channels, ...]` by the moments of each of `num_groups` groups of channels.

    `weight` (ones) and `bias` (zeros), [num_channels], are there with `affine`.

    Raises:
      ArgumentError: the groups do not divide the channels.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(f"GroupNorm: {num_channels} channels are not {num_groups} equal groups")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.scales((num_channels,), affine, affine and bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x`."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class LocalResponseNorm(Module):
    """`x / (k + alpha mean(x^2))^beta`, the mean over `size` neighbouring channels of `[batch, channels, ...]`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x`."""
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(int(n) for n in normalized_shape)
