"""Control flow in graphs: scan, while_loop and switch, whose regions see nothing but what is handed to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.compiler.ir import CONTROL, Control, Eqn, Graph, Literal, Var
from backlit.core.aval import Aval
from backlit.core.errors import CompilerError
from backlit.core.op import bind
from backlit.core.tensor import Tensor
from backlit.functional.branches import SwitchCall
from backlit.functional.loops import ScanCall, WhileCall
from backlit.functional.regions import Call


def _fits(region: Graph, given: Sequence[Aval], what: str) -> tuple[Aval, ...]:
    """The avals of the outputs of a region, once its inputs are `given`."""
    wanted = [v.aval for v in region.inputs]
    if wanted != list(given):
        raise CompilerError(f"{what} takes {', '.join(map(str, wanted))}, given {', '.join(map(str, given))}")
    if not all(isinstance(a, Var) for a in region.outputs):
        raise CompilerError(f"{what} returns a number; its results are arrays")
    return tuple(a.aval for a in region.outputs if isinstance(a, Var))


def _count(regions: Sequence[Graph], n: int) -> None:
    if len(regions) != n:
        raise CompilerError(f"expected {n} regions, got {len(regions)}")


class Scan(Control):
    """`scan(*consts, *init, *xs)` gives the last carry and the stacked ys.

    Its region is `(*consts, *carry, *x) -> (*carry, *y)`; `length` steps, from the last x to the first with `reverse`.
    """

    name = "scan"

    def results(self, inputs: Sequence[Any], regions: Sequence[Graph], params: dict[str, Any]) -> tuple[Aval, ...]:
        _count(regions, 1)
        k, m, n = params["n_consts"], params["n_carry"], params["length"]
        xs = inputs[k + m :]
        if len(inputs) < k + m or any(not x.shape or x.shape[0] != n for x in xs):
            raise CompilerError(f"the leading axis of every x must be {n}")
        outs = _fits(regions[0], [*inputs[: k + m], *(Aval(x.shape[1:], x.dtype) for x in xs)], "the body")
        if list(outs[:m]) != list(inputs[k : k + m]):
            raise CompilerError("the body changes the shape or dtype of the carry")
        return (*outs[:m], *(Aval((n, *y.shape), y.dtype) for y in outs[m:]))

    def evaluate(
        self, inputs: Sequence[Any], runs: Sequence[Callable[..., list[Any]]], params: dict[str, Any]
    ) -> list[Any]:
        k, m, n = params["n_consts"], params["n_carry"], params["length"]
        consts, carry, xs = inputs[:k], list(inputs[k : k + m]), inputs[k + m :]
        rows: list[Any] = [None] * n
        for i in reversed(range(n)) if params["reverse"] else range(n):
            found = runs[0](*consts, *carry, *(x[i] for x in xs))
            carry, rows[i] = found[:m], found[m:]
        if not rows:
            blank = runs[0](*consts, *carry, *(np.zeros(x.shape[1:], x.dtype) for x in xs))[m:]
            return [*carry, *(np.zeros((0, *np.shape(y)), y.dtype) for y in blank)]
        return [*carry, *(np.stack(ys) for ys in zip(*rows, strict=True))]


class While(Control):
    """`while_loop(*consts, *init)` gives the first carry for which the condition does not hold.

    Its regions are the condition `(*consts, *carry) -> bool[]` and the body `(*consts, *carry) -> (*carry)`.
    """

    name = "while_loop"

    def results(self, inputs: Sequence[Any], regions: Sequence[Graph], params: dict[str, Any]) -> tuple[Aval, ...]:
        _count(regions, 2)
        if _fits(regions[0], inputs, "the condition") != (Aval((), np.dtype(bool)),):
            raise CompilerError("the condition must give one boolean")
        outs = _fits(regions[1], inputs, "the body")
        if list(outs) != list(inputs[params["n_consts"] :]):
            raise CompilerError("the body changes the shape or dtype of the carry")
        return outs

    def evaluate(
        self, inputs: Sequence[Any], runs: Sequence[Callable[..., list[Any]]], params: dict[str, Any]
    ) -> list[Any]:
        k = params["n_consts"]
        consts, carry = inputs[:k], list(inputs[k:])
        while runs[0](*consts, *carry)[0]:
            carry = runs[1](*consts, *carry)
        return carry


class Switch(Control):
    """`switch(index, *operands)` gives what the region with that number gives for the operands; only it runs.

    The index is held within the regions there are.
    """

    name = "switch"

    def results(self, inputs: Sequence[Any], regions: Sequence[Graph], params: dict[str, Any]) -> tuple[Aval, ...]:
        if not regions or inputs[0].shape or inputs[0].dtype.kind not in "iu":
            raise CompilerError(f"expected an integer and branches, got {inputs[0]} and {len(regions)}")
        outs = [_fits(r, inputs[1:], f"branch {n}") for n, r in enumerate(regions)]
        if any(o != outs[0] for o in outs):
            raise CompilerError("the branches give different shapes or dtypes")
        return outs[0]

    def evaluate(
        self, inputs: Sequence[Any], runs: Sequence[Callable[..., list[Any]]], params: dict[str, Any]
    ) -> list[Any]:
        return runs[min(max(int(inputs[0]), 0), len(runs) - 1)](*inputs[1:])


class Custom(Control):
    """`custom(*operands)` gives what its region gives: a function with a derivative rule of its own."""

    name = "custom"

    def results(self, inputs: Sequence[Any], regions: Sequence[Graph], params: dict[str, Any]) -> tuple[Aval, ...]:
        _count(regions, 1)
        return _fits(regions[0], inputs, "the function")

    def evaluate(
        self, inputs: Sequence[Any], runs: Sequence[Callable[..., list[Any]]], params: dict[str, Any]
    ) -> list[Any]:
        return runs[0](*inputs)


SCAN, WHILE, SWITCH, CUSTOM = Scan(), While(), Switch(), Custom()
CONTROL.update({op.name: op for op in (SCAN, WHILE, SWITCH, CUSTOM)})


def reach(graph: Graph, flags: Sequence[bool], differentiable: bool = False) -> list[bool]:
    """For each output of a graph whether it depends on a flagged input; with `differentiable` only through derivatives.

    May say yes where the answer is no, never the other way round.
    """
    known = {v for v, flag in zip(graph.inputs, flags, strict=True) if flag}
    for e in graph.eqns:
        given = [a in known for a in e.inputs]
        if not any(given):
            continue
        outs = [True] * len(e.outs)
        if e.regions:
            outs = _through(e, given, differentiable)
        elif differentiable and not e.op.differentiable:
            continue
        known.update(v for v, flag in zip(e.outs, outs, strict=True) if flag and not _ends(v, differentiable))
    return [a in known for a in graph.outputs]


def _ends(v: Var, differentiable: bool) -> bool:
    return differentiable and v.aval.dtype.kind in "biu"


def _through(e: Eqn, given: list[bool], differentiable: bool) -> list[bool]:
    if e.op is SCAN:
        k, m = e.params["n_consts"], e.params["n_carry"]
        return carried(e.regions[0], given[:k], given[k : k + m], given[k + m :], differentiable)
    return [True] * len(e.outs)


def carried(
    body: Graph, consts: list[bool], init: list[bool], xs: list[bool], differentiable: bool = False
) -> list[bool]:
    """For each result of a scan whether it depends on a flagged operand."""
    carry = list(init)
    while True:
        outs = reach(body, [*consts, *carry, *xs], differentiable)
        joined = [a or b for a, b in zip(carry, outs, strict=False)]
        if joined == carry:
            return [*carry, *outs[len(carry) :]]
        carry = joined


class Region:
    """A graph as a function of tensors, at whatever level of transforms these are."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, *operands: Tensor) -> list[Tensor]:
        values: dict[Var, Tensor] = {v: Tensor(a) for v, a in self.graph.consts.items()}
        values.update(zip(self.graph.inputs, operands, strict=True))
        for e in self.graph.eqns:
            given: tuple[Any, ...] = tuple(a.value if isinstance(a, Literal) else values[a] for a in e.inputs)
            if e.again is not None:
                outs = e.again(*given)
            elif e.regions:
                outs = call_of(e)(given)
            else:
                outs = [bind(e.op, given, e.params)]
            values.update(zip(e.outs, outs, strict=True))
        return [values[a] for a in self.graph.outputs]  # type: ignore[index]

    def reach(self, flags: Sequence[bool], differentiable: bool = False) -> list[bool]:
        """For each result whether it depends on a flagged operand."""
        return reach(self.graph, flags, differentiable)

    def carried(self, consts: list[bool], init: list[bool], xs: list[bool], differentiable: bool = False) -> list[bool]:
        """The same, where the first results are operands of the next run."""
        return carried(self.graph, consts, init, xs, differentiable)


def call_of(e: Eqn) -> Call:
    """The call that an equation stands for."""
    regions = [Region(r) for r in e.regions]
    if e.op is SCAN:
        p = e.params
        return ScanCall(regions[0], p["n_consts"], p["n_carry"], p["length"], p["reverse"])
    if e.op is WHILE:
        return WhileCall(regions[0], regions[1], e.params["n_consts"])
    return SwitchCall(regions)
