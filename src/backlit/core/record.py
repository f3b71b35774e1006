"""The hook on which a recorder listens to forward and backward; nothing when nobody listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from time import perf_counter_ns
from typing import Any, TypeVar, cast

active = 0  # how many listen, in any thread: the one thing that is looked at on the hot path
# told of (cell, gradient before, gradient after) where `backward` adds to a gradient that is there; seldom has one
accumulated: list[Callable[[Any, Any, Any], None]] = []
_lock = threading.Lock()
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())
_F = TypeVar("_F", bound=Callable[..., Any])


class Listener:
    """Told of every recorded node, contribution and completed cotangent; override what is of interest."""

    def entered(self, owner: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call begins: of a module `owner` that runs `function`, or of the function `owner` itself."""

    def interpreted(self, compiled: Any) -> None:
        """A compiled function runs as the plain function it was made of, because somebody listens."""

    def left(self) -> None:
        """The call that began last has ended."""

    def computed(self, op: Any, ns: int) -> None:
        """`op` has computed a value of which a gradient is wanted in `ns` nanoseconds; `recorded` follows."""

    def computed_aside(self, op: Any, ns: int) -> None:
        """`op` has computed a value of which no gradient is wanted, as in a reverse rule; of the fast elementwise ops none
        is told."""

    def recorded(self, node: Any, out: Any, args: Sequence[Any]) -> None:
        """An op was recorded as `node` and gave the tensor `out` for `args`, tensors and Python numbers."""

    def unrecorded(self, op: Any, out: Any, args: Sequence[Any], params: dict[str, Any]) -> None:
        """`op` gave the tensor `out` for `args` without a node: of integers, of comparisons, or where nothing is recorded."""

    def began(self, seeds: dict[Any, Any]) -> None:
        """A reverse walk begins, at nodes with their masked cotangents."""

    def pulling(self, node: Any) -> None:
        """The reverse rule of `node` is about to be applied."""

    def recomputing(self, node: Any) -> None:
        """The rule of `node`, of a checkpoint, computes again what was not kept."""

    def reapplied(self, op: Any, args: Sequence[Any], params: dict[str, Any], outs: Sequence[Any], ns: int) -> None:
        """An op of a program that was written down was applied once more, and gave `outs` in `ns` nanoseconds; `op` is
        None for a call of control flow or of a function with a rule of its own."""

    def recomputed(self, node: Any) -> None:
        """What `node` computed again is no longer kept."""

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        """`child` passed `cotangent` back to `parent` through its argument `argnum`."""

    def completed(self, node: Any, cotangent: Any) -> None:
        """All contributions to `node` have been summed to `cotangent`."""

    def walked(self) -> None:
        """The reverse walk that began last has reached all its leaves."""

    def freed(self, nodes: Sequence[Any]) -> None:
        """The residuals of `nodes` are no longer kept."""

    def stepping(self, optimizer: Any) -> None:
        """An optimizer begins a step; `updated` follows for each parameter that has a gradient."""

    def updated(self, cell: Any, before: Any, gradient: Any) -> None:
        """An optimizer wrote a new value into `cell`, which held the value `before` and has this `gradient`."""


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


@contextmanager
def unheard() -> Iterator[None]:
    """Nobody hears what happens inside, in this thread."""
    token = _listeners.set(())
    try:
        yield
    finally:
        _listeners.reset(token)


def timed(op: Any, values: Sequence[Any], params: dict[str, Any], wanted: bool = True) -> Any:
    """The forward of `op`, of which listeners learn how long it took, and whether a gradient is wanted of it."""
    listeners = _listeners.get()
    if not listeners:
        return op.forward(*values, **params)
    begin = perf_counter_ns()
    out = op.forward(*values, **params)
    ns = perf_counter_ns() - begin
    for listener in listeners:
        if wanted:
            listener.computed(op, ns)
        else:
            listener.computed_aside(op, ns)
    return out


def told(op: Any, out: Any, args: Sequence[Any], params: dict[str, Any]) -> Any:
    """`out`, of which listeners learn that `op` gave it and that it has no node."""
    for listener in _listeners.get():
        listener.unrecorded(op, out, args, params)
    return out


def inside(
    owner: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    run: Callable[..., Any] | None = None,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, a call of `owner` that listeners see begin and end; `run` is called in its place, if given."""
    listeners = _listeners.get()
    for listener in listeners:
        listener.entered(owner, function, args, kwargs)
    try:
        return (run or function)(*args, **kwargs)
    finally:
        for listener in listeners:
            listener.left()


def scope(function: _F) -> _F:
    """Decorator: what `function` does belongs together in a recording, under its name."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if active:
            return inside(function, function, args, kwargs)
        return function(*args, **kwargs)

    return cast(_F, call)
