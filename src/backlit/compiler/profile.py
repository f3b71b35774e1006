"""profile: the time of every kernel of the compiled programs that run inside a block."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from backlit.compiler import native
from backlit.compiler.costs import Cost, cost, kind_of
from backlit.compiler.ir import Eqn
from backlit.compiler.llvm.clock import clock_text
from backlit.compiler.llvm.target import Code, attributes, binding
from backlit.compiler.report import amount, ops_in_words, table
from backlit.compiler.trace import make_graph
from backlit.core import changes
from backlit.core.errors import ArgumentError, DataError
from backlit.core.source import here

WORDS = 2**20  # readings of the clock that are kept of one program
IN_CACHE_BYTES = 2**18  # what a kernel moves that hardly leaves the caches of a core
_lock = threading.Lock()


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a program, over all runs: `flops` and `moved_bytes` are of one run, as `report()` counts them.

    `limit` is the time that the machine needs for as many operations, or to move as many bytes, whichever is longer,
    divided by the median time: 1 is as fast as it gets. None where the operations are not known beforehand.
    """

    program: str
    kernel: str
    ops: tuple[str, ...]
    calls: int
    total_s: float
    median_s: float
    share: float
    flops: int | None
    moved_bytes: int
    limit: float | None

    @property
    def flops_per_s(self) -> float | None:
        """Operations a second, in the median."""
        return None if self.flops is None else self.flops / max(self.median_s, 1e-12)

    @property
    def bytes_per_s(self) -> float:
        """Bytes read and written a second, in the median; larger than the memory's rate where they come from a cache."""
        return self.moved_bytes / max(self.median_s, 1e-12)


@dataclass(frozen=True)
class Limits:
    """What the machine does with some threads: operations a second in a product of matrices, bytes a second."""

    float32_flops_per_s: float
    float64_flops_per_s: float
    memory_bytes_per_s: float
    cache_bytes_per_s: float

    def seconds(self, flops: int, moved_bytes: int, is_double: bool) -> float:
        """The least time for so much."""
        peak = self.float64_flops_per_s if is_double else self.float32_flops_per_s
        rate = self.cache_bytes_per_s if moved_bytes <= IN_CACHE_BYTES else self.memory_bytes_per_s
        return max(flops / peak, moved_bytes / rate)


