"""What a compiled function takes for its state and its guards."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler.trace import StepTrace
from backlit.core.errors import TraceError

SCALE = 2.0


def test_a_function_that_has_the_name_of_a_method_it_calls_is_compiled_once():
    model, x = nn.Linear(3, 2), bl.tensor(np.ones((4, 3), np.float32))
    opt = optim.SGD(model.parameters(), lr=0.1)
    names: dict = {"bl": bl, "opt": opt, "model": model}
    exec(  # noqa: S102 - globals of its own
        "def step(x):\n  opt.zero_grad()\n  loss = bl.sum(model(x))\n  loss.backward()\n  opt.step()\n  return loss",
        names,
    )
    names["step"] = step = bl.compile(names["step"])
    losses = [step(x).item() for _ in range(3)]
    assert step.reasons == [] and losses[0] > losses[1] > losses[2]


def test_a_compiled_function_that_reaches_itself_or_another_is_compiled_once():
    inner = bl.compile(lambda x: x * SCALE)
    names: dict = {"inner": inner}
    exec("def outer(x, deep=False):\n  return outer(x) if deep else inner(x) + 1.0", names)  # noqa: S102 - globals of its own
    names["outer"] = outer = bl.compile(names["outer"])
    x = bl.tensor([1.0, 2.0])
    inner(x)
    assert [outer(x).tolist() for _ in range(3)] == [[3.0, 5.0]] * 3
    assert outer.reasons == []


def test_a_number_behind_a_compiled_function_is_a_guard(monkeypatch):
    inner = bl.compile(lambda x: x * SCALE)
    outer = bl.compile(lambda x: inner(x) + 1.0)
    x = bl.tensor([1.0, 2.0])
    assert outer(x).tolist() == [3.0, 5.0]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert outer(x).tolist() == [4.0, 7.0]
    assert len(outer.reasons) == 1


def test_the_first_step_already_writes_over_the_state():
    model, x = nn.Linear(300, 200), bl.tensor(np.ones((4, 300), np.float32))
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @bl.compile
    def step(x):
        opt.zero_grad()
        loss = bl.sum(model(x))
        loss.backward()
        opt.step()
        return loss

    before = id(model.weight._value)
    step(x)
    assert id(model.weight._value) == before


def test_a_tensor_out_of_sight_is_state_all_the_same():
    class Holder:
        __slots__ = ("w",)

    holder = Holder()
    holder.w = bl.tensor(np.ones(3))

    @bl.compile
    def step(x):
        holder.w[...] = holder.w * 0.5 + x
        return bl.sum(holder.w)

    zero = bl.tensor(np.zeros(3))
    assert [step(zero).item() for _ in range(4)] == [1.5, 0.75, 0.375, 0.1875]
    holder.w[...] = np.full(3, 8.0)
    assert step(zero).item() == 12.0


def test_tensors_outside_that_are_new_at_every_trace_are_an_error(monkeypatch):
    traced = []
    monkeypatch.setattr(StepTrace, "strangers", lambda self: [bl.tensor(np.ones(3))])
    step = bl.compile(lambda x: traced.append(x.shape) or x * 2.0)
    with pytest.raises(TraceError, match=r"new ones each of 20 times, float64\[3\] last; .* make that before"):
        step(np.ones(4))
    assert traced == [(4,)] * 20
