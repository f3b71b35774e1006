"""Trees, random streams, dtypes, creation."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import Generator, tree
from backlit.core.dtypes import promote
from backlit.core.errors import ArgumentError
from backlit.ops.random import AT_ONCE


def test_tree_rebuilds_what_it_flattened():
    x = {"a": [1, (2, 3)], "b": None, "c": {}}
    leaves, structure = tree.flatten(x)
    assert leaves == [1, 2, 3] and tree.unflatten(structure, leaves) == x
    assert tree.paths(x) == [("a", 0), ("a", 1, 0), ("a", 1, 1)]
    assert tree.map(lambda a, b: a + b, x, x) == {"a": [2, (4, 6)], "b": None, "c": {}}
    with pytest.raises(bl.ShapeError, match="3 leaves, got 2"):
        tree.unflatten(structure, [1, 2])
    with pytest.raises(bl.ShapeError, match="structures"):
        tree.map(lambda a, b: a, x, [1])
    assert tree.flatten([1, 2])[1] != tree.flatten((1, 2))[1] != tree.flatten({"a": 1, "b": 2})[1]


def test_registered_containers():
    class Box:
        def __init__(self, content):
            self.content = content

    tree.register(Box, lambda b: ((b.content,), None), lambda aux, children: Box(*children))
    g = bl.grad(lambda b: (b.content**2).sum())(Box(np.array([3.0])))
    assert isinstance(g, Box) and g.content.tolist() == [6.0]


def test_random_streams():
    a, b = Generator(3), Generator(3)
    np.testing.assert_array_equal(a.normal((5,)).numpy(), b.normal((5,)).numpy())
    reference = np.random.Generator(np.random.Philox(key=Generator(3).key, counter=0)).random(6)
    np.testing.assert_array_equal(Generator(3).uniform((2, 3), dtype=np.float64).numpy().ravel(), reference)
    state = a.get_state()
    expected = a.uniform((7,)).numpy()
    a.set_state(state)
    np.testing.assert_array_equal(a.uniform(7).numpy(), expected)
    first, second = a.split(2)
    later = a.split(1)[0]
    draws = [g.uniform((100,)).numpy() for g in (a, first, second, later)]
    assert len({d.tobytes() for d in draws}) == 4
    assert sorted(Generator(1).permutation(100).tolist()) == list(range(100))
    for wrong in (-1, 1.5, True, "x"):
        with pytest.raises(ArgumentError, match="seed"):
            Generator(wrong)
    with pytest.raises(ArgumentError, match="get_state"):
        a.set_state({"key": [1]})


def test_samplers_have_their_distributions():
    g = Generator(0)
    u = g.uniform((200_000,), -1.0, 3.0, np.float64).numpy()
    assert u.min() >= -1 and u.max() < 3 and abs(u.mean() - 1) < 0.01 and abs(u.var() - 16 / 12) < 0.02
    n = g.normal((200_000,), 2.0, 0.5, np.float64).numpy()
    assert abs(n.mean() - 2) < 0.005 and abs(n.std() - 0.5) < 0.005
    z = (n - 2) / 0.5
    assert abs((z**3).mean()) < 0.03 and abs((z**4).mean() - 3) < 0.1
    low = g.uniform((100_000,), 0.0, 1.0, bl.bfloat16)
    assert low.dtype == bl.bfloat16 and float(np.asarray(low).astype(np.float32).max()) < 1.0
    bl.random.seed(7)
    a = bl.random.uniform((3,))
    bl.random.seed(7)
    assert a.tolist() == bl.random.uniform((3,)).tolist() and sorted(bl.random.permutation(4).tolist()) == [0, 1, 2, 3]


def test_promotion_table():
    for x, y, expected in (
        ("int64", "float32", "float32"), ("float16", "int8", "float16"), ("float32", "float64", "float64"),
        ("int8", "uint8", "int16"), ("bool", "int8", "int8"), ("float16", "bfloat16", "float32"),
    ):  # fmt: skip
        dtypes = [bl.bfloat16 if n == "bfloat16" else np.dtype(n) for n in (x, y)]
        assert promote(*dtypes) == promote(*dtypes[::-1]) == np.dtype(expected), (x, y)


def test_creation():
    assert (
        bl.zeros((2, 3)).dtype == bl.ones(2).dtype == bl.full(2, 1.5).dtype == bl.linspace(0, 1, 3).dtype == np.float32
    )
    assert bl.full(2, 3).dtype == bl.arange(3).dtype == np.int64 and bl.arange(0.0, 1.0, 0.25).tolist() == [
        0,
        0.25,
        0.5,
        0.75,
    ]
    assert bl.eye(2, 3, k=1).tolist() == [[0, 1, 0], [0, 0, 1]] and bl.empty((0, 2)).shape == (0, 2)
    x = bl.tensor(np.ones((2, 2)))
    assert bl.zeros_like(x).dtype == np.float64 and bl.ones_like(x, dtype=bool).dtype == bool
    assert bl.full_like(x, 2).tolist() == [[2, 2], [2, 2]]
    assert bl.asarray(x) is x and bl.asarray(x, copy=True) is not x
    shared = np.ones(2)
    view = bl.asarray(shared, copy=False)
    shared[0] = 5
    assert view.tolist() == [5, 1]
    copied = bl.asarray(shared)
    shared[0] = 6
    assert copied.tolist() == [5, 1]
    with pytest.raises(bl.DTypeError, match="shared"):
        bl.asarray([1.0], copy=False)
    bl.set_default_dtype(np.float64)
    try:
        assert bl.tensor([1.0]).dtype == bl.zeros(1).dtype == np.float64
    finally:
        bl.set_default_dtype(np.float32)


def test_array_functions_against_numpy():
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    t = bl.tensor(x)
    for ours, theirs in (
        (bl.mean(t, axis=1), x.mean(1)), (bl.var(t, axis=(0, 2), correction=1), x.var((0, 2), ddof=1)),
        (bl.std(t, axis=0, keepdims=True), x.std(0, keepdims=True)), (bl.argmin(t, axis=1), x.argmin(1)),
        (bl.argmax(t), x.argmax()), (bl.squeeze(t[:1], 0), x[0]), (bl.expand_dims(t, axis=-1), x[..., None]),
        (bl.flatten(t, 1), x.reshape(2, 12)), (bl.stack([t, t], axis=1), np.stack([x, x], 1)),
        (bl.concat([t, t], axis=None), np.concatenate([x, x], None)), (bl.pad(t, ((0, 0), (1, 0), (0, 2)), constant_values=7.0), np.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=7.0)),
        (bl.take(t, [2, 0], axis=1), x.take([2, 0], 1)), (bl.take(t, 5), x.take(5)), (t.mT, x.swapaxes(1, 2)),
        (bl.take_along_axis(t, x.argsort(1), axis=1), np.sort(x, 1)), (t.sum(1, keepdim=True), x.sum(1, keepdims=True)),
        (t.max(dim=2), x.max(2)), (t.T, x.T), (t.permute(2, 0, 1), x.transpose(2, 0, 1)), (t.transpose(), x.T),
        (t.reshape(6, -1), x.reshape(6, 4)), (t.clamp(-0.5, 0.5), x.clip(-0.5, 0.5)), (t // 0.3, x // 0.3), (t % 0.3, x % 0.3),
        (bl.tensor([5, 6]) >> 1, np.array([2, 3])), (bl.tensor([5, 6]) & 3, np.array([1, 2])), (~bl.tensor([True]), np.array([False])),
        (bl.matmul(t, x[0].T), x @ x[0].T), (bl.matmul(t, x[0, 0]), x @ x[0, 0]), (bl.matmul(x[0, 0, :3], t), x[0, 0, :3] @ x),
        (bl.matmul(t[:, None], t.mT[None]), x[:, None] @ x.swapaxes(1, 2)[None]), (bl.one_hot([1, 0], 3), np.eye(3)[[1, 0]]),
        (2.0 ** t, 2.0 ** x), (1 / t, 1 / x), (5 - t, 5 - x), (abs(-t), abs(x)),
    ):  # fmt: skip
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-13)
        assert ours.shape == theirs.shape
    assert np.isnan(bl.mean(bl.zeros((0,))).item())
    assert [row.tolist() for row in t[0, :2, :1]] == x[0, :2, :1].tolist() and len(t) == 2
    assert f"{bl.tensor(1.25):.1f}" == "1.2" and float(bl.tensor(2)) == 2.0 and int(bl.tensor(2.9)) == 2
    assert [10, 20, 30][bl.tensor(1)] == 20 and complex(bl.tensor(1.0)) == 1
    assert t in {t: 1}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", bl.bfloat16])
@pytest.mark.parametrize("n", [AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (1.0, 1.0 + 2.0**-20), (0.5, 0.5)])
def test_many_uniform_numbers_are_the_same_as_a_few_at_a_time(n, dtype, low, high):
    together, pieces = Generator(5), Generator(5)
    found = together.uniform((n,), low, high, dtype).numpy()
    sizes = [AT_ONCE // 2] * (n // (AT_ONCE // 2)) + [n % (AT_ONCE // 2)]
    want = np.concatenate([pieces.uniform((k,), low, high, dtype).numpy() for k in sizes])
    assert found.dtype == want.dtype and (found == want).all()
    assert together.counter == pieces.counter
    assert low == high or (found < np.asarray(high, found.dtype)).all() or dtype in ("float16", bl.bfloat16)


def test_floats_of_a_list_take_the_dtype_of_the_array_beside():
    x = bl.tensor(np.zeros(2))
    assert (x + [0.1, 0.2]).tolist() == ([0.1, 0.2] + x).tolist() == [0.1, 0.2]
    assert bl.where(x > 0, x, [0.1, 0.2]).tolist() == [0.1, 0.2]
    low = bl.tensor([0.0, 0.0])
    assert (low + [0.1, 0.2]).dtype == np.float32 and (low + np.array([0.1, 0.2])).dtype == np.float64
    assert (bl.tensor([1, 2]) + [0.5, 0.5]).dtype == np.float32 and (x + [1, 2]).dtype == np.float64
    assert bl.add([0.1], [0.2]).dtype == np.float32
