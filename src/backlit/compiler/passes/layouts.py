"""In which order the axes of matrices between products lie in memory, so that products read operands as they come."""

from __future__ import annotations

import math
from functools import lru_cache

from backlit.compiler.ir import Atom, Eqn, Graph, Literal, Var
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.plan import EDGES, FEW
from backlit.compiler.llvm.target import Features, features
from backlit.compiler.llvm.tile import choose, cycles_of
from backlit.core.aval import Aval
from backlit.core.op import REGISTRY, Elementwise

# for an element of an operand that is copied before a product reads it, with what that displaces (Zen 5: W1's and W2's)
PACKED_CYCLES = 0.27
FAR_BYTES = 1 << 22  # an operand beyond this is read once by columns, from far away for every group of columns by rows
ROW_CYCLES = 20.0  # for a row that is reduced along itself, beside those of its vectors
WORTH = 0.01  # which part of the cycles has to be saved: the model is no better than that
REDUCED = ("sum", "max", "min")


def layouts(graph: Graph, allowed: Features | None = None) -> Graph:
    """`graph` with matrices between products transposed where all that make and read them take fewer cycles then.

    In `x @ W.T` the weights, held as `[out, in]`, would be copied to be read along `out`; `(W @ x.T).T` reads them as they
    lie. The elementwise work on the result is turned with it, and the products that read it take it as it comes; what has
    to be copied for these instead, and sums along the other axis, count against it. What somebody outside sees is not
    turned, nor what is made or read by anything but elementwise ops, sums, extremes and products of matrices. Sums may be
    added in another order.
    """
    groups = _Groups(graph, allowed or features())
    turned: set[Var] = set()
    for members in groups.together():
        groups.decide(members, turned)
    return _Turning(graph, groups.made_by, turned).result() if turned else graph


def _is_turn(e: Eqn | None) -> bool:
    return e is not None and e.op.name == "permute_dims" and e.params["axes"] == (1, 0)


def _is_product(e: Eqn) -> bool:
    return e.op.name == "matmul" and e.out.aval.ndim == 2 and e.out.aval.dtype.name in ("float32", "float64")


def _is_elementwise(e: Eqn) -> bool:
    return not e.regions and (isinstance(e.op, Elementwise) or e.op.name == "astype") and e.out.aval.ndim == 2


def _reduces_one_axis(e: Eqn) -> bool:
    return e.op.name in REDUCED and len(e.params["axis"]) == 1


def _bytes(a: Atom) -> int:
    assert isinstance(a, Var)
    return math.prod(a.aval.shape) * a.aval.dtype.itemsize


