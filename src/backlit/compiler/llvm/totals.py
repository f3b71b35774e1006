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
        w, dtype = self.w, self.nest.dtype(r)
        scalar, lanes = SCALARS[dtype], self.lanes
        while lanes > 1:
            half = lanes // 2
            parts = []
            for start in (0, half):
                picks = ", ".join(f"i32 {start + k}" for k in range(half))
                parts.append(
                    w.new(
                        f"shufflevector <{lanes} x {scalar}> {value}, <{lanes} x {scalar}> poison, <{half} x i32> <{picks}>"
                    )
                )
            w.lanes = lanes = half
            if half == 1:
                parts = [w.new(f"extractelement <1 x {scalar}> {p}, i32 0") for p in parts]
            value = emit(w, r.how, parts, dtype, dtype)
        w.lanes = self.lanes
        return value
