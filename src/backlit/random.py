"""Random numbers: `seed` sets the default generator, every sampler takes one."""

from __future__ import annotations

from typing import Any

from backlit.core.rng import Generator, default_generator, seed
from backlit.core.tensor import Tensor

__all__ = ["Generator", "default_generator", "normal", "permutation", "seed", "uniform"]


def uniform(
    shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0, dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Values uniform in [low, high)."""
    return (generator or default_generator()).uniform(shape, low, high, dtype)


def normal(
    shape: tuple[int, ...] = (), mean: float = 0.0, std: float = 1.0, dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Values normal with the given mean and standard deviation."""
    return (generator or default_generator()).normal(shape, mean, std, dtype)


def permutation(n: int, generator: Generator | None = None) -> Tensor:
    """The integers 0..n-1 in random order."""
    return Tensor((generator or default_generator()).permutation(n))
