"""Random programs: reverse mode, forward mode and differences agree, and so do the two forms of reverse mode."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import backlit as bl
from backlit.autodiff.check import directional

UNARY = {
    "sin": bl.sin, "tanh": bl.tanh, "exp": lambda x: bl.exp(x * 0.3), "square": lambda x: x * x, "neg": lambda x: -x,
    "sigmoid": bl.nn.functional.sigmoid, "flip": lambda x: x[::-1], "transpose": lambda x: x.T, "gather": lambda x: x[np.array([0, 2, 2])],
    "rows": lambda x: x - x.mean(axis=1, keepdims=True), "lse": lambda x: x - bl.logsumexp(x, axis=0, keepdims=True),
    "reshape": lambda x: x.reshape(9)[::-1].reshape(3, 3), "write": lambda x: x.at[1].set(x[0] * 2.0),
    "cumsum": lambda x: bl.cumsum(x, 1) * 0.4, "cumprod": lambda x: bl.cumprod(x, 0) * 0.5,
    "prod": lambda x: x * bl.prod(x * 0.7, axis=1, keepdims=True), "norm": lambda x: x * (x * x + 0.5).norm(2, 1, True) * 0.3,
    "std": lambda x: x * bl.std(x * x + bl.exp(x * 0.2) * np.arange(3.0), axis=1, keepdims=True) * 0.3,
    "logcumsumexp": lambda x: x - bl.logcumsumexp(x, 1) * 0.3,
    "softplus": bl.nn.functional.softplus, "log": lambda x: bl.log(x * x + 1.0), "gelu": bl.nn.functional.gelu,
}  # fmt: skip
BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / (b * b + 1.0),
    "matmul": lambda a, b: a @ b * 0.3, "where": lambda a, b: bl.where(np.eye(3) > 0, a, b),
    "row": lambda a, b: a + b[0], "concat": lambda a, b: bl.concat([a[:1], b[1:]]),
    "outer": lambda a, b: a.sum(axis=1, keepdims=True) * b.mean(axis=0) * 0.3,
}  # fmt: skip

programs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 50)),
        st.tuples(st.sampled_from(sorted(BINARY)), st.integers(0, 50), st.integers(0, 50)),
    ),
    min_size=1,
    max_size=8,
)


def run(program, x, y):
    """Each step reads earlier values by number, so values are used again and paths meet."""
    values = [bl.asarray(x), bl.asarray(y)]
    for name, *places in program:
        read = [values[p % len(values)] for p in places]
        values.append(UNARY[name](*read) if name in UNARY else BINARY[name](*read))
    return bl.tanh(values[-1] * 0.5) + values[len(values) // 2] * 0.1


@settings(deadline=None, max_examples=150)
@given(program=programs, seed=st.integers(0, 1000))
def test_all_modes_agree(program, seed):
    rng = np.random.default_rng(seed)
    x, y, tx, ty, c = rng.standard_normal((5, 3, 3))
    f = lambda x, y: run(program, x, y)
    out, pushed = bl.jvp(f, (x, y), (tx, ty))
    gx, gy = bl.vjp(f, x, y)[1](c)
    forward, reverse = np.vdot(c, pushed.numpy()), np.vdot(gx.numpy(), tx) + np.vdot(gy.numpy(), ty)
    scale = np.linalg.norm(pushed.numpy()) * np.linalg.norm(c)
    scale += np.linalg.norm(gx.numpy()) * np.linalg.norm(tx) + np.linalg.norm(gy.numpy()) * np.linalg.norm(ty)
    # terms that cancel, as in x - x, are rounded at the size they had before
    scale += np.linalg.norm(c) * (np.linalg.norm(tx) + np.linalg.norm(ty))
    assert abs(forward - reverse) <= 1e-12 * scale

    expected, error = directional(lambda t: np.asarray(np.vdot(c, f(x + t * tx, y + t * ty).numpy())), 1e-3)
    size = float(np.sum(np.abs(c * out.numpy())))
    assert abs(reverse - expected) <= 1e-7 * (1 + abs(expected)) + 10 * error + 1e-11 * size

    a, b = (bl.tensor(v, requires_grad=True) for v in (x, y))
    f(a, b).backward(c)
    for leaf, g in ((a, gx), (b, gy)):
        got = np.zeros((3, 3)) if leaf.grad is None else leaf.grad.numpy()
        np.testing.assert_allclose(got, g.numpy(), rtol=1e-12, atol=1e-13)


@settings(deadline=None, max_examples=60)
@given(program=programs, seed=st.integers(0, 1000))
def test_second_order_and_batches_agree(program, seed):
    rng = np.random.default_rng(seed)
    x, y, t, s = rng.standard_normal((4, 3, 3))
    loss = lambda x: (run(program, x, y) ** 2).sum()
    over = bl.jvp(bl.grad(loss), (x,), (t,))[1].numpy()
    under = bl.grad(lambda x: bl.jvp(loss, (x,), (t,))[1])(x).numpy()
    twice = bl.grad(lambda x: (bl.grad(loss)(x) * t).sum())(x).numpy()
    scale = 1e-11 * (1 + np.abs(over).max())
    np.testing.assert_allclose(under, over, rtol=1e-9, atol=scale)
    np.testing.assert_allclose(twice, over, rtol=1e-9, atol=scale)
    together = bl.vmap(bl.grad(loss))(np.stack([x, s])).numpy()
    for got, at in zip(together, (x, s), strict=True):
        want = bl.grad(loss)(at).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11 * (1 + np.abs(want).max()))


INDEX = st.one_of(
    st.integers(-2, 1), st.slices(3), st.none(), st.just(Ellipsis), st.lists(st.integers(-2, 1), min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(key=st.lists(INDEX, min_size=1, max_size=4), seed=st.integers(0, 100))
def test_indexing_is_numpys_and_its_gradient_a_scatter(key, seed):
    key = tuple(np.array(k) if isinstance(k, list) else k for k in key)
    x = np.random.default_rng(seed).standard_normal((3, 3, 3))
    try:
        expected = x[key]
    except IndexError:
        try:
            bl.tensor(x)[key]
        except bl.BacklitError:
            return
        raise AssertionError(f"NumPy refuses {key}, backlit does not") from None
    out, pullback = bl.vjp(lambda x: x[key], x)
    np.testing.assert_array_equal(out.numpy(), expected)
    c = np.random.default_rng(seed + 1).standard_normal(expected.shape)
    scattered = np.zeros_like(x)
    np.add.at(scattered, key, c)
    np.testing.assert_allclose(pullback(c)[0].numpy(), scattered, rtol=1e-13, atol=1e-15)
    batch = np.stack([x, x + 1, -x])
    arrays = any(isinstance(k, np.ndarray) and k.dtype == bool for k in key)
    if not arrays:
        np.testing.assert_array_equal(bl.vmap(lambda x: x[key])(batch).numpy(), np.stack([b[key] for b in batch]))
    changed = x.copy()
    changed[key] = 7.0
    np.testing.assert_array_equal(bl.tensor(x).at[key].set(7.0).numpy(), changed)
