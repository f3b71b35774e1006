"""Functions that move elements: NumPy's values, and gradients that go back the way the elements came."""

from __future__ import annotations

import numpy as np
import pytest
from checks import value

import backlit as bl
from backlit import grad, jvp, vjp, vmap

INDEX = np.array([[2, 0, 1], [0, 0, 2]])
# name, ours, NumPy's, shapes
MOVES = [
    ("reshape", lambda x: bl.reshape(x, (-1, 2)), lambda x: x.reshape(-1, 2), [(2, 3), (4,), (0, 2), (2, 1, 1)]),
    ("reshape copy", lambda x: bl.reshape(x, 6, copy=True), lambda x: x.reshape(6), [(2, 3)]),
    ("ravel", bl.ravel, np.ravel, [(2, 3), (), (0, 2)]),
    ("flatten", lambda x: bl.flatten(x, 1), lambda x: x.reshape(x.shape[0], -1), [(2, 3, 2), (2, 3)]),
    ("unflatten", lambda x: bl.unflatten(x, -1, (2, -1)), lambda x: x.reshape(*x.shape[:-1], 2, -1), [(3, 4), (2,)]),
    ("broadcast_to", lambda x: bl.broadcast_to(x, (2, 3)), lambda x: np.broadcast_to(x, (2, 3)), [(3,), (2, 1), ()]),
    ("broadcast_arrays", lambda x: bl.broadcast_arrays(x, np.ones((2, 3)))[0], lambda x: np.broadcast_to(x, (2, 3)), [(3,), (2, 1)]),
    ("permute_dims", lambda x: bl.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), [(2, 3, 4), (0, 1, 2)]),
    ("moveaxis", lambda x: bl.moveaxis(x, -1, 0), lambda x: np.moveaxis(x, -1, 0), [(2, 3, 4), (3,)]),
    ("moveaxis two", lambda x: bl.moveaxis(x, (0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0)), [(2, 3, 4)]),
    ("swapaxes", lambda x: bl.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), [(2, 3, 4), (3,), (0, 2)]),
    ("matrix_transpose", bl.matrix_transpose, lambda x: np.swapaxes(x, -1, -2), [(2, 3, 4), (2, 3)]),
    ("expand_dims", lambda x: bl.expand_dims(x, axis=-2), lambda x: np.expand_dims(x, -2), [(2, 3), (3,)]),
    ("expand_dims two", lambda x: bl.expand_dims(x, axis=(0, -1)), lambda x: np.expand_dims(x, (0, -1)), [(2, 3), ()]),
    ("squeeze", lambda x: bl.squeeze(x, axis=(0, -1)), lambda x: np.squeeze(x, (0, -1)), [(1, 3, 1), (1, 1)]),
    ("squeeze all", bl.squeeze, np.squeeze, [(1, 3, 1), (2, 3), ()]),
    ("concat", lambda x: bl.concat([x, x * 1.0], axis=-1), lambda x: np.concatenate([x, x], -1), [(2, 3), (0,)]),
    ("concat flat", lambda x: bl.concat([x, x[:1]], axis=None), lambda x: np.concatenate([x, x[:1]], None), [(2, 3)]),
    ("stack", lambda x: bl.stack([x, x], axis=-1), lambda x: np.stack([x, x], -1), [(2, 3), (), (0,)]),
    ("split", lambda x: bl.split(x, 3, 1)[1], lambda x: np.split(x, 3, 1)[1], [(2, 6), (0, 3)]),
    ("split at", lambda x: bl.split(x, [1, 5], -1)[1], lambda x: np.split(x, [1, 5], -1)[1], [(2, 6), (2, 3)]),
    ("split below", lambda x: bl.split(x, [-2], -1)[0], lambda x: np.split(x, [-2], -1)[0], [(2, 6)]),
    ("split sizes", lambda x: bl.split(x, sizes=[1, 2], axis=-1)[1], lambda x: x[..., 1:], [(2, 3)]),
    ("array_split", lambda x: bl.array_split(x, 3)[0], lambda x: np.array_split(x, 3)[0], [(7, 2), (2,)]),
    ("chunk", lambda x: bl.chunk(x, 3, axis=1)[2], lambda x: x[:, 6:], [(2, 7)]),
    ("unstack", lambda x: bl.unstack(x, axis=-1)[1], lambda x: x[..., 1], [(2, 3), (2,)]),
    ("flip", bl.flip, np.flip, [(2, 3), (), (0, 2)]),
    ("flip axes", lambda x: bl.flip(x, axis=(0, -1)), lambda x: np.flip(x, (0, -1)), [(2, 3, 2)]),
    ("roll", lambda x: bl.roll(x, 2), lambda x: np.roll(x, 2), [(2, 3), (), (0,)]),
    ("roll axis", lambda x: bl.roll(x, -7, axis=-1), lambda x: np.roll(x, -7, -1), [(2, 3), (0,)]),
    ("roll axes", lambda x: bl.roll(x, (1, -1, 1), axis=(0, 1, 0)), lambda x: np.roll(x, (1, -1, 1), (0, 1, 0)), [(3, 4)]),
    ("roll one shift", lambda x: bl.roll(x, 1, axis=(0, 1)), lambda x: np.roll(x, 1, (0, 1)), [(3, 4)]),
    ("tile", lambda x: bl.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3)), [(2, 3), (3,), (), (1, 2, 2), (0,)]),
    ("tile none", lambda x: bl.tile(x, (2, 0)), lambda x: np.tile(x, (2, 0)), [(2, 3)]),
    ("repeat", lambda x: bl.repeat(x, 3), lambda x: np.repeat(x, 3), [(2, 3), (), (0,)]),
    ("repeat axis", lambda x: bl.repeat(x, 2, axis=-2), lambda x: np.repeat(x, 2, -2), [(2, 3)]),
    ("repeat counts", lambda x: bl.repeat(x, [2, 0, 1], axis=1), lambda x: np.repeat(x, [2, 0, 1], 1), [(2, 3)]),
    ("rot90", lambda x: bl.rot90(x), np.rot90, [(2, 3), (2, 3, 2)]),
    ("rot90 k", lambda x: bl.rot90(x, -1, (2, 0)), lambda x: np.rot90(x, -1, (2, 0)), [(2, 3, 4)]),
    ("rot90 half", lambda x: bl.rot90(x, 2), lambda x: np.rot90(x, 2), [(2, 3)]),
    ("atleast_3d", bl.atleast_3d, np.atleast_3d, [(), (2,), (2, 3), (2, 1, 2)]),
    ("atleast_2d", bl.atleast_2d, np.atleast_2d, [(), (2,), (2, 3)]),
    ("atleast_1d", bl.atleast_1d, np.atleast_1d, [(), (2,)]),
    ("pad", lambda x: bl.pad(x, 2), lambda x: np.pad(x, 2), [(2, 3), (3,), (0, 1)]),
    ("pad pairs", lambda x: bl.pad(x, ((1, 0), (2, 3))), lambda x: np.pad(x, ((1, 0), (2, 3))), [(2, 3)]),
    ("pad pair", lambda x: bl.pad(x, (1, 2)), lambda x: np.pad(x, (1, 2)), [(2, 3)]),
    ("pad axis", lambda x: bl.pad(x, {-1: (1, 2)}), lambda x: np.pad(x, ((0, 0), (1, 2))), [(2, 3)]),
    ("pad edge", lambda x: bl.pad(x, 2, "replicate"), lambda x: np.pad(x, 2, "edge"), [(2, 3), (1,)]),
    ("pad reflect", lambda x: bl.pad(x, (5, 3), "reflect"), lambda x: np.pad(x, (5, 3), "reflect"), [(2, 3), (1,)]),
    ("pad symmetric", lambda x: bl.pad(x, (5, 3), "symmetric"), lambda x: np.pad(x, (5, 3), "symmetric"), [(2, 3)]),
    ("pad wrap", lambda x: bl.pad(x, (4, 3), "circular"), lambda x: np.pad(x, (4, 3), "wrap"), [(2, 3), (1,)]),
    ("take", lambda x: bl.take(x, INDEX, axis=-1), lambda x: np.take(x, INDEX, -1), [(2, 3), (3,)]),
    ("take flat", lambda x: bl.take(x, [-1, 0]), lambda x: np.take(x, [-1, 0]), [(2, 3)]),
    ("take none", lambda x: bl.take(x, [], axis=0), lambda x: np.take(x, np.zeros(0, int), 0), [(2, 3), (0,)]),
    ("index_select", lambda x: bl.index_select(x, 1, [2, 0, 2]), lambda x: x[:, [2, 0, 2]], [(2, 3)]),
    ("take_along_axis", lambda x: bl.take_along_axis(x, INDEX), lambda x: np.take_along_axis(x, INDEX, -1), [(2, 4)]),
    ("take_along_axis broadcast", lambda x: bl.take_along_axis(x, INDEX[:1], axis=1), lambda x: np.take_along_axis(x, INDEX[:1], 1), [(2, 4)]),
    ("take_along_axis spread", lambda x: bl.take_along_axis(x, INDEX, axis=1), lambda x: np.take_along_axis(x, INDEX, 1), [(1, 4)]),
    ("tril", lambda x: bl.tril(x, k=-1), lambda x: np.tril(x, -1), [(3, 4), (2, 3, 2), (0, 2)]),
    ("triu", lambda x: bl.triu(x, k=1), lambda x: np.triu(x, 1), [(3, 4), (2, 3, 2)]),
    ("diag", lambda x: bl.diag(x, 1), lambda x: np.diag(x, 1), [(3,), (3, 4), (0,), (1, 1)]),
    ("diag below", lambda x: bl.diag(x, -1), lambda x: np.diag(x, -1), [(3,), (3, 4)]),
    ("diagonal", bl.diagonal, np.diagonal, [(3, 4), (2, 3, 4)]),
    ("diagonal axes", lambda x: bl.diagonal(x, -1, 2, 0), lambda x: np.diagonal(x, -1, 2, 0), [(2, 3, 4)]),
    ("meshgrid", lambda x: bl.stack(bl.meshgrid(x, x * 1.0, x * 1.0)), lambda x: np.stack(np.meshgrid(x, x, x)), [(3,), (1,)]),
    ("meshgrid ij", lambda x: bl.meshgrid(x[:2], x[1:], indexing="ij")[1], lambda x: np.meshgrid(x[:2], x[1:], indexing="ij")[1], [(4,)]),
]  # fmt: skip


