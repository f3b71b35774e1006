"""Plans of checkpoints against programs that are written with these checkpoints and recorded."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import ArgumentError
from backlit.diagnose.checkpoints import checkpoint_plans, sensible
from backlit.diagnose.recording import SEED
from backlit.nn.functional import cross_entropy


@bl.custom_vjp
def halved(x):
    return x * 0.5


halved.defvjp(lambda x: (x * 0.5, x), lambda x, g: (g * 0.5,))


class Residual(nn.Module):
    """A branch with a norm of its own, of which the largest and a comparison go past the gradient."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        y = self.inner(x)
        scale = y.abs().max().detach() + 1.0
        return halved(x) + bl.where(y > 0.1, y, y * 0.2) / scale * bl.tanh(x).detach()


class Pooled(nn.Module):
    def forward(self, x):
        return nn.functional.max_pool2d(nn.functional.relu(x), 2)


class Flat(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], -1)


class Convolution(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(np.random.default_rng(n_in).standard_normal((n_out, n_in, 3, 3)).astype("f4") / 4)

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, padding=1)


class Noisy(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.3)


def perceptron():
    return [nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), Noisy(), nn.Linear(16, 3)], (7, 12)


def residual():
    return [nn.Linear(12, 8), *[Residual(8) for _ in range(5)], nn.Linear(8, 3)], (7, 12)


def convolutional():
    return [Convolution(1, 4), Pooled(), Convolution(4, 6), Pooled(), Flat(), nn.Linear(24, 3)], (5, 1, 8, 8)


class Stack(nn.Module):
    """Layers in turn, some of which are one checkpoint together."""

    def __init__(self, layers, spans=()):
        super().__init__()
        self.layers, self.spans = nn.Sequential(*layers), dict(spans)

    def forward(self, x):
        k, layers = 0, list(self.layers)
        while k < len(layers):
            stop = self.spans.get(k)
            if stop is None:
                x, k = layers[k](x), k + 1
            else:

                def part(x, begin=k, stop=stop):
                    for layer in layers[begin:stop]:
                        x = layer(x)
                    return x

                x, k = bl.checkpoint(part)(x), stop
        return x


def recorded(make, spans=()):
    bl.random.seed(3)
    layers, shape = make()
    model = Stack(layers, spans)
    x = bl.tensor(np.random.default_rng(1).standard_normal(shape).astype("f4"))
    labels = bl.tensor(np.arange(shape[0]) % 3)
    with bl.record() as recording:
        cross_entropy(model(x), labels).backward()
    return recording


def costs(recording):
    """What the engine counted: bytes at most, bytes at the end of the forward pass, operations done again."""
    seed = next(k for k, e in enumerate(recording.events) if e.kind is SEED)
    again = recording.recomputed
    return (
        recording.peak_bytes,
        recording.kept_bytes()[seed],
        sum(r.flops for r in again),
        sum(r.uncounted for r in again),
    )


def of(plan):
    return plan.peak_bytes, plan.kept_bytes, plan.flops, plan.uncounted


@pytest.mark.parametrize("make", [perceptron, residual, convolutional])
def test_every_plan_costs_what_a_program_with_these_checkpoints_costs(make):
    recording = recorded(make)
    n = len(make()[0])
    plans = checkpoint_plans(recording, every=range(1, n + 1), chosen=["layers.1", ("layers.2", "layers.3")])
    assert [part.name for part in plans.parts] == [f"layers.{k}" for k in range(n)]
    assert of(plans["none"]) == costs(recording)
    for k in range(1, n + 1):
        spans = [(begin, min(begin + k, n)) for begin in range(0, n, k)]
        assert of(plans[f"every {k}"]) == costs(recorded(make, spans))
        assert plans[f"every {k}"].segments == tuple((f"layers.{a}", f"layers.{b - 1}") for a, b in spans)
    assert of(plans["chosen"]) == costs(recorded(make, [(1, 2), (2, 4)]))
    assert plans["chosen"].segments == (("layers.1", "layers.1"), ("layers.2", "layers.3"))
    assert 0 < plans["every 1"].flops <= plans.forward_flops


def test_curves_end_where_nothing_is_kept_and_have_the_peak():
    plans = checkpoint_plans(recorded(perceptron))
    for plan in plans.plans:
        assert max(plan.curve) == plan.peak_bytes and plan.curve[-1] == 0 and plan.curve[plan.seed] == plan.kept_bytes
    assert min(plan.kept_bytes for plan in plans.plans) < plans["none"].kept_bytes


def test_bytes_kept_without_checkpoints_are_those_that_residuals_counts():
    layers, shape = perceptron()
    model = nn.Sequential(*(layer for layer in layers if not isinstance(layer, Noisy)))
    x, labels = bl.tensor(np.random.default_rng(1).standard_normal(shape).astype("f4")), bl.tensor(np.arange(7) % 3)
    with bl.record() as recording:
        cross_entropy(model(x), labels).backward()
    listed = bl.residuals(lambda m: cross_entropy(m(x), labels), model)
    found = checkpoint_plans(recording)
    assert found["none"].kept_bytes == sum(r.nbytes for r in listed if not r.argument)
    assert sum(part.bytes for part in found.parts) <= found["none"].kept_bytes


