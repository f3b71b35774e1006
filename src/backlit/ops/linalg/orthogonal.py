"""The QR decomposition, and what completes orthonormal columns to a basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.graph import Node
from backlit.core.op import Masked, Value, declare
from backlit.ops.contract import matmul
from backlit.ops.linalg.common import (
    Made,
    MatrixOp,
    adjoint,
    as_diagonal,
    diagonal,
    hermitian,
    lower,
    np_adjoint,
    product,
    regular,
    skew,
    upper,
)
from backlit.ops.linalg.refused import unturned
from backlit.ops.linalg.solving import pinv
from backlit.ops.linalg.triangular import solve_triangular
from backlit.ops.linear import concat


class Qr(MatrixOp):
    """The reduced QR decomposition `x = q r` of `x: [..., m, n]`, with k = min(m, n) orthonormal columns q and triangular r.

    The result is `out: [..., m + n, k]`, q and below it the adjoint of r. Derivatives exist where the first k columns of `x`
    are independent. Tall: Walter and Lehmann, Algorithmic differentiation of linear algebra functions, 2010, section 4;
    wide: Roberts and Roberts, QR and LQ decomposition matrix backpropagation algorithms, 2020.

    Raises:
      LinAlgError: in the derivative, the first k columns depend on each other.
    """

    name, notation = "qr", r"\operatorname{{qr}} {x}"
    square = False

    @staticmethod
    def forward(x: Any) -> Any:
        q, r = np.linalg.qr(x)
        return np.concatenate((q, np_adjoint(r)), axis=-2)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        *lead, m, n = avals[0].shape
        return Aval((*lead, m + n, min(m, n)), avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        value, (m, n) = cotangent[0], node.up.shape[-2:]
        q, turned = out[..., :m, :], out[..., m:, :]
        along_q, along_turned = value[..., :m, :], lower(value[..., m:, :])
        if m >= n:
            return ((_pulled(q, turned, along_q, along_turned), None),)
        first, rest, along_rest = turned[..., :m, :], turned[..., m:, :], along_turned[..., m:, :]
        along_q = along_q + matmul(q, matmul(adjoint(rest), along_rest))
        left = _pulled(q, first, along_q, along_turned[..., :m, :])
        return ((concat(left, matmul(q, adjoint(along_rest)), axis=-1), None),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        along, (m, n) = tangents[0], inputs[0].shape[-2:]
        assert along is not None
        q, turned = out[..., :m, :], out[..., m:, :]
        if m >= n:
            return concat(*_pushed(q, turned, along), axis=-2)
        first, rest = turned[..., :m, :], turned[..., m:, :]
        along_q, along_first = _pushed(q, first, along[..., :m])
        along_rest = matmul(adjoint(along[..., m:]), q) - matmul(rest, matmul(adjoint(along_q), q))
        return concat(along_q, along_first, along_rest, axis=-2)

    def samples(self) -> list[tuple[Any, ...]]:
        made = [Made(shape, regular) for shape in ((3, 2), (2, 3), (2, 2, 2), (3, 3))]
        return [((shape,), {}) for shape in [*made, (0, 0), (0, 2), (0, 2, 3)]]


def _real_diagonal(x: Value) -> Value:
    """The diagonal of `x` as a diagonal matrix, without imaginary parts."""
    return hermitian(as_diagonal(diagonal(x)))


def _pulled(q: Value, turned: Value, along_q: Value, along_turned: Value) -> Value:
    """Cotangent of a tall matrix from those of q and of the adjoint of r."""
    inner = matmul(adjoint(turned), along_turned) - matmul(adjoint(along_q), q)
    strict = lower(inner, -1)
    seen = along_q + matmul(q, strict + adjoint(strict) + _real_diagonal(inner))
    return adjoint(solve_triangular(adjoint(turned), adjoint(seen), upper=True))


def _pushed(q: Value, turned: Value, along: Value) -> tuple[Value, Value]:
    """Tangents of q and of the adjoint of r from that of a tall matrix."""
    seen = adjoint(solve_triangular(turned, adjoint(along)))  # along r^-1
    inner = matmul(adjoint(q), seen)
    strict = lower(inner, -1)
    upright = upper(inner, 1) + adjoint(strict) + _real_diagonal(inner)  # the tangent of r is this times r
    return seen - matmul(q, upright), matmul(turned, adjoint(upright))


class Complement(MatrixOp):
    """Orthonormal columns `out: [..., m, m - k]` that are orthogonal to all columns of `x: [..., m, k]`, which are independent.

    They are one of many bases of a space, and it is the space that has a derivative. The reverse rule is right for functions
    of the space; a cotangent that would turn the basis within it is an error that says `message`. The tangent is that of a
    basis that does not turn.

    Raises:
      GradientError: in the reverse rule, what is differentiated depends on the choice of the basis.
    """

    name, notation = "complement", r"\operatorname{{complement}} {x}"
    square = False

    @staticmethod
    def forward(x: Any, *, message: str) -> Any:
        return np.linalg.qr(x, mode="complete")[0][..., x.shape[-1] :]

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        *lead, m, k = avals[0].shape
        return Aval((*lead, m, m - k), avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        (x,) = inputs
        checked = unturned(skew(matmul(adjoint(out), cotangent)), cotangent, x.shape, **params)
        return (checked - product(out, adjoint(cotangent), _dual(x)),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        return -product(_dual(inputs[0]), adjoint(tangents[0]), out)

    def samples(self) -> list[tuple[Any, ...]]:
        message = {"message": "no derivative"}
        shapes = (Made((3, 2), regular), Made((2, 2, 1), regular), Made((2, 2), regular), (0, 2, 1))
        return [((shape,), message) for shape in shapes]


def _dual(x: Value) -> Value:
    """The adjoint of the pseudoinverse of independent columns."""
    return adjoint(pinv(x, rtol=0.0))


qr, complement = declare(Qr), declare(Complement)
