"""The local rules of recorded nodes as formulas: printed from the rules that run, once for every structure."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backlit.autodiff.custom import CustomJoint
from backlit.autodiff.gate import Gate
from backlit.autodiff.walk import Joint, Pick
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.graph import leaf_node
from backlit.core.op import Elementwise, Struct, record_node
from backlit.core.tensor import Tensor
from backlit.diagnose.formula import Constant, Formula, Symbol, Term, array_text, text
from backlit.diagnose.latex import SMALL, latex, latex_array, latex_name
from backlit.diagnose.recording import Node
from backlit.diagnose.replay import can_run
from backlit.diagnose.symbolic import FormulaTrace

_PLACE = re.compile(r"\\(arg\{\d+\}|out|up)(?![A-Za-z])")
_FREE = ("(", "{", "[", ", ")  # a negative number stands behind these without brackets
FORWARD_RULE = -1  # the argnum under which the forward stands


@dataclass(frozen=True)
class Written:
    r"""A formula of a local rule in LaTeX, in the syntax of Python, and in LaTeX with the shape under each factor.

    `\arg{0}`, `\arg{1}`, ... stand for the arguments of the node, `\out` for its value, `\up` for its upstream gradient.
    """

    latex: str
    text: str
    shapes: str

    def places(self) -> set[str]:
        """What the formula stands for: "arg{0}", "out", "up"."""
        return set(_PLACE.findall(self.text))

    @cached_property
    def _parts(self) -> dict[str, list[tuple[str, str, bool]]]:
        return {"latex": _parts(self.latex), "text": _parts(self.text)}

    def filled(self, syntax: str, of: dict[str, str]) -> str:
        """The "latex" or "text" with what `of` gives in each place, in brackets where it is negative and has to be."""
        pieces = []
        for before, place, free in self._parts[syntax]:
            pieces.append(before)
            if place:
                body = of[place]
                pieces.append(f"({body})" if not free and body.startswith("-") else body)
        return "".join(pieces)


def _parts(template: str) -> list[tuple[str, str, bool]]:
    """What stands before each place, the place, and whether a negative number may stand there without brackets."""
    found, at = [], 0
    for match in _PLACE.finditer(template):
        before, after = template[: match.start()], template[match.end() :]
        free = (not before or before.endswith(_FREE)) and not after.startswith((" **", "}^", "^", ".", "[", "}_"))
        found.append((template[at : match.start()], match[1], free))
        at = match.end()
    return [*found, (template[at:], "", False)]


@dataclass(frozen=True)
class Rules:
    """The formulas that all nodes of one structure share.

    `reverse` holds the rule for each argument that gets a gradient, `partials` the local derivatives where the op is
    elementwise. `note` says why there are none, where a rule cannot be written as a formula.
    """

    forward: Written
    reverse: dict[int, Written]
    partials: dict[int, Written]
    note: str = ""


@dataclass(frozen=True)
class LocalRule:
    """One rule of one node, with the names of its values; `argnum` is -1 for the forward.

    `numbers` and `numbers_latex` are the formula with the numbers in place of the names, None where an array is not
    small, where the formula is a bare name, or where no gradient arrived. `partial` is the local derivative in an
    elementwise op.
    """

    argnum: int
    latex: str
    text: str
    shapes: str
    numbers: str | None
    numbers_latex: str | None
    partial: str | None
    partial_latex: str | None


class RuleBook:
    """The rules of nodes, each structure (op, parameters, shapes, literals) printed once.

    A node costs a table look-up. A structure that is new costs its reverse rule once, on the values of the node.
    """

    def __init__(self) -> None:
        self.rules: list[Rules] = []
        self._index: dict[Any, int] = {}

    def index(self, node: Node) -> int:
        """The position in `rules` of the rules of an op's node.

        Raises:
          ArgumentError: no op made the node, or what its rule reads was not kept.
        """
        if not can_run(node):
            raise ArgumentError(f"rules: what the rule of {node.name!r} reads was not kept")
        key = _structure(node)
        found = self._index.get(key)
        if found is None:
            try:
                made = _rules(node)
            except KeyError as error:
                raise ArgumentError(f"rules: the parameter {error} of {node.name!r} is not known") from None
            found = self._index[key] = len(self.rules)
            self.rules.append(made)
        return found

    def numbers(self, node: Node) -> list[tuple[int, str, str]]:
        """The rules of a node with its numbers: argnum (-1 for the forward), text and LaTeX, where all are small."""
        rules = self.rules[self.index(node)]
        texts, latexes = _values(node)
        found = []
        for argnum, written in ((FORWARD_RULE, rules.forward), *rules.reverse.items()):
            needed = written.places()
            if _bare(written) or not needed or not needed <= texts.keys():
                continue
            found.append((argnum, written.filled("text", texts), written.filled("latex", latexes)))
        return found

    def local_rules(self, node: Node, label: Callable[[Node], str] | None = None) -> list[LocalRule]:
        """The forward rule of a node and its reverse rules, under the names that `label` gives to nodes.

        Without `label` a node is called by the last part of its name. Empty for a node that no op made.
        """
        if node.op is None:
            return []
        rules = self.rules[self.index(node)]
        texts, latexes = _names(node, label or short_name)
        numbers = {argnum: found for argnum, *found in self.numbers(node)}
        made = []
        for argnum, written in ((FORWARD_RULE, rules.forward), *rules.reverse.items()):
            partial = rules.partials.get(argnum)
            with_numbers = numbers.get(argnum, (None, None))
            made.append(
                LocalRule(
                    argnum=argnum,
                    latex=_renamed(written.latex, latexes),
                    text=_renamed(written.text, texts),
                    shapes=_renamed(written.shapes, latexes),
                    numbers=with_numbers[0],
                    numbers_latex=with_numbers[1],
                    partial=None if partial is None else _renamed(partial.text, texts),
                    partial_latex=None if partial is None else _renamed(partial.latex, latexes),
                )
            )
        return made


def local_rules(node: Node) -> list[LocalRule]:
    """The forward rule of one node and its reverse rules; for many nodes, a `RuleBook` prints each structure once."""
    return RuleBook().local_rules(node)


def short_name(node: Node) -> str:
    """The last part of a node's name."""
    return node.name.rsplit("/", 1)[-1]


