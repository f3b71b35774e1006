"""checkpoint: what a part of a program computes is computed again for the reverse pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from backlit.autodiff.batch import BatchBox, BatchTrace, vmap
from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.masks import pulled, pushed
from backlit.autodiff.reverse import GradTrace
from backlit.autodiff.tape import Tape, plain
from backlit.autodiff.trace import highest
from backlit.autodiff.walk import Joint, recorded_jointly
from backlit.core import record, staging, tree
from backlit.core.dtypes import is_float
from backlit.core.graph import Node
from backlit.core.op import Masked, Value
from backlit.core.tensor import Box, Tensor, as_tensor, muted
from backlit.ops.fence import fence
from backlit.ops.linear import broadcast_to


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, of which a reverse pass keeps the arguments alone and computes the rest again when it gets there.

    Costs one more run of what `f` computes; what its rules read exists only while they are applied. Arguments and result
    are trees; what `f` takes from around it (parameters of a module) gets its gradient too. The ops that ran are applied
    again, not the Python code: the same branches and the same random numbers, which are kept, and the same bits.
    The gradient of an array that is used inside and outside of `f` is summed inside first. Nests with itself and all
    transforms. Source: Chen et al. 2016, arXiv:1604.06174, section 3.

    Raises:
      EscapedValueError: a value of `f` that was stored outside is used behind it; return it instead.
    """

    @wraps(f)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        whole = (args, kwargs)
        leaves = tree.leaves(whole)
        values = [as_tensor(x) if isinstance(x, (np.ndarray, np.generic)) else x for x in leaves]
        name = getattr(f, "__name__", type(f).__name__)
        with Tape(f"checkpoint of {name}", computes=True) as tape:
            new = [tape.input(x) if isinstance(x, Tensor) else x for x in values]
            with tree.lent(whole, new) as (traced, traced_kwargs):
                out = f(*traced, **traced_kwargs)
                outs, its_structure = tree.flatten(out)
                ends = [as_tensor(x) for x in outs]
                known = [tape.plain(x) for x in ends]
                program, inputs = tape.program(ends)
        return tree.unflatten(its_structure, Segment(name, program, known)(*inputs))

    return checkpointed


class Segment:
    """A closed function of tensors, at whatever level of transforms these are; `known` are its results without derivatives."""

    kind = "checkpoint"

    def __init__(self, name: str, f: Callable[..., list[Tensor]], known: list[Tensor] | None) -> None:
        self.name, self.f, self.known = name, f, known

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        trace = highest(inputs)
        if trace is None or trace.imperative:
            parents = [x.node if isinstance(x.node, Node) else None for x in inputs]
            if muted.get():
                parents = [None] * len(inputs)
            lowered = [Tensor(x._value, x.node) for x in inputs]
            return self._recorded(self._known(inputs), lowered, parents, lambda x, node: Tensor(x._value, node))
        trace.check_alive()
        if isinstance(trace, GradTrace):
            lowered = [trace.lower(x) for x in inputs]
            parents = [None if (b := trace.box(x)) is None else b.extra for x in inputs]
            if muted.get() > trace.level:
                parents = [None] * len(inputs)
            return self._recorded(self(*lowered), lowered, parents, lambda x, node: Tensor(Box(trace, x, node)))
        if isinstance(trace, BatchTrace):
            return self._batch(trace, inputs)
        if isinstance(trace, JvpTrace):
            return self._push(trace, inputs)
        again = Segment(self.name, self.f, None)  # for values that differ each time it is called
        return trace.custom(again, list(inputs), tree.flatten(tuple(inputs))[1])  # type: ignore[no-any-return]

    def _known(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        known, self.known = self.known, None  # it holds for the first call alone
        return self.f(*map(plain, inputs)) if known is None else known

    def _recorded(
        self, outs: list[Tensor], lowered: list[Tensor], parents: list[Any], wrap: Callable[[Tensor, Node], Tensor]
    ) -> list[Tensor]:
        if not any(p is not None for p in parents):
            return outs
        joint = _SegmentJoint(self, lowered, len(outs))
        return recorded_jointly(joint, outs, parents, lowered, wrap)

    def _batch(self, trace: BatchTrace, inputs: Sequence[Tensor]) -> list[Tensor]:
        axes = [None if trace.box(x) is None else 0 for x in inputs]
        known: list[Tensor] | None = None
        if self.known is not None:
            before, known, self.known = self.known, [], None
            for x in before:
                value = trace.lower(x)
                known.append(value if trace.box(x) else broadcast_to(value, shape=(trace.size, *value.shape)))
        made = Segment(self.name, vmap(self.f, in_axes=tuple(axes)), known)
        return [Tensor(BatchBox(trace, x)) for x in made(*(trace.lower(x) for x in inputs))]

    def _push(self, trace: JvpTrace, inputs: Sequence[Tensor]) -> list[Tensor]:
        tangents = [None if (b := trace.box(x)) is None else b.extra for x in inputs]
        flat, structure = tree.flatten(tangents)
        n = len(inputs)
        pattern: list[Any] = []

        def both(*given: Tensor) -> list[Tensor]:
            directions = tree.unflatten(structure, given[n:])
            outs, found = pushed(self.f, given[:n], directions, self.name)
            leaves, its_structure = tree.flatten(found)
            pattern[:] = [len(outs), its_structure]
            return [*outs, *leaves]

        found = Segment(self.name, both, None)(*(trace.lower(x) for x in inputs), *flat)
        n_outs, its_structure = pattern
        pushed_outs = tree.unflatten(its_structure, found[n_outs:])
        return [x if t is None else Tensor(Box(trace, x, t)) for x, t in zip(found[:n_outs], pushed_outs, strict=True)]


class _SegmentJoint(Joint):
    """One call of a checkpointed function in a recorded graph."""

    def __init__(self, segment: Segment, lowered: list[Tensor], n_outs: int) -> None:
        super().__init__()
        self.name = segment.name  # type: ignore[misc]
        self.f, self.lowered, self.n_outs = segment.f, lowered, n_outs

    def kept(self) -> list[Any]:
        return self.lowered

    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        wanted = [p is not None for p in node.parents]
        listeners = record.current()
        for listener in listeners:
            listener.recomputing(node)
        found = pulled(self.f, _fenced(self.lowered, cotangent), wanted, list(cotangent), self.name)
        for listener in listeners:
            listener.recomputed(node)
        return tuple(found)


def _fenced(operands: list[Tensor], cotangents: Sequence[Masked | None]) -> list[Tensor]:
    """In a graph, operands that wait for the cotangents: else what they give would be taken from the forward."""
    if staging.graph() is None:
        return operands
    behind = [c[0] for c in cotangents if c is not None and c[0].size]
    if not behind:
        return operands
    gate = behind[0].detach().reshape((-1,))[0]
    return [fence(x, gate.astype(x.dtype)) if is_float(x.dtype) else x for x in operands]
