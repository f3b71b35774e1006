"""Every registered op as a compiled program against its evaluation: values and derivatives, in every dtype that it takes.

The bounds are those of `rounding`: bit by bit for arithmetic, comparisons and moves.
"""

from __future__ import annotations

import checks
import ml_dtypes
import numpy as np
import pytest
import rounding
import watched
from watched import check_program

import backlit as bl
from backlit.compiler import make_graph, native
from backlit.compiler.llvm.target import features, restricted
from backlit.compiler.llvm.writer import Writer
from backlit.core.dtypes import bfloat16, is_float
from backlit.core.op import REGISTRY, Elementwise

CASES = checks.real_cases()
SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.0,
    3.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-40,
    -5e-324,
    1e-310,
    3e38,
    -1e308,
    20.0,
    1e5,
)


def check(f, *arrays):
    """`f` compiled is within its bounds, whatever the layout of its inputs."""
    graph = make_graph(f)(*arrays)
    again = [list(map(strided, arrays)), list(map(turned, arrays))]
    return check_program(graph, [arrays, *again], rounding.compare(graph))


def strided(a):
    """The same values, no two side by side."""
    return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a


def turned(a):
    return np.asfortranarray(a[::-1])[::-1] if a.ndim else a


def typed(arrays, dtype):
    return [a.astype(dtype) if is_float(a.dtype) else a for a in arrays]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, k", CASES)
def test_values(name, k, dtype):
    op, arrays = checks.sample(name, k)
    check(op, *typed(arrays, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, k", [c for c in CASES if c in checks.differentiable_cases()])
def test_derivatives(name, k, dtype):
    """The VJP with a given cotangent, and the JVP."""
    op, arrays = checks.sample(name, k)
    arrays = typed(arrays, dtype)
    rng = np.random.default_rng(1)
    out = op(*arrays)
    places = checks.floats(arrays)
    cotangent = rng.standard_normal(out.shape).astype(out.dtype)
    tangents = [rng.standard_normal(arrays[i].shape).astype(dtype) for i in places]

    def pulled(*given):
        *xs, c = given
        found = bl.vjp(op, *xs)[1](c)
        return [found[i] for i in places]

    def pushed(*given):
        xs, ts = given[: len(arrays)], dict(zip(places, given[len(arrays) :], strict=True))
        return bl.jvp(op, tuple(xs), tuple(ts.get(i) for i in range(len(xs))))

    check(pulled, *arrays, cotangent)
    check(pushed, *arrays, *tangents)


def elementwise():
    samplers = ("log_fraction", "cos_turns", "make_complex")  # for numbers from 0 to 1 only; by its eager forward
    return [n for n in sorted(REGISTRY) if isinstance(REGISTRY[n], Elementwise) and n not in ("where", *samplers)]


DTYPES = (
    np.float32, np.float64, np.float16, bfloat16, np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint8,
    bool,
)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", elementwise())
def test_special_values_in_every_dtype(name, dtype):
    """Each pair of special numbers, of the largest and smallest integers, of truth values; what eager refuses is left out."""
    op = REGISTRY[name]
    dtype = np.dtype(dtype)
    if is_float(dtype):
        with np.errstate(all="ignore"):
            one = np.array(SPECIAL).astype(dtype)
    elif dtype.kind == "b":
        one = np.array([False, True])
    else:
        info = np.iinfo(dtype)
        one = np.array([0, 1, 2, 3, 7, info.max, info.min, info.max - 1, info.min // 2], dtype)
    grids = [g.ravel() for g in np.meshgrid(*[one] * len(op.samples()[0][0]))]
    if not takes(op, *grids):
        pytest.skip("eager refuses it")
    check(op, *grids)
    if len(grids) == 2:
        numbers = [c for c in (2, 0.1, -0.0, 3, True, -1, 0, 2.0, 0.5, -1.0, 1, 1.0) if takes(op, one, c)]
        check(lambda x: [op(x, c) for c in numbers], one)
        numbers = [c for c in numbers if takes(op, c, one)]
        check(lambda x: [op(c, x) for c in numbers], one)


def takes(op, *operands):
    """Whether eager takes these operands."""
    try:
        with np.errstate(all="ignore"):
            op(*operands)
    except (bl.BacklitError, TypeError, ValueError, OverflowError):
        return False
    return True


@pytest.mark.parametrize("name", ["sum", "prod", "any", "all", "max", "min", "logsumexp", "argmax", "argmin"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in (np.int16, np.int8, np.uint32)])
def test_reductions_of_every_dtype(name, dtype):
    op = REGISTRY[name]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2 if dtype is bool else 100, (5, 7, 19)).astype(dtype)
    axes = (0, 1, 2, *([] if name.startswith("arg") else [(0, 1), (0, 2), (1, 2)]), None)
    check(lambda x: [op(x, axis=axis) for axis in axes], x)
    if is_float(dtype):
        rows = np.array([[1.0, np.nan, 2.0] * 9, [-np.inf] * 27, [np.inf, -np.inf, 0.0] * 9, [-0.0] * 27, [1e-40] * 27])
        rows = rows.astype(dtype)
        check(lambda x: [op(x, axis=0), op(x, axis=1)], rows)
        check(lambda x: [op(x.T, axis=0), op(x.T, axis=1)], rows)


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cumargmax", "cumargmin", "cumulative_logsumexp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16, np.int64, np.int8, np.uint8, bool])
def test_scans_of_every_dtype(name, dtype):
    op = REGISTRY[name]
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((5, 7, 19)) * 3).astype(dtype)
    check(lambda x: [op(x, axis=axis) for axis in (0, 1, 2)], x)
    if is_float(dtype):
        rows = np.array([[1.0, np.nan, 2.0] * 2, [-np.inf] * 6, [0.0, np.inf, -np.inf] * 2, [-0.0] * 6, [1e-40] * 6])
        rows = rows.astype(dtype)
        check(lambda x: [op(x, axis=0), op(x, axis=1)], rows)


