"""Programs whose inputs and outputs end where a page ends that may not be touched: a read or write beyond it stops the process.

`test_fence.py` runs this as a process of its own, with the instruction set to leave out as its argument.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import numpy as np

for folder in ("ops", "autodiff", "compiler"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

import program_maker as maker
import rounding
from test_instruction_sets import functions, moves, products

import backlit as bl
from backlit.compiler import evaluate, make_graph, native, simplify
from backlit.compiler.llvm.target import features, restricted

PAGE = mmap.PAGESIZE
PROTECT = ctypes.CDLL(None, use_errno=True).mprotect
PROTECT.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
kept = []


def fenced(shape, dtype, behind=True):
    """Room for an array with a forbidden page right behind it, or right before."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    pages = -(-size // PAGE) + 2
    room = mmap.mmap(-1, pages * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    assert PROTECT(start, PAGE, 0) == 0 and PROTECT(start + (pages - 1) * PAGE, PAGE, 0) == 0
    at = (pages - 1) * PAGE - size if behind else PAGE
    kept.append(room)
    return np.frombuffer(room, np.uint8, size, at).view(dtype).reshape(shape)


def copy(a, behind):
    made = fenced(a.shape, a.dtype, behind)
    made[...] = a
    return made


def check(f, arrays):
    graph = simplify(make_graph(f)(*arrays))
    right = rounding.compare(graph)(arrays)
    want = evaluate(graph, *arrays)
    program = native.Program(graph)
    for behind in (True, False):
        native.empty = lambda aval, behind=behind: fenced(aval.shape, aval.dtype, behind)
        for k, (g, w) in enumerate(zip(program(*[copy(np.asarray(a), behind) for a in arrays]), want, strict=True)):
            right(np.array(g), w, k)


def main():
    rng = np.random.default_rng(0)
    for n, m in ((5, 3), (19, 37), (1, 65), (64, 1)):
        for dtype in (np.float32, np.float64):
            x, y = rng.standard_normal((2, n, m)).astype(dtype)
            for f in (functions, products if n > 1 else functions, moves if min(n, m) > 3 else functions):
                check(f, [x, y])
            check(lambda x: (bl.sum(x), bl.sum(x, axis=0), bl.max(x, axis=1), bl.sum(x * x, axis=1)), [x])
        bits = rng.random((n, m)) < 0.5
        check(lambda p: (bl.logical_not(p), bl.sum(p, axis=0), bl.where(p, 1.0, 2.0)), [bits])
        check(lambda n: (n * 3, bl.max(n, axis=0), n.astype("float32")), [rng.integers(0, 99, (n, m)).astype(np.uint8)])
    names = sorted(maker.STEPS)
    for number in range(40):
        rng = np.random.default_rng(number)
        steps = [(names[rng.integers(len(names))], *map(int, rng.integers(0, 40, 3))) for _ in range(8)]
        shapes = [tuple(int(s) for s in rng.choice(maker.SIZES, rng.integers(0, 4))) for _ in range(3)]
        arrays = maker.draw([(s, maker.DTYPES[rng.integers(len(maker.DTYPES))]) for s in shapes], number)
        check(lambda *xs, steps=steps: maker.returned(steps, xs), arrays)


if __name__ == "__main__":
    np.seterr(all="ignore")
    with restricted(features(sys.argv[1])):
        main()
    print("untouched")
