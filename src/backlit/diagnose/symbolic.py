"""Ops run on named values: what they compute is recorded as formulas, so nothing is written down a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlit.autodiff.trace import Trace
from backlit.core.op import Op, bind
from backlit.core.tensor import Box, Tensor
from backlit.diagnose.formula import Formula, Symbol, applied, constant

Heard = Callable[[Op, tuple[Formula, ...], dict[str, Any], Tensor], Symbol]


class FormulaTrace(Trace):
    """Computes as usual and gives every value its formula, the extra of its box.

    With `heard`, each op is told to it, and the result is called by the symbol it returns: formulas stay one op deep.
    """

    def __init__(self, name: str, heard: Heard | None = None) -> None:
        super().__init__(name)
        self.heard = heard

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        out = bind(op, tuple(self.lower(a) for a in args), params)
        formulas = tuple(self.formula(a) for a in args)
        if self.heard is None:
            return self.named(out, applied(op.name, formulas, params, out.shape))
        return self.named(out, self.heard(op, formulas, params, out))

    def named(self, value: Tensor, formula: Formula) -> Tensor:
        """`value` as a value of this trace."""
        return Tensor(Box(self, value, formula))

    def formula(self, x: Any) -> Formula:
        """The formula of a value; of one that is not of this trace, its contents."""
        box = self.box(x)
        return constant(x) if box is None else box.extra
