"""Passes: text in, text out."""

from __future__ import annotations

import random

import numpy as np
import program_maker
import pytest

from backlit.compiler import evaluate, make_graph, parse, verify
from backlit.compiler.passes import algebra, cse, dce, expand, fold, local


def body(inputs, lines, consts=""):
    head = f"graph({inputs})" + (f" consts({consts})" if consts else "")
    return head + " {\n" + "".join(f"  {line}\n" for line in lines) + "}"


def apply(change, text, **consts):
    return str(verify(change(verify(parse(text, consts)))))


def test_dead_code_and_constants_go():
    before = body(
        "a: float64[2]",
        ["c: float64[2] = sin(a)", "d: float64[2] = add(c, b)", "e: float64[2] = cos(a)", "return e"],
        "b: float64[2]",
    )
    assert apply(dce, before, b=[1, 2]) == body("a: float64[2]", ["b: float64[2] = cos(a)", "return b"])


def test_what_is_computed_twice_is_computed_once():
    before = body(
        "a: float64[2]",
        [
            "d: float64[2] = sin(a)", "e: float64[2] = sin(a)", "f: float64[2] = mul(d, 2.0)", "g: float64[2] = mul(e, 2.0)",
            "h: float64[2] = mul(e, 2)", "i: float64[2] = add(f, b)", "j: float64[2] = add(g, c)",
            "k: float64[2] = mul(a, 0.0)", "l: float64[2] = mul(a, -0.0)", "return i, j, h, k, l",
        ],
        "b: float64[2], c: float64[2]",
    )  # fmt: skip
    assert apply(cse, before, b=[1, 2], c=[1, 2]) == body(
        "a: float64[2]",
        [
            "c: float64[2] = sin(a)", "d: float64[2] = mul(c, 2.0)", "e: float64[2] = mul(c, 2)", "f: float64[2] = add(d, b)",
            "g: float64[2] = mul(a, 0.0)", "h: float64[2] = mul(a, -0.0)", "return f, f, e, g, h",
        ],
        "b: float64[2]",
    )  # fmt: skip


def test_known_results_are_computed_ahead_unless_they_grow():
    before = body(
        "a: float64[1000]",
        [
            "c: float64[] = sin(b)", "d: float64[] = mul(c, 2.0)", "e: float64[1000] = broadcast_to(d, shape=(1000,))",
            "f: float64[1000] = mul(a, e)", "return f",
        ],
        "b: float64[]",
    )  # fmt: skip
    after = verify(fold(verify(parse(before, {"b": 0.5}))))
    assert str(dce(after)) == body(
        "a: float64[1000]",
        [f"b: float64[1000] = mul(a, {float(np.sin(0.5) * 2)!r})", "return b"],
    )


def test_one_number_beside_an_array_is_a_literal_if_it_is_of_its_dtype():
    before = body(
        "a: float32[3], b: bool[3]",
        [
            "e: float32[3] = mul(c, a)", "f: float64[3] = add(a, d)", "g: float32[3] = where(b, a, c)",
            "h: float32[3] = where(b, c, c)", "return e, f, g, h",
        ],
        "c: float32[3], d: float64[3]",
    )  # fmt: skip
    after = str(fold(parse(before, {"c": [0.1] * 3, "d": [2.0] * 3})))
    number = float(np.float32(0.1))
    assert f"mul({number!r}, a)" in after and f"where(b, a, {number!r})" in after
    assert "add(a, d)" in after and "where(b, c, c)" in after
    mixed = fold(parse(before, {"c": [0.0, -0.0, 0.0], "d": [2.0] * 3}))
    assert "mul(c, a)" in str(mixed)


