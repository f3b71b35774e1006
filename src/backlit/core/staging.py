"""The hook through which a trace sees every op, write and gradient of a program; nothing when none is traced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

active = 0  # how many traces run, in any thread: the one thing that is looked at on the hot path
_lock = threading.Lock()
_current: ContextVar[Any] = ContextVar("staging", default=None)
_graph: ContextVar[Any] = ContextVar("graph", default=None)


def current() -> Any:
    """The trace that sees what happens here, in this thread; None when there is none."""
    return _current.get() if active else None


@contextmanager
def staging(trace: Any) -> Iterator[None]:
    """`trace` sees what happens inside, in this thread."""
    global active
    token = _current.set(trace)
    with _lock:
        active += 1
    try:
        yield
    finally:
        with _lock:
            active -= 1
        _current.reset(token)


@contextmanager
def unseen() -> Iterator[None]:
    """What happens inside is computed at once."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def graph() -> Any:
    """The trace into whose graph control flow goes here; None where it runs step by step."""
    return current() or _graph.get()


@contextmanager
def drawing(trace: Any) -> Iterator[None]:
    """Control flow inside goes into the graph of `trace`."""
    token = _graph.set(trace)
    try:
        yield
    finally:
        _graph.reset(token)
