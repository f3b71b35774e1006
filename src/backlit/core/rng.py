"""Explicit random streams: a key and a counter; the samplers attach on floor 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.core import staging
from backlit.core.errors import ArgumentError, TraceError
from backlit.core.source import here

if TYPE_CHECKING:
    from backlit.core.tensor import Tensor


class Generator:
    """A stream of random numbers from the counter-based Philox 4x64-10 (Salmon et al., SC 2011).

    The bits depend on `key` and on how many were drawn before, nothing else: two generators with one seed give the
    same numbers. `seed` is a non-negative integer.

    Raises:
      ArgumentError: the seed is not a non-negative integer.
    """

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ArgumentError(f"Generator: the seed must be a non-negative integer, got {seed!r}")
        self.key = np.random.SeedSequence(int(seed)).generate_state(2, np.uint64)
        self.counter = 0  # blocks of four 64-bit words drawn so far
        self.children = 0  # streams split off so far

    def split(self, n: int = 2) -> list[Generator]:
        """`n` generators independent of this one and of each other; later splits give others."""
        if staging.current() is not None:
            raise TraceError(f"Generator.split: inside a compiled function; split before it{here()}")
        made = []
        for _ in range(n):
            entropy = [int(self.key[0]), int(self.key[1]), self.children]
            child = Generator()
            child.key = np.random.SeedSequence(entropy).generate_state(2, np.uint64)
            self.children += 1
            made.append(child)
        return made

    def get_state(self) -> dict[str, Any]:
        """The state as a dictionary of an array and numbers, for `set_state` and `backlit.save`."""
        return {"key": self.key.copy(), "counter": self.counter, "children": self.children}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from a state given by `get_state`.

        Raises:
          ArgumentError: it is no such state.
          TraceError: inside a compiled function, where it would happen once.
        """
        if staging.current() is not None:
            raise TraceError(
                f"Generator: inside a compiled function a stream cannot be set or seeded; do it before the call{here()}"
            )
        try:
            key = np.asarray(state["key"], np.uint64).reshape(2)
            counter, children = int(state["counter"]), int(state["children"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError("Generator.set_state: expected what get_state gives") from error
        self.key, self.counter, self.children = key, counter, children

    if TYPE_CHECKING:  # attached on floor 1

        def uniform(self, shape: Any = None, low: Any = 0.0, high: Any = 1.0, dtype: Any = None) -> Tensor: ...
        def normal(self, shape: Any = None, mean: Any = 0.0, std: Any = 1.0, dtype: Any = None) -> Tensor: ...
        def __getattr__(self, name: str) -> Any: ...  # the other samplers
        def permutation(self, n: int) -> np.ndarray[Any, Any]: ...


_default = Generator(0)


def default_generator() -> Generator:
    """The generator used where none is given."""
    return _default


def seed(n: int) -> Generator:
    """Starts the default generator anew from the seed `n`; gives it."""
    _default.set_state(Generator(n).get_state())
    return _default
