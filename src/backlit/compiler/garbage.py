"""The collector of cyclic garbage, out of the way while programs are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """Inside, garbage in cycles is not looked for; afterwards it is again, if it was before.

    A program of 1,000 layers takes a million small objects to make, none of them in a cycle that can go before it is
    done. The collector would go through all of them again and again, for a third of the whole time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
