"""What selects another program, what does not, and what is said about it."""

from __future__ import annotations

import dataclasses
import gc
import logging
import types
import warnings
import weakref

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import layout
from backlit.compiler.entry import MISS
from backlit.ops.linear import broadcast_to

SCALE = 2.0
UNUSED = 1
X = bl.tensor(np.ones(2))


def helper(x):
    return x * SCALE


class Scaled(nn.Module):
    offset = 1.0

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.extra = {"bias": 0.0, "names": ["a"]}

    def forward(self, x):
        y = helper(x) * self.scale + self.offset + self.extra["bias"]
        return y if self.training else -y


class Settings:
    gain = 3.0
    unused = 0


def calls(f, *changes, x=X):
    """The function agrees with its plain form after each change; how often it was compiled again."""
    assert f(x).tolist() == f.function(x).tolist()
    for change in changes:
        change()
        for _ in range(2):
            assert f(x).tolist() == f.function(x).tolist()
    return len(f.reasons)


def test_numbers_in_the_closure():
    scale = 2.0
    f = bl.compile(lambda x: x * scale)

    def change(value):
        def changed():
            nonlocal scale
            scale = value

        return changed

    assert calls(f, change(3.0), change(2.0), change(float("2")), change(3.0)) == 1
    assert f.reasons == ["scale was 2.0 and is 3.0"]
    assert calls(f, change(None.__class__ and 3)) == 2  # an integer is another value


def test_globals_of_the_function_and_of_those_it_calls(monkeypatch):
    f = bl.compile(lambda x: helper(x) + 1.0)
    assert (
        calls(
            f, lambda: monkeypatch.setitem(globals(), "SCALE", 5.0), lambda: monkeypatch.setitem(globals(), "UNUSED", 2)
        )
        == 1
    )
    assert f.reasons == ["helper:SCALE was 2.0 and is 5.0"]
    assert calls(f, lambda: monkeypatch.setitem(globals(), "helper", lambda x: x - 1.0)) == 2


def test_modules_flags_and_containers():
    model = Scaled(3.0)
    f = bl.compile(lambda x: model(x))
    changes = [
        model.eval,
        model.train,
        lambda: setattr(model, "scale", 4.0),
        lambda: model.extra.update(bias=1.0),
        lambda: model.extra["names"].append("b"),
        lambda: setattr(model, "new", 1),
        lambda: setattr(Scaled, "offset", 2.0),
    ]
    try:
        assert calls(f, *changes) == 6
    finally:
        Scaled.offset = 1.0
    assert f.reasons[0] == "model.training was True and is False"
    assert f.reasons[2] == "model.extra['bias'] was 0.0 and is 1.0"


@pytest.mark.skipif(layout.layout() is None, reason="no native entry on this interpreter")
def test_a_learning_rate_for_every_step_and_other_modules_cost_no_new_entry():
    model = nn.Linear(2, 1)
    opt = optim.Adam(model.parameters())

    @bl.compile
    def train(x):
        opt.zero_grad()
        loss = model(x).sum()
        loss.backward()
        opt.step()
        return loss

    x = bl.tensor(np.ones((3, 2), np.float32))
    train(x)
    entry, others = train._last.entry, []
    for k in range(4):
        opt.lr = 0.1 / (k + 1)
        assert entry(x) is not MISS
        opt.param_groups[0]["lr"] = 0.2 / (k + 1)
        assert entry(x) is not MISS
        others.append(nn.Linear(1, 1))
        assert entry(x) is MISS
        train(x)
        assert train._last.entry is entry and entry(x) is not MISS
    model.eval()
    train(x)
    assert train._last.entry is not entry and len(train.reasons) == 1


def test_attributes_of_objects_that_the_code_names():
    class Job:
        def __init__(self):
            self.settings, self.log, self.rate = Settings, [], 0.5

        def run(self, x):
            return self.scaled(x) + self.shift

        def scaled(self, x):
            return x * self.rate * self.settings.gain

        @property
        def shift(self):
            return self.by

        by = 1.0

    job = Job()
    f = bl.compile(job.run)
    changes = [
        lambda: job.log.append(1),  # no code that is reached names it
        lambda: setattr(job, "notes", {}),
        lambda: setattr(Settings, "unused", 1),
    ]
    assert calls(f, *changes) == 0
    try:
        assert calls(f, lambda: setattr(job, "rate", 1.5), lambda: setattr(Settings, "gain", 4.0)) == 2
        assert calls(f, lambda: setattr(Job, "by", 2.0), lambda: setattr(job, "by", 5.0)) == 4
    finally:
        Settings.gain = 3.0
    assert f.reasons[:2] == ["function.__self__.rate was 0.5 and is 1.5", "Settings.gain was 3.0 and is 4.0"]


def test_attributes_in_slots():
    @dataclasses.dataclass(slots=True)
    class Settings:
        gain: float
        weight: bl.Tensor

    settings = Settings(2.0, bl.tensor([1.0, 2.0]))
    f = bl.compile(lambda x: x * settings.gain + settings.weight)
    changes = [
        lambda: setattr(settings, "gain", 3.0),
        lambda: settings.weight.__iadd__(1.0),  # state
        lambda: setattr(settings, "weight", bl.tensor([5.0, 5.0])),
    ]
    assert calls(f, *changes) == 2


def test_names_read_from_modules_of_the_user():
    config = types.ModuleType("config_of_this_test")
    config.gain, config.other = 2.0, 1
    f = bl.compile(lambda x: x * config.gain)
    assert calls(f, lambda: setattr(config, "other", 2)) == 0
    assert calls(f, lambda: setattr(config, "gain", 3.0)) == 1


