"""What backlit.record keeps of a run."""

from __future__ import annotations

from contextlib import nullcontext
from time import sleep

import numpy as np
import pytest

import backlit
from backlit import nn, optim
from backlit.core import record as hook
from backlit.diagnose.record import Sampler
from backlit.diagnose.recording import COMPLETED, CONTRIBUTION, FORWARD, FREE, SAVE, SEED, UPDATE, VJP
from backlit.functional import cross_entropy, softmax


def lesson():
    x = backlit.tensor(2.0, requires_grad=True)
    y = backlit.tensor(3.0, requires_grad=True)
    with backlit.record() as recording:
        v = (x + y) * x
        loss = v * v
        loss.backward()
    return recording, x, y


def network():
    backlit.random.seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 5), nn.GELU()), nn.Linear(5, 3))


def train(net, steps, data, labels, lr=0.1):
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    with backlit.record() as recording:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = cross_entropy(net(data), labels)
            loss.backward()
            optimizer.step()
    return recording


def batch():
    generator = np.random.default_rng(0)
    return backlit.tensor(generator.standard_normal((4, 6)).astype("float32")), backlit.tensor(np.arange(4) % 3)


def test_names_kinds_and_arguments_of_an_expression():
    recording, x, y = lesson()
    assert [n.name for n in recording.nodes] == ["x", "y", "add#0", "mul#0", "mul#1"]
    assert [n.kind for n in recording.nodes] == ["parameter", "parameter", "op", "op", "op"]
    product = recording["mul#0"]
    assert product.args == (recording["add#0"], recording["x"])
    assert product.wanted == (True, True)
    assert float(product.value) == 10.0
    assert recording["x"].cotangent == x.grad.numpy() and recording["y"].cotangent == y.grad.numpy()
    assert recording["x"].uses == recording["mul#0"].uses == 2 and recording["add#0"].uses == 1


def test_events_stand_in_the_order_in_which_things_happened():
    recording, *_ = lesson()
    kinds = [e.kind for e in recording.events]
    assert kinds[:6] == [FORWARD, FORWARD, SAVE, SAVE, FORWARD, SAVE]
    assert kinds[6:9] == [SEED, COMPLETED, VJP]
    assert kinds[-3:] == [FREE] * 3
    for node in recording.nodes:
        assert all(recording.events[c.event].contribution is c for c in node.contributions)
        assert all(c.event < node.completed_event for c in node.contributions)
        assert recording.events[node.completed_event].kind is COMPLETED
        if node.op is not None:
            assert recording.events[node.forward_event].kind is FORWARD
            assert node.vjp_event is None or recording.events[node.vjp_event].kind is VJP
            assert all(c.child.vjp_event < c.event for c in node.contributions)
    assert sum(k is CONTRIBUTION for k in kinds) == sum(len(n.contributions) for n in recording.nodes) == 6


def test_the_users_line_is_kept():
    recording, *_ = lesson()
    source = recording["add#0"].source
    assert source.file == __file__
    assert source.line == lesson.__code__.co_firstlineno + 4


def test_why_a_value_is_kept():
    recording, *_ = lesson()
    product, total = recording["mul#0"], recording["add#0"]
    assert total.saved.readers == [(product, 1)]
    assert set(product.saved.readers) == {(recording["mul#1"], 0), (recording["mul#1"], 1)}
    assert recording["x"].saved.bytes == 0, "the parameter keeps its memory itself"
    assert recording["mul#1"].saved is None
    assert recording.peak_bytes == 2 * 4


def test_paths_follow_registration():
    net, (data, labels) = network(), batch()
    recording = train(net, 1, data, labels)
    names = {n.name for n in recording.nodes}
    assert {"0/weight", "0/linear/matmul#0", "1.0/bias", "1.1/gelu/normal_cdf#0", "data"} <= names
    assert {n.name for n in recording.nodes if n.kind == "parameter"} == {
        ".".join(name.split(".")[:-1]) + "/" + name.split(".")[-1] for name, _ in net.named_parameters()
    }
    node = recording["1.0/linear/matmul#0"]
    assert node.module == "1.0" and node.scope == ("linear",)
    assert [s.class_name for s in node.call.ancestors()] == ["", "Linear", "Sequential", "Sequential", ""]
    assert recording["data"].kind == "input" and recording["data"].module == ""
    assert recording["1.0/weight"].module == "1.0" and recording["1.0/weight"].scope == ()


