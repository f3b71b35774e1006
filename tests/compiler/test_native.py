"""Lowered elementwise groups have the bits of NumPy's arithmetic; the rest runs by the ops' forwards."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_programs import programs, run

import backlit as bl
from backlit.compiler import evaluate, make_graph, parse, simplify
from backlit.compiler.llvm import elementwise
from backlit.compiler.native import Program, schedule
from backlit.core.errors import CompilerError
from backlit.core.op import REGISTRY

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1e-40, 1.5, 3e38, 1e308, 0.1]
FLOATS = ("add", "sub", "mul", "div", "neg", "sqrt", "abs", "maximum", "minimum")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


def same_bits(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    if got.dtype == bool:
        np.testing.assert_array_equal(got, want)
        return
    nan = np.isnan(want)  # a NaN made by an operation has no particular sign
    np.testing.assert_array_equal(np.isnan(got), nan)
    assert np.where(nan, 0, got).tobytes() == np.where(nan, 0, want).tobytes()


def compiled(f, *arrays):
    graph = make_graph(f)(*arrays)
    program = Program(graph)
    for got, want in zip(program(*arrays), evaluate(graph, *arrays), strict=True):
        same_bits(got, want)
    return program


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FLOATS + COMPARISONS)
def test_every_lowered_op_at_special_values(name, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = np.array(list(itertools.product(SPECIAL, SPECIAL))).astype(dtype)
    x, y = pairs[:, 0].copy(), pairs[:, 1].copy()
    op = REGISTRY[name]
    if name in ("neg", "sqrt", "abs"):
        program = compiled(op, x)
    else:
        program = compiled(op, x, y)
        for literal in (2, 0.1, -0.0, True):
            assert compiled(lambda x, c=literal: op(x, c), x).callbacks == []
            assert compiled(lambda x, c=literal: op(c, x), x).callbacks == []
    assert program.callbacks == []


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_length_has_its_tail(n, dtype):
    x, y = np.random.default_rng(n).standard_normal((2, n)).astype(dtype)
    f = lambda x, y: (bl.where((x > y) & ~(x > 1.0) | (y < -1.0), x * 2.0 + y, -x / 3.0), bl.sqrt(bl.abs(y)), x >= 0.5)
    assert compiled(f, x, y).callbacks == []


def test_shapes_strides_and_scalars():
    rng = np.random.default_rng(0)
    x, s = rng.standard_normal((3, 4, 5)), np.float64(1.5)
    program = compiled(lambda x, s: x * s + s, x.transpose(2, 0, 1), s)
    assert program.callbacks == [] and len(program.steps) == 1
    assert compiled(lambda x: x[::2] * 2.0 + 1.0, x).callbacks == ["index"]
    empty = compiled(lambda x: x * 2.0, np.zeros((0, 3)))
    assert empty.callbacks == ["mul"]
    assert compiled(lambda x: bl.sin(x * 2.0) + 1.0, x).callbacks == ["sin"]
    mixed = compiled(lambda x, m: bl.where(m, x.astype(np.float32) * 2.0, 0.0), x, x > 0)
    assert mixed.callbacks == ["astype"]
    assert compiled(lambda n: n * 2, np.arange(4)).callbacks == ["mul"]


def test_one_loop_for_what_belongs_together():
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
    steps = schedule(graph)
    assert [[e.op.name for e in step.eqns] for step in steps] == [
        ["broadcast_to", "mul"],
        ["sum"],
        ["broadcast_to", "div", "sub", "neg"],
    ]
    assert [len(step.outputs) for step in steps] == [1, 1, 1]
    program = Program(graph)
    x = np.random.default_rng(0).random(100)
    same_bits(program(x, 2.0 * np.ones(()))[0], evaluate(graph, x, 2.0 * np.ones(()))[0])
    assert program.llvm().count("define void") == 2 and "fast" not in program.llvm()


@settings(deadline=None, max_examples=40)
@given(program=programs, seed=st.integers(0, 1000))
def test_random_programs(program, seed):
    x, y = np.random.default_rng(seed).standard_normal((2, 3, 3))
    f = bl.value_and_grad(lambda x: (run(program, x, y) ** 2).sum())
    graph = simplify(make_graph(f)(x))
    for got, want in zip(Program(graph)(x), evaluate(graph, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)  # sums add contiguous values in another order


def test_inputs_are_checked():
    program = Program(make_graph(lambda x: x * 2.0)(np.ones(3)))
    with pytest.raises(CompilerError, match="expected 1 inputs, got 0"):
        program()
    with pytest.raises(CompilerError, match=r"expected float64\[3\], got float64\[4\]"):
        program(np.ones(4))


@pytest.mark.parametrize(
    "table, name, wrong",
    [
        ("_ARITHMETIC", "sub", "fadd"),
        ("_EXTREMES", "maximum", "olt"),
        ("_EXTREMES", "minimum", "ole"),
        ("_COMPARE", "less", "ole"),
        ("_COMPARE", "not_equal", "one"),
        ("_CALLS", "abs", "llvm.sqrt"),
    ],
)
def test_planted_faults_change_bits(monkeypatch, table, name, wrong):
    monkeypatch.setitem(getattr(elementwise, table), name, wrong)
    x = np.array([1.0, 2.0, np.nan, -3.0, 0.0])
    y = np.array([1.0, 3.0, 1.0, -4.0, -0.0])
    with pytest.raises(AssertionError):
        compiled(*((REGISTRY[name], x) if name == "abs" else (REGISTRY[name], x, y)))


def test_a_rectifier_and_its_gradient_are_loops():
    g = bl.grad(lambda x: (bl.nn.functional.relu(x * 2.0) * x).sum())
    x = np.array([-1.0, -0.0, 0.0, 2.0, np.nan, np.inf] * 5)
    program = Program(simplify(make_graph(g)(x)))
    assert program.callbacks == []
    same_bits(program(x)[0], g(x).numpy())


def ulps(got, exact):
    """Distances in units of the last place of the exact value rounded to the format."""
    with np.errstate(all="ignore"):
        near = exact.astype(got.dtype)
        off = np.abs(got.astype(np.longdouble) - exact) / np.spacing(np.abs(near)).astype(np.longdouble)
    return np.where(got == near, 0, off)  # infinities and zeros that agree


EXACT = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: np.exp(-np.logaddexp(np.longdouble(0), -x))}
WORST = {"exp": 1.0, "tanh": 4.0, "sigmoid": 3.0}


@pytest.mark.parametrize("name", sorted(EXACT))
@pytest.mark.parametrize("dtype, low, high", [(np.float64, -760.0, 720.0), (np.float32, -110.0, 95.0)])
def test_functions_to_a_few_units_in_the_last_place(name, dtype, low, high):
    rng = np.random.default_rng(0)
    x = np.concatenate([
        np.linspace(low, high, 200_000), rng.normal(0, 1, 200_000), rng.normal(0, 1e-3, 50_000), rng.normal(0, 8, 100_000),
        (np.arange(-1100, 1100)[:, None] * np.log(2) / 2 + rng.normal(0, 1e-9, (2200, 9))).ravel(),
        np.geomspace(1e-30, 1, 20_000),
    ]).astype(dtype)  # fmt: skip
    program = Program(make_graph(REGISTRY[name])(x))
    assert program.callbacks == []
    (got,) = program(x)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.longdouble))
    worst = ulps(got, exact)
    assert worst.max() <= WORST[name], (x[worst.argmax()], worst.max())


@pytest.mark.parametrize("name", sorted(EXACT))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_at_special_values(name, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1e308, -1e308, 1e4, -1e4] * 3).astype(dtype)
        (got,) = Program(make_graph(REGISTRY[name])(x))(x)
        want = REGISTRY[name](x).numpy()
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want) | (np.isnan(want) & np.signbit(got)))
