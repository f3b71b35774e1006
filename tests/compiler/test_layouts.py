"""Matrices between products that lie transposed: which, when, and that nothing but rounding changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import rounding
from watched import check_program

import backlit as bl
from backlit.compiler import make_graph, native, parse, verify
from backlit.compiler.ir import evaluate
from backlit.compiler.llvm.target import Features, features, restricted
from backlit.compiler.native import Program
from backlit.compiler.passes import layouts, simplify

WIDE = Features(64, 32, True)
LEVELS = {"avx512": "", "avx2": "avx512f", "sse4.2": "avx"}


def body(inputs, lines):
    return f"graph({inputs})" + " {\n" + "".join(f"  {line}\n" for line in lines) + "}"


def turned(text, allowed=WIDE):
    return str(verify(layouts(verify(parse(text)), allowed)))


HIDDEN = [
    "e: float32[64,128] = permute_dims(b, axes=(1, 0))", "f: float32[32,128] = matmul(a, e)",
    "g: float32[32,128] = broadcast_to(c, shape=(32, 128))", "h: float32[32,128] = add(f, g)",
    "i: float32[32,128] = maximum(h, 0.0)",
]  # fmt: skip
INPUTS = "a: float32[32,64], b: float32[128,64], c: float32[128], d: float32[10,128]"


def test_a_hidden_layer_is_held_transposed():
    before = body(INPUTS, [
        *HIDDEN, "j: float32[128,10] = permute_dims(d, axes=(1, 0))", "k: float32[32,10] = matmul(i, j)", "return k",
    ])  # fmt: skip
    assert str(simplify(parse(turned(before)))) == body(INPUTS, [
        "e: float32[64,32] = permute_dims(a, axes=(1, 0))", "f: float32[128,32] = matmul(b, e)",
        "g: float32[1,128] = reshape(c, shape=(1, 128))", "h: float32[128,1] = permute_dims(g, axes=(1, 0))",
        "i: float32[128,32] = broadcast_to(h, shape=(128, 32))", "j: float32[128,32] = add(f, i)",
        "k: float32[128,32] = maximum(j, 0.0)", "l: float32[128,10] = permute_dims(d, axes=(1, 0))",
        "m: float32[32,128] = permute_dims(k, axes=(1, 0))", "n: float32[32,10] = matmul(m, l)", "return n",
    ])  # fmt: skip


@pytest.mark.parametrize("ending", [
    ["return i"],  # somebody sees it
    ["j: float32[32,128] = exp(i)", "return j"],  # or what is computed from it
    ["j: float32[4096] = reshape(i, shape=(4096,))", "k: float32[4096] = exp(j)", "return k"],  # or it is no matrix there
    ["j: float32[] = sum(i, axis=(0, 1), keepdims=False)", "return j"],
    # a product that reads its rows would have to copy it, and gains no more than that
    ["j: float32[64,32] = permute_dims(a, axes=(1, 0))", "k: float32[64,128] = matmul(j, i)",
     "l: float32[128,32] = permute_dims(i, axes=(1, 0))", "m: float32[128,128] = matmul(l, i)", "n: float32[128,128] = matmul(l, h)",
     "o: float32[64,128] = matmul(j, h)", "return k, m, n, o"],
])  # fmt: skip
def test_what_is_seen_or_dearer_elsewhere_stays(ending):
    before = body(INPUTS, [*HIDDEN, *ending])
    assert turned(before) == str(parse(before))


def test_weights_that_lie_in_the_order_of_the_product_turn_nothing():
    before = body(
        "a: float32[32,64], b: float32[64,128], c: float32[128,10]",
        [
            "d: float32[32,128] = matmul(a, b)",
            "e: float32[32,128] = tanh(d)",
            "f: float32[32,10] = matmul(e, c)",
            "return f",
        ],
    )
    assert turned(before) == before


def test_a_batch_that_fills_no_vectors_stays():
    before = body(INPUTS, [
        *HIDDEN, "j: float32[128,10] = permute_dims(d, axes=(1, 0))", "k: float32[32,10] = matmul(i, j)", "return k",
    ])  # fmt: skip
    before = before.replace("128", "512").replace("64", "784")
    assert turned(before) != str(parse(before))
    for batch in (5, 17, 37):
        other = before.replace("[32,", f"[{batch},").replace("(32, ", f"({batch}, ")
        assert turned(other) == str(parse(other))


def test_weights_that_fit_no_cache_stay():
    before = body(INPUTS, [
        *HIDDEN, "j: float32[128,10] = permute_dims(d, axes=(1, 0))", "k: float32[32,10] = matmul(i, j)", "return k",
    ])  # fmt: skip
    large = before.replace("128", "1024").replace("64", "1024")
    assert turned(large) != str(parse(large))
    large = before.replace("128", "2048").replace("64", "2048")
    assert turned(large) == str(parse(large))


def test_inputs_larger_than_the_weights_stay():
    before = body(INPUTS, [
        *HIDDEN, "j: float32[128,10] = permute_dims(d, axes=(1, 0))", "k: float32[32,10] = matmul(i, j)", "return k",
    ])  # fmt: skip
    assert turned(before) != str(parse(before))
    long = before.replace("[32,", "[320,").replace("(32, 128)", "(320, 128)")
    assert turned(long) == str(parse(long))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("op", ["sum", "max", "min"])
def test_reductions_go_along_the_other_axis(op, keepdims):
    shape = "1,128" if keepdims else "128"
    before = body(INPUTS, [
        *HIDDEN, "j: float32[128,10] = permute_dims(d, axes=(1, 0))", "k: float32[32,10] = matmul(i, j)",
        f"l: float32[{shape}] = {op}(i, axis=(0,), keepdims={keepdims})", "return k, l",
    ])  # fmt: skip
    graph = verify(parse(before))
    arrays = drawn(graph)
    check(graph, layouts(graph, WIDE), arrays)
    wide = before.replace("128", "512").replace("64", "256")
    assert ", axis=(1,)" in turned(wide)
    graph = verify(parse(wide))
    check(graph, layouts(graph, WIDE), drawn(graph))
    flat = before.replace("64", "8")  # where the sums along short rows cost more than copying the weights
    assert turned(flat) == str(parse(flat))
    unread = "\n".join(line for line in flat.splitlines() if f"{op}(" not in line).replace("return k, l", "return k")
    assert turned(unread) != str(parse(unread))


def drawn(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(v.aval.shape).astype(v.aval.dtype) for v in graph.inputs]


def check(before, after, arrays):
    """The graphs compute the same within rounding, and so does the program of the latter."""
    compare = rounding.compare(before)
    check_program(before, [arrays], compare, threads=(1, 2, 3, 7))
    expected, found = evaluate(before, *arrays), evaluate(verify(after), *arrays)
    for x, y, bound in zip(expected, found, rounding.bounds(before, arrays), strict=True):
        assert (np.abs(x - y) <= bound).all()


def network(x, *weights):
    for w, b in zip(weights[::2], weights[1::2], strict=True):
        x = bl.maximum(x @ w.T + b, 0.1 * x @ w.T)
    return x


def sizes():
    batches, widths = (
        (1, 2, 5, 16, 33, 100),
        ((17, 33, 40), (64, 128, 64, 10), (3, 130, 1, 70), (0, 20, 30), (20, 0, 30)),
    )
    return [(n, w) for n, w in itertools.product(batches, widths)] + [(0, (17, 33, 40))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch, widths", sizes())
def test_networks_are_right(batch, widths, dtype):
    rng = np.random.default_rng(batch)
    arrays = [rng.standard_normal((batch, widths[0])).astype(dtype)]
    for inner, outer in itertools.pairwise(widths):
        arrays += [rng.standard_normal(shape).astype(dtype) for shape in ((outer, inner), (outer,))]
    graph = make_graph(network)(*arrays)
    check_program(graph, [arrays], rounding.compare(graph), threads=(2,))


@pytest.mark.parametrize("level", LEVELS)
def test_forward_and_gradients_with_any_instructions(level):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((48, 70), (96, 70), (96,), (50, 96), (50,))]
    with restricted(features(LEVELS[level])):
        for f in (network, bl.value_and_grad(lambda *xs: bl.sum(network(*xs) ** 2), argnums=(0, 1, 2, 3, 4))):
            graph = make_graph(f)(*arrays)
            check_program(graph, [arrays], rounding.compare(graph), threads=(3,))


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(0)
    shapes = ((256, 300), (512, 300), (512,), (200, 512), (200,), (40, 200), (40,))
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    graph = make_graph(network)(*arrays)
    assert str(native.layouts(simplify(graph))) != str(simplify(graph))
    first = Program(graph, threads=1)(*arrays)
    for n in (2, 3, 7):
        assert [a.tobytes() for a in Program(graph, threads=n)(*arrays)] == [a.tobytes() for a in first]
