"""Constant folding: equations whose inputs are all known are computed once, ahead."""

from __future__ import annotations

import math

import numpy as np

from backlit.compiler.ir import Array, Atom, Eqn, Graph, Literal, Var
from backlit.compiler.passes.rewrite import applied
from backlit.core.op import Elementwise
from backlit.core.quiet import silence, variable

_SMALL_BYTES = 4096
_LOOKED_AT_BYTES = 1 << 16  # known results so large are computed to see whether a condition always holds
_CONDITION_BYTES = 1 << 20  # and conditions so large
_HELD_BYTES = 1 << 26  # of such results at one time


def fold(graph: Graph) -> Graph:
    """`graph` with known results as constants, unless these take more room than what they are made of.

    One known number beside an array of its dtype becomes a literal. A `where` whose condition is known to hold
    everywhere, or nowhere, is what it chooses.
    """
    return applied(graph, Folding(graph))


class Folding:
    """The rule of `fold`; `consts` are the constants, those that it makes among them.

    In the region of a loop (`inside`) nothing becomes a constant; some of its inputs may be `given`.
    """

    def __init__(self, graph: Graph, given: dict[Var, Array] | None = None, inside: bool = False) -> None:
        self.consts, self._inside = dict(graph.consts), inside
        self._held = 0
        self._known = {**(given or {}), **self.consts}  # also what is not worth to be a constant
        self._numbers: dict[Atom, Literal] = {}
        for v, array in self._known.items():
            _note(v, array, self._numbers)

    def __call__(self, e: Eqn) -> Eqn | Atom:
        known, numbers, consts = self._known, self._numbers, self.consts
        if e.op.name == "where" and e.inputs[0] in known:
            condition = known[e.inputs[0]]
            chosen = e.inputs[1] if condition.all() else e.inputs[2] if not condition.any() else None
            if isinstance(chosen, Var) and chosen.aval == e.out.aval:
                return chosen
        for a in e.inputs:
            if a.__class__ is Var and a not in known:
                return _with_literals(e, numbers) if numbers else e
        if e.op.name in ("broadcast_to", "reshape") and e.inputs[0] in numbers:
            numbers[e.out] = numbers[e.inputs[0]]
        values = [a.value if isinstance(a, Literal) else known[a] for a in e.inputs]
        room = sum(v.nbytes for v in values if isinstance(v, np.ndarray))
        size = math.prod(e.out.aval.shape) * e.out.aval.dtype.itemsize
        small = (
            size <= max(_SMALL_BYTES, room)
            and not self._inside
            and all(a in consts for a in e.inputs if isinstance(a, Var))
        )
        limit = _CONDITION_BYTES if e.out.aval.dtype == bool else _LOOKED_AT_BYTES
        if not small and (size > limit or self._held + size > _HELD_BYTES):
            return e
        token = variable.set(silence)
        try:
            known[e.out] = np.asarray(e.op.forward(*values, **e.params))
        finally:
            variable.reset(token)
        _note(e.out, known[e.out], numbers)
        if not small:
            self._held += size
            return e
        consts[e.out] = known[e.out]
        return e.out

    def finish(self, made: Graph) -> None:
        """The graph gets the constants, loops what they can be told of theirs."""
        made.consts = self.consts
        made.eqns = [_handed(e, self._known) if e.regions else e for e in made.eqns]


def _handed(e: Eqn, known: dict[Var, Array]) -> Eqn:
    """An equation with regions that know the conditions they are given at every run."""
    n = e.params.get("n_consts", len(e.inputs))
    first = len(e.inputs) - len(e.regions[0].inputs)  # the index of a switch
    truths = {i: known[a] for i, a in enumerate(e.inputs[first:n]) if a in known and a.aval.dtype == bool}
    if not truths:
        return e
    regions = []
    for r in e.regions:
        regions.append(applied(r, Folding(r, {r.inputs[i]: a for i, a in truths.items()}, inside=True)))
    return e.on(e.inputs, tuple(regions))


def _note(v: Var, array: Array, numbers: dict[Atom, Literal]) -> None:
    """Remembers an array whose elements have the same bits as one number."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize not in (4, 8) or not array.size:
        return
    bits = array.view(f"u{array.dtype.itemsize}") if array.flags.c_contiguous else array
    if array.size == 1 or (
        array.nbytes <= _LOOKED_AT_BYTES and array.flags.c_contiguous and (bits == bits.flat[0]).all()
    ):
        numbers[v] = Literal(array.flat[0].item())


def _with_literals(e: Eqn, numbers: dict[Atom, Literal]) -> Eqn:
    if not isinstance(e.op, Elementwise):
        return e
    free = [k for k, a in enumerate(e.inputs) if isinstance(a, Var) and not e.op.is_condition(k)]
    others = [k for k in free if e.inputs[k] not in numbers]
    if not others or len(others) == len(free):
        return e
    dtype = e.inputs[others[0]].aval.dtype  # type: ignore[union-attr]
    inputs = [
        numbers[a] if k in free and k not in others and a.aval.dtype == dtype else a  # type: ignore[union-attr]
        for k, a in enumerate(e.inputs)
    ]
    return Eqn(e.op, tuple(inputs), e.params, e.out)
