"""Eigenvalues and eigenvectors of Hermitian matrices."""

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
from backlit.ops.elementwise import logical_and, logical_not, where
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
    np_hermitian,
    product,
    skew,
    symmetric,
)
from backlit.ops.linalg.refused import unturned
from backlit.ops.linear import astype, concat, sum

PHASE = (
    "{name}: what is differentiated depends on the phase of a vector, which is a matter of choice and has no derivative; "
    "use what does not, such as absolute values"
)
_SAMPLES = [Made((3, 3), symmetric), Made((2, 2, 2), symmetric), Made((1, 1), symmetric), (0, 0), (0, 2, 2)]


def gaps(values: Value, same: Value, at: float) -> Value:
    """1 / (values_j - values_i) for `values: [..., n]`; 0 on the diagonal, `at` where they are the `same`."""
    n = values.shape[-1]
    apart = as_row(values) - as_column(values)
    off = ~np.eye(n, dtype=bool)
    usable = logical_and(logical_not(same), off)
    found = where(usable, 1.0 / where(usable, apart, 1.0), 0.0)
    return where(logical_and(same, off), at, found) if at else found


def alive_columns(mask: Value, first: int, last: int, shape: tuple[int, ...]) -> Value:
    """Which columns have a structurally nonzero element in the rows from `first` to `last` of an array of this shape."""
    if mask is None:
        return np.ones((*shape[:-2], shape[-1]), bool)
    return sum(astype(mask[..., first:last, :], dtype=np.intp), axis=-2) > 0


class Eigh(MatrixOp):
    """Eigenvalues in ascending order and, below them, eigenvectors of the Hermitian part of `x: [..., n, n]`.

    The result is `out: [..., 1 + n, n]`; each eigenvector is a column of norm 1. The derivative of a vector divides by the
    differences of its eigenvalue from all others (Giles, 2008, section 3.1). Where such a difference is 0 to within
    rounding the vector is not determined: a cotangent that reaches it is an error, its tangent is NaN. Cotangents of the
    eigenvalues alone never divide. Complex vectors are determined up to a phase: the derivative of what depends on it is an
    error, the tangent that of a vector that moves orthogonally to itself.

    Raises:
      LinAlgError: the iteration does not converge.
      GradientError: in the reverse rule, the derivative of a vector, or of its phase, does not exist.
    """

    name, notation = "eigh", r"\operatorname{{eigh}} {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        values, vectors = lapack("eigh", "has eigenvalues that are not found", np.linalg.eigh, np_hermitian(x))
        return np.concatenate((values[..., None, :].astype(x.dtype), vectors), axis=-2)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        *lead, n, _ = avals[0].shape
        return Aval((*lead, n + 1, n), avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        (value, mask), values, vectors = cotangent, real(out[..., 0, :]), out[..., 1:, :]
        alive = alive_columns(mask, 1, out.shape[-2], out.shape)
        inverse_gaps = gaps(values, coincident(values, alive, who="eigh", zero=False), 0.0)
        inner = skew(matmul(adjoint(vectors), value[..., 1:, :]))
        turned = as_diagonal(real(value[..., 0, :])) + inner * inverse_gaps
        found = product(vectors, turned, adjoint(vectors))
        if out.dtype.kind == "c":
            found = found + unturned(
                as_row(diagonal(inner)), value[..., 1:, :], node.up.shape, PHASE.format(name="eigh")
            )
        return ((found, None),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        values, vectors = real(out[..., 0, :]), out[..., 1:, :]
        change = product(adjoint(vectors), hermitian(tangents[0]), vectors)
        same = coincident(values, np.zeros(values.shape, bool), who="", zero=False)
        turned = matmul(vectors, change * gaps(values, same, math.nan))
        return concat(as_row(real(diagonal(change))), turned, axis=-2)

    def samples(self) -> list[tuple[Any, ...]]:
        return [((shape,), {}) for shape in _SAMPLES]


class Eigvalsh(MatrixOp):
    """Eigenvalues of the Hermitian part of `x: [..., n, n]` in ascending order: `out: [..., n]`.

    A primitive because the values alone cost a fraction of `eigh`, which its rules run. Where several are equal the
    derivative is that of a symmetric function of them; of one of them alone there is none.
    """

    name, notation = "eigvalsh", r"\operatorname{{eigvalsh}} {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        return lapack("eigvalsh", "has eigenvalues that are not found", np.linalg.eigvalsh, np_hermitian(x))

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        dtype = avals[0].dtype
        return Aval(avals[0].shape[:-1], np.empty(0, dtype).real.dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        vectors = eigh(inputs[0])[..., 1:, :]
        return (matmul(vectors * as_row(cotangent), adjoint(vectors)),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        vectors = eigh(inputs[0])[..., 1:, :]
        return real(diagonal(product(adjoint(vectors), hermitian(tangents[0]), vectors)))

    def samples(self) -> list[tuple[Any, ...]]:
        return [((shape,), {}) for shape in _SAMPLES]


eigh, eigvalsh = declare(Eigh), declare(Eigvalsh)
