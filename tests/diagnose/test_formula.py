"""The text of formulas: brackets, names, numbers, parameters."""

import numpy as np
import pytest

from backlit.diagnose.formula import Constant, Symbol, Term, applied, array_text, number_text, numbers, text

X, Y, Z = (Symbol(name, np.array(value)) for name, value in (("x", 2.0), ("y", -3.0), ("z", 5.0)))


def op(name, *args):
    return Term(name, args, {}, ())


@pytest.mark.parametrize(
    "formula, written, filled",
    [
        (op("mul", op("add", X, Y), Z), "(x + y) * z", "(2 + (-3)) * 5"),
        (op("add", op("mul", X, Y), Z), "x * y + z", "2 * (-3) + 5"),
        (op("sub", X, op("sub", Y, Z)), "x - (y - z)", "2 - (-3 - 5)"),
        (op("sub", op("sub", X, Y), Z), "x - y - z", "2 - (-3) - 5"),
        (op("div", X, op("mul", Y, Z)), "x / (y * z)", "2 / (-3 * 5)"),
        (op("pow", op("pow", X, Y), Z), "(x ** y) ** z", "(2 ** -3) ** 5"),
        (op("pow", X, op("pow", Y, Z)), "x ** y ** z", "2 ** (-3) ** 5"),
        (op("pow", op("neg", X), Constant(2)), "(-x) ** 2", "(-2) ** 2"),
        (op("neg", op("pow", X, Constant(2))), "-x ** 2", "-2 ** 2"),
        (op("neg", op("neg", Y)), "-(-y)", "-(-(-3))"),
        (op("mul", X, op("neg", Y)), "x * (-y)", "2 * (-(-3))"),
        (op("pow", Y, Constant(-1)), "y ** -1", "(-3) ** -1"),
        (op("exp", op("add", X, Y)), "exp(x + y)", "exp(2 + (-3))"),
        (op("logical_or", op("greater", X, Y), op("equal", X, Y)), "(x > y) | (x == y)", "(2 > -3) | (2 == -3)"),
        (op("equal", op("less", X, Y), Z), "(x < y) == z", "(2 < -3) == 5"),
    ],
)
def test_brackets_stand_where_python_needs_them(formula, written, filled):
    assert text(formula) == written
    assert numbers(formula) == filled


def test_identities_are_left_out():
    x = Symbol("x", np.ones((2,)))
    two = Constant(2)
    assert applied("mul", (Constant(1.0), x), {}, (2,)) is x
    assert applied("mul", (x, Constant(np.ones(2))), {}, (2,)) is x
    assert text(applied("mul", (x, Constant(-1.0)), {}, (2,))) == "-x"
    assert applied("pow", (x, Constant(1)), {}, (2,)) is x
    assert applied("reshape", (x,), {"shape": (2,)}, (2,)) is x
    assert text(applied("mul", (two, x), {}, (2,))) == "2 * x"
    # of another shape the factor one is not the identity
    assert text(applied("mul", (Constant(np.ones(2)), Symbol("y", 1.0)), {}, (2,))) == "[1, 1] * y"


def test_a_long_part_that_occurs_twice_is_told_once():
    part = op("exp", op("add", op("mul", X, Y), op("mul", Y, Z)))
    assert text(op("mul", part, op("add", part, X))) == "s1 * (s1 + x) with s1 = exp(x * y + y * z)"
    short = op("exp", X)
    assert text(op("mul", short, short)) == "exp(x) * exp(x)"
    named = Symbol("s1", np.array(1.0))
    part = op("exp", op("add", op("mul", X, named), op("mul", Y, Z)))
    assert text(op("mul", part, part)) == "s2 * s2 with s2 = exp(x * s1 + y * z)"


def test_numbers_are_not_filled_in_for_arrays_or_a_bare_name():
    assert numbers(X) is None
    assert numbers(Term("mul", (X, Symbol("a", np.ones(2))), {}, (2,))) is None
    assert numbers(Term("sum", (Symbol("a", np.ones(2)),), {"axis": (0,), "keepdims": False}, ())) is None


def test_parameters_are_shown_when_they_say_something():
    a = Symbol("a", np.ones((2, 3)))
    assert text(Term("sum", (a,), {"axis": (0, 1), "keepdims": False}, ())) == "sum(a)"
    assert text(Term("sum", (a,), {"axis": (1,), "keepdims": True}, (2, 1))) == "sum(a, axis=1, keepdims=True)"
    assert text(Term("permute_dims", (a,), {"axes": (1, 0)}, (3, 2))) == "a.T"
    assert text(Term("permute_dims", (op("add", a, a),), {"axes": (1, 0)}, (3, 2))) == "(a + a).T"
    b = Symbol("b", np.ones((2, 2, 3)))
    assert text(Term("permute_dims", (b,), {"axes": (0, 2, 1)}, (2, 3, 2))) == "b.mT"
    assert text(Term("permute_dims", (b,), {"axes": (1, 0, 2)}, (2, 2, 3))) == "permute_dims(b, axes=(1, 0, 2))"
    index = (("slice", 1, None, None), 0)
    assert text(Term("index", (a,), {"index": index}, (1,))) == "a[1:, 0]"
    assert text(Term("index", (a,), {"index": (0, ("slice", None, None, None))}, (3,))) == "a[0]"
    spread = Term("scatter_add", (a,), {"index": index, "shape": (2, 3)}, (2, 3))
    assert text(spread) == "scatter_add(a, index=[1:, 0], shape=(2, 3))"


def test_numbers_and_arrays_as_text():
    assert [number_text(x) for x in (1.0, -0.0, 0.1 + 0.2, 1e-9, np.inf, np.nan, True, np.int64(3))] == [
        "1", "0", "0.3", "1e-09", "inf", "nan", "True", "3",
    ]  # fmt: skip
    assert array_text(np.arange(6.0)) == "[0, 1, 2, 3, 4, 5]"
    assert array_text(np.arange(7.0)) == "[0, 1, ..., 5, 6] of shape [7]"
    assert array_text(np.zeros((0, 2))) == "[] of shape [0, 2]"
    assert array_text(np.eye(2)) == "[[1, 0], [0, 1]]"
    assert array_text(np.eye(2), width=20) == "[[1, 0],\n [0, 1]]"
