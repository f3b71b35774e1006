"""Explicit random streams: a counter-based generator (Philox) with a state that can be saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.tensor import Tensor


class Generator:
    """A seeded stream of random numbers (Philox 4x64, Salmon et al., SC 2011).

    Two generators with one seed give the same bits.
    """

    def __init__(self, seed: int | np.random.SeedSequence = 0) -> None:
        self._sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        self._bits = np.random.Philox(self._sequence)
        self._numpy = np.random.Generator(self._bits)

    def uniform(
        self, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0, dtype: Any = np.float32
    ) -> Tensor:
        """Values uniform in [low, high)."""
        draw = self._numpy.random(shape, dtype=np.float64)
        return Tensor(np.asarray(low + (high - low) * draw).astype(dtype))

    def normal(
        self, shape: tuple[int, ...] = (), mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32
    ) -> Tensor:
        """Values normal with the given mean and standard deviation."""
        draw = self._numpy.standard_normal(shape, dtype=np.float64)
        return Tensor(np.asarray(mean + std * draw).astype(dtype))

    def permutation(self, n: int) -> np.ndarray[Any, Any]:
        """The integers 0..n-1 in random order."""
        return self._numpy.permutation(n)

    def split(self, n: int = 2) -> list[Generator]:
        """`n` independent generators."""
        return [Generator(child) for child in self._sequence.spawn(n)]

    def get_state(self) -> dict[str, Any]:
        """The state as a dictionary of plain values and arrays."""
        return dict(self._bits.state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from a state given by `get_state`."""
        self._bits.state = state
