"""einsum, tensordot and the other products: NumPy's values over generated arguments, derivatives against torch and identities."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
from checks import adjoint

import backlit as bl
from backlit import grad, vmap
from backlit.core.errors import ArgumentError, ShapeError


def generated(seed, traced=True):
    """A valid string for einsum with its operands: letters drawn with repeats, broadcasting, an ellipsis, any result."""
    draw = random.Random(seed)
    sizes = {c: draw.choice([0, 1, 2, 3, 4] if seed % 10 == 0 else [1, 2, 3]) for c in "abCd"}
    dotted = draw.random() < 0.4
    lead = [draw.choice([1, 2]), 3][draw.randrange(2) :]
    terms, arrays = [], []
    rng = np.random.default_rng(seed)
    for _ in range(draw.choice([1, 2, 2, 3, 3, 4])):
        letters = draw.choices("abCd", k=draw.randrange(4))
        unlike = [1 if letters.count(c) == 1 and draw.random() < 0.1 else sizes[c] for c in letters]
        at = draw.randrange(len(letters) + 1)
        shape, term = list(unlike), "".join(letters)
        if dotted and draw.random() < 0.7:
            kept = lead[draw.randrange(len(lead) + 1) :]
            shape[at:at] = [draw.choice([1, n]) for n in kept]
            term = term[:at] + "..." + term[at:]
        terms.append(term)
        arrays.append(rng.standard_normal(shape))
    text = ",".join(terms)
    if draw.random() < 0.7:
        there = sorted(set(text) - set(",."))
        result = draw.sample(there, draw.randrange(len(there) + 1))
        at = draw.randrange(len(result) + 1)
        text += "->" + "".join(result[:at]) + ("..." if "..." in text else "") + "".join(result[at:])
    return text, arrays


@pytest.mark.parametrize("block", range(8))
def test_einsum_is_numpys_for_every_generated_string(block):
    tried = 0
    for seed in range(block, 400, 8):
        text, arrays = generated(seed)
        try:
            wanted = np.einsum(text, *arrays, optimize=False)
        except ValueError:
            with pytest.raises((ShapeError, ArgumentError)):
                bl.einsum(text, *arrays)
            continue
        tried += 1
        for optimize in (True, False, "optimal"):
            got = bl.einsum(text, *arrays, optimize=optimize)
            assert got.shape == wanted.shape and got.dtype == wanted.dtype, text
            np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12, atol=1e-12, err_msg=text)
        if seed % 4 == 0:
            adjoint(functools.partial(bl.einsum, text), arrays, seed)
    assert tried > 30


def test_the_gradient_of_einsum_is_torchs():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    compared = 0
    for seed in range(1, 150):
        text, arrays = generated(seed)
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        try:
            out = torch.einsum(text, *theirs)
            wanted_out = np.einsum(text, *arrays)
        except (RuntimeError, ValueError):
            continue
        if out.shape != wanted_out.shape or not out.requires_grad or "->" not in text:
            continue  # torch sorts the letters otherwise
        weight = np.random.default_rng(seed).standard_normal(out.shape)
        wanted = torch.autograd.grad(out, theirs, torch.tensor(weight), allow_unused=True)
        pulled = bl.vjp(functools.partial(bl.einsum, text), *arrays)[1](weight)
        for w, p in zip(wanted, pulled, strict=True):
            np.testing.assert_allclose(p.numpy(), w.numpy(), rtol=1e-11, atol=1e-11, err_msg=text)
        compared += 1
    assert compared > 60


def test_einsum_of_lists_of_subscripts():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    for operands in (
        (x, [0, 1], y, [1, 2]),
        (x, [30, 1]),
        (x, [0, 1], y, [1, 2], [2, 0]),
        (x, [..., 1], y, [1, 51], [51, ...]),
        (y[:, :3], [5, 5], []),
    ):
        np.testing.assert_allclose(bl.einsum(*operands).numpy(), np.einsum(*operands), rtol=1e-13)


def test_einsum_keeps_dtypes_and_takes_numpys_call():
    n = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert bl.einsum("ij->i", n).dtype == np.int32 and bl.einsum("ij,kj->ik", n, n).tolist() == (n @ n.T).tolist()
    assert bl.einsum("ij,ij", n > 2, n > 1).dtype == bool
    h = bl.tensor(np.ones((2, 3)), dtype=np.float16)
    assert bl.einsum("ij,ij->i", h, h).dtype == np.float16 and bl.einsum("ij->i", h).dtype == np.float16
    assert bl.einsum("ij,jk", n, np.ones((3, 2), np.float32)).dtype == np.float32
    t = bl.tensor(np.eye(3), requires_grad=True)
    np.einsum("ii,i->", t, np.arange(3.0)).backward()
    assert t.grad.numpy().tolist() == np.diag([0.0, 1, 2]).tolist()
    assert bl.einsum("ij", t) is not t


def test_diagonals_take_and_give_nothing_else():
    x = np.zeros((3, 3))
    got = grad(lambda x: bl.sum(bl.sqrt(bl.einsum("ii->i", x) + 1.0)))(x)
    assert got.tolist() == (np.eye(3) * 0.5).tolist()
    inf = np.array([[1.0, np.inf], [np.nan, 4.0]])
    assert bl.einsum("ii", inf).item() == 5.0


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((2,), (3,)), ((1, 2), (3, 1, 2)), ((), (2, 2)), ((0, 2), (2, 2))]
)
def test_kron_and_outer_are_numpys(shapes):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s) for s in shapes)
    for ours, theirs in ((bl.kron, np.kron), (bl.outer, np.outer)):
        np.testing.assert_array_equal(ours(x, y).numpy(), theirs(x, y))
        np.testing.assert_array_equal(theirs(bl.Tensor(x), y).numpy(), theirs(x, y))
        adjoint(ours, [x, y], 1)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((4, 1, 3), (2, 3)), ((0, 3), (3,)), ((2, 3, 3), (2, 1, 3))])
def test_cross_vecdot_inner_and_dot_are_numpys(shapes):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s) for s in shapes)
    for name in ("cross", "vecdot", "inner"):
        ours, theirs = getattr(bl, name), getattr(np, name)
        np.testing.assert_allclose(ours(x, y).numpy(), theirs(x, y), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(theirs(bl.Tensor(x), y).numpy(), theirs(x, y), rtol=1e-13, atol=1e-14)
        adjoint(ours, [x, y], 1)
    turned = np.moveaxis(y, -1, -2) if y.ndim > 1 else y
    np.testing.assert_allclose(bl.dot(x, turned).numpy(), np.dot(x, turned), rtol=1e-13, atol=1e-14)
    assert bl.dot(2.0, y).tolist() == bl.inner(y, 2.0).tolist() == (2 * y).tolist()
    np.testing.assert_allclose(bl.vdot(x, x).numpy(), np.vdot(x, x), rtol=1e-13)


def test_cross_and_vecdot_along_other_axes():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    for axis in (0, -2):
        np.testing.assert_allclose(bl.cross(x, y, axis=axis).numpy(), np.cross(x, y, axis=axis), rtol=1e-13)
        np.testing.assert_allclose(bl.vecdot(x, y, axis=axis).numpy(), np.vecdot(x, y, axis=axis), rtol=1e-13)
    stacked = rng.standard_normal((5, 3, 4))
    np.testing.assert_allclose(bl.cross(stacked, y, axis=-2).numpy(), np.cross(stacked, y, axis=-2), rtol=1e-13)


def test_products_of_complex_arrays():
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)) for _ in range(2))
    for name in ("vecdot", "vdot", "inner", "outer", "kron", "cross", "dot"):
        ours, theirs = getattr(bl, name), getattr(np, name)
        np.testing.assert_allclose(ours(x, y).numpy(), theirs(x, y), rtol=1e-13)
    np.testing.assert_allclose(bl.einsum("ii,ij->j", x, y).numpy(), np.einsum("ii,ij->j", x, y), rtol=1e-13)
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, y)]
    wanted = torch.autograd.grad(torch.einsum("ij,kj,jj->ik", *theirs, theirs[0]).abs().sum(), theirs)
    got = grad(lambda x, y: bl.sum(abs(bl.einsum("ij,kj,jj->ik", x, y, x))), argnums=(0, 1))(x, y)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-12)


def test_products_are_methods():
    x, y = np.arange(6.0).reshape(2, 3), np.arange(3.0)
    t = bl.tensor(x)
    assert t.dot(y).tolist() == t.matmul(y).tolist() == t.inner(y).tolist() == (x @ y).tolist()
    assert t.outer(y).tolist() == np.outer(x, y).tolist() and t.kron(y).tolist() == np.kron(x, y).tolist()
    assert t.cross(y).tolist() == np.cross(x, y).tolist() and t.tensordot(x, axes=2).item() == t.vdot(x).item()


def test_tensordot_is_numpys():
    rng = np.random.default_rng(0)
    for shapes, axes in (
        (((2, 3, 4), (3, 4, 2)), 2),
        (((2, 3), (4,)), 0),
        (((2, 3, 4), (4, 2)), ((-1, 0), (0, 1))),
        (((2, 3), (3, 2)), (1, 0)),
        (((0, 3), (3, 2)), 1),
        (((3, 0), (0, 2)), 1),
        (((), ()), 0),
    ):
        x, y = (rng.standard_normal(s) for s in shapes)
        np.testing.assert_allclose(bl.tensordot(x, y, axes=axes).numpy(), np.tensordot(x, y, axes), rtol=1e-13)
        adjoint(functools.partial(bl.tensordot, axes=axes), [x, y], 2)


def test_per_example_products_by_vmap():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 2, 3)), rng.standard_normal((3, 4))
    got = vmap(lambda x: bl.einsum("ij,jk,ij->k", x, y, x))(x)
    np.testing.assert_allclose(got.numpy(), np.einsum("nij,jk,nij->nk", x, y, x), rtol=1e-13)
    got = vmap(lambda x, z: bl.kron(bl.tensordot(x, y, axes=1), z))(x, x)
    np.testing.assert_allclose(got[1].numpy(), np.kron(x[1] @ y, x[1]), rtol=1e-13)


def test_products_compile_without_a_call_back():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 3)), rng.standard_normal((3, 4))

    def f(x, y):
        made = bl.einsum("ij,jk,ii->ik", x, y, x)
        return bl.sum(bl.kron(made, x) * bl.outer(y, x)[0, 0]) + bl.sum(bl.cross(x, bl.einsum("ij->ji", x)))

    step = bl.compile(bl.value_and_grad(f, argnums=(0, 1)))
    (value, grads), (wanted, theirs) = step(x, y), bl.value_and_grad(f, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(value.numpy(), wanted.numpy(), rtol=1e-12)
    for g, t in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(g.numpy(), t.numpy(), rtol=1e-12)
    assert not step.report(x, y).callbacks


@pytest.mark.parametrize(
    "shapes",
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((4, 2, 3), (3, 5)), ((2, 3), (4, 3, 2)), ((2, 1, 0, 3), (4, 3, 2)),
     ((4, 0, 3), (3, 2)), ((2, 0), (0, 3)), ((5, 1, 2, 3), (4, 3, 1)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,))],
)  # fmt: skip
def test_matmul_of_vectors_stacks_and_nothing(shapes):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s) for s in shapes)
    np.testing.assert_allclose(bl.matmul(x, y).numpy(), np.matmul(x, y), rtol=1e-13, atol=1e-14)
    assert bl.matmul(x, y).shape == np.matmul(x, y).shape
    adjoint(bl.matmul, [x, y], 3)


def test_malformed_products_say_what_was_expected():
    x, y = np.ones((2, 3)), np.ones((3, 4))
    for call, error, words in (
        (lambda: bl.einsum("ij,jk->iz", x, y), ArgumentError, "'z' is in the result"),
        (lambda: bl.einsum("ij->ii", x), ArgumentError, "twice in the result"),
        (lambda: bl.einsum("i", x), ShapeError, "has letters for 1 axes, the operand has 2"),
        (lambda: bl.einsum("ij,jk", x), ArgumentError, "2 operands, 1 are given"),
        (lambda: bl.einsum("ij,jk", x, x), ShapeError, "'j' of 'ij,jk' has lengths 3 and 2"),
        (lambda: bl.einsum("...i,...i", x, y.T), ShapeError, "an axis of ... of"),
        (lambda: bl.einsum("ii", x), ShapeError, "lengths 2 and 3"),
        (lambda: bl.einsum("i.j", x), ArgumentError, "neither letters nor ..."),
        (lambda: bl.einsum("i->.", x[0]), ArgumentError, "is malformed"),
        (lambda: bl.einsum("...j->j", x), ArgumentError, "lacks the axes of ..."),
        (lambda: bl.einsum(x), ArgumentError, "come in pairs"),
        (lambda: bl.einsum(x, y), ArgumentError, "expected a list of subscripts"),
        (lambda: bl.einsum(x, [0, 99]), ArgumentError, "from 0 to 51"),
        (lambda: bl.einsum("ij"), ArgumentError, "no operands"),
        (lambda: bl.einsum(), ArgumentError, "no subscripts"),
        (lambda: bl.einsum("ij,jk,kl", x, y, y.T, optimize="best"), ArgumentError, "optimize='best'"),
        (lambda: bl.tensordot(x, y, axes=2), ShapeError, "differ in length"),
        (lambda: bl.tensordot(x, y, axes=3), ShapeError, "3 axes cannot be taken"),
        (lambda: bl.tensordot(x, y, axes=((0, 1), (0,))), ShapeError, "two sequences"),
        (lambda: bl.tensordot(x, y, axes=((1, 1), (0, 0))), ShapeError, "twice"),
        (lambda: bl.vecdot(x, y), ShapeError, "differs in length"),
        (lambda: bl.vecdot(x, 1.0), ShapeError, "not an axis of both"),
        (lambda: bl.vecdot(x, np.ones((4, 3))), ShapeError, "do not broadcast"),
        (lambda: bl.vdot(x, y), ShapeError, "different numbers of elements"),
        (lambda: bl.inner(x, y), ShapeError, "last axes differ"),
        (lambda: bl.dot(x, x), ShapeError, "expected [..., k] and [..., k, n]"),
        (lambda: bl.cross(x, y), ShapeError, "expected length 3"),
        (lambda: bl.cross(y.T, np.ones((1, 3, 3)), axis=1), ShapeError, "ambiguous"),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            call()
        assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)
