"""Picking and writing by integer arrays in compiled programs: eager's bits, eager's errors, and nothing half done."""

from __future__ import annotations

import numpy as np
import pytest
import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from watched import check_program

import backlit as bl
from backlit import nn, optim
from backlit.compiler import make_graph, native
from backlit.compiler.llvm.target import features, restricted
from backlit.compiler.passes import bounds
from backlit.compiler.picks import picking
from backlit.core.dtypes import bfloat16
from backlit.core.errors import ArgumentError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 6, 7)).astype(np.float32)
A, B = np.array([1, -1, 0, 4, 4, -5]), np.array([[0], [3], [-5]])
C, D = np.array([2, 0, 5], np.int32), np.array([0, 3], np.uint8)
KEYS = {
    "rows": lambda a, b, c, d: a,
    "middle": lambda a, b, c, d: (slice(None), d),
    "last": lambda a, b, c, d: (..., c),
    "pairs": lambda a, b, c, d: (d, d),
    "apart": lambda a, b, c, d: (d, slice(None), d),
    "broadcast": lambda a, b, c, d: (d, b),
    "behind": lambda a, b, c, d: (slice(None), b, c),
    "number": lambda a, b, c, d: (0, slice(1, 5, 2), c),
    "number beside": lambda a, b, c, d: (slice(None), 2, c),
    "new axis apart": lambda a, b, c, d: (d, None, 0),
    "new axes": lambda a, b, c, d: (None, b, None, 0, d),
    "backwards": lambda a, b, c, d: (a, slice(None, None, -1), slice(1, 4)),
    "steps": lambda a, b, c, d: (d, d, slice(None, None, -2)),
    "reversed rows": lambda a, b, c, d: (slice(3, 0, -1), b, 2),
    "whole": lambda a, b, c, d: (a, c[0], a),
    "nothing": lambda a, b, c, d: (slice(0, 0), d),
    "three": lambda a, b, c, d: (d, c[:2], d),
}


def picked(x, *arrays, key):
    return x[key(*arrays)], bl.sum(x[key(*arrays)] * 2.0 + 1.0), bl.exp(x)[key(*arrays)] * 3.0


def pulled(x, *arrays, key):
    return bl.grad(lambda x: bl.sum(bl.tanh(x[key(*arrays)]) * 2.0))(x)


def written(x, *arrays, key):
    part = x[key(*arrays)]
    return (
        x.at[key(*arrays)].set(part * 2.0),
        x.at[key(*arrays)].add(1.5),
        (x + bl.sum(x, axis=2, keepdims=True))[key(*arrays)],
    )


@pytest.mark.parametrize("f", [picked, pulled, written])
@pytest.mark.parametrize("key", KEYS)
def test_every_kind_of_index(key, f):
    graph = make_graph(lambda x, *arrays: f(x, *arrays, key=KEYS[key]))(X, A, B, C, D)
    program = check_program(graph, [[X, A, B, C, D]], rounding.compare(graph), threads=(2, 3, 7))
    assert not program.callbacks


@pytest.mark.parametrize("key", KEYS)
def test_axes_of_the_result_are_chosen_by_numpys_rules(key):
    """The part of `picking` that says where axes go, against shapes that are all different."""
    x = np.broadcast_to(np.int8(0), (5, 6, 7))
    graph = make_graph(lambda x, *arrays: x[KEYS[key](*arrays)])(x, A, B, C, D)
    (e,) = (e for e in graph.eqns if e.op.name == "index" and len(e.inputs) > 1)
    arrays = [a.aval.shape for a in e.inputs[1:]]
    how = picking(e.params["index"], e.inputs[0].aval.shape, arrays)
    assert e.out.aval.shape[how.first : how.first + len(how.shape)] == how.shape == np.broadcast_shapes(*arrays)