class _Groups:
    """Matrices that are turned together, if at all: those that elementwise ops compute from one another."""

    def __init__(self, graph: Graph, allowed: Features) -> None:
        self.graph, self.allowed = graph, allowed
        self.made_by: dict[Var, Eqn] = {v: e for e in graph.eqns for v in e.outs}
        self.readers: dict[Var, list[Eqn]] = {}
        for e in graph.eqns:
            for a in dict.fromkeys(e.inputs):
                if isinstance(a, Var):
                    self.readers.setdefault(a, []).append(e)
        self.seen = {a for a in graph.outputs if isinstance(a, Var)}

    def together(self) -> list[list[Var]]:
        """The groups with a product of a transposed matrix that may be turned, in order of their first members."""
        leader: dict[Var, Var] = {}

        def find(v: Var) -> Var:
            while leader.setdefault(v, v) is not v:
                leader[v] = leader[leader[v]]
                v = leader[v]
            return v

        wanted: list[Var] = []
        for e in self.graph.eqns:
            if _is_elementwise(e):
                for a in e.inputs:
                    if isinstance(a, Var):
                        leader[find(a)] = find(e.out)
            elif _is_product(e):
                find(e.out)
                if _is_turn(self.made_by.get(e.inputs[1])):  # type: ignore[arg-type]
                    wanted.append(e.out)
        first = {find(v) for v in wanted}
        found: dict[Var, list[Var]] = {}
        for v in leader if first else ():
            if find(v) in first:
                found.setdefault(find(v), []).append(v)
        return [members for members in found.values() if all(map(self._may, members))]

    def _may(self, v: Var) -> bool:
        """Whether a value may lie in another order: whoever makes and reads it can do with both."""
        e = self.made_by.get(v)
        if e is None or v in self.seen:
            return False
        if e.op.name == "broadcast_to":
            return isinstance(e.inputs[0], Var) and e.inputs[0].aval.ndim <= 2 and all(
                map(_is_elementwise, self.readers.get(v, ()))
            )  # fmt: skip
        return (_is_elementwise(e) or _is_product(e)) and all(
            _is_elementwise(r) or _is_product(r) or _is_turn(r) or _reduces_one_axis(r) for r in self.readers.get(v, ())
        )

    def decide(self, members: list[Var], turned: set[Var]) -> None:
        """Puts a group into `turned` if that saves cycles."""
        products: dict[Eqn, None] = {}
        before = after = 0.0
        for v in members:
            if _is_product(self.made_by[v]):
                products[self.made_by[v]] = None
            for r in self.readers.get(v, ()):
                if _is_turn(r):
                    products.update(dict.fromkeys(filter(_is_product, self.readers.get(r.out, ()))))
                elif _is_product(r):
                    products[r] = None
                elif _reduces_one_axis(r):
                    along = r.params["axis"][0] == 1
                    before += self._reducing(v, along)
                    after += self._reducing(v, not along)
        # those of few rows or columns are made vector by vector, in ways that this does not know
        if any(min(e.out.aval.shape) <= FEW for e in products):
            return
        before += sum(self._multiplying(e, turned) for e in products)
        turned.update(members)
        after += sum(self._multiplying(e, turned) for e in products)
        far = any(e.out in turned and _bytes(e.inputs[1]) > FAR_BYTES for e in products)
        if far or before - after <= WORTH * before:
            turned.difference_update(members)

    def _multiplying(self, e: Eqn, turned: set[Var]) -> float:
        """Cycles of a product when some matrices are turned."""
        (m, k), n = e.inputs[0].aval.shape, e.out.aval.shape[1]  # type: ignore[union-attr]
        flat = self._rows_lie(e.inputs[1], turned)
        if e.out in turned:
            flat, m, n = not self._rows_lie(e.inputs[0], turned), n, m
        return _cycles(m, n, k, SCALARS[e.out.aval.dtype], self.allowed) + (0.0 if flat else PACKED_CYCLES * n * k)

    def _rows_lie(self, a: Atom, turned: set[Var]) -> bool:
        """Whether the elements of a row are neighbours in memory."""
        assert isinstance(a, Var)
        e = self.made_by.get(a)
        return e.inputs[0] in turned if e is not None and _is_turn(e) else a not in turned

    def _reducing(self, v: Var, along: bool) -> float:
        """Cycles of a reduction along rows as they lie, or across them."""
        rows, columns = v.aval.shape if along else v.aval.shape[::-1]
        lanes = self.allowed.vector_bytes // v.aval.dtype.itemsize
        return rows * -(-columns // lanes) + (ROW_CYCLES * rows if along else 0.0)


@lru_cache(1024)
def _cycles(m: int, n: int, k: int, kind: str, allowed: Features) -> float:
    if 0 in (m, n, k):
        return 0.0
    edges = 2 * m * n * k >= EDGES
    return cycles_of(choose(m, n, k, kind, allowed, edges=edges), m, n, k, kind, allowed, edges=edges)


class _Turning:
    """A graph rewritten so that `turned` are computed transposed."""

    def __init__(self, graph: Graph, made_by: dict[Var, Eqn], turned: set[Var]) -> None:
        self.graph, self.made_by, self.turned = graph, made_by, turned
        self.made = Graph(list(graph.inputs), dict(graph.consts), [], [])
        self.other: dict[Var, Var] = {}  # what is the transposed value of a variable
        self.became: dict[Atom, Var] = {}

    def result(self) -> Graph:
        """The new graph."""
        for e in self.graph.eqns:
            e = e.on(tuple(self.became.get(a, a) for a in e.inputs))
            source = e.inputs[0] if e.inputs else None
            if not self.turned.isdisjoint(e.outs):
                self.other[e.out] = self._turned(e)
            elif _is_turn(e) and source in self.turned:
                self.became[e.out] = self.other[source]
            elif source in self.turned and _reduces_one_axis(e):
                self._reduced(e)
            else:
                self.made.eqns.append(e.on(tuple(map(self._plain, e.inputs))))
        self.made.outputs = [self.became.get(a, a) for a in self.graph.outputs]
        return self.made

    def _write(
        self, name: str, inputs: tuple[Atom, ...], params: dict[str, object], shape: tuple[int, ...], like: Var
    ) -> Var:
        out = Var(Aval(shape, like.aval.dtype))
        self.made.eqns.append(Eqn(REGISTRY[name], inputs, params, out))
        return out

    def _other(self, a: Atom) -> Atom:
        """The transposed value."""
        if isinstance(a, Literal):
            return a
        if a not in self.other:
            e = self.made_by.get(a)
            if e is not None and _is_turn(e):
                return self._plain(e.inputs[0])
            self.other[a] = self._write("permute_dims", (a,), {"axes": (1, 0)}, a.aval.shape[::-1], a)
        return self.other[a]

    def _plain(self, a: Atom) -> Atom:
        """The value itself."""
        if isinstance(a, Var) and a in self.turned:
            return self._write("permute_dims", (self.other[a],), {"axes": (1, 0)}, a.aval.shape, a)
        return a

    def _turned(self, e: Eqn) -> Var:
        """The transposed result of an equation."""
        shape = e.out.aval.shape[::-1]
        if e.op.name == "matmul":
            x, y = e.inputs
            return self._write("matmul", (self._other(y), self._other(x)), {}, shape, e.out)
        if e.op.name == "broadcast_to":
            (x,) = e.inputs
            assert isinstance(x, Var)
            full = (*(1,) * (2 - x.aval.ndim), *x.aval.shape)
            filled = x if x.aval.shape == full else self._write("reshape", (x,), {"shape": full}, full, x)
            return self._write("broadcast_to", (self._other(filled),), {"shape": shape}, shape, e.out)
        return self._write(e.op.name, tuple(map(self._other, e.inputs)), e.params, shape, e.out)

    def _reduced(self, e: Eqn) -> None:
        """A reduction of what is turned, along the other axis."""
        (x,) = e.inputs
        assert isinstance(x, Var)
        params = {**e.params, "axis": (1 - e.params["axis"][0],)}
        if not e.params["keepdims"]:
            self.made.eqns.append(Eqn(e.op, (self.other[x],), params, e.out))
            return
        total = self._write(e.op.name, (self.other[x],), params, e.out.aval.shape[::-1], e.out)
        self.made.eqns.append(Eqn(REGISTRY["permute_dims"], (total,), {"axes": (1, 0)}, e.out))
