"""A value that waits for another one: an order of events in a graph, which has none."""

from __future__ import annotations

from typing import Any

import numpy as np

from backlit.core.op import Elementwise, Value, declare
from backlit.ops.elementwise import where


class Fence(Elementwise):
    """`x`, which in a graph is there only when `gate` is: what is computed from it is not what was computed from `x`.

    A primitive for `checkpoint`, whose second run of the same ops would else be found equal to the first and be taken
    from there. Eagerly it is `x` itself. Its derivative in `gate` is 0.
    """

    name, notation = "fence", "{x}"
    inputs = ("x", "gate")

    @staticmethod
    def forward(x: Any, gate: Any) -> Any:
        return where.forward(True, x, gate)  # `x`, in the shape of both

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value, gate: Value) -> Value:
        return 0.0 if argnum else 1.0

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((2, 3), (2, 3)), {}), (((), ()), {}), ((np.array([1.0, -2.0]), (2,)), {})]


fence = declare(Fence)
