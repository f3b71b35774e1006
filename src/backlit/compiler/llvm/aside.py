"""Calls of llvmlite where no signal can interrupt them.

llvmlite takes its lock in Python code. An exception that a signal raises just behind that, such as KeyboardInterrupt, leaves
the lock taken for ever, and then every other thread that makes or looks up native code waits for ever. Signals are handled
in the main thread alone; so what the main thread asks of LLVM is done by another. What LLVM holds is freed in any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T]) -> T:
    """`work()`, in a thread of its own where this is the main thread, which then waits for it.

    An exception raised meanwhile in the main thread ends the waiting at once; the work goes on to its end unseen.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    found: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="backlit-llvm")
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends, or the system gives no more threads
        return work()
    thread.join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # it holds this frame
    return found[0]