def test_modules_in_lists_and_several_top_modules_have_paths():
    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

        def forward(self, x):
            for block in self.h:  # the container itself is not called
                x = block(x)
            return x

    encoder, head = Blocks(), nn.Linear(3, 1)
    with backlit.record() as recording:
        backlit.sum(head(encoder(backlit.ones((2, 3))))).backward()
    names = {n.name for n in recording.nodes}
    assert {"encoder.h.0/weight", "encoder.h.1/linear/matmul#0", "head/bias"} <= names
    assert [s.path for s in recording["encoder.h.1/linear/matmul#0"].call.ancestors()][:4] == [
        "encoder.h.1/linear", "encoder.h.1", "encoder.h", "encoder",
    ]  # fmt: skip


def test_a_second_call_has_its_own_name_and_shares_its_parameters():
    layer = nn.Linear(3, 3)
    with backlit.record() as recording:
        backlit.sum(softmax(softmax(layer(layer(backlit.ones((2, 3))))))).backward()
    assert {"linear/matmul#0", "#1/linear/matmul#0"} <= {n.name for n in recording.nodes}
    assert sum(n.kind == "parameter" for n in recording.nodes) == 2
    assert recording["weight"].uses == 2 and len(recording["weight"].contributions) == 2
    assert {"softmax/exp#0", "softmax#1/exp#0"} <= {n.name for n in recording.nodes}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_contributions_in_recorded_order_sum_to_the_bits_of_the_cotangent(dtype):
    generator = np.random.default_rng(1)
    x = backlit.tensor(generator.standard_normal((5, 4)).astype(dtype), requires_grad=True)
    w = backlit.tensor(generator.standard_normal((4, 4)).astype(dtype), requires_grad=True)
    with backlit.record() as recording:
        h = x
        for _ in range(3):
            h = backlit.tanh(h @ w) + h + backlit.where(h > 0, h, 0.0) + h[:, :4] * x
        masked = (
            backlit.where(h > 0.2, backlit.sqrt(abs(h)), 0.0)
            + backlit.clip(h, -0.1, 0.1)
            + backlit.max(h, axis=1)[:, None]
        )
        backlit.sum(masked * masked).backward()
    merges = [n for n in recording.nodes if len(n.contributions) > 1]
    assert len(merges) == 6 and max(len(n.contributions) for n in merges) > 3
    for node in merges:
        total = node.resummed()
        assert total.dtype == node.cotangent.dtype == np.dtype(dtype)
        assert total.tobytes() == node.cotangent.tobytes(), node


def test_training_is_one_step_after_another():
    net, (data, labels) = network(), batch()
    recording = train(net, 3, data, labels)
    assert [s.index for s in recording.steps] == [0, 1, 2]
    assert recording.steps[0].start_event == 0 and recording.steps[-1].stop_event == len(recording.events)
    for before, after in zip(recording.steps, recording.steps[1:], strict=False):
        assert before.stop_node == after.start_node and before.stop_event == after.start_event
        first = recording[before.index, "0/weight"], recording[after.index, "0/weight"]
        assert np.array_equal(recording.steps[before.index].updates[0].after, first[1].value)
        assert not np.array_equal(first[0].value, first[1].value)
    names = [[n.name for n in recording.nodes[s.start_node : s.stop_node]] for s in recording.steps]
    assert names[0] == names[1] == names[2]
    assert len(recording.updates) == 3 * 6
    assert all(recording.events[u.event].kind is UPDATE for u in recording.updates)
    losses = [s.loss for s in recording.steps]
    assert losses[2] < losses[0]
    assert recording["data"] is recording[2, "data"]


@pytest.mark.parametrize("statistics", [False, True])
def test_a_step_goes_on_after_its_backward_pass_and_ends_with_its_update(statistics):
    x = backlit.tensor(2.0, requires_grad=True)
    optimizer = optim.SGD([x], lr=0.1)
    with backlit.record(statistics=statistics) as recording:
        for _ in range(2):
            optimizer.zero_grad()
            loss = x * x
            loss.backward()
            (loss * 0.5).item()  # a figure to print
            optimizer.step()
    assert [[n.name for n in recording.nodes[s.start_node : s.stop_node]] for s in recording.steps] == [
        ["x", "mul#0", "mul#1"]
    ] * 2
    assert [len(s.updates) for s in recording.steps] == [1, 1]


