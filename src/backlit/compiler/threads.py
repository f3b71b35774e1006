"""The threads that compiled programs share."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from functools import cache
from typing import Any

import numpy as np

from backlit.compiler.llvm.runtime import POOL_WORDS, SPINS, runtime
from backlit.compiler.llvm.target import Code, attributes, binding
from backlit.core.errors import ArgumentError
from backlit.core.source import here

SPIN_S = 50e-6  # a thread without work looks out for some so long before it sleeps
_lock = threading.Lock()
_number: int | None = None
_pool: Pool | None = None


@cache
def native() -> Code:
    """What runs programs, made once a process."""
    return Code(runtime(binding().get_default_triple()) + attributes())


class Pool:
    """Memory in which threads meet, and the workers; each sleeps in native code until there is work."""

    def __init__(self) -> None:
        self._memory = np.zeros(POOL_WORDS + 8, np.uint64)
        start = -self._memory.ctypes.data % 64
        self.address = self._memory.ctypes.data + start
        pause = native().function("pause", ctypes.c_int64)
        pause(1000)
        began = time.perf_counter()
        pause(10_000)
        spins = SPIN_S / max(1e-9, (time.perf_counter() - began) / 10_000)
        self._memory[start // 8 + SPINS] = max(1, int(spins))
        self._work = native().function("work", ctypes.c_int64, ctypes.c_int64)
        self.n_workers = 0

    def grow(self, threads: int) -> None:
        """Starts workers until there are enough for so many threads, the calling one among them."""
        while self.n_workers < threads - 1:
            number = self.n_workers + 1
            worker = threading.Thread(
                target=self._work, args=(self.address, number), name=f"backlit-{number}", daemon=True
            )
            worker.start()
            self.n_workers = number


def pool(threads: int) -> Pool:
    """The pool of this process, with workers for so many threads."""
    global _pool
    if _pool is None or _pool.n_workers < threads - 1:
        with _lock:
            if _pool is None:
                _pool = Pool()
            _pool.grow(threads)
    return _pool


def _forget() -> None:
    """A forked child has none of the workers."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def set_num_threads(n: int) -> None:
    """Lets compiled programs use `n` threads, the calling one among them; their results have the same bits for any `n`.

    It takes effect at their next call. Programs compiled with `threads=` keep theirs.

    Raises:
      ArgumentError: `n` is not a positive integer.

    Example:
      backlit.set_num_threads(1)
    """
    global _number
    _number = checked(n, "set_num_threads")


def get_num_threads() -> int:
    """How many threads a compiled program uses: one for each core this process may run on, unless set otherwise."""
    return _number if _number is not None else _cores()


def checked(n: Any, who: str) -> int:
    """`n` once it is a positive integer."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ArgumentError(f"{who}: expected a number of threads of 1 or more, got {n!r}{here()}")
    return int(n)


@cache
def _cores() -> int:
    """Cores this process may run on; two threads of a core share its arithmetic and count once."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:
        return os.cpu_count() or 1
    cores = set()
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                cores.add(file.read())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))