def check_moves(ours, theirs, shape):
    """Value, both modes and batching of a function that moves elements, against NumPy's on the elements' numbers."""
    rng = np.random.default_rng(0)
    x, tangent = rng.standard_normal(shape), rng.standard_normal(shape)
    expected = np.asarray(theirs(x))
    out, pullback = vjp(ours, x)
    assert out.shape == expected.shape and out.dtype == expected.dtype
    np.testing.assert_array_equal(value(out), expected)
    np.testing.assert_array_equal(value(jvp(ours, (x,), (tangent,))[1]), theirs(tangent))
    # each place of the result holds the number of the element that came there, 0 for a constant
    came = theirs(np.arange(1, x.size + 1).reshape(shape)).astype(int)
    cotangent = rng.standard_normal(expected.shape)
    gathered = np.bincount(came.ravel(), cotangent.ravel(), x.size + 1)[1:].reshape(shape)
    np.testing.assert_allclose(value(pullback(cotangent)[0]), gathered, rtol=1e-14, atol=1e-14)
    many = rng.standard_normal((3, *shape))
    together, pullback = vjp(vmap(ours), many)
    np.testing.assert_array_equal(value(together), np.stack([theirs(row) for row in many]))
    rows = rng.standard_normal(together.shape)
    wanted = [np.bincount(came.ravel(), row.ravel(), x.size + 1)[1:].reshape(shape) for row in rows]
    np.testing.assert_allclose(value(pullback(rows)[0]), np.stack(wanted), rtol=1e-14, atol=1e-14)
    for dtype in (np.float32, np.float16, np.int64, bool, np.complex128):
        typed = (x * 3).astype(dtype)
        low = ours(bl.Tensor(typed)) if "concat" not in str(dtype) else None
        assert low.shape == expected.shape
        if low.dtype == dtype:
            np.testing.assert_array_equal(value(low), theirs(typed))


