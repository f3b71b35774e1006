"""The reverse walk that all reverse-mode functions share: rules in reverse topological order, summed at merges."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from backlit.core import record
from backlit.core.errors import FreedGraphError, GraphError, RuleError, ShapeError
from backlit.core.graph import Freed, Node
from backlit.core.op import Masked, Op, Value, add_masked
from backlit.core.source import Source, here
from backlit.core.tensor import Tensor


class Joint(Op):
    """Base of ops with several outputs: one node holds the rule, a `Pick` node stands for each output."""

    notation = ""
    n_outs: int

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        raise RuleError(f"{self.name}: batched by its transform")


class Pick(Op):
    """Output number `position` of a joint node."""

    notation = ""

    def __init__(self, name: str, position: int) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.position = position

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        raise RuleError(f"{self.name}: batched by its transform")


def reachable(roots: list[Node]) -> list[Node]:
    """All nodes from which the roots were computed, in reverse topological order."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=_id, reverse=True)


def _id(node: Node) -> int:
    return node.id


def walk(order: list[Node], seeds: dict[Node, Any], who: str, arrays: bool, record_again: bool) -> dict[Node, Masked]:
    """Cotangents of the leaves, given those of the outputs in `seeds`.

    `arrays` says that the nodes keep arrays, of which the rules get tensors; these are connected to the graph when
    it is to be recorded again. Nothing is changed, so that an error leaves no half-done work.
    """
    pending: dict[Node, Any] = seeds
    leaves: dict[Node, Masked] = {}
    listeners = record.listeners
    for node in order:
        cotangent = pending.pop(node, None)
        if cotangent is None:
            continue
        op = node.op
        if node.extra is not None:
            cotangent = _completed(node, cotangent)
        for listener in listeners:
            if not isinstance(op, Joint):
                listener.completed(node, cotangent[0])
        if op is None:
            leaves[node] = cotangent
            continue
        parents, inputs, out = node.parents, node.inputs, node.out
        if op.__class__ is Pick:
            slots = pending.setdefault(parents[0], [None] * parents[0].op.n_outs)
            slots[op.position] = cotangent
            continue
        if inputs.__class__ is Freed:
            raise _freed(node, who)
        if arrays:
            if record_again:
                inputs = [Tensor(x, p) if isinstance(x, _ARRAYS) else x for x, p in zip(inputs, parents, strict=True)]
                out = Tensor(out, node) if isinstance(out, _ARRAYS) else out
            else:
                inputs = [Tensor(x) if isinstance(x, _ARRAYS) else x for x in inputs]
                out = Tensor(out) if isinstance(out, _ARRAYS) else out
        pulled = op.pull(cotangent, out, inputs, node)
        if len(pulled) != len(parents):
            raise RuleError(
                f"{op.name}: its reverse rule gave {len(pulled)} cotangents for {len(parents)} arguments "
                f"({node}){here()}"
            )
        for argnum, parent in enumerate(parents):
            if parent is None or (contribution := pulled[argnum]) is None:
                continue
            value = contribution[0]
            if value.shape != parent.shape:
                raise RuleError(
                    f"{op.name}: its reverse rule gave {value.dtype}{list(value.shape)} for "
                    f"argument {argnum}, {parent.dtype}{list(parent.shape)} ({node}){here()}"
                )
            for listener in listeners:
                listener.contribution(node, argnum, parent, value)
            present = pending.get(parent)
            pending[parent] = contribution if present is None else add_masked(present, contribution)
    return leaves


_ARRAYS = (np.ndarray, np.generic)


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
    def recorded(self, node: Any, out: Any) -> None:
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
            raise GraphError(
                f"{node.op.name}: its residual {name!r} was changed from outside between forward and backward "
                f"({node}); copy the array, or do not write to shared memory while a graph is alive{here()}"
            )
