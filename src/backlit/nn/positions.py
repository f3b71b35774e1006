"""Positions of the elements of a sequence as modules: rotary, sinusoidal, learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit import functional as F
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.nn.embedding import Embedding
from backlit.nn.module import Module


class RotaryEmbedding(Module):
    """`rotary_embedding` of queries or keys `[..., steps, size]`, of which the first `dim` numbers are turned.

    `MultiheadAttention(..., rotary=RotaryEmbedding(head size))` turns queries and keys. It has no parameters.

    Raises:
      ArgumentError: `dim` is odd, an argument is out of range, or `scaling_type` is neither "linear" nor "ntk".
    """

    def __init__(
        self, dim: int, base: float = 10000.0, *, interleaved: bool = False, scaling: float = 1.0, scaling_type: str = "linear"
    ) -> None:  # fmt: skip
        super().__init__()
        if dim <= 0 or dim % 2:
            raise ArgumentError(f"RotaryEmbedding: dim must be even and above 0, got {dim}")
        if not (base > 0 and scaling > 0) or scaling_type not in ("linear", "ntk"):
            raise ArgumentError(
                f"RotaryEmbedding: expected base and scaling above 0 and scaling_type 'linear' or 'ntk', got {base}, "
                f"{scaling} and {scaling_type!r}"
            )
        self.dim = dim
        self.base = base
        self.interleaved = interleaved
        self.scaling = scaling
        self.scaling_type = scaling_type

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """`x` turned; positions are 0, 1, ... along the axis before the last unless given."""
        return F.rotary_embedding(
            x, positions, base=self.base, dims=self.dim, interleaved=self.interleaved, scaling=self.scaling,
            scaling_type=self.scaling_type,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        shown = [f"{self.dim}, base={self.base}", *(["interleaved=True"] if self.interleaved else [])]
        scaled = self.scaling != 1.0
        return ", ".join([*shown, *([f"scaling={self.scaling}, scaling_type={self.scaling_type!r}"] if scaled else [])])


class SinusoidalEmbedding(Module):
    """`x: [..., steps, embedding_dim]` with the sines and cosines of its positions added. It has no parameters.

    Raises:
      ArgumentError: `embedding_dim` is odd.
      ShapeError: at a call, the last axis of `x` is another.
    """

    def __init__(self, embedding_dim: int, base: float = 10000.0) -> None:
        super().__init__()
        if embedding_dim <= 0 or embedding_dim % 2:
            raise ArgumentError(f"SinusoidalEmbedding: embedding_dim must be even and above 0, got {embedding_dim}")
        self.embedding_dim = embedding_dim
        self.base = base

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """`x` with its positions, which are 0, 1, ... along the axis before the last unless given."""
        given, places = _placed("SinusoidalEmbedding", x, positions, self.embedding_dim)
        return given + F.sinusoidal_embedding(places, self.embedding_dim, base=self.base, dtype=given.dtype)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.embedding_dim}, base={self.base}"


class PositionEmbedding(Embedding):
    """`x: [..., steps, embedding_dim]` with the rows of `weight: [max_length, embedding_dim]` at its positions added.

    `weight` starts normal with standard deviation 0.02 (Radford et al., 2019), drawn from `generator`.

    Raises:
      ShapeError: at a call, the last axis of `x` is another, or it has more than `max_length` steps.
    """

    def __init__(
        self, max_length: int, embedding_dim: int, *, dtype: Any = None, generator: Generator | None = None
    ) -> None:  # fmt: skip
        super().__init__(max_length, embedding_dim, dtype=dtype, generator=generator)
        self.weight._value = self.weight._value * self.weight.dtype.type(0.02)

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """`x` with its positions, which are 0, 1, ... along the axis before the last unless given."""
        given, places = _placed("PositionEmbedding", x, positions, self.embedding_dim)
        if positions is None and given.shape[-2] > self.num_embeddings:
            raise ShapeError(f"PositionEmbedding: {shown(given)} has more than {self.num_embeddings} steps{here()}")
        return given + F.embedding(places, self.weight)


def _placed(who: str, x: Any, positions: Any, size: int) -> tuple[Tensor, Tensor]:
    x = as_tensor(x)
    if x.ndim < 2 or x.shape[-1] != size:
        raise ShapeError(f"{who}: expected [..., steps, {size}], got {shown(x)}{here()}")
    return x, Tensor(np.arange(x.shape[-2])) if positions is None else as_tensor(positions)
