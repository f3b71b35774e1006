"""Determinants, and the adjugate that is their derivative, right for singular matrices too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.op import Value, declare
from backlit.ops.complex import conj, imag, make_complex, real
from backlit.ops.contract import matmul
from backlit.ops.linalg.common import (
    Made,
    MatrixOp,
    adjoint,
    np_adjoint,
    regular,
    scaled,
    trace,
)
from backlit.ops.linalg.solving import inv
from backlit.ops.linear import concat, pad, reshape


class Det(MatrixOp):
    """The determinant of `x: [..., n, n]`, giving `out: [...]`.

    Its derivative is the adjugate: first and second derivatives exist, and are right, for every matrix, also a singular one.
    """

    name, notation = "det", r"\det {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        return np.linalg.det(x)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape[:-2], avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        return (scaled(adjoint(adjugate(inputs[0])), cotangent),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        return trace(matmul(adjugate(inputs[0]), tangents[0]))

    def samples(self) -> list[tuple[Any, ...]]:
        return [((s,), {}) for s in ((3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2))]


def _products_without(s: Any) -> Any:
    """For singular values `s: [..., n]` the products of all but one of them."""
    ones = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate((ones, s[..., :-1]), -1), axis=-1)
    behind = np.cumprod(np.concatenate((ones, s[..., :0:-1]), -1), axis=-1)[..., ::-1]
    return before * behind


def _products_without_two(s: Any) -> Any:
    """For singular values `s: [..., n]` the products of all but two of them; 0 on the diagonal."""
    n = s.shape[-1]
    alone = np.eye(n, dtype=bool)
    rows = np.where(alone, s.dtype.type(1), s[..., None, :])  # row i has a one in the place of s_i
    return np.where(alone, s.dtype.type(0), _products_without(rows)) if n else np.zeros((*s.shape, 0), s.dtype)


def _signed_svd(x: Any) -> tuple[Any, Any, Any, Any]:
    u, s, vh = np.linalg.svd(x)
    return u, s, vh, (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]


def _norms(x: Any) -> Any:
    return np.sqrt(np.sum(np.abs(x) ** 2, axis=(-2, -1)))


def _by_singular_values(x: Any) -> Any:
    u, s, vh, sign = _signed_svd(x)
    return np.matmul(np_adjoint(vh) * (sign * _products_without(s)[..., None, :]), np_adjoint(u))


class Adjugate(MatrixOp):
    """The adjugate of `x: [..., n, n]`: `out x` is the determinant times the identity.

    By the inverse where the condition is below eps^(-1/4), so that this costs no more than four digits of sixteen; else by
    singular values, whose products without one of them lose nothing when that one is small.
    """

    name, notation = "adjugate", r"\operatorname{{adj}} {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        if not x.size:
            return np.zeros_like(x)
        det = np.linalg.det(x)[..., None, None]
        usable = np.isfinite(det) & (det != 0)  # the factorisation that inverts fails where this determinant is 0
        inverse = np.linalg.inv(np.where(usable, x, np.eye(x.shape[-1], dtype=x.dtype)))
        condition = _norms(x)[..., None, None] * _norms(inverse)[..., None, None]
        usable &= condition < np.finfo(x.dtype).eps ** -0.25
        if usable.all():
            return det * inverse
        return np.where(usable, det * inverse, _by_singular_values(x))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        return (adjugate_tangent(adjoint(inputs[0]), cotangent),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        return adjugate_tangent(inputs[0], tangents[0])

    def samples(self) -> list[tuple[Any, ...]]:
        return [((s,), {}) for s in (Made((3, 3), regular), Made((2, 2, 2), regular), (1, 1), (0, 0), (0, 2, 2))]


class AdjugateTangent(MatrixOp):
    """The derivative of the adjugate of `x` in the direction `y`, both `[..., n, n]`: the second derivative of the determinant.

    Right for every `x`. Its own derivative in `x` is had by the inverse.

    Raises:
      LinAlgError: in the derivative in `x` (the third one of a determinant), `x` is singular.
    """

    name, notation = "adjugate_tangent", r"\mathrm{{d}} \operatorname{{adj}}({x}) [{y}]"
    inputs = ("x", "y")

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        if not x.size:
            return np.zeros_like(x)
        u, s, vh, sign = _signed_svd(x)
        without = _products_without_two(s)
        turned = np.matmul(np_adjoint(u), np.matmul(y, np_adjoint(vh)))
        along = np.matmul(without, np.diagonal(turned, axis1=-2, axis2=-1)[..., None])
        inner = np.where(np.eye(s.shape[-1], dtype=bool), along, -without * turned)
        return np.matmul(np_adjoint(vh) * sign, np.matmul(inner, np_adjoint(u)))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"} if argnum == 0 else {"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x, y = inputs
        return (
            adjoint(_second(x, y, adjoint(cotangent))) if wanted[0] else None,
            self(adjoint(x), cotangent) if wanted[1] else None,
        )

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        (x, y), (along_x, along_y) = inputs, tangents
        pushed = None if along_y is None else self(x, along_y)
        if along_x is None:
            return pushed
        found = _second(x, y, along_x)
        return found if pushed is None else pushed + found

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            ((Made((3, 3), regular), (3, 3)), {}),
            ((Made((2, 2, 2), regular), (2, 2, 2)), {}),
            (((0, 0), (0, 0)), {}),
            (((0, 2, 2), (0, 2, 2)), {}),
        ]


def _second(x: Value, y: Value, z: Value) -> Value:
    """The second derivative of the adjugate of `x` in the directions `y` and `z`, by the inverse: symmetric in these.

    As the third derivative of a determinant is symmetric, its adjoint in `z` is the same expression.
    """
    inverse = inv(x)
    by, bz = matmul(inverse, y), matmul(inverse, z)
    ty, tz, mixed = trace(by), trace(bz), matmul(by, bz)
    both = mixed + matmul(bz, by)
    inner = scaled(inverse, ty * tz - trace(mixed)) - matmul(scaled(by, tz) + scaled(bz, ty) - both, inverse)
    return scaled(inner, det(x))


class Slogdet(MatrixOp):
    """Sign and logarithm of the absolute value of the determinant of `x: [..., n, n]`, as `out: [..., 2]`.

    The sign of a real matrix has derivative 0, that of a complex one is a phase, which moves.

    Raises:
      LinAlgError: in the derivative, `x` is singular.
    """

    name, notation = "slogdet", r"\operatorname{{slogdet}} {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        sign, log = np.linalg.slogdet(x)
        return np.stack((sign, log.astype(x.dtype)), axis=-1)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval((*avals[0].shape[:-2], 2), avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x = inputs[0]
        along = real(cotangent[..., 1])
        if x.dtype.kind == "c":
            along = make_complex(along, imag(cotangent[..., 0] * conj(slogdet(x)[..., 0])))
        return (scaled(adjoint(inv(x)), along),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        x = inputs[0]
        along = trace(matmul(inv(x), tangents[0]))
        pushed = reshape(along, shape=(*along.shape, 1))
        if x.dtype.kind == "c":
            return concat(1j * slogdet(x)[..., :1] * imag(pushed), real(pushed), axis=-1)
        return pad(pushed, width=(*((0, 0) for _ in along.shape), (1, 0)))

    def samples(self) -> list[tuple[Any, ...]]:
        return [((s,), {}) for s in (Made((3, 3), regular), Made((2, 2, 2), regular), (1, 1), (0, 0), (0, 2, 2))]


det, adjugate, adjugate_tangent = declare(Det), declare(Adjugate), declare(AdjugateTangent)
slogdet = declare(Slogdet)
