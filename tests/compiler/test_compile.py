"""Compiled functions against the plain ones they are made of: arguments, results, state, gradients."""

from __future__ import annotations

import copy
import dataclasses
import gc
import itertools
import sys
from collections import namedtuple
from fractions import Fraction

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.compiler import layout, running, step
from backlit.compiler.entry import MISS
from backlit.compiler.llvm.target import features
from backlit.core import record
from backlit.core.errors import GradientError
from backlit.nn import functional as F

NATIVE = layout.layout() is not None
Pair = namedtuple("Pair", "first second")


@pytest.fixture(params=["native", "python"])
def way(request, monkeypatch):
    """Both ways into a program."""
    if request.param == "python":
        monkeypatch.setattr(step, "process", lambda: None)
        monkeypatch.setattr(running, "process", lambda: None)
    elif not NATIVE:
        pytest.skip("no native entry on this interpreter")
    return request.param


def is_quick(compiled, *args):
    """Whether a call with these arguments goes straight into native code."""
    return compiled._last.entry is not None and compiled._last.entry(*args) is not MISS


def leaves(x):
    return [np.asarray(t.detach() if isinstance(t, bl.Tensor) else t) for t in bl.tree.leaves(x)]


def same(got, want):
    """Equal to the bit, type by type."""
    assert bl.tree.flatten(got)[1] == bl.tree.flatten(want)[1]
    for g, w in zip(bl.tree.leaves(got), bl.tree.leaves(want), strict=True):
        assert isinstance(g, bl.Tensor) is isinstance(w, bl.Tensor)
        g, w = (np.asarray(t.detach() if isinstance(t, bl.Tensor) else t) for t in (g, w))
        assert g.dtype == w.dtype and g.shape == w.shape
        np.testing.assert_array_equal(g, w)


def test_arguments_of_every_kind(way):
    @dataclasses.dataclass
    class Batch:
        x: bl.Tensor
        scale: float

    bl.tree.register(Batch, lambda b: ((b.x,), b.scale), lambda scale, ch: Batch(ch[0], scale))

    def f(a, pair, *rest, table, flag=True, **more):
        out = a * pair.first + pair.second[0]
        for r in rest:
            out = out + r
        return {
            "out": out if flag else -out,
            "more": [bl.sqrt(v) for v in more.values()],
            "x": table["x"].x * table["x"].scale,
        }

    g = bl.compile(f)
    x = bl.tensor(np.arange(3.0))
    for k in range(3):
        array = np.full(3, 1.5 + k)
        args = x, Pair(array, [x * 2.0, None]), 3, np.float32(2.0)
        named = {"table": {"x": Batch(x + float(k), 2.0 + k % 2)}, "flag": k < 2, "z": array.T}
        same(g(*args, **named), f(*args, **named))
    assert len(g.reasons) == 2  # another number; another flag and number


def test_what_is_returned(way):
    w = bl.tensor(np.arange(4.0))
    constant = bl.tensor([1.0, 2.0])

    def f(x):
        y = x + w
        return {"none": None, "number": 3, "text": "t", "pair": (y, [y, x]), "state": w, "constant": constant, "shape": y.shape,
                "moved": y.reshape(2, 2), "kept": x.reshape(2, 2)}  # fmt: skip

    g = bl.compile(f)
    for k in range(3):
        x = bl.tensor(np.arange(4.0) * k)
        same(g(x), f(x))
    assert bl.compile(lambda x: None)(x) is None


def test_a_result_keeps_its_value_after_later_calls_and_writes(way):
    w = bl.tensor(np.zeros(3))

    def f(x):
        before = w.detach()
        w[...] = w + x
        return before, w.clone(), w

    g = bl.compile(f)
    x = bl.tensor(np.ones(3))
    found = [g(x) for _ in range(4)]
    for k, parts in enumerate(found):
        for part, value in zip(parts, (k, k + 1, k + 1), strict=True):
            np.testing.assert_array_equal(part.numpy(), np.full(3, float(value)))
    found[-1][0][0] = 7.0  # writes to results stay theirs
    assert w.tolist() == [4.0] * 3 and found[-1][1].tolist() == [4.0] * 3
    assert way == "python" or is_quick(g, x)


