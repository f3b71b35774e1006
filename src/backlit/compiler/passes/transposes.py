"""Transposes moved towards the inputs, where reading in another order costs nothing."""

from __future__ import annotations

from backlit.compiler.ir import Atom, Eqn, Graph, Var
from backlit.compiler.passes.rewrite import within
from backlit.core.aval import Aval
from backlit.core.op import REGISTRY, Elementwise


def transposes(graph: Graph) -> Graph:
    """`graph` with `permute_dims` of a computed value written as that computation on permuted operands.

    A product of matrices becomes that of the transposed ones in the other order. The value itself stays where others
    read it too.
    """
    graph = within(graph, transposes)
    made_by = {v: e for e in graph.eqns for v in e.outs}
    uses: dict[Var, int] = {}
    for a in (*(a for e in graph.eqns for a in e.inputs), *graph.outputs):
        if isinstance(a, Var):
            uses[a] = uses.get(a, 0) + 1
    made = Graph(list(graph.inputs), dict(graph.consts), [], list(graph.outputs))

    def permuted(a: Atom, axes: tuple[int, ...]) -> Atom:
        """`a` with its axes in another order, by new equations."""
        if not isinstance(a, Var):
            return a
        out = Var(Aval(tuple(a.aval.shape[i] for i in axes), a.aval.dtype))
        write(Eqn(REGISTRY["permute_dims"], (a,), {"axes": axes}, out))
        return out

    def write(e: Eqn) -> None:
        source = e.inputs[0] if e.op.name == "permute_dims" else None
        before = made_by.get(source) if isinstance(source, Var) else None
        if before is None or before.regions or uses.get(before.out, 0) > 1:
            made.eqns.append(e)
            return
        axes, name = e.params["axes"], before.op.name
        n = len(axes)
        swapped = (*range(n - 2), n - 1, n - 2)
        if isinstance(before.op, Elementwise) or name == "astype":
            made.eqns.append(Eqn(before.op, tuple(permuted(a, axes) for a in before.inputs), before.params, e.out))
        elif name == "matmul" and axes == swapped:
            x, y = before.inputs
            made.eqns.append(Eqn(before.op, (permuted(y, swapped), permuted(x, swapped)), {}, e.out))
        elif name == "broadcast_to" and isinstance(before.inputs[0], Var):
            made.eqns.append(_broadcast(e, before, before.inputs[0], axes, made))
        elif name == "permute_dims":
            write(Eqn(e.op, before.inputs, {"axes": tuple(before.params["axes"][a] for a in axes)}, e.out))
        else:
            made.eqns.append(e)

    for e in graph.eqns:
        write(e)
    return made


def _broadcast(e: Eqn, before: Eqn, x: Var, axes: tuple[int, ...], made: Graph) -> Eqn:
    """The broadcast of `x` with its axes filled up and permuted."""
    n = len(axes)
    full = (*(1,) * (n - x.aval.ndim), *x.aval.shape)
    filled = Var(Aval(full, x.aval.dtype))
    made.eqns.append(Eqn(REGISTRY["reshape"], (x,), {"shape": full}, filled))
    turned = Var(Aval(tuple(full[a] for a in axes), x.aval.dtype))
    made.eqns.append(Eqn(REGISTRY["permute_dims"], (filled,), {"axes": axes}, turned))
    return Eqn(before.op, (turned,), {"shape": e.out.aval.shape}, e.out)