def _bare(written: Written) -> bool:
    return _PLACE.fullmatch(written.text) is not None


def _renamed(template: str, names: dict[str, str]) -> str:
    return _PLACE.sub(lambda match: names[match[1]], template)


def _names(node: Node, label: Callable[[Node], str]) -> tuple[dict[str, str], dict[str, str]]:
    called = {f"arg{{{i}}}": label(a) for i, a in enumerate(node.args) if isinstance(a, Node)}
    called["out"] = label(node)
    texts = called | {"up": "g" if "g" not in called.values() else "upstream"}
    latexes = {place: latex_name(name) for place, name in called.items()}
    return texts, latexes | {"up": rf"\delta_{{{latexes['out']}}}"}


def _values(node: Node) -> tuple[dict[str, str], dict[str, str]]:
    """The values in each place as text and as LaTeX; those that are small only."""
    texts, latexes = {}, {}
    values = [(f"arg{{{i}}}", a.value) for i, a in enumerate(node.args) if isinstance(a, Node)]
    for place, value in (*values, ("out", node.value), ("up", node.cotangent)):
        if value is not None and np.size(value) <= SMALL and (drawn := latex_array(value)) is not None:
            texts[place], latexes[place] = array_text(value), drawn
    return texts, latexes


def _structure(node: Node) -> Any:
    args = tuple([(a.shape, a.dtype) if isinstance(a, Node) else (a.__class__, a) for a in node.args])
    op = node.op.owner if isinstance(node.op, CustomJoint) else node.op
    return op, tuple(node.params.items()), args, node.wanted


