"""The local rules of nodes: what is printed of them computes what the rules compute, for every op there is."""

import re

import checks
import numpy as np
import pytest

from backlit import functional as F
from backlit.core.dtypes import is_float
from backlit.core.op import REGISTRY
from backlit.core.tensor import Tensor
from backlit.diagnose.recording import Node, Scope
from backlit.diagnose.rules import FORWARD_RULE, RuleBook, local_rules
from backlit.ops import indexing

ROOT = Scope("root", "", "", None, 0)


def leaf(name, value):
    value = np.asarray(value)
    return Node(0, "input", None, {}, (), (), value, ROOT, 0, name=name, shape=value.shape, dtype=value.dtype)


def node_of(op, *args, name="out", wanted=None, cotangent=None, **params):
    """A recorded node of `op` on leaves or numbers."""
    values = [a.value if isinstance(a, Node) else a for a in args]
    tensors = [Tensor(v) if isinstance(a, Node) else a for a, v in zip(args, values, strict=True)]
    args, params = list(args), dict(params)
    for i, prepared in enumerate(op.prepare(tuple(tensors), params)):
        if isinstance(args[i], Node):
            value = np.asarray(prepared._value)
            args[i] = leaf(args[i].name, value)
    out = np.asarray(op.forward(*(a.value if isinstance(a, Node) else a for a in args), **params))
    if wanted is None:
        wanted = tuple(isinstance(a, Node) and is_float(a.dtype) for a in args)
    cotangent = None if cotangent is None else np.asarray(cotangent, out.dtype)
    return Node(
        1, "op", op, params, tuple(args), wanted, out, ROOT, 0,
        name=name, shape=out.shape, dtype=out.dtype, cotangent=cotangent,
    )  # fmt: skip


PICKING = ["put", "scatter_add", "scatter_max", "scatter_min"]


def picked(name):
    """An op that writes to places, as it is printed: the index is one of Python's, its arrays are no arguments."""

    def apply(x, *new, index, **params):
        template, arrays = indexing.parse(np.empty(params.get("shape", np.shape(x))), index)
        return REGISTRY[name](x, *new, *arrays, index=template, **params)

    return apply


def evaluated(written, namespace):
    """The value of a printed formula, with the parts that it tells after "with"."""
    namespace = namespace | {n: REGISTRY[n] for n in REGISTRY} | {
        "softmax": F.softmax, **{name: picked(name) for name in PICKING}, "s_": np.s_, "zeros": np.zeros, "array": np.array, "inf": np.inf, "nan": np.nan,
        "float64": np.float64, "float128": np.longdouble, "longdouble": np.longdouble,
        "complex64": np.complex64, "complex128": np.complex128,
        "concat": lambda *xs, axis, sizes: REGISTRY["concat"](*xs, axis=axis),
    }  # fmt: skip
    written = re.sub(r"\\(arg)\{(\d+)\}|\\(out|up)", lambda m: f"{m[1] or m[3]}{m[2] or ''}", written)
    written = written.replace("index=[", "index=s_[")
    main, _, told = written.partition(" with ")
    for name_and_part in re.split(r", (?=s\d+ = )", told) if told else []:
        shared, part = name_and_part.split(" = ", 1)
        namespace[shared] = eval(part, namespace)
    found = eval(main, namespace)
    return np.asarray(getattr(found, "_value", found))


CASES = [(name, k) for name, k in checks.cases() if all("key" not in n for n in REGISTRY[name].inputs)]


@pytest.mark.parametrize("name, k", CASES)
def test_the_printed_rules_compute_what_the_rules_compute(name, k):
    op = REGISTRY[name]
    _, arrays = checks.sample(name, k)
    rng = np.random.default_rng(k)
    params = op.samples()[k][1]
    node = node_of(op, *(leaf("xyzw"[i], a) for i, a in enumerate(arrays)), **params)
    differentiable = op.differentiable and is_float(node.dtype)
    node.wanted = node.wanted if differentiable else (False,) * len(node.args)
    g = np.asarray(rng.standard_normal(node.shape), node.dtype) if differentiable else np.zeros(node.shape)
    namespace = {f"arg{i}": Tensor(a.value) for i, a in enumerate(node.args)}
    namespace |= {"out": Tensor(node.value), "up": Tensor(np.asarray(g))}
    book = RuleBook()
    rules = book.rules[book.index(node)]
    np.testing.assert_array_equal(evaluated(rules.forward.text, namespace), node.value)
    assert set(rules.reverse) == {i for i, w in enumerate(node.wanted) if w}
    if not differentiable:
        return
    inputs = [
        Tensor(a.value).requires_grad_() if w else Tensor(a.value) for a, w in zip(node.args, node.wanted, strict=True)
    ]
    out = op(*inputs, **node.params)
    pulled = op.contributions(
        (namespace["up"], None), Tensor(node.value), [Tensor(a.value) for a in node.args], out.node
    )
    for argnum, (value, _) in zip(out.node.plan.argnums, pulled, strict=True):
        again = evaluated(rules.reverse[argnum].text, namespace)
        expected = np.asarray(value._value)
        number = complex if expected.dtype.kind == "c" else float
        # constants are printed to eight digits
        np.testing.assert_allclose(
            np.broadcast_to(again, expected.shape).astype(number), expected.astype(number), 1e-7, 1e-12
        )


