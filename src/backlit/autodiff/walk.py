"""The reverse walk that all reverse-mode functions share: rules in reverse topological order, summed at merges."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

from backlit.core import record
from backlit.core.aval import Aval
from backlit.core.dtypes import is_float
from backlit.core.errors import FreedGraphError, GradientError, RuleError, ShapeError
from backlit.core.graph import Freed, Node, Plan
from backlit.core.op import NUMBERS, Masked, Op, Value, add_masked
from backlit.core.source import Source, here, user_source
from backlit.core.tensor import Tensor


class Joint(Op):
    """Base of ops with several outputs: one node holds the rule, a `Pick` node stands for each output."""

    notation = ""
    n_outs: int

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()  # what it keeps, it keeps itself

    def kept(self) -> list[Any]:
        """The tensors that it keeps for its rule."""
        return []

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        raise RuleError(f"{self.name}: has no shape rule of its own")

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        raise RuleError(f"{self.name}: batched by its transform")


class Pick(Op):
    """Output number `position` of a joint node."""

    notation = ""

    def __init__(self, name: str, position: int) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.position = position

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        raise RuleError(f"{self.name}: has no shape rule of its own")

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        raise RuleError(f"{self.name}: batched by its transform")


def recorded_jointly(
    joint: Joint, outs: Sequence[Tensor], parents: Sequence[Node | None], args: Sequence[Any],
    wrap: Callable[[Tensor, Node], Tensor], live: Sequence[bool] | None = None,
) -> list[Tensor]:  # fmt: skip
    """`outs` as picks from one node that holds the rule `joint`; those without derivatives, or not `live`, as they are.

    `parents` are the nodes of the arguments `args`, None where no gradient is wanted; `wrap` puts a value and its node
    together.
    """
    plan = Plan(joint, tuple(p is not None for p in parents), joint.reads)
    node = Node(plan, tuple(p for p in parents if p is not None), (), None, {}, (), None, user_source())
    made = []
    for k, x in enumerate(outs):
        if not is_float(x.dtype) or (live is not None and not live[k]):
            made.append(x)
            continue
        pick = Node(Plan(Pick(joint.name, k), (True,), joint.reads), node, (), None, {}, x.shape, x.dtype, node.where)
        made.append(wrap(x, pick))
        for listener in record.current():
            listener.recorded(pick, made[-1], args)
    return made


def walk(seeds: dict[Node, Any], who: str, arrays: bool, record_again: bool) -> tuple[dict[Node, Masked], list[Node]]:
    """Cotangents of the leaves, given those of the outputs in `seeds`; and the nodes whose rules were applied.

    `arrays` says that the nodes keep arrays, of which the rules get tensors; these are connected to the graph when
    it is to be recorded again. Nothing is changed, so that an error leaves no half-done work. A heap of ids gives the
    nodes in reverse topological order without a pass over the graph: each costs one rule and O(log width).
    """
    pending: dict[Node, Any] = seeds
    heap = [(-node.id, node) for node in seeds]
    heapify(heap)
    node: Node | None = None
    leaves: dict[Node, Masked] = {}
    visited: list[Node] = []
    listeners = record.current()
    for listener in listeners:
        listener.began(seeds)
    while node is not None or heap:
        if node is None:
            node = heappop(heap)[1]
            cotangent = pending.pop(node)
        if node.extra is not None:
            cotangent = _completed(node, cotangent)
        if listeners and not isinstance(node.op, Joint):
            for listener in listeners:
                listener.completed(node, cotangent[0])
        plan = node.plan
        if plan is None:
            leaves[node] = cotangent
            node = None
            continue
        op, up, inputs, out = plan.op, node.up, node.inputs, node.out
        if op.__class__ is Pick:
            slots = pending.get(up)
            if slots is None:
                slots = pending[up] = [None] * up.op.n_outs
                heappush(heap, (-up.id, up))
            slots[op.position] = cotangent
            node = None
            continue
        if inputs.__class__ is Freed:
            raise _freed(node, who)
        visited.append(node)
        if arrays:
            kept = plan.kept
            if kept:
                parents = node.parents if record_again else None
                inputs = list(inputs)
                for i in kept:
                    x = inputs[i]
                    if x.__class__ not in NUMBERS:
                        inputs[i] = Tensor(x, parents[i]) if parents is not None else Tensor(x)
            if plan.unread_out is None:
                out = Tensor(out, node if record_again else None)
        if listeners:
            for listener in listeners:
                listener.pulling(node)
        contributions = op.contributions(cotangent, out, inputs, node)
        child, node = node, None
        single = up.__class__ is Node
        for position, contribution in enumerate(contributions):
            if contribution is None:
                continue
            parent = up if single else up[position]
            value = contribution[0]
            if value._value.shape != parent.shape:
                raise _misshapen(child, plan.argnums[position], parent, value)
            if listeners:
                for listener in listeners:
                    listener.contribution(child, plan.argnums[position], parent, value)
            if single and not heap:  # nothing else is pending: along a chain neither heap nor table is needed
                node, cotangent = parent, contribution
                continue
            present = pending.get(parent)
            if present is None:
                pending[parent] = contribution
                heappush(heap, (-parent.id, parent))
            else:
                pending[parent] = add_masked(present, contribution)
    for listener in listeners:
        listener.walked()
    return leaves, visited


def _misshapen(node: Node, argnum: int, parent: Node, value: Any) -> RuleError:
    return RuleError(
        f"{node.op.name}: its reverse rule gave {value.dtype}{list(value.shape)} for argument {argnum}, "
        f"{parent.dtype}{list(parent.shape)} ({node}){here()}"
    )


def _completed(node: Node, cotangent: Masked) -> Masked:
    extra = node.extra
    assert extra is not None
    if extra.checksums is not None:
        _verify(node)
    for hook in list(extra.hooks.values()):
        replaced = hook(cotangent[0])
        if replaced is not None:
            if not isinstance(replaced, Tensor) or replaced.shape != node.shape:
                raise ShapeError(
                    f"hook: expected a tensor {node.dtype}{list(node.shape)} or None for {node}, "
                    f"got {_described(replaced)}{here()}"
                )
            cotangent = (replaced, None)
    cell = extra.cell() if extra.cell is not None and node.op is not None else None
    if cell is not None:  # retain_grad
        cell.grad = cotangent[0] if cell.grad is None else cell.grad + cotangent[0]
    return cotangent


def _described(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def _freed(node: Node, who: str) -> FreedGraphError:
    by = node.inputs.by
    first = f" by the backward at {Source(*by)}" if by else ""
    return FreedGraphError(
        f"{who}: the residuals of {node} were freed{first}; pass retain_graph=True there to go through it again{here()}"
    )


# Checksums of residuals, under debug()


@contextmanager
def debug() -> Iterator[None]:
    """Residuals of what is recorded inside are verified by checksum when a backward pass uses them.

    Finds memory shared with `asarray(copy=False)` or DLPack that was changed from outside. Costs one pass over
    every residual in the forward and one in the backward.
    """
    with record.listening(_Checksums()):
        yield


class _Checksums(record.Listener):
    def recorded(self, node: Any, out: Any, args: Any) -> None:
        node.ensure_extra().checksums = _checksums(node)


def _checksums(node: Node) -> list[tuple[str, int]]:
    found = []
    for i, x in enumerate((*node.inputs, node.out)):
        x = x._value if isinstance(x, Tensor) else x
        if isinstance(x, np.ndarray):
            name = node.op.input_name(i) if i < len(node.inputs) else "out"
            found.append((name, zlib.crc32(np.ascontiguousarray(x).tobytes())))
    return found


def _verify(node: Node) -> None:
    if node.inputs.__class__ is Freed:
        return
    for (name, before), (_, now) in zip(node.extra.checksums, _checksums(node), strict=True):  # type: ignore[union-attr]
        if before != now:
            raise GradientError(
                f"{node.op.name}: its residual {name!r} was changed from outside between forward and backward "
                f"({node}); copy the array, or do not write to shared memory while a graph is alive{here()}"
            )
