"""What is kept of an expression's forward and backward pass while they run, and the names of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import DataError, DTypeError, GradientError
from backlit.core.graph import Node
from backlit.core.op import Op
from backlit.core.record import Listener
from backlit.core.tensor import Box, Tensor
from backlit.diagnose.expression import Program, Watcher
from backlit.diagnose.formula import Formula, Symbol, fresh
from backlit.diagnose.symbolic import FormulaTrace

Array = np.ndarray[Any, Any]
MAX_ELEMENTS = 100_000


@dataclass
class Draft:
    """A step of which the forward pass is done; `group` numbers the application it belongs to, `label` names it."""

    symbol: Symbol
    out: Tensor
    kind: Literal["given", "constant", "op"]
    op: Op | None = None
    args: tuple[Formula, ...] = ()
    params: dict[str, Any] | None = None
    group: int = 0
    label: str = ""
    note: str = ""


class Recorder(Watcher):
    """Keeps a draft of every value and gives each a name: its own, or t1, t2 and so on."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.taken = {*program.reads, *program.assigned}
        self.used: set[str] = set()
        self.drafts: list[Draft] = []
        self.trace: FormulaTrace
        self.group = 0
        self.label = ""

    def leaf(self, name: str, array: Array) -> Tensor:
        """A given value."""
        leaf = Tensor(array).requires_grad_()
        draft = self._add(Draft(Symbol(self._unique(name), array), leaf, "given"))
        return self.trace.named(leaf, draft.symbol)

    def begin(self, label: str) -> None:
        self.group += 1
        self.label = label

    def heard(self, op: Op, args: tuple[Formula, ...], params: dict[str, Any], out: Tensor) -> Symbol:
        """An op was applied."""
        if out.size > MAX_ELEMENTS:
            raise DataError(f"{op.name} gives {out.size} elements; at most {MAX_ELEMENTS} can be explained")
        symbol = Symbol("", np.asarray(out._value))
        return self._add(Draft(symbol, out, "op", op, args, params, self.group, self.label)).symbol

    def assign(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            self._add(Draft(Symbol(self._unique(name), value), Tensor(np.asarray(value)), "constant"))
            return value
        if not isinstance(value._value, Box):
            draft = self._add(Draft(Symbol(self._unique(name), np.asarray(value._value)), value, "constant"))
            return self.trace.named(value, draft.symbol)
        symbol = self.trace.formula(value)
        if isinstance(symbol, Symbol) and not symbol.name:
            symbol.name = self._unique(name)
        return value

    def finish(self, out: Any) -> Tensor:
        """The output to go back from; all that has no name gets one."""
        error, last = self.program.source.error, self.program.last
        if not isinstance(out, Tensor) or self.trace.box(out) is None:
            raise error(last, "the output depends on no value, so there is no gradient; use a name and give it a value")
        root: Tensor = self.trace.lower(out)
        if not is_float(root.dtype):
            raise error(last, "a comparison has no gradient; choose with it: where(x > 0, x, 0.1*x)", DTypeError)
        if root.shape:
            message = f"the output is an array {list(root.shape)}, and a gradient is that of one number"
            raise error(last, f"{message}; end with sum(...) or mean(...)", GradientError)
        if not root.requires_grad:
            message = "no path of derivatives leads from the output to a given value"
            raise error(last, f"{message}; constants and comparisons pass none on", GradientError)
        symbol = self.trace.formula(out)
        assert isinstance(symbol, Symbol)
        symbol.name = symbol.name or ("out" if "out" not in self.taken else self._numbered("out"))
        self.used.add(symbol.name)
        names = fresh("t", self.taken | self.used)
        last_of = {d.group: d for d in self.drafts if d.kind == "op"}
        for draft in self.drafts:
            draft.symbol.name = draft.symbol.name or next(names)
            draft.note = _note(draft, draft is last_of.get(draft.group))
        self.taken |= {d.symbol.name for d in self.drafts}
        return root

    def _add(self, draft: Draft) -> Draft:
        self.drafts.append(draft)
        return draft

    def _unique(self, name: str) -> str:
        """The name, or with a number when an earlier value has it."""
        if name in self.used:
            name = self._numbered(name)
        self.used.add(name)
        return name

    def _numbered(self, name: str) -> str:
        return next(fresh(f"{name}_", self.taken | self.used | {f"{name}_1"}))


def _note(draft: Draft, is_result: bool) -> str:
    """Why a step is there whose op the expression does not name."""
    if draft.op is None or draft.op.name == draft.label:
        return ""
    if draft.op.name == "broadcast_to":
        return "inserted: shapes differ"
    if draft.op.name == "astype":
        return "inserted: true is 1, false is 0"  # all other values are float64
    return f"{'result' if is_result else 'part'} of {draft.label}"


class Heard(Listener):
    """Contributions and completed gradients by node, in the order of the backward pass."""

    def __init__(self) -> None:
        self.contributions: dict[Node, list[tuple[Node, int, Array]]] = {}
        self.completions: dict[Node, Array] = {}

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        self.contributions.setdefault(parent, []).append((child, argnum, np.asarray(cotangent._value)))

    def completed(self, node: Any, cotangent: Any) -> None:
        self.completions[node] = np.asarray(cotangent._value)
