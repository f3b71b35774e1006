"""Native programs against the ops' own forwards: bits of elementwise arithmetic, sums within rounding, every op's samples."""

from __future__ import annotations

import itertools
import warnings

import checks
import numpy as np
import pytest
import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_programs import programs, run
from watched import check_program

import backlit as bl
from backlit.compiler import evaluate, make_graph, parse, simplify
from backlit.compiler.llvm import nest, values
from backlit.compiler.native import Program
from backlit.compiler.schedule import schedule
from backlit.core.errors import CompilerError
from backlit.core.op import REGISTRY
from backlit.nn import functional as F

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1e-40, 1.5, 3e38, 1e308, 0.1]
ONE = (
    "neg", "sqrt", "abs", "sign", "floor", "ceil", "trunc", "round", "rsqrt", "isnan", "isinf", "isfinite", "signbit",
)  # fmt: skip
FLOATS = ("add", "sub", "mul", "div", "maximum", "minimum", "copysign", "nextafter", *ONE)
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
ROUNDED = {"exp", "expm1", "log", "log1p", "pow", "sin", "cos", "tanh", "erf", "sigmoid", "softplus"}


def assert_same_bits(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    if got.dtype.kind not in "f":
        np.testing.assert_array_equal(got, want)
        return
    nan = np.isnan(want)  # a NaN made by an operation has no particular sign
    np.testing.assert_array_equal(np.isnan(got), nan)
    assert np.where(nan, 0, got).tobytes() == np.where(nan, 0, want).tobytes()


def assert_near(got, want, scale=1.0):
    """Equal but for the rounding of sums and products of up to some thousand terms, and of functions."""
    assert got.dtype == want.dtype and got.shape == want.shape
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    eps = np.finfo(want.dtype).eps
    np.testing.assert_allclose(got, want, rtol=500 * eps, atol=500 * eps * scale)


def poisoned(program):
    """The arena full of NaNs: nothing is read before it is written."""
    program._memory.view(np.uint8)[:] = 0xFF
    return program


def assert_compiled(f, *arrays, check=assert_same_bits):
    graph = make_graph(f)(*arrays)
    program = poisoned(Program(graph))
    want = evaluate(graph, *arrays)
    for _ in range(2):
        for g, w in zip(program(*arrays), want, strict=True):
            check(g, w)
    return program


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FLOATS + COMPARISONS)
def test_every_exact_op_at_special_values(name, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = np.array(list(itertools.product(SPECIAL, SPECIAL))).astype(dtype)
    x, y = pairs[:, 0].copy(), pairs[:, 1].copy()
    op = REGISTRY[name]
    if name in ONE:
        program = assert_compiled(op, x)
    else:
        program = assert_compiled(op, x, y)
        for literal in (2, 0.1, -0.0, True):
            assert assert_compiled(lambda x, c=literal: op(x, c), x).callbacks == []
            assert assert_compiled(lambda x, c=literal: op(c, x), x).callbacks == []
    assert program.callbacks == []


@pytest.mark.parametrize("name, k", checks.real_cases())
def test_every_op_over_its_samples(name, k):
    op, arrays = checks.sample(name, k)
    check = assert_near if name not in FLOATS + COMPARISONS else assert_same_bits
    for dtype in (np.float64, np.float32):
        typed = [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays]
        assert_compiled(op, *typed, check=check)


@pytest.mark.parametrize("name, k", [c for c in checks.real_cases() if c in checks.differentiable_cases()])
def test_the_gradients_of_every_op(name, k):
    op, arrays = checks.sample(name, k)
    wanted = tuple(checks.floats(arrays))
    f = bl.value_and_grad(lambda *xs: bl.sum(op(*xs) ** 2).astype("float64"), argnums=wanted)
    assert_compiled(f, *arrays, check=lambda g, w: assert_near(g, w, 1.0 + np.abs(w).max(initial=0.0)))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_length_has_its_tail(n, dtype):
    x, y = np.random.default_rng(n).standard_normal((2, n)).astype(dtype)
    f = lambda x, y: (bl.where((x > y) & ~(x > 1.0) | (y < -1.0), x * 2.0 + y, -x / 3.0), bl.sqrt(bl.abs(y)), x >= 0.5)
    assert assert_compiled(f, x, y).callbacks == []


def test_integers_and_conversions():
    n, m = np.arange(-20, 20), np.arange(40)[::-1].copy()
    for dtype in ("int64", "int32", "uint8", "int8"):
        a, b = n.astype(dtype), m.astype(dtype)
        f = lambda a, b: (a + b, a * b - a, a > b, bl.maximum(a, b), a == 3, bl.where(a < b, a, 1), a.astype("float32"))
        assert assert_compiled(f, a, b).callbacks == []
    x = np.linspace(-2, 2, 40)
    wide = assert_compiled(lambda x: (x.astype("float32") * 2.0, (x > 0).astype("float64"), (x > 0).astype("int64")), x)
    assert wide.callbacks == []
    words = np.random.default_rng(0).integers(0, 2**63, 19).astype(np.uint64)
    assert assert_compiled(lambda w: ((w >> 11).astype("float64") * 2.0**-53, (w ^ w) | (w & w)), words).callbacks == []


SHAPES = [(7,), (1,), (0,), (), (3, 5), (1, 17), (16, 1), (2, 3, 4), (37, 53), (3, 1, 33), (0, 4), (5, 0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_reductions_over_every_choice_of_axes(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    for n in range(len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), n):
            keep = len(axes) % 2 == 0
            empty = any(shape[a] == 0 for a in axes)

            def f(x, axes=axes, keep=keep, empty=empty):
                total = bl.sum(bl.exp(x) * x, axis=axes, keepdims=keep)
                return total if empty else (total, bl.max(x, axis=axes), bl.min(x + 1.0, axis=axes), x * 2.0)

            assert_compiled(f, x, check=assert_near)
            assert_compiled(f, x.astype(np.float32), check=assert_near)


@pytest.mark.parametrize("shape, axes", [
    ((100_003,), (0,)), ((3001, 7), (0,)), ((3001, 7), (1,)), ((3001, 7), (0, 1)), ((5, 3000, 7), (1,)), ((5, 3000, 7), (0, 1)),
    ((2, 20_000), (1,)), ((700, 3, 11), (0, 2)), ((9000, 1), (0,)),
])  # fmt: skip
def test_long_sums_are_cut_into_blocks(shape, axes):
    x = np.random.default_rng(0).standard_normal(shape)
    wide = lambda g, w: assert_near(g, w, 10.0)  # terms that cancel are not below 1 in size
    assert_compiled(
        lambda x: (bl.sum(x, axis=axes), bl.max(x, axis=axes), bl.sum(x > 0, axis=axes), x + 1.0), x, check=wide
    )
    ones = np.full(shape, 0.1, np.float32)
    (total,) = Program(make_graph(lambda x: bl.sum(x, axis=axes))(ones))(ones)
    # no chain of additions is longer than 1,024: each adds half a unit in the last place at most
    np.testing.assert_allclose(total, ones.astype(float).sum(axes), rtol=512 * np.finfo(np.float32).eps)


def test_the_largest_of_nans_and_infinities():
    x = np.array([[1.0, np.nan, 2.0] * 9, [-np.inf] * 27, [np.inf, -np.inf, 0.0] * 9])
    assert_compiled(lambda x: (bl.max(x, axis=1), bl.min(x, axis=1), bl.max(x, axis=0), bl.sum(x, axis=1)), x)
    assert_compiled(lambda x: (F.softmax(x), bl.logsumexp(x, axis=1)), x, check=assert_near)


@pytest.mark.parametrize("f", [
    lambda x: x.T * 2.0 + x.T, lambda x: x[::-1, ::2] + 1.0, lambda x: x[1:] - x[:-1], lambda x: bl.pad(x, ((1, 2), (3, 0))) * 2.0,
    lambda x: bl.pad(x[1:] * x[:-1], ((0, 1), (0, 0))) - x, lambda x: x.reshape(53, 37) + 1.0, lambda x: (x + 1.0).reshape(-1)[5:9],
    lambda x: bl.pad(x, ((1, 2), (3, 0)))[::-1, ::-2] * 2.0, lambda x: bl.pad(x[::-3], ((2, 0), (0, 5)))[1::2, -4::-1] + 1.0,
    lambda x: bl.pad(bl.pad(x, ((4, 0), (0, 1)))[::-2], ((0, 3), (2, 2)))[::-1] - 1.0,
    lambda x: bl.concat([x, x * 2.0]), lambda x: x[:, None, :] - x[None, :, :], lambda x: (x.T, x[3], x[2, 5], x.reshape(-1)),
    lambda x: bl.broadcast_to(x[0], (4, 53)), lambda x: x[np.array([3, 1, 3])] * 2.0, lambda x: (x, 3.0, x.astype("float64")),
])  # fmt: skip
def test_moves(f):
    x = np.random.default_rng(0).standard_normal((37, 53))
    assert_compiled(f, x)
    assert_compiled(f, np.asfortranarray(x.astype(np.float32)))


def test_products_with_work_before_and_after():
    rng = np.random.default_rng(0)
    layer = lambda x, w, b: bl.maximum(x @ w.T + b, 0.0)
    for m, k, n in [(5, 7, 3), (32, 64, 10), (1, 9, 40), (40, 9, 1), (33, 1, 17), (128, 70, 50)]:
        x, w, b = rng.standard_normal((m, k)), rng.standard_normal((n, k)), rng.standard_normal(n)
        program = assert_compiled(layer, x, w, b, check=assert_near)
        assert program.callbacks == [] and len(program.works) == 1
        assert_compiled(bl.grad(lambda *a: bl.sum(bl.tanh(layer(*a))), argnums=(0, 1, 2)), x, w, b, check=assert_near)
    x, y = rng.standard_normal((4, 3, 5, 6)), rng.standard_normal((4, 3, 6, 7))
    assert_compiled(lambda x, y: bl.exp(x @ y) * 0.5, x, y, check=lambda g, w: assert_near(g, w, 1e3))


def test_what_belongs_together_runs_together():
    text = """\
graph(a: float64[100], b: float64[]) {
  c: float64[100] = broadcast_to(b, shape=(100,))
  d: float64[100] = mul(a, c)
  e: float64[] = sum(d, axis=(0,), keepdims=False)
  f: float64[100] = broadcast_to(e, shape=(100,))
  g: float64[100] = div(d, f)
  h: float64[100] = sub(g, a)
  i: float64[100] = neg(h)
  return g
}"""
    graph = parse(text)
    plan = schedule(graph)
    assert [([e.op.name for e in g.members], [e.op.name for e in g.reductions]) for g in plan.groups] == [
        (["mul"], ["sum"]),
        (["div", "sub", "neg"], []),
    ]
    assert [[str(v.aval) for v in g.writes] for g in plan.groups] == [["float64[]"], ["float64[100]"]]
    program = Program(graph)
    x = np.random.default_rng(0).random(100)
    assert_near(program(x, 2.0 * np.ones(()))[0], evaluate(graph, x, 2.0 * np.ones(()))[0])
    assert "fast" not in program.llvm()


def test_state_is_written_over_when_all_have_read_it():
    f = lambda w, m, x: (w - 0.1 * (0.9 * m + x), 0.9 * m + x)
    graph = make_graph(f)(*np.ones((3, 40)))
    program = Program(graph, [(0, 0), (1, 1)])
    assert program.over == {0: 0, 1: 1}
    w, m, x = np.random.default_rng(0).standard_normal((3, 40))
    want = evaluate(graph, w, m, x)
    got = program.run([w, m, x])
    assert got[0] is w and got[1] is m
    for g, v in zip(got, want, strict=True):
        assert_same_bits(g, v)
    # an element of the new value needs a neighbour of the old one
    shifted = Program(make_graph(lambda w: w - bl.concat([w[1:], w[:1]]) * 0.5)(w), [(0, 0)])
    assert shifted.over == {}
    turned = Program(make_graph(lambda w: w + w.T)(np.ones((4, 4))), [(0, 0)])
    assert turned.over == {}
    # both read what the other writes
    swapped = Program(make_graph(lambda a, b: (a + b, a - b))(w, m), [(0, 0), (1, 1)])
    w, m = np.random.default_rng(1).standard_normal((2, 40))
    a, b = w + m, w - m
    got = swapped.run([w, m])
    assert_same_bits(got[0], a)
    assert_same_bits(got[1], b)
    products = Program(
        make_graph(lambda w, x: (w - 0.1 * (x.T @ (x @ w)), x @ w))(np.ones((6, 5)), np.ones((7, 6))), [(0, 0)]
    )
    w, x = np.random.default_rng(2).standard_normal((6, 5)), np.random.default_rng(3).standard_normal((7, 6))
    want = (w - 0.1 * (x.T @ (x @ w)), x @ w)
    for g, v in zip(products.run([w, x]), want, strict=True):
        assert_near(g, v, 10.0)


def test_ops_of_other_parameters_are_not_taken_for_equal():
    x = np.random.default_rng(0).standard_normal((4, 4))
    f = lambda x: (
        bl.sum(x, axis=0),
        bl.sum(x, axis=1),
        x[0],
        x[1],
        bl.pad(x, ((1, 0), (0, 0))),
        bl.pad(x, ((0, 1), (0, 0))),
    )
    graph = simplify(make_graph(f)(x))
    for got, want in zip(Program(graph)(x), f(bl.asarray(x)), strict=True):
        assert_near(got, want.numpy())


@pytest.mark.parametrize("f, state", [
    (lambda w: (w, w * 2.0), (1, 0)), (lambda w: (w * 2.0, w), (0, 0)), (lambda w: (w.reshape(-1), w + 1.0), (1, 0)),
    (lambda w: (w * 2.0, w * 2.0), (1, 0)), (lambda w: ((w * 2.0).reshape(-1), w * 2.0), (1, 0)),
])  # fmt: skip
def test_state_that_is_returned_too_is_not_written_over(f, state):
    """What is returned is as it was when the state has been written, and when it is written again."""
    w = np.random.default_rng(0).standard_normal((40, 30))
    graph = make_graph(f)(w)
    program = Program(graph, [state])
    want = [np.array(v) for v in evaluate(graph, w)]
    cell = w.copy()
    got = program.run([cell])
    for g, v in zip(got, want, strict=True):
        assert_same_bits(g, v)
    returned = got[1 - state[0]]
    assert not np.shares_memory(returned, got[state[0]]) and not np.shares_memory(returned, cell)


@pytest.mark.parametrize("reader", [
    lambda w, x: bl.sum(w * w, axis=0), lambda w, x: x.mT @ w, lambda w, x: bl.max(w[::-1], axis=1), lambda w, x: w[:, :7] * 2.0,
    lambda w, x: w.T @ x, lambda w, x: bl.argmax(w, axis=0), lambda w, x: bl.exp(w[1:]) + 1.0,
])  # fmt: skip
def test_state_is_written_over_after_every_reader(reader):
    """Whichever of the works would come first; the reader needs nothing that the writer makes."""
    w, x = np.random.default_rng(0).standard_normal((2, 40, 30))
    for f, k in ((lambda w, x: (w * 0.9 + x, reader(w, x)), 0), (lambda w, x: (reader(w, x), w * 0.9 + x), 1)):
        graph = make_graph(f)(w, x)
        program = Program(graph, [(k, 0)])
        want = evaluate(graph, w, x)
        for g, v in zip(program.run([w.copy(), x]), want, strict=True):
            assert_near(g, v, 10.0)


@settings(deadline=None, max_examples=60)
@given(program=programs, seed=st.integers(0, 1000))
def test_random_programs(program, seed):
    x, y = np.random.default_rng(seed).standard_normal((2, 3, 3))
    f = bl.value_and_grad(lambda x: (run(program, x, y) ** 2).sum())
    graph = simplify(make_graph(f)(x))
    for got, want in zip(poisoned(Program(graph))(x), evaluate(graph, x), strict=True):
        scale = max(1.0, np.abs(want).max(initial=0.0))
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13 * scale)


def test_inputs_are_checked():
    program = Program(make_graph(lambda x: x * 2.0)(np.ones(3)))
    with pytest.raises(CompilerError, match="expected 1 inputs, got 0"):
        program()
    with pytest.raises(CompilerError, match=r"expected float64\[3\], got float64\[4\]"):
        program(np.ones(4))


@pytest.mark.parametrize(
    "table, name, wrong",
    [
        ("_ARITHMETIC", "sub", "add"),
        ("COMPARE", "less", ("ole", "le")),
        ("COMPARE", "not_equal", ("one", "eq")),
        ("_INTRINSICS", "abs", "llvm.sqrt"),
    ],
)
def test_planted_faults_change_bits(monkeypatch, table, name, wrong):
    monkeypatch.setitem(getattr(values, table), name, wrong)
    x = np.array([1.0, 2.0, np.nan, -3.0, 0.0])
    y = np.array([1.0, 3.0, 1.0, -4.0, -0.0])
    with pytest.raises(AssertionError):
        assert_compiled(*((REGISTRY[name], x) if name == "abs" else (REGISTRY[name], x, y)))


@pytest.mark.parametrize(
    "shape, axes", [((1, 5), (0,)), ((5, 1), (1,)), ((3, 5), (1,)), ((3, 40), (0, 1)), ((3,), ()), ((), ())]
)
def test_no_sum_is_negative_zero(shape, axes):
    program = assert_compiled(
        lambda x: (bl.sum(x, axis=axes), bl.sum(x * 1.5, axis=axes), bl.max(x, axis=axes)), np.full(shape, -0.0)
    )
    assert program.callbacks == []


@pytest.mark.parametrize("reduced", [bl.max, bl.min])
def test_the_largest_of_products_is_no_sum(reduced):
    x = np.random.default_rng(0).standard_normal((5, 40))
    assert_compiled(lambda x: (reduced(x * 2.0), reduced(x * x, axis=1), reduced(x * 0.5, axis=0)), x)


def test_planted_faults_in_reductions_are_noticed(monkeypatch):
    x = np.random.default_rng(0).standard_normal((5, 19))
    monkeypatch.setitem(nest.REDUCTIONS, "max", "minimum")
    with pytest.raises(AssertionError):
        assert_compiled(lambda x: bl.max(x, axis=1), x)


def test_a_rectifier_and_its_gradient_are_loops():
    g = bl.grad(lambda x: (F.relu(x * 2.0) * x).sum())
    x = np.array([-1.0, -0.0, 0.0, 2.0, np.nan, np.inf] * 5)
    program = Program(simplify(make_graph(g)(x)))
    assert program.callbacks == []
    assert_same_bits(program(x)[0], g(x).numpy())


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: bl.concat([x, y], axis=0),
        lambda x, y: bl.concat([y[:0], x, y[:0]]),
        lambda x, y: bl.stack([x, y, x * y], axis=1),
        lambda x, y: bl.concat([x * 2, y, bl.exp(x)], axis=1)[:, 1:],
        lambda x, y: bl.grad(lambda x: bl.sum(bl.concat([x, y, x], axis=1) ** 2))(x),
        lambda x, y: bl.grad(lambda x: bl.sum(x[::-1, 1:] * y[:, 1:]))(x),
        lambda x, y: bl.concat([x, y]).mT @ bl.concat([y, x]),
        lambda x, y: bl.sum(bl.concat([x, y], axis=1), axis=0),
        lambda x, y: bl.concat([x > 0, y > 0]),
    ],
)
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (33, 16), (2, 0)])
def test_joined_arrays_are_loops(f, shape):
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((2, *shape))
    x.flat[:1] = -0.0
    graph = make_graph(f)(x, y)
    program = poisoned(Program(graph))
    assert not program.callbacks
    for got, want in zip(program(x, y), evaluate(graph, x, y), strict=True):
        assert_near(got, want)
        if not {"exp", "matmul", "sum"} & {e.op.name for e in graph.eqns}:
            assert_same_bits(got, want)


