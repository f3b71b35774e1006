"""Memory plans: nothing that is live together overlaps, and what is dead may be poisoned."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_programs import programs, run

import backlit as bl
from backlit.compiler import Literal, make_graph, parse, simplify
from backlit.compiler.memory import ALIGNMENT_BYTES, Range, place, plan_memory
from backlit.core.op import Elementwise

RANGES = st.lists(
    st.builds(lambda s, n, size: Range(s, s + n, size), st.integers(0, 20), st.integers(0, 20), st.integers(0, 1000)),
    max_size=25,
)


def check(ranges, plan):
    sizes = [-(-r.size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for r in ranges]
    for i, (a, at) in enumerate(zip(ranges, plan.offsets, strict=True)):
        assert at % ALIGNMENT_BYTES == 0 and at + sizes[i] <= plan.peak_bytes
        for j in range(i):
            b, bt = ranges[j], plan.offsets[j]
            together = a.start <= b.end and b.start <= a.end
            assert not together or at + sizes[i] <= bt or bt + sizes[j] <= at or not sizes[i] or not sizes[j]
    moments = {r.start for r in ranges}
    live = [sum(s for r, s in zip(ranges, sizes, strict=True) if r.start <= m <= r.end) for m in moments]
    assert plan.lower_bound_bytes == max(live, default=0) <= plan.peak_bytes


@settings(deadline=None, max_examples=200)
@given(ranges=RANGES)
def test_plans_are_sound(ranges):
    check(ranges, place(ranges))


def test_no_buffers_need_no_room():
    assert place([]) == place([Range(0, 3, 0)][:0]) and place([]).peak_bytes == 0
    assert place([Range(0, 1, 10), Range(2, 3, 10)]).peak_bytes == ALIGNMENT_BYTES


@pytest.mark.parametrize("seed", range(4))
def test_what_a_train_step_keeps_is_placed_without_waste(seed):
    """Kept in the forward, freed in reverse order, with scratch beside: the bound is reached."""
    rng = random.Random(seed)
    layers, ranges = 100, []
    for k in range(layers):
        ranges.append(Range(k, 2 * layers - k, rng.choice([1, 2, 4, 8]) * 4096))
        ranges += [Range(k, k + 1, rng.choice([1, 2, 4]) * 4096) for _ in range(3)]
        ranges += [Range(2 * layers - k, 2 * layers - k + 1, rng.choice([1, 2, 4]) * 4096) for _ in range(3)]
    plan = place(ranges)
    check(ranges, plan)
    assert plan.peak_bytes == plan.lower_bound_bytes < sum(r.size_bytes for r in ranges) / 2


def check_overlay(e, plan):
    """A result lies apart from the operands, or exactly on one that it may overwrite element by element."""
    nbytes = lambda v: math.prod(v.aval.shape) * v.aval.dtype.itemsize
    at = plan.offsets[e.out]
    for a in e.inputs:
        if a in plan.offsets and nbytes(a) and nbytes(e.out):
            apart = at + nbytes(e.out) <= plan.offsets[a] or plan.offsets[a] + nbytes(a) <= at
            onto = at == plan.offsets[a] and (
                a.aval == e.out.aval and isinstance(e.op, Elementwise) or e.op.name == "reshape"
            )
            assert apart or onto, e.op.name


def run_in_arena(graph, *arrays):
    """The outputs, computed with every intermediate in its place of one arena whose free bytes are poisoned."""
    plan = plan_memory(graph)
    arena = np.full(plan.peak_bytes + 64, 0xFF, np.uint8)  # NaN in every float dtype
    places = {**dict(zip(graph.inputs, arrays, strict=True)), **graph.consts}
    uses = {}
    for t, e in enumerate(graph.eqns):
        for a in e.inputs:
            uses[a] = t
    for t, e in enumerate(graph.eqns):
        operands = [a.value if isinstance(a, Literal) else places[a] for a in e.inputs]
        with np.errstate(all="ignore"):
            out = np.array(e.op.forward(*operands, **e.params))
        if e.out in plan.offsets:
            check_overlay(e, plan)
        here = {a: plan.offsets[a] for a in places if a in plan.offsets}
        alive = {at for a, at in here.items() if uses.get(a, -1) > t}
        for a, at in here.items():
            if uses.get(a, -1) <= t:
                if at not in alive and not (e.op.name == "reshape" and a in e.inputs):
                    places[a].reshape(-1).view(np.uint8)[...] = 0xFF
                del places[a]
        if e.out in plan.offsets:
            size = math.prod(e.out.aval.shape) * e.out.aval.dtype.itemsize
            at = plan.offsets[e.out]
            places[e.out] = arena[at : at + size].view(e.out.aval.dtype).reshape(e.out.aval.shape)
            places[e.out][...] = out
        else:
            places[e.out] = out
    return [np.asarray(a.value if isinstance(a, Literal) else places[a]) for a in graph.outputs]


@settings(deadline=None, max_examples=60)
@given(program=programs, seed=st.integers(0, 1000), simplified=st.booleans())
def test_random_programs_run_in_their_arena(program, seed, simplified):
    x, y = np.random.default_rng(seed).standard_normal((2, 3, 3))
    f = bl.value_and_grad(lambda x: (run(program, x, y) ** 2).sum())
    graph = make_graph(f)(x)
    graph = simplify(graph) if simplified else graph
    for got, want in zip(run_in_arena(graph, x), f(x), strict=True):
        # in the arena every value is contiguous, so sums may add in another order
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-11, atol=1e-12)


def test_elementwise_results_take_the_place_of_dying_operands():
    text = """\
graph(a: float64[1000]) {
  b: float64[1000] = sin(a)
  c: float64[1000] = cos(b)
  d: float64[1000] = tanh(c)
  e: float64[10,100] = reshape(d, shape=(10, 100))
  f: float64[100,10] = permute_dims(e, axes=(1, 0))
  g: float64[] = sum(f, axis=(0, 1), keepdims=False)
  return g
}"""
    graph = parse(text)
    plan = plan_memory(graph)
    b, c, d, e, f = (q.out for q in graph.eqns[:5])
    assert plan.offsets[b] == plan.offsets[c] == plan.offsets[d] == plan.offsets[e] != plan.offsets[f]
    assert plan.peak_bytes == plan.lower_bound_bytes == 2 * 8000
    assert all(isinstance(q.op, Elementwise) for q in graph.eqns[:3])


def test_inputs_and_outputs_lie_outside():
    graph = make_graph(lambda x: (x * 2.0).reshape(-1))(np.ones((2, 2)))
    assert plan_memory(graph).offsets == {} and plan_memory(graph).peak_bytes == 0


def test_the_arena_of_a_gradient_does_not_grow_with_what_dies():
    def loss(ws, x):
        for w in ws:
            x = bl.tanh(x @ w)
        return (x * x).sum()

    layers, batch, width = 10, 64, 32
    graph = simplify(make_graph(bl.grad(loss))([np.ones((width, width))] * layers, np.ones((batch, width))))
    plan = plan_memory(graph)
    kept = layers * batch * width * 8
    assert plan.lower_bound_bytes <= plan.peak_bytes <= 1.05 * plan.lower_bound_bytes
    assert kept <= plan.peak_bytes <= 1.6 * kept
