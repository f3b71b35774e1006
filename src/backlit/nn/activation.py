"""Activations as modules; each applies the function of its name, elementwise and without parameters."""

from __future__ import annotations

from typing import Literal

from backlit import functional as F
from backlit.core.tensor import Tensor
from backlit.nn.module import Module


class ReLU(Module):
    """`max(x, 0)`, in the shape of `x`."""

    def forward(self, x: Tensor) -> Tensor:
        """The rectified `x`."""
        return F.relu(x)


class Tanh(Module):
    """Hyperbolic tangent, in the shape of `x`."""

    def forward(self, x: Tensor) -> Tensor:
        """The tanh of `x`."""
        return F.tanh(x)


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`, in the shape of `x`."""

    def forward(self, x: Tensor) -> Tensor:
        """The sigmoid of `x`."""
        return F.sigmoid(x)


class GELU(Module):
    """`x` times the normal distribution function of `x`, in the shape of `x`.

    `approximate="tanh"` takes the approximation by tanh.

    Raises:
      ValueError: `approximate` is neither `"none"` nor `"tanh"`.
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Tensor) -> Tensor:
        """The GELU of `x`."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The argument."""
        return f"approximate={self.approximate!r}"
