"""The balance lamp: it names the node whose rule is broken, and no other; it stays dark on correct graphs."""

import checks
import numpy as np
import pytest
import test_random_programs as programs

import backlit as bl
from backlit import nn
from backlit.core.dtypes import is_float
from backlit.core.op import REGISTRY, Elementwise
from backlit.diagnose.balance import balance
from backlit.diagnose.differences import tangent


def usable(args):
    """Whether the arguments of a sample have elements, none of them complex, of which the lamp says nothing."""
    return not any(0 in np.shape(a) or a.dtype.kind == "c" if isinstance(a, np.ndarray) else 0 in a for a in args)


def sample_of(op):
    """The first sample that can be used; None where there is none."""
    return next((k for k, (args, _) in enumerate(op.samples()) if usable(args)), None)


def is_real(op):
    """Whether the lamp looks at the op: its first usable sample has a real result."""
    k = sample_of(op)
    if k is None:
        return False
    args, params = op.samples()[k]
    return op(*map(bl.tensor, checks.draw(op, args, np.random.default_rng(k))), **params).dtype.kind != "c"


DIFFERENTIABLE = [n for n, op in sorted(REGISTRY.items()) if op.differentiable and is_real(op)]


def around(name, dtype=np.float64):
    """A recorded graph with one node of the op between others; that node."""
    op = REGISTRY[name]
    k = sample_of(op)
    args, params = op.samples()[k]
    arrays = checks.draw(op, args, np.random.default_rng(k))
    rng = np.random.default_rng(1)
    with bl.record() as recording:
        before = [
            bl.tensor(a.astype(dtype) if is_float(a.dtype) else a, requires_grad=is_float(a.dtype)) for a in arrays
        ]
        # a node before it, which leaves the values in the domain of the op
        inputs = [a * 1.0 if is_float(a.dtype) and name != "mul" else a for a in before]
        out = op(*inputs, **params).astype(dtype)
        loss = (
            (bl.tanh(out) if name != "tanh" else out.exp()) @ rng.standard_normal(out.shape[-1:]).astype(dtype)
            if out.ndim and name not in ("matmul", "permute_dims", "reshape", "broadcast_to", "sum_to")
            else out
        )
        loss = loss.sum() if name != "sum" else loss[(0,) * loss.ndim]
        loss.backward()
    node = next(n for n in recording.nodes if n.op is op and n.value is not None)
    return recording, node


def names(nodes):
    return {n.op.name for n in nodes}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_op_balances(name, dtype):
    recording, node = around(name, dtype)
    found = balance(recording)
    assert found.guilty == [] and found.merges == ()
    assert found[node].checked, found[node].note


def patched(monkeypatch, op, change):
    """`change` applied to what the reverse rule gives for each argument."""
    real = op.contributions
    monkeypatch.setattr(op, "contributions", lambda *args: [change(pair) for pair in real(*args)], raising=False)