def test_a_gradient_inside_of_a_function_ends_no_step():
    inner = backlit.grad(lambda v: backlit.sum(v**3))
    with backlit.record() as recording:
        backlit.grad(lambda w: backlit.sum(inner(w) * backlit.sin(w)))(backlit.tensor([1.0, 2.0]))
    assert len(recording.steps) == 1 and recording["sin#0"].step == 0


def test_the_time_of_a_rule_goes_on_after_a_walk_inside_of_it():
    @backlit.custom_vjp
    def cube(x):
        return x**3

    def backward(x, g):
        slope = backlit.grad(lambda v: backlit.sum(v**3))(x)
        sleep(0.1)
        return (g * slope,)

    cube.defvjp(lambda x: (x**3, x), backward)
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    with backlit.record() as recording:
        backlit.sum(cube(x)).backward()
    assert recording["x"].cotangent.tolist() == [3.0, 12.0]
    assert recording.events[recording["cube#0"].vjp_event].ns >= 1e8


def test_what_the_caller_calls_a_value_is_looked_up_for_each_call():
    def product(*factors):
        return factors[0] * factors[1]

    a, b, c = (backlit.tensor(float(k), requires_grad=True) for k in range(3))
    with backlit.record() as recording:
        (product(a, b) + product(c, b)).backward()
    assert [n.name for n in recording.nodes if n.op is None] == ["a", "b", "c"]
    assert recording["mul#1"].args == (recording["c"], recording["b"])


def test_recording_changes_nothing():
    data, labels = batch()
    plain = network()
    optimizer = optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(plain(data), labels).backward()
        optimizer.step()
    heard = network()
    train(heard, 3, data, labels)
    for ours, theirs in zip(heard.parameters(), plain.parameters(), strict=True):
        assert ours.detach().numpy().tobytes() == theirs.detach().numpy().tobytes()
    assert hook.active == 0


def test_values_are_not_copied_and_later_writes_do_not_reach_them():
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    with backlit.record() as recording:
        y = x * 3.0
        array = y._value
        with backlit.no_grad():
            y[0] = 7.0
            x[0] = 5.0
        (x * 2.0).sum().backward()
    assert recording["mul#0"].value is array
    assert recording["mul#0"].value.tolist() == [3.0, 6.0]
    assert recording["x"].value.tolist() == [1.0, 2.0]


def test_functional_gradients_are_recorded():
    with backlit.record() as recording:
        found = backlit.grad(lambda a: backlit.sum(a * a * a))(backlit.tensor([1.0, 2.0]))
    assert [n.op.name for n in recording.nodes if n.op] == ["mul", "mul", "sum"]
    leaf = recording.nodes[0]
    assert np.array_equal(leaf.cotangent, found.numpy())
    assert leaf.resummed().tobytes() == leaf.cotangent.tobytes()


def test_a_second_backward_replaces_the_first():
    x = backlit.tensor(2.0, requires_grad=True)
    with backlit.record() as recording:
        y = x * x
        y.backward(retain_graph=True)
        (y * y).backward()
    assert len(recording.steps) == 1
    assert float(recording["x"].cotangent) == 4 * 2.0**3
    assert recording["x"].resummed().tobytes() == recording["x"].cotangent.tobytes()


def test_a_custom_rule_and_a_loop_are_nodes():
    @backlit.custom_vjp
    def twice(x):
        return x * 2.0

    twice.defvjp(lambda x: (x * 2.0, None), lambda _, g: (g * 2.0,))
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    with backlit.record() as recording:
        backlit.sum(twice(x) * x).backward()
    node = recording["twice#0"]
    assert node.args[0] is recording["x"] and len(recording["x"].contributions) == 2
    assert np.array_equal(recording["x"].cotangent, x.grad.numpy())

    with backlit.record() as recording:
        carry, ys = backlit.scan(lambda c, a: (c * a, c + a), x[0], x)
        (carry + backlit.sum(ys)).backward()
    for merged in recording.nodes:
        if merged.cotangent is not None:
            assert merged.resummed().tobytes() == merged.cotangent.tobytes()


