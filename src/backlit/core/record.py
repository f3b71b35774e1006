"""The hook on which a recorder listens to forward and backward; nothing when nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

listeners: list[Listener] = []


class Listener:
    """Told of every recorded node, contribution and completed cotangent; override what is of interest."""

    def recorded(self, node: Any, out: Any) -> None:
        """An op was recorded as `node` and gave the tensor `out`."""

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        """`child` passed `cotangent` back to `parent` through its argument `argnum`."""

    def completed(self, node: Any, cotangent: Any) -> None:
        """All contributions to `node` have been summed to `cotangent`."""


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """`listener` hears what happens inside."""
    listeners.append(listener)
    try:
        yield
    finally:
        listeners.remove(listener)