class _Readings:
    """The clock before the first and after each of some kernels of a program, for each run; native code fills it."""

    def __init__(self, program: native.Program, first: int, last: int) -> None:
        self.program, self.first, self.n = program, first, last - first
        self.capacity = max(1, WORDS // (self.n + 1))
        self._ticks = np.zeros((self.capacity, self.n + 1), np.int64)
        self._block = np.array([self._ticks.ctypes.data, 0, self.capacity, 0], np.int64)
        self.address = self._block.ctypes.data

    @property
    def ticks(self) -> np.ndarray[Any, Any]:
        """Of the runs that were kept: [run, reading]."""
        return self._ticks[: int(self._block[1])]

    @property
    def runs(self) -> int:
        """All runs, kept or not."""
        return int(self._block[3])


class Profiler:
    """What `native` asks while somebody profiles."""

    def __init__(self) -> None:
        self.readings: dict[tuple[int, int, int], _Readings] = {}
        self.callbacks: dict[tuple[int, int], tuple[native.Program, list[tuple[int, int]]]] = {}
        self._numbers: dict[Eqn, int] = {}

    def timed(self, program: native.Program, run: int, pool: int, address: int, first: int, last: int) -> Any:
        """Native function and operands that do the same as `run(pool, address, first, last)` and read the clock."""
        key = (id(program), first, last)
        if key not in self.readings:
            self.readings[key] = _Readings(program, first, last)
        return (_clock().address("timed"), pool, address, first, last, run, self.readings[key].address)

    def run(self, *of: Any) -> None:
        """Does that."""
        _timed()(*self.timed(*of)[1:])

    @contextmanager
    def callback(self, program: native.Program, eqn: Eqn) -> Iterator[None]:
        """Times what an op's forward does."""
        if eqn not in self._numbers:
            self._numbers.update((w.eqn, k) for k, w in enumerate(program.works) if w.eqn is not None)
        number = self._numbers[eqn]
        begun = _now()()
        try:
            yield
        finally:
            kept = self.callbacks.setdefault((id(program), number), (program, []))[1]
            if len(kept) < WORDS:
                kept.append((begun, _now()()))


class Profile:
    """The times of the kernels that ran while this was active; `str(profile)` is a table, slowest first.

    The first runs of each program are kept, up to a million readings of the clock.
    """

    def __init__(self) -> None:
        self._profiler = Profiler()
        self._pid = os.getpid()

    def kernels(self) -> list[KernelTime]:
        """All kernels, the one with the longest total first."""
        found = []
        for name, program, number, its in self._costs():
            spans = self._spans(program, number)
            if spans.size:
                found.append((name, program, number, its, spans * _tick_s()))
        everything = sum(float(spans.sum()) for *_, spans in found)
        made = []
        for name, program, number, its, spans in found:
            median_s = float(np.median(spans))
            made.append(
                KernelTime(
                    name,
                    f"{number} {kind_of(program.works[number])}",
                    its.ops,
                    len(spans),
                    float(spans.sum()),
                    median_s,
                    float(spans.sum()) / everything if everything else 0.0,
                    its.flops,
                    its.read_bytes + its.written_bytes,
                    _limit(program, number, its, median_s),
                )
            )
        return sorted(made, key=lambda k: -k.total_s)

    @property
    def total_s(self) -> float:
        """Seconds in all kernels and callbacks."""
        spans = [self._spans(program, number) for _, program, number, _ in self._costs()]
        return float(sum(s.sum() for s in spans)) * _tick_s()

    def __str__(self) -> str:
        kernels = self.kernels()
        rows = [
            (
                f"{k.program} {k.kernel}", ops_in_words(k.ops), f"{k.calls:,}", f"{k.total_s * 1e3:,.3f}",
                f"{100 * k.share:.1f} %", f"{k.median_s * 1e6:,.2f}",
                "?" if k.flops_per_s is None else amount(k.flops_per_s, ""), amount(k.bytes_per_s, "B"),
                "" if k.limit is None else f"{100 * k.limit:.0f} %",
            )
            for k in kernels
        ]  # fmt: skip
        headings = ("kernel", "ops", "calls", "total ms", "share", "median us", "FLOP/s", "B/s", "of limit")
        return "\n".join([*table(headings, rows, (0, 1)), *self._machine(), *self._left_out()])

    def _machine(self) -> list[str]:
        found = []
        for threads in sorted({program.n_threads for _, program in self._programs()}):
            its = limits(threads)
            found.append(
                f"limits with {threads} thread{'s' * (threads > 1)}: products {amount(its.float32_flops_per_s, 'FLOP/s')} "
                f"in float32, {amount(its.float64_flops_per_s, 'FLOP/s')} in float64; memory "
                f"{amount(its.memory_bytes_per_s, 'B/s')}, cache {amount(its.cache_bytes_per_s, 'B/s')}"
            )
        return found

    def _left_out(self) -> list[str]:
        names = {id(program): name for name, program in self._programs()}
        return [
            f"{names[id(r.program)]}: the first {len(r.ticks):,} of {r.runs:,} runs"
            for r in self._profiler.readings.values() if r.runs > len(r.ticks)
        ]  # fmt: skip

    def save(self, path: str | os.PathLike[str], runs: int = 1000) -> None:
        """Writes the first `runs` runs of each program as JSON in the trace event format, for chrome://tracing or Perfetto.

        Raises:
          DataError: the file cannot be written.
        """
        found = [
            (name, number, its, self._events(program, number)[:runs]) for name, program, number, its in self._costs()
        ]
        first = min((begun for *_, spans in found for begun, _ in spans), default=0)
        us = 1e6 * _tick_s()
        events: list[dict[str, Any]] = []
        for name, number, its, spans in found:
            args = {"flops": its.flops, "read_bytes": its.read_bytes, "written_bytes": its.written_bytes}
            same = {"name": f"{number} {ops_in_words(its.ops)}", "cat": name, "ph": "X", "pid": self._pid, "tid": 1}
            # differences of ticks, which are whole numbers: what is scaled first has lost its last digits
            events += [
                {**same, "ts": (begun - first) * us, "dur": (ended - begun) * us, "args": args}
                for begun, ended in spans
            ]
        events.sort(key=lambda e: e["ts"])
        named = {"name": "process_name", "ph": "M", "pid": self._pid, "tid": 1, "args": {"name": "backlit"}}
        try:
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"traceEvents": [named, *events], "displayTimeUnit": "ns"}, file)
        except OSError as error:
            raise DataError(f"profile: cannot write {os.fspath(path)}: {error.strerror or error}") from error

    def _programs(self) -> list[tuple[str, native.Program]]:
        """The programs that ran, in order, with names of their own."""
        of = [r.program for r in self._profiler.readings.values()]
        of += [program for program, _ in self._profiler.callbacks.values()]
        found: dict[int, native.Program] = {id(program): program for program in of}
        counts: dict[str, int] = {}
        named = []
        for program in found.values():
            n = counts[program.name] = counts.get(program.name, 0) + 1
            named.append((program.name if n == 1 else f"{program.name}#{n}", program))
        return named

    def _costs(self) -> Iterator[tuple[str, native.Program, int, Cost]]:
        for name, program in self._programs():
            for number, work in enumerate(program.works):
                yield name, program, number, cost(work)

    def _events(self, program: native.Program, number: int) -> list[tuple[int, int]]:
        """Readings before and after each run of one piece of work."""
        if program.works[number].kernel is None:
            return self._profiler.callbacks.get((id(program), number), (program, []))[1]
        at = sum(w.kernel is not None for w in program.works[:number])
        for r in self._profiler.readings.values():
            if r.program is program and r.first <= at < r.first + r.n:
                k = at - r.first
                return [(int(a), int(b)) for a, b in r.ticks[:, k : k + 2]]
        return []

    def _spans(self, program: native.Program, number: int) -> np.ndarray[Any, Any]:
        events = np.array(self._events(program, number), np.int64).reshape(-1, 2)
        return events[:, 1] - events[:, 0]


