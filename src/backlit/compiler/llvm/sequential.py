"""Loops and branches over few numbers as one kernel: every element of every array is a value in a register.

The carry of a loop is a set of phis, so that one step waits for the one before it only through what it computes; moves of
elements are settled here and cost nothing. Arithmetic is that of `loops`: not contracted, no fast-math flags; products
of matrices add by fused multiply-add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.compiler.control import SCAN, WHILE
from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.functions import FUNCTIONS
from backlit.compiler.llvm.kernel import PARAMETERS, Kernel
from backlit.compiler.llvm.target import features
from backlit.compiler.llvm.tile import multiply_add
from backlit.compiler.llvm.values import emit
from backlit.compiler.llvm.writer import Index, Writer
from backlit.compiler.schedule import is_elementwise, is_reduction

WEIGHT = 1500  # instructions of a body, about; more are better off in loops
WIDE = 8  # elements of an array that fill a vector: from there on loops are faster above a fifth of the weight, see `_limit`
_FUNCTION = 25
_MOVES = ("broadcast_to", "permute_dims", "reshape", "index", "pad", "concat")
_JOINED = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}

Names = np.ndarray[Any, Any]  # an array of the names of values


@dataclass(frozen=True)
class _Place:
    """An array in memory."""

    pointer: str
    shape: tuple[int, ...]


def sequential_kernel(name: str, e: Eqn, slots: Sequence[int]) -> Kernel | None:
    """The kernel of an equation of control flow, given the slots of its operands and results; None where it is too large.

    None too where there is an op of which no instructions are known.
    """
    weight = sum(math.prod(v.aval.shape) for v in _elements(e)) + sum(map(_weight_of, e.regions))
    if weight > _limit(e) or any(v.aval.dtype not in SCALARS for v in (*_variables(e), *e.outs)):
        return None
    w = Writer(name, PARAMETERS)
    pointers = []
    for slot in slots:
        at = w.hoisted(f"getelementptr ptr, ptr %table, i64 {slot}")
        pointers.append(w.hoisted(f"load ptr, ptr {at}"))
    operands, results = pointers[: len(e.inputs)], pointers[len(e.inputs) :]
    _Emitter(w).top(e, operands, results)
    return Kernel(name, w.text(), 1)


def _limit(e: Eqn) -> float:
    """The weight up to which registers are better.

    Measured on an AVX-512 machine, 200 steps of `x + 0.01 sin(a x)` and back: 8.3 microseconds with 8 numbers in registers
    and 8.1 by loops, 23.0 and 11.5 with 32.
    """
    return WEIGHT if max(map(_widest, e.regions), default=0) < WIDE else WEIGHT // 5


def _widest(graph: Graph) -> int:
    sizes = [math.prod(v.aval.shape) for e in graph.eqns if not e.regions for v in e.outs if e.op.name not in _MOVES]
    return max([*sizes, *(_widest(r) for e in graph.eqns for r in e.regions)], default=0)


def _variables(e: Eqn) -> list[Var]:
    return [a for a in e.inputs if isinstance(a, Var)]


def _elements(e: Eqn) -> list[Var]:
    """Operands and results that are read or written as a whole."""
    if e.op is SCAN:
        start = e.params["n_consts"] + e.params["n_carry"]
        return [*_variables(e)[:start], *e.outs[: e.params["n_carry"]]]
    return [*_variables(e), *e.outs]


def _weight_of(graph: Graph) -> float:
    """Instructions of a region, about; infinite where there is an op without instructions."""
    used = _read_as_values(graph)
    total: float = sum(math.prod(v.aval.shape) for v in graph.inputs if v in used)
    for e in graph.eqns:
        if any(v.aval.dtype not in SCALARS for v in (*_variables(e), *e.outs)):
            return math.inf
        size = sum(math.prod(v.aval.shape) for v in e.outs)
        if e.regions:
            moved = sum(math.prod(v.aval.shape) for v in _variables(e))
            total += size + moved + sum(map(_weight_of, e.regions))
        elif is_elementwise(e):
            total += size * (_FUNCTION if e.op.name in FUNCTIONS else 1)
        elif (
            e.op.name in _MOVES and len(e.inputs) == len(_variables(e)) and (e.op.name != "index" or len(e.inputs) == 1)
        ):
            total += min(size, WEIGHT) * 0.1
        elif is_reduction(e):
            total += math.prod(_variables(e)[0].aval.shape)
        elif e.op.name == "matmul" and e.out.aval.dtype.kind == "f":
            total += size * _variables(e)[0].aval.shape[-1]
        else:
            return math.inf
    return total


def _read_as_values(graph: Graph) -> set[Atom]:
    """What is read otherwise than as the xs of a loop."""
    used: set[Atom] = set(graph.outputs)
    for e in graph.eqns:
        start = e.params["n_consts"] + e.params["n_carry"] if e.op is SCAN else len(e.inputs)
        used.update(e.inputs[:start])
    return used


def _filled(shape: tuple[int, ...], values: Sequence[str]) -> Names:
    made = np.empty(len(values), object)
    made[:] = values
    return made.reshape(shape)


class _Emitter:
    """Writes the instructions of regions."""

    def __init__(self, w: Writer) -> None:
        self.w = w

    # between memory and registers

    def _load(self, place: _Place, v: Var) -> Names:
        scalar = SCALARS[v.aval.dtype]
        size = math.prod(v.aval.shape)
        names = [self.w.load_scalar(scalar, self.w.at(place.pointer, scalar, k)) for k in range(size)]
        return _filled(v.aval.shape, names)

    def _store(self, names: Names, v: Var, pointer: str) -> None:
        scalar = SCALARS[v.aval.dtype]
        for k, name in enumerate(names.ravel()):
            self.w.store(scalar, name, self.w.at(pointer, scalar, k))

    def _step(self, pointer: str, v: Var, at: Index) -> str:
        """Where the share of one step begins in a stacked array of which `v` is a share."""
        return self.w.at(pointer, SCALARS[v.aval.dtype], self.w.mul(at, math.prod(v.aval.shape)))

    def _spilled(self, names: Names, v: Var) -> _Place:
        room = self.w.room(_stored(v), max(1, math.prod(v.aval.shape)))
        self._store(names, v, room)
        return _Place(room, v.aval.shape)

    # control flow

    def top(self, e: Eqn, operands: Sequence[str], results: Sequence[str]) -> None:
        """A whole equation, from memory to memory."""
        places = [_Place(p, v.aval.shape) for p, v in zip(operands, _variables(e), strict=True)]
        if e.op is SCAN:
            start, m = e.params["n_consts"] + e.params["n_carry"], e.params["n_carry"]
            given = [self._load(p, v) for p, v in zip(places[:start], _variables(e), strict=False)]
            carry = self._scan(e, given, places[start:], results[m:])
            for names, v, pointer in zip(carry, e.outs, results, strict=False):
                self._store(names, v, pointer)
            return
        given = [self._load(p, v) for p, v in zip(places, _variables(e), strict=True)]
        for names, v, pointer in zip(self._inner(e, given), e.outs, results, strict=True):
            self._store(names, v, pointer)

    def _inner(self, e: Eqn, given: list[Any]) -> list[Names]:
        """An equation whose operands are in registers, but for xs that may be in memory."""
        if e.op is WHILE:
            return self._while(e, given)
        if e.op is not SCAN:
            return self._switch(e, given)
        m = e.params["n_carry"]
        start = e.params["n_consts"] + m
        xs = [
            x if isinstance(x, _Place) else self._spilled(x, v)
            for x, v in zip(given[start:], _variables(e)[start:], strict=True)
        ]
        rooms = [self.w.room(_stored(v), max(1, math.prod(v.aval.shape))) for v in e.outs[m:]]
        carry = self._scan(e, given[:start], xs, rooms)
        return [*carry, *(self._load(_Place(p, v.aval.shape), v) for p, v in zip(rooms, e.outs[m:], strict=True))]

    def _scan(self, e: Eqn, given: list[Names], xs: Sequence[_Place], ys: Sequence[str]) -> list[Names]:
        w, (body,) = self.w, e.regions
        k, m, n = e.params["n_consts"], e.params["n_carry"], e.params["length"]
        first = given[k:]
        shares, values = body.inputs[k + m :], _read_as_values(body)
        with w.loop(0, n, carry=_typed(first, body.inputs[k : k + m])) as turn:
            at: Index = w.sub(n - 1, turn.i) if e.params["reverse"] else turn.i
            carry = _taken(turn.old, first)
            env: dict[Var, Any] = dict(zip(body.inputs, [*given[:k], *carry], strict=False))
            for v, x in zip(shares, xs, strict=True):
                here = _Place(self._step(x.pointer, v, at), v.aval.shape)
                env[v] = self._load(here, v) if v in values else here
            outs = self._region(body, env)
            for names, y, pointer in zip(outs[m:], body.outputs[m:], ys, strict=True):
                assert isinstance(y, Var)
                self._store(names, y, self._step(pointer, y, at))
            turn.next = [name for names in outs[:m] for name in names.ravel()]
        return _taken(turn.next, first)

    def _while(self, e: Eqn, given: list[Names]) -> list[Names]:
        condition, body = e.regions
        k = e.params["n_consts"]
        first = given[k:]

        def more(old: list[str]) -> str:
            env = dict(zip(condition.inputs, [*given[:k], *_taken(old, first)], strict=True))
            return str(self._region(condition, env)[0].item())

        with self.w.loop_while(_typed(first, body.inputs[k:]), more) as turn:
            env = dict(zip(body.inputs, [*given[:k], *_taken(turn.old, first)], strict=True))
            turn.next = [name for names in self._region(body, env) for name in names.ravel()]
        return _taken(turn.next, first)

    def _switch(self, e: Eqn, given: list[Names]) -> list[Names]:
        w = self.w
        index, rest = given[0].item(), given[1:]
        v = e.inputs[0]
        assert isinstance(v, Var)
        scalar = SCALARS[v.aval.dtype]
        sign = "s" if v.aval.dtype.kind == "i" else "u"
        likes = [np.empty(o.aval.shape, object) for o in e.outs]
        types = [SCALARS[o.aval.dtype] for o, like in zip(e.outs, likes, strict=True) for _ in range(like.size)]

        def branch(number: int) -> list[str]:
            region = e.regions[number]

            def here() -> list[str]:
                outs = self._region(region, dict(zip(region.inputs, rest, strict=True)))
                return [name for names in outs for name in names.ravel()]

            if number == len(e.regions) - 1:
                return here()
            chosen = w.new(f"icmp {sign}le {scalar} {index}, {number}")
            return w.choose(chosen, here, lambda: branch(number + 1), types)

        return _taken(branch(0), likes)

    # equations

    def _region(self, graph: Graph, env: dict[Var, Any]) -> list[Names]:
        for e in graph.eqns:
            if e.regions:
                found = self._inner(e, [env[a] for a in _variables(e)])
            else:
                found = [self._equation(e, env)]
            env.update(zip(e.outs, found, strict=True))
        return [env[a] for a in graph.outputs]  # type: ignore[index]

    def _equation(self, e: Eqn, env: dict[Var, Any]) -> Names:
        if is_elementwise(e):
            return self._elementwise(e, env)
        given = [env[a] for a in _variables(e)]
        dtype = _variables(e)[0].aval.dtype
        if e.op.name in _MOVES:
            moved = np.asarray(e.op.forward(*given, **e.params), object)
            zero = self.w.constant(SCALARS[dtype], 0)
            return _filled(moved.shape, [x if isinstance(x, str) else zero for x in moved.ravel()])
        if e.op.name == "matmul":
            return self._product(given[0], given[1], dtype)
        return self._reduced(e, given[0], dtype)

    def _elementwise(self, e: Eqn, env: dict[Var, Any]) -> Names:
        w, out = self.w, e.out.aval.dtype
        dtype = out if e.op.name == "where" else _variables(e)[0].aval.dtype
        columns = []
        size = math.prod(e.out.aval.shape)
        for k, a in enumerate(e.inputs):
            if isinstance(a, Literal):
                its: Any = a.value
                scalar = "i1" if e.op.name == "where" and k == 0 else SCALARS[dtype]
                columns.append([w.constant(scalar, its if dtype.kind == "f" else int(its))] * size)
            else:
                columns.append(list(env[a].ravel()))
        rows = zip(*columns, strict=True)
        return _filled(e.out.aval.shape, [emit(w, e.op.name, list(row), dtype, out) for row in rows])

    def _reduced(self, e: Eqn, x: Names, dtype: np.dtype[Any]) -> Names:
        out, how = e.out.aval.dtype, _JOINED[e.op.name]
        if dtype != out:
            x = _filled(x.shape, [emit(self.w, "astype", [a], dtype, out) for a in x.ravel()])
        axes = e.params["axis"]
        kept = [a for a in range(x.ndim) if a not in axes]
        shape = tuple(x.shape[a] for a in kept)
        rows = np.transpose(x, (*kept, *axes)).reshape(math.prod(shape), -1 if x.size else 0)
        totals = []
        for row in rows:
            if not len(row):  # NumPy refuses an extreme of nothing, so this is a sum or a product
                totals.append(self.w.constant(SCALARS[out], int(how == "mul")))
                continue
            total = row[0]
            for a in row[1:]:
                total = emit(self.w, how, [total, a], out, out)
            totals.append(total)
        return _filled(e.out.aval.shape, totals)

    def _product(self, x: Names, y: Names, dtype: np.dtype[Any]) -> Names:
        w, scalar = self.w, SCALARS[dtype]
        made = np.empty((*x.shape[:-1], y.shape[-1]), object)
        for place in np.ndindex(*made.shape):
            *batch, i, j = place
            row, column = x[(*batch, i)], y[(*batch, slice(None), j)]
            total = w.constant(scalar, 0.0)
            for k, (a, b) in enumerate(zip(row, column, strict=True)):
                fused = features().fma
                total = multiply_add(w, scalar, a, b, total, fused) if k else w.new(f"fmul {scalar} {a}, {b}")
            made[place] = total
        return made


def _stored(v: Var) -> str:
    scalar = SCALARS[v.aval.dtype]
    return "i8" if scalar == "i1" else scalar


def _typed(first: Sequence[Names], variables: Sequence[Var]) -> list[tuple[str, str]]:
    """Types and first values of what a loop carries."""
    return [(SCALARS[v.aval.dtype], x) for names, v in zip(first, variables, strict=True) for x in names.ravel()]


def _taken(flat: Sequence[str], like: Sequence[Names]) -> list[Names]:
    """Names one after another as arrays."""
    made, at = [], 0
    for names in like:
        made.append(_filled(names.shape, flat[at : at + names.size]))
        at += names.size
    return made
