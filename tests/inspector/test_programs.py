"""Programs of every kind are recorded, saved and read again, and their merges add up."""

from __future__ import annotations

import numpy as np
import pytest

import backlit
from backlit import nn
from backlit.functional import softmax


def random(*shape, grad=True):
    return backlit.tensor(np.random.default_rng(0).standard_normal(shape).astype("f4"), requires_grad=grad)


def recurrent():
    cell, h, xs = nn.Linear(6, 3), backlit.zeros((2, 3)), random(5, 2, 3, grad=False)
    for t in range(5):
        h = backlit.tanh(cell(backlit.concat([xs[t], h], axis=1)))
    backlit.sum(h * h).backward()


def functional_gradient():
    backlit.grad(lambda w: backlit.sum(backlit.tanh(w @ w) ** 2))(random(3, 3, grad=False))


def second_order():
    inner = backlit.grad(lambda v: backlit.sum(backlit.sin(v) * v))
    backlit.grad(lambda w: backlit.sum(inner(w) ** 2))(random(3, grad=False))


def recorded_backward():
    x = random(4)
    backlit.sum(x**3).backward(create_graph=True)
    gradient, x.grad = x.grad, None
    backlit.sum(gradient * gradient).backward()


def per_example():
    rule = backlit.grad(lambda w, x: backlit.tanh(w @ x))
    backlit.vmap(rule, in_axes=(None, 0))(np.ones(3), np.eye(3))


def loop():
    w = random(3, 3)
    carry, ys = backlit.scan(lambda c, x: (backlit.tanh(c @ w) + x, c * 2.0), backlit.zeros((3,)), random(6, 3))
    (backlit.sum(carry) + backlit.sum(ys)).backward()


def branch():
    x = random(3)
    backlit.sum(backlit.cond(backlit.sum(x) > 0, lambda a: a * 2.0, lambda a: a**2, x)).backward()


def several_results():
    @backlit.custom_vjp
    def both(x, y):
        return x * y, x + y

    both.defvjp(lambda x, y: ((x * y, x + y), (x, y)), lambda kept, g: (g[0] * kept[1] + g[1], g[0] * kept[0] + g[1]))
    a, b = both(random(3), random(3))
    backlit.sum(a * b).backward()


def own_tangent():
    @backlit.custom_jvp
    def sine(x):
        return backlit.sin(x)

    sine.defjvp(lambda primals, tangents: (backlit.sin(primals[0]), backlit.cos(primals[0]) * tangents[0]))
    backlit.sum(sine(random(3))).backward()


def narrow_floats():
    backlit.sum(random(3).astype("float16").astype(backlit.bfloat16) * 2.0).astype("float32").backward()


def complex_numbers():
    backlit.sum(abs(backlit.tensor(np.array([1 + 2j, 3 - 1j]), requires_grad=True))).backward()


def not_finite():
    x = backlit.tensor([0.0, -1.0, 2.0], requires_grad=True)
    backlit.sum(backlit.log(x) + backlit.sqrt(x)).backward()


def no_elements():
    backlit.sum(backlit.tensor(np.zeros((0, 3), "f4"), requires_grad=True) * 2.0).backward()


def many_axes():
    x = random(2, 3, 4, 5)
    backlit.sum(backlit.permute_dims(x, (3, 1, 0, 2)) * x.reshape(5, 3, 2, 4)).backward()


def writes():
    x = random(3)
    y = x * 2.0
    y[0] = 5.0
    y += x
    backlit.sum(y * y).backward()


def twice_backward():
    y = backlit.sum(random(3) ** 2)
    y.backward(retain_graph=True)
    y.backward()


def forward_only():
    backlit.sum(softmax(random(2, 3)))


def nothing():
    backlit.sum(backlit.ones((3,)))


def given_cotangent():
    (random(3, 2) ** 2).backward(backlit.ones((3, 2)))


def detached():
    h = random(3) * 2.0
    backlit.sum(h * h.detach()).backward()


def gradients_accumulated():
    net = nn.Linear(3, 1)
    optimizer = backlit.optim.Adam(net.parameters())
    for _ in range(2):
        for _ in range(2):
            backlit.sum(net(random(4, 3, grad=False)) ** 2).backward()
        optimizer.step()
        optimizer.zero_grad()


def stopped_by_an_error():
    x = random(3)
    with pytest.raises(backlit.GradientError):
        (x * 2.0).backward()
    backlit.sum(x * 3.0).backward()


PROGRAMS = (
    recurrent, functional_gradient, second_order, recorded_backward, per_example, loop, branch, several_results, own_tangent,
    narrow_floats, complex_numbers, not_finite, no_elements, many_axes, writes, twice_backward, forward_only, nothing,
    given_cotangent, detached, gradients_accumulated, stopped_by_an_error,
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_recorded_saved_and_read(program, tmp_path):
    with backlit.record() as recording:
        program()
    for node in recording.nodes:
        if node.cotangent is not None:
            assert np.asarray(node.resummed()).tobytes() == np.asarray(node.cotangent).tobytes(), node
    names = [(n.step, n.name) for n in recording.nodes]
    assert len(set(names)) == len(names)
    recording.save(tmp_path / "a.html")
    recording.save(tmp_path / "a.blt")
    read = backlit.load_recording(tmp_path / "a.blt")
    read.save(tmp_path / "b.blt")
    assert (tmp_path / "a.blt").read_bytes() == (tmp_path / "b.blt").read_bytes()
    for ours, theirs in zip(read.nodes, recording.nodes, strict=True):
        if ours.cotangent is not None:
            assert np.asarray(ours.cotangent).tobytes() == np.asarray(theirs.cotangent).tobytes()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_statistics_of_it(program, tmp_path):
    with backlit.record(statistics=True) as recording:
        program()
    recording.save(tmp_path / "a.html")
    recording.save(tmp_path / "a.blt")
    assert len(backlit.load_recording(tmp_path / "a.blt").nodes) == len(recording.nodes)


def test_a_hook_that_replaces_a_gradient_shows_in_the_sum():
    x = random(3)
    with backlit.record() as recording:
        y = x * 2.0
        y.register_hook(lambda g: g * 10.0)
        backlit.sum(y + x).backward()
    node = recording["mul#0"]
    assert np.array_equal(node.cotangent, node.resummed() * 10.0)