def test_an_array_that_is_handed_through_is_copied(way):
    mine = np.ones(3)
    kept = bl.tensor(np.zeros(3))
    f = bl.compile(lambda x: (x, kept.__setitem__(..., x)))
    for _ in range(3):
        out, _ = f(mine)
        mine += 1.0
        assert out.tolist() == kept.tolist() == (mine - 1.0).tolist()


def test_arrays_of_the_caller_are_never_written_to(way):
    mine = np.ones(3)
    shared = bl.asarray(mine, copy=False)
    x = bl.tensor(np.arange(3.0))
    other = bl.tensor(x)
    view = x.numpy()

    def f(array, tensor):
        array += 1.0
        tensor *= 2.0
        return (array * tensor).sum()

    g = bl.compile(f)
    for _ in range(3):
        g(mine, x)
        g(shared, other)
    assert mine.tolist() == [1.0] * 3 and view.tolist() == [0.0, 1.0, 2.0]
    assert shared.tolist() == [4.0] * 3 and x.tolist() == [0.0, 8.0, 16.0] == other.tolist()


def test_state_that_shares_memory_is_separated_once(way, monkeypatch):
    start = np.arange(3.0)
    w, alias = bl.asarray(start, copy=False), None
    alias = w.detach()

    @bl.compile
    def f(x):
        w[...] = w + x
        return w.sum()

    x = bl.tensor(np.ones(3))
    assert [f(x).item() for _ in range(3)] == [6.0, 9.0, 12.0]
    assert start.tolist() == alias.tolist() == [0.0, 1.0, 2.0]
    held = w.numpy()  # somebody looks at the array that is written over
    with monkeypatch.context() as patched:
        if way == "native":  # an array of its own is enough for the native way
            patched.setattr(step.Step, "_run_in_python", None)
        f(x)
    assert held.tolist() == [3.0, 4.0, 5.0] and w.tolist() == [4.0, 5.0, 6.0]
    assert way == "python" or is_quick(f, x)  # it has an array of its own again


def test_an_argument_that_is_also_state_or_is_given_twice(way):
    w = bl.tensor(np.arange(3.0))

    def f(a, b):
        a[...] = a + 1.0
        return (a * b * w).sum()

    g, x = bl.compile(f), bl.tensor(np.full(3, 2.0))
    for args in ((x, w), (w, x), (w, w), (x, x), (x, w), (x, bl.tensor(np.full(3, 3.0)))):
        states = [t.clone() for t in (w, x)]
        want = f(*args).item(), w.tolist(), x.tolist()
        w[...], x[...] = states
        for t, s in zip((w, x), states, strict=True):
            t[...] = s
        assert (g(*args).item(), w.tolist(), x.tolist()) == want


def test_a_tensor_that_was_state_and_argument_at_once_is_not_taken_for_another(way):
    w = bl.tensor(np.arange(3.0))
    f = lambda a: (a * w).sum()
    g, x = bl.compile(f), bl.tensor(np.full(3, 2.0))
    for a in (w, w, x, x, w, bl.tensor(np.full(3, 3.0)), w):
        assert g(a).item() == f(a).item()
    pair = lambda a, b: (a - 2.0 * b).sum()
    h = bl.compile(pair)
    for args in ((x, x), (x, w), (w, x), (w, w), (x, x), (x, w)):
        for _ in range(2):
            assert h(*args).item() == pair(*args).item()


