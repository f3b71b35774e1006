"""Explanations of small expressions worked out by hand, and what must hold of every explanation."""

import numpy as np
import pytest

from backlit import no_grad
from backlit.autodiff.check import directional
from backlit.core import record
from backlit.diagnose import Contribution, explain
from backlit.diagnose.functions import FUNCTIONS


def near(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_a_merge():
    found = explain("u = x*y; v = u + y; L = v**2", {"x": 2, "y": 3})
    assert [(s.name, s.kind, s.op, s.formula, s.value.item()) for s in found.steps] == [
        ("x", "given", None, "", 2.0),
        ("y", "given", None, "", 3.0),
        ("u", "op", "mul", "x * y", 6.0),
        ("v", "op", "add", "u + y", 9.0),
        ("L", "op", "pow", "v ** 2", 81.0),
    ]
    assert found.output == "L" and found.upstream == "g" and found.backward == ("L", "v", "u", "y", "x")
    rules = [(r.argument, r.derivative, r.derivative_value.item(), r.formula, r.numbers, r.value.item())
             for name in "Lvu" for r in found[name].rules]  # fmt: skip
    assert rules == [
        ("v", "2 * v", 18.0, "g * (2 * v)", "1 * (2 * 9)", 18.0),
        ("u", "1", 1.0, "g", None, 18.0),
        ("y", "1", 1.0, "g", None, 18.0),
        ("x", "y", 3.0, "g * y", "18 * 3", 54.0),
        ("y", "x", 2.0, "g * x", "18 * 2", 36.0),
    ]
    assert found["y"].contributions == (
        Contribution("v", "add", 1, np.asarray(18.0)),
        Contribution("u", "mul", 1, np.asarray(36.0)),
    )
    assert {name: s.item() for name, s in found.gradients.items()} == {"x": 54.0, "y": 54.0}
    assert found["L"].contributions == () and found["L"].gradient == 1.0
    assert found["v"].notation == "u + y" and found["L"].notation == "v^{2}"
    with pytest.raises(KeyError):
        found["w"]


def test_a_value_used_twice_by_one_op():
    found = explain("a = x + y; b = x*a; L = b*b", {"x": 1, "y": 2})
    assert [(r.argument, r.position, r.value.item()) for r in found["L"].rules] == [("b", 0, 3.0), ("b", 1, 3.0)]
    assert [c.value.item() for c in found["b"].contributions] == [3.0, 3.0]
    # dL/dx = 2 x (x + y) (2 x + y), dL/dy = 2 x^2 (x + y)
    assert found.gradients["x"] == 24.0 and found.gradients["y"] == 6.0


def test_a_matrix_a_bias_and_relu_at_its_kink():
    weight, x, bias = np.array([[1.0, -1.0], [2.0, 1.0]]), np.array([[3.0], [3.0]]), 0.0
    found = explain("z = W @ x + b; L = sum(relu(z) * [[5], [7]])", {"W": weight, "x": x, "b": bias})
    near(found["z"].value, [[0.0], [9.0]])
    assert [(s.name, s.formula, s.note) for s in found.steps if s.kind == "op"] == [
        ("t1", "W @ x", ""),
        ("t2", "broadcast_to(b, shape=(2, 1))", "inserted: shapes differ"),
        ("z", "t1 + t2", ""),
        ("t3", "maximum(z, 0)", "result of relu"),
        ("t4", "t3 * [[5], [7]]", ""),
        ("L", "sum(t4)", ""),
    ]
    assert [(r.argument, r.formula) for r in found["t1"].rules] == [("W", "g @ x.T"), ("x", "W.T @ g")]
    (rule,) = found["t3"].rules
    assert (rule.derivative, rule.formula, rule.numbers) == ("where(z > 0, 1, 0)", "where(z > 0, g, 0)", None)
    near(rule.derivative_value, [[0.0], [1.0]])  # 0 at the kink
    near(found["z"].gradient, [[0.0], [7.0]])
    near(found.gradients["W"], [[0.0, 0.0], [21.0, 21.0]])
    near(found.gradients["x"], weight.T @ [[0.0], [7.0]])
    assert found.gradients["b"] == 7.0
    assert [(r.formula, r.numbers) for r in found["t2"].rules] == [("sum_to(g, shape=())", None)]


def test_softmax_with_cross_entropy_gives_p_minus_y():
    z = np.array([1.0, -2.0, 0.5])
    p = np.exp(z) / np.exp(z).sum()
    found = explain("cross_entropy(z, [0, 0, 1])", {"z": z})
    near(found.gradients["z"], p - [0, 0, 1])
    step = next(s for s in found.steps if s.op == "softmax_cross_entropy")
    assert step.rules[0].formula == ("broadcast_to(g, shape=(3,)) * (softmax(z) - [0, 0, 1])")
    classes = explain("cross_entropy(z, y)", {"z": [z, z], "y": [2, 0]})
    near(classes.gradients["z"], np.stack([p - [0, 0, 1], p - [1, 0, 0]]) / 2)
    assert classes["y"].gradient is None
    near(classes.gradients["y"], [0.0, 0.0])


def test_what_a_later_step_did_not_select_stays_zero():
    found = explain("r = sqrt(x); L = sum(where(x > 0, r, 0))", {"x": [0.0, 4.0]})
    (rule,) = found["r"].rules
    assert rule.unselected and rule.derivative == "0.5 / r"
    near(rule.derivative_value, [np.inf, 0.25])
    near(rule.value, [0.0, 0.25])
    assert not any(r.unselected for s in found.steps for r in s.rules if s.name != "r")


def test_steps_without_gradient():
    found = explain("n = 3; c = [1, 2]; dead = x*n; m = x > 1; L = where(m, x, 0)*sum(c)", {"x": 2})
    assert [(s.name, s.kind, s.gradient is None) for s in found.steps] == [
        ("x", "given", False), ("n", "constant", True), ("c", "constant", True), ("dead", "op", True),
        ("m", "op", True), ("t1", "op", False), ("t2", "op", True), ("L", "op", False),
    ]  # fmt: skip
    assert found["dead"].formula == "x * 3" and found["dead"].rules[0].value is None
    assert found["dead"].rules[0].derivative == "3" and found["dead"].rules[0].numbers is None
    assert found["m"].rules == () and found["t2"].formula == "sum(c)"
    assert found["t1"].rules[0].numbers == "where(True, 3, 0)"
    assert found.gradients["x"] == 3.0


def test_names_stay_apart():
    found = explain("x = x*g; x = x + t1; s = x; s*2", {"x": 2, "g": 3, "t1": 5})
    assert [s.name for s in found.steps] == ["x", "g", "t1", "x_2", "x_3", "out"]
    assert found.upstream == "g1" and found["out"].formula == "x_3 * 2"
    assert [r.formula for r in found["x_2"].rules] == ["g1 * g", "g1 * x"]
    assert found.gradients["x"] == 6.0
    found = explain("out = x*2; out + x*x", {"x": 1})
    assert [s.name for s in found.steps] == ["x", "out", "t1", "out_2"] and found.output == "out_2"
    found = explain("alpha_1 * b", {"alpha_1": 2, "b": 1})
    assert found["out"].notation == r"\mathit{alpha\_1} b"
    assert explain("x * -2", {"x": 1})["out"].notation == "x (-2)"


def test_a_bare_value_is_its_own_output():
    found = explain("x", {"x": 3})
    assert found.output == "x" and found.backward == ("x",) and found.gradients["x"] == 1.0
    found = explain("x.T", {"x": 3})
    assert found["out"].formula == "permute_dims(x, axes=())"


def test_vectors_and_dtypes_show_what_the_engine_inserts():
    found = explain("v @ v", {"v": [1, 2]})
    assert [(s.op, s.note) for s in found.steps[1:]] == [
        ("reshape", "part of matmul"), ("reshape", "part of matmul"), ("matmul", ""), ("reshape", "result of matmul"),
    ]  # fmt: skip
    near(found.gradients["v"], [2.0, 4.0])
    found = explain("b = x > 1; L = sum(x * b)", {"x": [1, 2]})
    assert [(s.formula, s.note) for s in found.steps if s.op == "astype"] == [
        ("astype(b, dtype=float64)", "inserted: true is 1, false is 0")
    ]
    near(found.gradients["x"], [0.0, 1.0])


CASES = {
    **{name: (f"sum({name}(x))", {"x": [0.3, 1.2]}) for name, f in FUNCTIONS.items() if f.n_args == 1},
    **{name: (f"sum({name}(x))", {"x": [0.3, -0.7]}) for name in ("asin", "acos", "atanh", "erfinv")},
    "acosh": ("sum(acosh(x))", {"x": [1.3, 4.0]}),
    "logit": ("sum(logit(x))", {"x": [0.3, 0.9]}),
    **{name: (f"sum({name}(x, y) * [1, 3])", {"x": [1, 5], "y": 2}) for name in ("atan2", "hypot", "logaddexp")},
    "sum": ("sum(sum(x, axis=0)**2)", {"x": [[1, 2], [3, 4]]}),
    "mean": ("sum(mean(x, axis=1, keepdims=True)**3)", {"x": [[1, 2], [3, 5]]}),
    "max": ("sum(max(x, axis=-1)**2)", {"x": [[1, 2], [3, 1]]}),
    "min": ("min(x)**2", {"x": [[2, 1.5], [3, 5]]}),
    "logsumexp": ("sum(logsumexp(x, axis=0)**2)", {"x": [[1, 2], [3, 5]]}),
    "softmax": ("sum(softmax(x, axis=0) * [[1, 2], [4, 8]])", {"x": [[1, 2], [3, 2]]}),
    "log_softmax": ("sum(log_softmax(x) * [[1, 2], [4, 8]])", {"x": [[1, 2], [3, 2]]}),
    "maximum": ("sum(maximum(x, y) * [1, 3])", {"x": [1, 5], "y": 2}),
    "minimum": ("sum(minimum(x, y) * [1, 3])", {"x": [1, 5], "y": [2, 4]}),
    "where": ("sum(where(x > y, x**2, y))", {"x": [1, 5], "y": 2}),
    "matmul": ("sum(matmul(x, y) * [2, 3])", {"x": [[1, 5], [2, 3]], "y": [2, 4]}),
    "mse_loss": ("mse_loss(x, y)", {"x": [1, 5], "y": [2, 4]}),
    "cross_entropy": ("cross_entropy(x, [1, 0]) + cross_entropy(y, [0.2, 0.8])", {"x": [[1, 5], [2, 3]], "y": [2, 4]}),
}


def test_every_function_has_a_case():
    assert set(CASES) == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_function_is_explained(name):
    expression, given = CASES[name]
    values = {key: np.asarray(value, float) for key, value in given.items()}
    found = explain(expression, values)
    rng = np.random.default_rng(0)
    directions = {key: rng.standard_normal(value.shape) for key, value in values.items()}

    def moved(step):
        at = explain(expression, {key: value + step * directions[key] for key, value in values.items()})
        return at[at.output].value

    expected, error = directional(moved, 1e-3)
    slope = sum(float(np.vdot(found.gradients[key], directions[key])) for key in values)
    assert abs(slope - expected) <= 1e-9 * (1 + abs(expected)) + 10 * error
    for step in found.steps:
        total = None
        for part in step.contributions:  # in the order in which they arrived, the sum is the gradient to the bit
            total = part.value if total is None else total + part.value
        if total is not None:
            assert np.array_equal(total, step.gradient)
        for rule in step.rules:
            source = [
                c for c in found[rule.argument].contributions if (c.source, c.position) == (step.name, rule.position)
            ]
            if step.gradient is not None:
                assert len(source) == 1 and source[0].value is rule.value and not rule.unselected
            if rule.derivative is not None and step.gradient is not None:
                near(step.gradient * rule.derivative_value, rule.value)


def test_nothing_is_left_behind():
    before = record.current(), record.active
    with no_grad():
        assert explain("x*x", {"x": 3}).gradients["x"] == 6.0
    given = np.array([1.0, 2.0])
    found = explain("sum(x*x)", {"x": given})
    given[0] = 7.0
    near(found["x"].value, [1.0, 2.0])
    with pytest.raises(ValueError, match="unknown function"):
        explain("q(x)", {"x": 3})
    assert (record.current(), record.active) == before


def test_infinities_and_nan_are_values():
    found = explain("x*y", {"x": np.inf, "y": 0.0})
    assert np.isnan(found["out"].value) and found.gradients["y"] == np.inf
    assert found["out"].rules[1].numbers == "1 * inf"