def test_lists_tuples_sets_and_dictionaries():
    steps, table, names, fixed = [1.0, 2.0], {"a": 1.0}, {"x"}, (1.0, [2.0])
    f = bl.compile(lambda x: x * sum(steps) + table["a"] * len(names) + fixed[1][0])
    changes = [
        lambda: steps.append(3.0),
        lambda: steps.pop(),
        lambda: table.update(a=2.0),
        lambda: table.update(b=2.0),
        lambda: names.add("y"),
        lambda: fixed[1].__setitem__(0, 7.0),
    ]
    assert calls(f, *changes) == 5


def test_a_list_of_tensors_is_state():
    cells = [bl.tensor([1.0, 2.0]), bl.tensor([3.0, 4.0])]

    def f(x):
        total = x
        for c in cells:
            c += 1.0
            total = total + c
        return total

    g = bl.compile(f)
    assert g(X).tolist() == [1 + 2 + 4, 1 + 3 + 5]
    cells.append(bl.tensor([10.0, 10.0]))
    assert g(X).tolist() == [1 + 3 + 5 + 11, 1 + 4 + 6 + 11]
    cells.reverse()
    assert g(X).tolist() == [1 + 4 + 6 + 12, 1 + 5 + 7 + 12]
    assert len(g.reasons) == 2


def test_arrays_of_numpy_from_outside_are_constants():
    table = np.arange(2.0)
    f = bl.compile(lambda x: x + table)
    assert f(X).tolist() == [1.0, 2.0]
    table = np.arange(2.0) + 1.0
    assert f(X).tolist() == [2.0, 3.0]


def test_one_sentence_says_why(caplog):
    model = nn.Sequential(nn.Linear(2, 2))

    @bl.compile
    def f(x):
        return model(x) if model.training else model(x) * 2.0

    x = bl.tensor(np.ones((1, 2), np.float32))
    with caplog.at_level(logging.INFO, logger="backlit"):
        f(x)
        assert caplog.messages == []
        model.eval()
        f(x)
        f(bl.tensor(np.ones((3, 2), np.float32)))
        with bl.no_grad():
            f(x)
        model.train()
        f(x)  # a program that is known
    assert caplog.messages[0] == "compile: f is compiled again: model.training was True and is False"
    assert caplog.messages[1] == ("compile: f is compiled again: argument 0 was float32[1, 2] and is float32[3, 2]")
    assert caplog.messages[2] == "compile: f is compiled again: it is called inside no_grad"
    assert len(caplog.messages) == 3


def test_what_is_said_about_arguments():
    f = bl.compile(lambda x, *more, k=1, **named: x * k)
    f(X)
    f(bl.tensor([1.0]), k=2)
    assert f.reasons[-1] == "argument 0 was float64[2] and is float32[1]; argument 'k' was not given and is 2"
    f(bl.tensor([1.0]), k=3)
    assert f.reasons[-1] == "argument 'k' was 2 and is 3"
    f(bl.tensor([1.0], requires_grad=True), k=3)
    assert f.reasons[-1] == "argument 0 was float32[1] and is float32[1] that requires grad"
    f(bl.tensor([1.0]), [X, {"a": X}], k=3)
    assert f.reasons[-1] == "argument 1 was not given and is a list of 2"
    f(bl.tensor([1.0]), [X, {"b": X}], k=3)
    assert f.reasons[-1] == "argument 1[1] was a dictionary with 'a' and is a dictionary with 'b'"


def test_a_storm_is_reported_once():
    f = bl.compile(lambda x, k: x * k)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for k in range(30):
            f(X, float(k))
    (one,) = found
    assert one.category is RuntimeWarning and one.filename == __file__
    assert str(one.message) == (
        "compile: <lambda> has been compiled 9 times, the last time because argument 1 was 7.0 and is 8.0; pass what "
        "changes as a tensor, or keep it the same"
    )


def test_a_number_that_counts_calls_in_the_function_itself_counts_every_call():
    counted = [0]

    def f(x):
        counted[0] += 1
        return x * counted[0]

    g = bl.compile(f)
    assert [g(X).tolist()[0] for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_programs_called_longest_ago_are_dropped_and_made_again(monkeypatch, caplog):
    monkeypatch.setattr("backlit.compiler.compile.MOST", 3)
    f = bl.compile(lambda x: x * 2.0)
    xs = [bl.tensor(np.arange(float(n))) for n in range(1, 6)]

    def kept():
        return sorted(report.argument_bytes // 8 for report in f.reports())

    with caplog.at_level(logging.INFO, "backlit"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for x in (*xs[:3], xs[0], xs[3]):  # the second was called longest ago
            assert f(x).tolist() == (x * 2.0).tolist()
        assert kept() == [1, 3, 4] and any("is dropped" in r.getMessage() for r in caplog.records)
        for _ in range(2):
            for x in xs:
                assert f(x).tolist() == (x * 2.0).tolist()
                assert len(kept()) == 3 == len(f._steps) and x.size in kept()
    dropped = weakref.ref(f._last)
    for x in xs[:3]:
        f(x)
    gc.collect()
    assert dropped() is None


def test_what_an_op_keeps_for_itself_guards_nothing(monkeypatch):
    monkeypatch.setattr(broadcast_to, "plans", {})
    weight = bl.tensor([2.0, 3.0], requires_grad=True)
    each = bl.vmap(lambda w, x: w * x, in_axes=(None, 0))  # whose globals, those of `vmap`, name ops
    each.__module__ = __name__

    @bl.compile
    def step(x):
        weight.grad = None
        (each(weight, x) ** 2).sum().backward()

    for _ in range(3):
        step(X.reshape(1, 2))
    assert step.reasons == [] and len(step.reports()) == 1
