"""Explicit random streams: a counter-based generator (Philox) with a state that can be saved."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.dtypes import default_dtype
from backlit.core.tensor import Tensor


class Generator:
    """A seeded stream of random numbers (Philox 4x64, Salmon et al., SC 2011).

    Two generators with one seed give the same bits.
    """

    def __init__(self, seed: int | np.random.SeedSequence = 0) -> None:
        self._sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        self._bits = np.random.Philox(self._sequence)
        self._numpy = np.random.Generator(self._bits)

    def uniform(self, shape: tuple[int, ...] = (), low: float = 0.0, high: float = 1.0, dtype: Any = None) -> Tensor:
        """Values uniform in [low, high); of the default float dtype unless given."""
        dtype = np.dtype(default_dtype() if dtype is None else dtype)
        values = np.asarray(low + (high - low) * self._numpy.random(shape)).astype(dtype)
        if low < high:  # a draw just below `high` may round to it
            values = np.minimum(values, np.nextafter(dtype.type(high), dtype.type(low)))
        return Tensor(values)

    def normal(self, shape: tuple[int, ...] = (), mean: float = 0.0, std: float = 1.0, dtype: Any = None) -> Tensor:
        """Values normal with the given mean and standard deviation (Box and Muller, 1958); default float dtype."""
        first, second = self._numpy.random(shape), self._numpy.random(shape)
        draw = np.sqrt(-2.0 * np.log(1.0 - first)) * np.cos((2.0 * np.pi) * second)
        return Tensor(np.asarray(mean + std * draw).astype(default_dtype() if dtype is None else dtype))

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
        self._bits.state = state  # type: ignore[assignment]


_default = Generator(0)


def default_generator() -> Generator:
    """The generator used where none is given."""
    return _default


def seed(n: int) -> Generator:
    """Starts the default generator anew from the seed `n`; gives it."""
    global _default
    _default = Generator(n)
    return _default