@contextmanager
def profile() -> Iterator[Profile]:
    """Times every kernel of the compiled programs that run inside the block, in any thread.

    Gives a `Profile`, which can be looked at inside and afterwards: `print(profile)`, `profile.kernels()`,
    `profile.save("trace.json")`. The clock is read between kernels, which takes some 10 ns each; kernels run in the same
    order and with the same threads as ever. What is outside of kernels (Python, the way into a program) is not in the times.

    Raises:
      ArgumentError: another block profiles already.

    Example:
      with backlit.profile() as times:
          step(x, y)
      print(times)
    """
    with _lock:
        if native.profiler is not None:
            raise ArgumentError(f"profile: another block profiles already{here()}")
        found = Profile()
        native.profiler = found._profiler
    changes.changed()  # programs prepare their next run anew
    try:
        yield found
    finally:
        native.profiler = None
        changes.changed()


@cache
def limits(threads: int) -> Limits:
    """What this machine does with so many threads, measured once, in some tenths of a second."""
    with _lock:
        before, native.profiler = native.profiler, None
        try:
            flops = [_product_rate(np.dtype(name), threads) for name in ("float32", "float64")]
            rates = [_move_rate(n_bytes, threads) for n_bytes in (2**26, IN_CACHE_BYTES // 4)]
        finally:
            native.profiler = before
    return Limits(*flops, *rates)


def _product_rate(dtype: np.dtype[Any], threads: int) -> float:
    """Operations a second of the best of some products of matrices."""
    best = 0.0
    for n in (256, 512):
        a = np.ones((n, n), dtype)
        program = native.Program(make_graph(lambda x, y: x @ y)(a, a), threads=threads)
        best = max(best, 2 * n**3 / _fastest(program, [a, a]))
    return best


def _move_rate(n_bytes: int, threads: int) -> float:
    """Bytes a second of a loop that reads and writes so many, in place."""
    x = np.ones(n_bytes // 4, np.float32)
    program = native.Program(make_graph(lambda v: v * 0.99999)(x), [(0, 0)], threads)
    return 2 * n_bytes / _fastest(program, [x])


def _fastest(program: native.Program, given: list[Any]) -> float:
    """Seconds of the quickest of some runs."""
    profiler = Profiler()
    end = time.perf_counter() + 0.05
    native.profiler = profiler
    try:
        for k in range(200):
            program.run(given)
            if k >= 3 and time.perf_counter() > end:
                break
    finally:
        native.profiler = None
    (readings,) = profiler.readings.values()
    return float((readings.ticks[:, -1] - readings.ticks[:, 0]).min()) * _tick_s()


def _limit(program: native.Program, number: int, its: Cost, median_s: float) -> float | None:
    if its.flops is None or program.works[number].kernel is None:
        return None
    is_double = any(v.aval.dtype.itemsize == 8 and v.aval.dtype.kind == "f" for v in program.works[number].writes)
    moved = its.read_bytes + its.written_bytes
    return limits(program.n_threads).seconds(its.flops, moved, is_double) / max(median_s, 1e-12)


@cache
def _clock() -> Code:
    return Code(clock_text(binding().get_default_triple()) + attributes())


@cache
def _timed() -> Any:
    return _clock().function("timed", *[ctypes.c_int64] * 6)


@cache
def _now() -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(_clock().address("now"))


@cache
def _tick_s() -> float:
    """Seconds from one tick of the clock to the next."""
    first = _both_clocks()
    time.sleep(0.02)
    last = _both_clocks()
    return 1e-9 * (last[0] - first[0]) / max(1, last[1] - first[1])


def _both_clocks() -> tuple[float, int]:
    """Nanoseconds and ticks at one moment: the closest of some pairs, as the system may put this off between the two."""
    now = _now()
    looks = ((time.perf_counter_ns(), now(), time.perf_counter_ns()) for _ in range(20))
    before, ticks, after = min(looks, key=lambda look: look[2] - look[0])
    return (before + after) / 2, ticks


__all__ = ["KernelTime", "Limits", "Profile", "limits", "profile"]