@pytest.mark.parametrize(
    "line, becomes",
    [
        ("mul(a, 1.0)", "a"), ("mul(1, a)", "a"), ("div(a, 1)", "a"), ("pow(a, 1.0)", "a"), ("sub(a, 0.0)", "a"),
        ("reshape(a, shape=(2, 3))", "a"), ("broadcast_to(a, shape=(2, 3))", "a"), ("sum_to(a, shape=(2, 3))", "a"),
        ("astype(a, dtype='float64')", "a"), ("permute_dims(a, axes=(0, 1))", "a"),
        ("add(a, 0.0)", None), ("mul(a, 0.0)", None), ("sub(a, -0.0)", None), ("mul(a, True)", None), ("div(1.0, a)", None),
        ("pow(a, 2)", None), ("mul(a, -1.0)", "neg(a)"), ("div(a, -1)", "neg(a)"),
    ],
)  # fmt: skip
def test_what_changes_no_bit_goes_and_the_rest_stays(line, becomes):
    before = body("a: float64[2,3]", [f"b: float64[2,3] = {line}", "return b"])
    after = before
    if becomes == "a":
        after = body("a: float64[2,3]", ["return a"])
    elif becomes:
        after = body("a: float64[2,3]", [f"b: float64[2,3] = {becomes}", "return b"])
    assert apply(lambda g: dce(algebra(g)), before) == after


def test_moves_that_cancel():
    before = body(
        "a: float64[2,3], b: bool[2,3]",
        [
            "c: float64[3,2] = permute_dims(a, axes=(1, 0))", "d: float64[2,3] = permute_dims(c, axes=(1, 0))",
            "e: float64[6] = reshape(d, shape=(6,))", "f: float64[3,2] = reshape(e, shape=(3, 2))",
            "g: float64[3,2] = neg(f)", "h: float64[3,2] = neg(g)", "i: float64[2,3] = where(b, a, a)", "return h, i",
        ],
    )  # fmt: skip
    assert apply(lambda g: dce(algebra(g)), before) == body(
        "a: float64[2,3], b: bool[2,3]", ["c: float64[3,2] = reshape(a, shape=(3, 2))", "return c, a"]
    )
    partly = body(
        "a: float64[2,3,4]",
        [
            "b: float64[4,2,3] = permute_dims(a, axes=(2, 0, 1))", "c: float64[2,4,3] = permute_dims(b, axes=(1, 0, 2))", "return c",
        ],
    )  # fmt: skip
    assert "permute_dims(a, axes=(0, 2, 1))" in apply(lambda g: dce(algebra(g)), partly)


def test_an_integer_times_one_float_is_no_integer():
    before = body("a: int64[2]", ["b: float64[2] = mul(a, 1.0)", "return b"])
    assert apply(algebra, before) == before


def test_a_truth_compared_with_zero_is_itself():
    before = body(
        "a: bool[2], b: int32[2]",
        ["c: bool[2] = not_equal(a, 0)", "d: bool[2] = not_equal(a, False)", "e: bool[2] = not_equal(b, 0)",
         "f: bool[2] = not_equal(a, 1)", "return c, d, e, f"],
    )  # fmt: skip
    assert apply(algebra, before) == body(
        "a: bool[2], b: int32[2]",
        ["c: bool[2] = not_equal(b, 0)", "d: bool[2] = not_equal(a, 1)", "return a, a, c, d"],
    )  # fmt: skip


def test_a_pad_by_nothing_goes():
    before = body(
        "a: float64[2]",
        ["b: float64[2] = pad(a, width=((0, 0),))", "c: float64[3] = pad(b, width=((0, 1),))", "return b, c"],
    )
    assert apply(algebra, before) == body("a: float64[2]", ["b: float64[3] = pad(a, width=((0, 1),))", "return a, b"])