def rules_by_argnum(node):
    return {rule.argnum: rule for rule in local_rules(node)}


def test_an_affine_layer_shows_its_transpose_and_the_sum_over_the_batch():
    x, weight = leaf("x", np.ones((5, 3))), leaf("layers.0/weight", np.ones((2, 3)))
    turned = node_of(REGISTRY["permute_dims"], weight, axes=(1, 0), name="layers.0/permute_dims#0")
    product = node_of(REGISTRY["matmul"], x, turned, name="Z")
    rules = rules_by_argnum(product)
    assert rules[FORWARD_RULE].text == "x @ permute_dims#0"
    assert rules[0].text == "g @ permute_dims#0.T" and rules[1].text == "x.T @ g"
    assert rules[1].latex == r"{x}^{\mathsf{T}} \, \delta_{Z}"
    assert rules[1].shapes == r"\underset{3 \times 5}{{x}^{\mathsf{T}}} \, \underset{5 \times 2}{\delta_{Z}}"
    bias = node_of(REGISTRY["broadcast_to"], leaf("b", np.ones(2)), shape=(5, 2), name="B")
    (rule,) = (r for r in local_rules(bias) if r.argnum == 0)
    assert rule.text == "sum_to(g, shape=(2,))"
    assert rule.latex == r"\textstyle\sum_{\text{axis 0}} \delta_{B}"


def test_relu_and_softmax_cross_entropy_read_as_in_the_books():
    relu = node_of(REGISTRY["maximum"], leaf("z", np.ones(3)), 0.0, name="a")
    assert rules_by_argnum(relu)[0].latex == r"\left[z > 0\right] \odot \delta_{a}"
    assert rules_by_argnum(relu)[0].partial_latex == r"\left[z > 0\right]"
    loss = node_of(
        REGISTRY["softmax_cross_entropy"], leaf("z", np.ones(3)), leaf("y", np.ones(3)), wanted=(True, False), name="L"
    )
    assert (
        rules_by_argnum(loss)[0].latex == r"\delta_{L} \cdot ((\textstyle\sum y) \odot \operatorname{softmax}(z) - y)"
    )


def test_numbers_stand_in_place_of_names_where_they_are_few():
    x, y = leaf("x", 2.0), leaf("y", -3.0)
    rules = rules_by_argnum(node_of(REGISTRY["mul"], x, y, name="u", cotangent=5.0))
    assert rules[FORWARD_RULE].numbers == "2 * (-3)" and rules[FORWARD_RULE].numbers_latex == r"2 \cdot (-3)"
    assert rules[0].numbers == "5 * (-3)" and rules[1].numbers == "5 * 2"
    rules = rules_by_argnum(node_of(REGISTRY["exp"], y, name="e", cotangent=1e-9))
    assert rules[FORWARD_RULE].numbers == "exp(-3)" and rules[FORWARD_RULE].numbers_latex == "e^{-3}"
    assert rules[0].numbers_latex == r"10^{-9} \cdot 0.049787068"
    rules = rules_by_argnum(node_of(REGISTRY["pow"], y, 2, name="p"))
    assert rules[FORWARD_RULE].numbers == "(-3) ** 2" and rules[FORWARD_RULE].numbers_latex == "{(-3)}^{2}"
    assert rules[0].numbers is None, "no gradient arrived"
    assert rules_by_argnum(node_of(REGISTRY["add"], x, y, cotangent=1.0))[0].numbers is None, "a bare name"
    small, big = leaf("a", np.arange(6.0).reshape(2, 3)), leaf("b", np.ones((4, 4)))
    rules = rules_by_argnum(node_of(REGISTRY["permute_dims"], small, axes=(1, 0)))
    assert rules[FORWARD_RULE].numbers_latex == r"{\begin{bmatrix} 0 & 1 & 2 \\ 3 & 4 & 5 \end{bmatrix}}^{\mathsf{T}}"
    assert rules_by_argnum(node_of(REGISTRY["permute_dims"], big, axes=(1, 0)))[FORWARD_RULE].numbers is None