def test_nothing_is_left_behind_after_an_error():
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(backlit.GradientError), backlit.record() as recording:
        (x * 2.0).backward()
    assert hook.active == 0
    assert recording["mul#0"].value.tolist() == [2.0, 4.0]


def test_an_unknown_name_is_answered_with_what_resembles_it():
    recording, *_ = lesson()
    with pytest.raises(backlit.BacklitError, match="mul#0"):
        recording["mul#9"]


def test_of_many_steps_only_statistics_stay():
    (data, labels), full = batch(), train(network(), 3, *batch())
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with backlit.record(statistics=True) as recording:
        for _ in range(3):
            optimizer.zero_grad()
            loss = cross_entropy(net(data), labels)
            loss.backward()
            optimizer.step()
    assert [s.loss for s in recording.steps] == [s.loss for s in full.steps]
    assert [n.name for n in recording.nodes] == [n.name for n in full.nodes]
    assert all(n.value is None and n.cotangent is None for n in recording.nodes)
    measured = [n for n in recording.nodes if n.statistics]
    assert {"0/weight", "0/linear/add#0", "1.1/gelu/mul#0", "cross_entropy/div#0"} <= {n.name for n in measured}
    assert sum(n.kind == "parameter" for n in measured) == 3 * 6
    for node in measured:
        exact = full[node.step, node.name]
        for name, array in {"value": exact.value, "cotangent": exact.cotangent}.items():
            found = node.statistics[name]
            assert (found.min, found.max, found.zeros) == (array.min(), array.max(), np.sum(array == 0))
            assert found.norm == pytest.approx(float(np.linalg.norm(array)), rel=1e-5)
            assert found.mean == pytest.approx(float(np.mean(array)), rel=1e-4, abs=1e-6)
    for ours, theirs in zip(recording.updates, full.updates, strict=True):
        assert ours.node.name == theirs.node.name
        assert ours.measured()[:3] == pytest.approx(theirs.measured()[:3], rel=1e-5)
    assert hook.active == 0


def kept_by_the_graph(out, parameters):
    """Bytes of the arrays that the nodes behind `out` hold, each memory once, without the parameters'."""
    memory, waiting, seen = {}, [out.node], set()
    theirs = {id(p._value) for p in parameters}
    while waiting:
        node = waiting.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        for x in (*node.inputs, node.out):
            if isinstance(x, (np.ndarray, np.generic)):
                while isinstance(x.base, np.ndarray):
                    x = x.base
                if id(x) not in theirs:
                    memory[id(x)] = x
        waiting.extend(p for p in node.parents if p is not None)
    return sum(x.nbytes for x in memory.values())


def deep(x, net):
    h = net(x)
    for _ in range(3):
        h = h + softmax(backlit.tanh(h) * h.mean(axis=-1, keepdims=True)) @ backlit.ones((3, 3))
        h = backlit.where(h > 0, h, h * 0.5).reshape(2, 6).reshape(4, 3)
    return h


def test_the_bytes_that_are_kept_are_those_the_graph_holds():
    net, (data, labels) = network(), batch()
    for run in (lambda: cross_entropy(net(data), labels), lambda: backlit.sum(deep(data, net))):
        expected = kept_by_the_graph(run(), list(net.parameters()))
        with backlit.record() as recording:
            run().backward()
        assert recording.peak_bytes == expected > 0
        assert recording.kept_bytes()[-1] == 0
    with backlit.record() as recording:
        loss = run()
        held = kept_by_the_graph(loss, list(net.parameters()))
        loss.backward(retain_graph=True)
    assert recording.kept_bytes()[-1] == held == expected


def test_chosen_steps_of_many_are_recorded_under_their_numbers():
    sampler, x = Sampler(), backlit.tensor(1.0, requires_grad=True)
    for k in range(6):
        with sampler.step(k) if k in (1, 4) else nullcontext():
            (x * float(k)).backward()
    recording = sampler.finish()
    assert [s.number for s in recording.steps] == [1, 4]
    assert [float(recording[s.index, "x"].cotangent) for s in recording.steps] == [1.0, 4.0]
