"""Softmax with cross-entropy as one primitive: the backward pass starts at the logits with p - y."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import Masked, Op, Value, declare, shown
from backlit.core.source import here
from backlit.core.tensor import as_tensor
from backlit.ops.elementwise import exp, where
from backlit.ops.linear import astype, batched_all, broadcast_to, reshape, sum
from backlit.ops.reduce import logsumexp


class SoftmaxCrossEntropy(Op):
    """Losses `-sum y_i log p_i` of `logits: [..., n]` with `p = softmax(logits)` against `y: [..., n]`; `out: [...]`.

    A primitive for its stability: with z shifted by its logsumexp the loss is `sum y_i (lse - z_i)`, and the
    cotangent of the logits is `(sum y) p - y`, which neither overflows nor divides.

    Raises:
      ShapeError: the inputs differ in shape, or have no axis.
    """

    name, notation = "softmax_cross_entropy", r"-{y} \cdot \log \operatorname{{softmax}}({x})"

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 6 * math.prod(inputs[0])

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        high = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
        shifted = x - np.where(np.isfinite(high), high, 0).astype(x.dtype)
        loss = np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)) - shifted
        return np.sum(np.where(y == 0, 0, y * loss), axis=-1, dtype=x.dtype)  # a class of no weight may have z = -inf

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape[:-1], avals[0].dtype)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = (as_tensor(a) for a in args)
        if x.shape != y.shape or not x.ndim:
            raise ShapeError(f"{self.name}: expected logits and labels [..., n], got {shown(x)} and {shown(y)}{here()}")
        if x.dtype.kind not in "fV":
            raise DTypeError(f"{self.name}: expected float logits, got {shown(x)}{here()}")
        return x, y if y.dtype == x.dtype else astype(y, dtype=x.dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"} if argnum == 0 else {"x"})

    def _log_p(self, x: Value) -> Value:
        return x - broadcast_to(logsumexp(x, axis=-1, keepdims=True), shape=x.shape)

    def _slope(self, x: Value, y: Value) -> Value:
        total = broadcast_to(sum(y, axis=-1, keepdims=True), shape=y.shape)
        return total * exp(self._log_p(x)) - y

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x, y = inputs
        shape = x.shape
        upstream = broadcast_to(reshape(cotangent, shape=(*shape[:-1], 1)), shape=shape)
        return (
            upstream * self._slope(x, y) if wanted[0] else None,
            -(upstream * self._log_p(x)) if wanted[1] else None,
        )

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), shape = cotangent, inputs[0].shape
        pulled = self.vjp(node.plan.wanted, value, out, inputs)
        if mask is None:
            return tuple(None if p is None else (p, None) for p in pulled)
        alive = broadcast_to(reshape(mask, shape=(*shape[:-1], 1)), shape=shape)
        return tuple(None if p is None else (where(alive, p, 0.0), alive) for p in pulled)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        (x, y), (t, u) = inputs, tangents
        parts = [] if t is None else [t * self._slope(x, y)]
        if u is not None:
            parts.append(-(u * self._log_p(x)))
        return sum(parts[0] if len(parts) == 1 else parts[0] + parts[1], axis=-1)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(*batched_all(size, args, batched))

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3), (2, 3)), {}), (((3,), (3,)), {}), (((0, 2), (0, 2)), {})]


softmax_cross_entropy = declare(SoftmaxCrossEntropy)