@pytest.mark.parametrize("without", ["", "avx512f", "avx"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, bfloat16, np.int32, np.uint8, bool])
def test_repeated_places_add_up_in_order(dtype, without):
    """Bit by bit what NumPy adds one after the other, for rows, columns and single elements, on any number of threads."""
    rng = np.random.default_rng(1)
    n, m = 300, 37
    i, j = rng.integers(-20, 20, n), rng.integers(0, m, n)
    rows = (rng.standard_normal((n, m)) * 10.0 ** rng.integers(-3, 4, (n, m))).astype(dtype)
    one, columns = rows[:, 0].copy(), rows.T.copy()

    def f(rows, columns, one, i, j):
        scatter, whole = bl.ops.indexing.scatter_add, ("slice", None, None, None)
        return (
            scatter(rows, i, index=("array", whole), shape=(20, m)),
            scatter(columns, i, index=(whole, "array"), shape=(m, 20)),
            scatter(one, i, j, index=("array", "array"), shape=(20, m)),
            scatter(rows[:, :36], i, index=("array", ("slice", None, 0, -1)), shape=(20, m)),
        )

    with restricted(features(without)):
        program = native.Program(make_graph(f)(rows, columns, one, i, j))
    want = [np.asarray(x) for x in f(*map(bl.asarray, (rows, columns, one, i, j)))]
    assert not program.callbacks
    for threads in (1, 2, 3, 7):
        program.threads = threads
        for got, right in zip(program(rows, columns, one, i, j), want, strict=True):
            assert got.tobytes() == right.tobytes()


def test_the_last_of_two_writes_counts():
    i = np.array([3, 0, 3, -1, 3, 0])
    y = np.arange(6.0)
    (got,) = native.Program(make_graph(lambda x, y, i: x.at[i].set(y))(np.zeros(4), y, i))(np.zeros(4), y, i)
    assert got.tolist() == [5.0, 0.0, 0.0, 4.0]


def model_step():
    table = bl.tensor(np.random.default_rng(2).standard_normal((10, 4)), requires_grad=True)
    opt = optim.Adam([table], lr=0.1)
    calls = bl.tensor(np.zeros(()))

    def step(i):
        opt.zero_grad()
        calls[...] = calls + 1.0
        loss = bl.sum(table[i] ** 2)
        loss.backward()
        opt.step()
        return loss

    return step, table, calls, opt


@pytest.mark.parametrize("bad", [10, -11, 2**40, -(2**62)])
def test_an_index_out_of_bounds_is_eagers_error_and_changes_nothing(bad):
    step, table, calls, _ = model_step()
    compiled = bl.compile(step)
    good, wrong = bl.tensor(np.array([0, -1, 3, 3])), bl.tensor(np.array([0, 1, bad, 2]))
    for _ in range(2):
        compiled(good)
    assert compiled._last.native.over and compiled._last.entry is not None
    state = table.numpy().copy(), calls.item()
    for _ in range(3):
        with pytest.raises(bl.ShapeError) as found:
            compiled(wrong)
        with pytest.raises(bl.ShapeError) as eager, bl.no_grad():
            table[wrong]
        assert str(found.value).split(" (")[0] == str(eager.value).split(" (")[0]
        assert (table.numpy() == state[0]).all() and calls.item() == state[1]
    compiled(good)
    twin, other, _, _ = model_step()
    for _ in range(3):
        twin(good)
    np.testing.assert_allclose(table.numpy(), other.numpy(), rtol=1e-12)
    assert calls.item() == 3.0 and len(compiled.reports()) == 1


def test_an_index_made_of_new_state_is_looked_at_before_the_state_is_written():
    at, total = bl.tensor(np.array([0, 1])), bl.tensor(np.zeros(2))

    @bl.compile
    def step(x):
        at[...] = at * 2 + 1
        total[...] = total + x[at]
        return bl.sum(total)

    x = bl.tensor(np.arange(8.0))
    assert step(x).item() == 4.0 and step(x).item() == 14.0
    state = at.tolist(), total.tolist()
    with pytest.raises(bl.ShapeError, match="index 15 is out of bounds for axis 0 with size 8"):
        step(x)  # 7, 15
    assert (at.tolist(), total.tolist()) == state