def test_a_tensor_given_twice_after_two_tensors(way):
    w = bl.tensor(np.zeros(3))

    def f(a, b):
        a += 1.0
        w.__iadd__(1.0)
        return (a * b).sum()

    g = bl.compile(f)
    x, y = bl.tensor(np.arange(3.0)), bl.tensor(np.ones(3))
    assert [g(x, y).item() for _ in range(3)] == [6.0, 9.0, 12.0]  # x is [3, 4, 5]
    assert g(x, x).item() == 16.0 + 25.0 + 36.0
    assert g(y, x).item() == 2.0 * (4.0 + 5.0 + 6.0)
    assert g(x, w).item() == (5.0 + 6.0 + 7.0) * 6.0  # w was 5 and is written as well
    assert g(w, w).item() == 3 * 8.0**2 and w.tolist() == [8.0] * 3


def test_bare_arrays_and_nested_arguments_go_straight_in(way):
    f = bl.compile(lambda batch, *, scale: (batch["x"][0] + batch["y"]) * scale)
    for k in range(3):
        x, y = np.full(3, float(k)), bl.tensor(np.ones(3))
        assert f({"x": [x], "y": y}, scale=2.0).tolist() == [2.0 * (k + 1)] * 3
        if way == "native":
            assert f._last.pattern.leaves(({"x": [x], "y": y},), {"scale": 2.0}) is not None
    for other in (({"y": y, "x": [x]},), ({"x": (x,), "y": y},), ({"x": [y], "y": y},), ({"x": [x, x], "y": y},)):
        assert f(*other, scale=2.0).shape == (3,)
    assert f({"x": [x], "y": y}, scale=-0.0).tolist() == [-0.0] * 3
    assert (
        np.signbit(f({"x": [x], "y": y}, scale=-0.0).numpy()).all()
        and not np.signbit(f({"x": [x], "y": y}, scale=0.0).numpy()).any()
    )
    assert np.isnan(f({"x": [x], "y": y}, scale=float("nan")).numpy()).all()
    same = bl.compile(lambda a, b: a - b)
    for _ in range(2):
        assert same(x, x).tolist() == [0.0] * 3 and same(x, x + 1.0).tolist() == [-1.0] * 3


def test_state_is_found_by_identity_and_read_at_each_call(way):
    model = nn.Linear(2, 2)
    f = bl.compile(lambda x: model(x))
    x = bl.tensor(np.eye(2, dtype=np.float32))
    for value in (0.0, 1.0, 2.0):
        with bl.no_grad():
            model.weight[...] = value
        same(f(x).detach(), model(x).detach())
    model.load_state_dict({"weight": np.ones((2, 2)), "bias": np.zeros(2)})
    same(f(x).detach(), model(x).detach())
    assert f.reasons == []
    model.weight = nn.Parameter(np.full((2, 2), 5.0, np.float32))
    same(f(x).detach(), model(x).detach())
    assert len(f.reasons) == 1


@pytest.mark.parametrize("kind", ["turned", "strided", "swapped", "fortran"])
def test_arrays_that_do_not_lie_flat(way, kind):
    start = np.random.default_rng(0).standard_normal((4, 4))
    start = np.repeat(start, 2, axis=0) if kind == "strided" else start
    array = {
        "turned": start.T,
        "strided": start[::2],
        "swapped": start.astype(">f8"),
        "fortran": np.asfortranarray(start),
    }[kind]
    w = bl.tensor(array) if kind == "swapped" else bl.asarray(array, copy=False)
    f = lambda x: (x @ w.T).sum(axis=0) + x[0]
    g = bl.compile(f)
    for _ in range(3):
        for x in (array, bl.tensor(array), w):
            np.testing.assert_allclose(g(x).numpy(), np.asarray(f(bl.asarray(x))), rtol=1e-14)