@pytest.mark.parametrize(("ours", "theirs", "shapes"), [m[1:] for m in MOVES], ids=[m[0] for m in MOVES])
def test_values_and_gradients_follow_the_elements(ours, theirs, shapes):
    for shape in shapes:
        check_moves(ours, theirs, shape)


def test_results_with_several_parts():
    x = np.arange(12.0).reshape(3, 4)
    for ours, theirs in (
        (bl.split(x, [1, 3], 1), np.split(x, [1, 3], 1)),
        (bl.split(x, 3), np.split(x, 3)),
        (bl.array_split(x, 3, 1), np.array_split(x, 3, 1)),
        (bl.unstack(x, axis=1), np.unstack(x, axis=1)),
        (bl.meshgrid(x[0], x[1]), np.meshgrid(x[0], x[1])),
        (bl.broadcast_arrays(x, x[:, :1], 2.0), np.broadcast_arrays(x, x[:, :1], 2.0)),
        (bl.meshgrid(), np.meshgrid()),
    ):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(value(a), b)
    assert [p.shape for p in bl.chunk(np.ones(7), 3)] == [(3,), (3,), (1,)]
    assert [p.shape for p in bl.chunk(np.ones(5), 4)] == [(2,), (2,), (1,)]  # PyTorch gives three parts too
    assert bl.broadcast_shapes((2, 1), 3) == (2, 3)


