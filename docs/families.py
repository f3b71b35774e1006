"""The pages of the documentation that are made from the declarations: one a family of functions, and the list of names."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import numpy as np
from latex2mathml.converter import convert

import backlit as bl
from backlit.core.dtypes import is_float
from backlit.core.op import REGISTRY, Op
from backlit.diagnose.rules import RuleBook, Rules

_LONG = 160  # characters of a rule above which it stands as text, not as a formula
_LINES = 8  # of such a text


@dataclass(frozen=True)
class Family:
    """A page: the functions and ops that are defined in its modules, in that order; an example opens it."""

    page: str
    title: str
    modules: tuple[str, ...]
    example: str


def _family(page: str, title: str, modules: str, example: str) -> Family:
    return Family(page, title, tuple(f"backlit.{m}" for m in modules.split()), textwrap.dedent(example).strip())


FAMILIES = [
    _family("arrays", "Making arrays", "core.tensor arrays.creation arrays.inspection core.dtypes", """
        x = bl.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        y = bl.linspace(0.0, 1.0, 3)
        assert x.shape == (2, 2) and x.dtype == np.float32 and y.tolist() == [0.0, 0.5, 1.0]
    """),
    _family("elementwise", "Elementwise", "ops.elementwise ops.arithmetic ops.rounding ops.complex", """
        x = np.array([-1.0, 0.0, 2.0])
        assert bl.grad(lambda x: bl.maximum(x, 0.0).sum())(x).tolist() == [0.0, 0.0, 1.0]
        assert np.isclose(bl.grad(bl.abs)(np.complex128(3 + 4j)).item(), 0.6 + 0.8j)
    """),
    _family("functions", "Exponentials, angles, special functions",
            "ops.exponential ops.trigonometry ops.special ops.error_functions ops.gamma ops.gamma_itself", """
        assert abs(bl.grad(bl.lgamma)(2.0).item() - bl.digamma(2.0).item()) < 1e-6
        assert bl.grad(lambda x: bl.xlogy(x, 0.0) + bl.sinc(x))(0.0).item() == 0.0
    """),
    _family("reductions", "Reductions, scans, order", "ops.statistics ops.missing ops.estimates ops.reduce ops.product ops.norm "
            "ops.quantiles ops.cumulative ops.scan ops.sorting ops.order", """
        x = np.array([2.0, 0.0, 3.0])
        assert bl.grad(bl.prod)(x).tolist() == [0.0, 6.0, 0.0]
        assert bl.grad(lambda x: bl.sort(x)[0])(x).tolist() == [0.0, 1.0, 0.0]
        assert bl.cumulative_sum(x).tolist() == [2.0, 2.0, 5.0]
    """),
    _family("shape", "Shape and indexing", "ops.array ops.shape ops.linear ops.picking ops.padding ops.indexing "
            "ops.scatter functional.padding ops.at ops.columns ops.fence", """
        x = np.arange(6.0).reshape(2, 3)
        assert bl.grad(lambda x: x[[0, 0], [1, 1]].sum())(x).tolist() == [[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
        assert bl.asarray(x).at[0, ::2].set(9.0).tolist() == [[9.0, 1.0, 9.0], [3.0, 4.0, 5.0]]
    """),
    _family("contraction", "Products, convolution, pooling", "ops.contract ops.products ops.einsum ops.convolution "
            "ops.windows functional.linear functional.convolution functional.pooling functional.resample functional.grid "
            "functional.attention functional.positions functional.unpooling", """
        a, b = np.ones((2, 3, 4)), np.ones((2, 4, 5))
        assert bl.einsum("bij,bjk->bik", a, b).shape == (2, 3, 5)
        image, kernel = np.ones((1, 1, 5, 5)), np.ones((2, 1, 3, 3))
        assert F.max_pool2d(F.conv2d(image, kernel, padding="same"), 2).shape == (1, 2, 2, 2)
    """),
    _family("linalg", "Linear algebra", "arrays.linalg arrays.matrix_norms ops.linalg", """
        a = np.array([[2.0, 1.0], [1.0, 3.0]])
        inverse = np.linalg.inv(a)
        assert np.allclose(bl.grad(lambda a: bl.linalg.slogdet(a)[1])(a), inverse.T)
    """),
    _family("fft", "Fourier transforms", "arrays.fourier ops.fourier", """
        x = np.array([1.0, 2.0, 3.0, 4.0])
        power = lambda x: (bl.abs(bl.fft.fft(x)) ** 2).sum()
        assert np.allclose(bl.grad(power)(x), 2 * 4 * x)  # Parseval
    """),
    _family("activations", "Activations", "functional.activation functional.stochastic", """
        x = np.array([-1.0, 0.0, 1.0])
        assert bl.grad(lambda x: F.relu(x).sum())(x).tolist() == [0.0, 0.0, 1.0]
        assert np.allclose(F.softmax(x, axis=0).sum().item(), 1.0)
    """),
    _family("losses", "Losses and distances", "functional.classification functional.regression functional.margin "
            "functional.ctc functional.distance ops.entropy ops.classes", """
        logits, target = np.zeros((2, 4)), np.array([1, 3])
        assert abs(F.cross_entropy(logits, target).item() - np.log(4.0)) < 1e-6
    """),
    _family("normalisation", "Normalisation, dropout, tables", "functional.normalization functional.dropout "
            "functional.embedding functional.bags", """
        x = np.array([[1.0, 2.0, 3.0, 6.0]])
        assert np.allclose(F.layer_norm(x, (4,)).mean().item(), 0.0)
        assert F.embedding(np.array([2, 0]), np.eye(3)).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """),
    _family("random", "Random numbers", "core.rng ops.samplers functional.rejection ops.random", """
        generator = bl.random.Generator(7)
        sample = lambda scale: bl.random.normal((1000,), std=scale, generator=bl.random.Generator(7)).std()
        assert abs(bl.grad(sample)(2.0).item() - 1.0) < 0.1
    """),
    _family("transforms", "Gradients and transforms", "autodiff functional.control", """
        f = lambda x: (x**3).sum()
        x = np.array([1.0, 2.0])
        assert bl.grad(f)(x).tolist() == [3.0, 12.0] and bl.hessian(f)(x).tolist() == [[6.0, 0.0], [0.0, 12.0]]
    """),
    _family("system", "Compiling, training, files", "compiler diagnose inspector io optim train core.errors core.tree", """
        step = bl.compile(lambda x: bl.tanh(x) * 2.0)
        assert step(np.zeros(3)).tolist() == [0.0, 0.0, 0.0] and "kernel" in str(step.report())
    """),
]  # fmt: skip
IMPORTS = "import numpy as np\nimport backlit as bl\nfrom backlit import functional as F\n"


def public() -> dict[str, Any]:
    """Every public function and class by the name a user writes."""
    found: dict[str, Any] = {}
    for prefix, module in (
        ("", "backlit"), ("functional.", "backlit.functional"), ("linalg.", "backlit.linalg"), ("fft.", "backlit.fft"),
        ("random.", "backlit.random"),
    ):  # fmt: skip
        space = importlib.import_module(module)
        for name in space.__all__:
            value = getattr(space, name)
            if callable(value) and not isinstance(value, np.dtype):
                found[prefix + name] = value
    return found


def home(value: Any) -> str:
    """The module in which a function, a class or an op is defined."""
    return (type(value) if isinstance(value, Op) else value).__module__  # type: ignore[no-any-return]


def family_of(module: str) -> Family | None:
    """The page on which the names of a module stand: that which names the module, or the package around it."""
    while module:
        for family in FAMILIES:
            if module in family.modules:
                return family
        module = module.rpartition(".")[0]
    return None


@dataclass(frozen=True)
class Told:
    """A public function with all its names, and the op of its name, where it is told of here."""

    names: list[str]
    value: Any
    op: Op | None


def members(family: Family) -> tuple[list[Told], list[Op]]:
    """The public functions of a page, and the ops behind them that have no public name."""
    names: dict[int, tuple[list[str], Any]] = {}
    for name, value in public().items():
        if family_of(home(value)) is family:
            names.setdefault(id(value), ([], value))[0].append(name)
    rest = {op.name: op for op in REGISTRY.values() if family_of(home(op)) is family}
    functions = []
    for given, value in sorted(names.values(), key=lambda pair: pair[0][0].lower()):
        own = value.name if isinstance(value, Op) else getattr(value, "__name__", "")
        functions.append(Told(given, value, rest.pop(own, None)))
    return functions, sorted(rest.values(), key=lambda op: op.name)


def documentation(value: Any) -> str | None:
    """The docstring of a function, a class, or the class of an op."""
    found: str | None = type(value).__doc__ if isinstance(value, Op) else value.__doc__
    return found


def page(family: Family) -> str:
    """The page in Markdown."""
    functions, ops = members(family)
    parts = [f"# {family.title}", "", f"```python\n{IMPORTS}\n{family.example}\n```", ""]
    for told in functions:
        first, title = told.names[0], " · ".join(f"`{n}`" for n in told.names)
        parts += [f'<a id="{first}"></a>', f"## {title}", "", f"```text\n{first}{signature(told.value)}\n```", ""]
        parts += [body(documentation(told.value)), ""]
        if told.op is not None:
            parts += [described(told.op), ""]
    if ops:
        parts += [
            "# Ops behind them",
            "",
            "They have no name of their own for users; recordings and graphs show them.",
            "",
        ]
    for op in ops:
        parts += [f"## {op.name}", "", body(documentation(op)), "", described(op), ""]
    return "\n".join(parts)


def signature(value: Any) -> str:
    """The arguments as they are written."""
    if isinstance(value, Op):
        if value.samples():
            return "(" + ", ".join(value.input_name(i) for i in range(len(value.samples()[0][0]))) + ")"
        return "(...)"
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    plain = found.replace(
        parameters=[p.replace(annotation=p.empty) for p in found.parameters.values()], return_annotation=found.empty
    )
    return str(plain)


def body(doc: str | None) -> str:
    """A docstring as Markdown: its sections as lists, mathematics and code as they stand."""
    text = inspect.cleandoc(doc or "")
    lines = []
    for line in text.split("\n"):
        if re.fullmatch(r"(Raises|Shapes|Args|Returns|Yields):", line):
            lines += ["", f"**{line}**", ""]
        elif re.match(r"  \S", line):
            lines.append("- " + line.strip())
        else:
            lines.append(line)
    return re.sub(r"<(?=\w)", "&lt;", "\n".join(lines))


@cache
def rules_of(op: Op) -> Rules | None:
    """The rules of an op, printed from a run of its first sample that has any."""
    low, high = getattr(op, "domain", (-2.0, 2.0))
    rng = np.random.default_rng(0)
    for args, params in op.samples():
        arrays = [a if isinstance(a, np.ndarray) else _drawn(a, low, high, rng) for a in args]
        if not op.differentiable:
            return None
        with bl.record() as recording:
            leaves = [bl.tensor(a, requires_grad=True) if is_float(a.dtype) else bl.asarray(a) for a in arrays]
            out = op(*leaves, **dict(params))
            if out.requires_grad:
                out.backward(bl.ones_like(out))
        node = next((n for n in reversed(recording.nodes) if n.op is op), None)
        if node is not None:
            book = RuleBook()
            return book.rules[book.index(node)]
    return None


def _drawn(shape: Any, low: float, high: float, rng: np.random.Generator) -> Any:
    made = np.asarray(rng.uniform(low, high, tuple(shape)))
    return shape.kind(made) if hasattr(shape, "kind") else made


def described(op: Op) -> str:
    """The formula of an op, the rule for each argument, and what each keeps."""
    rules = rules_of(op)
    if rules is None:
        return "Nothing is differentiated through it."
    names = {f"arg{{{i}}}": op.input_name(i) for i in range(8)} | {"out": "out", "up": "g"}
    latexes = {k: v if len(v) == 1 else rf"\mathrm{{{v}}}" for k, v in names.items()} | {"up": "g"}
    rows = [f"<tr><td>value</td><td>{_shown(rules.forward, names, latexes)}</td><td></td></tr>"]
    for argnum, written in rules.reverse.items():
        reads = op.reads(argnum)
        known = {op.input_name(i) for i in range(len(rules.reverse) + 4)} | {"out"}
        kept = ", ".join(sorted(reads & known)) if reads is not None else "all arguments and the value"
        rows.append(
            f"<tr><td>gradient of {escape(op.input_name(argnum))}</td><td>{_shown(written, names, latexes)}</td>"
            f"<td>{escape(kept) or 'nothing'}</td></tr>"
        )
    head = "<tr><th></th><th>where g is the gradient of the value</th><th>kept for it</th></tr>"
    note = f"\n\n{rules.note}" if rules.note else ""
    return f'<table class="rules">{head}{"".join(rows)}</table>{note}'


def _shown(written: Any, names: dict[str, str], latexes: dict[str, str]) -> str:
    text = written.filled("text", names)
    if len(text) <= _LONG:
        drawn: str = convert(written.filled("latex", latexes))
        return drawn.replace("<math ", '<math displaystyle="true" ', 1)
    lines = textwrap.wrap(text, 64)
    cut = [*lines[:_LINES], "..."] if len(lines) > _LINES else lines
    return f'<pre style="white-space: pre-wrap">{escape(chr(10).join(cut))}</pre>'


def reference() -> str:
    """All names of `backlit` with the first sentence of their documentation, by family, with links to their pages."""
    parts = [
        "# Reference", "",
        "Every public name with the first sentence of its documentation; each leads to its page with shapes, costs, errors, the",
        "formula, the rules that run, and what they keep. The pages are made from the declarations.", "",
    ]  # fmt: skip
    for family in FAMILIES:
        parts += [f"## [{family.title}](functions/{family.page}.md)", "", "| name | gives |", "|---|---|"]
        for told in members(family)[0]:
            names, doc = ", ".join(f"`{n}`" for n in told.names), documentation(told.value)
            parts.append(f"| [{names}](functions/{family.page}.md#{told.names[0]}) | {first_sentence(doc)} |")
        parts.append("")
    return "\n".join(parts)


def first_sentence(doc: str | None) -> str:
    """Up to the first full stop at the end of a word, on one line."""
    paragraph = " ".join(inspect.cleandoc(doc or "").split("\n\n")[0].split())
    match = re.match(r".*?\.(?=\s|$)", paragraph)
    return (match[0] if match else paragraph).replace("|", "\\|")
