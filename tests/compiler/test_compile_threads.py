"""Compiled functions in several threads, signals in the middle of a step, and processes that are forked."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import entry, layout, running
from backlit.compiler import step as steps
from backlit.nn import functional as F

N = 150


@pytest.fixture(params=["native", "python"])
def way(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(steps, "process", lambda: None)
        monkeypatch.setattr(running, "process", lambda: None)
    return request.param


def together(*functions):
    """Runs functions in threads of their own that begin at the same time; raises what one raised."""
    errors, gate = [], threading.Barrier(len(functions))

    def run(f):
        try:
            gate.wait(30)
            f()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(f,)) for f in functions]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
            assert not t.is_alive()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def trainer(seed, size):
    bl.random.seed(seed)
    model = nn.Sequential(nn.Linear(20, size), nn.Tanh(), nn.Linear(size, 5))
    opt = optim.Adam(model.parameters(), lr=0.01)

    @bl.compile
    def train(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return train


def batch(n, seed=0):
    rng = np.random.default_rng(seed)
    return bl.tensor(rng.standard_normal((n, 20), np.float32)), bl.tensor(rng.integers(0, 5, n))


@pytest.mark.parametrize("size", [4, 200])  # one that keeps the GIL and one that does not
def test_two_functions_at_once(way, size):
    data = batch(40)
    want = []
    for seed in (1, 2, 3):
        train = trainer(seed, size)
        want.append([train(*data).item() for _ in range(N // 3)])
    trains = [trainer(seed, size) for seed in (1, 2, 3)]
    found = [[], [], []]
    together(*(lambda k=k: found[k].extend(trains[k](*data).item() for _ in range(N // 3)) for k in range(3)))
    assert found == want


@pytest.mark.parametrize("size", [3, 30_000])
def test_the_same_function_at_once_loses_no_step(way, size):
    total, count = bl.tensor(np.zeros(size)), bl.tensor(np.float64(0.0))
    generator = bl.Generator(4)

    @bl.compile
    def add(x):
        total[...] = total + x
        count[...] = count + 1.0
        return total.sum() / size, generator.uniform((2,))

    x = bl.tensor(np.ones(size))
    found = [[], [], []]
    together(*(lambda k=k: found[k].extend(add(x) for _ in range(N)) for k in range(3)))
    assert count.item() == 3 * N and (total.numpy() == 3 * N).all()
    assert sorted(s.item() for part in found for s, _ in part) == [float(k + 1) for k in range(3 * N)]
    drawn = [tuple(u.tolist()) for part in found for _, u in part]
    assert len(set(drawn)) == 3 * N and generator.counter == 3 * N * (generator.counter // (3 * N))


def test_readers_of_state_that_another_thread_trains_see_whole_steps(way):
    w = [bl.tensor(np.zeros(20_000)) for _ in range(3)]

    @bl.compile
    def write(x):
        for cell in w:
            cell += x

    @bl.compile
    def read():
        return [bl.max(cell) for cell in w], [bl.min(cell) for cell in w]

    x, seen = bl.tensor(np.ones(20_000)), []
    together(lambda: [write(x) for _ in range(N)], lambda: seen.extend(read() for _ in range(N)))
    for highest, lowest in seen:
        assert len({t.item() for t in (*highest, *lowest)}) == 1


@pytest.mark.skipif(layout.layout() is None, reason="no native entry on this interpreter")
def test_programs_conflict_where_one_writes_what_the_other_touches():
    a, b = bl.tensor(np.zeros(3)), bl.tensor(np.zeros(3))
    x = bl.tensor(np.ones(3))
    compiled = {
        "reads a": bl.compile(lambda x: a + x),
        "reads a again": bl.compile(lambda x: a - x),
        "writes a": bl.compile(lambda x: a.__iadd__(x).sum()),
        "writes b": bl.compile(lambda x: b.__iadd__(x).sum()),
        "writes its argument": bl.compile(lambda x: x.__iadd__(1.0).sum()),
    }
    for f in compiled.values():
        f(x)
    entries = {name: f._last.entry for name, f in compiled.items()}
    pairs = {frozenset(("reads a", "writes a")), frozenset(("reads a again", "writes a"))}
    for (one, mine), (other, its) in itertools.product(entries.items(), repeat=2):
        argument = "writes its argument" in (one, other)  # all have x
        expected = one == other or frozenset((one, other)) in pairs or argument
        assert mine.conflicts(its, [x]) is expected, (one, other)
    assert not entries["writes its argument"].conflicts(entries["reads a"], [bl.tensor(np.ones(3))])
    assert entries["writes its argument"].conflicts(entries["reads a"], [a])


@pytest.mark.skipif(layout.layout() is None, reason="no native entry on this interpreter")
def test_what_was_looked_at_before_another_thread_began_is_looked_at_again(monkeypatch):
    """The counter of a stream is read in Python; a call that comes in between must not draw the same numbers."""
    generator, between = bl.Generator(5), []
    draw = bl.compile(lambda: generator.uniform((3,)))
    draw()
    look = entry.Entry._take

    def slow(self, arrays, leaves):
        found = look(self, arrays, leaves)
        if not between:
            between.append(None)
            between.append(draw().tolist())
        return found

    monkeypatch.setattr(entry.Entry, "_take", slow)
    after = draw().tolist()
    per_call = generator.counter // 3
    assert between[1] != after and generator.counter == 3 * per_call


def test_a_signal_while_results_are_put_in_place_lets_all_of_them_be_put(monkeypatch):
    monkeypatch.setattr(steps, "process", lambda: None)
    cells = [bl.tensor(np.zeros(2)) for _ in range(4)]

    @bl.compile
    def add():
        for cell in cells:
            cell += 1.0

    add()
    put, calls = steps.Step._put, []

    def interrupted(self, new, given):
        calls.append(len(new))
        if len(calls) == 1:
            put(self, new[:2], given)
            raise KeyboardInterrupt
        put(self, new, given)

    monkeypatch.setattr(steps.Step, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add()
    assert [cell.tolist() for cell in cells] == [[2.0, 2.0]] * 4 and calls == [4, 4]


def test_a_thread_that_compiles_does_not_disturb_others(way):
    model = nn.Linear(20, 5)
    predict = bl.compile(lambda x: model(x))
    xs = [bl.tensor(np.ones((n, 20), np.float32)) for n in range(1, 9)]
    want = [model(x).detach().tolist() for x in xs]

    def all_shapes():
        for x, w in zip(xs, want, strict=True):
            np.testing.assert_allclose(predict(x).tolist(), w, rtol=1e-5, atol=1e-6)

    def one_shape():
        for _ in range(N):
            np.testing.assert_allclose(predict(xs[0]).tolist(), want[0], rtol=1e-5, atol=1e-6)

    together(all_shapes, one_shape, all_shapes)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)
def test_a_signal_finds_a_step_whole_or_not_at_all(way):
    """The parts of the state are written over, exchanged, counted and marked; they must never be out of step."""
    w, v, count = bl.tensor(np.zeros(3000)), bl.tensor(np.zeros((40, 40))), bl.tensor(np.float64(0.0))
    weight = bl.tensor(np.ones(10), requires_grad=True)
    generator = bl.Generator(4)

    @bl.compile(keep_grads=True)
    def step(x):
        w[...] = w + 1.0
        v[...] = v.T + 1.0  # not in place
        count[...] = count + 1.0
        weight.grad = None
        (weight * count).sum().backward()
        return (x @ x).sum() + generator.uniform((4,)).sum()

    x = bl.tensor(np.ones((60, 60)))
    step(x)
    per_step = generator.counter

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    n_interrupted = 0
    try:
        for k in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.00003 * k)
                while True:
                    step(x)
            except KeyboardInterrupt:
                n_interrupted += 1
            n = count.item()
            assert (w.numpy() == n).all() and (v.numpy() == n).all()
            assert generator.counter == n * per_step and (weight.grad.numpy() == n).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert n_interrupted == 60
    step(x)
    assert count.item() == n + 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_other_threads_compile_after_a_signal_while_compiling():
    """An exception just behind the taking of a lock must not leave it taken."""
    program = """
