"""One backward pass through an expression, told value by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backlit.core.graph import Node
from backlit.core.op import Elementwise
from backlit.core.record import listening
from backlit.core.tensor import Tensor, enable_grad
from backlit.diagnose.expression import evaluate, parse
from backlit.diagnose.formula import Constant, Formula, Symbol, Term, array_text, fresh, numbers, text
from backlit.diagnose.recorder import Draft, Heard, Recorder
from backlit.diagnose.symbolic import FormulaTrace
from backlit.diagnose.values import given

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Contribution:
    """What one node passed to a value: `value`, through argument `position` of the op that made `source`."""

    source: str
    op: str
    position: int
    value: Array


@dataclass(frozen=True)
class LocalRule:
    """How a node turns the upstream gradient into its contribution to one of its inputs.

    `formula` is the rule in terms of the upstream gradient, `numbers` the same with numbers (None for arrays), `value`
    what came out (None where no gradient arrived). For elementwise ops `derivative` is the local partial derivative,
    `derivative_value` its value. With `unselected`, a later step discarded elements, which are zero in `value`
    although the formula alone is not zero there.
    """

    argument: str
    position: int
    derivative: str | None
    derivative_value: Array | None
    formula: str
    numbers: str | None
    value: Array | None
    unselected: bool


@dataclass(frozen=True)
class Step:
    """One value: how it was made, its local rules, what was contributed to its gradient, and the gradient.

    `kind` says where it came from; `formula` is in the syntax of Python (empty when no op made the value), `notation`
    in LaTeX. `note` tells why a step is there that the expression does not write. `gradient` is None where none
    arrived.
    """

    name: str
    kind: Literal["given", "constant", "op"]
    op: str | None
    formula: str
    notation: str
    note: str
    value: Array
    rules: tuple[LocalRule, ...]
    contributions: tuple[Contribution, ...]
    gradient: Array | None


@dataclass(frozen=True)
class Explanation:
    """A backward pass: the steps in the order of the forward pass, and the names in the order of the backward pass.

    `upstream` is what the formulas of the rules call the gradient that arrives at their node.
    """

    expression: str
    output: str
    upstream: str
    steps: tuple[Step, ...]
    backward: tuple[str, ...]

    def __getitem__(self, name: str) -> Step:
        """The step of that name."""
        return {s.name: s for s in self.steps}[name]

    @property
    def gradients(self) -> dict[str, Array]:
        """The gradient of the output with respect to every given value; zeros where none arrived."""
        found = [s for s in self.steps if s.kind == "given"]
        return {s.name: np.zeros_like(s.value) if s.gradient is None else s.gradient for s in found}


def explain(expression: str, values: Mapping[str, Any]) -> Explanation:
    """Every step of the forward and the backward pass through `expression`, whose output is one number.

    `values` gives each name that is read before it is assigned, as a number or array. Costs a forward pass, a backward
    pass, and each reverse rule once or twice more.

    Raises:
      DataError: the expression cannot be read, or a value is missing, unused or malformed.
      GradientError: the output is an array, or depends on no value.
      BacklitError: an op does not take what it is given.
    """
    program = parse(expression)
    leaves = given(program, values)
    recorder = Recorder(program)
    with enable_grad(), FormulaTrace("explain", recorder.heard) as trace:
        recorder.trace = trace
        out = evaluate(program, {name: recorder.leaf(name, array) for name, array in leaves.items()}, recorder)
        root = recorder.finish(out)
        heard = Heard()
        with listening(heard):
            root.backward(retain_graph=True)
    drafts = {d.out.node: d for d in recorder.drafts if isinstance(d.out.node, Node)}
    upstream = "g" if "g" not in recorder.taken else next(fresh("g", recorder.taken))
    return Explanation(
        expression="\n".join(program.source.lines),
        output=drafts[root.node].symbol.name,
        upstream=upstream,
        steps=tuple(_step(d, heard, drafts, upstream) for d in recorder.drafts),
        backward=tuple(drafts[node].symbol.name for node in heard.completions),
    )


def _step(draft: Draft, heard: Heard, drafts: dict[Any, Draft], upstream: str) -> Step:
    node, name = draft.out.node, draft.symbol.name
    params = draft.params or {}
    formula = ""
    notation = _latex(draft.symbol)
    if draft.op is not None:
        formula = text(Term(draft.op.name, draft.args, params, draft.out.shape))
        names = [draft.op.input_name(i) for i in range(len(draft.args))]
        notation = draft.op.notation.format(**dict(zip(names, map(_latex, draft.args), strict=True)))
    gradient = heard.completions.get(node)
    return Step(
        name=name,
        kind=draft.kind,
        op=None if draft.op is None else draft.op.name,
        formula=formula,
        notation=notation,
        note=draft.note,
        value=np.asarray(draft.symbol.value),
        rules=tuple(_rules(draft, node, heard, upstream)) if isinstance(node, Node) and draft.op is not None else (),
        contributions=tuple(
            Contribution(drafts[child].symbol.name, child.op.name, argnum, value)
            for child, argnum, value in heard.contributions.get(node, ())
        ),
        gradient=gradient,
    )


def _rules(draft: Draft, node: Node, heard: Heard, upstream: str) -> list[LocalRule]:
    """The reverse rule of a node, run once more on named values."""
    arrived = heard.completions.get(node)
    op, g = node.op, Symbol(upstream, np.zeros(node.shape, node.dtype) if arrived is None else arrived)
    with FormulaTrace("explain") as trace:

        def named(raw: Any, formula: Formula) -> Any:
            if not isinstance(raw, (np.ndarray, np.generic)):
                return raw
            return Tensor(raw) if isinstance(formula, Constant) else trace.named(Tensor(raw), formula)

        inputs = [named(raw, formula) for raw, formula in zip(node.inputs, draft.args, strict=True)]
        out = named(node.out, draft.symbol)
        pulled = op.contributions((named(g.value, g), None), out, inputs, node)
        slopes = (
            op.contributions((1.0, None), out, inputs, node) if isinstance(op, Elementwise) else [None] * len(pulled)
        )
        passed = {
            argnum: value
            for parent in node.parents
            for child, argnum, value in heard.contributions.get(parent, ())  # type: ignore[arg-type]
            if child is node
        }
        found = []
        for argnum, pull, slope in zip(node.plan.argnums, pulled, slopes, strict=True):
            formula, computed = trace.formula(pull[0]), np.asarray(trace.lower(pull[0])._value)
            value = passed.get(argnum)
            same = value is None or np.array_equal(value, computed, equal_nan=True)
            argument = draft.args[argnum]
            assert isinstance(argument, Symbol)
            found.append(
                LocalRule(
                    argument=argument.name,
                    position=argnum,
                    derivative=None if slope is None else text(trace.formula(slope[0])),
                    derivative_value=None if slope is None else _contents(trace.lower(slope[0])),
                    formula=text(formula),
                    numbers=numbers(formula) if value is not None and same else None,
                    value=value,
                    unselected=not same,
                )
            )
    return found


def _contents(x: Any) -> Array:
    return np.asarray(x._value if isinstance(x, Tensor) else x)


def _latex(formula: Formula) -> str:
    if isinstance(formula, Symbol):
        escaped = formula.name.replace("_", r"\_")
        return escaped if len(escaped) == 1 else rf"\mathit{{{escaped}}}"
    assert not isinstance(formula, Term)  # every op of an expression is a step with a name
    body = array_text(formula.value)
    return f"({body})" if body.startswith("-") else body
