"""Gate: the identity on several tensors at once, whose cotangents a function sees together and may replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backlit.autodiff.batch import BatchBox, BatchTrace, vmap
from backlit.autodiff.custom import Custom, CustomJoint
from backlit.autodiff.forward import JvpTrace
from backlit.core import tree
from backlit.core.errors import ShapeError
from backlit.core.graph import Node
from backlit.core.op import Masked, Value
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.ops.linear import broadcast_to

Cotangents = list[Tensor | None]


class Gate(Custom):
    """`gate(*tensors)` gives the tensors as they are.

    On the way back `turned` gets a list of their cotangents, None where there is none, when all are complete, and gives the
    list that goes on. What it gives back as it was stays structurally zero where it was. In `vmap` it gets those of one
    example. Forward mode passes through.

    Raises:
      ShapeError: at the backward, a cotangent is replaced by one of another shape.
    """

    kind = "gate"
    exact = False  # what goes on is what `turned` gives

    def __init__(self, name: str, turned: Callable[[Cotangents], Cotangents]) -> None:
        def same(*tensors: Any) -> Any:
            return tensors

        same.__name__ = name
        super().__init__(same)
        self.turned = turned

    def _check(self) -> None:
        """There is always a rule."""

    def _joint(self, lowered: list[Any], structure: Any) -> tuple[Any, CustomJoint]:
        return tree.unflatten(structure, lowered), _GateJoint(self, structure)

    def _push(self, trace: JvpTrace, values: list[Any], structure: Any) -> Any:
        return tree.unflatten(structure, values)

    def _batch(self, trace: BatchTrace, values: list[Any], structure: Any) -> Any:
        lowered = []
        for x in values:
            below = trace.lower(x)
            lowered.append(below if trace.box(x) is not None else broadcast_to(below, shape=(trace.size, *below.shape)))
        outs = self._batched([0] * len(values), structure)(*lowered)
        return tuple(Tensor(BatchBox(trace, x)) for x in outs)

    def _batched(self, axes: list[Any], structure: Any) -> Gate:
        def turned(cotangents: Cotangents) -> Cotangents:
            places = [k for k, c in enumerate(cotangents) if c is not None]

            def one(*present: Tensor) -> Cotangents:
                whole: Cotangents = [None] * len(cotangents)
                for k, c in zip(places, present, strict=True):
                    whole[k] = c
                return self.turned(whole)

            found: Cotangents = vmap(one)(*(cotangents[k] for k in places))
            return found

        return Gate(self.name, turned)


class _GateJoint(CustomJoint):
    def live(self, parents: Sequence[Node | None]) -> list[bool]:
        return [p is not None for p in parents]

    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        given = [None if c is None else c[0] for c in cotangent]
        gate: Gate = self.owner  # type: ignore[assignment]
        pulled: list[Masked | None] = []
        for before, now, masked, (shape, dtype) in zip(
            given, gate.turned(list(given)), cotangent, self.outs, strict=True
        ):
            if now is before:
                pulled.append(masked)
                continue
            if now is not None and (not isinstance(now, Tensor) or now.shape != shape):
                got = f"{now.dtype}{list(now.shape)}" if isinstance(now, Tensor) else type(now).__name__
                raise ShapeError(f"{self.name}: expected a gradient {dtype}{list(shape)} or None, got {got}{here()}")
            pulled.append(None if now is None else (now if now.dtype == dtype else now.astype(dtype), None))
        return tuple(pulled)
