"""Summary: records many steps, of which only statistics stay."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from backlit.autodiff.walk import Pick
from backlit.core import graph
from backlit.core.tensor import Box
from backlit.diagnose.capture import Capture, array_of
from backlit.diagnose.recording import COMPLETED, FORWARD, SEED, UPDATE, VJP, Node, Recording, Update
from backlit.diagnose.statistics import Statistics, compared, late, memory_key

_NONE: list[Any] = []  # the contributions to every node: none is written down


class Summary(Capture):
    """Keeps statistics instead of arrays, and only those of parameters and of what calls return.

    They are taken while the arrays are still in the cache of the processor. Contributions, and what is kept for reverse
    rules, are not written down.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self.fresh: tuple[Node, Any] | None = None  # the op recorded last, with its value
        self.last: Any = None  # the array measured last, kept alive so that its address is not given out again
        self.key: Any = None
        self.found: Any = None
        self.updates: dict[int, tuple[Any, Statistics]] = {}  # the values written last, kept alive, by address

    def _measured(self, array: Any) -> Statistics:
        if array is not self.last:
            key = memory_key(array)
            if key != self.key:
                self.key, self.found = key, late(array)
            self.last = array
        found: Statistics = self.found
        return found

    def left(self) -> None:
        self._take_fresh()
        super().left()

    def _take_fresh(self) -> None:
        if self.fresh is not None:
            node, value = self.fresh
            node.statistics = {"value": self._measured(value)}
            self.fresh = None

    def recorded(self, node: Any, out: Any, args: Sequence[Any]) -> None:
        value, plan, step = out._value, node.plan, self.step
        if step is None or self.closed or self.walks or value.__class__ is Box or plan.op.__class__ is Pick:
            super().recorded(node, out, args)
            return
        # the same in few steps: what is recorded most
        nodes, given = self.nodes, self._args(args, node)
        made = Node(
            len(nodes), "op", plan.op, node.params, given, plan.wanted, None, self.calls.current, step.index, node.where,
            contributions=_NONE,
        )  # fmt: skip
        made.shape, made.dtype = value.shape, value.dtype
        self.of_graph[node.id] = made
        nodes.append(made)
        self.fresh = made, value
        made.forward_event = self.events.add(FORWARD, made, None, value.nbytes, self.ns)
        self.ns = 0

    def _recorded(
        self, node: graph.Node, plan: Any, params: dict[str, Any], args: Sequence[Any], value: Any, ns: int
    ) -> Node:
        made = self._node("op", plan.op, params, self._args(args, node), plan.wanted, value, node)
        if value is not None:
            self.fresh = made, value
            made.value = None
            del self.of_array[id(value)]
        made.forward_event = self.events.add(FORWARD, made, None, 0 if value is None else value.nbytes, ns)
        return made

    def _node(self, kind: Any, *rest: Any) -> Node:
        made = super()._node(kind, *rest)
        if kind == "parameter":
            known = self.updates.get(id(made.value))
            found = known[1] if known is not None else self._measured(made.value)
            made.statistics = {"value": found}
        return made

    def began(self, seeds: dict[Any, Any]) -> None:
        self.walks.append(any(source.id in self.of_graph for source in seeds))
        self._take_fresh()
        for source in seeds:
            node = self.of_graph.get(source.id)
            if node is not None:
                self.events.add(SEED, node)
                step = self.recording.steps[node.step]
                step.root = node
                known = (node.statistics or {}).get("value")
                step.loss = known.mean if known is not None and known.n == 1 else None

    def pulling(self, node: Any) -> None:
        made = self.of_graph.get(node.id)
        if made is not None:
            self._end_rule()
            self.pulled = made.vjp_event = self.events.add(VJP, made)
            self.began_ns = perf_counter_ns()

    def _end_rule(self) -> None:
        if self.pulled >= 0:
            self.events.took(self.pulled, perf_counter_ns() - self.began_ns)
            self.pulled = -1

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        if child.id in self.of_graph:
            self._end_rule()

    def recomputing(self, node: Any) -> None:
        pass

    def reapplied(self, op: Any, args: Sequence[Any], params: dict[str, Any], outs: Sequence[Any], ns: int) -> None:
        pass

    def stepping(self, optimizer: Any) -> None:
        pass

    def unrecorded(self, op: Any, out: Any, args: Sequence[Any], params: dict[str, Any]) -> None:
        pass

    def recomputed(self, node: Any) -> None:
        pass

    def completed(self, node: Any, cotangent: Any) -> None:
        made = self.of_graph.get(node.id)
        if made is None:
            return
        made.completed_event = self.events.add(COMPLETED, made)
        if made.statistics is not None and (value := array_of(cotangent)) is not None:
            made.statistics["cotangent"] = self._measured(value)
            if made.kind == "parameter":
                made.cotangent = value  # which the parameter keeps as well, for now

    def freed(self, nodes: Sequence[Any]) -> None:
        pass

    def updated(self, cell: Any, before: Any, gradient: Any) -> None:
        node = self.of_graph.get(cell.node.id) if isinstance(cell.node, graph.Node) else None
        if node is None or self.step is None or node.statistics is None:
            return
        known, used = node.statistics, array_of(gradient)
        slope = known["cotangent"] if used is node.cotangent and used is not None else late(used)
        old, new = array_of(before), array_of(cell)
        found, change = compared(new, old)
        self.updates.pop(id(old), None)
        self.updates[id(new)] = new, found
        done = self.events.add(UPDATE, node)
        self.step.updates.append(Update(node, None, None, None, done, (known["value"], slope, change)))
        self.closed = True

    def _close(self) -> None:
        if self.step is not None:
            for node in self.nodes[self.step.start_node :]:
                node.value = node.cotangent = None
        super()._close()
        self.of_array.clear()
        self.cells.clear()