def test_methods_take_what_numpys_and_pytorchs_do():
    x = bl.tensor(np.arange(24.0).reshape(2, 3, 4))
    n = x.numpy()
    for ours, theirs in (
        (x.transpose(), n.T), (x.transpose(2, 0, 1), n.transpose(2, 0, 1)), (x.transpose(0, 2), n.swapaxes(0, 2)),
        (x[0].transpose(0, 1), n[0]), (x[0].transpose(1, 0), n[0].T), (x.flip(0), n[::-1]), (x.flip(dims=(0, 1)), n[::-1, ::-1]),
        (x.roll(1, 2), np.roll(n, 1, 2)), (x.roll(1, dims=0), np.roll(n, 1, 0)), (x.repeat(2, 1), n.repeat(2, 1)),
        (x.repeat_interleave(2, dim=1), n.repeat(2, 1)), (x.tile(2, 1), np.tile(n, (2, 1))), (x.ravel(), n.ravel()),
        (x.squeeze(), n), (x[:1].squeeze(0), n[0]), (x.expand_dims((0, -1)), n[None, ..., None]), (x.movedim(0, -1), np.moveaxis(n, 0, -1)),
        (x[:, :1].expand(-1, 3, -1), np.broadcast_to(n[:, :1], (2, 3, 4))), (x[0, 0].expand(2, 3, 4), np.broadcast_to(n[0, 0], (2, 3, 4))),
        (x.unbind(1)[2], n[:, 2]), (x.unstack(dim=2)[0], n[..., 0]), (x.chunk(2, dim=2)[1], n[..., 2:]), (x.split(3, 1)[1], n[:, 1:2]),
        (x.split(sizes=[1, 3], axis=-1)[1], n[..., 1:]), (x.tril(-1), np.tril(n, -1)), (x.triu(), np.triu(n)), (x[0].trace(), np.trace(n[0])),
        (x.trace(1, 1, 2), np.trace(n, 1, 1, 2)), (x.diagonal(0, 1, 2), n.diagonal(0, 1, 2)), (x[0, 0].diag(), np.diag(n[0, 0])),
        (x.take([0, 5]), n.take([0, 5])), (x.take([0, 1], 2), n.take([0, 1], 2)), (x.rot90(1, (1, 2)), np.rot90(n, 1, (1, 2))),
        (x.masked_fill(x > 5, -1.0), np.where(n > 5, -1.0, n)), (x.unflatten(2, (2, 2)), n.reshape(2, 3, 2, 2)), (x.swapdims(0, 1), n.swapaxes(0, 1)),
    ):  # fmt: skip
        np.testing.assert_array_equal(value(ours), theirs)