def test_what_is_known_to_be_in_bounds_is_not_looked_at():
    x, i = np.ones((4, 5)), np.arange(3)
    known = [
        lambda x, i: x[bl.argmax(x, axis=0)], lambda x, i: x[i % 4], lambda x, i: x[bl.clip(i, -4, 3)], lambda x, i: x[np.array([0, -1])],
        lambda x, i: x[bl.where(i > 0, bl.argmin(x[:, 0]), 2)], lambda x, i: x[:, bl.argmax(x, axis=1)[:, None]],
        lambda x, i: x[bl.clip(i, 0, 2) + 1],
    ]  # fmt: skip
    asked = [
        lambda x, i: x[i],
        lambda x, i: x[i % 5],
        lambda x, i: x[bl.clip(i, 0, 2) + 2],
        lambda x, i: x[:, bl.argmax(x) + 0 * i],
    ]
    for f in known:
        assert not bounds(make_graph(f)(x, i))[1]
    for f in asked:
        assert bounds(make_graph(f)(x, i))[1]


def loops():
    def scanned(x, i):
        return bl.scan(lambda c, k: (c + x[k], x.at[k].add(c)[0]), bl.zeros((3,), dtype="float64"), i)

    def until(x, i):
        more = lambda c: i[c[0]] > 0
        return bl.while_loop(
            more, lambda c: (c[0] + 1, c[1] + x[i[c[0]]]), (bl.tensor(np.int64(0)), bl.zeros((3,), dtype="float64"))
        )

    def either(x, i):
        return bl.cond(i[0] > 0, lambda x, i: x[i], lambda x, i: x[:4] * 2.0, x, i)

    def nested(x, i):
        inner = lambda c, k: bl.scan(lambda c, j: (c + x[j + k], None), c, i[:2])
        return bl.scan(inner, bl.zeros((3,), dtype="float64"), i)[0]

    return scanned, until, either, nested


@pytest.mark.parametrize("f", loops())
def test_indices_in_loops_and_branches(f):
    x = np.random.default_rng(3).standard_normal((6, 3))
    good, bad = np.array([2, -3, 1, 0]), np.array([2, 1, 9, 0])
    graph = make_graph(f)(x, good)
    program = check_program(graph, [[x, good]], lambda arrays: close)
    assert not program.callbacks
    with pytest.raises(bl.ShapeError, match=r"out of bounds for axis 0 with size [46]"):
        program(x, bad)
    step = bl.compile(f)
    step(bl.tensor(x), bl.tensor(good))
    with pytest.raises(bl.ShapeError, match="out of bounds"):
        step(bl.tensor(x), bl.tensor(bad))
    with pytest.raises(bl.ShapeError, match="out of bounds"), bl.eager():
        step(bl.tensor(x), bl.tensor(bad))


def close(got, want, k):
    np.testing.assert_allclose(got, want, rtol=1e-13)


def test_a_branch_that_is_not_taken_may_index_anywhere():
    f = lambda x, i: bl.cond(i[0] > 0, lambda x, i: x[i], lambda x, i: x[:2] * 2.0, x, i)
    x = np.arange(4.0)
    program = native.Program(make_graph(f)(x, np.array([1, 2])))
    assert program(x, np.array([-1, 50]))[0].tolist() == [0.0, 2.0]


