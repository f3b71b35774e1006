"""Dropout as modules: while training elements or channels are 0 at random, in `eval` mode `x` goes through as it is."""

from __future__ import annotations

from backlit import functional as F
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.nn.module import Module


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"{type(self).__name__}: p must be between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The arguments."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Each element is 0 with probability `p`, else divided by 1 - p."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some elements 0 while training."""
        return F.dropout(x, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """`Dropout` of whole channels of `[batch, channels, length]`, or without the batch axis."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some channels 0 while training."""
        return F.dropout1d(x, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of `[batch, channels, height, width]`."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some channels 0 while training."""
        return F.dropout2d(x, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """`Dropout` of whole channels of `[batch, channels, depth, height, width]`, or without the batch axis."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some channels 0 while training."""
        return F.dropout3d(x, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Each element is that of selu(-infinity) with probability `p`; mean 0 and variance 1 are kept."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some elements at that value while training."""
        return F.alpha_dropout(x, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels of `[batch, channels, ...]`."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some channels at that value while training."""
        return F.feature_alpha_dropout(x, self.p, self.training, self.inplace)