import os, signal, threading, time
os.environ["BACKLIT_CACHE"] = "0"
import backlit as bl
from backlit.compiler.llvm.target import Code
def interrupt(*_):
    raise KeyboardInterrupt
compiled = bl.compile(lambda x: x + 1.0)
compiled(bl.tensor(2.0))
signal.signal(signal.SIGALRM, interrupt)
n_interrupted, kept = 0, []  # nothing is freed meanwhile
for k in range(600):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0001 + 0.000005 * k)
        for _ in range(20):  # not for ever: an exception in a finalizer is ignored
            kept.append(Code("define void @nothing() {\\n  ret void\\n}\\n"))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        n_interrupted += 1
    time.sleep(0.002)  # what was interrupted goes on
assert n_interrupted > 100, n_interrupted
thread = threading.Thread(target=lambda: print(compiled(bl.tensor([2.0])).item(), flush=True), daemon=True)
thread.start()
thread.join(50)
os._exit(0)  # with or without that thread
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "3.0\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_another_thread_is_inside_goes_on():
    program = """
import os, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
import numpy as np, backlit as bl
a, w = bl.tensor(np.ones((400, 400))), bl.tensor(np.zeros(3))
long = bl.compile(lambda: bl.max(a @ a @ a))
short = bl.compile(lambda x: w.__iadd__(x).sum())
x = bl.tensor(np.ones(3))
long(), short(x)
done = False
def work():
    while not done: long()
thread = threading.Thread(target=work); thread.start()
time.sleep(0.05)
for k in range(5):
    child = os.fork()
    if child == 0:
        ok = [short(x).item() for _ in range(3)] == [3.0 * k + 6.0, 3.0 * k + 9.0, 3.0 * k + 12.0] and long().item() == 160000.0
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    short(x)
done = True
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_other_threads_run_while_a_program_does():
    a = bl.tensor(np.ones((700, 700)))
    long = bl.compile(lambda: bl.max(a @ a @ a @ a))
    long()
    stamps, done = [], threading.Event()

    def tick():
        while not done.is_set():
            stamps.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    spans = []
    for _ in range(5):
        start = time.perf_counter()
        long()
        spans.append((start, time.perf_counter()))
    done.set()
    thread.join()
    # had the GIL been held, no stamp would lie well inside a call
    inside = [sum(a + 0.2 * (b - a) < t < b - 0.2 * (b - a) for t in stamps) for a, b in spans]
    assert sum(inside) > 0
