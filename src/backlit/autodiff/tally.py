"""Tally: what a run computes, told op by op, for actual shapes, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlit.autodiff.trace import Trace
from backlit.core import tree
from backlit.core.op import Op, bind
from backlit.core.tensor import Box, Tensor

Told = Callable[[Op, Tensor, tuple[Any, ...], dict[str, Any]], None]


class TallyTrace(Trace):
    """Computes as if it were not there, and calls `told(op, out, args, params)` for every op on its values."""

    def __init__(self, name: str, told: Told) -> None:
        super().__init__(name)
        self.told = told

    def lift(self, x: Tensor) -> Tensor:
        """A traced value that stands for `x`."""
        return Tensor(Box(self, x))

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        out = bind(op, tuple(self.lower(a) for a in args), params)
        self.told(op, out, args, params)
        return self.lift(out)

    def custom(self, owner: Any, values: Any, structure: Any) -> Any:
        return owner.f(*tree.unflatten(structure, values))

    def detach(self, x: Tensor) -> Tensor:
        return self.lift(self.lower(x).detach())
