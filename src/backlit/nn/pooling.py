"""Pooling as layers: windows of the last axes, over which the largest, the mean or a norm is taken."""

from __future__ import annotations

from typing import Any, ClassVar

from backlit import functional as F
from backlit.core.tensor import Tensor
from backlit.functional.lengths import Numbers
from backlit.nn.module import Module


class _MaxPool(Module):
    n: ClassVar[int]

    def __init__(
        self, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, dilation: Numbers = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """The largest of each window, and where it is with `return_indices`."""
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.n - 1]
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class _AvgPool(Module):
    n: ClassVar[int]

    def __init__(
        self, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        pool = F.avg_pool2d if self.n == 2 else F.avg_pool3d
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _LPPool(Module):
    n: ClassVar[int]

    def __init__(
        self, norm_type: float, kernel_size: Numbers, stride: Numbers | None = None, ceil_mode: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """The norm of each window."""
        pool = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.n - 1]
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"


class _AdaptiveMaxPool(Module):
    n: ClassVar[int]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """The largest of each window, and where it is with `return_indices`."""
        pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[self.n - 1]
        return pool(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(Module):
    n: ClassVar[int]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[self.n - 1]
        return pool(input, self.output_size)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"output_size={self.output_size}"


class MaxPool1d(_MaxPool):
    """The largest of each window of `[..., channels, length]`; of equal ones the first has the gradient."""

    n = 1


class MaxPool2d(_MaxPool):
    """The largest of each window of `[..., channels, height, width]`; of equal ones the first has the gradient."""

    n = 2


class MaxPool3d(_MaxPool):
    """The largest of each window of `[..., channels, depth, height, width]`; of equal ones the first has the gradient."""

    n = 3


def _one(value: Numbers) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


class AvgPool1d(Module):
    """The mean of each window of `[..., channels, length]`."""

    def __init__(
        self, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = _one(kernel_size)
        self.stride = _one(kernel_size if stride is None else stride)
        self.padding = _one(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window of `[..., channels, height, width]`."""

    n = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of `[..., channels, depth, height, width]`."""

    n = 3


class LPPool1d(_LPPool):
    """(sum x^p)^(1/p) of each window of `[..., channels, length]`, p the `norm_type`."""

    n = 1


class LPPool2d(_LPPool):
    """(sum x^p)^(1/p) of each window of `[..., channels, height, width]`, p the `norm_type`."""

    n = 2


class LPPool3d(_LPPool):
    """(sum x^p)^(1/p) of each window of `[..., channels, depth, height, width]`, p the `norm_type`."""

    n = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of each of `output_size` windows of `[..., channels, length]`."""

    n = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of each of `output_size` windows of `[..., channels, height, width]`."""

    n = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of each of `output_size` windows of `[..., channels, depth, height, width]`."""

    n = 3


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of `output_size` windows of `[..., channels, length]`."""

    n = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each of `output_size` windows of `[..., channels, height, width]`."""

    n = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each of `output_size` windows of `[..., channels, depth, height, width]`."""

    n = 3