def test_what_a_branch_closes_over_may_be_indexed_anywhere_where_it_is_not_taken():
    x = bl.tensor(np.arange(5.0))

    @bl.compile
    def f(taken, i):
        return bl.cond(taken, lambda: bl.exp(x[i] * 0.0) + x[i], lambda: 0.0 * x[0])

    assert f(bl.tensor(False), bl.tensor(9)).item() == 0.0
    assert f(bl.tensor(True), bl.tensor(3)).item() == 4.0
    with pytest.raises(bl.ShapeError, match="index 9 is out of bounds"):
        f(bl.tensor(True), bl.tensor(9))
    with pytest.raises(bl.ShapeError, match="index 9 is out of bounds"):  # both read it: it is read in any case
        bl.compile(lambda p, i: bl.cond(p, lambda: x[i], lambda: 2.0 * x[i]))(bl.tensor(False), bl.tensor(9))


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
def test_classes_out_of_range_in_a_compiled_loss(dtype):
    """The same error as eager, and no parameter has moved."""
    model = nn.Linear(4, 3)
    opt = optim.SGD(model.parameters(), lr=0.1)

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    compiled = bl.compile(step)
    x = bl.tensor(np.random.default_rng(4).standard_normal((5, 4)).astype(np.float32))
    good = bl.tensor(np.array([0, 2, 1, 1, 0 if dtype[0] == "u" else -100], dtype))
    compiled(x, good)
    weight = model.weight.numpy().copy()
    for bad in ([0, 1, 3, 2, 1], [0, 1, 2, 2, 100], *([] if dtype[0] == "u" else [[0, -1, 2, 2, 1]])):
        y, said = bl.tensor(np.array(bad, dtype)), []
        for f in (compiled, step):
            with pytest.raises(ArgumentError, match="cross_entropy: the class") as found:
                f(x, y)
            said.append(str(found.value).split(" (/")[0])
        assert said[0] == said[1] and (model.weight.numpy() == weight).all()
    compiled(x, good)
    assert (model.weight.numpy() != weight).any()
    loss = bl.compile(lambda x, y: nn.functional.nll_loss(nn.functional.log_softmax(x), y))
    with pytest.raises(ArgumentError, match="nll_loss: the class 3"):
        loss(x[:, :3], bl.tensor(np.array([0, 2, 3, 1, 1])))


def test_many_arrays_are_joined_by_one_kernel():
    parts = [RNG.standard_normal((3, k % 4, 2)) for k in range(40)]
    for dtype in (np.float64, bfloat16, np.complex128):
        given = [p.astype(dtype) for p in parts]
        program = native.Program(make_graph(lambda *xs: bl.concat(xs, axis=1))(*given))
        (got,) = program(*given)
        assert not program.callbacks and got.tobytes() == np.concatenate(given, 1).tobytes()


@st.composite
def indexing(draw):
    """An array's shape, an index, and integer arrays some of which may be out of bounds."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    common = draw(st.lists(st.integers(0, 4), max_size=2))
    key, arrays = [], []
    for n in shape:
        kind = draw(st.sampled_from(["array", "array", "slice", "number"]))
        if kind == "array":
            size = [m if draw(st.booleans()) else 1 for m in common][draw(st.integers(0, len(common))) :]
            beyond = draw(st.sampled_from([0, 0, 0, 0, 1]))
            low, high = -n - beyond, n - 1 + beyond
            dtype = draw(st.sampled_from(["int64", "int32", "int8", "uint8", "uint64"]))
            flat = draw(
                st.lists(
                    st.integers(0 if dtype[0] == "u" else low, high), min_size=(k := int(np.prod(size))), max_size=k
                )
            )
            arrays.append(np.array(flat, dtype).reshape(size))
            key.append(len(arrays) - 1)
        elif kind == "slice":
            key.append(slice(draw(st.integers(0, n)), draw(st.integers(0, n)), draw(st.sampled_from([1, 2, -1, None]))))
        else:
            key.append(("at", draw(st.integers(-n, n - 1))))
    return tuple(shape), key, arrays


@settings(max_examples=150, deadline=None)
@given(indexing(), st.sampled_from(["float32", "float16", "int64"]))
def test_random_indices(what, dtype):
    shape, key, arrays = what
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)

    def f(x, *arrays):
        index = tuple(arrays[k] if isinstance(k, int) else k[1] if isinstance(k, tuple) else k for k in key)
        part = x[index]
        return part, x.at[index].set(part + part), x.at[index].add(part)

    try:
        want = [np.asarray(y) for y in f(bl.tensor(x), *map(bl.tensor, arrays))]
    except bl.ShapeError as error:
        with pytest.raises(bl.ShapeError, match="out of bounds|broadcast"):
            native.Program(make_graph(f)(x, *arrays))(x, *arrays)
        assert "out of bounds" in str(error) or "broadcast" in str(error)
        return
    got = native.Program(make_graph(f)(x, *arrays))(x, *arrays)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape and g.tobytes() == w.tobytes()
