"""Hooks of modules: around forward, on the way back, compiled, and under transforms; against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn


def rows(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


class Scaled(nn.Module):
    def forward(self, x, *, by=1.0, fails=False):
        if fails:
            raise ValueError("forward")
        return x * by


def test_what_hooks_before_and_behind_forward_replace():
    m, x, seen = Scaled(), bl.tensor(rows(2, 3)), []
    m.register_forward_pre_hook(lambda module, args: seen.append(("first", module is m, len(args))))
    one = m.register_forward_pre_hook(lambda module, args: args[0] + 1.0)
    m.register_forward_pre_hook(lambda module, args, kwargs: (args, {"by": kwargs["by"] * 2.0}), with_kwargs=True)
    behind = m.register_forward_hook(lambda module, args, out: seen.append(("out", args[0] is x, out.shape)))
    m.register_forward_hook(lambda module, args, kwargs, out: out * kwargs["by"], with_kwargs=True, prepend=True)
    np.testing.assert_allclose(m(x, by=3.0).numpy(), (x.numpy() + 1) * 36, rtol=1e-6)
    assert seen == [("first", True, 1), ("out", False, (2, 3))]
    one.remove()
    one.remove()
    with behind:
        pass
    seen.clear()
    np.testing.assert_allclose(m(x, by=3.0).numpy(), x.numpy() * 36, rtol=1e-6)
    assert seen == [("first", True, 1)]


def test_a_module_without_hooks_is_as_it_was():
    m = Scaled()
    handles = [m.register_forward_hook(print), m.register_forward_pre_hook(print), m.register_full_backward_hook(print),
               m.register_full_backward_pre_hook(print)]  # fmt: skip
    assert m._hooks is not None
    for handle in handles:
        handle.remove()
    assert m._hooks is None


def test_a_hook_may_remove_itself_and_another_while_it_runs():
    m, seen = Scaled(), []
    second = m.register_forward_hook(lambda *_: seen.append(2))

    def once(*_):
        seen.append(1)
        first.remove()
        second.remove()

    first = m.register_forward_hook(once, prepend=True)
    m(bl.ones(2))
    m(bl.ones(2))
    assert seen == [1, 2]  # those of a call are those there are when it begins


def test_hooks_that_are_always_called():
    m, seen = Scaled(), []
    m.register_forward_hook(lambda module, args, out: seen.append(out), always_call=True)
    m.register_forward_hook(lambda module, args, out: seen.append("never"))
    m.register_forward_hook(lambda module, args, kwargs, out: 1 / 0, with_kwargs=True, always_call=True)
    with pytest.raises(ValueError, match="forward") as caught:
        m(bl.ones(2), fails=True)
    assert seen == [None] and "division" in caught.value.__notes__[0]
    with pytest.raises(ZeroDivisionError):
        m(bl.ones(2))


def test_mistakes():
    m = Scaled()
    with pytest.raises(TypeError, match="Scaled: a hook must be a function, got int"):
        m.register_forward_hook(3)
    bare = m.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    with bare, pytest.raises(TypeError, match=r"None or \(args, kwargs\)"):
        m(bl.ones(2))
    x = bl.tensor(rows(3), requires_grad=True)
    twice = m.register_full_backward_hook(lambda module, gi, go: (*gi, *gi))
    with twice, pytest.raises(bl.ShapeError, match="2 gradients for 1"):
        m(x).sum().backward()
    said = r"Scaled.inputs: expected a gradient float32\[3\] or None, got float32\[2\]"
    with m.register_full_backward_hook(lambda module, gi, go: bl.ones(2)), pytest.raises(bl.ShapeError, match=said):
        m(x).sum().backward()
    assert x.grad is None


def network(make, tensor):
    """A model and what its backward hooks see, in the order of their calls."""
    model = make.Sequential(make.Linear(3, 4), make.ReLU(), make.Linear(4, 2))
    seen: list = []
    numbers = lambda gs: [None if g is None else np.array(g.detach().numpy()) for g in gs]
    for name, module in (("all", model), ("0", model[0]), ("1", model[1]), ("2", model[2])):
        module.register_full_backward_pre_hook(lambda m, go, name=name: seen.append((name, "pre", numbers(go))))
        module.register_full_backward_hook(
            lambda m, gi, go, name=name: seen.append((name, "full", numbers(gi), numbers(go)))
        )
    model[1].register_full_backward_pre_hook(lambda m, go: (go[0] * 2.0,))
    model[2].register_full_backward_hook(lambda m, gi, go: (gi[0] + 1.0,))
    return model, seen


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("of_input", [True, False])
def test_backward_hooks_see_and_replace_what_those_of_pytorch_do(of_input):
    torch = pytest.importorskip("torch")
    theirs, their_seen = network(torch.nn, torch.tensor)
    ours, seen = network(nn, bl.tensor)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, cotangent = rows(5, 3), rows(5, 2)
    mine, its = bl.tensor(x, requires_grad=of_input), torch.tensor(x, requires_grad=of_input)
    ours(mine).backward(cotangent)
    theirs(its).backward(torch.tensor(cotangent))
    assert [row[:2] for row in seen] == [row[:2] for row in their_seen] and len(seen) == 8
    for row, wanted in zip(seen, their_seen, strict=True):
        for mine_, theirs_ in zip(row[2:], wanted[2:], strict=True):
            for a, b in zip(mine_, theirs_, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=1e-6)
    if of_input:
        np.testing.assert_allclose(mine.grad.numpy(), its.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_outputs_without_a_gradient_are_none_and_all_outputs_come_together():
    m, seen = nn.LSTM(3, 4), []
    m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    x = bl.tensor(rows(5, 2, 3), requires_grad=True)
    out, (_, c) = m(x)
    (out.sum() + c.sum()).backward()
    ((gi, go),) = seen
    assert [g is None for g in go] == [False, True, False] and gi[0].shape == x.shape
    np.testing.assert_array_equal(gi[0].numpy(), x.grad.numpy())


def doubled(m, gi, go):
    return (gi[0] * 2.0,)


def test_backward_hooks_under_transforms_are_those_of_backward():
    plain, m = Scaled(), Scaled()
    m.register_full_backward_hook(doubled)
    x = rows(4, 3)
    f = lambda m: lambda x: (m(x, by=3.0) ** 2).sum()
    wanted = 2 * bl.grad(f(plain))(x).numpy()
    np.testing.assert_allclose(bl.grad(f(m))(x).numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(bl.compile(bl.grad(f(m)))(x).numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(bl.vmap(bl.grad(f(m)))(x).numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(bl.grad(lambda x: bl.vmap(f(m))(x).sum())(x).numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(bl.vjp(f(m), x)[1](1.0)[0].numpy(), wanted, rtol=1e-6)
    _, pushed = bl.jvp(f(m), (x,), (x,))
    np.testing.assert_allclose(pushed.item(), bl.jvp(f(plain), (x,), (x,))[1].item(), rtol=1e-6)
    second = bl.grad(lambda x: (bl.grad(f(m))(x) ** 2).sum())
    np.testing.assert_allclose(
        second(x).numpy(), 4 * bl.grad(lambda x: (bl.grad(f(plain))(x) ** 2).sum())(x).numpy(), rtol=1e-5
    )

    def steps(x):
        return bl.scan(lambda c, row: (c + m(row, by=3.0), None), bl.zeros(3), x)[0].sum()

    np.testing.assert_allclose(bl.grad(steps)(x).numpy(), np.full((4, 3), 6.0), rtol=1e-6)
    np.testing.assert_allclose(bl.compile(bl.grad(steps))(x).numpy(), np.full((4, 3), 6.0), rtol=1e-6)


def test_what_a_hook_does_not_touch_stays_structurally_zero():
    m = Scaled()
    m.register_full_backward_hook(lambda m, gi, go: None)
    x = np.array([0.0, 4.0])
    g = bl.grad(lambda x: bl.where(x > 1.0, m(bl.sqrt(x)), 0.0).sum())(x)
    np.testing.assert_array_equal(g.numpy(), [0.0, 0.25])


def test_a_hook_of_a_compiled_step_is_traced_and_guards_it():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = bl.tensor(rows(6, 3))

    def step(x):
        model.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        return loss, model[0].weight.grad

    compiled = bl.compile(step, keep_grads=True)
    calls = []

    def halved(m, gi, go):
        calls.append(m)
        return (gi[0] * 0.5,)

    def agrees():
        for a, b in zip(compiled(x), step(x), strict=True):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)

    agrees()
    first = compiled(x)[1].numpy()
    with model[2].register_full_backward_hook(halved):
        agrees()
        np.testing.assert_allclose(compiled(x)[1].numpy(), first / 2, rtol=1e-5)
        calls.clear()
        compiled(x)
        assert not calls and "_hooks" in compiled.reasons[-1]
    n = len(compiled.reasons)
    np.testing.assert_array_equal(compiled(x)[1].numpy(), first)
    with model[1].register_forward_hook(lambda m, args, out: out * 3.0):
        agrees()
    compiled(x)
    assert len(compiled.reasons) <= n + 2 and not compiled.report().callbacks


def test_a_recording_shows_what_hooks_do_in_their_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    model[1].register_forward_hook(lambda m, args, out: bl.exp(out))
    model[1].register_full_backward_hook(doubled)
    with bl.record() as recording:
        model(rows(2, 3)).sum().backward()
    names = {node.name for node in recording.nodes}
    assert {"0/linear/matmul#0", "1/tanh#0", "1/exp#0"} <= names
