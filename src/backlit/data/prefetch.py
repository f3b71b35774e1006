"""Work done ahead of its use, in threads in the background, given out in order.

The threads know the state they share with the iterator, never the iterator itself: when nobody holds it any more, or the
interpreter ends, they are told to stop, and stop after the piece of work at hand. The interpreter waits for that a little
while, for a thread that it stops in the middle may hold what others need, such as the lock of the standard output.
"""

from __future__ import annotations

import atexit
import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = (
    20  # tenths of a second at the end of the interpreter; waited one by one, for a process that is stopped meanwhile
)


class Prefetched:
    """`work(task)` for each of `tasks`, in their order, at most `ahead` of them done or begun before they are asked for.

    Tasks are taken one at a time, also by several threads. The threads run in a copy of the context of who made this.
    What a task or the work raises is raised where its result is asked for, with its traceback; after it nothing follows.
    """

    def __init__(self, tasks: Iterator[Any], work: Callable[[Any], Any], n_threads: int, ahead: int) -> None:
        self._shared = _Shared(tasks, work, ahead)
        self._closing = weakref.finalize(self, self._shared.close)
        self._closing.atexit = False  # `_end_all` does it
        for _ in range(n_threads):
            run = contextvars.copy_context().run
            thread = threading.Thread(target=run, args=(_serve, self._shared), name="backlit-data", daemon=True)
            thread.start()
            _running[thread] = self._shared

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        result, error = self._shared.take()
        if error is None:
            return result
        self.close()
        try:
            if isinstance(error, StopIteration):  # which would end the loop as if all were well
                raise RuntimeError("a dataset or transform raised StopIteration") from error  # noqa: TRY004 - what a generator does
            raise error
        finally:
            del error  # it holds this frame

    def close(self) -> None:
        """Ends the threads after the work at hand; nothing more is given out."""
        self._closing()


class _Shared:
    """What threads and consumer have in common, under one lock."""

    def __init__(self, tasks: Iterator[Any], work: Callable[[Any], Any], ahead: int) -> None:
        self.tasks, self.work, self.ahead = tasks, work, ahead
        self.taking = threading.Lock()  # held by the thread that takes a task
        self.changed = threading.Condition()  # guards all below; its lock is taken again by a collection inside it
        self.begun = self.given = 0  # tasks
        self.done: dict[int, tuple[Any, BaseException | None]] = {}
        self.ended = self.closed = False  # no task is left; nobody waits

    def close(self) -> None:
        with self.changed:
            self.closed = self.ended = True
            self.done.clear()
            self.changed.notify_all()

    def has_room(self) -> bool:
        """Waits until a task may begin; False when none will."""
        with self.changed:
            while not self.ended and self.begun - self.given >= self.ahead:
                self.changed.wait()
            return not self.ended

    def begin(self) -> int:
        """The number of a task taken just now."""
        with self.changed:
            self.begun += 1
            return self.begun - 1

    def finish(self, number: int, result: Any, error: BaseException | None) -> None:
        with self.changed:
            if not self.closed:
                self.done[number] = (result, error)
                self.ended = self.ended or error is not None
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def take(self) -> tuple[Any, BaseException | None]:
        """The next result, waiting for it."""
        with self.changed:
            while self.given not in self.done:
                if self.closed or (self.ended and self.given >= self.begun):
                    raise StopIteration
                self.changed.wait()
            self.given += 1
            self.changed.notify_all()
            return self.done.pop(self.given - 1)


_running: weakref.WeakKeyDictionary[threading.Thread, _Shared] = weakref.WeakKeyDictionary()


@atexit.register
def _end_all() -> None:
    """Tells all threads to stop, and waits a while until they have."""
    left = list(_running.items())
    for _, shared in left:
        shared.close()
    waited = 0
    for thread, _ in left:
        while thread.is_alive() and waited < PATIENCE:
            thread.join(0.1)
            waited += 1


def _serve(shared: _Shared) -> None:
    """Takes and does one task after another."""
    while True:
        with shared.taking:
            if not shared.has_room():
                return
            try:
                task = next(shared.tasks)
            except StopIteration:
                shared.end()
                return
            except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer hears of it
                shared.finish(shared.begin(), None, error)
                return
            number = shared.begin()
        try:
            result = shared.work(task)
        except BaseException as error:  # noqa: BLE001 - as above
            shared.finish(number, None, error)
            return
        shared.finish(number, result, None)
        del task, result
