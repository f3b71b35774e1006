"""The rules of recorded nodes applied again, to other cotangents and tangents: nothing of the user's program is run.

The one exception is a function with a rule of its own, whose tangent is pushed through its forward.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from backlit.autodiff.custom import CustomJoint, custom_jvp
from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.trace import zeros
from backlit.autodiff.walk import Joint, Pick
from backlit.core import graph, tree
from backlit.core.dtypes import is_float, wide_dtype
from backlit.core.errors import ArgumentError, BacklitError
from backlit.core.op import NUMBERS, Masked, add_masked, record_node
from backlit.core.tensor import Box, Tensor, no_grad
from backlit.diagnose.recording import Node, Recording

Array = np.ndarray[Any, Any]
Change = Callable[[Array], Array]


def can_run(node: Node) -> bool:
    """Whether the rules of a node can be applied again: it has its op with all parameters, and the values were kept."""
    if node.op is None or node.params is None:
        return False
    return all(a.value is not None or is_joint(a) for a in (node, *node.args) if isinstance(a, Node))


def check_runs(recording: Recording, who: str) -> None:
    """Raises when the rules of a recording cannot be applied again.

    Raises:
      ArgumentError: it was read from a file, or has statistics in the place of arrays.
    """
    if recording.packed is not None:
        raise ArgumentError(f"{who}: a recording that was read from a file can be looked at, not be run again")
    if any(n.statistics is not None for n in recording.nodes):
        raise ArgumentError(f"{who}: the recording holds statistics, not arrays; record without statistics=True")


def place_of(element: int | tuple[int, ...], shape: tuple[int, ...], who: str, what: str = "an array") -> int:
    """The place in the flattened array of an element: that place itself, or an index for each axis; none counts from the end.

    Raises:
      ArgumentError: there is no such element.
    """
    with suppress(ValueError, IndexError, TypeError):
        if not isinstance(element, (int, np.integer)):
            return int(np.ravel_multi_index(element, shape))
        if 0 <= element < math.prod(shape):
            return int(element)
    raise ArgumentError(f"{who}: {element} is no element of {what} {list(shape)}")


def is_joint(node: Node) -> bool:
    """Whether the node is a function with a rule of its own, or a loop: one rule for several results."""
    return isinstance(node.op, Joint)


def results_of(recording: Recording) -> dict[Node, list[Node]]:
    """For each node with several results the nodes that stand for them."""
    found: dict[Node, list[Node]] = {}
    for node in recording.nodes:
        if isinstance(node.op, Pick):
            found.setdefault(node.args[0], []).append(node)
    return found


class Replay:
    """Applies the reverse and the forward-mode rules of recorded nodes. A call costs one rule."""

    def __init__(self) -> None:
        self._made: dict[Node, graph.Node] = {}

    def graph_node(self, node: Node) -> graph.Node:
        """A node of a graph that is like the recorded one was."""
        found = self._made.get(node)
        if found is None:
            # parents stand alone: of them a rule sees shape, dtype and whether they are leaves
            ups = [_blank(a) for a, w in zip(node.args, node.wanted, strict=True) if w]
            raw = [a.value if isinstance(a, Node) else a for a in node.args]
            wanted = sum(1 << i for i, w in enumerate(node.wanted) if w)
            if node.value is None:  # of several results, each with a node of its own
                plan = node.op.make_plan(wanted, len(raw))  # type: ignore[union-attr]
                found = graph.Node(plan, ups[0] if len(ups) == 1 else tuple(ups), (), None, {}, (), None, None)
            else:
                found = record_node(node.op, wanted, ups, raw, node.value, node.params)  # type: ignore[arg-type]
            self._made[node] = found
        return found

    def pull(
        self, node: Node, cotangents: Sequence[Masked | None], change: Change | None = None, keep_out: bool = False
    ) -> dict[int, Masked]:
        """What the reverse rule makes of the cotangent of each result: a masked contribution by argument.

        With `change` the rule reads changed inputs and, unless `keep_out`, a changed output.
        """
        inner = self.graph_node(node)
        with no_grad():
            if is_joint(node):
                joint = _changed(inner.op, change) if change else inner.op
                pulled = joint.pull(list(cotangents), None, (), inner)
                found = [pulled[i] for i in inner.plan.argnums]
            else:
                assert cotangents[0] is not None
                altered = _same if change is None else _on_floats(change)
                kept = set(inner.plan.kept)
                inputs = [
                    Tensor(altered(x)) if i in kept and x.__class__ not in NUMBERS else x
                    for i, x in enumerate(inner.inputs)
                ]
                out = inner.out
                if inner.plan.unread_out is None:
                    out = Tensor(out if keep_out else altered(out))
                found = list(node.op.contributions(cotangents[0], out, inputs, inner))  # type: ignore[union-attr]
        return {i: pair for i, pair in zip(inner.plan.argnums, found, strict=True) if pair is not None}

    def push(
        self, node: Node, tangents: Sequence[Masked | None], wide: bool = False, traced: bool = False
    ) -> list[Masked | None]:
        """The tangent of each result, of tangents of the arguments (None where zero).

        With `wide` it is computed in double precision. `traced` takes the tangent of a function with its own forward-mode
        rule through its forward as well.

        Raises:
          BacklitError: a function with a reverse rule alone does what forward mode does not go through.
        """
        with no_grad():
            if is_joint(node):
                return _pushed_joint(node.op, tangents, traced)
            if all(t is None for t in tangents):
                return [None]
            change = raised if wide else _same
            inputs = [Tensor(change(a.value)) if isinstance(a, Node) else a for a in node.args]
            out = Tensor(change(node.value))
            return [node.op.push(tuple(tangents), out, inputs, node.params)]  # type: ignore[union-attr]


def backward(
    recording: Recording, seeds: dict[Node, Masked], replay: Replay | None = None, results: Any = None
) -> dict[Node, Masked]:
    """Cotangents of all nodes that `seeds` reach, as if the backward pass had begun at them.

    Costs one reverse rule for every node that is reached.
    """
    replay, results = replay or Replay(), results_of(recording) if results is None else results
    found: dict[Node, Masked] = dict(seeds)
    if not found:
        return found
    for node in reversed(recording.nodes[: max(n.index for n in found) + 1]):
        if node.op is None or isinstance(node.op, Pick):
            continue
        outs = results.get(node)
        cotangents = [found.get(out) for out in outs] if outs else [found.get(node)]
        if all(c is None for c in cotangents):
            continue
        if outs:  # in the order of the results, of which some may have no node
            placed: list[Masked | None] = [None] * node.op.n_outs  # type: ignore[attr-defined]
            for out, cotangent in zip(outs, cotangents, strict=True):
                placed[out.op.position] = cotangent
            cotangents = placed
        for argnum, contribution in replay.pull(node, cotangents).items():
            parent = node.args[argnum]
            with no_grad():
                found[parent] = add_masked(found.get(parent), contribution)  # type: ignore[assignment]
    return found


class _Leafless:
    """The plan of a node that is no leaf."""

    op = None


def _blank(argument: Node) -> graph.Node:
    plan: Any = _Leafless if argument.op is not None else None
    return graph.Node(plan, (), (), None, {}, argument.shape, argument.dtype, None)


def _same(x: Any) -> Any:
    return x


def raised(x: Any) -> Any:
    """Floats in double precision; what is no float as it is."""
    return x.astype(wide_dtype(x.dtype)) if is_float(x.dtype) and x.dtype != np.longdouble else x


def _on_floats(change: Change) -> Change:
    return lambda x: change(x) if is_float(x.dtype) else x


def _changed(joint: Any, change: Change) -> Any:
    """The joint with changed residuals; one that keeps none that are known stays as it is."""
    if not hasattr(joint, "residuals"):
        return joint
    made = copy.copy(joint)
    made.plans = {}  # the copy's own: a plan knows its op
    made.residuals = tree.map(
        lambda x: Tensor(change(np.asarray(x._value))) if isinstance(x, Tensor) and is_float(x.dtype) else x,
        joint.residuals,
    )
    return made


def _pushed_joint(joint: Any, tangents: Sequence[Masked | None], traced: bool) -> list[Masked | None]:
    if hasattr(joint, "call"):  # of control flow
        outs, pushed = joint.call.push([Tensor(x._value) for x in joint.operands], list(tangents))
        return list(pushed[: len(outs)])
    lowered = [Tensor(x._value) if isinstance(x, Tensor) else x for x in joint.lowered]
    if not isinstance(joint, CustomJoint):  # a checkpoint, or the solution of an equation: a function of tensors
        function = joint.f if hasattr(joint, "f") else joint.owner
        return _pushed_through(lambda *given: function(*given)[: joint.n_outs], joint, lowered, tangents)
    if isinstance(joint.owner, custom_jvp) and not traced:
        filled = [
            zeros(x.shape, x.dtype) if t is None and isinstance(x, Tensor) else None if t is None else t[0]
            for x, t in zip(lowered, tangents, strict=True)
        ]
        _, out = joint.owner.rule(tree.unflatten(joint.args, lowered), tree.unflatten(joint.args, filled))
        return [(t, None) for t in tree.leaves(out)]
    return _pushed_through(
        lambda *given: tree.leaves(joint.owner.f(*tree.unflatten(joint.args, given))), joint, lowered, tangents
    )


def _pushed_through(
    function: Callable[..., list[Any]], joint: Any, lowered: Sequence[Any], tangents: Sequence[Masked | None]
) -> list[Masked | None]:
    with JvpTrace("replay") as trace:
        given = [x if t is None else Tensor(Box(trace, x, t)) for x, t in zip(lowered, tangents, strict=True)]
        leaves = function(*given)
        if len(leaves) != joint.n_outs:
            raise BacklitError(
                f"{joint.name}: its forward gave {len(leaves)} results, and {joint.n_outs} when recorded"
            )
        return [None if (b := trace.box(x)) is None else b.extra for x in leaves]
