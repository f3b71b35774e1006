"""Graphs: their text, the verifier, evaluation, and tracing."""

from __future__ import annotations

import re

import checks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_programs import programs, run

import backlit as bl
from backlit.compiler import Eqn, Literal, Var, evaluate, make_graph, parse, simplify, verify
from backlit.core.aval import Aval
from backlit.core.errors import CompilerError
from backlit.core.op import REGISTRY

F64 = np.dtype(np.float64)


def assert_same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype == np.longdouble:  # its bytes hold padding
        np.testing.assert_array_equal(a, b)
    else:
        assert a.tobytes() == b.tobytes()


def test_the_gradient_of_a_layer_as_text():
    f = lambda x, w: bl.sum(bl.tanh(x @ w))
    graph = make_graph(bl.grad(f))(np.ones((2, 3)), np.ones((3, 4)))
    assert (
        str(simplify(graph))
        == """\
graph(a: float64[2,3], b: float64[3,4]) consts(c: float64[2,4]) {
  d: float64[2,4] = matmul(a, b)
  e: float64[2,4] = tanh(d)
  f: float64[2,4] = mul(e, e)
  g: float64[2,4] = sub(1.0, f)
  h: float64[2,4] = mul(c, g)
  i: float64[4,3] = permute_dims(b, axes=(1, 0))
  j: float64[2,3] = matmul(h, i)
  return j
}"""
    )


def test_text_is_read_back():
    text = """\
graph(a: float32[2,3], b: int64[]) consts(c: bfloat16[3]) {
  d: float32[3] = astype(c, dtype='float32')
  e: float32[2,3] = broadcast_to(d, shape=(2, 3))
  f: float32[2,3] = mul(a, -inf)
  g: float32[2,3] = maximum(e, f)
  h: float32[] = sum(g, axis=(0, 1), keepdims=False)
  return h, b, 2.5, g
}"""
    graph = verify(parse(text, {"c": [1, 2, 3]}))
    assert str(graph) == text
    out = evaluate(graph, np.ones((2, 3), np.float32), np.array(4))
    assert [o.tolist() for o in out] == [12.0, 4, 2.5, [[1, 2, 3], [1, 2, 3]]]
    assert str(parse("graph() {\n  return\n}")) == "graph() {\n  return\n}"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("b: float64[2] = fly(a)", "fly"),
        ("b: float64[2] = sin(z)", "'z'"),
        ("b = sin(a)", "b = sin(a)"),
        ("b: float64[2] = sin(a.b)", "Attribute"),
        ("b: float64[2] = sin(exit())", "Call"),
    ],
)
def test_malformed_text(line, named):
    with pytest.raises(CompilerError, match=re.escape(named)):
        verify(parse(f"graph(a: float64[2]) {{\n  {line}\n  return b\n}}"))
    with pytest.raises(CompilerError, match="expected 'graph"):
        parse("hello")


def small():
    return make_graph(lambda x: bl.exp(bl.sin(x) * 2.0))(np.ones(3))


def test_the_verifier_finds_what_is_wrong():
    verify(small())
    graph = small()
    graph.eqns.reverse()
    with pytest.raises(CompilerError, match="equation 0 .exp. reads a variable"):
        verify(graph)
    graph = small()
    graph.eqns.append(graph.eqns[0])
    with pytest.raises(CompilerError, match="equation 3 .sin. defines a variable a second time"):
        verify(graph)
    graph = small()
    e = graph.eqns[1]
    graph.eqns[1] = Eqn(e.op, e.inputs, e.params, Var(Aval((4,), F64)))
    with pytest.raises(CompilerError, match=r"declared float64\[4\], its shape rule says float64\[3\]"):
        verify(graph)
    graph = small()
    graph.outputs = [Var(Aval((), F64))]
    with pytest.raises(CompilerError, match="output"):
        verify(graph)
    graph = small()
    graph.inputs *= 2
    with pytest.raises(CompilerError, match="twice"):
        verify(graph)
    graph = make_graph(lambda x: x + np.ones(3))(np.ones(3))
    (const,) = graph.consts
    graph.consts[const] = np.ones(2)
    with pytest.raises(CompilerError, match="constant"):
        verify(graph)

    class Foreign(type(REGISTRY["sin"])):
        """Another sine."""

    graph = small()
    e = graph.eqns[0]
    graph.eqns[0] = Eqn(Foreign(), e.inputs, e.params, e.out)
    with pytest.raises(CompilerError, match="not registered"):
        verify(graph)


def test_evaluation_checks_its_inputs():
    with pytest.raises(CompilerError, match="expected 1 inputs, got 2"):
        evaluate(small(), 1, 2)
    with pytest.raises(CompilerError, match=r"expected float64\[3\], got float32\[3\]"):
        evaluate(small(), np.ones(3, np.float32))


