"""Pooling undone, and pooling over windows of random places, as layers."""

from __future__ import annotations

from typing import Any, ClassVar

from backlit import functional as F
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.functional.lengths import Numbers
from backlit.nn.module import Module


def _all(value: Numbers, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


class _MaxUnpool(Module):
    n: ClassVar[int]

    def __init__(self, kernel_size: Numbers, stride: Numbers | None = None, padding: Numbers = 0) -> None:
        super().__init__()
        self.kernel_size = _all(kernel_size, self.n)
        self.stride = _all(kernel_size if stride is None else stride, self.n)
        self.padding = _all(padding, self.n)

    def forward(self, input: Tensor, indices: Any, output_size: Any = None) -> Tensor:
        """`input` at the places `indices` of zeros."""
        unpool = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[self.n - 1]
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Puts the results of `MaxPool1d` where its indices say, zeros elsewhere."""

    n = 1


class MaxUnpool2d(_MaxUnpool):
    """Puts the results of `MaxPool2d` where its indices say, zeros elsewhere."""

    n = 2


class MaxUnpool3d(_MaxUnpool):
    """Puts the results of `MaxPool3d` where its indices say, zeros elsewhere."""

    n = 3


class _FractionalMaxPool(Module):
    n: ClassVar[int]

    def __init__(
        self, kernel_size: Numbers, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(f"{type(self).__name__}: expected one of output_size and output_ratio")
        self.kernel_size = _all(kernel_size, self.n)
        self.return_indices = return_indices
        self.output_size = None if output_size is None else _all(output_size, self.n)
        several = isinstance(output_ratio, (tuple, list))
        ratio = None if output_ratio is None else tuple(output_ratio) if several else (output_ratio,) * self.n
        self.output_ratio = ratio
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ArgumentError(f"{type(self).__name__}: output_ratio must be between 0 and 1, got {output_ratio!r}")
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Tensor) -> Any:
        """The largest of each window, and where it is with `return_indices`."""
        pool = F.fractional_max_pool2d if self.n == 2 else F.fractional_max_pool3d
        return pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest of windows of `[..., channels, height, width]` that begin at random places (Graham, 2015)."""

    n = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest of windows of `[..., channels, depth, height, width]` that begin at random places (Graham, 2015)."""

    n = 3
