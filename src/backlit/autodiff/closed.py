"""Closed functions of tensors with derivatives of their own, at whatever level of transforms their operands are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from backlit.autodiff.batch import BatchBox, BatchTrace
from backlit.autodiff.forward import JvpTrace
from backlit.autodiff.reverse import GradTrace
from backlit.autodiff.trace import highest
from backlit.autodiff.walk import Joint, recorded_jointly
from backlit.core import tree
from backlit.core.graph import Node
from backlit.core.op import Masked
from backlit.core.tensor import Box, Tensor, muted


class Closed(ABC):
    """A function of all that it reads: a call meets the highest transform of its operands, which hands it down."""

    kind = ""
    name = ""

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        trace = highest(inputs)
        if trace is None or trace.imperative:
            lowered = [Tensor(x._value, x.node) for x in inputs]
            parents = [None if muted.get() or not isinstance(x.node, Node) else x.node for x in inputs]
            return self._recorded(self.values(inputs), lowered, parents, True, lambda x, n: Tensor(x._value, n))
        trace.check_alive()
        lowered, boxes = [trace.lower(x) for x in inputs], [trace.box(x) for x in inputs]
        if isinstance(trace, GradTrace):
            parents = [None if b is None or muted.get() > trace.level else b.extra for b in boxes]
            return self._recorded(self(*lowered), lowered, parents, False, lambda x, n: Tensor(Box(trace, x, n)))
        if isinstance(trace, BatchTrace):
            outs = self.batch(trace, lowered, [b is not None for b in boxes])
            return [Tensor(BatchBox(trace, x)) for x in outs]
        if isinstance(trace, JvpTrace):
            found, tangents = self.push(lowered, [None if b is None else b.extra for b in boxes])
            return [x if t is None else Tensor(Box(trace, x, t)) for x, t in zip(found, tangents, strict=True)]
        return trace.custom(self.again(), list(inputs), tree.flatten(tuple(inputs))[1])  # type: ignore[no-any-return]

    def _recorded(
        self, outs: list[Tensor], lowered: list[Tensor], parents: list[Any], arrays: bool,
        wrap: Callable[[Tensor, Node], Tensor],
    ) -> list[Tensor]:  # fmt: skip
        if all(p is None for p in parents):
            return outs
        joint = self.joint(outs, lowered, arrays)
        return [*recorded_jointly(joint, outs[: joint.n_outs], parents, lowered, wrap), *outs[joint.n_outs :]]

    def again(self) -> Closed:
        """The function for a trace that calls it again with other values."""
        return self

    @abstractmethod
    def values(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results without derivatives."""

    @abstractmethod
    def joint(self, outs: list[Tensor], lowered: list[Tensor], arrays: bool) -> Joint:
        """The node of one call, with its reverse rule; `arrays` where the graph is that of `backward`."""

    @abstractmethod
    def batch(self, trace: BatchTrace, lowered: list[Tensor], flags: list[bool]) -> list[Tensor]:
        """The results for many examples, from operands of which those with a flag have the batch axis."""

    @abstractmethod
    def push(
        self, lowered: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[Sequence[Tensor], Sequence[Masked | None]]:
        """The results and their tangents."""
