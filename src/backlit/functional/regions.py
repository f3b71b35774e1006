"""Loops and branches as single steps of a graph, and what their rules share.

The body of a loop is traced once, into a region; what it takes from around it becomes operands. Its derivative is a loop
over the derivative of the region, so that loops nest and can be differentiated again. Derivatives carry the masks of
structural zeros from step to step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.batch import BatchBox, BatchTrace
from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.reverse import GradTrace
from backlit.autodiff.trace import highest, zeros
from backlit.autodiff.walk import Joint, recorded_jointly
from backlit.core import staging
from backlit.core.graph import Cut, Node
from backlit.core.op import Masked, Value, ones
from backlit.core.tensor import Box, Tensor, muted
from backlit.ops.elementwise import where
from backlit.ops.linear import broadcast_to

Body = Callable[..., Any]  # of trees; where a region stands for it, of lists of tensors


class Call(ABC):
    """A call of control flow: regions that run on operands, at whatever level of transforms these are."""

    name: str
    regions: tuple[Any, ...]
    params: dict[str, Any]

    def __call__(self, operands: Sequence[Tensor]) -> list[Tensor]:
        operands = list(operands)
        trace = highest(operands)
        if trace is None or trace.imperative:
            return self._record(operands, trace)
        trace.check_alive()
        if isinstance(trace, BatchTrace):
            flags = [trace.box(x) is not None for x in operands]
            outs, flags = self.batch(trace.size, [trace.lower(x) for x in operands], flags)
            return [Tensor(BatchBox(trace, x)) if flag else x for x, flag in zip(outs, flags, strict=True)]
        if isinstance(trace, JvpTrace):
            pushed: list[Masked | None] = [None if (b := trace.box(x)) is None else b.extra for x in operands]
            outs, tangents = self.push([trace.lower(x) for x in operands], pushed)
            return [x if t is None else Tensor(Box(trace, x, t)) for x, t in zip(outs, tangents, strict=True)]
        if isinstance(trace, GradTrace):
            return self._trace(trace, operands)
        return trace.control(self, operands)  # type: ignore[no-any-return]

    def _record(self, operands: list[Tensor], trace: Any) -> list[Tensor]:
        graph = staging.graph() if trace is None else trace
        parents = [x.node if isinstance(x.node, Node) else None for x in operands]
        if not any(parents):
            return graph.control(self, operands)  # type: ignore[no-any-return]
        if muted.get():
            cut = Cut("no_grad", next(p for p in parents if p is not None))
            return [Tensor(x._value, cut) for x in graph.control(self, operands)]
        call, operands = self.keeping(operands)
        return self._picked(
            call, operands, graph.control(call, operands), lambda x, node: Tensor(x._value, node), lambda x: x,
            [x.node if isinstance(x.node, Node) else None for x in operands],
        )  # fmt: skip

    def _trace(self, trace: GradTrace, operands: list[Tensor]) -> list[Tensor]:
        if muted.get() > trace.level:
            return self([trace.lower(x) for x in operands])
        call, operands = self.keeping(operands)
        lowered = [trace.lower(x) for x in operands]
        return self._picked(
            call, lowered, call(lowered), lambda x, node: Tensor(Box(trace, x, node)), trace.lower,
            [None if (b := trace.box(x)) is None else b.extra for x in operands],
        )  # fmt: skip

    def _picked(
        self, call: Call, operands: list[Tensor], outs: list[Tensor], wrap: Callable[[Tensor, Node], Tensor],
        lower: Callable[[Tensor], Tensor], parents: list[Any],
    ) -> list[Tensor]:  # fmt: skip
        """The results as picks from one node that pulls back, as far as they depend on what is wanted."""
        wanted = [p is not None for p in parents]
        joint = call.joint(wanted)
        joint.operands, joint.n_outs = [Tensor(x._value, x.node) for x in operands], len(outs)
        made = recorded_jointly(joint, outs, parents, operands, wrap, call.depends(wanted))
        n = self.n_outs
        joint.saved = [lower(x) for x in made[n:]]
        return made[:n]

    @abstractmethod
    def batch(self, size: int, operands: list[Tensor], flags: list[bool]) -> tuple[list[Tensor], list[bool]]:
        """The results for operands of which the flagged ones have a leading batch axis, and which of them have one."""

    @abstractmethod
    def push(self, operands: list[Tensor], tangents: list[Masked | None]) -> tuple[list[Tensor], list[Masked | None]]:
        """The results and their tangents."""

    @property
    def n_outs(self) -> int:
        """Number of results."""
        return len(self.regions[-1].graph.outputs)

    def keeping(self, operands: list[Tensor]) -> tuple[Call, list[Tensor]]:
        """A call, with its operands, that gives after the results what a reverse pass needs."""
        return self, operands

    @abstractmethod
    def depends(self, wanted: list[bool]) -> list[bool]:
        """The results that depend differentiably on wanted operands."""

    @abstractmethod
    def joint(self, wanted: list[bool]) -> CallJoint:
        """What pulls cotangents back through a call with these operands wanted."""


class CallJoint(Joint):
    """One call of control flow in a recorded graph."""

    def __init__(self, call: Any, wanted: list[bool]) -> None:
        super().__init__()
        self.name = call.name  # type: ignore[misc]
        self.call, self.wanted = call, wanted
        self.operands: list[Tensor] = []
        self.saved: list[Tensor] = []
        self.n_outs = 0

    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        return tuple(self.pulled(list(cotangent)))

    @abstractmethod
    def pulled(self, cotangents: list[Masked | None]) -> list[Masked | None]:
        """Cotangents of the operands, None where one is not wanted or structurally zero."""


# One region, transformed


def batched(
    body: Body, size: int, operands: Sequence[Tensor], flags: Sequence[bool], wanted: Sequence[bool]
) -> list[Tensor]:
    """The results of a region for operands with a leading batch axis where flagged; results have one where wanted."""
    with BatchTrace("scan", size) as trace:
        given = [Tensor(BatchBox(trace, x)) if f else x for x, f in zip(operands, flags, strict=True)]
        outs = []
        for x, w in zip(body(*given), wanted, strict=True):
            value = trace.lower(x)
            outs.append(broadcast_to(value, shape=(size, *value.shape)) if w and trace.box(x) is None else value)
        return outs


def filled(x: Masked | None, like: Tensor, masked: bool) -> Masked:
    """A (co)tangent for each step to carry on: zeros where there is none, a mask where it has one at some step."""
    if x is None:
        return zeros(like.shape, like.dtype), Tensor(np.zeros(like.shape, bool)) if masked else None
    value = x[0] if x[0].dtype == like.dtype else x[0].astype(like.dtype)
    return value, (ones(like.shape) if x[1] is None else x[1]) if masked else None


def is_masked(x: Masked | None) -> bool:
    return x is not None and x[1] is not None


def where_by_example(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`where` for a condition of one element an example."""
    shaped = condition.reshape((*condition.shape, *(1,) * (a.ndim - condition.ndim)))
    return where(shaped, a, b)
