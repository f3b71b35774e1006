"""checkpoint: what a part of a program computes is computed again for the reverse pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from backlit.autodiff.batch import BatchTrace, vmap
from backlit.autodiff.closed import Closed
from backlit.autodiff.masks import pulled, pushed
from backlit.autodiff.tape import Tape, plain
from backlit.autodiff.walk import Joint
from backlit.core import record, staging, tree
from backlit.core.dtypes import is_float
from backlit.core.graph import Node
from backlit.core.op import Masked, Value
from backlit.core.tensor import Tensor, as_tensor
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


class Segment(Closed):
    """A closed function of tensors that is computed again; `known` are its results without derivatives."""

    kind = "checkpoint"

    def __init__(self, name: str, f: Callable[..., list[Tensor]], known: list[Tensor] | None) -> None:
        self.name, self.f, self.known = name, f, known

    def again(self) -> Segment:
        return Segment(self.name, self.f, None)

    def values(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        known, self.known = self.known, None  # it holds for the first call alone
        return self.f(*map(plain, inputs)) if known is None else known

    def joint(self, outs: list[Tensor], lowered: list[Tensor], arrays: bool) -> Joint:
        return SegmentJoint(self, lowered, len(outs))

    def batch(self, trace: BatchTrace, lowered: list[Tensor], flags: list[bool]) -> list[Tensor]:
        known: list[Tensor] | None = None
        if self.known is not None:
            before, known, self.known = self.known, [], None
            for x in before:
                value = trace.lower(x)
                known.append(value if trace.box(x) else broadcast_to(value, shape=(trace.size, *value.shape)))
        in_axes = tuple(0 if flag else None for flag in flags)
        return Segment(self.name, vmap(self.f, in_axes=in_axes), known)(*lowered)

    def push(
        self, lowered: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[Sequence[Tensor], Sequence[Masked | None]]:
        flat, structure = tree.flatten(tangents)
        n = len(lowered)
        pattern: list[Any] = []

        def both(*given: Tensor) -> list[Tensor]:
            outs, found = pushed(self.f, given[:n], tree.unflatten(structure, given[n:]), self.name)
            leaves, its_structure = tree.flatten(found)
            pattern[:] = [len(outs), its_structure]
            return [*outs, *leaves]

        found = Segment(self.name, both, None)(*lowered, *flat)
        n_outs, its_structure = pattern
        return found[:n_outs], tree.unflatten(its_structure, found[n_outs:])


class SegmentJoint(Joint):
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
