"""Summary: records many steps, of which only statistics stay."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from backlit.core import graph
from backlit.diagnose.capture import Capture, array_of
from backlit.diagnose.recording import COMPLETED, FORWARD, SEED, UPDATE, VJP, Event, Node, Recording, Update, moved
from backlit.diagnose.statistics import Statistics, measure, memory_key


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

    def _measured(self, array: Any) -> Statistics:
        key = memory_key(array)
        if key != self.key:
            self.last, self.key, self.found = array, key, measure(array, histogram=False)
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

    def _recorded(
        self, node: graph.Node, plan: Any, params: dict[str, Any], args: Sequence[Any], value: Any, ns: int
    ) -> Node:
        made = self._node("op", plan.op, params, self._args(args), plan.wanted, value, node)
        if value is not None:
            self.fresh = made, value
            made.value = None
            del self.of_array[id(value)]
        made.forward_event = len(self.events)
        self.events.append(Event(FORWARD, made, None, 0 if value is None else value.nbytes, ns))
        return made

    def _node(self, kind: Any, *rest: Any) -> Node:
        made = super()._node(kind, *rest)
        if kind == "parameter":
            made.statistics = {"value": self._measured(made.value)}
        return made

    def began(self, seeds: dict[Any, Any]) -> None:
        self.walks.append(any(source.id in self.of_graph for source in seeds))
        self._take_fresh()
        for source in seeds:
            node = self.of_graph.get(source.id)
            if node is not None:
                self.events.append(Event(SEED, node))
                step = self.recording.steps[node.step]
                step.root = node
                known = (node.statistics or {}).get("value")
                step.loss = known.mean if known is not None and known.n == 1 else None

    def pulling(self, node: Any) -> None:
        self._end_rule()
        made = self.of_graph.get(node.id)
        if made is not None:
            made.vjp_event = len(self.events)
            self.pulled = Event(VJP, made)
            self.events.append(self.pulled)
            self.began_ns = perf_counter_ns()

    def _end_rule(self) -> None:
        if self.pulled is not None:
            self.pulled.ns = perf_counter_ns() - self.began_ns
            self.pulled = None

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        self._end_rule()

    def completed(self, node: Any, cotangent: Any) -> None:
        made = self.of_graph.get(node.id)
        if made is None:
            return
        made.completed_event = len(self.events)
        self.events.append(Event(COMPLETED, made))
        if made.statistics is not None and (value := array_of(cotangent)) is not None:
            made.statistics["cotangent"] = self._measured(value)

    def freed(self, nodes: Sequence[Any]) -> None:
        pass

    def updated(self, cell: Any, before: Any, gradient: Any) -> None:
        node = self.of_graph.get(cell.node.id) if isinstance(cell.node, graph.Node) else None
        if node is None or self.step is None or node.statistics is None:
            return
        known = node.statistics
        norms = moved(array_of(before), array_of(cell), array_of(gradient), known["value"], known.get("cotangent"))
        self.step.updates.append(Update(node, None, None, None, len(self.events), norms))
        self.events.append(Event(UPDATE, node))
        self.closed = True

    def _close(self) -> None:
        if self.step is not None:
            for node in self.nodes[self.step.start_node :]:
                node.value = None
        super()._close()
        self.of_array.clear()
