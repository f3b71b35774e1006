"""The LaTeX of formulas: read back, that of every rule of every op computes what the rule computes."""

import re

import checks
import numpy as np
import pytest
from latex_reader import Reader
from test_rules import leaf, node_of

from backlit.core.dtypes import is_float
from backlit.core.op import REGISTRY
from backlit.core.tensor import Tensor
from backlit.diagnose.formula import Constant, Symbol, Term
from backlit.diagnose.latex import latex, latex_name, latex_number
from backlit.diagnose.rules import RuleBook
from backlit.ops.linalg.common import MatrixOp


def op(name):
    def call(*args):
        *values, _ = args
        return np.asarray(REGISTRY[name](*(Tensor(np.asarray(v)) for v in values))._value)

    return call


def shape_of(below):
    return tuple(int(n) for n in re.findall(r"\d+", below))


def axes_of(below):
    return tuple(int(n) for n in re.findall(r"\d+", below)) or None


def softmax(x, below):
    axes = axes_of(below) or (0,)
    return np.exp(x - logsumexp(x, below, axes))


def logsumexp(x, below, axes=None):
    axes = axes or axes_of(below)
    high = np.max(x, axis=axes, keepdims=True)
    return np.log(np.sum(np.exp(x - high), axis=axes, keepdims=True)) + high


def scattered(node):
    def call(x, below):
        made = np.zeros(node.args[0].shape)
        arrays = {f"arg{k}": a.value for k, a in enumerate(node.args)}
        index = re.sub(r"\\arg\{(\d+)\}", r"arg\1", below.replace(r"\,", ""))
        key = eval("s" + index, {"s": np.s_, **arrays})
        np.add.at(made, key, x)
        return made

    return call


def of_windows(node):
    """Convolutions and the ops on windows, whose rules have the parameters of their op."""
    ops = {
        r"\star": "conv", r"\star^{\mathsf{T}}": "conv_input", r"\star_{w}": "conv_weight",
        r"\operatorname{fold}": "fold", r"\operatorname{unfold}": "unfold",
        r"\operatorname{pick}": "window_pick", r"\operatorname{put}": "window_put",
    }  # fmt: skip

    def call(name):
        return lambda *args: REGISTRY[name].forward(*(a for a in args if not isinstance(a, str)), **node.params)

    return {head: call(name) for head, name in ops.items()}


FUNCTIONS = {
    r"\operatorname{reshape}": lambda x, below: np.reshape(x, shape_of(below)),
    r"\operatorname{broadcast}": lambda x, below: np.broadcast_to(x, shape_of(below)),
    r"\operatorname{permute}": lambda x, below: np.transpose(x, shape_of(below)),
    r"\operatorname{softmax}": softmax, r"\operatorname{logsumexp}": logsumexp,
    r"\operatorname{float64}": lambda x, below: np.asarray(x, float),
    r"\operatorname{float128}": lambda x, below: np.asarray(x, float), r"\operatorname{longdouble}": lambda x, below: x,
    r"\operatorname{sign}": op("sign"), r"\operatorname{erf}": op("erf"), r"\operatorname{erf}^{-1}": op("erfinv"),
    r"\sigma": op("sigmoid"), r"\Phi": op("normal_cdf"), r"\psi": lambda x, below: op("polygamma")(float(below), x, "") if below else op("digamma")(x, ""), r"\psi_1": op("trigamma"),
    r"\sin": op("sin"), r"\cos": op("cos"), r"\tan": op("tan"), r"\tanh": op("tanh"), r"\sinh": op("sinh"), r"\cosh": op("cosh"),
    r"\log": op("log"), r"\log_2": op("log2"), r"\log_{10}": op("log10"), r"\max": op("maximum"), r"\min": op("minimum"),
    r"\operatorname{round}": op("round"), r"\operatorname{trunc}": op("trunc"), r"\operatorname{sinc}": op("sinc"),
}  # fmt: skip


def cases():
    # the reader knows real numbers, and takes the power that an inverse is written as for one of elements
    names = {n for n, op in REGISTRY.items() if op.differentiable and not isinstance(op, MatrixOp)}
    return [(name, k) for name, k in checks.real_cases() if name in names]