@pytest.mark.parametrize("p", [2.0, 3.0, 0.5, -1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
def test_norms(p, dtype):
    rng = np.random.default_rng(0)
    norm, big = REGISTRY["norm"], float(np.sqrt(ml_dtypes.finfo(dtype).max))
    x = rng.standard_normal((5, 7, 19)).astype(dtype)
    check(lambda x: [norm(x, p=p, axis=axis) for axis in (0, 1, 2, (0, 2), None)], x)
    rows = np.array(
        [[0.0] * 9, [3 * big, 4 * big, 0.0] * 3, [3 / big, 4 / big, 0.0] * 3, [1.0, np.inf, 2.0] * 3, [np.nan] * 9]
    )
    check(lambda x: [norm(x, p=p, axis=1), norm(x.T, p=p, axis=0)], rows.astype(dtype))


@pytest.mark.parametrize("without", ["", "avx512f", "avx"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16])
def test_divisions_of_any_two_numbers(dtype, without):
    """Bit patterns at random, numbers of all sizes, and products rounded to just beside a multiple."""
    rng, n, dtype = np.random.default_rng(3), 20_000, np.dtype(dtype)
    bits = [rng.integers(0, 2 ** (8 * dtype.itemsize), n, dtype=f"u{dtype.itemsize}").view(dtype) for _ in range(2)]
    sizes = [(rng.standard_normal(n) * 10.0 ** rng.integers(-3, 4, n)).astype(dtype) for _ in range(2)]
    parts = (rng.integers(1, 50, n) * 0.1).astype(dtype)
    multiples = [(parts.astype(float) * rng.integers(-60, 60, n)).astype(dtype), parts]
    functions = (np.floor_divide, np.remainder, np.add, np.multiply, np.divide, np.subtract, np.maximum, np.minimum)
    with restricted(features(without)), np.errstate(all="ignore"):
        program = native.Program(make_graph(lambda x, y: [f(x, y) for f in functions])(*bits))
        for x, y in (bits, sizes, multiples):
            for f, got in zip(functions, program(x, y), strict=True):
                want = f(x, y)
                same = (got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want)
                assert same.all(), (f, x[~same][0], y[~same][0], got[~same][0], want[~same][0])


LIMITS = [2.0**7, 2.0**8, 2.0**15, 2.0**16, 2.0**31, 2.0**32, 2.0**63, 2.0**64]


@pytest.mark.parametrize("before", DTYPES)
@pytest.mark.parametrize("after", DTYPES)
def test_conversions(before, after):
    """With numbers around the range of every integer, between halves of the last place, and of every size."""
    before, after = np.dtype(before), np.dtype(after)
    if is_float(before):
        rng = np.random.default_rng(0)
        near = [s * b + d for b in LIMITS for s in (1, -1) for d in (-1.5, -1, -0.5, 0, 0.5, 1, 1.5)]
        x = np.concatenate([
            SPECIAL, [0.4, 1.5, 2.5, 100.7, 16777217.0, 1e300, 65504.0, 65519.9, 65520.0, 2.0**-24, 2.0**-25, 3e-8], near,
            rng.standard_normal(400) * 10.0 ** rng.uniform(-10, 22, 400),
            (1 + rng.integers(0, 2**11, 200) * 2.0**-11) * 2.0 ** rng.integers(-26, 16, 200) * (1 + rng.integers(-1, 2, 200) * 1e-15),
        ])  # fmt: skip
        if after == np.uint32:  # of others NumPy gives different results by the place in an array
            x = x[(x >= -(2.0**31)) & (x < 2.0**32)]
        with np.errstate(all="ignore"):
            x = x.astype(before)
    elif before.kind == "b":
        x = np.array([False, True] * 10)
    else:
        info = np.iinfo(before)
        x = np.array(
            [info.min, info.max, 0, 1, 5, info.max // 2 + 1, info.max // 3, *(int(b) for b in LIMITS if b < info.max)],
            before,
        )
        x = np.concatenate([x, np.random.default_rng(1).integers(info.min, info.max, 500, before)])
    program = check(lambda x: (x.astype(after), x.astype(after).astype(bool)), np.tile(x, 5))
    assert not program.callbacks


def test_programs_under_watch_are_noticed_when_they_go_wrong(monkeypatch):
    """A store that is one element too long, and a value read after its memory is given to another."""
    graph = make_graph(lambda x: (bl.sum(bl.exp(x), axis=0) * 2.0, bl.exp(x)[1:3] * 3.0))(np.ones((5, 7)))
    x = np.random.default_rng(0).standard_normal((5, 7))
    good = rounding.compare(graph)
    check_program(graph, [[x]], good)
    with monkeypatch.context() as patch:
        real = Writer.first_lanes

        def one_more(self, count):
            return real(self, count + 1 if isinstance(count, int) else self.add(count, 1))

        patch.setattr(Writer, "first_lanes", one_more)
        with pytest.raises(AssertionError, match="written beside|allowed"):
            check_program(graph, [[x]], good)
    with monkeypatch.context() as patch:
        place = native.place
        patch.setattr(native, "place", lambda ranges: place([r._replace(end=r.start) for r in ranges]))
        chain = make_graph(lambda x: bl.logsumexp(bl.logsumexp(x, axis=0, keepdims=True) + x, axis=1))(x)
        with pytest.raises(AssertionError):
            check_program(chain, [[x]], rounding.compare(chain))
    assert native.watch is None and watched.GUARD_BYTES


def test_random_streams_have_the_same_bits_eager_and_compiled():
    draws = lambda g: (
        g.normal((20_000,), dtype="float64"), g.normal((3, 5)), g.uniform((2000,), -3.0, 2.0, dtype="float64"), g.uniform((777,)),
        g.normal((7,), 2.0, 0.1),
    )  # fmt: skip
    for without in ("", "avx512f", "avx"):
        eager, streamed = bl.random.Generator(5), bl.random.Generator(5)
        step = bl.compile(lambda g=streamed: draws(g))
        with restricted(features(without)):
            for _ in range(2):
                for a, b in zip(draws(eager), step(), strict=True):
                    assert a.numpy().tobytes() == b.numpy().tobytes()
        assert eager.counter == streamed.counter


def test_the_logarithm_and_the_cosine_of_samplers_are_exact_to_some_units():
    words = np.random.default_rng(0).integers(1, 2**53, 100_000)
    x = np.concatenate([words, 2 ** np.arange(54), 2**53 - 2 ** np.arange(53)]) * 2.0**-53
    wide = np.log(x.astype(np.longdouble))
    assert (np.abs(REGISTRY["log_fraction"].forward(x) - wide) <= 1.5 * 2.0**-52 * np.abs(wide)).all()
    turns = np.cos(2 * np.pi * x.astype(np.longdouble))
    assert np.abs(REGISTRY["cos_turns"].forward(x) - turns).max() <= 4 * 2.0**-53