@pytest.mark.parametrize("factor", [-1.0, 1.01, 2.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_wrong_derivative_is_seen_at_its_node(monkeypatch, name, dtype, factor):
    op = REGISTRY[name]
    if isinstance(op, Elementwise):  # of which the partial serves both modes

        def wrong(partial):
            return 0.5 if isinstance(partial, float) and partial == 0.0 else partial * factor

        real = op.partial
        monkeypatch.setattr(op, "partial", lambda *args: wrong(real(*args)))
    else:
        patched(monkeypatch, op, lambda pair: None if pair is None else (pair[0] * factor, pair[1]))
    recording, node = around(name, dtype)
    found = balance(recording)
    assert node in found.guilty
    assert names(found.guilty) == {name}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_dropped_contribution_is_seen_at_the_node_that_dropped_it(monkeypatch, name):
    op = REGISTRY[name]
    if not any(np.any(c.value) for a in around(name)[1].args for c in a.contributions):
        return  # it contributes zeros
    patched(monkeypatch, op, lambda pair: None)
    recording, _ = around(name)
    found = balance(recording)
    assert names(found.guilty) == {name}


def layer(dtype=np.float64):
    rng = np.random.default_rng(0)
    x, w, b = (bl.tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in ((4, 4), (4, 4), (4,)))
    return x, w, b


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_missing_transpose_is_seen_at_the_product(monkeypatch, dtype):
    matmul = REGISTRY["matmul"]
    for vjp in (
        lambda wanted, g, out, inputs: (matmul(g, inputs[1]), matmul(inputs[0].mT, g)),
        lambda wanted, g, out, inputs: (matmul(g, inputs[1].mT), matmul(inputs[0], g)),
        lambda wanted, g, out, inputs: (matmul(g, inputs[1].mT), matmul(g.mT, inputs[0])),
    ):
        with monkeypatch.context() as patch, bl.record() as recording:
            patch.setattr(matmul, "vjp", vjp)
            x, w, b = layer(dtype)
            (bl.tanh(x @ w.T + b) ** 2).sum().backward()
        assert names(balance(recording).guilty) == {"matmul"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_missing_sum_over_the_batch_is_seen_at_the_bias(monkeypatch, dtype):
    op = REGISTRY["broadcast_to"]
    for transpose in (lambda g, x, **params: g[0], lambda g, x, **params: g.mean(axis=0)):
        with monkeypatch.context() as patch, bl.record() as recording:
            patch.setattr(op, "transpose", transpose)
            x, w, b = layer(dtype)
            (bl.tanh(x @ w.T + b) ** 2).sum().backward()
        assert names(balance(recording).guilty) == {"broadcast_to"}


def test_a_sum_that_loses_a_contribution_is_named_as_a_merge(monkeypatch):
    from backlit.autodiff import walk

    with bl.record() as recording:
        x = bl.tensor(2.0, requires_grad=True)
        u = x * 3.0
        monkeypatch.setattr(walk, "add_masked", lambda a, b: a)
        (u * u.exp()).backward()
    found = balance(recording)
    assert found.guilty == [] and names(found.merges) == {"mul"}


@bl.custom_vjp
def cubed(x, y):
    return x * x * x + bl.sin(y)


def test_rules_of_ones_own_are_held_against_their_forward():
    def run(rule, dtype):
        cubed.defvjp(lambda x, y: (cubed.f(x, y), (x, y)), rule)
        with bl.record() as recording:
            x = bl.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
            (cubed(x * 2.0, x) * 3.0).sum().backward()
        return balance(recording)

    right = lambda kept, g: (3.0 * kept[0] * kept[0] * g, bl.cos(kept[1]) * g)
    for dtype in (np.float32, np.float64):
        found = run(right, dtype)
        assert found.guilty == [] and all(n.checked for n in found.nodes if n.node.cotangent is not None)
        for wrong in (
            lambda kept, g: (2.0 * kept[0] * kept[0] * g, bl.cos(kept[1]) * g),
            lambda kept, g: (3.0 * kept[0] * kept[0] * g, None),
            lambda kept, g: (3.0 * kept[0] * kept[0] * g, -bl.cos(kept[1]) * g),
        ):
            assert names(run(wrong, dtype).guilty) == {"cubed"}


@pytest.mark.parametrize("exact", [True, False])
def test_rules_that_differ_on_purpose_are_left_alone(exact):
    @bl.custom_vjp
    def rounded(x):
        return bl.round(x)

    rounded.defvjp(lambda x: (bl.round(x), None), lambda _, g: (g,), exact=exact)  # straight through

    @bl.custom_jvp
    def stepped(x):
        return bl.where(x > 0, 1.0, 0.0) * x

    stepped.defjvp(lambda p, t: (bl.where(p[0] > 0, 1.0, 0.0) * p[0], 2.0 * t[0]), exact=exact)
    with bl.record() as recording:
        x = bl.tensor(np.array([0.3, 1.7, -2.2]), requires_grad=True)
        (rounded(x * 3.0) + stepped(x)).sum().backward()
        bl.vmap(lambda row: (rounded(row) + stepped(row)).sum())(x.reshape((3, 1))).sum().backward()
    found = balance(recording)
    assert names(found.guilty) == ({"rounded", "stepped"} if exact else set())
    notes = [n.note for n in found.nodes if n.node.op.name in ("rounded", "stepped")]
    assert len(notes) == 4 and all("on purpose" in note for note in notes) is not exact


def test_functions_with_several_results_balance():
    @bl.custom_vjp
    def both(x):
        return bl.exp(x), x * x

    for rule, guilty in (
        (lambda kept, g: (kept[0] * g[0] + 2.0 * kept[1] * g[1],), set()),
        (lambda kept, g: (kept[0] * g[0],), {"both"}),
    ):
        both.defvjp(lambda x: ((bl.exp(x), x * x), (bl.exp(x), x)), rule)
        with bl.record() as recording:
            x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
            a, b = both(x * 2.0)
            (a * b).sum().backward()
        found = balance(recording)
        assert names(found.guilty) == guilty
        assert any(n.checked for n in found.nodes if n.node.op.name == "both")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_lamp_lights_on_correct_random_graphs(dtype):
    lit = []
    for seed in range(200):
        rng = np.random.default_rng([seed, np.dtype(dtype).itemsize])
        steps = []
        for _ in range(int(rng.integers(2, 16))):
            name = rng.choice([*programs.UNARY, *programs.BINARY])
            steps.append((str(name), *map(int, rng.integers(0, 50, 1 if name in programs.UNARY else 2))))
        scale = 10.0 ** rng.integers(-2, 2)
        x, y = (rng.standard_normal((3, 3)) * scale for _ in range(2))
        with bl.record() as recording:
            x, y = (bl.tensor(v.astype(dtype), requires_grad=True) for v in (x, y))
            out = programs.run(steps, x, y)
            (out * rng.standard_normal((3, 3)).astype(dtype)).sum().backward()
        found = balance(recording, seed)
        lit += [(seed, n.node, n.residual, n.allowed) for n in found.nodes if n.guilty] + list(found.merges)
    assert not lit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_lamp_lights_on_a_network_in_training(dtype):
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(30, 40, dtype=dtype),
        nn.ReLU(),
        nn.Linear(40, 40, dtype=dtype),
        nn.Tanh(),
        nn.Linear(40, 3, dtype=dtype),
    )
    optimizer = bl.optim.Adam(model.parameters(), 1e-2)
    x, y = rng.standard_normal((200, 30)).astype(dtype), rng.integers(0, 3, 200)
    with bl.record() as recording:
        for _ in range(20):  # the loss goes to zero, where p - y cancels
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    found = balance(recording)
    assert found.guilty == [] and found.merges == ()
    assert all(n.checked for n in found.nodes)


def test_what_cannot_be_looked_at_is_said():
    with bl.record() as recording:
        x = bl.tensor(np.array([0.0, 1.0]), requires_grad=True)
        unused = x * 2.0
        bl.log(x).sum().backward()
    found = balance(recording)
    notes = {n.node.op.name: n.note for n in found.nodes}
    assert unused is not None
    assert notes == {
        "mul": "no gradient reached it",
        "log": "a value or gradient is not finite",
        "sum": "a value or gradient is not finite",
    }
    assert found.guilty == []


def test_differences_tell_kinks_and_jumps_from_slopes():
    x = np.array([-1.0, 0.0, 2.0, 1e-7, 1000.0])
    one = np.ones(5)
    found, error = tangent(np.abs, [x], [one])
    np.testing.assert_allclose(found[[0, 2, 4]], [-1, 1, 1], atol=1e-11)
    assert np.isinf(error[1]) and (error[3] > 1e-3 or abs(found[3] - 1) < 1e-6)
    found, error = tangent(np.floor, [x + 0.5], [one])
    assert np.all((found == 0) & (error < 1e-9))
    assert np.isinf(tangent(np.floor, [np.array([1.0])], [np.ones(1)])[1][0])
    for f, df in ((np.exp, np.exp), (np.sin, np.cos), (np.tanh, lambda x: 1 - np.tanh(x) ** 2)):
        at = np.array([-3.0, 0.1, 2.0])
        found, error = tangent(f, [at], [np.abs(at)])
        assert np.all(np.abs(found - df(at) * np.abs(at)) <= error) and np.all(error < 1e-5)
    assert np.isinf(tangent(np.log, [np.zeros(1)], [np.ones(1)])[1][0])


def test_of_large_nodes_parts_are_looked_at(monkeypatch):
    rng = np.random.default_rng(0)
    with bl.record() as recording:
        x, w = (bl.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 300, 200), (2, 200, 100)))
        bl.tanh(x @ w).sum().backward()
    found = balance(recording)
    assert found.guilty == [] and all(n.checked for n in found.nodes)
    product, tanh = recording["matmul#0"], recording["tanh#0"]
    (passed,) = product.contributions
    real = passed.value
    passed.value = real * np.linspace(0.9, 1.1, 100)
    assert names(balance(recording).guilty) == {"tanh"}
    passed.value = real
    for node in (product.args[0], product.args[1]):
        (passed,) = node.contributions
        real, passed.value = passed.value, passed.value * 1.001
        assert names(balance(recording).guilty) == {"matmul"}
        passed.value = real
    assert balance(recording).guilty == [] and tanh.value.size > 4096
    monkeypatch.setattr(REGISTRY["matmul"], "vjp", lambda wanted, g, out, inputs: (g @ inputs[1].mT, -inputs[0].mT @ g))
    with bl.record() as recording:
        x, w = (bl.tensor(rng.standard_normal((300, 300)).astype(np.float32), requires_grad=True) for _ in range(2))
        (x @ w).sum().backward()
    assert names(balance(recording).guilty) == {"matmul"}
