"""Reading and writing by index: NumPy's rules on generated indices, gradients that go back the way the elements came."""

from __future__ import annotations

import numpy as np
import pytest
from checks import value
from test_shape import check_moves

import backlit as bl
from backlit import grad, jvp, vjp, vmap


def draw_index(rng: np.random.Generator, shape: tuple[int, ...]):
    """A random index: integers, slices, integer arrays, masks, None and an ellipsis, in any order."""
    lead = tuple(rng.integers(1, 3, rng.integers(0, 3)))
    parts, axis = [], 0
    stop = len(shape) if rng.random() < 0.6 else rng.integers(0, len(shape) + 1)
    while axis < stop:
        n, kind = shape[axis], rng.integers(0, 7)
        if kind == 0:
            parts.append(None)
            continue
        if kind == 1 and n:
            parts.append(int(rng.integers(-n, n)))
        elif kind in (2, 3):
            bounds = [None if rng.random() < 0.3 else int(v) for v in rng.integers(-n - 2, n + 3, 2)]
            parts.append(slice(*bounds, rng.choice([None, 1, 2, -1, -2, 3])))
        elif kind == 4 and axis + 1 < len(shape) and rng.random() < 0.5:
            mask = rng.random(shape[axis : axis + 2]) < 0.5
            if mask.sum() not in (1, *lead[-1:]):  # which would not broadcast with the others
                continue
            parts.append(mask)
            axis += 1
        elif n:
            ours = lead[rng.integers(0, len(lead) + 1) :]
            ours = tuple(1 if rng.random() < 0.2 else k for k in ours)
            parts.append(rng.integers(-n, n, ours))
        else:
            parts.append(slice(None))
        axis += 1
    if rng.random() < 0.3:
        parts.insert(rng.integers(0, len(parts) + 1) if stop == len(shape) else len(parts), Ellipsis)
    return tuple(parts)


@pytest.mark.parametrize("seed", range(6))
def test_reading_is_numpys(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        shape = tuple(int(n) for n in rng.integers(0 if rng.random() < 0.1 else 1, 5, rng.integers(0, 5)))
        key = draw_index(rng, shape)
        check_moves(lambda x, key=key: x[key], lambda x, key=key: x[key], shape)


@pytest.mark.parametrize("seed", range(6))
def test_writing_is_numpys(seed):
    rng = np.random.default_rng(100 + seed)
    for _ in range(40):
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 5)))
        key = draw_index(rng, shape)
        x = rng.standard_normal(shape)
        y = rng.standard_normal(x[key].shape)
        if y.ndim and rng.random() < 0.3:
            y = y[..., :1] if y.shape[-1] else y
        expected = np.array(x)
        expected[key] = y
        numbers = np.arange(1, x.size + 1).reshape(shape)  # of the elements that are there behind the write
        numbers[key] = x.size + 1 + np.arange(y.size).reshape(y.shape)

        def written(x, y, key=key):
            x = x * 1.0
            x[key] = y
            return x

        for f in (
            written,
            lambda x, y, key=key: bl.tensor(x).at[key].set(y) if isinstance(x, np.ndarray) else x.at[key].set(y),
        ):
            out, pullback = vjp(f, x, y)
            np.testing.assert_array_equal(value(out), expected)
            cotangent = rng.standard_normal(shape)
            back = np.bincount(numbers.ravel(), cotangent.ravel(), x.size + y.size + 1)[1:]
            gx, gy = pullback(cotangent)
            np.testing.assert_array_equal(value(gx).ravel(), back[: x.size])
            np.testing.assert_allclose(value(gy).ravel(), back[x.size :], rtol=1e-15)
        t = bl.tensor(x)
        t[key] = y
        np.testing.assert_array_equal(t.numpy(), expected)


def added(x, key, y):
    x = np.array(x)
    np.add.at(x, key, y)
    return x


