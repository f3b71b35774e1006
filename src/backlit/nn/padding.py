"""Padding as layers: numbers for the last axis first, or one number for all sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from backlit import functional as F
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.nn.module import Module


class _Pad(Module):
    n: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.n) if isinstance(padding, int) else tuple(int(p) for p in padding)
        if len(self.padding) != 2 * self.n:
            raise ArgumentError(f"{type(self).__name__}: expected {2 * self.n} numbers, got {padding}")

    def forward(self, input: Tensor) -> Tensor:
        """The padded `input`."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """The padded `input`."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_Pad):
    mode = "constant"


class _ReflectionPad(_Pad):
    mode = "reflect"


class _ReplicationPad(_Pad):
    mode = "replicate"


class _CircularPad(_Pad):
    mode = "circular"


class ConstantPad1d(_ConstantPad):
    """`value` around the last axis of `input`."""

    n = 1


class ConstantPad2d(_ConstantPad):
    """`value` around the last two axes of `input`."""

    n = 2


class ConstantPad3d(_ConstantPad):
    """`value` around the last three axes of `input`."""

    n = 3


class ZeroPad1d(_ZeroPad):
    """Zeros around the last axis of `input`."""

    n = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last two axes of `input`."""

    n = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last three axes of `input`."""

    n = 3


class ReflectionPad1d(_ReflectionPad):
    """The last axis of `input` reflected at its edges, without these."""

    n = 1


class ReflectionPad2d(_ReflectionPad):
    """The last two axes of `input` reflected at its edges, without these."""

    n = 2


class ReflectionPad3d(_ReflectionPad):
    """The last three axes of `input` reflected at its edges, without these."""

    n = 3


class ReplicationPad1d(_ReplicationPad):
    """The last axis of `input` with their edges repeated."""

    n = 1


class ReplicationPad2d(_ReplicationPad):
    """The last two axes of `input` with their edges repeated."""

    n = 2


class ReplicationPad3d(_ReplicationPad):
    """The last three axes of `input` with their edges repeated."""

    n = 3


class CircularPad1d(_CircularPad):
    """The last axis of `input` going on from the other end."""

    n = 1


class CircularPad2d(_CircularPad):
    """The last two axes of `input` going on from the other end."""

    n = 2


class CircularPad3d(_CircularPad):
    """The last three axes of `input` going on from the other end."""

    n = 3
