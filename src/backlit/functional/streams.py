"""Random streams in the body of a loop in a graph: their counters are part of what it carries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backlit.core import staging
from backlit.core.errors import DrawnError
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor


class Streams:
    """The generators that a body draws from, with their counters before it."""

    def __init__(self, generators: Sequence[Generator]) -> None:
        self._around = staging.graph()
        self.generators = generators
        found = [self._around.stream(g) for g in generators]
        self._keys = [key for key, _ in found]
        self.counters = [counter for _, counter in found]

    def inside(self, counters: Sequence[Tensor], body: Callable[[], Any]) -> tuple[list[Tensor], Any]:
        """The counters after `body`, and what it gives."""
        region = staging.graph()
        for g, key, counter in zip(self.generators, self._keys, counters, strict=True):
            region.lend_stream(g, key, counter)
        out = body()
        return [region.stream(g)[1] for g in self.generators], out

    def advance(self, counters: Sequence[Tensor]) -> None:
        """Lets the generators go on from what the loop has left."""
        for g, counter in zip(self.generators, counters, strict=True):
            self._around.lend_stream(g, self._around.stream(g)[0], counter)


def drawing(build: Callable[[Streams], Any]) -> Any:
    """What `build` makes of a body, which is traced again with the counter of each generator that it is found to draw from."""
    generators: list[Generator] = []
    while True:
        streams = Streams(generators)
        try:
            return build(streams)
        except DrawnError as error:
            if any(g is error.generator for g in generators):
                raise
            generators.append(error.generator)
