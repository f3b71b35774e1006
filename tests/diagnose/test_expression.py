"""What an expression and its values may be, and the sentence for everything else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlit.core.errors import BacklitError, DataError, DTypeError, GradientError, ShapeError
from backlit.diagnose import explain, parse_values
from backlit.diagnose.expression import MAX_LENGTH, parse
from backlit.diagnose.functions import FUNCTIONS

A = [[1.0, 2.0], [3.0, 4.0]]


def output(expression, **values):
    found = explain(expression, values)
    return found[found.output].value.item()


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("x + 2*3", 8.0),
        ("-x**2", -4.0),
        ("(-x)**2", 4.0),
        ("2**-x", 0.25),
        ("x**2**3", 256.0),
        ("+x - -x", 4.0),
        ("x/4 + 7/2", 4.0),
        ("a = 3\nb = a*x; b + a", 9.0),
        ("  u = x\n  u = u*u\n  u + x;", 6.0),
        ("where(x >= 2, x, 0) + where(x != 2, x, 1) + where(x == 2, 10, 20)*1.0", 13.0),
        ("sum(x * [1, 2, (3)])", 12.0),
        ("sum([[1, 2], [3, 4]] * x, axis=0)[1] + sum(x*[[1, 2], [3, -4]], axis=(0, 1))", 16.0),
        ("mean(x*[[1, 2], [3, 5]], axis=1, keepdims=True)[0, 0]", 3.0),
        ("(x * [[1, 2], [3, 4]]).T[1:, 0][0]", 4.0),
        ("sum((x * [1, 2, 3, 4])[::-2])", 12.0),
        ("sum((x * [1, 2, 3, 4])[-1])", 8.0),
        ("[1, 2] @ (x * [3, 4])", 22.0),
        ("matmul([[1, 2]], x*[3, 4])[0]", 22.0),
        ("sqrt(4)*x + abs(-3)", 7.0),
        ("mse_loss(x, 0.1)", 1.9**2),
    ],
)
def test_values_follow_python(expression, expected):
    assert output(expression, x=2.0) == pytest.approx(expected, rel=1e-15)


def test_truth_counts_as_one_and_zero():
    assert output("x * (-(x > 0) - (x > 1) + 5)", x=2.0) == 6.0
    assert output("x * sum(x * [1, 2] > 3, axis=0) + (2 > 1)", x=2.0) == 3.0
    assert output("where(where(x > 0, x > 1, x > 2), x, 0)", x=2.0) == 2.0
    assert output("where(1e-300, x, 0)", x=2.0) == 2.0


def test_numbers_are_float64_wherever_they_stand():
    assert output("x * where(x > 0, 0.1, 0.2)", x=1.0) == 0.1
    assert output("x * exp(0.1)", x=1.0) == np.exp(0.1)
    assert output("mse_loss(x, 0.1)", x=0.0) == 0.1 * 0.1
    assert output("x * 9007199254740993", x=1.0) == 9007199254740992.0


def test_a_power_tower_is_a_float():
    assert output("x * 2**10**10", x=1.0) == np.inf
    assert output("x * " + "9" * 500, x=1.0) == np.inf


@pytest.mark.parametrize(
    "expression, message",
    [
        ("L = sinn(x)", "unknown function sinn; did you mean sin or sinh? (at column 5)\n    L = sinn(x)\n        ^"),
        ("qqq(x)", "unknown function qqq; there are abs, acos"),
        ("L = x^2", "^ is not power; write ** (at column 5)"),
        ("x // 2", "// has no useful derivative; write /"),
        ("x % 2", "% is not supported"),
        ("x & x", "& is not supported"),
        ("not x", "'not' is not supported"),
        ("x > 0 and x < 1", "'and' and 'or' are not supported; nest where(...)"),
        ("0 < x < 1", "a chain of comparisons is not supported; compare two values at a time (at column 1)"),
        ("x if x > 0 else 1", "write where(c, a, b)"),
        ("x += 1", "write x = x + y"),
        ("x < 1 in [1]", "a chain of comparisons"),
        ("x in [1]", "in: not supported in an expression"),
        ("y = (z := x)", ":= is not supported; make the assignment a statement of its own (at column 6)"),
        ("f = lambda x: x", "functions cannot be defined"),
        ("import os", "nothing can be imported"),
        ("for i in x: x", "loops are not supported"),
        ("[i for i in x]", "loops are not supported"),
        ("[1, x]", "an array is written with numbers only, and the name x is none (at column 5)"),
        ("[1, [2, 3]]", "the rows have unequal lengths"),
        ("{1: x}", "dict: not supported"),
        ("x + 'abc'", "'abc' is not a number (at column 5)"),
        ("x + True", "True is not a number (at column 5)"),
        ("x + 2j", "2j is not a number (at column 5)"),
        ("f'{x}'", "text is not supported"),
        ("x.real", ".real is not supported; of attributes there is only .T (at column 1)"),
        ("x.sum()", "functions are called by their plain names, as in sum(x) (at column 1)"),
        ("a, b = x", "an assignment gives a value to one name"),
        ("a = b = x", "an assignment gives a value to one name"),
        ("x[0] = 1", "an assignment gives a value to one name"),
        ("sin(x, x)", "sin takes 1 argument, got 2 (at column 1)"),
        ("max(x, 2)", "max takes 1 argument, got 2; of two values, maximum(a, b)"),
        ("where(x, 2)", "where takes 3 arguments, got 2"),
        ("sin(*x)", "arguments are written out"),
        ("sum(x, axs=0)", "sum has the options axis=, keepdims=; got axs (at column 8)"),
        ("sin(x, axis=0)", "sin has no options; got axis"),
        ("sum(x, **x)", "sum has the options axis=, keepdims=; got **"),
        ("sum(x, axis=x)", "axis is written as a whole number, and the name x is none (at column 13)"),
        ("sum(x, axis=0.5)", "axis is written as a whole number, and 0.5 is none"),
        ("softmax(x, axis=(0, 1))", "axis is written as a whole number, and tuple is none"),
        ("sum(x, keepdims=1)", "keepdims is True or False"),
        ("x[x]", "an index is written as a whole number, and the name x is none (at column 3)"),
        ("x[0:1.5]", "an index is written as a whole number, and 1.5 is none"),
        ("x[::0]", "the step of a slice cannot be 0"),
        ("L = (x", "the expression cannot be read: '(' was never closed (at column 5)"),
        ("L = 2x", "invalid decimal literal; write a product as 2*x"),
        ("x +", "the expression cannot be read: invalid syntax"),
        ("x\n  y +* x", "the expression cannot be read: invalid syntax (at line 2, column 4)"),
        ("x\0", "the expression cannot be read"),
        ("", "the expression is empty; write one like"),
        (" ; ", "the expression cannot be read"),
        ("y = 1\n\n# nothing but\nz*y", "z has no value; give it as z=NUMBER (at line 4, column 1)"),
        ("x + y + z", "y has no value (nor have z); give it as y=NUMBER (at column 5)"),
        ("abc = x; abd", "abd has no value; did you mean abc? (at column 10)"),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(expression, message):
    with pytest.raises(DataError) as raised:
        explain(expression, {"x": 1.0})
    assert message in str(raised.value)


def test_columns_count_characters_and_long_lines_are_cut():
    with pytest.raises(DataError) as raised:
        explain("αβ + sinn(x)", {"αβ": 1.0, "x": 1.0})
    assert "(at column 6)\n    αβ + sinn(x)\n         ^" in str(raised.value)
    with pytest.raises(DataError) as raised:
        explain("x + " * 30 + "sinn(x)" + " + x" * 30, {"x": 1.0})
    line, caret = str(raised.value).split("\n")[1:]
    assert line[caret.index("^") :].startswith("sinn(x) + x")
    assert line.startswith("    ...") and line.endswith("...") and len(line) < 80


@pytest.mark.parametrize(
    "expression",
    [
        "-" * 3000 + "x",
        "(" * 300 + "x" + ")" * 300,
        "sin(" * 150 + "x" + ")" * 150,
        "+".join(["x"] * 1000),
        "x**" * 1000 + "x",
        "[" * 150 + "1" + "]" * 150,
        "x" + ".T" * 1000,
    ],
)
def test_depth_has_a_limit_and_no_recursion_error(expression):
    with pytest.raises(DataError, match="nested"):
        explain(expression, {"x": 1.0})


def test_depth_up_to_the_limit_is_explained():
    assert output("sin(" * 45 + "x" + ")" * 45, x=0.0) == 0.0
    assert output("+".join(["x"] * 90), x=1.0) == 90.0


def test_length_has_a_limit():
    with pytest.raises(DataError, match=f"4001 characters; at most {MAX_LENGTH}"):
        parse("x" * 4001)


@pytest.mark.parametrize(
    "expression, kind, message",
    [
        ("A @ x", ShapeError, "float64[2, 2] @ float64[3] (at column 1)\n    A @ x\n    ^"),
        ("y = sum(x)\ny + x[5]", ShapeError, "index: 5 is out of range for axis 0 of float64[3] (at line 2, column 5)"),
        ("sum(x, axis=1)", ShapeError, "sum: axis 1 is out of range for an array with 1 axes (at column 1)"),
        ("sum(A + x)", ShapeError, "shapes do not broadcast: float64[2, 2] and float64[3]"),
        ("cross_entropy(A, x)", ShapeError, "cross_entropy: expected class numbers [2]"),
        ("cross_entropy(A, x[:2])", DataError, "a class number is whole (at column 1)"),
        ("cross_entropy(A, [0, 1e300])", DataError, "a class number is whole"),
        ("cross_entropy(A, [0, 2])", BacklitError, "the class 2 is not in 0..1 (1 such) (at column 1)"),
        ("2[0] + x[0]", ShapeError, "index"),
        ("x * 2", GradientError, "the output is an array [3], and a gradient is that of one number; end with sum(...)"),
        ("x[0] > 0", DTypeError, "a comparison has no gradient"),
    ],
)
def test_errors_of_the_engine_keep_their_class_and_get_a_place(expression, kind, message):
    values = {name: v for name, v in {"x": [0.5, 1.5, 2.5], "A": A}.items() if name in expression}
    with pytest.raises(kind) as raised:
        explain(expression, values)
    assert message in str(raised.value)
    assert ".py:" not in str(raised.value)  # no line of the caller's program: the place is in the expression


PARTS = st.sampled_from(["x", "v", "A", "2", "0.5", "1e300", "[1, 2]", "[[1, 2], [3, 4]]"])
COMBINED = st.recursive(
    PARTS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**", "@", ">", "=="]), inner).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        inner.map("-{}".format),
        st.tuples(inner, st.sampled_from(["[0]", "[1:]", "[-1, 0]", ".T", "[...]"])).map("".join),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, min_size=3, max_size=3)).map(
            lambda p: f"{p[0]}({', '.join(p[1][: FUNCTIONS[p[0]].n_args])})"
        ),
        st.tuples(st.sampled_from(["sum", "max", "mean", "logsumexp"]), inner).map(lambda p: f"{p[0]}({p[1]}, axis=0)"),
    ),
    max_leaves=8,
)
NOISE = st.lists(st.sampled_from([*"x=;+-*/@()[],:.#\\'é1", "**", "\n", "sin(", "axis=", "if", "lambda"]), max_size=12)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.one_of(COMBINED.map("sum({})".format), COMBINED, NOISE.map("".join)))
def test_anything_is_explained_or_refused_with_a_reason(expression):
    try:
        reads = parse(expression).reads
        given = {name: v for name, v in {"x": 0.5, "v": [1.0, 2.0], "A": A}.items() if name in reads}
        found = explain(expression, given)
    except BacklitError as error:
        assert str(error)
    else:
        assert found[found.output].gradient == 1.0


def test_an_output_without_gradient_is_an_error():
    with pytest.raises(GradientError, match="no path of derivatives leads from the output to a given value"):
        explain("where(x > 0, 1.0, 2.0)", {"x": 1.0})
    with pytest.raises(DataError, match="the output depends on no value"):
        explain("1 + 2", {})
    with pytest.raises(DataError, match="the output depends on no value"):
        explain("y = x; sum([1, 2])", {"x": 1.0})


def test_arrays_stay_small():
    tall, wide = np.ones((400, 1)), np.ones((1, 400))
    with pytest.raises(DataError, match="broadcast_to gives 160000 elements; at most 100000"):
        explain("sum(x + y)", {"x": tall, "y": wide})
    with pytest.raises(DataError, match="the value of x has 1001 elements; at most 1000"):
        explain("sum(x)", {"x": np.ones(1001)})


def test_values_from_text():
    found = parse_values(["x=2", " W = [[1, -2],[+3, 4e1]]", "t=(1, 2)", "z=-inf", "n=NaN", "e=[]", "ﬁ=1"])
    assert {name: value.tolist() for name, value in found.items() if name != "n"} == {
        "x": 2.0, "W": [[1.0, -2.0], [3.0, 40.0]], "t": [1.0, 2.0], "z": -np.inf, "e": [], "fi": 1.0,
    }  # fmt: skip
    assert np.isnan(found["n"]) and all(value.dtype == np.float64 for value in found.values())


@pytest.mark.parametrize(
    "texts, message",
    [
        (["x"], "a value is given as NAME=VALUE, like x=2 or W=[[1,2],[3,4]]; got 'x'"),
        (["=2"], "a value is given as NAME=VALUE"),
        (["2x=2"], "a value is given as NAME=VALUE"),
        (["lambda=2"], "a value is given as NAME=VALUE"),
        (["x=1", "x=2"], "x is given twice"),
        (["x="], "the value of x is a number or nested lists of numbers, like 2 or [[1,2],[3,4]]; got ''"),
        (["x=1 2"], "the value of x is a number or nested lists of numbers, like 2 or [[1,2],[3,4]]; got '1 2'"),
        (["x=" + "[" * 300], "the value of x is a number or nested lists"),
        (["x=foo"], "and the name foo is none (at column 1 of the value of x)\n    foo\n    ^"),
        (["x=[1, 'a']"], "'a' is not a number (at column 5 of the value of x)"),
        (["x=__import__('os')"], "call is none (at column 1 of the value of x)"),
        (["x=[1, [2]]"], "the rows have unequal lengths"),
        (["x=[[1, 2], [3]]"], "the rows have unequal lengths"),
        (["x=-[1]"], "unary op is none"),
        (["x=[" + "1," * 30000 + "]"], "at most 40000 are read"),
    ],
)
def test_malformed_values_are_named(texts, message):
    with pytest.raises(DataError) as raised:
        parse_values(texts)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "expression, values, message",
    [
        ("x", {"x": 1.0, "y": 2.0}, "the value given for y is not used: the expression has no such name"),
        ("alpha", {"alpha": 1.0, "alpa": 2.0}, "no such name; did you mean alpha?"),
        ("u = x; u", {"x": 1.0, "u": 2.0}, "the expression assigns u before it reads it"),
        ("x", {"x": 1j}, "the value of x is not a number or an array of real numbers"),
        ("x", {"x": "1"}, "the value of x is not a number or an array of real numbers"),
        ("sum(x)", {"x": [[1], [1, 2]]}, "the value of x is not a number or an array of real numbers"),
    ],
)
def test_values_that_do_not_fit_the_expression_are_named(expression, values, message):
    with pytest.raises(DataError) as raised:
        explain(expression, values)
    assert message in str(raised.value)
