"""residuals and kinks: what a gradient keeps, and where a derivative jumps."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import kinks, nn, residuals

X = np.array([0.0, 1.0, -1.0, 0.0])


def listed(found):
    return [(r.shape, r.argument, [name for name, _ in r.readers]) for r in found]


def test_each_buffer_is_listed_once_with_its_rules():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    found = residuals(lambda m, x: (m(x) ** 2).sum(), model, np.ones((5, 3), np.float32))
    assert listed(found) == [
        ((5, 3), True, ["matmul.x"]),
        ((3, 4), True, ["matmul.y"]),
        ((5, 4), False, ["tanh.out", "matmul.x"]),
        ((4, 2), True, ["matmul.y"]),
        ((5, 2), False, ["pow.x"]),
    ]
    assert [r.nbytes for r in found if not r.argument] == [80, 40]
    assert all(source.file == __file__ for r in found for _, source in r.readers)
    assert "float32[5, 4], 80 bytes, read by tanh.out at" in str(found[2]) and "of an argument" in str(found[0])


def test_what_no_rule_reads_is_not_listed():
    assert residuals(lambda x: (x + 1.0).sum() * 2.0, X) == []
    assert residuals(lambda n: n * 2, np.arange(3)) == []
    (found,) = residuals(lambda x: bl.exp(x)[1:].reshape((3, 1)), X)
    assert listed([found]) == [((4,), False, ["exp.out"])]


def test_residuals_of_own_rules_and_checkpoints():
    @bl.custom_vjp
    def f(x):
        return x * 2.0

    f.defvjp(lambda x: (x * 2.0, {"three": x * 3.0}), lambda kept, g: (g * 2.0,))
    assert listed(residuals(f, X)) == [((4,), False, ["f.kept"])]
    block = lambda x: bl.sin(bl.exp(x * x))
    assert [r.argument for r in residuals(bl.checkpoint(block), X)] == [True]
    assert [name for r in residuals(block, X) if not r.argument for name, _ in r.readers] == ["exp.out", "sin.x"]


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: bl.maximum(x, 0.0), ("maximum", 2, 4)),
        (lambda x: nn.functional.relu(x), ("maximum", 2, 4)),
        (lambda x: bl.minimum(x, np.array([0.0, 2.0, -1.0, 1.0])), ("minimum", 2, 4)),
        (lambda x: bl.abs(x), ("abs", 2, 4)),
        (lambda x: bl.where(x > 1.0, x, 0.0), ("greater", 1, 4)),
        (lambda x: bl.max(bl.reshape(x, (2, 2)) * 0.0, axis=1), ("max", 4, 4)),
        (lambda x: bl.min(bl.reshape(x + X, (2, 2)), axis=0, keepdims=True), None),
        (lambda x: bl.hypot(x, x), ("hypot", 2, 4)),
        (lambda x: bl.maximum(x, 5.0), None),
        (lambda x: bl.maximum(np.zeros(4), 0.0) + x, None),
    ],
)
def test_kinks_of_each_op(f, expected):
    found = [(k.op, k.count, k.size) for k in kinks(f, X)]
    assert found == ([expected] if expected else [])


def test_kinks_by_source_line():
    def f(p, n):
        a = bl.abs(p["x"])
        for _ in range(3):
            a = bl.maximum(a, 0.0)
        return a + bl.maximum(n, 0)

    found = kinks(f, {"x": X}, np.zeros(4, int))
    lines = [k.source.line for k in found]
    assert [(k.op, k.count, k.size) for k in found] == [("abs", 2, 4), ("maximum", 6, 12)]
    assert lines[1] == lines[0] + 2
    assert str(found[0]).startswith("abs: 2 of 4 elements at a kink at ")


def test_a_rule_of_ones_own_stands_for_the_kinks_inside():
    @bl.custom_jvp
    def f(x):
        return bl.abs(x)

    f.defjvp(lambda primals, tangents: (f(primals[0]), tangents[0]))
    assert kinks(lambda x: f(x), X) == []
    assert kinks(lambda x: bl.abs(f(x)), X)[0].count == 2


def test_inside_transforms_there_are_no_contents():
    with pytest.raises(bl.TraceError, match="outside"):
        bl.grad(lambda x: kinks(bl.abs, x) and x)(1.0)
    with pytest.raises(bl.TraceError, match="outside"):
        bl.compile(lambda x: kinks(bl.abs, x) and x)(X)
    with pytest.raises(bl.TraceError):
        bl.compile(lambda x: residuals(bl.exp, x) and x)(X)
