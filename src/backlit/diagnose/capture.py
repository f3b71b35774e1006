"""Capture: writes what it hears of a run into a recording, with every array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from backlit.autodiff.walk import Joint, Pick
from backlit.core import graph
from backlit.core.op import NUMBERS
from backlit.core.record import Listener
from backlit.core.tensor import Box, Tensor
from backlit.diagnose.calls import Calls
from backlit.diagnose.recomputation import Recomputation
from backlit.diagnose.recording import (
    COMPLETED,
    CONTRIBUTION,
    FORWARD,
    FREE,
    SAVE,
    SEED,
    UPDATE,
    VJP,
    Aside,
    Contribution,
    Kind,
    Node,
    Recording,
    Saved,
    Step,
    Update,
)


class Capture(Listener):
    """Writes what it hears into a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.nodes, self.events = recording.nodes, recording.events
        self.calls = Calls(recording.modules)
        self.of_graph: dict[int, Node] = {}  # by id of the graph's node, which is never given twice
        self.of_array: dict[int, Node] = {}  # by address of an array that a node keeps alive
        self.asides: dict[int, Aside] = {}  # by address of their values, which they keep alive
        self.cells: dict[Node, Tensor] = {}  # of values that no op made
        self.keeping = _Keeping(self)
        self.again = Recomputation(self.events, self.keeping.is_held)
        self.optimizers: list[Any] = []  # that stepped
        self.places: dict[int, tuple[Any, int, Any]] = {}  # by id of a parameter: its optimizer, position and group
        self.step: Step | None = None
        self.closed = False  # a backward pass or an update has ended: a new forward pass is another step
        self.walks: list[bool] = []  # that are under way, and whether each is through nodes that are recorded
        self.ns = 0
        self.pulled = -1  # the event of the rule that runs now
        self.began_ns = 0
        self.products: tuple[Any, list[int]] = None, []  # an op whose rule runs, and what it took each time there

    # Forward

    def entered(self, owner: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.closed and not any(self.walks):
            self._continued((*args, *kwargs.values()))
        self.calls.enter(owner, function, args, kwargs)

    def left(self) -> None:
        self.calls.leave()

    def interpreted(self, compiled: Any) -> None:
        name = getattr(compiled, "__name__", "the function")
        self.recording.note = (
            f"The compiled function {name} ran as the plain function it was made of: what is shown is eager. "
            f"{name}.record(...) records one call and says how far the results of its program differ."
        )

    def computed(self, op: Any, ns: int) -> None:
        self.ns = ns
        self.computed_aside(op, ns)

    def computed_aside(self, op: Any, ns: int) -> None:
        if op is self.products[0]:
            self.products[1].append(ns)

    def recorded(self, node: Any, out: Any, args: Sequence[Any]) -> None:
        ns, self.ns = self.ns, 0
        if any(self.walks) and isinstance(out._value, Box):
            if self.again.under_way:
                self.again.recorded(node)
            return  # inside a rule that differentiates a function of its own
        value = array_of(out)
        if value is None:
            return  # stands for many values at once, or is differentiated at a lower level where it is heard as well
        if self.closed and not any(self.walks):
            self._continued(args)
        plan, params = node.plan, node.params
        if plan.op.__class__ is Pick:
            joint = node.up
            if joint.op.n_outs == 1:
                plan, params = joint.plan, joint.params
            else:
                args = (self._joint(joint, args),)
        made = self._recorded(node, plan, params, args, value, ns)
        if plan is not node.plan:
            self.of_graph[node.up.id] = made

    def unrecorded(self, op: Any, out: Any, args: Sequence[Any], params: dict[str, Any]) -> None:
        if self.closed or self.walks or self.step is None:
            return
        given = [self._known(a) if isinstance(a, Tensor) else a for a in args]
        if any(a.__class__ is Node or a.__class__ is Aside for a in given):
            made = Aside(op, params, tuple(given), out._value, len(self.nodes), len(self.asides))
            self.asides[id(out._value)] = made

    def _known(self, x: Tensor) -> Any:
        """The op or aside that gave the contents of a tensor, else the contents."""
        value = x._value
        aside = self.asides.get(id(value))
        if aside is not None and aside.value is value:
            return aside
        node = self.of_array.get(id(value))
        return node if node is not None and node.value is value and self._is_own(node) else value

    def _is_own(self, node: Node) -> bool:
        """Whether a node is of the current step and was computed in it."""
        return node.kind == "op" and self.step is not None and node.step == self.step.index

    def _recorded(
        self, node: graph.Node, plan: Any, params: dict[str, Any], args: Sequence[Any], value: Any, ns: int
    ) -> Node:
        made = self._node("op", plan.op, params, self._args(args, node), plan.wanted, value, node)
        made.forward_event = self.events.add(FORWARD, made, None, 0 if value is None else value.nbytes, ns)
        self.keeping.recorded(node.up if plan is not node.plan else node, plan, made, args, value)
        return made

    def _joint(self, joint: graph.Node, args: Sequence[Any]) -> Node:
        """The node of an op with several results."""
        found = self.of_graph.get(joint.id)
        if found is None:
            found = self._recorded(joint, joint.plan, joint.params, args, None, 0)
        return found

    def _args(self, args: Sequence[Any], by: graph.Node) -> tuple[Any, ...]:
        return tuple(
            [a if a.__class__ in NUMBERS or a.__class__ is Node else self._arg(a, by, k) for k, a in enumerate(args)]
        )

    def _arg(self, x: Any, by: graph.Node, position: int) -> Any:
        if not isinstance(x, Tensor):
            return x
        node = x.node
        if node.__class__ is graph.Node and x._value.__class__ is not Box:  # what is met most, in few steps
            found = self.of_graph.get(node.id)
            if found is not None and found.kind == "op":
                found.uses += 1
                return found
        source, value, step = source_of(x), array_of(x), self._open()
        found = self.of_array.get(id(value)) if source is None else self.of_graph.get(source.id)
        if found is not None and (found.kind == "op" and source is not None or self._is_current(found, value, step)):
            found.uses += 1
            return found
        name, is_given = self.calls.name_of(x, value, (by.where, by.op, position))
        leaf = source is not None and source.plan is None
        kind: Kind = "parameter" if leaf else "input" if is_given or source is not None else "constant"
        made = self._node(kind, None, {}, (), (), value, source)
        made.name = name
        made.uses = 1
        aside = self.asides.get(id(value))
        if aside is not None and aside.value is value and source is None:
            made.aside = aside
        self.cells[made] = x
        return made

    def _is_current(self, node: Node, value: Any, step: Step) -> bool:
        """Whether a node stands for this value in this step: each step has its own of what was made before it."""
        return node.value is value and node.step == step.index

    def _node(
        self, kind: Kind, op: Any, params: dict[str, Any], args: tuple[Any, ...], wanted: tuple[bool, ...], value: Any,
        source: graph.Node | None,
    ) -> Node:  # fmt: skip
        step = self._open()
        where = source.where if source is not None else None
        made = Node(len(self.nodes), kind, op, params, args, wanted, value, self.calls.current, step.index, where)
        if value is not None:
            made.shape, made.dtype = value.shape, value.dtype
            self.of_array[id(value)] = made
        if source is not None:
            self.of_graph[source.id] = made
        self.nodes.append(made)
        return made

    # Steps

    def _open(self) -> Step:
        if self.step is None:
            index = len(self.recording.steps)
            self.step = Step(index, index, len(self.nodes), len(self.events))
            self.recording.steps.append(self.step)
            self.calls.begin_step(index)
        return self.step

    def _continued(self, args: Sequence[Any]) -> None:
        """After a backward pass: another step, unless the arguments were made in this one."""
        self.closed = False
        assert self.step is not None
        for x in args:
            if isinstance(x, Tensor) and (source := source_of(x)) is not None and source.plan is not None:
                found = self.of_graph.get(source.id)
                if found is not None and found.step == self.step.index:
                    return
        self._close()
        self._open()

    def next_step(self) -> None:
        """What is recorded from now on is another step."""
        self._close()
        self.closed = False

    def _close(self) -> None:
        if self.step is not None:
            self.step.stop_node, self.step.stop_event = len(self.nodes), len(self.events)
            self.step = None
        self.asides.clear()

    # Backward

    def began(self, seeds: dict[Any, Any]) -> None:
        self.walks.append(any(source.id in self.of_graph for source in seeds))
        for source, (cotangent, _) in seeds.items():
            node, value = self.of_graph.get(source.id), array_of(cotangent)
            if node is None or value is None or value.shape != node.shape:
                continue
            self._again(node)
            node.seed = value
            self.events.add(SEED, node, None, value.nbytes)
            step = self.recording.steps[node.step]
            step.root = node
            if node.value is not None and node.value.size == 1:
                step.loss = float(node.value.reshape(-1)[0])

    def _again(self, node: Node) -> None:
        """A second backward pass through a node replaces what the first one left."""
        if node.completed_event is not None:
            node.contributions, node.cotangent, node.seed = [], None, None
            node.completed_event = node.vjp_event = None

    def pulling(self, node: Any) -> None:
        made = self.of_graph.get(node.id)
        if made is not None:
            self.pulled = made.vjp_event = self.events.add(VJP, made)
            self.products = made.op, []
            self.began_ns = perf_counter_ns()

    def recomputing(self, node: Any) -> None:
        self.again.begin(self.of_graph.get(node.id))

    def reapplied(self, op: Any, args: Sequence[Any], params: dict[str, Any], outs: Sequence[Any], ns: int) -> None:
        self.again.applied(op, args, params, outs, ns)

    def recomputed(self, node: Any) -> None:
        self.again.end()

    def contribution(self, child: Any, argnum: int, parent: Any, cotangent: Any) -> None:
        giver, taker = self.of_graph.get(child.id), self.of_graph.get(parent.id)
        if giver is None:
            return  # in the walk of a rule that differentiates a function of its own
        if self.pulled >= 0:
            self.events.took(self.pulled, perf_counter_ns() - self.began_ns)
            self.pulled = -1
            self.products = None, self.products[1]
        value = array_of(cotangent)
        if taker is None or value is None or value.shape != taker.shape:
            return
        self._again(taker)
        found = Contribution(giver, argnum, value, len(self.events), ns=self._product(giver, argnum))
        taker.contributions.append(found)
        self.events.add(CONTRIBUTION, taker, found, value.nbytes)

    def _product(self, giver: Node, argnum: int) -> int:
        """How long the product took that a rule passes to `argnum`; 0 where the rule is not one product for each argument."""
        took = self.products[1]
        many = len(giver.args) > 1 and len(took) == sum(giver.wanted)
        return took[sum(giver.wanted[:argnum])] if many else 0

    def completed(self, node: Any, cotangent: Any) -> None:
        made, value = self.of_graph.get(node.id), array_of(cotangent)
        if made is None or value is None or value.shape != made.shape:
            return  # or one for each of many examples
        made.cotangent = value
        made.completed_event = self.events.add(COMPLETED, made, None, value.nbytes)

    def walked(self) -> None:
        known = self.walks.pop()
        if known:
            self.pulled = -1
        if known and not any(self.walks) and self.step is not None:
            self.closed = True

    def freed(self, nodes: Sequence[Any]) -> None:
        for node in nodes:
            self.keeping.freed(node)

    def stepping(self, optimizer: Any) -> None:
        if not any(known is optimizer for known in self.optimizers):
            self.optimizers.append(optimizer)
        for index, cell, group in optimizer._places():
            self.places[id(cell)] = optimizer, index, group

    def updated(self, cell: Any, before: Any, gradient: Any) -> None:
        node = self.of_graph.get(cell.node.id) if isinstance(cell.node, graph.Node) else None
        step = self.step
        old, new, used = array_of(before), array_of(cell), array_of(gradient)
        if node is None or step is None or old is None or new is None or used is None:
            return
        settings, state = self._ruled(cell)
        step.updates.append(Update(node, old, new, used, len(self.events), None, settings, state))
        self.events.add(UPDATE, node, None, new.nbytes)
        self.closed = True

    def _ruled(self, cell: Any) -> tuple[dict[str, float], dict[str, Any]]:
        """The settings that an optimizer has for a parameter, and what it keeps of it."""
        known = self.places.get(id(cell))
        if known is None:
            return {}, {}
        optimizer, index, group = known
        settings: dict[str, float] = {}
        for name, value in group.items():
            if type(value) in (int, float):
                settings[name] = float(value)
            elif name == "betas":
                settings.update({f"betas[{i}]": float(beta) for i, beta in enumerate(value)})
        state = {name: array_of(x) for name, x in optimizer.state.get(index, {}).items()}
        return settings, {name: array for name, array in state.items() if array is not None}

    def finish(self) -> None:
        """Names everything; after it the recording is complete."""
        self._close()
        self.calls.finish()
        self.recording.recomputed += self.again.done
        by_name = self.recording._by_name
        taken: dict[tuple[int, str], int] = {}
        for node in self.nodes:
            base = self.calls.named(node)
            key = (node.step, base)
            k = taken.get(key, 0)
            taken[key] = k + 1
            node.name = f"{base}#{k}" if node.kind == "op" or k or not node.name else base
            by_name[node.step, node.name] = node


class _Keeping:
    """Which values the graph keeps for reverse rules, and what memory that costs."""

    def __init__(self, capture: Capture) -> None:
        self.events, self.of_array = capture.events, capture.of_array
        self.of_owner: dict[int, _Memory] = {}  # by address of the array that owns the memory
        self.held: dict[int, list[tuple[Node, _Memory]]] = {}  # by id of the graph's node
        self.count: dict[Node, int] = {}
        self.plans: dict[Any, list[tuple[int, list[int]]]] = {}

    def recorded(self, source: graph.Node, plan: Any, made: Node, args: Sequence[Any], out: Any) -> None:
        """The values that the rules of `source` read are kept from now on."""
        readers = self.plans.get(plan)
        if readers is None:
            readers = self.plans[plan] = _readers(plan)
        held = []
        for position, argnums in readers:
            value = made if position < 0 else made.args[position]
            if value.__class__ is Node:
                array = out if position < 0 else array_of(args[position])
                held.append((value, self._keep(value, array, made, argnums)))
        if held:
            self.held[source.id] = held

    def _keep(self, node: Node, array: Any, reader: Node, argnums: list[int]) -> _Memory:
        owner = _owner(array)
        memory = self.of_owner.get(id(owner))
        if memory is None or memory.owner is not owner:
            memory = self.of_owner[id(owner)] = _Memory(owner)
        count = self.count.get(node, 0)
        if not count:
            pays = not memory.holders and not self._is_parameter(owner, node)
            if not memory.holders:
                memory.payer = node
            node.saved = Saved(len(self.events), owner.nbytes if pays else 0)
            self.events.add(SAVE, node, None, node.saved.bytes)
        self.count[node] = count + 1
        memory.holders += 1
        assert node.saved is not None
        node.saved.readers.extend([(reader, argnum) for argnum in argnums])
        return memory

    def is_held(self, owner: Any) -> bool:
        """Whether memory is kept already, or is a parameter's."""
        memory, node = self.of_owner.get(id(owner)), self.of_array.get(id(owner))
        kept = memory is not None and memory.owner is owner and memory.holders > 0
        return kept or (node is not None and node.kind == "parameter" and node.value is owner)

    def _is_parameter(self, owner: Any, node: Node) -> bool:
        found = self.of_array.get(id(owner))
        return node.kind == "parameter" or (found is not None and found.kind == "parameter" and found.value is owner)

    def freed(self, source: graph.Node) -> None:
        """What `source` kept is no longer needed by it."""
        for node, memory in self.held.pop(source.id, ()):
            memory.holders -= 1
            self.count[node] -= 1
            if not self.count[node] and node is not memory.payer:
                self._end(node)
            if not memory.holders and memory.payer is not None:
                self._end(memory.payer)

    def _end(self, node: Node) -> None:
        assert node.saved is not None
        node.saved.to_event = len(self.events)
        self.events.add(FREE, node, None, node.saved.bytes)


class _Memory:
    """Memory that is kept `holders` times, once for each node that reads it, and the value that pays for it."""

    __slots__ = ("holders", "owner", "payer")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.holders = 0
        self.payer: Node | None = None


def _readers(plan: Any) -> list[tuple[int, list[int]]]:
    """For each position of a kept input, and -1 for the output, the arguments whose rules read it."""
    op = plan.op
    everything = isinstance(op, Joint)
    found = []
    for position in range(-1, len(plan.wanted)):
        if position < 0:
            kept, name = plan.unread_out is None and not everything, "out"
        else:
            kept, name = everything or position in plan.kept, op.input_name(position)
        if kept:
            read = {argnum: None if everything else op.reads(argnum) for argnum in plan.argnums}
            found.append((position, [a for a, names in read.items() if names is None or name in names]))
    return found


def _owner(array: Any) -> Any:
    """The array that owns the memory."""
    while isinstance(base := array.base, np.ndarray):
        array = base
    return array


def source_of(x: Tensor) -> graph.Node | None:
    """Where a tensor came from in the graph of its level."""
    value = x._value
    found = value.extra if isinstance(value, Box) else x.node
    return found if isinstance(found, graph.Node) else None


def array_of(x: Any) -> Any:
    """The contents of a tensor, of the value below where it is traced; None where that has no contents."""
    value = x._value
    if isinstance(value, Box):
        value = value.primal._value if value.trace.one_value else value
        if isinstance(value, Box):
            return None
    return value