def _rules(node: Node) -> Rules:
    """The formulas of a node's forward and, run on named values, of its reverse rule."""
    op = node.op
    assert op is not None
    args: list[Formula] = [
        Symbol(rf"\arg{{{i}}}", a.value) if isinstance(a, Node) else Constant(a) for i, a in enumerate(node.args)
    ]
    if isinstance(op, Pick):
        return Rules(_written(Term(f"result {op.position} of {op.name}", (args[0],), {}, node.shape)), {}, {})
    if isinstance(op, Joint):
        return _joint_rules(node, args)
    forward = _written(Term(op.name, tuple(args), node.params, node.shape))
    if not any(node.wanted):
        return Rules(forward, {}, {})
    out = Symbol(r"\out", node.value)
    up = Symbol(r"\up", np.zeros(node.shape, node.dtype) if node.cotangent is None else node.cotangent)
    wanted = sum(1 << i for i, w in enumerate(node.wanted) if w)
    leaves = [leaf_node(a.shape, a.dtype) for a, w in zip(node.args, node.wanted, strict=True) if w]
    raw = [a.value if isinstance(a, Node) else a for a in node.args]
    inner = record_node(op, wanted, leaves, raw, node.value, node.params)
    with FormulaTrace("rules") as trace:

        def named(value: Any, formula: Formula) -> Any:
            known = isinstance(value, (np.ndarray, np.generic)) and isinstance(formula, Symbol)
            return trace.named(Tensor(value), formula) if known else value

        inputs = [named(value, formula) for value, formula in zip(inner.inputs, args, strict=True)]
        read = named(inner.out, out)
        pulled = op.contributions((named(up.value, up), None), read, inputs, inner)
        slopes = op.contributions((1.0, None), read, inputs, inner) if isinstance(op, Elementwise) else ()
        argnums = inner.plan.argnums
        return Rules(
            forward,
            {i: _written(trace.formula(pair[0])) for i, pair in zip(argnums, pulled, strict=True)},
            {i: _written(trace.formula(pair[0])) for i, pair in zip(argnums, slopes, strict=False)},
        )


def _joint_rules(node: Node, args: Sequence[Formula]) -> Rules:
    """A function with a rule of its own: its rule is traced, and what it kept is named after the values it is."""
    op = node.op
    assert op is not None
    forward = _written(Term(op.name, tuple(args), {}, node.shape))
    if not isinstance(op, CustomJoint):
        return Rules(forward, {}, {}, f"the rule of {op.name} is a program of its own")
    if isinstance(op.owner, Gate):  # to write it down is to call the hooks
        return Rules(forward, {}, {}, f"the gradients go on through the hooks of {op.name}")
    known = {id(a.value): a for a in args if isinstance(a, Symbol)}
    with FormulaTrace("rules") as trace:
        kept = iter(range(1000))

        def named(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            raw = x._value
            formula = known.get(id(raw)) or Symbol(f"kept{next(kept)}", raw)
            known.setdefault(id(raw), formula)
            return trace.named(Tensor(raw), formula)

        joint = copy.copy(op)
        joint.plans = {}  # the copy's own: a plan knows its op
        if hasattr(joint, "residuals"):
            joint.residuals = tree.map(named, joint.residuals)
        joint.lowered = [named(x) for x in joint.lowered]
        single = len(joint.outs) == 1
        ups = [
            trace.named(Tensor(np.zeros(shape, dtype)), Symbol(r"\up" if single else f"g{k}", np.zeros(shape, dtype)))
            if is_float(dtype)
            else None
            for k, (shape, dtype) in enumerate(joint.outs)
        ]
        leaves = [leaf_node(a.shape, a.dtype) for a, w in zip(node.args, node.wanted, strict=True) if w]
        inner = record_node(
            joint,
            sum(1 << i for i, w in enumerate(node.wanted) if w),
            leaves,
            [None] * len(args),
            Struct(node.shape),
            {},
        )
        pulled = joint.pull([None if g is None else (g, None) for g in ups], None, (), inner)
        found = {i: pulled[i] for i in inner.plan.argnums}
        return Rules(forward, {i: _written(trace.formula(p[0])) for i, p in found.items() if p is not None}, {})


def _written(formula: Formula) -> Written:
    return Written(latex(formula), text(formula), latex(formula, shapes=True))