def test_constants_around_an_array():
    x = np.arange(4.0).reshape(2, 2)
    np.testing.assert_array_equal(value(bl.pad(x, 1, constant_values=0.1)), np.pad(x, 1, constant_values=0.1))
    sides = ((1, 2), (3, 4))
    np.testing.assert_array_equal(
        value(bl.pad(x, (2, 1), constant_values=sides)), np.pad(x, (2, 1), constant_values=sides)
    )
    np.testing.assert_array_equal(
        value(bl.pad(x.astype(int), 1, constant_values=7)), np.pad(x.astype(int), 1, constant_values=7)
    )
    assert np.isnan(value(bl.pad(x, 1, constant_values=np.nan))).sum() == 12
    assert grad(lambda c: bl.pad(x, 1, constant_values=c).sum())(np.float64(2.0)).item() == 12.0
    # what lies around has no path: an infinite slope at its zeros gives no NaN
    slope = grad(lambda x: bl.sqrt(bl.pad(x, 1)).sum())(np.array([4.0]))
    assert slope.tolist() == [0.25]


def test_what_a_triangle_or_diagonal_leaves_out_stays_structurally_zero():
    x = np.array([[4.0, 0.0], [0.0, 4.0]])
    assert grad(lambda x: bl.triu(bl.sqrt(x), k=0).sum())(np.array([[4.0, 1.0], [0.0, 4.0]])).tolist() == [
        [0.25, 0.5],
        [0, 0.25],
    ]
    assert grad(lambda x: bl.trace(bl.sqrt(x)))(x).tolist() == [[0.25, 0], [0, 0.25]]
    assert grad(lambda v: bl.sqrt(bl.diag(v)).sum())(np.array([4.0, 4.0])).tolist() == [0.25, 0.25]
    assert grad(lambda x: bl.roll(bl.flip(bl.sqrt(x), axis=0)[:1], 1, axis=1).sum())(x).tolist() == [
        [0, 0],
        [np.inf, 0.25],
    ]
    assert grad(lambda x: bl.tile(bl.sqrt(x)[0, :1], 2).sum())(x).tolist() == [[0.5, 0], [0, 0]]
    _, pushed = jvp(lambda v: bl.sqrt(bl.diag(v)), (np.array([4.0]),), (np.array([1.0]),))
    assert pushed.tolist() == [[0.25]]
    _, pushed = jvp(lambda v: bl.sqrt(bl.diag(v, 1)), (np.array([4.0]),), (np.array([1.0]),))
    assert pushed.tolist() == [[0, 0.25], [0, 0]]


