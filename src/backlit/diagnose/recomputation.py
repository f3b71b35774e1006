"""What checkpoints compute again in the backward pass, and what memory that takes until it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.walk import Joint, Pick
from backlit.core import graph
from backlit.core.tensor import Tensor
from backlit.diagnose.flops import flops
from backlit.diagnose.recording import FREE, RECOMPUTE, SAVE, Events, Node, Recomputed


class Recomputation:
    """Writes down what the rules of checkpoints do: an event for every value that is computed again, and what of it is kept.

    `is_held` tells whether the owner of some memory is kept already, or is a parameter's.
    """

    def __init__(self, events: Events, is_held: Callable[[Any], bool]) -> None:
        self.events, self.is_held = events, is_held
        self.done: list[Recomputed] = []
        self.under_way: list[tuple[Recomputed | None, dict[int, Any]]] = []  # one in another, with the memory of each

    def begin(self, node: Node | None) -> None:
        """The rule of a checkpoint begins; None for one that is itself computed again."""
        found = None
        if node is not None:
            found = Recomputed(node, len(self.events))
            self.done.append(found)
        elif self.under_way:
            found = self.under_way[-1][0]
        self.under_way.append((found, {}))

    def end(self) -> None:
        """It has ended: what it computed again is gone."""
        found, memory = self.under_way.pop()
        if found is not None and memory:
            self.events.add(FREE, found.node, None, sum(owner.nbytes for owner in memory.values()))
        if found is not None and not any(found is outer for outer, _ in self.under_way):
            found.to_event = len(self.events) - 1

    def applied(self, op: Any, args: Sequence[Any], params: dict[str, Any], outs: Sequence[Any], ns: int) -> None:
        """An op was applied again."""
        found = self.under_way[-1][0] if self.under_way else None
        if found is not None:
            n_bytes = sum(0 if (array := _array(x)) is None else array.nbytes for x in outs)
            found.count += 1
            found.n_bytes += n_bytes
            found.ns += ns
            done = flops(op, args, outs[0] if outs else None, params)
            found.flops += done or 0
            found.uncounted += done is None
            self.events.add(RECOMPUTE, found.node, None, n_bytes, ns)

    def recorded(self, node: graph.Node) -> None:
        """A rule will read what it keeps of a value that was computed again."""
        found, memory = self.under_way[-1]
        if found is None:
            return
        for x in _kept(node):
            array = _array(x)
            if array is None:
                continue
            owner = array
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            if any(id(owner) in known for _, known in self.under_way) or self.is_held(owner):
                continue
            memory[id(owner)] = owner
            found.kept += owner.nbytes
            self.events.add(SAVE, found.node, None, owner.nbytes)


def _kept(node: graph.Node) -> list[Any]:
    """What a node of the graph keeps for its rule."""
    op = node.plan.op
    if isinstance(op, Pick):
        node, op = node.up, node.up.op
    if isinstance(op, Joint):
        return op.kept()
    kept = [node.inputs[i] for i in node.plan.kept]
    return kept if node.plan.unread_out is not None else [*kept, node.out]


def _array(x: Any) -> Any:
    """The contents of a value at any level; None where it has no single one."""
    while isinstance(x, Tensor):
        value = x._value
        if isinstance(value, np.ndarray):
            return value
        x = getattr(value, "primal", None) if getattr(getattr(value, "trace", None), "one_value", False) else None
    return x if isinstance(x, np.ndarray) else None
