"""Convolutions and their transposes as layers, with PyTorch's names and layouts of parameters."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from backlit import functional as F
from backlit.core.errors import ArgumentError
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor
from backlit.functional.lengths import Numbers
from backlit.nn.module import Module, Parameter

MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What all share: `weight`, `bias`, both uniform in ±1/sqrt(fan_in) at first, and their arguments."""

    n: ClassVar[int]  # axes of places
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Numbers, stride: Numbers, padding: Numbers | str,
        dilation: Numbers, output_padding: Numbers, groups: int, bias: bool, padding_mode: str, dtype: Any,
        generator: Generator | None,
    ) -> None:  # fmt: skip
        super().__init__()
        who = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(f"{who}: {groups} groups do not divide {in_channels} and {out_channels} channels")
        if padding_mode not in MODES:
            raise ArgumentError(f"{who}: padding_mode must be one of {', '.join(MODES)}, got {padding_mode!r}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(f"{who}: padding must be numbers, 'same' or 'valid', got {padding!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _each(kernel_size, self.n)
        self.stride = _each(stride, self.n)
        self.padding = padding if isinstance(padding, str) else _each(padding, self.n)
        self.dilation = _each(dilation, self.n)
        self.output_padding = _each(output_padding, self.n)
        self.groups = groups
        self.padding_mode = padding_mode
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
        draws = default_generator() if generator is None else generator
        self.weight = Parameter(draws.uniform(shape, -bound, bound, dtype))
        if bias:
            self.bias = Parameter(draws.uniform((out_channels,), -bound, bound, dtype))
        else:
            self.register_parameter("bias", None)

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        none, one = (0,) * self.n, (1,) * self.n
        shown = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        shown += [
            f"{name}={value}"
            for name, value, usual in (
                ("padding", self.padding, none), ("dilation", self.dilation, one),
                ("output_padding", self.output_padding, none), ("groups", self.groups, 1),
                ("bias", self.bias is not None, True), ("padding_mode", self.padding_mode, "zeros"),
            )
            if value != usual
        ]  # fmt: skip
        return ", ".join(shown)


def _each(value: Numbers, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(int(v) for v in value)


class _Forward(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Numbers, stride: Numbers = 1, padding: Numbers | str = 0,
        dilation: Numbers = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", *, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, dtype, generator
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of `input`."""
        conv = (F.conv1d, F.conv2d, F.conv3d)[self.n - 1]
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._around(), mode=self.padding_mode)
            padding = 0
        return conv(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _around(self) -> list[int]:
        """How much to add before and behind, the last axis first, as `functional.pad` takes it."""
        pairs = []
        for i in range(self.n):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                pairs.append((total // 2, total - total // 2))
            else:
                number = 0 if isinstance(self.padding, str) else self.padding[i]
                pairs.append((number, number))
        return [number for pair in reversed(pairs) for number in pair]


class Conv1d(_Forward):
    """Convolution of `[batch, in_channels, length]`, or without the batch axis.

    `weight: [out_channels, in_channels / groups, kernel]` and `bias: [out_channels]` start uniform in ±1/sqrt(fan_in).

    Raises:
      ArgumentError: the groups do not divide the channels, or a padding is unknown.
    """

    n = 1


class Conv2d(_Forward):
    """Convolution of `[batch, in_channels, height, width]`, or without the batch axis.

    `weight: [out_channels, in_channels / groups, kernel height, kernel width]` and `bias: [out_channels]` start uniform in
    ±1/sqrt(fan_in).

    Raises:
      ArgumentError: the groups do not divide the channels, or a padding is unknown.
    """

    n = 2


class Conv3d(_Forward):
    """Convolution of `[batch, in_channels, depth, height, width]`, or without the batch axis; see `Conv2d`."""

    n = 3


class _Transpose(_Conv):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Numbers, stride: Numbers = 1, padding: Numbers = 0,
        output_padding: Numbers = 0, groups: int = 1, bias: bool = True, dilation: Numbers = 1, padding_mode: str = "zeros",
        *, dtype: Any = None, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ArgumentError(f"{type(self).__name__}: padding_mode must be 'zeros', got {padding_mode!r}")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias, padding_mode,
            dtype, generator,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The transposed convolution of `input`; `output_size`, lengths without batch and channels, chooses among those possible."""
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.n - 1]
        padding: Any = self.padding
        extra = self.output_padding if output_size is None else self._missing(input, output_size)
        return conv(input, self.weight, self.bias, self.stride, padding, extra, self.groups, self.dilation)

    def _missing(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        wanted = tuple(output_size)[-self.n :]
        assert not isinstance(self.padding, str)
        found = []
        for i, n in enumerate(input.shape[-self.n :]):
            least = (n - 1) * self.stride[i] - 2 * self.padding[i] + self.dilation[i] * (self.kernel_size[i] - 1) + 1
            if not least <= wanted[i] < least + self.stride[i]:
                raise ArgumentError(
                    f"{type(self).__name__}: output_size {list(wanted)} is not possible: axis {i} can be "
                    f"{least} to {least + self.stride[i] - 1}"
                )
            found.append(wanted[i] - least)
        return tuple(found)


class ConvTranspose1d(_Transpose):
    """The transpose of `Conv1d`: `[batch, in_channels, length]`, or without the batch axis.

    `weight: [in_channels, out_channels / groups, kernel]` and `bias: [out_channels]` start uniform in ±1/sqrt(fan_in).

    Raises:
      ArgumentError: the groups do not divide the channels, or an `output_size` is not possible.
    """

    n = 1


class ConvTranspose2d(_Transpose):
    """The transpose of `Conv2d`; see `ConvTranspose1d`."""

    n = 2


class ConvTranspose3d(_Transpose):
    """The transpose of `Conv3d`; see `ConvTranspose1d`."""

    n = 3
