"""Sums over short rows, several at once: each with the bits of a row that is alone, on every set of instructions."""

from __future__ import annotations

import numpy as np
import pytest
from watched import check_arena, watching

import backlit as bl
from backlit.compiler import make_graph
from backlit.compiler.llvm import along_rows, loops
from backlit.compiler.llvm.target import features, restricted
from backlit.compiler.native import Program

RNG = np.random.default_rng(0)
FUNCTIONS = {
    "sum": lambda x, w: bl.sum(x, axis=-1),
    "product": lambda x, w: bl.sum(x * w, axis=-1),
    "largest": lambda x, w: bl.max(x - w, axis=-1),
    "several": lambda x, w: (bl.sum(x, axis=-1), bl.min(x * 2, axis=-1), bl.sum(x * x, axis=-1)),
    "padded": lambda x, w: bl.sum(bl.concat([x, w * bl.ones_like(x)], axis=-1)[..., 1:], axis=-1),
}
SHAPES = [(8, 8), (19, 50), (33, 17), (9, 127)]


def runs(f, x, w, n_threads):
    with watching() as outputs:
        program = Program(make_graph(f)(x, w), threads=n_threads)
        found = [np.array(a) for a in program(x, w)]
        check_arena(program)
        outputs.check()
    return found


@pytest.mark.parametrize("without", [None, "avx512f", "avx2", "sse4.2"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_row_among_others_has_the_bits_of_one_alone(name, dtype, without, monkeypatch):
    monkeypatch.setattr(loops, "GRAIN_BYTES", 512)
    f = FUNCTIONS[name]
    with restricted(features(without)):
        for m, n in SHAPES:
            x, w = (RNG.standard_normal(shape) * 9 for shape in ((m, n), n))
            x, w = x.astype(dtype), w.astype(dtype)
            got = runs(f, x, w, 1)
            assert [a.tobytes() for a in runs(f, x, w, 3)] == [a.tobytes() for a in got], (m, n)
            for k in (m // 2, m - 1):
                its = runs(f, x[k : k + 1], w, 1)
                assert [a[0].tobytes() for a in its] == [a[k].tobytes() for a in got], (m, n, k)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_special_values_stay_in_their_rows(dtype):
    x = RNG.standard_normal((21, 30)).astype(dtype)
    x[3, 4], x[8, 1], x[9, 29], x[20, 0] = np.nan, np.inf, -np.inf, np.nan
    total, largest = runs(lambda x, w: (bl.sum(x, axis=1), bl.max(x, axis=1)), x, x[0], 1)
    np.testing.assert_array_equal(np.isnan(total), np.isnan(x.sum(1)))
    np.testing.assert_array_equal(np.isnan(largest), np.isnan(x.max(1)))
    np.testing.assert_array_equal(largest, x.max(1))
    np.testing.assert_allclose(total, x.sum(1), rtol=1e-5)


def test_rows_of_an_inner_axis_and_results_that_do_not_lie_side_by_side():
    x = RNG.standard_normal((6, 11, 40))
    for f, want in (
        (lambda x, w: bl.sum(x, axis=2), x.sum(2)),
        (lambda x, w: bl.sum(bl.permute_dims(x, (1, 0, 2)), axis=2), x.transpose(1, 0, 2).sum(2)),
        (lambda x, w: bl.sum(x[:, ::2], axis=2), x[:, ::2].sum(2)),
    ):
        np.testing.assert_allclose(runs(f, x, x[0, 0], 1)[0], want, rtol=1e-13)


def test_long_rows_and_rows_that_leave_values_behind_are_done_one_by_one():
    def n_loops(f, n):
        program = Program(make_graph(f)(np.ones((64, n)), np.ones(n)))
        return program.works[0].kernel.text.count("phi i64")

    long = n_loops(FUNCTIONS["sum"], 8 * features().registers * along_rows.SHORT)
    assert n_loops(FUNCTIONS["sum"], 20) >= 3 and long <= 4
    assert n_loops(lambda x, w: (x * w, bl.sum(x * w, axis=1)), 20) <= 2
