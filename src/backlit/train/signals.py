"""Ctrl-C between steps: the first asks, the second interrupts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption(Exception):
    """A stop was asked for, and nothing is half done."""


class Stop:
    """Whether somebody has asked to stop."""

    asked = False

    def check(self) -> None:
        """Raises where it is so.

        Raises:
          Interruption: a stop was asked for.
        """
        if self.asked:
            raise Interruption


@contextmanager
def interruption() -> Iterator[Stop]:
    """Inside, the first Ctrl-C sets `asked`; the next raises KeyboardInterrupt, as ever.

    Only the main thread can do so, and only where nobody else has taken the signal; elsewhere `asked` stays False.
    """
    stop = Stop()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not usual:
        yield stop
        return

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
