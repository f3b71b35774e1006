"""Single elements: the products they are the sum of, and what moving them a little does to the loss."""

import checks
import numpy as np
import pytest
from test_balance import around
from test_provenance import residual_network

import backlit as bl
from backlit.core.errors import ArgumentError
from backlit.core.op import REGISTRY
from backlit.diagnose.cells import FORWARD, cell, sampled_cells
from backlit.diagnose.expressed import record_expression
from backlit.diagnose.nudge import nudge, sampled_nudges

DIFFERENTIABLE = [n for n, op in sorted(REGISTRY.items()) if op.differentiable and not checks.is_complex(n)]


def layer():
    rng = np.random.default_rng(0)
    with bl.record() as recording:
        x, w = (bl.tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 3), (3, 2)))
        bl.tanh(x @ w).sum().backward()
    return recording, recording["matmul#0"]


def test_an_element_of_a_product_is_a_row_times_a_column():
    recording, product = layer()
    x, w = product.args
    found = cell(recording, product, (2, 1))
    assert found.total == product.value[2, 1] and found.argnum == FORWARD
    for k, term in enumerate(found.terms):
        assert (term.left.node, term.left.element, term.left.number) == (x, 2 * 3 + k, x.value[2, k])
        assert (term.right.node, term.right.element, term.right.number) == (w, k * 2 + 1, w.value[k, 1])
    assert sum(t.product for t in found.terms) == pytest.approx(found.total)


def test_a_contribution_to_a_weight_is_the_batch_of_inputs_times_gradients():
    recording, product = layer()
    x, w = product.args
    found = cell(recording, "matmul#0", (0, 1), argnum=1)
    assert found.total == w.contributions[0].value[0, 1] and len(found.terms) == 4
    for m, term in enumerate(found.terms):
        assert (term.left.node, term.left.which, term.left.element) == (product, "delta", m * 2 + 1)
        assert (term.right.node, term.right.element) == (x, m * 3)
        assert term.product == product.cotangent[m, 1] * x.value[m, 0]
    found = cell(recording, product, (1, 2), argnum=0)
    assert [t.right.node for t in found.terms] == [w, w] and [t.right.element for t in found.terms] == [4, 5]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_terms_of_every_op_add_up_to_the_recorded_number(name):
    recording, node = around(name)
    rng = np.random.default_rng(0)
    looked_at = 0
    for argnum in (FORWARD, *(i for i, w in enumerate(node.wanted) if w)):
        array = node.value if argnum == FORWARD else node.args[argnum].value
        for element in rng.choice(np.size(array), min(4, np.size(array)), replace=False):
            try:
                found = cell(recording, node, int(element), argnum)
            except ArgumentError as error:
                assert argnum == FORWARD and "no sum of products" in str(error)
                continue
            looked_at += 1
            size = sum(abs(t.product) for t in found.terms)
            assert abs(sum(t.product for t in found.terms) - found.total) <= 1e-12 * (size + abs(found.total))
            for term in found.terms:
                for operand in (term.left, term.right):
                    if operand is not None and operand.node is not None:
                        held = operand.node.value if operand.which == "value" else operand.node.cotangent
                        assert np.asarray(held).reshape(-1)[operand.element] == operand.number
    assert looked_at


def test_long_sums_keep_their_largest_terms():
    with bl.record() as recording:
        x = bl.tensor(np.arange(200.0), requires_grad=True)
        x.sum().backward()
    found = cell(recording, "sum#0", 0)
    assert len(found.terms) == 64 and found.terms[-1].text == "137 smaller terms"
    assert sum(t.product for t in found.terms) == found.total == 199 * 100


def test_what_cannot_be_taken_apart_is_an_error():
    recording, product = layer()
    for node, element, argnum, message in (
        (product, (9, 9), FORWARD, "is no element"),
        (product, 100, FORWARD, "is no element"),
        (product, -1, FORWARD, "is no element"),
        (product, 0, 2, "passed nothing to argument 2"),
        (product.args[0], 0, FORWARD, "not made of products"),
    ):
        with pytest.raises(ArgumentError, match=message):
            cell(recording, node, element, argnum)


def test_cells_for_a_file_are_of_all_kinds():
    recording = residual_network(np.float64)
    found = list(sampled_cells(recording))
    assert {c.node.op.name for c in found} >= {"matmul", "tanh", "add", "softmax_cross_entropy", "sum", "broadcast_to"}
    assert len(list(sampled_cells(recording, most=7))) == 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nudging_an_element_gives_its_gradient(dtype):
    recording = residual_network(dtype)
    for name in ("0/weight", "2.first/bias", "3/add#0", "5/linear/matmul#0"):
        node = recording[name]
        element = int(np.argmax(np.abs(node.cotangent)))
        found = nudge(recording, name, element)
        assert found.delta == node.cotangent.reshape(-1)[element]
        assert found.error <= (1e-9 if dtype == np.float64 else 1e-6) + 1e-5 * abs(found.delta)
        assert found.estimate in [p.estimate for p in found.points] and len(found.points) == 10


def test_the_error_curve_falls_with_the_square_of_the_step_and_rises_again():
    recording = record_expression("L = exp(x)*sin(x)", {"x": 1.2})
    found = nudge(recording, "x", 0)
    errors = [p.error for p in found.points]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1) and errors[1] / errors[2] == pytest.approx(100, rel=0.1)
    assert errors[-1] > 10 * min(errors)
    assert found.error < 1e-8


def test_a_wrong_rule_shows(monkeypatch):
    monkeypatch.setattr(REGISTRY["tanh"], "partial", lambda argnum, out, x: 1.0 - out)
    recording = record_expression("L = tanh(x)", {"x": 0.5})
    found = nudge(recording, "x", ())
    assert found.error > 0.1 and found.estimate == pytest.approx(1 - np.tanh(0.5) ** 2, rel=1e-8)


def test_what_is_detached_does_not_move():
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
        (x * x.detach()).sum().backward()
    assert nudge(recording, recording.nodes[0], 1).error < 1e-8


def test_nudges_say_what_they_cannot_do():
    @bl.custom_vjp
    def cubed(x):
        return x * x * x

    cubed.defvjp(lambda x: (cubed.f(x), x), lambda x, g: (3.0 * x * x * g,))
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
        (cubed(x * 2.0) * 3.0).sum().backward()
    with pytest.raises(ArgumentError, match="only its program can compute"):
        nudge(recording, recording.nodes[0], 0)
    assert nudge(recording, "cubed#0", 0).error < 1e-7
    for element in (7, -1, (0, 0)):
        with pytest.raises(ArgumentError, match="is no element"):
            nudge(recording, "cubed#0", element)
    found = list(sampled_nudges(residual_network(np.float64), most=9))
    assert len(found) == 9 and all(n.node.kind == "parameter" for n in found) and all(n.error < 1e-6 for n in found)
    assert list(sampled_nudges(residual_network(np.float64), work=10.0)) == []