def test_a_written_block_is_chosen_in_a_loop():
    def f(x, y):
        return x.at[1:3].set(y[:2]), x.at[::-1, 2].set(y[:, 0]), x.at[...].set(0.5), x.at[-1, -1].set(7.0)

    x, y = np.random.default_rng(5).standard_normal((2, 6, 5))
    assert_compiled(f, x, y)
    assert not Program(make_graph(f)(x, y)).callbacks


@pytest.mark.parametrize(
    "f",
    [
        lambda x: bl.pad(x[1:], ((0, 1), (0, 0))) + x,
        lambda x: x.mT * 2.0 + x,
        lambda x: x - x[::-1],
        lambda x: x + x[:, :1],
        lambda x: x * 2.0 + bl.tanh(x),
    ],
)
@pytest.mark.parametrize("n", [3, 40, 200])
def test_state_is_not_written_over_while_neighbours_need_it(f, n):
    x = np.random.default_rng(6).standard_normal((n, n))
    graph = make_graph(f)(x)
    (want,) = Program(graph)(x)
    for threads in (1, 3):
        program = Program(graph, [(0, 0)], threads=threads)
        np.testing.assert_array_equal(program.run([x.copy()])[0], want)


@pytest.mark.parametrize("dtype", ["float16", "int8", "bool", "uint16"])
@pytest.mark.parametrize("n", [17, 33, 65])
def test_a_tail_of_one_narrow_element_writes_nothing_beside(n, dtype):
    """LLVM 22 writes four bytes for a masked store of one truncated lane; a sum beside it makes the tail a constant."""
    x = np.linspace(-3, 3, n).astype(np.float32)
    f = lambda x: (bl.sum(bl.tanh(x)), bl.astype(x * 0.4, dtype))
    graph = simplify(make_graph(f)(x))
    check_program(graph, [[x]], rounding.compare(graph), threads=(2,))
