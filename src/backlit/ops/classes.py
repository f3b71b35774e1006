"""Class numbers that are looked at, eager and compiled alike, before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import ArgumentError
from backlit.core.op import Op, Value, declare
from backlit.core.source import here


class Classes(Op):
    """The class numbers `x` themselves, once each is in 0..n-1 or is `ignored`; `who` asks.

    Raises:
      ArgumentError: one is not.
    """

    name, notation = "classes", "{x}"
    inputs = ("x",)
    differentiable = False

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 0

    @staticmethod
    def forward(x: Any, *, n: int, ignored: int, who: str) -> Any:
        wrong = x[(x != ignored) & ((x < 0) | (x >= n))]
        if wrong.size:
            raise ArgumentError(f"{who}: the class {wrong.flat[0]} is not in 0..{n - 1} ({wrong.size} such){here()}")
        return x

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0], **params)

    def samples(self) -> list[tuple[Any, ...]]:
        params = {"n": 3, "ignored": -100, "who": "cross_entropy"}
        return [((np.array([0, 2, -100]),), params), ((np.array(1),), params), ((np.zeros((0, 2), np.int64),), params)]


classes = declare(Classes)