def test_a_name_that_is_special_to_latex_is_escaped():
    node = node_of(REGISTRY["mul"], leaf("a_b%", 1.0), leaf("w_12", 1.0))
    assert rules_by_argnum(node)[FORWARD_RULE].latex == r"\mathrm{a\_b\%} \cdot w_{12}"


def test_each_structure_is_printed_once(monkeypatch):
    from backlit.diagnose import rules as module

    printed = []
    real = module._rules
    monkeypatch.setattr(module, "_rules", lambda node: printed.append(node) or real(node))
    book = RuleBook()
    x, z = leaf("x", np.ones(3)), leaf("z", np.ones(4))
    mul = REGISTRY["mul"]
    nodes = [
        node_of(mul, x, x),
        node_of(mul, x, 2.0),
        node_of(mul, x, 3.0),
        node_of(mul, z, z),
        node_of(REGISTRY["add"], x, x),
    ]
    for _ in range(3):
        places = [book.index(node) for node in nodes]
    assert places == [0, 1, 2, 3, 4] and len(printed) == 5
    assert book.index(node_of(mul, leaf("other", np.zeros(3)), x)) == 0
    assert book.index(node_of(mul, x, x, wanted=(True, False))) == 5
    assert book.index(node_of(mul, x, 2)) == 6, "an integer literal is another structure than a float"


def test_rules_of_ones_own_are_printed_too():
    import backlit as bl

    @bl.custom_vjp
    def two(x, y):
        return x * y, bl.sin(x)

    two.defvjp(
        lambda x, y: ((x * y, bl.sin(x)), (x, y)),
        lambda kept, g: (kept[1] * g[0] + bl.cos(kept[0]) * g[1], kept[0] * g[0]),
    )

    @bl.custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda primals, tangents: (primals[0] ** 3, 3.0 * primals[0] ** 2 * tangents[0]))
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
        a, b = two(cube(x), x)
        (a * b).sum().backward()
    book, label = RuleBook(), lambda node: {"cube#0": "c", "two#0": "t"}.get(node.name, node.name)
    found = {(node.name, rule.argnum): rule for node in recording.nodes for rule in book.local_rules(node, label)}
    assert found["cube#0", 0].text == "g * (3 * x ** 2)"
    assert found["two#0", 0].text == "x * g0 + cos(c) * g1" and found["two#0", 1].text == "c * g0"
    assert found["two#0", 0].latex == r"x \odot g_{0} + \cos(c) \odot g_{1}"
    # the recorded rules are as they were
    assert all(isinstance(t._value, np.ndarray) for t in recording["two#0"].op.residuals)


def test_recordings_without_values_say_so(tmp_path):
    import backlit as bl
    from backlit.core.errors import ArgumentError
    from backlit.diagnose.balance import balance
    from backlit.diagnose.cells import cell
    from backlit.diagnose.graded import graded
    from backlit.diagnose.nudge import nudge
    from backlit.diagnose.provenance import provenance
    from backlit.diagnose.tree import ContributionTree

    def run(**options):
        with bl.record(**options) as recording:
            x = bl.tensor(np.ones((2, 3)), requires_grad=True)
            x.mT.sum().backward()
        return recording

    run().save(tmp_path / "x.blt")
    loaded, summed = bl.load_recording(tmp_path / "x.blt"), run(statistics=True)
    for recording, message in ((loaded, "not be run again"), (summed, "holds statistics")):
        node = next(n for n in recording.nodes if n.op is not None)
        for look in (provenance, graded, ContributionTree):
            with pytest.raises(ArgumentError, match=message):
                look(recording, node)
        for look in (cell, nudge):
            with pytest.raises(ArgumentError, match=message):
                look(recording, node, 0)
        with pytest.raises(ArgumentError, match="not k(ept|nown)"):
            RuleBook().index(node)
    with pytest.raises(ArgumentError, match="not be run again"):
        balance(loaded)
    assert not any(found.checked for found in balance(summed).nodes)
