"""Algebraic simplification: only what keeps every bit, signed zeros and NaNs included."""

from __future__ import annotations

import numpy as np

from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.passes.rewrite import applied
from backlit.core.op import REGISTRY

_SAME_SHAPE = ("broadcast_to", "sum_to", "reshape")


def algebra(graph: Graph) -> Graph:
    """`graph` without multiplications by one or minus one, double negations and moves that cancel or move nothing.

    `x + 0.0` stays: it turns -0.0 into 0.0. `x * 0.0` stays: it is NaN where `x` is not finite.
    """
    return applied(graph, Algebra())


class Algebra:
    """The rule of `algebra`."""

    def __init__(self) -> None:
        self._made: dict[Var, Eqn] = {}

    def __call__(self, e: Eqn) -> Eqn | Atom:
        found = _simpler(e, self._made)
        if isinstance(found, Eqn):
            self._made[found.out] = found
        return found

    def finish(self, made: Graph) -> None:
        """Nothing is left to do."""


def _simpler(e: Eqn, made: dict[Var, Eqn]) -> Eqn | Atom:
    name, first = e.op.name, e.inputs[0] if e.inputs else None
    if isinstance(first, Literal) and len(e.inputs) == 2 and name == "mul" and isinstance(e.inputs[1], Var):
        return e.inputs[1] if _is(first, 1) and e.inputs[1].aval == e.out.aval and e.out.aval.dtype.kind != "c" else e
    if not isinstance(first, Var):
        return e
    before = made.get(first)
    if name in ("mul", "div") and _is(e.inputs[1], -1) and first.aval == e.out.aval and first.aval.dtype.kind in "fi":
        return _simpler(Eqn(REGISTRY["neg"], (first,), {}, e.out), made)
    if name in ("mul", "div", "pow") and _is(e.inputs[1], 1) and first.aval == e.out.aval:
        return first if first.aval.dtype.kind != "c" else e  # where a part is infinite the other one becomes NaN
    if name == "sub" and _is(e.inputs[1], 0) and first.aval == e.out.aval and first.aval.dtype.kind in "fiu":
        return first if not _negative_zero(e.inputs[1]) else e
    if name == "not_equal" and first.aval.dtype == bool and isinstance(e.inputs[1], Literal) and e.inputs[1].value == 0:
        return first  # as conditions are written that may be numbers
    if name in _SAME_SHAPE and first.aval == e.out.aval:
        return first
    if name == "detach" or (name == "pad" and not any(map(any, e.params["width"]))):
        return first
    if name == "astype" and first.aval.dtype == e.out.aval.dtype:
        return first
    if name == "permute_dims" and e.params["axes"] == tuple(range(first.aval.ndim)):
        return first
    if name == "where" and isinstance(e.inputs[1], Var) and e.inputs[1] is e.inputs[2]:
        return e.inputs[1]
    if name == "where" and (inner := _chosen_before(e, made)) is not None:
        return _simpler(Eqn(e.op, (first, inner, e.inputs[2]), e.params, e.out), made)
    if before is None:
        return e
    if name == before.op.name == "neg":
        return before.inputs[0]
    if name == before.op.name == "reshape":
        return _simpler(Eqn(e.op, before.inputs, e.params, e.out), made)
    if name == before.op.name == "permute_dims":
        axes = tuple(before.params["axes"][a] for a in e.params["axes"])
        return _simpler(Eqn(REGISTRY["permute_dims"], before.inputs, {"axes": axes}, e.out), made)
    return e


def _chosen_before(e: Eqn, made: dict[Var, Eqn]) -> Var | None:
    """What a choice chooses where it is chosen already, by a condition that has to hold here too, instead of one number."""
    condition, x, other = e.inputs
    if not (isinstance(condition, Var) and isinstance(x, Var) and isinstance(other, Literal)):
        return None
    before = made.get(x)
    if before is None or before.op.name != "where" or repr(before.inputs[2]) != repr(other):
        return None
    both = made.get(condition)
    holds = (condition, *(both.inputs if both is not None and both.op.name == "logical_and" else ()))
    inner = before.inputs[1]
    return inner if isinstance(inner, Var) and before.inputs[0] in holds and inner.aval == x.aval else None


def _is(a: Atom, number: int) -> bool:
    return isinstance(a, Literal) and not isinstance(a.value, bool) and a.value == number


def _negative_zero(a: Atom) -> bool:
    return isinstance(a, Literal) and isinstance(a.value, float) and bool(np.signbit(a.value))
