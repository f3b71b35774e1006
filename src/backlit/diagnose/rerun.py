"""The forward pass of a recorded step run again by the engine: its ops are applied once more, recorded or not, to tensors
that stand for its parameters, inputs and constants. Nothing of the user's program is run but functions with a rule of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backlit.autodiff.checkpoint import Segment, SegmentJoint
from backlit.autodiff.custom import CustomJoint
from backlit.autodiff.walk import Joint, Pick
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError
from backlit.core.op import bind
from backlit.core.tensor import Tensor, as_tensor, no_grad
from backlit.diagnose.recording import SEED, Aside, Node, Recording, Step
from backlit.diagnose.replay import raised

Item = Node | Aside  # one application of an op
Values = dict[Item, Any]  # of an item its tensor, of a node with several results the list of them


class Rerun:
    """The program of one step: `items` in the order of the run, and what they take from outside.

    `replaced` has arrays that are put in the place of those of parameters. Checkpoints are computed op by op unless
    `checkpoints`; with `wide` all is computed in double precision.

    Raises:
      ArgumentError: the step has no backward pass, or more than one, or part of it lies outside of the recording.
    """

    def __init__(
        self, recording: Recording, step: Step, who: str, *, checkpoints: bool = False, wide: bool = False
    ) -> None:
        self.who, self.step, self.checkpoints, self.wide = who, step, checkpoints, wide
        self.replaced: Mapping[Node, Any] = {}
        nodes = recording.nodes[step.start_node : step.stop_node]
        roots = [e.node for e in recording.events[step.start_event : step.stop_event] if e.kind is SEED]
        if len(roots) != 1 or roots[0].seed is None:
            how = "more than one backward pass" if roots else "no backward pass"
            raise ArgumentError(f"{who}: step {step.index} has {how}; it can be repeated where there is one")
        self.root = roots[0]
        self.ops = [n for n in nodes if n.kind == "op" and n.index <= self.root.index]
        inner = self._of_forwards()
        self.ops = [n for n in self.ops if n not in inner]
        self.items = self._with_asides()
        self.wanted = {a for n in self.ops for a, w in zip(n.args, n.wanted, strict=True) if w}
        for a in self.wanted:
            if a.kind not in ("op", "parameter"):
                raise ArgumentError(f"{who}: {a.name!r} was computed before the recording began")
        self._leaves: dict[Node, Tensor] = {}

    def _of_forwards(self) -> set[Node]:
        """The ops that functions with a rule of their own applied in their forward: they are applied there again."""
        reached: set[Item] = set()
        waiting: list[Item] = [self.root]
        while waiting:
            item = waiting.pop()
            if item not in reached:
                reached.add(item)
                waiting += [a for a in self.reads(item) if isinstance(a, (Node, Aside))]
        inner: set[Node] = set()
        for place, node in enumerate(self.ops):
            if isinstance(node.op, CustomJoint):  # they stand right before it, and nothing else needs them
                while place and self.ops[place - 1] not in reached:
                    place -= 1
                    inner.add(self.ops[place])
        return inner

    def _with_asides(self) -> list[Item]:
        """The ops with those asides between them that they depend on."""
        needed: dict[Aside, None] = {}
        waiting = [a.aside for n in self.ops for a in n.args if isinstance(a, Node) and a.aside is not None]
        while waiting:
            aside = waiting.pop()
            if aside not in needed:
                needed[aside] = None
                waiting += [a for a in aside.args if isinstance(a, Aside)]
                waiting += [a.aside for a in aside.args if isinstance(a, Node) and a.aside is not None]
        asides = sorted(needed, key=lambda a: a.number)
        items: list[Item] = []
        for node in self.ops:
            while asides and asides[0].position <= node.index:
                items.append(asides.pop(0))
            items.append(node)
        return [*items, *asides]

    def forget(self) -> None:
        """The next run has tensors of its own."""
        self._leaves.clear()

    def leaf(self, node: Node) -> Tensor:
        """The tensor that stands for what no op made."""
        found = self._leaves.get(node)
        if found is None:
            found = Tensor(self._widened(self.replaced.get(node, node.value)))
            if node in self.wanted:
                found.requires_grad_()
            self._leaves[node] = found
        return found

    def _widened(self, array: Any) -> Any:
        return raised(array) if self.wide else array

    def _params(self, item: Item) -> dict[str, Any]:
        dtype = item.params.get("dtype")
        return (
            {**item.params, "dtype": np.dtype(np.float64)}
            if self.wide and dtype is not None and is_float(dtype)
            else item.params
        )

    def reads(self, item: Item) -> list[Any]:
        """Its arguments: items, nodes that no op made, arrays and numbers."""
        return [a.aside if isinstance(a, Node) and a.aside is not None else a for a in item.args]

    def apply(self, item: Item, values: Values, leaf: Callable[[Node], Tensor]) -> None:
        """Applies an item to `values` and puts what it gives there."""
        if isinstance(item.op, Pick):
            values[item] = values[item.args[0]][item.op.position]
            return
        given = [self._given(a, values, leaf) for a in self.reads(item)]
        if isinstance(item, Aside):
            with no_grad():
                values[item] = bind(item.op, tuple(given), self._params(item))
            return
        given = [
            x.detach() if isinstance(x, Tensor) and not w and isinstance(a, Node) and a.kind == "op" else x
            for x, w, a in zip(given, item.wanted, item.args, strict=True)
        ]
        if isinstance(item.op, Joint):
            outs = self._jointly(item, given)
            values[item] = outs if item.value is None else outs[0]
        else:
            assert item.op is not None
            values[item] = bind(item.op, tuple(given), self._params(item))

    def _given(self, a: Any, values: Values, leaf: Callable[[Node], Tensor]) -> Any:
        if isinstance(a, Node):
            return values[a] if a.kind == "op" else leaf(a)
        if isinstance(a, Aside):
            return values[a]
        return Tensor(self._widened(a)) if hasattr(a, "dtype") else a

    def _jointly(self, node: Node, given: list[Any]) -> list[Any]:
        """The results of a function with one rule for all of them."""
        joint: Any = node.op
        if isinstance(joint, SegmentJoint):
            return list(Segment(joint.name, joint.f, None)(*given) if self.checkpoints else joint.f(*given))
        if isinstance(joint, CustomJoint):
            return [as_tensor(x) for x in tree.leaves(joint.owner(*tree.unflatten(joint.args, given)))]
        return list(joint.owner(*given))  # the solution of an equation; loops run as the ops of their turns

    def run(self) -> Tensor:
        """The value that the backward pass began with."""
        values: Values = {}
        for item in self.items:
            self.apply(item, values, self.leaf)
        return values[self.root]  # type: ignore[no-any-return]
