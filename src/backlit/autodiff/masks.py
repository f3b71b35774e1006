"""A function of tensors pulled back and pushed forward with the masks of structural zeros, which `vjp` and `jvp` drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.reverse import GradTrace
from backlit.autodiff.walk import walk
from backlit.core import record
from backlit.core.dtypes import is_float
from backlit.core.errors import RuleError
from backlit.core.graph import Node, Plan
from backlit.core.op import Masked, Op, Value, add_masked
from backlit.core.tensor import Box, Tensor

Body = Callable[..., Any]  # of tensors, giving a list of tensors


class _Same(Op):
    """Stands between a leaf and what uses it, so that the leaf gets masks."""

    name, notation = "same", ""

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def contributions(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> Sequence[Any]:
        return (cotangent,)

    def abstract(self, *avals: Any, **params: Any) -> Any:
        raise RuleError("same: stands in a graph only while it is walked")

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        raise RuleError("same: stands in a graph only while it is walked")


_SAME = Plan(_Same(), (True,), _Same().reads)


def pulled(
    body: Body,
    operands: Sequence[Tensor],
    wanted: Sequence[bool],
    cotangents: Sequence[Masked | None],
    who: str = "scan",
) -> list[Masked | None]:
    """Cotangents of the wanted operands, with masks; None where there is no path."""
    leaves: list[Any] = [None] * len(operands)
    with GradTrace(who) as trace:
        given = []
        for k, (x, flag) in enumerate(zip(operands, wanted, strict=True)):
            if flag and is_float(x.dtype):
                leaf = trace.leaf(Tensor(x._value, x.node))
                leaves[k] = leaf._value.extra
                node = Node(_SAME, leaves[k], (), None, {}, x.shape, x.dtype, None)
                given.append(Tensor(Box(trace, leaf._value.primal, node)))
            else:
                given.append(x)
        roots = [None if (b := trace.box(x)) is None else b.extra for x in body(*given)]
    seeds: dict[Node, Any] = {}
    for root, cotangent in zip(roots, cotangents, strict=True):
        if root is not None and cotangent is not None:
            seeds[root] = add_masked(seeds.get(root), cotangent)
    found, visited = walk(seeds, who, arrays=False, record_again=False)
    for listener in record.current():
        listener.freed(visited)
    return [None if leaf is None else found.get(leaf) for leaf in leaves]


def pushed(
    body: Body, operands: Sequence[Tensor], tangents: Sequence[Masked | None], who: str = "scan"
) -> tuple[list[Tensor], list[Masked | None]]:
    """The results and their tangents, with masks."""
    with JvpTrace(who) as trace:
        given = [
            x if t is None else Tensor(Box(trace, Tensor(x._value, x.node), t))
            for x, t in zip(operands, tangents, strict=True)
        ]
        outs = body(*given)
        return [trace.lower(x) for x in outs], [None if (b := trace.box(x)) is None else b.extra for x in outs]
