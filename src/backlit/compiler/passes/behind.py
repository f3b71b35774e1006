"""Products that a loop only adds up are one product of all steps behind it."""

from __future__ import annotations

import math

from backlit.compiler.control import SCAN
from backlit.compiler.ir import Atom, Eqn, Graph, Var
from backlit.compiler.passes.fission import BYTES
from backlit.compiler.passes.rewrite import within
from backlit.core.aval import Aval
from backlit.core.op import REGISTRY


def behind(graph: Graph) -> Graph:
    """`graph` with carries `c + x.T @ y` of scans, which are read for nothing else, summed behind them: all x.T @ all y.

    So the gradient of a matrix used at every step is one product whose inner axis is as long as all steps together. The sum is
    rounded in another order.
    """
    if not any(e.regions for e in graph.eqns):
        return graph
    graph = within(graph, behind)
    made = Graph(list(graph.inputs), dict(graph.consts), [], list(graph.outputs))
    for e in graph.eqns:
        if e.op is SCAN and e.params["length"] > 1:
            _moved(e, made)
        else:
            made.eqns.append(e)
    return made


def _moved(e: Eqn, made: Graph) -> None:
    (body,) = e.regions
    k, m, n = e.params["n_consts"], e.params["n_carry"], e.params["length"]
    made_by = {v: its for its in body.eqns for v in its.outs}
    uses: dict[Atom, int] = {}
    for a in (*(a for its in body.eqns for a in its.inputs), *body.outputs):
        uses[a] = uses.get(a, 0) + 1
    sums: list[tuple[int, Var, Var]] = []  # which carry, and of which rows the products are
    for j in range(m):
        found = _rows(body.inputs[k + j], body.outputs[j], made_by, uses)
        if found is not None and n * sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in found) <= BYTES:
            sums.append((j, *found))
    if not sums:
        made.eqns.append(e)
        return
    gone = {j for j, _, _ in sums}
    outputs = [a for j, a in enumerate(body.outputs) if j not in gone]
    outs = [v for j, v in enumerate(e.outs) if j not in gone]
    stacked: dict[Atom, Var] = dict(zip(body.inputs[k + m :], e.inputs[k + m :], strict=True))  # type: ignore[arg-type]
    stacked.update(zip(body.outputs[m:], e.outs[m:], strict=True))
    for v in dict.fromkeys(v for _, *rows in sums for v in rows):
        if v not in stacked:
            stacked[v] = Var(Aval((n, *v.aval.shape), v.aval.dtype))
            outputs.append(v)
            outs.append(stacked[v])
    kept = [i for i in range(len(e.inputs)) if i - k not in gone]
    region = Graph([body.inputs[i] for i in kept], {}, body.eqns, outputs)
    params = {**e.params, "n_carry": m - len(gone)}
    dropped = {made_by[body.outputs[j]].out for j in gone}  # type: ignore[index]
    region.eqns = [its for its in body.eqns if its.regions or its.out not in dropped]
    made.eqns.append(Eqn(SCAN, tuple(e.inputs[i] for i in kept), params, tuple(outs), (region,)))
    for j, x, y in sums:
        total = _product(stacked[x], stacked[y], x.aval, y.aval, made)
        made.eqns.append(Eqn(REGISTRY["add"], (e.inputs[k + j], total), {}, e.outs[j]))


def _rows(carry: Var, out: Atom, made_by: dict[Var, Eqn], uses: dict[Atom, int]) -> tuple[Var, Var] | None:
    """x and y where the new carry is `carry + x.T @ y`, and neither sum nor product is read for anything else."""
    added = made_by.get(out) if isinstance(out, Var) else None
    if added is None or added.op.name != "add" or uses[carry] != 1 or uses[out] != 1 or carry not in added.inputs:
        return None
    (term,) = (a for a in added.inputs if a is not carry) if added.inputs[0] is not added.inputs[1] else (None,)
    product = made_by.get(term) if isinstance(term, Var) and uses[term] == 1 else None
    if product is None or product.op.name != "matmul" or product.out.aval.ndim != 2:
        return None
    x, y = product.inputs
    assert isinstance(x, Var) and isinstance(y, Var)
    before = made_by.get(x)
    if before is not None and before.op.name == "permute_dims":
        return before.inputs[0], y  # type: ignore[return-value]
    return (x, y) if x.aval.shape[1] == 1 else None


def _product(x: Var, y: Var, one: Aval, other: Aval, made: Graph) -> Var:
    """The product of all rows; a single column of each step is a row."""

    def write(name: str, inputs: tuple[Atom, ...], like: tuple[int, ...], **params: object) -> Var:
        out = Var(Aval(like, one.dtype))
        made.eqns.append(Eqn(REGISTRY[name], inputs, params, out))
        return out

    inner, columns = other.shape
    wide = math.prod(one.shape) // inner if inner else max(one.shape)
    n = x.aval.shape[0] * inner
    rows = write("reshape", (x,), (n, wide), shape=(n, wide))
    turned = write("permute_dims", (rows,), (wide, n), axes=(1, 0))
    right = write("reshape", (y,), (n, columns), shape=(n, columns))
    return write("matmul", (turned, right), (wide, columns))