@pytest.mark.parametrize("name, k", cases())
def test_the_latex_of_a_rule_computes_what_the_rule_computes(name, k):
    op = REGISTRY[name]
    _, arrays = checks.sample(name, k)
    if any(a.size == 0 for a in arrays):
        return  # of no elements anything is right
    node = node_of(op, *(leaf("xyzw"[i], a) for i, a in enumerate(arrays)), **op.samples()[k][1])
    if not is_float(node.dtype) or name == "polygamma":
        return
    g = np.random.default_rng(k).standard_normal(node.shape)
    inputs = [
        Tensor(a.value).requires_grad_() if w else Tensor(a.value) for a, w in zip(node.args, node.wanted, strict=True)
    ]
    out = op(*inputs, **node.params)
    pulled = op.contributions(
        (Tensor(np.asarray(g)), None), Tensor(node.value), [Tensor(a.value) for a in node.args], out.node
    )
    book = RuleBook()
    rules = book.rules[book.index(node)]
    for argnum, (value, _) in zip(out.node.plan.argnums, pulled, strict=True):
        if name == "put" and argnum == 1 and len(node.args) > 2:
            continue  # how the last of several writes is found is told by arrays of places
        names = {
            rf"\arg{{{i}}}": np.asarray(a.value, float) if is_float(a.dtype) else a.value
            for i, a in enumerate(node.args)
        }
        names |= {r"\out": np.asarray(node.value, float), r"\up": g}
        written = rules.reverse[argnum].latex
        if name.startswith("scatter_m") and r"\mathrm{array}" in written:
            continue  # so here
        again = np.asarray(
            Reader(names, FUNCTIONS | of_windows(node) | {r"\operatorname{scatter}": scattered(node)}).read(written),
            float,
        )
        expected = np.asarray(value._value, float)
        if again.size == expected.size:
            again = again.reshape(expected.shape)  # a sum keeps its axes here
        np.testing.assert_allclose(np.broadcast_to(again, expected.shape), expected, 1e-7, 1e-12, err_msg=written)


X, Y, Z = (Symbol(name, np.array(value)) for name, value in (("x", 2.0), ("y", -3.0), ("z", 5.0)))


def term(name, *args):
    return Term(name, args, {}, ())


@pytest.mark.parametrize(
    "formula, written",
    [
        (term("mul", term("add", X, Y), Z), r"(x + y) \cdot z"),
        (term("sub", X, term("sub", Y, Z)), "x - (y - z)"),
        (term("sub", term("neg", X), Y), "-x - y"),
        (term("add", X, term("neg", Y)), "x + (-y)"),
        (term("neg", term("add", X, Y)), "-(x + y)"),
        (term("neg", term("mul", X, Y)), r"-x \cdot y"),
        (term("mul", term("neg", X), Y), r"(-x) \cdot y"),
        (term("pow", term("pow", X, Y), Z), "{({x}^{y})}^{z}"),
        (term("pow", X, term("add", Y, Constant(1))), "{x}^{y + 1}"),
        (term("div", term("add", X, Y), Z), r"\frac{x + y}{z}"),
        (term("pow", term("div", X, Y), Constant(2)), r"{(\frac{x}{y})}^{2}"),
        (term("tanh", term("add", X, Y)), r"\tanh(x + y)"),
        (term("tanh", term("div", X, Y)), r"\tanh\left(\frac{x}{y}\right)"),
        (term("exp", term("neg", X)), "e^{-x}"),
        (term("equal", term("less", X, Y), Z), "(x < y) = z"),
        (term("where", term("greater", X, Constant(0)), Y, Constant(0.0)), r"\left[x > 0\right] \cdot y"),
        (term("log2", X), r"\log_2(x)"),
        (term("hypot", X, Y), r"\sqrt{x^2 + y^2}"),
        (term("ceil", term("add", X, Y)), r"\lceil x + y \rceil"),
        (term("of_nobody", X, Y), r"\operatorname{of\_nobody}(x, y)"),
    ],
)
def test_brackets_stand_where_they_are_needed(formula, written):
    assert latex(formula) == written


def test_a_long_part_that_occurs_twice_is_told_once():
    part = term("exp", term("add", term("mul", X, Y), term("mul", Y, Z)))
    assert latex(term("mul", part, part)) == (
        r"s_{1} \cdot s_{1} \quad\text{with}\quad s_{1} = e^{x \cdot y + y \cdot z}"
    )


def test_names_and_numbers():
    assert [latex_name(n) for n in ("x", "W1", "z_2", "loss", "0/weight", "a b")] == [
        "x", "W_{1}", "z_{2}", r"\mathrm{loss}", r"\mathrm{0/weight}", r"\mathrm{a\ b}",
    ]  # fmt: skip
    assert [latex_number(x) for x in (1.5, -2.0, 1e-9, 2.5e20, np.inf, -np.inf, np.nan)] == [
        "1.5", "-2", "10^{-9}", r"2.5 \cdot 10^{20}", r"\infty", r"-\infty", r"\mathrm{nan}",
    ]  # fmt: skip