@pytest.mark.parametrize(("name", "ufunc"), [("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("mul", np.multiply), ("divide", np.divide), ("max", np.maximum), ("min", np.minimum), ("power", np.power)])  # fmt: skip
def test_updates_at_repeated_places(name, ufunc):
    rng = np.random.default_rng(3)
    for shape, key in (
        ((4, 3), np.array([1, 0, 1, -3, 1])), ((3, 4), (slice(None), [[0, 0], [2, 0]])), ((4,), slice(1, None, 2)), ((2, 3), 1),
        ((3, 3), ([0, 1, 0], [0, 2, 0])), ((), ()), ((3, 2), np.array([True, False, True])), ((0, 2), slice(None)), ((3,), []),
    ):  # fmt: skip
        x = rng.uniform(0.5, 2.0, shape)
        y = rng.uniform(0.5, 2.0, x[key].shape)
        expected = np.array(x)
        ufunc.at(expected, key, y)
        update = lambda x, y, key=key: getattr(bl.asarray(x).at[key], name)(y)
        np.testing.assert_allclose(value(update(x, y)), expected, rtol=1e-15)
        bl.gradcheck(update, x, y)
        out, pullback = vjp(lambda x, y, update=update: vjp(update, x, y)[1](np.ones(x.shape)), x, y)
        _, pushed = jvp(lambda x, y, update=update: vjp(update, x, y)[1](np.ones(x.shape)), (x, y), (x, y))
        inner = sum(np.vdot(value(a), value(b)) for a, b in zip(out, pushed, strict=True))
        back = pullback(out)
        assert inner == pytest.approx(np.vdot(value(back[0]), x) + np.vdot(value(back[1]), y), rel=1e-12, abs=1e-12)
        many_x, many_y = np.stack([x, 2 * x]), np.stack([y, 0.7 * y])
        each = [value(update(a, b)) for a, b in zip(many_x, many_y, strict=True)]
        np.testing.assert_allclose(value(vmap(update)(many_x, many_y)), each, rtol=1e-15)


def test_equal_extremes_share_and_numbers_win_ties():
    x = np.array([2.0, 1.0])
    update = lambda x, y: bl.asarray(x).at[[0, 0, 1]].max(y)
    gx, gy = grad(lambda x, y: update(x, y) @ np.array([1.0, 10.0]), argnums=(0, 1))(x, np.array([2.0, 2.0, 3.0]))
    assert gx.tolist() == [1 / 3, 0] and gy.tolist() == [1 / 3, 1 / 3, 10]
    assert grad(lambda x: x.at[0].max(2.0).sum())(x).tolist() == [0, 1]
    assert grad(lambda x: x.at[0].min(5.0).sum())(x).tolist() == [1, 1]
    assert bl.tensor([1, 5]).at[0].max(3).dtype == np.int64
    lost = grad(lambda x, y: bl.sqrt(x).at[0].max(y).sum())(np.array([0.0, 4.0]), np.array(1.0))
    assert lost.tolist() == [0, 0.25]  # what was overtaken is structurally zero
    assert np.isnan(value(bl.tensor(x).at[0].max(np.array(np.nan)))[0])


def test_at_leaves_the_tensor_as_it_is():
    x = bl.tensor([1.0, 2.0, 3.0])
    assert x.at[1].set(5.0).tolist() == [1, 5, 3] and x.at[:2].get().tolist() == [1, 2]
    assert x.at[-1].apply(lambda v: v * v).tolist() == [1, 2, 9] and x.tolist() == [1, 2, 3]
    assert bl.tensor([1, 2]).at[0].add(2.7).tolist() == [3, 2]  # in the dtype of x
    assert bl.asarray(np.zeros(2)).at[0].set(0.1).tolist() == [0.1, 0]  # not rounded to float32 on the way
    with bl.no_grad():
        y = bl.asarray(np.zeros(2))
        y[...] = [0.1, 0.2]
        y[0] += 0.1
    assert y.tolist() == [0.2, 0.2]


def test_masks_that_are_traced():
    x, m = np.arange(6.0).reshape(2, 3), np.array([[True, False, True], [False, False, True]])
    set_all = lambda x, m: bl.asarray(x).at[m].set(-1.0)
    expected = [np.where(m[r], -1.0, x[r]) for r in range(2)]
    np.testing.assert_array_equal(value(vmap(set_all)(x, m)), expected)

    @bl.compile
    def compiled(x):
        y = x * 1.0
        y[y > 2] = 0.0
        return y

    np.testing.assert_array_equal(value(compiled(bl.tensor(x))), np.where(x > 2, 0, x))
    with pytest.raises(bl.ShapeError, match="where"):
        vmap(lambda x, m: x.at[m].set(np.ones(2)))(x, m)
    with pytest.raises(bl.ShapeError, match="traced boolean index"):
        vmap(lambda x, m: x[m])(x, m)
    assert grad(lambda x: (x[x > 2] ** 2).sum())(x).tolist() == [[0, 0, 0], [6, 8, 10]]


def test_truths_are_axes():
    x = np.arange(6.0).reshape(2, 3)
    for key in (True, False, (True, 1), (slice(None), True), (..., False), (np.True_, [0, 1]), (1, True, [0, 2])):
        np.testing.assert_array_equal(value(bl.tensor(x)[key]), x[key])
        a, b = bl.tensor(x), np.array(x)
        a[key], b[key] = -1.0, -1.0
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.parametrize("batched", [(0, 0), (None, 0), (0, None)])
def test_indices_of_every_example(batched):
    rng = np.random.default_rng(5)
    for key in (
        lambda i: i,
        lambda i: (slice(None), i),
        lambda i: (i, slice(None), i),
        lambda i: (0, i),
        lambda i: (None, i, ..., i[0]),
    ):
        x = rng.standard_normal((3, 3, 3, 3) if batched[0] == 0 else (3, 3, 3))
        i = rng.integers(-3, 3, (3, 2) if batched[1] == 0 else 2)
        pick = lambda x, i, key=key: x[key(i)]
        rows = [(x[r] if batched[0] == 0 else x, i[r] if batched[1] == 0 else i) for r in range(3)]
        expected = np.stack([a[key(b)] for a, b in rows])
        out, pullback = vjp(lambda x, i=i, pick=pick: vmap(pick, in_axes=batched)(x, i), x)
        np.testing.assert_array_equal(value(out), expected)
        cotangent = rng.standard_normal(out.shape)
        parts = [added(np.zeros((3, 3, 3)), key(b), c) for (a, b), c in zip(rows, cotangent, strict=True)]
        wanted = np.stack(parts) if batched[0] == 0 else sum(parts)
        np.testing.assert_allclose(value(pullback(cotangent)[0]), wanted, rtol=1e-13, atol=1e-14)


def like_pytorch(torch, name, x, dim, i, src, more, flags):
    """Value and gradients of one function, ours and PyTorch's; `src` an array, a number or None."""
    tx, leaves = torch.tensor(x, requires_grad=True), [x]
    given = [] if src is None else [src]
    if isinstance(src, np.ndarray):
        given, leaves = [torch.tensor(src, requires_grad=True)], [x, src]
    expected = getattr(torch, name)(tx, dim, torch.tensor(i), *given, *more, **flags)
    rest = [src] if isinstance(src, float) else []
    out, pullback = vjp(lambda x, *y: getattr(bl, name)(x, dim, i, *y, *rest, *more, **flags), *leaves)
    np.testing.assert_allclose(value(out), expected.detach().numpy(), rtol=1e-14)
    cotangent = np.random.default_rng(1).standard_normal(out.shape)
    expected.backward(torch.tensor(cotangent))
    for ours, theirs in zip(pullback(cotangent), [tx, *given], strict=False):
        np.testing.assert_allclose(value(ours), theirs.grad.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gather_and_scatter_are_pytorchs(dim):
    torch = pytest.importorskip("torch", reason="compared with PyTorch")
    rng = np.random.default_rng(2)
    x, src = rng.standard_normal((3, 4, 2)), rng.standard_normal((2, 3, 2))
    i = rng.integers(0, x.shape[dim], [2, 3, 2])
    like_pytorch(torch, "gather", x, dim, i, None, (), {})
    like_pytorch(torch, "scatter", x, dim, i, 1.5, (), {})
    like_pytorch(torch, "scatter_add", x, dim, i, src, (), {})
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        for include in (True, False):
            like_pytorch(torch, "scatter_reduce", x, dim, i, src, (reduce,), {"include_self": include})
    longer = np.concatenate([src, src], 1)  # of which the corner is taken; PyTorch has no gradient then
    expected = torch.scatter_add(torch.tensor(x), dim, torch.tensor(i), torch.tensor(longer))
    np.testing.assert_allclose(value(bl.scatter_add(x, dim, i, longer)), expected.numpy(), rtol=1e-14)


def test_put_along_axis_and_one_hot():
    x, i = np.zeros((2, 3)), np.array([[2, 0], [1, 1]])
    expected = x.copy()
    np.put_along_axis(expected, i, [[1.0, 2.0], [3.0, 4.0]], 1)
    np.testing.assert_array_equal(value(bl.put_along_axis(x, i, [[1.0, 2.0], [3.0, 4.0]], axis=1)), expected)
    assert bl.one_hot([0, 2], 3).tolist() == [[1, 0, 0], [0, 0, 1]] and bl.one_hot(1, 2, int).tolist() == [0, 1]
    assert bl.one_hot([0, 2], 3, axis=0).tolist() == [[1, 0], [0, 0], [0, 1]]
    assert vmap(lambda i: bl.one_hot(i, 2))(np.array([1, 0])).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: x[2], "2 is out of range for axis 0"),
        (lambda x: x[:, -4], "-4 is out of range for axis 1"),
        (lambda x: x[0, 0, 0], "3 indices for float64.2, 3., which has 2 axes"),
        (lambda x: x[..., ...], "more than one ellipsis"),
        (lambda x: x[np.array([0, 5])], "index 5 is out of bounds for axis 0 with size 2"),
        (lambda x: x.at[np.array([0, 5])].set(1.0), "index 5 is out of bounds"),
        (lambda x: x.at[np.array([0, 5])].add(1.0), "index 5 is out of bounds"),
        (lambda x: x.at[np.array([0, 5])].max(np.ones(3)), "index 5 is out of bounds"),
        (lambda x: x[np.array([0, 1]), np.array([0, 1, 2])], "could not be broadcast"),
        (lambda x: x[np.array([True, False, True])], "does not fit axes 0 to 0"),
        (lambda x: x[1.0], "no index; expected integers"),
        (lambda x: x["a"], "cannot hold"),
        (lambda x: x[0.5:], "bounds of slice"),
        (lambda x: x[::0], "must not be 0"),
        (lambda x: x.at[0].set(np.ones(2)), "does not broadcast"),
        (lambda x: x.at[0].set(1j), "complex values"),
        (lambda x: bl.take(x, [0.5]), "take: indices must be integers"),
        (lambda x: bl.take_along_axis(x, np.zeros((3, 3), int), axis=1), "does not fit"),
        (lambda x: bl.take_along_axis(x, np.zeros(3, int)), "number of axes"),
        (lambda x: bl.put_along_axis(x[:1], np.zeros((2, 1), int), 0.0, axis=1), "does not fit"),
        (lambda x: bl.gather(x, 0, np.zeros((1, 4), int)), "gather: .* does not fit"),
        (lambda x: bl.gather(x, 0, np.zeros((1, 2))), "gather: indices must be integers"),
        (lambda x: bl.scatter(x, 0, np.zeros((2, 2), int), np.ones((1, 2))), "has no value for each place"),
        (lambda x: bl.scatter_reduce(x, 0, np.zeros((2, 2), int), 1.0, "median"), "'median' is none of"),
        (lambda x: bl.index_select(x, 0, np.zeros((2, 2), int)), "expected a vector"),
        (lambda x: bl.one_hot([0.5], 3), "one_hot: indices must be integers"),
    ],
)
def test_wrong_indices_are_said(call, says):
    with pytest.raises(bl.BacklitError, match=says):
        call(bl.tensor(np.ones((2, 3))))
    before = bl.tensor(np.ones((2, 3)))
    with pytest.raises(bl.BacklitError):
        before[5] = 1.0
    assert before.tolist() == np.ones((2, 3)).tolist()


def test_a_write_that_nobody_would_see_is_an_error():
    x = bl.tensor(np.zeros((2, 2)))
    for write in ("x[0][1] = 1.0", "x.T[0] = 1.0", "x[0][1] += 1.0"):
        with pytest.raises(bl.BacklitError, match="the write would be lost"):
            exec(write)  # noqa: S102 - the statements above
    row, rows = x[0], [x[1]]
    row[0], rows[0][1], x[0, 1] = 1.0, 2.0, 3.0
    x[1] += 4.0
    assert row.tolist() == [1, 0] and rows[0].tolist() == [0, 2] and x.tolist() == [[0, 3], [4, 4]]


def test_copies_keep_the_gradient():
    def f(x):
        y = x.copy()
        y[0] = 0.0
        return (y * y).sum()

    assert grad(f)(np.array([1.0, 2.0])).tolist() == [0, 4]
    plain = bl.tensor([1.0, 2.0])
    other = plain.copy()
    other[0] = 5.0
    assert plain.tolist() == [1, 2] and other.is_leaf and not other.requires_grad


@pytest.mark.parametrize(("name", "ufunc"), [("multiply", np.multiply), ("divide", np.divide), ("add", np.add), ("max", np.maximum), ("min", np.minimum)])  # fmt: skip
def test_updates_at_places_that_are_not_known(name, ufunc):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0.5, 2.0, (3, 4, 2)), rng.uniform(0.5, 2.0, (3, 7, 2))
    i = rng.integers(-4, 4, (3, 7))
    y[0, 0] = 0.0 if name == "multiply" else 1.5
    update = lambda x, y, i: getattr(bl.asarray(x).at[i], name)(y)
    expected = x.copy()
    for row, places, new in zip(expected, i, y, strict=True):
        ufunc.at(row, places, new)
    many = lambda x, y: vmap(update)(x, y, i)
    np.testing.assert_allclose(value(many(x, y)), expected, rtol=1e-14)
    bl.gradcheck(many, x, y)
    compiled = bl.compile(lambda x, y, i: bl.grad(lambda x: (update(x, y, i) ** 2).sum())(x))
    slope = grad(lambda x: (update(x, y[0], i[0]) ** 2).sum())(x[0])
    np.testing.assert_allclose(value(compiled(*(bl.tensor(a[0]) for a in (x, y, i)))), value(slope), rtol=1e-14)
    second = grad(lambda y: (grad(lambda y: update(x[0], y, i[0]).sum())(y) ** 2).sum())
    traced = vmap(lambda x, y, i: grad(lambda y: (grad(lambda y: update(x, y, i).sum())(y) ** 2).sum())(y))
    np.testing.assert_allclose(value(traced(x, y, i))[0], value(second(y[0])), rtol=1e-12, atol=1e-13)
    with pytest.raises(bl.ShapeError, match="comes twice is not known"):
        vmap(lambda i: bl.tensor([1.0, 2.0]).at[i].power(2.0))(np.array([[0], [1]]))
