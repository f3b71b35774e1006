"""Products of a matrix with one long row: several rows are read beside one another, unless the matrix is read again."""

from __future__ import annotations

import numpy as np
import pytest
from watched import check_arena, watching

import backlit as bl
from backlit.compiler import make_graph
from backlit.compiler.llvm.target import features, restricted
from backlit.compiler.native import Program

RNG = np.random.default_rng(0)
FUNCTIONS = {
    "one row": (lambda x, w: w[None] @ x.mT, lambda x, w: w[None] @ x.T),
    "one column": (lambda x, w: x @ w[:, None], lambda x, w: x @ w[:, None]),
    "sum": (lambda x, w: (x * w).sum(axis=1), lambda x, w: (x * w).sum(axis=1)),
    "every second row": (lambda x, w: (x[::2] * w).sum(axis=1), lambda x, w: x[::2] @ w),
    "backwards": (lambda x, w: (x[::-1] * w).sum(axis=1), lambda x, w: x[::-1] @ w),
}


def by_dots(program):
    return any(w.kernel is not None and "@dots_" in w.kernel.text for w in program.works)


def runs(f, x, w, n_threads):
    with watching() as outputs:
        program = Program(make_graph(f)(x, w), threads=n_threads)
        found = np.array(program(x, w)[0])
        check_arena(program)
        outputs.check()
    assert by_dots(program)
    return found


@pytest.mark.parametrize("without", [None, "avx512f", "avx2", "sse4.2"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_products_with_a_long_row_are_numpys(name, dtype, without):
    f, reference = FUNCTIONS[name]
    with restricted(features(without)):
        for m, k in ((40, 700), (90, 2049), (18, 6000)):
            x, w = RNG.standard_normal((m, k)).astype(dtype), RNG.standard_normal(k).astype(dtype)
            wide = reference(x.astype(float), w.astype(float))
            scale = np.sqrt((x.astype(float) ** 2).sum(1).max() * (w.astype(float) ** 2).sum())
            got = runs(f, x, w, 1)
            assert got.shape == wide.shape and got.dtype == dtype
            assert np.abs(got - wide).max() <= 8 * np.finfo(dtype).eps * scale
            assert runs(f, x, w, 3).tobytes() == got.tobytes(), (m, k)


def test_two_products_with_one_matrix_read_it_once():
    x, y, w = RNG.standard_normal((3000, 600)), RNG.standard_normal(3000), RNG.standard_normal(600)
    f = bl.value_and_grad(lambda w, x, y: ((x @ w - y) ** 2).mean())
    program = Program(make_graph(f)(w, x, y), threads=1)
    assert any(work.parts for work in program.works) and not by_dots(program)
    for got, wanted in zip(program(w, x, y), f(w, x, y), strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-11, atol=1e-12)
