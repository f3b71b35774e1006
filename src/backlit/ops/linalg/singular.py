"""Singular values and vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.graph import Node
from backlit.core.op import Masked, Value, declare
from backlit.ops.complex import real
from backlit.ops.contract import matmul
from backlit.ops.elementwise import logical_and, logical_or, sign, where
from backlit.ops.linalg.coincident import coincident
from backlit.ops.linalg.common import (
    Made,
    MatrixOp,
    adjoint,
    as_column,
    as_diagonal,
    as_row,
    diagonal,
    hermitian,
    lapack,
    np_adjoint,
    product,
    regular,
    skew,
)
from backlit.ops.linalg.eigen import PHASE, alive_columns, gaps
from backlit.ops.linalg.refused import unturned
from backlit.ops.linear import astype, concat

_SAMPLES = [
    *(Made(shape, regular) for shape in ((3, 2), (2, 3), (2, 2, 2), (3, 3), (1, 1))),
    (0, 2), (0, 0), (0, 2, 3),
]  # fmt: skip


def _sums(values: Value, same: Value, at: float, phases: bool) -> Value:
    """1 / (values_j + values_i) for `values: [..., n]`, `at` where it is infinite; 0 on the diagonal but for `phases`."""
    off = ~np.eye(values.shape[-1], dtype=bool) | phases
    both = as_row(values) + as_column(values)
    usable = logical_and(both > 0.0, off)
    found = where(usable, 1.0 / where(usable, both, 1.0), 0.0)
    return where(logical_and(same, off), at, found) if at else found


def _inverses(values: Value, same: Value, at: float) -> Value:
    """1 / values for `values: [..., n]`, and `at` where they are 0: where the diagonal of `same` is true."""
    dead = diagonal(astype(same, dtype=values.dtype)) > 0.0
    return where(dead, at, 1.0 / where(dead, 1.0, values))


class Svd(MatrixOp):
    """The singular value decomposition `u diag(s) v^H` of `x: [..., m, n]` with k = min(m, n) singular values.

    The result is `out: [..., m + 1 + n, k]`: the columns u, the values s in descending order, the columns v, one below the
    other. Derivatives of the vectors divide by differences of the values, and if `x` is not square by the values (Townsend,
    Differentiating the singular value decomposition, 2016; differences and sums are divided by apart, so that small values
    keep their digits). Where such a divisor is 0 to within rounding the vectors are not determined: a cotangent that reaches
    them is an error, their tangent is NaN. Cotangents of the values alone never divide; at a value of 0 their derivative is
    0, as that of a norm. For the common phase of two complex vectors see `eigh`.

    Raises:
      LinAlgError: the iteration does not converge.
      GradientError: in the reverse rule, the derivative of a vector, or of its phase, does not exist.
    """

    name, notation = "svd", r"\operatorname{{svd}} {x}"
    square = False

    @staticmethod
    def forward(x: Any) -> Any:
        u, s, vh = lapack("svd", "has singular values that are not found", np.linalg.svd, x, full_matrices=False)
        return np.concatenate((u, s[..., None, :].astype(x.dtype), np_adjoint(vh)), axis=-2)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        *lead, m, n = avals[0].shape
        return Aval((*lead, m + 1 + n, min(m, n)), avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), (m, n) = cotangent, node.up.shape[-2:]
        u, s, v = out[..., :m, :], real(out[..., m, :]), out[..., m + 1 :, :]
        alive = logical_or(alive_columns(mask, 0, m, out.shape), alive_columns(mask, m + 1, m + 1 + n, out.shape))
        phases = out.dtype.kind == "c"
        same = coincident(s, alive, who="svd", zero=m != n or phases)
        along_u, along_v = value[..., :m, :], value[..., m + 1 :, :]
        in_u, in_v = matmul(adjoint(u), along_u), matmul(adjoint(v), along_v)
        inner = as_diagonal(real(value[..., m, :]) * sign(s))
        inner = inner + skew(in_u + in_v) * gaps(s, same, 0.0) + skew(in_u - in_v) * _sums(s, same, 0.0, phases)
        left, right = matmul(u, inner), adjoint(v)
        if m > n:
            left = left + (along_u - matmul(u, in_u)) * as_row(_inverses(s, same, 0.0))
        found = matmul(left, right)
        if n > m:
            found = found + matmul(u * as_row(_inverses(s, same, 0.0)), adjoint(along_v - matmul(v, in_v)))
        if phases:
            turning, message = as_row(diagonal(skew(in_u + in_v))), PHASE.format(name="svd")
            found = found + unturned(turning, concat(along_u, along_v, axis=-2), node.up.shape, message)
        return ((found, None),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        (along,), (m, n) = tangents, inputs[0].shape[-2:]
        u, s, v = out[..., :m, :], real(out[..., m, :]), out[..., m + 1 :, :]
        phases = out.dtype.kind == "c"
        same = coincident(s, np.zeros(s.shape, bool), who="", zero=m != n or phases)
        beside = matmul(along, v)
        inner = matmul(adjoint(u), beside)
        in_both = hermitian(inner) * gaps(s, same, math.nan)
        apart = skew(inner) * _sums(s, same, math.nan, phases)
        turned_u, turned_v = matmul(u, in_both + apart), matmul(v, in_both - apart)
        if m > n:
            turned_u = turned_u + (beside - matmul(u, inner)) * as_row(_inverses(s, same, math.nan))
        if n > m:
            below = matmul(adjoint(along), u) - matmul(v, adjoint(inner))
            turned_v = turned_v + below * as_row(_inverses(s, same, math.nan))
        return concat(turned_u, as_row(real(diagonal(inner)) * sign(s)), turned_v, axis=-2)

    def samples(self) -> list[tuple[Any, ...]]:
        return [((shape,), {}) for shape in _SAMPLES]


class Svdvals(MatrixOp):
    """Singular values of `x: [..., m, n]` in descending order: `out: [..., min(m, n)]`; at a value of 0 the derivative is 0.

    A primitive because the values alone cost a fraction of `svd`, which its rules run.
    """

    name, notation = "svdvals", r"\operatorname{{svdvals}} {x}"
    square = False

    @staticmethod
    def forward(x: Any) -> Any:
        return lapack("svdvals", "has singular values that are not found", np.linalg.svdvals, x)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        *lead, m, n = avals[0].shape
        return Aval((*lead, min(m, n)), np.empty(0, avals[0].dtype).real.dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        m, found = inputs[0].shape[-2], svd(inputs[0])
        return (matmul(found[..., :m, :] * as_row(cotangent * sign(out)), adjoint(found[..., m + 1 :, :])),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        m, found = inputs[0].shape[-2], svd(inputs[0])
        return real(diagonal(product(adjoint(found[..., :m, :]), tangents[0], found[..., m + 1 :, :]))) * sign(out)

    def samples(self) -> list[tuple[Any, ...]]:
        return [((shape,), {}) for shape in _SAMPLES]


svd, svdvals = declare(Svd), declare(Svdvals)
