"""Misuse: every error names the op, the shapes, the line that made the value and the line that broke it."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import CutPathError, EscapedValueError, FreedGraphError, WriteError

F = nn.functional


def leaf(shape=(3, 2)):
    return bl.tensor(np.ones(shape), requires_grad=True)


def lines(function):
    """Numbers of the lines of `function` that carry a comment `# made`, `# broken` or `# cut`."""
    source, first = inspect.getsourcelines(function)
    return {m[1]: first + i for i, line in enumerate(source) if (m := re.search(r"# (made|broken|cut|began)$", line))}


def message(function, error):
    """The message of the error that `function` raises; the marked lines of this file must be in it."""
    with pytest.raises(error) as caught:
        function()
    text = str(caught.value)
    for mark, line in lines(function).items():
        assert f"{__file__}:{line}" in text, f"{mark} at line {line}: {text}"
    if "broken" in lines(function):
        assert text.endswith(f"({__file__}:{lines(function)['broken']})"), text
    return text


def test_second_backward_through_a_freed_graph():
    def misuse():
        w = leaf()
        y = (w * w).sum()  # made
        y.backward()  # cut
        y.backward()  # broken

    text = message(misuse, FreedGraphError)
    assert "sum float64[]" in text and "retain_graph" in text


def test_loss_that_is_not_a_scalar():
    def misuse():
        y = leaf() * 2  # made
        y.backward()  # broken

    text = message(misuse, bl.GradientError)
    assert "float64[3, 2]" in text and ".sum()" in text

    def functional():
        f = lambda x: bl.sin(x) * 2  # made
        bl.grad(f)(np.ones(3))  # broken

    assert "mul float64[3]" in message(functional, bl.GradientError)


def test_gradient_of_integers():
    def leaf_of_integers():
        bl.tensor([1, 2], requires_grad=True)  # broken

    assert "int64[2]" in message(leaf_of_integers, bl.DTypeError)

    def argument():
        bl.grad(lambda x, y: x * y, argnums=1)(1.0, 3)  # broken

    assert "argument 1 is int64[]" in message(argument, bl.DTypeError)

    def inside_a_tree():
        bl.grad(lambda p: p["w"] * p["n"])({"w": 1.0, "n": 3})  # broken

    assert "argument 0['n']" in message(inside_a_tree, bl.DTypeError)

    def integer_output():
        bl.grad(lambda x: bl.argmax(x))(np.ones(3))  # broken

    assert "int64[]" in message(integer_output, bl.DTypeError)


def rule_returning(cotangents):
    @bl.custom_vjp
    def product(x, y):
        return x * y

    product.defvjp(lambda x, y: (x * y, (x, y)), cotangents)
    return product


def test_custom_rule_with_the_wrong_number_of_gradients():
    product = rule_returning(lambda r, c: (c * r[1],))

    def misuse():
        y = product(leaf(3), 2.0)  # made
        y.sum().backward()  # broken

    text = message(misuse, bl.RuleError)
    assert "product" in text and "2 cotangents" in text and "got 1" in text


@pytest.mark.parametrize("wrong", [lambda c: c.sum(), lambda c: bl.stack([c, c]), lambda c: c[:1]])
def test_custom_rule_with_gradients_of_the_wrong_shape_is_never_summed(wrong):
    product = rule_returning(lambda r, c: (wrong(c), None))

    def misuse():
        y = product(leaf(3), 2.0)  # made
        y.sum().backward()  # broken

    text = message(misuse, bl.RuleError)
    assert "product" in text and "argument 0" in text and "float64[3]" in text
    with pytest.raises(bl.RuleError, match="product"):
        bl.grad(lambda x: product(x, 2.0).sum())(np.ones(3))


def test_shapes_that_do_not_fit():
    def product():
        w = leaf() * 2  # made
        return w @ np.ones((4, 2))  # broken

    assert "matmul: expected [..., m, k] @ [..., k, n], got float64[3, 2]" in message(product, bl.ShapeError)

    def affine():
        x = leaf() * 2  # made
        return F.linear(x, np.ones((4, 1)))  # broken

    text = message(affine, bl.ShapeError)
    assert "linear" in text and "float64[3, 2]" in text and "float64[4, 1]" in text

    def broadcast():
        x = leaf() * 2  # made
        return x + np.ones(3)  # broken

    text = message(broadcast, bl.ShapeError)
    assert "add" in text and "float64[3, 2]" in text and "float64[3]" in text


def test_path_cut_by_detach_and_by_no_grad():
    def detached():
        y = leaf() * 2  # made
        z = y.detach()  # cut
        (z * z).sum().backward()  # broken

    text = message(detached, CutPathError)
    assert "mul float64[3, 2]" in text and "detach" in text

    def under_no_grad():
        y = leaf() * 2  # made
        with bl.no_grad():
            z = y * 3  # cut
        (z * z).sum().backward()  # broken

    text = message(under_no_grad, CutPathError)
    assert "mul float64[3, 2]" in text and "no_grad" in text

    def nothing():
        y = bl.tensor(1.0) * 2
        y.backward()  # broken

    assert "requires_grad" in message(nothing, CutPathError)


def test_shared_memory_changed_from_outside():
    def misuse():
        shared = np.ones(3)
        s = bl.asarray(shared, copy=False)
        with bl.debug():
            y = leaf(3) * s  # made
            shared[0] = 5.0
            y.sum().backward()  # broken

    text = message(misuse, bl.GradientError)
    assert "mul float64[3]" in text and "'y'" in text

    shared = np.ones(3)
    with bl.debug():
        (leaf(3) * bl.asarray(shared, copy=False)).sum().backward()  # unchanged: no error
    with bl.debug():
        y = leaf(3) * bl.asarray(shared)
        shared[0] = 5.0
        y.sum().backward()  # a copy: no error


def test_traced_value_that_escaped():
    kept = []

    def keep(x):
        kept.append(x * 2)
        return (x * x).sum()

    def from_grad():
        bl.grad(keep)(np.ones(3))  # began
        return bl.exp(kept[-1])  # broken

    text = message(from_grad, EscapedValueError)
    assert "exp" in text and "grad" in text

    def from_vmap():
        bl.vmap(keep)(np.ones((2, 3)))  # began
        return kept[-1] + 1  # broken

    assert "vmap" in message(from_vmap, EscapedValueError)

    def from_jvp():
        bl.jvp(keep, (np.ones(3),), (np.ones(3),))  # began
        return kept[-1][0]  # broken

    assert "jvp" in message(from_jvp, EscapedValueError)

    def looked_at():
        bl.grad(keep)(np.ones(3))  # began
        return kept[-1].tolist()  # broken

    message(looked_at, EscapedValueError)

    def into_another_transform():
        bl.grad(keep)(np.ones(3))  # began
        return bl.grad(lambda x: (x * kept[-1]).sum())(np.ones(3))  # broken

    assert "mul" in message(into_another_transform, EscapedValueError)


def test_imperative_gradients_inside_a_transform():
    def call_backward():
        bl.grad(lambda x: (x * x).backward())(1.0)  # broken

    assert "backlit.grad" in message(call_backward, bl.TraceError)

    def mark():
        bl.grad(lambda x: x.requires_grad_())(1.0)  # broken

    assert "backlit.grad" in message(mark, bl.TraceError)

    def read():
        bl.grad(lambda x: x.grad)(1.0)  # broken

    assert "backlit.grad" in message(read, bl.TraceError)


def test_writing_to_a_leaf():
    def element():
        w = bl.tensor(np.ones((3, 2)), requires_grad=True)  # made
        w[0] = 1.0  # broken

    text = message(element, WriteError)
    assert "float64[3, 2]" in text and "no_grad" in text and ".at[i].set(v)" in text

    def whole():
        w = bl.tensor(np.ones((3, 2)), requires_grad=True)  # made
        w += 1.0  # broken

    assert "no_grad" in message(whole, WriteError)


def test_leaving_the_graph():
    def misuse():
        y = leaf() * 2  # made
        return np.asarray(y)  # broken

    assert ".detach()" in message(misuse, bl.GradientError)

    def without_a_gradient():
        y = leaf() * 2
        return np.i0(y)  # broken

    assert ".detach()" in message(without_a_gradient, bl.DTypeError)


def test_other_misuse():
    def vmap_sizes():
        bl.vmap(lambda x, y: x + y)(np.ones(3), np.ones(4))  # broken

    text = message(vmap_sizes, bl.ShapeError)
    assert "float64[3]" in text and "float64[4]" in text

    def branch_on_many():
        bl.vmap(lambda x: x if x > 0 else -x)(np.ones(3))  # broken

    assert "where" in message(branch_on_many, bl.TraceError)

    def wrong_cotangent():
        (leaf() * 2).backward(np.ones(3))  # broken

    text = message(wrong_cotangent, bl.ShapeError)
    assert "float64[3]" in text and "float64[3, 2]" in text

    def wrong_dtype():
        nn.Linear(2, 3)(np.ones((1, 2)))  # broken

    assert ".astype('float32')" in message(wrong_dtype, bl.DTypeError)

    def class_out_of_range():
        F.cross_entropy(np.ones((2, 3), np.float32), np.array([0, 3]))  # broken

    assert "3 is not in 0..2" in message(class_out_of_range, bl.BacklitError)

    def wrong_hook():
        y = leaf() * 2  # made
        y.register_hook(lambda g: g.sum())
        y.sum().backward()  # broken

    text = message(wrong_hook, bl.ShapeError)
    assert "mul float64[3, 2]" in text and "float64[]" in text

    def argnums():
        bl.grad(lambda x: x, argnums=2)(1.0)  # broken

    assert "argnums 2" in message(argnums, bl.GradientError)

    def coarse():
        bl.gradcheck(bl.sin, np.ones(3, np.float32))  # broken

    assert "float32[3]" in message(coarse, bl.DTypeError)


def test_an_error_in_backward_changes_nothing():
    w = leaf(3)
    rule = rule_returning(lambda r, c: (c[:1], None))
    y = (w * w).sum() + rule(w, 2.0).sum()
    with pytest.raises(bl.RuleError):
        y.backward()
    assert w.grad is None
    with pytest.raises(bl.RuleError):  # not FreedGraphError: the graph is as it was
        y.backward()


def test_a_missing_custom_rule():
    @bl.custom_vjp
    def lonely(x):
        return x

    with pytest.raises(bl.RuleError, match="lonely.*defvjp"):
        lonely(1.0)

    @bl.custom_jvp
    def alone(x):
        return x

    with pytest.raises(bl.RuleError, match="alone.*defjvp"):
        alone(1.0)
    lonely.defvjp(lambda x: (x, None), lambda r, c: (c,))
    with pytest.raises(bl.RuleError, match="lonely.*custom_jvp"):
        bl.jvp(lonely, (1.0,), (1.0,))
