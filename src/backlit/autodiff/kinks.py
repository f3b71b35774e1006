"""kinks: where a program stands exactly where its derivative jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.autodiff.trace import Trace
from backlit.core import staging, tree
from backlit.core.dtypes import is_float
from backlit.core.errors import TraceError
from backlit.core.op import Op, bind
from backlit.core.source import Source, here, user_source
from backlit.core.tensor import Box, Tensor, as_tensor
from backlit.ops.windows import ties

_TIES = frozenset(
    {"maximum", "minimum", "less", "less_equal", "greater", "greater_equal"}
)  # the last choose for `where`


@dataclass(frozen=True)
class Kink:
    """`count` of the `size` elements that `op` read at `source` are exactly at its kink."""

    op: str
    source: Source | None
    count: int
    size: int

    def __str__(self) -> str:
        at = f" at {self.source}" if self.source else ""
        return f"{self.op}: {self.count} of {self.size} elements at a kink{at}"


def kinks(f: Callable[..., Any], *args: Any) -> list[Kink]:
    """The ops of `f(*args)` with elements exactly at a kink, by source line, in the order of the run.

    Counted are equal operands of `maximum`, `minimum` and comparisons (which choose for `where`), zeros of `abs`,
    `hypot` and norms, equal largest or least elements in `max` and `min`, and windows with two largest elements in pooling; of
    what depends on a float among the arguments. The derivative there is the documented one of those on either side. Costs one
    run of `f` and a pass over these ops.

    Raises:
      TraceError: it is called inside a transform or `compile`, where values have no contents.
    """
    values = [as_tensor(x) for x in tree.leaves(args)]
    if staging.graph() is not None or any(isinstance(x._value, Box) for x in values):
        raise TraceError(f"kinks: values have no contents inside a transform; call it outside{here()}")
    with _KinkTrace("kinks") as trace:
        new = [Tensor(Box(trace, Tensor(x._value))) if is_float(x.dtype) else Tensor(x._value) for x in values]
        with tree.lent(args, new) as traced:
            f(*traced)
    return [
        Kink(name, Source(*where) if where else None, n, size) for (name, where), (n, size) in trace.found.items() if n
    ]


class _KinkTrace(Trace):
    """Computes, and looks at what the ops with kinks read."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.found: dict[tuple[str, Any], tuple[int, int]] = {}

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        lowered = tuple(Tensor(x._value) if isinstance(x := self.lower(a), Tensor) else x for a in args)
        out = bind(op, lowered, params)
        contents = [a._value if isinstance(a, Tensor) else a for a in lowered]
        at = _at_kink(op.name, contents, out._value, params)
        if at is not None:
            key = op.name, user_source()
            n, size = self.found.get(key, (0, 0))
            self.found[key] = n + int(np.count_nonzero(at)), size + int(np.size(at))
        return Tensor(Box(self, out))

    def custom(self, owner: Any, values: Any, structure: Any) -> Any:
        out = owner.f(*tree.unflatten(structure, [self.lower(x) for x in values]))  # its rule stands for its kinks
        return tree.map(lambda x: Tensor(Box(self, as_tensor(x))), out)


def _at_kink(name: str, inputs: Any, out: Any, params: dict[str, Any]) -> Any:
    """For each element read whether it is at a kink; None for an op without one."""
    x: Any = inputs[0] if inputs else None
    if name in _TIES:
        return None if not any(is_float(a.dtype) for a in inputs if hasattr(a, "dtype")) else np.equal(x, inputs[1])
    if name == "abs":
        return np.equal(x, 0) if is_float(x.dtype) else None
    if name == "hypot":
        return np.equal(x, 0) & np.equal(inputs[1], 0)
    if name == "norm":
        axis = params["axis"]
        return np.broadcast_to(np.equal(out if params["keepdims"] else np.expand_dims(out, axis), 0), x.shape)
    if name in ("max", "min") and is_float(x.dtype):
        axis, keepdims = params["axis"], params.get("keepdims", False)
        best = np.equal(x, out if keepdims else np.expand_dims(out, axis))
        return best & (np.sum(best, axis=axis, keepdims=True) > 1)
    if name == "window_argmax" and is_float(x.dtype):
        return ties(x, out, params)
    return None