def test_numbers_of_a_nested_list_with_tensors():
    x = bl.tensor([2.0, 3.0], requires_grad=True)
    y = bl.asarray([[x[0], 1.0], [x[1] * x[0], x[0]]])
    assert y.dtype == np.float32 and y.tolist() == [[2, 1], [6, 2]]
    y.sum().backward()
    assert x.grad.tolist() == [5, 2]
    assert bl.sum([x.detach()[0], 1.5]).item() == 3.5
    g = grad(lambda a: bl.stack([a, [a[1], 0.1]]).sum())(np.array([1.0, 2.0]))
    assert g.tolist() == [1, 2] and vmap(lambda a: bl.asarray([a, 0.1]))(np.ones(2)).tolist() == [[1, 0.1]] * 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bl.reshape(np.ones(3), (2, 2)), "reshape: float64.3. has 3 elements"),
        (lambda: bl.flatten(np.ones((2, 2)), 1, 0), "comes behind"),
        (lambda: bl.unflatten(np.ones(3), 0, (2, -1)), "unflatten: axis 0"),
        (lambda: bl.broadcast_arrays(np.ones(2), np.ones(3)), "do not broadcast"),
        (lambda: bl.permute_dims(np.ones((2, 2)), (0, 0)), "permute_dims: axis .0, 0. names an axis twice"),
        (lambda: bl.moveaxis(np.ones((2, 2)), (0, 1), 0), "moveaxis: 2 axes cannot go to 1"),
        (lambda: bl.moveaxis(np.ones(2), 1, 0), "axis 1 is out of range"),
        (lambda: bl.swapaxes(np.ones(2), 0, 1.0), "axis 1.0 is not an integer"),
        (lambda: bl.expand_dims(np.ones(2), axis=3), "expand_dims: axis 3"),
        (lambda: bl.squeeze(np.ones((2, 1)), axis=0), "not of length one"),
        (lambda: bl.stack([]), "got none"),
        (lambda: bl.stack([np.ones(2), np.ones(3)]), "stack: expected arrays of one shape"),
        (lambda: bl.concat([np.float64(1.0)]), "see stack"),
        (lambda: bl.split(np.ones(5), 2), "no 2 equal sections"),
        (lambda: bl.split(np.ones(5)), "give sections"),
        (lambda: bl.split(np.ones(5), sizes=[2, 2]), "do not sum to 5"),
        (lambda: bl.tensor([1.0, 2.0]).split(1, dim=0), "use sizes="),
        (lambda: bl.array_split(np.ones(5), 0), "at least one section"),
        (lambda: bl.chunk(np.ones(5), 0), "at least one part"),
        (lambda: bl.unstack(np.float64(1.0)), "at least one axis"),
        (lambda: bl.roll(np.ones((2, 2)), (1, 2), axis=(0, 1, 1)), "2 shifts for 3 axes"),
        (lambda: bl.tile(np.ones(2), -1), "negative"),
        (lambda: bl.repeat(np.ones(3), [1, 2]), "expected one count or 3"),
        (lambda: bl.repeat(np.ones(3), 1.5), "counts must be integers"),
        (lambda: bl.rot90(np.ones((2, 2)), 1, (0,)), "expected two axes"),
        (lambda: bl.pad(np.ones(2), -1), "negative widths"),
        (lambda: bl.pad(np.ones(2), 1, "ramp"), "'ramp' is none of constant"),
        (lambda: bl.pad(np.ones((2, 2)), ((1, 1),) * 3), "expected 2 pairs"),
        (lambda: bl.pad(np.ones(2), 0.5), "widths must be integers"),
        (lambda: bl.pad(np.ones((0, 2)), 1, "edge"), "nothing to copy along axis 0"),
        (lambda: bl.tril(np.ones(2)), "tril: expected"),
        (lambda: bl.diag(np.ones((1, 1, 1))), "see diagonal"),
        (lambda: bl.diag_embed(np.float64(1.0)), "diag_embed: expected"),
        (lambda: bl.diagonal(np.ones(2)), "out of range"),
        (lambda: bl.meshgrid(np.ones((2, 2))), "expected vectors"),
        (lambda: bl.meshgrid(np.ones(2), indexing="yx"), "indexing must be"),
        (lambda: bl.tensor([1.0]).expand(3, -1).expand(2), "cannot be expanded"),
    ],
)
def test_wrong_input_is_said(call, says):
    with pytest.raises((bl.BacklitError), match=says):
        call()
