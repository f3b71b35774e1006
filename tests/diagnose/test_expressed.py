"""Recordings of expressions: their names are those of the expression, their numbers those of `explain`."""

import numpy as np
import pytest

from backlit.core.errors import ArgumentError, BacklitError
from backlit.diagnose.explain import explain
from backlit.diagnose.expressed import evaluated, record_expression


@pytest.mark.parametrize(
    "expression, values",
    [
        ("u = x*y; v = u + y; L = v**2", {"x": 2, "y": 3}),
        ("z = W @ x + b; L = sum(relu(z)**2)", {"W": [[1, 2], [-3, 1]], "x": [1, 1], "b": [0, 1]}),
        ("sum(softmax(W @ x + b) * [1, 2])", {"W": [[0.5, -2], [3, 4]], "x": [1, -1], "b": 1}),
        ("a = x; b = a*a; b*b", {"x": 1.5}),
        ("cross_entropy(z, [0, 0, 1])", {"z": [1, -2, 0.5]}),
    ],
)
def test_names_and_numbers_are_those_of_the_explanation(expression, values):
    recording, found = record_expression(expression, values), explain(expression, values)
    for step in found.steps:
        if step.kind == "constant" and step.name not in {n.name for n in recording.nodes}:
            continue  # a constant that no op read
        node = recording[step.name]
        np.testing.assert_array_equal(node.value, step.value)
        assert (node.cotangent is None) == (step.gradient is None)
        if step.gradient is not None:
            np.testing.assert_array_equal(node.cotangent, step.gradient)
        assert [(c.child.name, c.argnum) for c in node.contributions] == [
            (c.source, c.position) for c in step.contributions
        ]
        assert node.label == step.name and node.source is None
    assert recording.steps[0].root is recording[found.output]


def test_names_cannot_be_given_twice():
    recording = record_expression("x*y", {"x": 2, "y": 3})
    recording.rename({recording["x"]: "first"})
    assert recording["first"].value == 2
    with pytest.raises(ArgumentError, match="no node 'x'"):
        recording["x"]
    with pytest.raises(ArgumentError, match="is the name of another node"):
        recording.rename({recording["first"]: "y"})


def test_expressions_are_evaluated_without_a_gradient():
    np.testing.assert_array_equal(evaluated("W.T @ d", {"W": A, "d": np.ones(2), "unused": 1.0}), A.T @ np.ones(2))
    assert evaluated("2", {}) == 2
    with pytest.raises(BacklitError, match="q has no value"):
        evaluated("q + 1", {"x": 2.0})


A = np.array([[1.0, 2.0], [3.0, 4.0]])
