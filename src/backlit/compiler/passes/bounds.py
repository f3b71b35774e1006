"""Whether every index that a program picks or writes by, and every class number, is in bounds, as one more output of it.

Native code never reads or writes outside, whatever the indices are; this output says whether it would have had to. What is known
to be in bounds (constants, positions of extremes, remainders) is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from backlit.compiler.control import SCAN, WHILE
from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.picks import Chosen, arrays_of, is_picked, picked_shape, picking_of
from backlit.compiler.trace import GraphTrace, VarBox
from backlit.core import staging
from backlit.core.aval import Aval
from backlit.core.op import REGISTRY
from backlit.core.tensor import Tensor
from backlit.ops import elementwise as ew
from backlit.ops import linear, reduce

FLAG = Aval((), np.dtype(np.uint8))
Range = tuple[int, int]
_SAME = ("broadcast_to", "reshape", "permute_dims", "index", "detach", "max", "min")


def bounds(graph: Graph) -> tuple[Graph, bool]:
    """`graph`, with an output behind the others that is 1 where an index is out of bounds; and whether there is one.

    Loops and branches have it too: as a result for each step, as part of what is carried, as a result of each branch.
    """
    made, flag = _checked(graph, {})
    if flag is None:
        return graph, False
    made.outputs.append(flag)
    return made, True


def _checked(graph: Graph, given: dict[Var, Range]) -> tuple[Graph, Var | None]:
    """The graph, and the variable of it that says whether an index is out of bounds; None where none can be."""
    made = Graph(list(graph.inputs), dict(graph.consts), [], list(graph.outputs))
    ranges = dict(given)
    for v, a in graph.consts.items():
        if a.size and a.dtype.kind in "iu":
            ranges[v] = int(a.min()), int(a.max())
    flags: list[Var] = []
    seen: set[tuple[Var, int]] = set()
    for e in graph.eqns:
        if e.regions:
            flags += _looped(e, ranges, made)
            continue
        made.eqns.append(e)
        if e.out.aval.dtype.kind in "iu" and (found := _range(e, ranges)) is not None:
            ranges[e.out] = found
        if e.op.name == "classes" and 0 not in e.out.aval.shape:
            flags.append(_write(made, partial(_no_class, n=e.params["n"], ignored=e.params["ignored"]), e.inputs[0]))  # type: ignore[arg-type]
        if is_picked(e):
            for v, n in _wanted(e, ranges):
                if (v, n) not in seen:
                    seen.add((v, n))
                    flags.append(_write(made, lambda x, n=n: _outside(x, n), v))
    return made, _any(made, flags)


def _wanted(e: Eqn, ranges: dict[Var, Range]) -> list[tuple[Var, int]]:
    """Integer arrays of an equation that may be out of bounds, with the lengths of what they pick from."""
    found = []
    shape = picked_shape(e)
    for axis, part in enumerate(picking_of(e).parts):
        if isinstance(part, Chosen):
            v, n = arrays_of(e)[part.number], shape[axis]
            low, high = _range_of(v, ranges)
            if 0 not in v.aval.shape and not -n <= low <= high < n:
                found.append((v, n))
    return found


def _outside(x: Tensor, n: int) -> Tensor:
    return _some(_beyond(x, -n, n))


def _no_class(x: Tensor, n: int, ignored: int) -> Tensor:
    wrong = _beyond(x, 0, n)
    info = np.iinfo(x.dtype)
    return _some(ew.logical_and(wrong, ew.not_equal(x, ignored)) if info.min <= ignored <= info.max else wrong)


def _beyond(x: Tensor, low: int, high: int) -> Tensor:
    """Where a value is not in `range(low, high)`, as far as its dtype allows it to be elsewhere."""
    info = np.iinfo(x.dtype)
    wrong: list[Tensor] = [ew.greater_equal(x, high)] if high <= info.max else []
    wrong += [ew.less(x, low)] if low > info.min else []
    if len(wrong) == 2:
        wrong = [ew.logical_or(*wrong)]
    return wrong[0] if wrong else ew.not_equal(x, x)


def _some(wrong: Tensor) -> Tensor:
    found = linear.astype(wrong, dtype=np.uint8)
    return reduce.max(found, axis=tuple(range(wrong.ndim))) if wrong.ndim else found


def _any(made: Graph, flags: list[Var]) -> Var | None:
    while len(flags) > 1:
        flags = [_write(made, ew.maximum, *flags[:2]), *flags[2:]]
    return flags[0] if flags else None


def _write(made: Graph, f: Callable[..., Tensor], *given: Var) -> Var:
    """Adds the equations of `f` to a graph; gives the variable of its result."""
    with GraphTrace("bounds") as trace, staging.staging(trace):
        found = trace.atom(f(*(Tensor(VarBox(trace, v)) for v in given)))
    made.eqns += trace.graph.eqns
    assert isinstance(found, Var) and not trace.graph.consts
    return found


# what is known of values


def _range_of(a: Atom, ranges: dict[Var, Range]) -> Range:
    if isinstance(a, Literal):
        return (int(a.value), int(a.value)) if isinstance(a.value, (bool, int)) else (-(2**63), 2**64)
    if a in ranges:
        return ranges[a]
    dtype = a.aval.dtype
    if dtype.kind == "b":
        return 0, 1
    return (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) if dtype.kind in "iu" else (-(2**63), 2**64)


def _range(e: Eqn, ranges: dict[Var, Range]) -> Range | None:
    """The least and the largest value of an integer result, as far as it is known."""
    name = e.op.name
    if name in ("argmax", "argmin"):
        shape, axis = e.inputs[0].aval.shape, e.params["axis"]  # type: ignore[union-attr]
        return 0, (int(np.prod(shape)) if axis is None else shape[axis]) - 1
    given = [_range_of(a, ranges) for a in e.inputs]
    if name in _SAME:
        return given[0]
    if name == "astype":
        info = np.iinfo(e.out.aval.dtype)
        return given[0] if info.min <= given[0][0] and given[0][1] <= info.max else None
    if name == "pad":
        return min(0, given[0][0]), max(0, given[0][1])
    if name in ("where", "concat"):
        chosen = given[1:] if name == "where" else given
        return min(low for low, _ in chosen), max(high for _, high in chosen)
    if name in ("maximum", "minimum"):
        how: Any = max if name == "maximum" else min
        return how(given[0][0], given[1][0]), how(given[0][1], given[1][1])
    if name == "remainder" and given[1][0] > 0:
        return 0, given[1][1] - 1
    if name in ("add", "sub"):
        (a, b), (c, d) = given if name == "add" else (given[0], (-given[1][1], -given[1][0]))
        info = np.iinfo(e.out.aval.dtype)
        return (a + c, b + d) if info.min <= a + c and b + d <= info.max else None
    return None


# loops and branches


def _looped(e: Eqn, ranges: dict[Var, Range], made: Graph) -> list[Var]:
    """Adds an equation with regions to a graph; gives what it says of its indices."""
    if e.op is WHILE:
        return _while(e, ranges, made)
    n = e.params["n_consts"] if e.op is SCAN else 0
    first = n + e.params["n_carry"] if e.op is SCAN else 0
    behind = len(e.inputs) - len(e.regions[0].inputs)  # the index of a switch
    found = []
    for r in e.regions:
        fixed = [k for k in range(len(r.inputs)) if k < n or k >= first]
        found.append(_checked(r, {r.inputs[k]: _range_of(e.inputs[k + behind], ranges) for k in fixed}))
    if all(flag is None for _, flag in found):
        made.eqns.append(e)
        return []
    inputs = e.inputs
    if any(flag is None for _, flag in found):  # such a branch makes its own zero, of the index
        inputs = (*e.inputs, e.inputs[0])
        for r, _ in found:
            r.inputs.append(Var(e.inputs[0].aval))  # type: ignore[union-attr]
    for r, flag in found:
        r.outputs.append(flag or _write(r, _zero, r.inputs[-1]))
    out = Var(Aval((e.params["length"],), FLAG.dtype) if e.op is SCAN else FLAG)
    made.eqns.append(Eqn(e.op, inputs, e.params, (*e.outs, out), tuple(r for r, _ in found)))
    if e.op is not SCAN:
        return [out]
    return [_write(made, lambda x: reduce.max(x, axis=(0,)), out)] if e.params["length"] else []


def _while(e: Eqn, ranges: dict[Var, Range], made: Graph) -> list[Var]:
    """With the flag as the last part of the carry; the loop ends where it is set, as its condition may not come true then."""
    k = e.params["n_consts"]
    known = [_range_of(a, ranges) for a in e.inputs[:k]]
    (condition, first), (body, flag) = (
        _checked(r, dict(zip(r.inputs, known, strict=False))) for r in e.regions
    )  # fmt: skip
    number = next(
        (a for a in e.inputs if isinstance(a, Var) and 0 not in a.aval.shape and a.aval.dtype.kind != "c"), None
    )
    if (first is None and flag is None) or number is None:
        made.eqns.append(e)
        return []
    init = _write(made, _zero, number)
    flags = [] if flag is None else [flag]
    if first is not None:  # the condition looks at the first carry and at all later ones
        init = _write(made, ew.maximum, init, _copied(made, condition, e.inputs, first))
        flags.append(_copied(body, condition, (*body.inputs[:k], *body.outputs), first))
    for r in (condition, body):
        r.inputs.append(Var(FLAG))
    total = _any(body, [*flags, body.inputs[-1]])
    assert total is not None
    body.outputs.append(total)
    goes_on = condition.outputs[0]
    assert isinstance(goes_on, Var)
    condition.outputs = [
        _write(condition, lambda c, f: ew.logical_and(c, ew.equal(f, 0)), goes_on, condition.inputs[-1])
    ]
    out = Var(FLAG)
    made.eqns.append(Eqn(e.op, (*e.inputs, init), e.params, (*e.outs, out), (condition, body)))
    return [out]


def _copied(made: Graph, graph: Graph, inputs: Sequence[Atom], wanted: Var) -> Var:
    """Writes the equations of a graph for these inputs; gives what stands for one of its variables."""
    became: dict[Atom, Atom] = dict(zip(graph.inputs, inputs, strict=True))
    for e in graph.eqns:
        outs = tuple(Var(v.aval) for v in e.outs)
        made.eqns.append(Eqn(e.op, tuple(became.get(a, a) for a in e.inputs), e.params, outs, e.regions))
        became.update(zip(e.outs, outs, strict=True))
    found = became[wanted]
    assert isinstance(found, Var)
    return found


def _zero(x: Tensor) -> Tensor:
    one = REGISTRY["index"](x, index=(0,) * x.ndim) if x.ndim else x
    return linear.astype(ew.less(one, one), dtype=np.uint8)