@pytest.mark.parametrize(("name", "k"), checks.cases())
def test_every_op_traced_equals_the_op(name, k):
    apply, arrays = checks.sample(name, k)
    graph = make_graph(apply)(*arrays)
    assert_same_bits(evaluate(graph, *arrays)[0], apply(*arrays).numpy())
    for e in graph.eqns:
        assert hash(repr(e.params)) and all(isinstance(a, (Var, Literal)) for a in e.inputs)


@pytest.mark.parametrize(("name", "k"), checks.differentiable_cases())
def test_every_rule_traced_equals_the_rule(name, k):
    apply, arrays = checks.sample(name, k)
    cotangent = np.random.default_rng(0).standard_normal(apply(*arrays).shape)
    tangents = checks.directions(arrays, np.random.default_rng(1))
    reverse = lambda *args: bl.tree.leaves(bl.vjp(apply, *args[:-1])[1](args[-1]))
    forward = lambda *args: bl.jvp(apply, args, tangents)[1]
    for f, args in ((reverse, [*arrays, cotangent]), (forward, arrays)):
        graph = make_graph(f)(*args)
        expected = bl.tree.leaves(f(*args))
        for version in (graph, verify(simplify(graph))):
            for got, want in zip(evaluate(version, *args), expected, strict=True):
                assert_same_bits(got, want.numpy())


@settings(deadline=None, max_examples=100)
@given(program=programs, seed=st.integers(0, 1000))
def test_random_programs_keep_their_bits(program, seed):
    x, y = np.random.default_rng(seed).standard_normal((2, 3, 3))
    loss = lambda x: (run(program, x, y) ** 2).sum()
    f = bl.value_and_grad(loss)
    graph = make_graph(f)(x)
    reduced = verify(simplify(graph))
    assert len(reduced.eqns) <= len(graph.eqns)
    for version in (graph, reduced, parse(str(graph), named(graph)), parse(str(reduced), named(reduced))):
        for got, want in zip(evaluate(version, x), f(x), strict=True):
            assert_same_bits(got, want.numpy())


def named(graph):
    """The constants of a graph by the names of its text."""
    head = str(graph).splitlines()[0].partition(" consts(")[2]
    names = [part.partition(":")[0] for part in head.removesuffix(") {").split(", ")] if head else []
    return dict(zip(names, graph.consts.values(), strict=True))


def test_transforms_are_in_the_graph():
    per_example = bl.vmap(bl.grad(lambda w, x: bl.tanh(w @ x)), in_axes=(None, 0))
    w, x = np.arange(3.0), np.eye(3)
    graph = make_graph(per_example)(w, x)
    assert_same_bits(evaluate(graph, w, x)[0], per_example(w, x).numpy())
    hvp = lambda x, t: bl.jvp(bl.grad(lambda x: (x**3).sum()), (x,), (t,))[1]
    assert_same_bits(evaluate(make_graph(hvp)(w, w + 1), w, w + 1)[0], hvp(w, w + 1).numpy())


def test_modules_are_trees_of_inputs():
    model = bl.nn.Sequential(bl.nn.Linear(2, 3), bl.nn.ReLU())
    x = np.ones((4, 2), np.float32)
    graph = make_graph(lambda m, x: m(x))(model, x)
    assert [v.aval.shape for v in graph.inputs] == [(3, 2), (3,), (4, 2)]
    inputs = [p.detach().numpy() for p in model.parameters()]
    assert_same_bits(evaluate(graph, *inputs, x)[0], model(x).detach().numpy())
    assert model[0].weight.requires_grad


def test_looking_at_a_traced_value_is_an_error_with_the_line():
    for look in (lambda x: x if x > 0 else -x, lambda x: float(x), lambda x: x.tolist(), lambda x: np.asarray(x)):
        with pytest.raises(bl.TraceError) as caught:
            make_graph(look)(1.0)
        assert f"{__file__}:{look.__code__.co_firstlineno})" in str(caught.value)
    with pytest.raises(bl.TraceError, match="grad around it"):
        bl.grad(lambda x: make_graph(lambda y: y * x)(1.0))(2.0)
    kept = []
    make_graph(lambda x: (kept.append(x), x)[1])(1.0)
    with pytest.raises(bl.TraceError, match="make_graph"):
        kept[0] + 1


def test_numbers_that_are_equal_and_of_different_types_give_different_dtypes():
    x = np.arange(3)
    for order in ((1, 1.0, True), (True, 1.0, 1), (1.0, True, 1)):
        graph = make_graph(lambda x, order=order: [bl.minimum(x, number) for number in order])(x)
        assert [a.aval.dtype for a in graph.outputs] == [np.minimum(x, number).dtype for number in order]
