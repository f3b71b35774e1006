"""Elementwise work that a product does itself as it reads its operands: which, and that no bit changes."""

from __future__ import annotations

import numpy as np
import pytest
import rounding
from watched import check_program

import backlit as bl
from backlit.compiler import before, make_graph, simplify
from backlit.compiler.llvm.target import features, restricted
from backlit.compiler.native import Program
from backlit.compiler.schedule import schedule

LEVELS = {"avx512": "", "avx2": "avx512f", "sse4.2": "avx"}


def drawn(shapes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def groups(f, *arrays):
    """What runs together, in words: what a product does before it in brackets."""
    found = []
    for group in schedule(simplify(make_graph(f)(*arrays))).groups:
        words = [e.op.name for e in (*group.members, *group.reductions)]
        its = sorted(e.op.name for e in group.before)
        found.append(f"[{', '.join(its)}] {', '.join(words)}" if its else ", ".join(words))
    return found


X, W, ROW = (100, 48), (48, 40), (48,)


@pytest.mark.parametrize(
    "f, shapes, expected",
    [
        (lambda x, w: bl.maximum(x, 0.0) @ w, (X, W), ["[maximum] matmul"]),
        (lambda x, w, b: (bl.exp(x) * b + 1) @ w, (X, W, ROW), ["[add, exp, mul] matmul"]),
        # through moves that strides express, and before what comes behind
        (lambda x, w: bl.maximum((x * 2).T @ w, 0.0), ((48, 100), W), ["[mul] matmul, maximum"]),
        (lambda x, w: (x / 2)[3:90:2] @ w, (X, W), ["[div] matmul"]),
        (lambda x, w, b: (bl.exp(x) * b) @ w, ((2, 5, 30, 48), W, ROW), ["[exp, mul] matmul"]),  # rows of all entries
        # both operands
        (lambda x, y: (x * 2) @ (y + 1), ((2000, 256), (256, 100)), ["[add, mul] matmul"]),
        # what is read by somebody else too, or is what a product hands on, lies in memory
        (lambda x, w: ((y := x * 2) @ w, y), (X, W), ["mul", "matmul"]),
        (lambda x, w: ((y := bl.exp(x)) @ w, y * 2), (X, W), ["exp, mul", "matmul"]),
        (lambda x, w: (y := bl.exp(x)) @ y.T, (X,), ["exp", "matmul"]),
        (lambda x, w, v: bl.maximum(x @ w, 0.0) @ v, (X, W, (40, 30)), ["matmul, maximum", "matmul"]),
        # so does what the work reads
        (lambda x, w: (bl.exp(x) / bl.sum(bl.exp(x), axis=1, keepdims=True)) @ w, (X, W), ["exp, sum", "[div] matmul"]),
        # rows that each of several groups of columns would compute again, and columns that nobody copies
        (lambda x, w: (x * 2) @ w, (X, (48, 900)), ["mul", "matmul"]),
        (lambda x, w: x @ (w * 2), (X, W), ["mul", "matmul"]),
        # columns that each thread copies anyway, where it takes little
        (lambda x, w: x @ (w * 2), ((2000, 256), (256, 256)), ["[mul] matmul"]),
        (lambda x, w: x @ bl.exp(w), ((2000, 256), (256, 256)), ["exp", "matmul"]),
        # one row and one column are no matrices
        (lambda x, w: (x * 2) @ w, ((1, 48), W), ["mul", "matmul"]),
        (lambda x, w: (x * 2) @ w, (X, (48, 1)), ["mul", "matmul"]),
        # every entry of a batch would compute it again
        (lambda x, w: (x * 2)[None] @ w, (X, (3, 48, 40)), ["mul", "matmul"]),
        # what is outside of an array is not looked for
        (lambda x, w: bl.pad(x * 2, ((0, 2), (1, 1))) @ w, (X, (50, 40)), ["pad", "matmul"]),
    ],
)
def test_what_a_product_does_itself(f, shapes, expected):
    arrays = drawn(shapes)
    if f.__code__.co_argcount > len(arrays):
        arrays.append(arrays[0])
    assert groups(f, *arrays) == expected


def test_the_report_names_it_before_the_product():
    x, w, b = map(bl.tensor, drawn((X, W, ROW)))
    f = bl.compile(lambda x, w, b: bl.maximum((x * b) @ w, 0.0))
    f(x, w, b)
    (kernel,) = f.report().kernels
    assert kernel.ops == ("mul", "matmul", "maximum")
    assert kernel.flops == 2 * 100 * 48 * 40 + 100 * 48 + 100 * 40
    assert kernel.read_bytes == 4 * (100 * 48 + 48 + 48 * 40)


def affine(x, w, b):
    return ((x * b + 0.5) / 1.5) @ w


def turned(x, w, b):
    return (bl.exp(x.mT) * b[:, None]).mT @ w


def both(x, w, b):
    return (x - b) @ (w * w + 0.25)


def behind(x, w, b):
    y = bl.where(x > b, x, 0.1 * x) @ w
    return bl.maximum(y, 0.5), bl.sum(y, axis=-1)


def picked(x, w, b):
    places = np.arange(2 * x.shape[-2] + 1) % max(1, x.shape[-2])
    return x[..., places, :] @ w if x.shape[-2] else x @ w


FUNCTIONS = {f.__name__: f for f in (affine, turned, both, behind, picked)}
SIZES = [
    (0, 5, 4), (5, 0, 4), (5, 4, 0), (1, 5, 3), (5, 3, 1), (2, 1, 2), (17, 3, 9), (33, 70, 31), (13, 129, 257),
    (100, 65, 16), (300, 40, 8), (64, 300, 30), (113, 500, 64), (130, 1600, 33),
]  # fmt: skip


def compare_with_apart(f, arrays, monkeypatch, threads=(2, 3, 7)):
    """The same bits as where all of it is done apart, by any number of threads, in a watched arena."""
    graph = make_graph(f)(*arrays)
    program = check_program(graph, [arrays], rounding.compare(graph), threads=threads)
    together = program(*arrays)
    monkeypatch.setattr(before, "MOST", 0)
    monkeypatch.setattr(before, "LITTLE", 0)
    apart = Program(graph, threads=1)
    assert not any(w.before for w in apart.works)
    for x, y in zip(together, apart(*arrays), strict=True):
        assert x.tobytes() == y.tobytes()
    monkeypatch.undo()
    return sum(len(w.before) for w in program.works)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_bit_changes(name, dtype, monkeypatch):
    n_before = 0
    for m, k, n in SIZES if dtype == np.float32 else SIZES[::3]:
        arrays = drawn(((m, k), (k, n), (k,)), dtype, m)
        n_before += compare_with_apart(FUNCTIONS[name], arrays, monkeypatch)
    assert n_before


@pytest.mark.parametrize(
    "m, k, n", [(100, 64, 40), (13, 129, 30), (300, 40, 8), (130, 1600, 33), (1, 70, 8), (50, 1, 9)]
)
def test_transposed_operands(m, k, n, monkeypatch):
    arrays = drawn(((k, m), (n, k), (m,)), seed=m)
    n_before = compare_with_apart(lambda x, w, b: (x * b + 1.0).T @ (w * 2.0).T, arrays, monkeypatch)
    assert n_before or m == 1


@pytest.mark.parametrize("batch", [(3,), (2, 3), (1, 4), (0, 2)])
def test_batches(batch, monkeypatch):
    n_before = 0
    for shape in ((9, 33, 10), (30, 40, 33), (1, 20, 9)):
        m, k, n = shape
        one, many = drawn(((*batch, m, k), (k, n), (k,))), drawn(((*batch, m, k), (*batch, k, n), (k,)))
        for arrays in (one, many):
            n_before += compare_with_apart(affine, arrays, monkeypatch)
            n_before += compare_with_apart(lambda x, w, b: (x + x[..., :1]).mT.mT @ w, arrays, monkeypatch)
        flipped = drawn(((*batch, k, m), (*batch, k, n), (m,)))
        n_before += compare_with_apart(lambda x, w, b: (x * b).mT @ w, flipped, monkeypatch)
        shared = drawn(((*batch, k, m), (k, n), (m,)))
        n_before += compare_with_apart(lambda x, w, b: (x * b).mT @ w, shared, monkeypatch)
    assert n_before or 0 in batch


@pytest.mark.parametrize(
    "m, k, n", [(700, 130, 100), (900, 70, 170), (600, 32, 1500), (130, 32, 1536), (700, 1700, 100)]
)
@pytest.mark.parametrize("double", [False, True])
def test_columns_computed_where_they_are_copied(m, k, n, double, monkeypatch):
    arrays = drawn(((m, k), (k, n), (k, 1)), np.float64 if double else np.float32)
    assert compare_with_apart(lambda x, w, b: x @ (w * b + 1.0), arrays, monkeypatch) == 1
    arrays = drawn(((2, m, k), (k, n), (k, 1)), np.float64 if double else np.float32)
    assert compare_with_apart(lambda x, w, b: x @ (w * b + 1.0), arrays, monkeypatch) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_with_any_instructions(level, monkeypatch):
    n_turned = 0
    with restricted(features(LEVELS[level])):
        for m, k, n in ((100, 64, 40), (33, 70, 9), (130, 1600, 33), (600, 130, 100)):
            arrays = drawn(((m, k), (k, n), (k,)))
            assert compare_with_apart(both, arrays, monkeypatch, threads=(3,))
            arrays = drawn(((k, m), (k, n), (m,)))
            n_turned += compare_with_apart(lambda x, w, b: (x * b).T @ w, arrays, monkeypatch, threads=(3,))
    assert n_turned


def test_integers_and_truth_values_become_operands(monkeypatch):
    rng = np.random.default_rng(0)
    images, w = rng.integers(0, 255, (90, 70), np.uint8), drawn([(70, 30)])[0]
    arrays = [images, w]
    assert compare_with_apart(lambda x, w: (bl.astype(x, np.float32) / 255.0) @ w, arrays, monkeypatch)
    assert compare_with_apart(lambda x, w: bl.astype(x > 100, np.float32) @ w, arrays, monkeypatch)


def test_state_read_before_a_product_is_not_written_over_by_it():
    w = bl.tensor(drawn([(250, 250)])[0])
    x = drawn([(250, 250)], seed=1)[0] * 0.05

    @bl.compile
    def step(x):
        w[...] = w - (w * 2.0).T @ x
        return bl.sum(x)

    expected = w.numpy().astype(np.float64)
    for _ in range(3):
        step(bl.tensor(x))
        expected = expected - (expected * 2.0).T @ x
        np.testing.assert_allclose(w.numpy(), expected, rtol=1e-3, atol=1e-3)
    (kernel,) = [k for k in step.report().kernels if "matmul" in k.ops]
    assert kernel.ops[0] == "mul"


def test_reshaped_operands(monkeypatch):
    arrays = drawn(((2, 6, 35, 20), (20, 40), (20,)))
    assert compare_with_apart(affine, arrays, monkeypatch) == 1
    f = lambda x, w, b: bl.reshape(bl.reshape(x * b, (12, 700)) + 1.0, (420, 20)) @ w  # another reshape in between
    assert compare_with_apart(f, arrays, monkeypatch) == 0
    f = lambda x, w, b: (x[:, ::2] * b + x[:, 1::2]) @ w
    assert compare_with_apart(f, arrays, monkeypatch) == 1
    f = lambda x, w, b: bl.reshape(x[:, :, :, :10] * 2.0, (210, 20)) @ w  # parts of a row
    assert compare_with_apart(f, arrays, monkeypatch) == 0


def test_in_the_body_of_a_loop():
    def f(x, w):
        return bl.scan(lambda c, _: (bl.tanh((c * 0.5 + 0.1) @ w), bl.sum(c)), x, None, length=4)

    x, w = map(bl.tensor, drawn([(40, 40), (40, 40)]))
    for one, other in zip(f(x, w), bl.compile(f)(x, w), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-5)