def test_what_is_chosen_already_is_not_chosen_again():
    before = body(
        "a: bool[2], b: bool[2], c: float64[2]",
        ["d: bool[2] = logical_and(a, b)", "e: float64[2] = where(b, c, 0.0)", "f: float64[2] = where(d, e, 0.0)",
         "g: float64[2] = where(b, e, 0.0)", "h: float64[2] = where(d, e, -0.0)", "i: float64[2] = where(a, e, 0.0)",
         "j: bool[2] = logical_or(a, b)", "k: float64[2] = where(j, e, 0.0)", "return f, g, h, i, k"],
    )  # fmt: skip
    assert apply(lambda g: dce(algebra(g)), before) == body(
        "a: bool[2], b: bool[2], c: float64[2]",
        ["d: bool[2] = logical_and(a, b)", "e: float64[2] = where(b, c, 0.0)", "f: float64[2] = where(d, c, 0.0)",
         "g: float64[2] = where(b, c, 0.0)", "h: float64[2] = where(d, e, -0.0)", "i: float64[2] = where(a, e, 0.0)",
         "j: bool[2] = logical_or(a, b)", "k: float64[2] = where(j, e, 0.0)", "return f, g, h, i, k"],
    )  # fmt: skip


def test_whether_any_holds_needs_no_count():
    before = body(
        "a: bool[2,3], b: bool[2,0], c: int64[2,3]",
        ["d: int64[2] = sum(a, axis=(1,), keepdims=False)", "e: bool[2] = greater(d, 0)", "f: bool[2] = greater(d, 1)",
         "g: int64[2] = sum(b, axis=(1,), keepdims=False)", "h: bool[2] = greater(g, 0)",
         "i: int64[2] = sum(c, axis=(1,), keepdims=False)", "j: bool[2] = greater(i, 0)", "return e, f, h, j"],
    )  # fmt: skip
    after = dce(verify(expand(verify(parse(before)))))
    names = [e.op.name for e in after.eqns]
    assert names == ["sum", "astype", "max", "astype", "greater", "sum", "greater", "sum", "greater"]
    for a in ([[0, 0, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 1]]):
        given = np.array(a, bool), np.empty((2, 0), bool), -np.array(a)
        for x, y in zip(evaluate(parse(before), *given), evaluate(after, *given), strict=True):
            assert x.tolist() == y.tolist()


def programs(n):
    """Graphs of random programs."""
    chosen = random.Random(11)
    for seed in range(n):
        shapes = [(chosen.choice(program_maker.SIZES), chosen.choice(program_maker.SIZES)) for _ in range(3)]
        arrays = program_maker.draw([(shape, chosen.choice(program_maker.DTYPES)) for shape in shapes], seed)
        names = sorted(program_maker.STEPS)
        steps = [(chosen.choice(names), *(chosen.randrange(40) for _ in range(3))) for _ in range(12)]
        with np.errstate(all="ignore"):
            yield make_graph(lambda *xs, steps=steps: program_maker.run(steps, xs))(*arrays)


def test_one_go_over_the_equations_leaves_nothing_for_another():
    for number, graph in enumerate(programs(40)):
        once = dce(local(graph))
        again, apart = once, graph
        with np.errstate(all="ignore"):
            for _ in range(3):
                again = dce(local(again))
                apart = dce(cse(algebra(fold(apart))))
        assert str(once) == str(again), number
        ops = [sorted((e.op.name, repr(e.params), str(e.out.aval)) for e in g.eqns) for g in (once, apart)]
        assert ops[0] == ops[1], number  # in another order where one of two equal equations is dead


def test_what_one_rule_finds_the_others_go_on_with_in_the_same_go():
    before = body(
        "a: float64[2]",
        [
            "c: float64[] = sin(b)", "d: float64[] = sin(b)", "e: float64[2] = broadcast_to(c, shape=(2,))",
            "f: float64[2] = broadcast_to(d, shape=(2,))", "g: float64[2] = mul(a, e)", "h: float64[2] = mul(a, f)",
            "i: float64[2] = neg(g)", "j: float64[2] = neg(i)", "k: float64[2] = sub(j, h)", "l: float64[2] = sub(g, g)",
            "return k, l",
        ],
        "b: float64[]",
    )  # fmt: skip
    after = body(
        "a: float64[2]",
        [f"b: float64[2] = mul(a, {np.sin(0.5)!r})".replace("np.float64(", "").replace("))", ")"),
         "c: float64[2] = sub(b, b)", "return c, c"],
    )  # fmt: skip
    assert apply(lambda graph: dce(local(graph)), before, b=0.5) == after
