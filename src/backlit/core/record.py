"""The hook on which a recorder listens to forward and backward; nothing when nobody listens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

active = 0  # how many listen, in any thread: the one thing that is looked at on the hot path
_lock = threading.Lock()
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


class Listener:
    """Told of every recorded node, contribution and completed cotangent; override what is of interest."""

    def recorded(self, node: Any, out: Any) -> None:
        """An op was recorded as `node` and gave the tensor `out`."""

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        """`child` passed `cotangent` back to `parent` through its argument `argnum`."""

    def completed(self, node: Any, cotangent: Any) -> None:
        """All contributions to `node` have been summed to `cotangent`."""


def current() -> tuple[Listener, ...]:
    """Who listens here: in this thread, in this context."""
    return _listeners.get() if active else ()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """`listener` hears what happens inside, in this thread."""
    global active
    token = _listeners.set((*_listeners.get(), listener))
    with _lock:
        active += 1
    try:
        yield
    finally:
        with _lock:
            active -= 1
        _listeners.reset(token)
