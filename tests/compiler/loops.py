"""What the tests of loops share: one function in every form that it has in the compiler."""

from __future__ import annotations

from unittest import mock

import numpy as np
from watched import ONES, check_arena, watching

import backlit as bl
from backlit import compile
from backlit.compiler import builder, evaluate, make_graph, simplify, verify
from backlit.compiler.llvm import sequential
from backlit.compiler.native import Program
from backlit.core import tree


def arrays(out):
    return [np.asarray(x.detach() if isinstance(x, bl.Tensor) else x) for x in tree.leaves(out)]


def programs(graph):
    """A graph as a program whose loops keep their carries in registers, one whose loops call kernels, one that calls back."""
    yield Program(graph)
    with mock.patch.object(sequential, "WEIGHT", -1):
        yield Program(graph)
        if _count(graph) <= 3:  # for each region is a program of its own
            with mock.patch.object(builder, "nested_kernel", lambda *_: None):
                yield Program(graph)


def _count(graph):
    return sum(1 + _count(r) for e in graph.eqns for r in e.regions)


def assert_agree(f, *args, rtol=1e-12):
    """The function step by step, its graph, its simplified graph and its programs give the same."""
    expected = arrays(f(*args))
    graph = make_graph(f)(*args)
    flat = [np.asarray(x) for x in tree.leaves(args)]
    simple = verify(simplify(graph))
    ways = [evaluate(graph, *flat), evaluate(simple, *flat), arrays(compile(f)(*tree.map(bl.tensor, args)))]
    with watching() as outputs:
        for program in programs(simple):
            program._scratch[:] = ONES
            ways += [[np.array(x) for x in program(*flat)] for _ in range(2)]
            check_arena(program)
        outputs.check()
    for found in ways:
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14)
    return simple
