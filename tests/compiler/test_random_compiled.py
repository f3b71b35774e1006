"""Random programs compiled against their evaluation, within the bounds of `rounding`, watched as `watched` says.

`make fuzz` runs as many as FUZZ_PROGRAMS says, from a seed that it prints; FUZZ_SEED gives it again.
"""

from __future__ import annotations

import os

import program_maker as maker
import pytest
import rounding
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from watched import check_program

import backlit as bl
from backlit.compiler import chains, make_graph, simplify
from backlit.compiler.llvm import loops, totals
from backlit.compiler.llvm.target import features, restricted
from backlit.core.dtypes import is_float

EACH = 50
N_PROGRAMS = int(os.environ.get("FUZZ_PROGRAMS", "500"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
PARTS = range(-(-N_PROGRAMS // EACH))


def search(part, **strategies):
    """Runs a check on `EACH` programs; the same ones for the same seed and number."""

    def decorate(check):
        limits = settings(
            max_examples=EACH, deadline=None, database=None, print_blob=True, report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
        )  # fmt: skip
        seed(SEED * 1_000_003 + part)(limits(given(**strategies)(check)))()

    return decorate


LEVELS = ("", "avx512f", "", "avx")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch, request):
    """Small programs are shared out among threads as well; in parts of them kernels are chained and sums made of blocks."""
    part = request.node.callspec.params["part"]
    monkeypatch.setattr(loops, "GRAIN_BYTES", 512)
    if part % 2:
        monkeypatch.setattr(chains, "SHARED_BYTES", 1)
        monkeypatch.setattr(chains, "STRETCH_BYTES", 64)
    if part % 3 == 1:
        monkeypatch.setattr(totals, "BLOCK", 8)
        monkeypatch.setattr(totals, "ROWS", 2)


def check(f, arrays, part):
    graph = simplify(make_graph(f)(*arrays))
    with restricted(features(LEVELS[part % len(LEVELS)])):
        check_program(graph, [arrays, arrays], rounding.compare(graph), threads=(2, 3, 7)[: 1 + part % 3])


@pytest.mark.parametrize("part", PARTS)
def test_random_programs(part):
    """Half of them as they are, half with the gradient of a loss; each part with other vectors and threads."""

    @search(part, steps=maker.steps, inputs=maker.inputs, number=st.integers(0, 10_000))
    def values(steps, inputs, number):
        arrays = maker.draw(inputs, number)
        if number % 2:
            check(lambda *xs: maker.returned(steps, xs), arrays, part)
            return
        floats = [k for k, x in enumerate(arrays) if is_float(x.dtype)]
        if floats:
            loss = lambda *xs: maker.loss(steps, xs)
            check(bl.value_and_grad(loss, argnums=tuple(floats)), arrays, part)
