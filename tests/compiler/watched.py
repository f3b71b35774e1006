"""Programs under watch: every byte of the arena that holds nothing is NaN, and nobody writes beyond the end of a buffer.

Inside `watching()` buffers of new programs end in a guard zone; after the work that reads a buffer last, a kernel of its own
fills it with ones, which are a NaN in every format. So a kernel that reads what is freed or not yet written finds NaNs, and
whatever else than ones the arena holds after a run was written where nothing belongs.
"""

from __future__ import annotations

import itertools
import math
from contextlib import contextmanager

import numpy as np

from backlit.compiler import native, nested
from backlit.compiler.ir import evaluate
from backlit.compiler.llvm.kernel import Kernel
from backlit.compiler.memory import Range
from backlit.compiler.native import Program
from backlit.compiler.work import Work

GUARD_BYTES = 64
ONES = 0xFF
_numbers = itertools.count()


def n_bytes(v):
    return math.prod(v.aval.shape) * v.aval.dtype.itemsize


def _poison(name, dead):
    """A work that fills buffers with ones."""
    lines = []
    for k, v in enumerate(dead):
        lines += [
            f"  %a{k} = getelementptr ptr, ptr %table, i64 {k}",
            f"  %p{k} = load ptr, ptr %a{k}",
            f"  call void @llvm.memset.p0.i64(ptr %p{k}, i8 -1, i64 {n_bytes(v)}, i1 false)",
        ]
    head = f"define void @{name}(ptr %table, ptr %scratch, i64 %low, i64 %high) #0 {{"
    text = "\n".join([head, "entry:", *lines, "  ret void", "}"])
    return Work(Kernel(name, text, 1), {v: k for k, v in enumerate(dead)}, list(dead), [])


def _watch(program):
    """Puts a filling work behind each that reads a buffer for the last time."""
    program._memory[:] = ONES
    program.works = _filling(program.works, program._offsets)


def _filling(works, offsets):
    last = {}
    for number, work in enumerate(works):
        for v in (*work.reads, *work.writes):
            if v in offsets and n_bytes(v):
                last[v] = number
    filling = []
    for number, work in enumerate(works):
        filling.append(work)
        if dead := [v for v, n in last.items() if n == number]:
            filling.append(_poison(f"poison{next(_numbers)}", dead))
    return filling


def _watch_region(region):
    """The same inside a loop, whose intermediates lie in scratch."""
    region.works = _filling(region.works, region.offsets)


class Outputs:
    """Outputs in guarded memory."""

    def __init__(self):
        self.made = []

    def empty(self, aval):
        size = math.prod(aval.shape) * aval.dtype.itemsize
        whole = np.full(size + 2 * GUARD_BYTES + 64, ONES, np.uint8)
        start = -(whole.ctypes.data + GUARD_BYTES) % 64 + GUARD_BYTES
        self.made.append((whole, start, size))
        return whole[start : start + size].view(aval.dtype).reshape(aval.shape)

    def check(self):
        for whole, start, size in self.made:
            assert (whole[:start] == ONES).all() and (whole[start + size :] == ONES).all(), "written beside an output"


def check_arena(program):
    """After a run the arena holds nothing."""
    start = program._base - program._memory.ctypes.data
    left = program._memory[start : start + program.arena_bytes] != ONES
    assert not left.any(), f"written beside a buffer, at bytes {np.flatnonzero(left)[:8]} of the arena"


@contextmanager
def watching():
    """Programs made inside are watched; gives what holds their outputs."""
    outputs = Outputs()
    before = native.watch, native.empty, native.place
    place = native.place
    native.watch, native.empty = _watch, outputs.empty
    native.place = lambda ranges: place([Range(r.start, r.end, r.size_bytes + GUARD_BYTES) for r in ranges])
    nested.watch, nested.place = _watch_region, native.place
    try:
        yield outputs
    finally:
        native.watch, native.empty, native.place = before
        nested.watch, nested.place = None, place


def check_program(graph, runs, compare, state=(), threads=()):
    """A watched program of `graph` against its evaluation, on each of several lists of arrays.

    `compare(arrays)` gives a function of what is got, what is wanted and the number of the output. With each number of
    `threads` the bits must be the same.
    """
    with watching() as outputs:
        program = Program(graph, state)
        for arrays in runs:
            kept = [np.array(a) for a in arrays]
            want, right = evaluate(graph, *arrays), compare(arrays)
            program.threads = 1
            got = program(*arrays)
            bits = [g.tobytes() for g in got]
            for n in threads:
                program.threads = n
                assert [g.tobytes() for g in program(*arrays)] == bits, f"{n} threads give other bits"
            for k, (g, w) in enumerate(zip(got, want, strict=True)):
                assert g.dtype == w.dtype and g.shape == w.shape, (k, g.dtype, g.shape, w.dtype, w.shape)
                right(g, w, k)
            check_arena(program)
            outputs.check()
            for a, b in zip(arrays, kept, strict=True):
                assert np.asarray(a).tobytes() == b.tobytes(), "an input has changed"
    return program
