"""The threads of compiled programs: equal bits for any number, two callers at once, forked children, idle ones asleep."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import make_graph, threads
from backlit.compiler.llvm.kernel import Kernel
from backlit.compiler.llvm.runtime import EARLY, PERIOD
from backlit.compiler.native import Program
from backlit.core.errors import ArgumentError
from backlit.nn import functional as F


@pytest.fixture(autouse=True)
def number_restored(monkeypatch):
    monkeypatch.setattr(threads, "_number", None)


def trained(n_threads, steps=3):
    """The losses and parameters of a network whose every kernel is cut into chunks."""
    generator = bl.random.Generator(3)
    model = nn.Sequential(nn.Linear(130, 257, generator=generator), nn.ReLU(), nn.Linear(257, 10, generator=generator))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(5)
    x = bl.tensor(rng.standard_normal((301, 130)).astype(np.float32))
    y = bl.tensor(rng.integers(0, 10, 301))

    @bl.compile(threads=n_threads)
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x, y).numpy().tobytes() for _ in range(steps)]
    return losses, [p.detach().numpy().tobytes() for p in model.parameters()]


def test_any_number_of_threads_gives_the_same_bits():
    first = trained(1)
    for n in (2, 3, 7):
        assert trained(n) == first


def test_loops_and_reductions_have_the_same_bits():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 700, 531))

    def f(x, y):
        z = bl.exp(-x * y) + bl.tanh(x)
        return z, bl.sum(z), bl.sum(z, axis=0), bl.max(z, axis=1), z @ z.mT

    graph = make_graph(f)(x, y)
    want = [a.tobytes() for a in Program(graph, threads=1)(x, y)]
    for n in (2, 3, 7):
        program = Program(graph, threads=n)
        assert program._parallel
        for _ in range(20):
            assert [a.tobytes() for a in program(x, y)] == want


@pytest.mark.parametrize("n_threads", [2, 3, 8])
@pytest.mark.parametrize("together", [1, 3, 4])
def test_chunks_cover_every_unit_and_the_last_are_small(n_threads, together):
    divide = threads.native().function("divide", *[ctypes.c_int64] * 4)
    for units in (1, 2, 3, 16, 17, 63, 100, 1000, 12345):
        for grain in {1, min(7, units), units}:
            kernel = Kernel("k", "", units, grain, together=together)
            step = np.array([0, 0, units, 0, 0, 0, 0])
            divide(step.ctypes.data, kernel.grain, kernel.together, n_threads)
            large, n_chunks, n_large, small = step[3:].tolist()
            n_small = n_chunks - n_large
            assert n_small >= 1 and 1 <= small <= large and large % together == 0
            assert n_large * large < units <= n_large * large + n_small * small
            assert n_large * large + (n_small - 1) * small < units
            if units >= 200 * grain:
                assert n_large > n_threads and 2 * small <= large


def test_the_number_can_change_between_calls():
    x = np.random.default_rng(1).standard_normal((400, 400))
    f = bl.compile(lambda x: bl.sum(bl.exp(x) @ x))
    found = set()
    for n in (1, 2, 5, 1, 3):
        bl.set_num_threads(n)
        assert bl.get_num_threads() == n
        found.add(f(x).item())
    assert len(found) == 1


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", None])
def test_a_number_of_threads_must_be_a_positive_integer(n):
    with pytest.raises(ArgumentError, match=r"set_num_threads: expected a number of threads of 1 or more, got"):
        bl.set_num_threads(n)
    if n is not None:
        with pytest.raises(ArgumentError, match=r"compile: expected a number of threads"):
            bl.compile(lambda x: x, threads=n)


def test_two_python_threads_call_two_programs_at_once():
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal((300, 280 + 40 * k)) for k in range(2)]
    programs = [Program(make_graph(lambda x: bl.tanh(x).mT @ bl.exp(x))(a), threads=3) for a in arrays]
    want = [p(a)[0].tobytes() for p, a in zip(programs, arrays, strict=True)]
    wrong = []

    def call(k):
        for _ in range(150):
            if programs[k](arrays[k])[0].tobytes() != want[k]:
                wrong.append(k)

    callers = [threading.Thread(target=call, args=(k,)) for k in range(2)]
    for t in callers:
        t.start()
    for t in callers:
        t.join(60)
    assert not wrong and not any(t.is_alive() for t in callers)


def in_new_process(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_has_threads_of_its_own():
    out = in_new_process("""
import os, warnings, numpy as np, backlit as bl
bl.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((500, 500))
f = bl.compile(lambda x: bl.exp(x) @ x)
want = f(x).numpy().tobytes()
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any fork beside threads
pid = os.fork()
if pid == 0:
    os._exit(0 if all(f(x).numpy().tobytes() == want for _ in range(5)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), f(x).numpy().tobytes() == want)
""")
    assert out.split() == ["0", "True"]


def test_idle_threads_use_no_processor():
    out = in_new_process("""
import time, numpy as np, backlit as bl
bl.set_num_threads(4)
x = np.random.default_rng(0).standard_normal((500, 500))
f = bl.compile(lambda x: bl.exp(x) @ x)
for _ in range(5):
    f(x)
time.sleep(0.1)
before = time.process_time()
time.sleep(0.5)
print(time.process_time() - before)
""")
    assert float(out) < 0.05


def test_a_program_ends_with_its_process():
    began = time.monotonic()
    in_new_process("""
import numpy as np, backlit as bl
bl.set_num_threads(3)
bl.compile(lambda x: bl.exp(x) @ x)(np.ones((400, 400)))
""")
    assert time.monotonic() - began < 60


def test_what_the_clock_decides_changes_no_bit():
    """Now and then a run is done on one thread, or on all when one is quicker, and both are timed."""
    x = np.random.default_rng(4).standard_normal((200, 180))
    program = Program(make_graph(lambda x: bl.exp(x).mT @ bl.tanh(x))(x), threads=3)
    want = program(x)[0].tobytes()
    for _ in range(EARLY + 1):
        assert program(x)[0].tobytes() == want
    turns, alone, one, many = program._program[5:9]
    assert turns == EARLY + 2 and one > 0 and many > 0 and alone == (one < many)
    for _ in range(2 * PERIOD - EARLY):
        assert program(x)[0].tobytes() == want
    turns, alone, one, many = program._program[5:9]
    assert turns == 2 * PERIOD + 2  # the last one was the second of a period, after which the clock decides
    assert one > 0 and many > 0 and alone == (one < many)
