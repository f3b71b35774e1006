"""residuals: what a reverse pass keeps from the forward, how large it is, and which rule reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.autodiff.reverse import Linearised
from backlit.autodiff.walk import Joint
from backlit.core import tree
from backlit.core.graph import Node
from backlit.core.source import Source
from backlit.core.tensor import Tensor, as_tensor


@dataclass
class Residual:
    """One buffer that is kept: what it is, and each rule that reads it, as `op.name` of the value, with its line.

    `argument` is true where it belongs to an argument, and so is there without being kept.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    argument: bool
    readers: list[tuple[str, Source | None]] = field(default_factory=list)

    def __str__(self) -> str:
        of = " of an argument" if self.argument else ""
        rules = ", ".join(f"{name}" + (f" at {source}" if source else "") for name, source in self.readers)
        return f"{self.dtype}{list(self.shape)}{of}, {self.nbytes} bytes, read by {rules}"


def residuals(f: Callable[..., Any], *args: Any) -> list[Residual]:
    """What a gradient of `f` with respect to the floats of `args` keeps from the forward, in the order of the run.

    A buffer is listed once, with its bytes and all rules that read it (`tanh.out`: the rule of tanh reads its result);
    views count as what they are views of. Those of arguments are marked: the bytes kept are
    `sum(r.nbytes for r in residuals(f, *args) if not r.argument)`. Costs one run of `f`. Modules are passed as arguments.

    Raises:
      TraceError: it is called inside `vmap` or `compile`, where values have no contents.
    """
    values = [as_tensor(x) for x in tree.leaves(args)]
    places = [k for k, flag in enumerate(tree.trained(args)) if flag]
    owned = {id(buffer_of(x)) for value in values if (x := contents_of(value)) is not None}

    def of_leaves(*new: Tensor) -> Any:
        filled = [Tensor(x._value, x.node) for x in values]
        for k, x in zip(places, new, strict=True):
            filled[k] = x
        with tree.lent(args, filled) as traced:
            return f(*traced)

    run = Linearised("residuals", of_leaves, tuple(values[k] for k in places), False)
    found: dict[int, tuple[Any, Residual]] = {}
    for node, name, contents, buffer in kept_by(run):
        if id(buffer) not in found:  # the buffer is held, so that its id stays its own
            found[id(buffer)] = buffer, Residual(contents.shape, contents.dtype, buffer.nbytes, id(buffer) in owned)
        found[id(buffer)][1].readers.append((f"{node.op.name}.{name}", node.source))
    return [residual for _, residual in found.values()]


def kept_by(run: Linearised) -> Iterator[tuple[Node, str, Any, Any]]:
    """Each value that a rule of the run reads, in the order of the run: the node, its name for it, the array, its buffer."""
    nodes: dict[int, Node] = {}
    pending = [root for root in run.roots if root is not None]
    while pending:
        node = pending.pop()
        if node.id not in nodes:
            nodes[node.id] = node
            pending += [node.up] if isinstance(node.up, Node) else list(node.up)
    for _, node in sorted(nodes.items()):
        for name, value in _kept(node):
            contents = contents_of(value)
            if contents is not None:
                yield node, name, contents, buffer_of(contents)


def _kept(node: Node) -> list[tuple[str, Any]]:
    if node.plan is None:
        return []
    if isinstance(node.op, Joint):
        return [("kept", x) for x in node.op.kept()]
    named = [(node.op.input_name(i), node.inputs[i]) for i in node.plan.kept]
    return named if node.plan.unread_out is not None else [*named, ("out", node.out)]


def contents_of(x: Any) -> Any:
    """The array of a tensor; None for what is none."""
    if isinstance(x, Tensor):
        x = x._concrete()
    return x if isinstance(x, (np.ndarray, np.generic)) else None


def buffer_of(x: Any) -> Any:
    """The array that owns the memory of `x`."""
    while isinstance(x, np.ndarray) and isinstance(x.base, np.ndarray):
        x = x.base
    return x
