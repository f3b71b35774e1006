"""What cannot be compiled, read as its user reads it; and failures that leave all state as it was."""

from __future__ import annotations

import collections
import re
import threading

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.core.errors import ArgumentError, BacklitError, ShapeError, TraceError
from backlit.core.op import REGISTRY

X = bl.tensor([1.0, 2.0, 3.0])


def looked_at(look):
    """A compiled function that looks at a traced value, and the line where."""

    def f(x):
        y = x * 2.0
        look(y)
        return y

    return bl.compile(f)


LOOKS = {
    "print": lambda y: print(y),
    "str": lambda y: f"{y}",
    "if": lambda y: 1 if y.sum() > 0 else 0,
    "bool": lambda y: bool(y[0]),
    "while": lambda y: [0 for _ in iter(lambda: bool(y.sum() > 0), False)],
    "float": lambda y: float(y[0]),
    "int": lambda y: int(y[0]),
    "item": lambda y: y.sum().item(),
    "tolist": lambda y: y.tolist(),
    "format": lambda y: f"{y[0]:.3f}",
    "range": lambda y: range(y.sum().astype("int64")),
    "index": lambda y: [1, 2, 3][y[0].astype("int64")],
    "numpy": lambda y: y.numpy(),
    "asarray": lambda y: np.asarray(y),
    "array in": lambda y: 2.0 in y.tolist(),
    "sorted": lambda y: sorted([y[0], y[1]]),
    "max": lambda y: max(y[0], y[1]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_looking_at_a_traced_value_names_the_line_and_the_way_out(name):
    f = looked_at(LOOKS[name])
    line = LOOKS[name].__code__.co_firstlineno
    for _ in range(2):
        with pytest.raises(TraceError) as found:
            f(X)
        said = str(found.value)
        assert f"test_compile_errors.py:{line})" in said, said
        assert said.startswith("compile: a traced value") and "where or cond instead of if" in said, said
    assert X.tolist() == [1.0, 2.0, 3.0]


def test_a_traced_value_is_shown_by_repr():
    seen = []
    looked_at(lambda y: seen.append(repr(y)))(X)
    assert seen == ["tensor(traced by compile, float32[3])"]


def test_storing_a_traced_value_outside():
    kept, table = [], {}

    class Holder:
        pass

    holder = Holder()

    def in_list(x):
        kept.append(x * 2.0)
        return x

    def in_dict(x):
        table["last"] = x + 1.0
        return x

    def in_attribute(x):
        holder.last = x.sum()
        return x

    def as_global(x):
        global LAST
        LAST = x - 1.0
        return x

    def in_gradient(x):
        cell.grad = x * 1.0
        return x

    cell = bl.tensor(np.ones(3, np.float32), requires_grad=True)
    for f, place in (
        (in_list, r"kept\[0\]"),
        (in_dict, r"table\['last'\]"),
        (in_attribute, "holder.last"),
        (as_global, "LAST"),
    ):
        with pytest.raises(TraceError) as found:
            bl.compile(f)(X)
        said = str(found.value)
        assert re.search(
            rf"compile: the function stores a traced value float32\[.*\] made at .*:{f.__code__.co_firstlineno + (2 if f is as_global else 1)} in {place}",
            said,
        ), said
        assert "return it, or write it into a tensor made before" in said
    g = bl.compile(in_gradient, keep_grads=True)
    g(X)
    assert cell.grad.tolist() == X.tolist()  # a gradient is a place that belongs to the state


def test_a_value_stored_where_nobody_looks_is_refused_when_it_is_used():
    hidden = collections.deque()

    def f(x):
        hidden.append(x * 2.0)
        return x

    bl.compile(f)(X)
    with pytest.raises(
        TraceError,
        match=r"mul: a traced value of compile called at .*test_compile_errors.py:\d+ is used after that call has ended",
    ):
        hidden[0] * 2.0


def test_an_error_in_the_function_is_its_own_and_leaves_all_as_it_was():
    model = nn.Linear(3, 2)
    opt = optim.Adam(model.parameters())
    generator = bl.Generator(3)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}

    @bl.compile
    def step(x):
        opt.zero_grad()
        loss = model(x).sum() + generator.normal(()).sum()
        loss.backward()
        opt.step()
        return loss @ x

    with pytest.raises(ShapeError, match="matmul"):
        step(bl.tensor(np.ones((1, 3), np.float32)))
    assert all((value.numpy() == before[name]).all() for name, value in model.state_dict().items())
    assert model.weight.grad is None and generator.counter == 0 and model.weight.requires_grad
    assert model(bl.tensor(np.ones((1, 3), np.float32))).shape == (1, 2)


def stream(x):
    yield x


def test_options():
    with pytest.raises(ArgumentError, match=r"static_argnames \['n'\] are no arguments of the function"):
        bl.compile(lambda x: x, static_argnames=("n",))
    with pytest.raises(ArgumentError, match=r"compile: expected a number of threads of 1 or more, got 0"):
        bl.compile(lambda x: x, threads=0)
    with pytest.raises(ArgumentError, match=r"compile: a static argument must be hashable"):
        bl.compile(lambda x, n: x, static_argnames="n")(X, [1])
    with pytest.raises(ArgumentError, match=r"compile: expected a function, got Tensor"):
        bl.compile(X)
    with pytest.raises(ArgumentError, match="expected a function that returns when it is done; stream does not"):
        bl.compile(stream)
    with pytest.raises(ArgumentError, match="nothing is compiled yet; call the function first"):
        bl.compile(lambda x: x).ir()
    with pytest.raises(TypeError, match="missing 1 required"):
        bl.compile(lambda x, y: x)(X)
    with pytest.raises(TypeError, match="unexpected keyword"):
        bl.compile(lambda x: x, keep_grad=True)


def test_arguments_that_are_no_arrays():
    with pytest.raises(BacklitError, match="cannot hold"):
        bl.compile(lambda x: x)(np.array(["a"]))
    with pytest.raises(TraceError, match="split before it"):
        bl.compile(lambda g: g.split(2))(bl.Generator(1))
    with pytest.raises(TraceError, match=r"cannot be set or seeded; do it before the call \(.*test_compile_errors.py"):
        bl.compile(lambda: bl.random.seed(3).uniform(()))()


def test_an_exception_in_a_callback_leaves_all_as_it_was(monkeypatch):
    """An op without instructions runs by its forward in the middle of the program."""
    w, count = bl.tensor(np.ones(3)), bl.tensor(0.0)
    generator, powers = bl.Generator(1), bl.tensor(np.arange(3))

    @bl.compile
    def step(x):
        w[...] = w + x
        count[...] = count + 1.0
        noise = generator.uniform((3,), dtype="float64")
        order = (w + noise).astype("int64") ** powers
        w[...] = w * 2.0
        return order

    x = bl.tensor(np.ones(3))
    op = REGISTRY["pow"]
    step(x)
    assert "pow" in step._last.native.callbacks
    state = w.tolist(), count.tolist(), generator.counter
    for error in (RuntimeError, KeyboardInterrupt, MemoryError):

        def fail(*args, error=error, **kwargs):
            raise error("in the middle")

        with monkeypatch.context() as patched:
            patched.setattr(op, "forward", fail, raising=False)
            with pytest.raises(error, match="in the middle"):
                step(x)
        assert (w.tolist(), count.tolist(), generator.counter) == state
    step(x)
    assert w.tolist() == [10.0] * 3 and count.item() == 2.0


def test_state_is_written_where_it_lies_after_the_last_callback():
    w, other, powers = bl.tensor(np.ones(4)), bl.tensor(np.ones(4)), bl.tensor(np.arange(4))

    @bl.compile
    def step(x):
        w[...] = w * 2.0 + x
        found = x.astype("int64") ** powers
        other[...] = other + (w.astype("int64") ** powers).astype("float64")  # made of the new state
        return found

    x = bl.tensor(np.full(4, 3.0))
    assert step(x).tolist() == [1, 3, 9, 27]
    native, places = step._last.native, [w._value.ctypes.data, other._value.ctypes.data]
    assert len(native.callbacks) == 2 and step._last.entry is not None
    (over,) = (step._last.sources[j].owner for j in native.over.values())
    assert over is other
    step(x)
    assert w.tolist() == [13.0] * 4 and other.tolist() == [3.0, 19.0, 195.0, 2323.0]
    assert other._value.ctypes.data == places[1]
    with bl.eager():
        step(x)
    assert w.tolist() == [29.0] * 4


def test_callbacks_in_two_threads():
    """Each program runs its own, whatever thread it is in, and errors stay where they belong."""
    results = {}

    def make(k):
        total, powers = bl.tensor(np.zeros(3, np.int64)), bl.tensor(np.arange(3))

        @bl.compile
        def step(x):
            total[...] = total + x**powers
            return total * 1

        def run():
            for _ in range(50):
                results[k] = step(bl.tensor(np.full(3, k))).tolist()
            with pytest.raises(ValueError, match="negative integer powers"):
                bl.compile(lambda x: x ** bl.tensor(np.array([-k, 0, 1])))(bl.tensor(np.full(3, k)))

        return threading.Thread(target=run)

    threads = [make(k) for k in (2, 3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: [50, 50 * k, 50 * k * k] for k in (2, 3)}


def test_out_of_memory():
    w = bl.tensor(np.zeros(3))

    @bl.compile
    def step(x, n):
        w[...] = w + x
        return bl.broadcast_to(w[0], (n,)) * 2.0

    x = bl.tensor(np.ones(3))
    for _ in range(2):
        with pytest.raises(MemoryError):
            step(x, 1 << 46)
        assert w.tolist() == [0.0] * 3
    assert step(x, 2).tolist() == [2.0, 2.0] and w.tolist() == [1.0] * 3
