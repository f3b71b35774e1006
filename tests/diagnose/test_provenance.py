"""Shares of a gradient: they add to 1 across every cut, and are what a backward pass through one branch alone gives."""

import numpy as np
import pytest
import test_random_programs as programs

import backlit as bl
from backlit import nn
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor
from backlit.diagnose.provenance import provenance
from backlit.diagnose.replay import Replay, backward


class Block(nn.Module):
    def __init__(self, n, dtype):
        super().__init__()
        self.first, self.second = nn.Linear(n, n, dtype=dtype), nn.Linear(n, n, dtype=dtype)

    def forward(self, x):
        return x + self.second(bl.tanh(self.first(x)))


def residual_network(dtype, blocks=4):
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(6, 8, dtype=dtype), *(Block(8, dtype) for _ in range(blocks)), nn.Linear(8, 3, dtype=dtype)
    )
    x, y = rng.standard_normal((10, 6)).astype(dtype), rng.integers(0, 3, 10)
    with bl.record() as recording:
        nn.functional.cross_entropy(model(x), y).backward()
    return recording


def random_graph(seed, dtype):
    rng = np.random.default_rng([seed, 7])
    steps = []
    for _ in range(int(rng.integers(4, 16))):
        name = str(rng.choice([*programs.UNARY, *programs.BINARY]))
        steps.append((name, *map(int, rng.integers(0, 50, 1 if name in programs.UNARY else 2))))
    with bl.record() as recording:
        x, y = (bl.tensor(rng.standard_normal((3, 3)).astype(dtype), requires_grad=True) for _ in range(2))
        (programs.run(steps, x, y) * rng.standard_normal((3, 3)).astype(dtype)).sum().backward()
    return recording


def cut_sums(recording, found, target):
    """What crosses each cut, counted edge by edge."""
    last = max(n.index for n in recording.nodes if n.seed is not None)
    sums = []
    for k in range(target.index, last):
        crossing = [s for node, c, s in found.shares if c.child.index > k >= node.index]
        sums.append((sum(crossing), sum(map(abs, crossing))))
    return sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shares_add_to_one_across_every_cut(dtype):
    recordings = [residual_network(dtype), *(random_graph(seed, dtype) for seed in range(30))]
    looked_at = 0
    for recording in recordings:
        for target in [n for n in recording.nodes if n.kind == "parameter" and n.cotangent is not None]:
            found = provenance(recording, target)
            if found.note:
                continue
            looked_at += 1
            sums = cut_sums(recording, found, target)
            for total, size in sums:
                assert abs(total - 1) <= (1e-10 if dtype == np.float64 else 1e-4) * max(1, size)
            assert found.residual == pytest.approx(
                max(abs(total - 1) for total, _ in sums), abs=1e-9 if dtype == np.float64 else 1e-6
            )
    assert looked_at > 60


def test_shares_are_those_of_a_backward_pass_through_one_contribution():
    merges = 0
    for recording in [residual_network(np.float64), *(random_graph(seed, np.float64) for seed in range(40))]:
        target = next(n for n in recording.nodes if n.kind == "parameter" and n.cotangent is not None)
        found = provenance(recording, target)
        if found.note:
            continue
        g = target.cotangent
        replay = Replay()
        for node, contribution, share in found.shares:
            if len(node.contributions) < 2 or node is target:
                continue
            merges += 1
            alone = backward(recording, {node: (Tensor(contribution.value), None)}, replay)
            expected = float(np.vdot(alone[target][0].numpy(), g)) / float(np.vdot(g, g)) if target in alone else 0.0
            assert abs(share - expected) <= 1e-9 * max(1, abs(share)), (node, contribution.child)
    assert merges >= 50


def test_a_replayed_backward_pass_is_the_one_that_ran():
    recording = residual_network(np.float32)
    root = recording.steps[0].root
    again = backward(recording, {root: (Tensor(root.seed), None)})
    for node in recording.nodes:
        if node.cotangent is not None:
            np.testing.assert_array_equal(again[node][0].numpy(), node.cotangent)


def test_the_worked_example():
    with bl.record() as recording:
        x, y = bl.tensor(2.0, requires_grad=True), bl.tensor(3.0, requires_grad=True)
        u = x * y
        v = u + y
        (v**2).backward()
    target = next(n for n in recording.nodes if n.kind == "parameter" and n.value == 3)
    found = provenance(recording, target)
    # dL/dy = 2v + 2v x = 18 + 36
    assert found.total == 54.0**2
    by_child = {c.child.op.name: share for node, c, share in found.shares if node is target}
    assert by_child == {"add": pytest.approx(1 / 3), "mul": pytest.approx(2 / 3)}
    assert found.residual < 1e-15 and found.note == ""
    flow = found.between(lambda n: n.op.name if n.op else "leaf")
    assert flow["add", "leaf"] == pytest.approx(1 / 3) and flow["add", "mul"] == pytest.approx(2 / 3)
    assert flow["pow", "add"] == pytest.approx(1)


def test_elements_directions_and_modules():
    recording = residual_network(np.float64)
    weight = next(n for n in recording.nodes if n.kind == "parameter")
    found = provenance(recording, weight.name, element=(2, 1))
    assert found.total == pytest.approx(weight.cotangent[2, 1]) and found.residual < 1e-12
    assert provenance(recording, weight, element=2 * 6 + 1).total == found.total
    direction = np.random.default_rng(0).standard_normal(weight.shape)
    found = provenance(recording, [weight], direction=[direction])
    assert found.total == pytest.approx(np.vdot(direction, weight.cotangent)) and found.residual < 1e-12
    found = provenance(recording, "0")
    assert [t.name for t in found.targets] == ["0/weight", "0/bias"] and found.residual < 1e-12
    inner = provenance(recording, "1/add#0")
    assert inner.residual < 1e-12 and all(node.index >= recording["1/add#0"].index for node, *_ in inner.shares)
    for bad in ("nothing", weight.name):
        with pytest.raises(ArgumentError):
            provenance(recording, bad, element=None if bad == "nothing" else (9, 9))
    for element in (-1, (-1, 0), (2,), weight.value.size):  # (2,) is a row
        with pytest.raises(ArgumentError, match="is no element"):
            provenance(recording, weight, element=element)
    with pytest.raises(ArgumentError):
        provenance(recording, weight, direction=[np.ones(3)])


def test_without_a_direction_to_follow_another_is_chosen_and_said():
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
        (x - x).sum().backward()
    target = recording.nodes[0]
    found = provenance(recording, target)
    assert "the gradient is zero" in found.note and "shares add to 0" in found.note
    assert sum(s for node, _, s in found.shares if node is target) == pytest.approx(0, abs=1e-15)
    with bl.record() as recording:
        x = bl.tensor(np.array([0.0, 2.0]), requires_grad=True)
        bl.log(x).sum().backward()
    found = provenance(recording, recording.nodes[0])
    assert "not finite" in found.note and found.total == 0.25


def test_a_lost_contribution_shows_in_the_residual():
    recording = residual_network(np.float64)
    node = next(n for n in recording.nodes if len(n.contributions) == 2)
    node.contributions.pop()
    assert provenance(recording, "0/weight").residual > 1e-3


def test_shares_go_through_functions_with_rules_of_their_own():
    @bl.custom_vjp
    def both(x):
        return bl.exp(x), x * x

    both.defvjp(lambda x: (both.f(x), x), lambda x, g: (bl.exp(x) * g[0] + 2.0 * x * g[1],))
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
        a, b = both(x * 2.0)
        (a * b + x).sum().backward()
    assert provenance(recording, recording.nodes[0]).residual < 1e-12
