"""The imperative form: backward, leaves, hooks, writing, large graphs."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl


def leaf(values):
    return bl.tensor(np.asarray(values, np.float64), requires_grad=True)


def assert_close(a, b):
    np.testing.assert_allclose(np.asarray(a.detach()), b, rtol=1e-12)


def test_gradients_accumulate_until_reset():
    x = leaf([1.0, 2.0])
    assert x.grad is None
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert_close(x.grad, [4.0, 8.0])
    x.grad = None
    (x * 3).sum().backward()
    assert_close(x.grad, [3.0, 3.0])
    assert not x.grad.requires_grad


def test_retained_and_created_graphs():
    x = leaf(2.0)
    y = x**4
    y.backward(retain_graph=True)
    y.backward()
    assert_close(x.grad, 64.0)
    derivatives = []
    y = x**4
    for _ in range(3):
        x.grad = None
        y.backward(create_graph=True)
        y = x.grad
        derivatives.append(y.item())
    assert derivatives == [32.0, 48.0, 48.0]


def test_paths_meet():
    x, y = leaf(3.0), leaf(2.0)
    a = x * y
    b = a + x + a * a
    (b * b + x + x).backward()
    f = lambda x, y: (x * y + x + (x * y) ** 2) ** 2 + 2 * x
    gx, gy = bl.grad(f, argnums=(0, 1))(np.float64(3.0), np.float64(2.0))
    assert_close(x.grad, gx.item())
    assert_close(y.grad, gy.item())


def test_a_cotangent_weighs_the_outputs():
    x = leaf([1.0, 2.0])
    (x * x).backward(np.array([10.0, 100.0]))
    assert_close(x.grad, [20.0, 400.0])
    x.grad = None
    (x * 2).backward([1, 0])
    assert_close(x.grad, [2.0, 0.0])


def test_float32_leaves_get_float32_gradients():
    x = bl.tensor([1.0, 2.0], requires_grad=True)
    (x * np.array([1.0, 2.0])).sum().backward()
    assert x.grad.dtype == np.float32 and (x * np.array([1.0])).dtype == np.float64


def test_hooks_see_the_completed_gradient_and_may_replace_it():
    x = leaf([1.0, 2.0])
    y = x * 2
    order = []
    first = y.register_hook(lambda g: order.append(("first", g.tolist())))
    y.register_hook(lambda g: (order.append(("second", g.tolist())), g * 10)[1])
    on_leaf = x.register_hook(lambda g: order.append(("leaf", g.tolist())))
    (y.sum() + (y * y).sum()).backward(retain_graph=True)
    assert order == [("first", [5.0, 9.0]), ("second", [5.0, 9.0]), ("leaf", [100.0, 180.0])]
    assert_close(x.grad, [100.0, 180.0])
    first.remove()
    first.remove()
    on_leaf.remove()
    order.clear()
    (y.sum()).backward()
    assert [name for name, _ in order] == ["second"]
    with pytest.raises(bl.GradientError, match="does not require grad"):
        bl.tensor([1.0]).register_hook(print)


def test_retain_grad():
    x = leaf([1.0, 2.0])
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert_close(y.grad, [4.0, 8.0])
    z = x * 2
    (z * z).sum().backward()
    assert z.grad is None


def test_requires_grad_may_be_taken_back():
    x = leaf([1.0])
    x.requires_grad = False
    assert not (x * 2).requires_grad
    x.requires_grad_()
    assert (x * 2).requires_grad
    with pytest.raises(bl.GradientError, match="not a leaf"):
        (x * 2).requires_grad_(False)


def test_what_is_not_wanted_is_not_kept():
    w, data = leaf(np.ones((2, 2))), bl.tensor(np.ones((2, 2)))
    y = data @ w
    kept = [type(x).__name__ for x in y.node.inputs]
    assert kept == ["ndarray", "Missing"]  # the gradient of w reads the data, and nobody asks for that of the data
    assert type((w + 1).node.inputs[0]).__name__ == "Missing"


def test_a_dropped_leaf_takes_its_gradient_along():
    x, y = leaf([1.0]), leaf([2.0])
    z = (x * y).sum()
    ref = weakref.ref(x)
    del x
    gc.collect()
    assert ref() is None
    z.backward()
    assert_close(y.grad, [1.0])


# Writing


def test_writing_is_recorded_and_keeps_what_was_read_before():
    x, w = leaf([1.0, 2.0, 3.0]), leaf([5.0])
    y = x * 2
    before = (y * y).sum()
    y[1] = w[0] * 3
    y[0] += 1.0
    (y * y).sum().backward(retain_graph=True)
    assert_close(x.grad, [12.0, 0.0, 24.0])
    assert_close(w.grad, [90.0])
    x.grad = None
    before.backward()
    assert_close(x.grad, [8.0, 16.0, 24.0])


def test_a_slice_is_a_value_and_arrays_given_out_do_not_change():
    t = bl.tensor(np.arange(4.0))
    part, given, copied = t[1:3], t.numpy(), t.clone()
    t[1] = 9.0
    t += 1.0
    assert part.tolist() == [1.0, 2.0] and given.tolist() == copied.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert t.tolist() == [1.0, 10.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="read-only"):
        given[0] = 1.0


def test_writing_reuses_the_buffer_when_nobody_else_has_it():
    t = bl.tensor(np.zeros(1000))
    address = t.numpy().ctypes.data
    t[3] = 1.0
    assert t.numpy().ctypes.data == address
    other = t.numpy()
    t[4] = 1.0
    assert t.numpy().ctypes.data != address and other[4] == 0.0


def test_writing_under_no_grad_keeps_a_leaf_a_leaf():
    x = leaf([1.0, 2.0])
    with bl.no_grad():
        x -= 0.5
        x[0] = 7.0
    assert x.is_leaf and x.requires_grad and x.tolist() == [7.0, 1.5]
    (x * x).sum().backward()
    assert_close(x.grad, [14.0, 3.0])


def test_at_gives_a_new_tensor():
    x = leaf([1.0, 2.0, 3.0])
    y = x.at[np.array([0, 0])].add(1.0)
    z = x.at[1:].set(0.0)
    assert y.tolist() == [3.0, 2.0, 3.0] and z.tolist() == [1.0, 0.0, 0.0] and x.tolist() == [1.0, 2.0, 3.0]
    (z * z).sum().backward()
    assert_close(x.grad, [2.0, 0.0, 0.0])
    last = bl.grad(lambda v: (bl.tensor(np.zeros(2)).at[np.array([0, 0])].set(v) ** 2).sum())(np.array([1.0, 2.0]))
    assert_close(last, [0.0, 4.0])


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["set", "add", "mul", "row"]), st.integers(0, 3), st.floats(-2, 2)), max_size=6
    )
)
def test_no_sequence_of_writes_gives_a_wrong_gradient(steps):
    def run(x, functional):
        y = x * 1.0
        total = (y * y).sum()
        for kind, i, c in steps:
            if kind == "set":
                y = y.at[i].set(x[0] * c) if functional else write(y, i, x[0] * c)
            elif kind == "row":
                y = y.at[1:3].set(y[0] * c) if functional else write(y, slice(1, 3), y[0] * c)
            elif functional:
                y = y + c if kind == "add" else y * c
            elif kind == "add":
                y += c
            else:
                y *= c
            total = total + (y * y).sum() * (i + 1)
        return total

    def write(y, i, v):
        y[i] = v
        return y

    at = np.array([0.5, -1.0, 2.0, 1.5])
    expected = bl.grad(lambda x: run(x, True))(at)
    assert_close(bl.grad(lambda x: run(x, False))(at), expected.numpy())
    x = leaf(at)
    run(x, False).backward()
    assert_close(x.grad, expected.numpy())


# Size


@pytest.mark.slow
def test_a_graph_of_a_million_nodes():
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 1e-6
    y.backward()
    assert_close(x.grad, 1.0)
    del y


@pytest.mark.slow
def test_a_long_graph_is_deleted_without_recursion():
    y = leaf(1.0)
    for _ in range(300_000):
        y = y * 1.0
    node = weakref.ref(y.node)
    del y
    gc.collect()
    assert node() is None


def test_a_wide_graph_sums_every_contribution_once():
    x = leaf(np.ones(3))
    total = sum((x * float(k) for k in range(1000)), start=bl.tensor(np.zeros(3)))
    total.sum().backward()
    assert_close(x.grad, np.full(3, 499500.0))


# Tensors


def test_copies():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    for made in (copy.deepcopy(x), copy.copy(x)):
        assert made.requires_grad and made.tolist() == [1.0, 2.0] and made.grad.tolist() == [2.0, 4.0]
        assert made is not x
    with pytest.raises(bl.GradientError, match="detach"):
        copy.deepcopy(x * 2)
    x.clone().sum().backward()
    assert_close(x.grad, [3.0, 5.0])
    assert not x.copy().is_leaf and not x.detach().copy().requires_grad


def test_numpy_functions_come_back_as_tensors_with_gradients():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    y = np.sum(np.sin(x) * np.float64(2)) + np.mean(np.concatenate([x, x])) + np.where(x > 2, x, 0.0).max()
    y.backward()
    assert_close(x.grad, 2 * np.cos([[1.0, 2.0], [3.0, 4.0]]) + 0.25 + np.array([[0, 0], [0, 1.0]]))
    assert np.allclose(x.detach(), [[1, 2], [3, 4]]) and np.add.reduce(x.detach(), axis=0).tolist() == [4.0, 6.0]
    assert np.shape(x) == (2, 2) and np.ndim(x) == 2 and np.transpose(x).shape == (2, 2)


def test_listeners_are_gone_after_an_exception():
    from backlit.core import record

    with pytest.raises(ZeroDivisionError), bl.debug():
        assert record.current()
        raise ZeroDivisionError
    assert record.current() == () and record.active == 0