def test_the_programs_own_checkpoints_stand_beside_what_it_would_be_without():
    own = recorded(residual, [(1, 3), (3, 5)])
    plans = checkpoint_plans(own, every=[])
    assert [plan.name for plan in plans.plans] == ["none", "as recorded"]
    assert of(plans["as recorded"]) == costs(own)
    assert plans["none"].peak_bytes == recorded(residual).peak_bytes


def test_without_modules_the_parts_are_functions_and_ops():
    w = bl.tensor(np.random.default_rng(0).standard_normal((4, 4)), requires_grad=True)
    x = bl.tensor(np.random.default_rng(1).standard_normal((2, 4)))

    def program(wrap):
        h = x
        for _ in range(4):
            h = wrap(lambda h: bl.tanh(h @ w))(h)
        return (h * h).sum()

    with bl.record() as plain:
        program(lambda f: f).backward()
    with bl.record() as one_by_one:
        program(bl.checkpoint).backward()
    plans = checkpoint_plans(plain)
    assert [part.name for part in plans.parts[:2]] == ["matmul#0", "tanh#0"]
    spans = [(f"matmul#{k}", f"tanh#{k}") for k in range(4)]
    assert plans["every 2"].segments[:4] == tuple(spans)
    assert plans["none"].peak_bytes == plain.peak_bytes
    assert checkpoint_plans(plain, every=[]).plans[0] == plans["none"]
    assert one_by_one.peak_bytes <= plans["every 2"].peak_bytes  # which has the square of the loss in one as well


def test_the_last_step_is_taken_and_any_other_can_be():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = bl.optim.SGD(model.parameters(), lr=0.1)
    with bl.record() as recording:
        for rows in (3, 5):
            optimizer.zero_grad()
            (model(bl.ones((rows, 4))) ** 2).sum().backward()
            optimizer.step()
    first, last = checkpoint_plans(recording, step=0), checkpoint_plans(recording)
    assert first["none"].kept_bytes * 5 == last["none"].kept_bytes * 3


def test_sensible_groups():
    assert sensible(1) == [1]
    assert sensible(5) == [1, 2, 3]
    assert sensible(13) == [1, 2, 3, 4, 6]
    assert sensible(48) == [1, 2, 3, 4, 6, 8, 12, 16, 24]


def test_what_cannot_be_compared_is_said(tmp_path):
    recording = recorded(perceptron)
    with pytest.raises(ArgumentError, match="nothing was computed in a call of 'layers.9'"):
        checkpoint_plans(recording, ["layers.9"])
    with pytest.raises(ArgumentError, match="overlap"):
        checkpoint_plans(recording, [("layers.0", "layers.2"), "layers.1"])
    with pytest.raises(ArgumentError, match="no step 4"):
        checkpoint_plans(recording, step=4)
    with pytest.raises(ArgumentError, match="at least 1"):
        checkpoint_plans(recording, every=[0])
    with pytest.raises(ArgumentError, match="no plan 'every 5'; there are none"):
        checkpoint_plans(recording)["every 5"]
    recording.save(tmp_path / "x.blt")
    with pytest.raises(ArgumentError, match="not be run again"):
        checkpoint_plans(bl.load_recording(tmp_path / "x.blt"))
    x = bl.tensor(np.ones(3), requires_grad=True)
    with bl.record() as twice:
        y = (x * x).sum()
        y.backward(retain_graph=True)
        (y * y).backward()
    with pytest.raises(ArgumentError, match="more than one backward pass"):
        checkpoint_plans(twice)
    before = x * 2.0
    with bl.record() as outside:
        (before * before).sum().backward()
    with pytest.raises(ArgumentError, match="before the recording began"):
        checkpoint_plans(outside)
    changed = recorded(perceptron)
    changed["layers.0/weight"].value[...] = 0.0
    with pytest.raises(ArgumentError, match="changed"):
        checkpoint_plans(changed)


def test_the_results_of_one_function_stay_together():
    @bl.custom_vjp
    def both(x):
        return bl.sin(x), bl.cos(x)

    both.defvjp(lambda x: ((bl.sin(x), bl.cos(x)), x), lambda x, g: (g[0] * bl.cos(x) - g[1] * bl.sin(x),))
    x = bl.tensor(np.array([0.3, 0.5]), requires_grad=True)
    with bl.record() as recording:
        s, c = both(x * 2.0)
        (s * c * c).sum().backward()
    plans = checkpoint_plans(recording, every=[1, 2, 3])
    assert [part.name for part in plans.parts] == ["mul#0", "both#0", "mul#1", "mul#2"]
    assert plans["none"].peak_bytes == recording.peak_bytes
    assert [part.bytes for part in plans.parts] == [0, 16, 32, 16] and plans["none"].kept_bytes == 64


def test_loops_and_solutions_of_equations_are_run_again():
    w = bl.tensor(np.array([0.3, 0.5]), requires_grad=True)

    def newton(f, x):
        for _ in range(20):
            x = x - f(x) / (3.0 * x * x + 1.0)
        return x

    def root(w):
        zeros = bl.zeros((2,), dtype="float64")
        return bl.custom_root(lambda x: x * x * x + x - w, zeros, newton, lambda g, y: y / g(zeros + 1.0))

    with bl.record() as recording:
        h = bl.scan(lambda c, _: (bl.sin(c) * w, None), root(w), None, length=3)[0]
        (h * h).sum().backward()
    plans = checkpoint_plans(recording, every=[2])
    assert plans["none"].peak_bytes == recording.peak_bytes
    assert plans["every 2"].kept_bytes > 0