def make_training(optimizer):
    bl.random.seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    opt = optimizer(model.parameters())

    def train(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return model, opt, train


OPTIMIZERS = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.3),
    "momentum": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "dampening": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, dampening=0.5),
    "adam": lambda ps: optim.Adam(ps, lr=0.05, amsgrad=True),
    "adamw": lambda ps: optim.AdamW(ps, lr=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_as_eager(way, name):
    rng = np.random.default_rng(0)
    batches = [(bl.tensor(rng.standard_normal((5, 6), np.float32)), bl.tensor(rng.integers(0, 3, 5))) for _ in range(6)]
    found = []
    for wrap in (lambda f: f, bl.compile):
        model, opt, train = make_training(OPTIMIZERS[name])
        train = wrap(train)
        losses = []
        for k, batch in enumerate(batches * 2):
            if k == 4:
                opt.lr = 0.02  # takes effect without another program
            if k == 8:
                opt.param_groups[0]["lr"] = opt.param_groups[0]["lr"] * 0.5
            losses.append(train(*batch).item())
        if wrap is bl.compile:
            assert train.reasons == []
            if way == "python":
                train(*batches[0])
            else:
                assert is_quick(train, *batches[0])
        else:
            train(*batches[0])
        state = [leaves(list(s.values())) for s in opt.state.values()]
        found.append((losses, [p.numpy() for p in model.parameters()], state))
    for got, want in zip(bl.tree.leaves(found[1]), bl.tree.leaves(found[0]), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_settings_other_than_the_learning_rate_are_guards(way):
    _, opt, train = make_training(OPTIMIZERS["momentum"])
    train = bl.compile(train)
    x, y = bl.tensor(np.ones((5, 6), np.float32)), bl.tensor(np.zeros(5, np.int64))
    train(x, y)
    opt.param_groups[0]["momentum"] = 0.5
    train(x, y)
    assert len(train.reasons) == 1 and "['momentum'] was 0.9 and is a tensor" in train.reasons[0]
    opt.param_groups[0]["momentum"] = 0.25  # from now on in a cell
    train(x, y)
    assert len(train.reasons) == 1
    opt.param_groups[0]["maximize"] = True
    train(x, y)
    assert len(train.reasons) == 2 and "['maximize'] was False and is True" in train.reasons[1]


def test_gradients_are_used_up_unless_kept(way):
    w = bl.tensor(np.arange(3.0), requires_grad=True)
    used = bl.compile(lambda x: (w * x).sum().backward())
    kept = bl.compile(lambda x: (w * x).sum().backward(), keep_grads=True)
    x = bl.tensor(np.ones(3))
    used(x)
    with pytest.raises(GradientError, match=r"used up the gradient of float64\[3\].*keep_grads=True.*test_compile.py"):
        w.grad  # noqa: B018
    with pytest.raises(GradientError, match="keep_grads=True"):
        used(x)  # it would add to what is gone
    with pytest.raises(GradientError, match="keep_grads=True"):
        (w * x).sum().backward()
    w.grad = None
    used(x)
    w.grad = None
    kept(x)
    first = w.grad
    for n in (2.0, 3.0):
        kept(x)
        assert w.grad.tolist() == [n] * 3
    assert first.tolist() == [1.0] * 3  # keeps its value
    (w * x).sum().backward()
    assert w.grad.tolist() == [4.0] * 3
    kept(x)
    assert w.grad.tolist() == [5.0] * 3


def test_gradients_that_the_program_does_not_make_stay(way):
    model, opt, _ = make_training(OPTIMIZERS["adam"])
    update, x = bl.compile(opt.step), bl.tensor(np.ones((2, 6), np.float32))
    for _ in range(3):
        opt.zero_grad()
        model(x).sum().backward()
        before = [p.grad for p in model.parameters()]
        update()
        assert all(p.grad is g for p, g in zip(model.parameters(), before, strict=True))
    clear = bl.compile(opt.zero_grad)
    clear()
    assert all(p.grad is None for p in model.parameters())


def test_gradient_of_an_argument(way):
    f = bl.compile(lambda x: (x**2).sum().backward(), keep_grads=True)
    for k in range(3):
        x = bl.tensor(np.arange(3.0) + k, requires_grad=True)
        for n in (1, 2, 3):
            f(x)
            np.testing.assert_array_equal(x.grad.numpy(), n * 2 * x.detach().numpy())


def test_accumulation_over_several_backwards_and_calls(way):
    found = []
    for wrap in (lambda f: f, lambda f: bl.compile(f, keep_grads=True)):
        bl.random.seed(1)
        model = nn.Linear(3, 2)
        opt = optim.SGD(model.parameters(), lr=0.1)

        def backward(x, model=model):
            (model(x) ** 2).mean().backward()
            model(x).sum().backward()

        def update(opt=opt):
            opt.step()
            opt.zero_grad()

        backward, update = wrap(backward), wrap(update)
        for k in range(3):
            for x in (np.ones((4, 3), np.float32), np.full((4, 3), float(k), np.float32)):
                backward(bl.tensor(x))
            found.append([p.grad.numpy() for p in model.parameters()])
            update()
            assert model.weight.grad is None
    for got, want in zip(bl.tree.leaves(found[3:]), bl.tree.leaves(found[:3]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_second_derivatives_hooks_and_no_grad(way):
    def f(x):
        seen = []
        y = x**3
        y.register_hook(lambda g: seen.append(g) or g * 2.0)
        y.retain_grad()
        y.sum().backward(create_graph=True)
        first = x.grad
        x.grad = None
        (first**2).sum().backward()
        with bl.no_grad():
            z = x * 2.0
        assert not z.requires_grad and len(seen) == 1
        return y.grad, first, x.grad, z, seen[0]

    g = bl.compile(f, keep_grads=True)
    for k in range(3):
        x, y = (bl.tensor(np.arange(3.0) + k, requires_grad=True) for _ in range(2))
        same([t.detach() for t in g(x)], [t.detach() for t in f(y)])
        same(x.grad.detach(), y.grad.detach())


def test_a_hook_outside_is_traced_with_the_rest(way):
    w = bl.tensor(np.ones(2), requires_grad=True)
    handle = w.register_hook(lambda g: g * 3.0)
    f = bl.compile(lambda x: (w * x).sum().backward(), keep_grads=True)
    x = bl.tensor([1.0, 2.0])
    f(x)
    assert w.grad.tolist() == [3.0, 6.0]
    handle.remove()
    w.grad = None
    f(x)
    assert w.grad.tolist() == [1.0, 2.0]


def test_inside_transforms_and_each_other(way):
    f = lambda x: (bl.sin(x) * x).sum()
    g = bl.compile(f)
    x = np.arange(3.0)
    same(bl.grad(g)(x), bl.grad(f)(x))
    same(bl.vmap(g)(np.eye(3)), bl.vmap(f)(np.eye(3)))
    same(bl.jvp(g, (x,), (x,)), bl.jvp(f, (x,), (x,)))
    assert g._last is None  # it ran as it is
    outer = bl.compile(lambda x: (bl.grad(g)(x) * g(x), bl.vmap(g)(x.reshape(3, 1))))
    np.testing.assert_allclose(*map(np.hstack, (leaves(outer(x)), [np.cos(x) * x * f(x).item() + np.sin(x) * f(x).item(), np.sin(x) * x])), rtol=1e-14)  # fmt: skip
    model = nn.Linear(2, 1)
    h = bl.compile(lambda x: model(x).sum())
    h(bl.tensor([[1.0, 2.0]]))
    found = bl.grad(lambda m, x: h(x))(model, bl.tensor([[1.0, 2.0]]))
    assert found.weight.tolist() == [[1.0, 2.0]] and found.bias.tolist() == [1.0]


def test_a_recorded_tensor_makes_it_run_as_it_is(way):
    w = bl.tensor(np.ones(2), requires_grad=True)
    f = bl.compile(lambda x: (x * 2.0).sum())
    y = w * 3.0
    f(y).backward()
    assert w.grad.tolist() == [6.0, 6.0]
    z = w * 3.0
    g = bl.compile(lambda x: (x * z).sum())
    g(bl.tensor([1.0, 2.0])).backward()
    assert w.grad.tolist() == [9.0, 12.0]


def test_a_result_says_that_its_path_ends_at_the_compiled_function(way):
    model = nn.Linear(2, 1)
    f = bl.compile(lambda x: model(x).sum())
    for _ in range(2):
        with pytest.raises(
            GradientError, match=r"backward: no path leads back .* cut off by compile at .*test_compile.py"
        ):
            f(bl.tensor([[1.0, 2.0]])).backward()


def test_methods_recursion_and_decorators(way):
    class Trainer:
        def __init__(self, scale):
            self.scale, self.total, self.losses = scale, bl.tensor(0.0), []

        @bl.compile
        def step(self, x):
            """Adds."""
            self.total += self.scale * x
            return self.total * 1.0

        @bl.compile(static_argnames="n")
        def power(self, x, n=2):
            return x if n == 0 else x * self.power(x, n=n - 1)

        def fit(self, xs):
            for x in xs:
                self.losses.append(self.step(bl.tensor(x)).item())

    one, two = Trainer(1.0), Trainer(10.0)
    for t in (one, two, one):
        t.fit([1.0, 2.0])
    assert one.losses == [1.0, 3.0, 4.0, 6.0] and two.losses == [10.0, 30.0]
    assert len(Trainer.step.reasons) == 1  # another object, not a longer list of losses
    assert Trainer.step.__doc__ == "Adds." and one.step.ir() and Trainer.step.__name__ == "step"
    assert one.power(bl.tensor(3.0), n=4).item() == 243.0
    assert one.power(bl.tensor(3.0)).item() == 27.0
    fib = bl.compile(lambda x, n: x if n < 2 else fib(x, n - 1) + fib(x, n - 2))
    assert fib(bl.tensor(1.0), 7).item() == 21.0


def test_static_arguments(way):
    f = bl.compile(
        lambda x, how, axis=0: bl.sum(x, axis=axis) if how == "sum" else bl.max(x, axis=axis),
        static_argnames=("how", "axis"),
    )
    x = np.arange(6.0).reshape(2, 3)
    for _ in range(2):
        assert f(x, "sum").tolist() == [3.0, 5.0, 7.0]
        assert f(x, how="max", axis=1).tolist() == [2.0, 5.0]
        assert f(x, "sum", -1).tolist() == [3.0, 12.0]
    assert len(f.reasons) == 2
    if way == "native":
        assert (
            f._last.pattern.leaves((x, "sum", -1), {}) is not None
            and f._last.pattern.leaves((x, "sum", -2), {}) is None
        )
    swapped = bl.compile(lambda a, b, n: a - n * b, static_argnames="n")
    for _ in range(3):
        assert swapped(b=x, a=2.0 * x, n=1).tolist() == x.tolist()  # not in the order of the signature
        assert swapped(a=2.0 * x, n=1, b=x).tolist() == x.tolist()


def test_eager(way):
    seen = []

    @bl.compile
    def f(x):
        seen.append(bl.is_grad_enabled())
        return x * 2.0

    x = bl.tensor([1.0])
    with pytest.raises(RuntimeError), bl.eager():
        assert f(x).tolist() == [2.0]
        assert f._last is None
        raise RuntimeError
    f(x)
    assert f._last is not None


def test_a_recorder_hears_every_op(way):
    class Heard(record.Listener):
        def __init__(self):
            self.names = []

        def recorded(self, node, out, args):
            self.names.append(node.op.name)

    w = bl.tensor([1.0, 2.0], requires_grad=True)
    f, x = bl.compile(lambda x: bl.sin(w * x).sum().backward(), keep_grads=True), bl.tensor([1.0, 1.0])
    f(x)
    heard = Heard()
    with record.listening(heard):
        f(x)
    assert heard.names == ["mul", "sin", "sum"]
    f(x)
    assert len(heard.names) == 3
    np.testing.assert_allclose(w.grad.numpy(), 3 * np.cos([1.0, 2.0]), rtol=1e-6)


def test_modes_have_programs_of_their_own(way):
    w = bl.tensor([1.0, 2.0], requires_grad=True)
    f = bl.compile(lambda x: (w * x).requires_grad)
    x = bl.tensor([1.0, 1.0])
    for _ in range(2):
        assert f(x) is True
        with bl.no_grad():
            assert f(x) is False
    g = bl.compile(lambda: bl.tensor(1.5).dtype)
    assert g() == np.float32
    bl.set_default_dtype(np.float64)
    try:
        assert g() == np.float64
    finally:
        bl.set_default_dtype(np.float32)
    assert g() == np.float32


def test_freezing_a_parameter_is_seen(way):
    model = nn.Linear(2, 2)
    opt = optim.SGD(model.parameters(), lr=1.0)

    @bl.compile
    def train(x):
        opt.zero_grad()
        model(x).sum().backward()
        opt.step()

    x = bl.tensor(np.ones((1, 2), np.float32))
    train(x)
    before = model.weight.numpy().copy()
    model.weight.requires_grad_(False)
    train(x)
    train(x)
    assert (model.weight.numpy() == before).all()
    model.weight.requires_grad_()
    train(x)
    assert (model.weight.numpy() != before).all()


def test_streams_are_the_same_eager_and_compiled(way):
    found = []
    for wrap in (lambda f: f, bl.compile):
        bl.random.seed(5)
        own = bl.Generator(7)

        def draw(x, own=own):
            a = bl.random.normal((3,)) * x
            return a, own.uniform((2, 2)), bl.random.uniform((4,), generator=own)

        draw = wrap(draw)
        outs = [draw(bl.tensor(1.0)) for _ in range(5)]
        state = own.get_state()
        outs += [draw(bl.tensor(1.0)) for _ in range(3)]
        own.set_state(state)
        outs += [draw(bl.tensor(1.0)) for _ in range(3)]
        bl.random.seed(5)
        outs.append(draw(bl.tensor(1.0)))
        found.append((leaves(outs), own.counter, type(own.counter), bl.random.uniform((2,)).tolist()))
    for g, w in zip(found[1][0], found[0][0], strict=True):
        np.testing.assert_array_equal(g, w)
    assert found[0][1:] == found[1][1:]


def test_a_stream_made_inside_begins_anew_at_each_call(way):
    kept = bl.Generator(9)

    def f(x):
        own = bl.Generator(3)
        return own.uniform((2,)) + x, own.normal((3,)), kept.uniform((1,))

    g = bl.compile(f)
    for _ in range(3):
        state = kept.get_state()
        want = f(1.0)
        kept.set_state(state)
        for a, b in zip(g(1.0), want, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert g.reasons == []


def test_shapes_and_dtypes_have_programs_of_their_own(way):
    f = bl.compile(lambda x: (x * 2).sum(axis=0))
    for _ in range(2):
        for shape in ((2, 3), (0, 3), (4,), (1, 1)):
            for dtype in ("float32", "int8"):
                x = np.ones(shape, dtype)
                same(f(x), f.function(bl.tensor(x)))
    assert len(f.reasons) == 7


def test_many_arguments_and_a_state_of_many_scalars(way):
    cells = [bl.tensor(np.float64(k)) for k in range(200)]

    def f(*xs):
        for c, x in zip(cells, xs, strict=True):
            c += x
        return sum(cells[1:], cells[0])

    g = bl.compile(f)
    xs = [bl.tensor(np.float64(0.5)) for _ in cells]
    for n in range(1, 4):
        assert g(*xs).item() == sum(range(200)) + 100.0 * n
    assert [c.item() for c in cells] == [k + 1.5 for k in range(200)]
    assert way == "python" or is_quick(g, *xs)


def test_a_program_holds_no_reference_to_what_it_was_given(way):
    w = bl.tensor(np.zeros(3))
    f = bl.compile(lambda x: w.__iadd__(x).sum())
    x = bl.tensor(np.ones(3))
    for _ in range(3):
        f(x)
    known = sys.getrefcount(x._value), sys.getrefcount(w._value)
    fresh = bl.tensor(np.ones(3))
    alone = sys.getrefcount(fresh._value)
    assert known == (alone, alone)


def test_references_are_balanced(way):
    model, opt, train = make_training(OPTIMIZERS["adam"])
    train = bl.compile(train, keep_grads=True)
    sampler = bl.compile(lambda x: (bl.random.normal((3,)), x, None))
    x, y = bl.tensor(np.ones((5, 6), np.float32)), bl.tensor(np.zeros(5, np.int64))
    objects = [None, True, Ellipsis, *model.parameters(), x, x._value, y, opt, train, bl.random.default_generator()]

    def some(n):
        for _ in range(n):
            train(x, y)
            sampler(x)
            opt.zero_grad()

    some(5)
    gc.collect()
    before = [sys.getrefcount(o) for o in objects]
    some(300)
    gc.collect()
    after = [sys.getrefcount(o) for o in objects]
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True)), (before, after)


def test_a_deep_copy_of_the_state_is_other_state(way):
    model, _, train = make_training(OPTIMIZERS["sgd"])
    compiled = bl.compile(train)
    x, y = bl.tensor(np.ones((5, 6), np.float32)), bl.tensor(np.zeros(5, np.int64))
    compiled(x, y)
    saved = copy.deepcopy(model.state_dict())
    kept = model.state_dict()
    compiled(x, y)
    for name, value in saved.items():
        np.testing.assert_array_equal(kept[name].numpy(), value.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_rounded_before_the_sum_unless_contraction_is_asked_for(way, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1001)).astype(dtype)
    z = -x * y  # what is left is the rounding of the product
    f = lambda x, y, z: x * y + z
    assert not bl.compile(f)(x, y, z).numpy().any()
    fused = bl.compile(f, contract=True)(x, y, z).numpy()
    if not features().fma:
        assert not fused.any()
        return
    exact = [
        float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))) for a, b, c in zip(x, y, z, strict=True)
    ]
    np.testing.assert_array_equal(fused, np.array(exact, dtype))
    assert fused.any()


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 4099])
@pytest.mark.parametrize("counter", [0, 1, 2**63, 2**64 - 2])
def test_random_words_are_those_of_numpy(n, counter):
    words = bl.core.op.REGISTRY["random_words"]
    f = bl.compile(lambda key, counter: words(key, counter, n=n))
    key = np.array([123, 2**64 - 5], np.uint64)
    want = np.random.Philox(key=key, counter=counter).random_raw(n)
    assert f._last is None and (f(key, np.array(counter, np.uint64)).numpy() == want).all()
    assert f._last.native.callbacks == []


PARTS = (slice(None), slice(1, None), slice(None, -1), slice(2, 1), slice(-2, 10), 0, -1)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 2), (1,), (0, 3)])
def test_writes_into_blocks_are_native(shape):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    x.ravel()[:1] = np.nan

    def write(x, y, key):
        z = x * 1.0
        z[key] = y
        return z

    keys = list(itertools.product(*([p for p in PARTS if n or isinstance(p, slice)] for n in shape)))
    for key in keys[:: max(1, len(keys) // 25)]:
        y, want = rng.standard_normal(x[key].shape), x.copy()
        want[key] = y
        f = bl.compile(lambda x, y, key=key: write(x, y, key))
        np.testing.assert_array_equal(f(x, y).numpy(), want)
        assert f._last.native.callbacks == []
        g = bl.compile(bl.grad(lambda x, y, key=key: (write(x, y, key) ** 2 * 0.5).sum(), argnums=(0, 1)))
        by_x, by_y = g(np.nan_to_num(x), y)
        want = np.nan_to_num(x)
        want[key] = 0.0
        np.testing.assert_array_equal(by_x.numpy(), want)
        np.testing.assert_array_equal(by_y.numpy(), y)
