"""checkpoint: the same bits with fewer residuals, in all transforms."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import checkpoint, grad, hessian, hvp, jacfwd, jacrev, jvp, nn, vjp, vmap

RNG = np.random.default_rng(5)
A, X, V = RNG.normal(size=(3, 3)), RNG.normal(size=3), RNG.normal(size=3)


def block(x, w=A):
    return bl.tanh(bl.sin(x @ w) * 2.0 + bl.exp(-x))


def same(a, b):
    for x, y in zip(bl.tree.leaves(a), bl.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(bl.asarray(x).detach().numpy(), bl.asarray(y).detach().numpy())


def chain(f):
    return lambda x: (f(f(f(x))) ** 2).sum()


TRANSFORMS = {
    "grad": lambda f: grad(chain(f)),
    "jvp": lambda f: lambda x: jvp(f, (x,), (V,)),
    "vjp": lambda f: lambda x: vjp(f, x)[1](V),
    "vmap": lambda f: lambda x: vmap(grad(chain(f)))(np.stack([x, V])),
    "grad of vmap": lambda f: lambda x: grad(lambda x: chain(vmap(f))(x))(np.stack([x, V])),
    "jacrev": lambda f: jacrev(f),
    "jacfwd": lambda f: jacfwd(f),
    "grad of jvp": lambda f: grad(lambda x: (jvp(f, (x,), (V,))[1] ** 2).sum()),
    "hvp": lambda f: lambda x: hvp(chain(f), (x,), (V,)),
    "hessian": lambda f: hessian(chain(f)),
    "grad of grad": lambda f: grad(lambda x: (grad(chain(f))(x) ** 2).sum()),
    "linearize": lambda f: lambda x: bl.linearize(f, x)[1](V),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_values_of_every_transform(name):
    transformed = TRANSFORMS[name]
    plain, kept = transformed(block)(X), transformed(checkpoint(block))(X)
    for a, b in zip(bl.tree.leaves(plain), bl.tree.leaves(kept), strict=True):
        if name in ("hvp", "hessian", "grad of grad"):  # x is used inside and outside, so sums have another order
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)
        else:
            same(a, b)
    compiled = bl.compile(transformed(checkpoint(block)))(X)
    for a, b in zip(bl.tree.leaves(plain), bl.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)
    nested = transformed(checkpoint(lambda x: checkpoint(block)(x) * 1.0))(X)
    for a, b in zip(bl.tree.leaves(plain), bl.tree.leaves(nested), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


def model_and_data():
    bl.random.seed(3)
    layers = [nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh()) for _ in range(4)]
    return nn.Sequential(*layers), RNG.normal(size=(5, 8)).astype(np.float32)


def through(model, x, wrap):
    for layer in model:
        x = wrap(layer)(x)
    return (x * x).mean()


def test_parameters_closed_over_get_the_same_bits():
    model, x = model_and_data()
    through(model, x, lambda f: f).backward()
    expected = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    through(model, x, checkpoint).backward()
    same([p.grad for p in model.parameters()], expected)
    same(grad(lambda m: through(m, x, checkpoint))(model), grad(lambda m: through(m, x, lambda f: f))(model))
    as_argument = lambda layer: lambda x: checkpoint(lambda m, x: m(x))(layer, x)
    same(grad(lambda m: through(m, x, as_argument))(model), grad(lambda m: through(m, x, lambda f: f))(model))


def test_per_sample_gradients():
    model, x = model_and_data()
    kept = vmap(grad(lambda m, x: through(m, x, checkpoint)), in_axes=(None, 0))(model, x)
    one = grad(lambda m, x: through(m, x, lambda f: f))(model, x[2])
    for a, b in zip(bl.tree.leaves(kept), bl.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a.detach().numpy()[2], b.detach().numpy(), rtol=1e-5, atol=1e-7)


def kept_bytes(out):
    """Bytes of all arrays that the graph behind `out` refers to, each once."""
    arrays, seen, pending = {}, set(), [out.node]
    while pending:
        node = pending.pop()
        if node is None or node.id in seen or node.plan is None:
            continue
        seen.add(node.id)
        kept = [*node.inputs, node.out, *(x._value for x in getattr(node.op, "lowered", ()))]
        arrays.update(
            {id(x): x.nbytes for x in kept if isinstance(x, np.ndarray) and 0 not in x.strides}
        )  # a view of a bias
        pending += [node.up] if not isinstance(node.up, tuple) else node.up
    return sum(arrays.values())


def test_fewer_bytes_are_kept():
    model, _ = model_and_data()
    x = RNG.normal(size=(500, 8)).astype(np.float32)
    plain, kept = kept_bytes(through(model, x, lambda f: f)), kept_bytes(through(model, x, checkpoint))
    one = x.nbytes
    assert plain > 8 * one  # two activations a block
    assert kept < 6 * one  # an input a block, and what the loss reads


def test_the_function_runs_once_and_its_draws_are_those_of_the_forward():
    calls, generator = [], bl.Generator(4)

    def f(x):
        calls.append(1)
        return bl.sin(x * generator.normal((3,), dtype="float64"))

    x = bl.tensor(X, requires_grad=True)
    checkpoint(f)(x).sum().backward()
    draw = bl.Generator(4).normal((3,), dtype="float64").numpy()
    np.testing.assert_allclose(x.grad.numpy(), draw * np.cos(X * draw), rtol=1e-14)
    assert calls == [1]


def test_branches_trees_numbers_and_keywords():
    @checkpoint
    def f(p, n, scale=1.0, flip=False):
        """Documented."""
        y = p["a"] * scale if p["a"].sum() > -100 else p["b"]
        return {"y": -y if flip else y, "n": n + 1, "b": p["b"]}

    assert f.__doc__ == "Documented."
    out, pullback = vjp(lambda p: f(p, np.arange(3), scale=3.0, flip=True), {"a": X, "b": V})
    same(out, {"y": -3 * X, "n": np.arange(1, 4), "b": V})
    (found,) = pullback({"y": V, "n": np.zeros(3), "b": X})
    same(found, {"a": -3 * V, "b": X})
    assert checkpoint(lambda x: x * 2)(X).tolist() == (X * 2).tolist()
    assert f({"a": X, "b": V}, 2)["n"].item() == 3


def test_structural_zeros_pass_in_both_directions():
    root = checkpoint(bl.sqrt)
    x = np.array([0.0, 4.0])
    f = lambda x: bl.where(x > 0, root(x), 0.0).sum()
    same(grad(f)(x), np.array([0.0, 0.25]))
    same(jvp(lambda x: root(bl.where(x > 0, x, 0.0)), (x,), (np.ones(2),))[1], np.array([0.0, 0.25]))
    same(grad(grad(lambda y: f(y * x)))(np.float64(1.0)), np.float64(-0.5))


def test_no_grad_detach_and_stop_gradient_hold_in_the_second_run():
    def f(x):
        with bl.no_grad():
            a = x * x
        return a * x + x.detach() * bl.sin(x)

    same(grad(lambda x: checkpoint(f)(x).sum())(X), grad(lambda x: f(x).sum())(X))
    x, y = bl.tensor(X, requires_grad=True), bl.tensor(X, requires_grad=True)
    checkpoint(f)(x).sum().backward()
    f(y).sum().backward()
    same(x.grad, y.grad)
    with bl.no_grad():
        out = checkpoint(f)(x)
    assert not out.requires_grad
    out = checkpoint(f)(x)
    assert out.requires_grad


def test_create_graph_differentiates_the_second_run():
    x = bl.tensor(X, requires_grad=True)
    checkpoint(bl.sin)(x).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    (first * V).sum().backward()
    np.testing.assert_allclose(x.grad.detach().numpy(), -np.sin(X) * V, rtol=1e-14)


def test_a_graph_gone_through_twice():
    x = bl.tensor(X, requires_grad=True)
    out = checkpoint(bl.sin)(x).sum()
    out.backward(retain_graph=True)
    out.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.cos(X), rtol=1e-14)


def test_custom_rules_and_loops_inside():
    @bl.custom_vjp
    def doubled(x):
        return x * 1.0

    doubled.defvjp(lambda x: (x * 1.0, None), lambda residuals, g: (2.0 * g,))
    same(grad(lambda x: checkpoint(lambda x: bl.sin(doubled(x)))(x).sum())(X), 2 * np.cos(X))
    f = lambda x: bl.scan(lambda c, y: (c * bl.sin(y), c + y), x[0], x)[1]
    g = lambda x: (checkpoint(f)(x) ** 2).sum()
    expected = grad(lambda x: (f(x) ** 2).sum())(X)
    np.testing.assert_allclose(grad(g)(X).numpy(), expected.numpy(), rtol=1e-13)
    np.testing.assert_allclose(bl.compile(grad(g))(X).numpy(), expected.numpy(), rtol=1e-13)
    h = lambda wrap: grad(lambda x: bl.scan(lambda c, y: (wrap(block)(c) * y, c), x, x)[0].sum())
    plain = h(lambda f: f)(X).numpy()
    np.testing.assert_allclose(h(checkpoint)(X).numpy(), plain, rtol=1e-13)
    np.testing.assert_allclose(bl.compile(h(checkpoint))(X).numpy(), plain, rtol=1e-12)


def test_an_escaped_value_says_so():
    stored = []

    def f(x):
        stored.append(x * 2)
        return x

    checkpoint(f)(bl.tensor(X))
    with pytest.raises(bl.TraceError, match="checkpoint of f.*return it"):
        stored[0] + 1


def test_nothing_is_left_behind_by_an_exception():
    model, x = model_and_data()
    before = [p._value for p in model.parameters()]

    def stumbles(m, x):
        raise ValueError("stumbled")

    with pytest.raises(ValueError, match="stumbled"):
        checkpoint(stumbles)(model, x)
    assert all(p._value is b for p, b in zip(model.parameters(), before, strict=True))


def test_a_recording_goes_through_it():
    x = bl.tensor(X, requires_grad=True)
    with bl.record() as recording:
        (checkpoint(block)(x) ** 2).sum().backward()
    assert len(recording.nodes) > 3
    np.testing.assert_array_equal(x.grad.numpy(), grad(lambda x: (block(x) ** 2).sum())(X).numpy())


def test_a_compiled_step_takes_less_memory():
    w = [RNG.normal(size=(64, 64)) * 0.1 for _ in range(6)]

    def loss(wrap):
        def f(ws, x):
            for k in range(0, 6, 3):
                x = wrap(lambda x, a, b, c: bl.tanh(bl.tanh(bl.tanh(x @ a) @ b) @ c))(x, *ws[k : k + 3])
            return (x * x).sum()

        return bl.compile(grad(f))

    x = RNG.normal(size=(2000, 64))
    plain, kept = loss(lambda f: f), loss(checkpoint)
    for a, b in zip(plain(w, x), kept(w, x), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-11)
    assert kept.report().arena_bytes < plain.report().arena_bytes
