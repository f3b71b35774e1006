"""What both kinds of reductions share: the value to begin with, and how a total takes one more vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.loops import Loops
from backlit.compiler.llvm.nest import Reduction
from backlit.compiler.llvm.target import features
from backlit.compiler.llvm.tile import multiply_add
from backlit.compiler.llvm.values import emit

BLOCK = 1024  # elements that one partial sum takes
ROWS = 256  # rows that one partial sum over rows takes


class Totals(Loops):
    """Loops with reductions."""

    def _identity(self, r: Reduction) -> tuple[str, Any]:
        dtype = self.nest.dtype(r)
        scalar = SCALARS[dtype]
        if r.how == "add":
            return scalar, 0  # as NumPy: no sum is -0.0
        if r.how == "mul":
            return scalar, 1
        if dtype.kind == "f":
            return scalar, -math.inf if r.how == "maximum" else math.inf
        if dtype == bool:
            return scalar, r.how == "minimum"
        info = np.iinfo(dtype)
        return scalar, info.min if r.how == "maximum" else info.max

    def _join(self, r: Reduction, a: str, b: str) -> str:
        return emit(self.w, r.how, [a, b], self.nest.dtype(r), self.nest.dtype(r))

    def _added(self, r: Reduction, total: str, env: dict[int, Any], mask: str | None) -> str:
        """A total with the values of one more vector."""
        w = self.w
        scalar, nothing = self._identity(r)
        if r.factors is not None and mask is None:
            a, b = (self.read(k, env) for k in r.factors)
            return multiply_add(w, scalar, a, b, total, features().fma)
        if r.factors is not None:
            a, b = (self.read(k, env) for k in r.factors)
            value = w.new(f"fmul {w.type(scalar)} {a}, {b}")
        else:
            value = self.read(r.node, env)
        if mask is not None:
            value = w.new(
                f"select {w.type('i1')} {mask}, {w.type(scalar)} {value}, {w.type(scalar)} {w.constant(scalar, nothing)}"
            )
        return self._join(r, total, value)

    def _across(self, r: Reduction, value: str) -> str:
        """The lanes of a vector joined, halves first."""
        return self._joined(r, [value])

    def _joined(self, r: Reduction, values: list[str]) -> str:
        """Of each of several vectors the lanes joined, halves first; as many results in one vector as there are vectors.

        Two vectors become one that holds the halves of both, joined, so that for n vectors of n lanes it takes n - 1
        additions instead of n log n. Each result is that of `_across`.
        """
        w, dtype, lanes, parts = (
            self.w,
            self.nest.dtype(r),
            self.lanes,
            1,
        )  # of each vector are results of so many values
        values = list(values)
        while lanes > parts:
            pairs = (
                list(zip(values[::2], values[1::2], strict=True))
                if lanes == len(values) * parts and len(values) > 1
                else None
            )
            half = lanes // parts // 2
            halves = []
            for upper in (0, half):
                if pairs is None:
                    places = [p * 2 * half + upper + k for p in range(parts) for k in range(half)]
                    halves.append([self._picked(dtype, lanes, v, None, places) for v in values])
                else:
                    places = [p * 2 * half + upper + k for p in range(2 * parts) for k in range(half)]
                    halves.append([self._picked(dtype, lanes, a, b, places) for a, b in pairs])
            if pairs is None:
                lanes //= 2
            else:
                parts *= 2
            w.lanes = lanes
            values = [emit(w, r.how, [a, b], dtype, dtype) for a, b in zip(*halves, strict=True)]
        w.lanes = self.lanes
        (only,) = values
        return only

    def _picked(self, dtype: np.dtype[Any], lanes: int, a: str, b: str | None, places: list[int]) -> str:
        """A vector of some lanes of one or two others; of one lane a scalar."""
        w, scalar = self.w, SCALARS[dtype]
        typed = f"<{lanes} x {scalar}>"
        if len(places) == 1:
            return w.new(f"extractelement {typed} {a}, i32 {places[0]}")
        picks = ", ".join(f"i32 {k}" for k in places)
        return w.new(f"shufflevector {typed} {a}, {typed} {b or 'poison'}, <{len(places)} x i32> <{picks}>")
