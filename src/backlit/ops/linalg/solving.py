"""Systems of equations: solve, inv, pinv, lstsq."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import ShapeError
from backlit.core.op import Value, declare, shown
from backlit.core.source import here
from backlit.ops.contract import matmul
from backlit.ops.linalg.common import (
    Made,
    MatrixOp,
    adjoint,
    lapack,
    np_adjoint,
    product,
    regular,
    total,
)
from backlit.ops.linear import permute_dims, reshape


class Solve(MatrixOp):
    """The solution `out: [..., n, k]` of `x out = y` for `x: [..., n, n]`, `y: [..., n, k]`, by LU decomposition.

    Its VJP decomposes the adjoint of `x` again, as NumPy keeps no factors (Giles, 2008, section 2.3.1).

    Raises:
      LinAlgError: `x` is singular.
    """

    name, notation = "solve", "{x}^{{-1}} {y}"
    inputs = ("x", "y")

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = super().prepare(args, params)
        if x.shape[-1] != y.shape[-2]:
            raise ShapeError(f"{self.name}: expected [n, n] and [n, k], got {shown(x)} and {shown(y)}{here()}")
        return x, y

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        return lapack("solve", "is singular", np.linalg.solve, x, y)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[1].shape, avals[1].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"} if argnum == 0 else {"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        found = solve(adjoint(inputs[0]), cotangent)
        return matmul(-found, adjoint(out)) if wanted[0] else None, found if wanted[1] else None

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        x, y = tangents
        terms = [] if y is None else [y]
        if x is not None:
            terms.append(matmul(-x, out))
        return solve(inputs[0], total(terms))

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        if batched == (False, True) and args[0].ndim == 2:  # one decomposition for all right-hand sides
            return in_columns(solve, *args)
        return super().batch(size, args, batched, params)

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            ((Made((3, 3), regular), (3, 2)), {}),
            ((Made((2, 2, 2), regular), (2, 2, 1)), {}),
            (((0, 0), (0, 2)), {}),
            (((0, 2, 2), (0, 2, 1)), {}),
        ]


def in_columns(op: Any, x: Value, y: Value, **params: Any) -> Value:
    """`op` of one matrix `x: [m, n]` and many `y: [..., n, k]`, their columns side by side."""
    *lead, n, k = y.shape
    front = tuple(range(y.ndim))
    side_by_side = reshape(permute_dims(y, axes=(front[-2], *front[:-2], front[-1])), shape=(n, math.prod(lead) * k))
    out = op(x, side_by_side, **params)
    apart = reshape(out, shape=(out.shape[0], *lead, k))
    return permute_dims(apart, axes=(*front[1:-1], 0, front[-1]))


class Inv(MatrixOp):
    """The inverse of `x: [..., n, n]` (Giles, 2008, section 2.2.3).

    Raises:
      LinAlgError: `x` is singular.
    """

    name, notation = "inv", "{x}^{{-1}}"

    @staticmethod
    def forward(x: Any) -> Any:
        return lapack("inv", "is singular", np.linalg.inv, x)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        turned = adjoint(out)
        return (product(-turned, cotangent, turned),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        return product(-out, tangents[0], out)

    def samples(self) -> list[tuple[Any, ...]]:
        return [((s,), {}) for s in (Made((3, 3), regular), Made((2, 2, 2), regular), (1, 1), (0, 0), (0, 2, 2))]


def _decomposed(name: str, x: Any, rtol: Any) -> tuple[Any, Any, Any]:
    """U, the inverses of the singular values (0 for those up to `rtol` times the largest), and V^H."""
    u, s, vh = lapack(name, "has singular values that are not found", np.linalg.svd, x, full_matrices=False)
    cutoff = np.asarray(rtol, s.dtype)[..., None] * np.max(s, axis=-1, keepdims=True, initial=0)
    kept = s > cutoff
    return u, np.where(kept, 1 / np.where(kept, s, 1), 0), vh


class Pinv(MatrixOp):
    """The Moore-Penrose inverse of `x: [..., m, n]`; singular values up to `rtol` times the largest count as 0.

    `rtol` is a number, or nested tuples with one for each matrix. The derivative is that of matrices of the same rank
    (Golub and Pereyra, 1973, eq. 4.12): where the rank changes there is none.
    """

    name, notation = "pinv", "{x}^{{+}}"
    square = False

    @staticmethod
    def forward(x: Any, *, rtol: Any) -> Any:
        u, inverses, vh = _decomposed("pinv", x, rtol)
        return np.matmul(np_adjoint(vh), inverses[..., None] * np_adjoint(u))

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        *lead, m, n = avals[0].shape
        return Aval((*lead, n, m), avals[0].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        (x,), turned, given = inputs, adjoint(out), adjoint(cotangent)
        right, left = product(given, out, turned), product(turned, out, given)
        return (product(-turned, cotangent, turned) + right - product(x, out, right) + left - product(left, out, x),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        (x,), (tangent,), turned = inputs, tangents, adjoint(out)
        given = adjoint(tangent)
        right, left = product(out, turned, given), product(given, turned, out)
        return product(-out, tangent, out) + right - product(right, x, out) + left - product(out, x, left)

    def samples(self) -> list[tuple[Any, ...]]:
        shapes = (Made((3, 2), regular), Made((2, 3), regular), Made((2, 2, 2), regular), (0, 2), (0, 2, 3), (2, 0))
        return [((s,), {"rtol": 1e-12}) for s in shapes]


class Lstsq(MatrixOp):
    """The `out: [..., n, k]` of least norm among those with the least `|x out - y|`, for `x: [..., m, n]`, `y: [..., m, k]`.

    Singular values of `x` up to `rtol` times the largest count as 0, as in `pinv`. A primitive because `pinv(x) @ y` loses
    digits where `out` is small; its rules use `pinv`, and are those of matrices of the same rank (Golub and Pereyra, 1973).
    """

    name, notation = "lstsq", "{x}^{{+}} {y}"
    inputs = ("x", "y")
    square = False

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = super().prepare(args, params)
        if x.shape[-2] != y.shape[-2]:
            raise ShapeError(f"{self.name}: expected [m, n] and [m, k], got {shown(x)} and {shown(y)}{here()}")
        return x, y

    @staticmethod
    def forward(x: Any, y: Any, *, rtol: Any) -> Any:
        u, inverses, vh = _decomposed("lstsq", x, rtol)
        return np.matmul(np_adjoint(vh), inverses[..., None] * np.matmul(np_adjoint(u), y))

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        x, y = avals
        return Aval((*x.shape[:-2], x.shape[-1], y.shape[-1]), y.dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y", "out"} if argnum == 0 else {"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        x, y = inputs
        inverse = pinv(x, **params)
        turned = adjoint(inverse)
        pulled = matmul(turned, cotangent)
        if not wanted[0]:
            return None, pulled
        residual = y - matmul(x, out)
        smooth = matmul(inverse, pulled)  # (x^H x)^+ cotangent
        outside = cotangent - product(inverse, x, cotangent)
        return (
            matmul(residual, adjoint(smooth)) - matmul(pulled, adjoint(out))
            + matmul(matmul(turned, out), adjoint(outside)),
            pulled if wanted[1] else None,
        )  # fmt: skip

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        (x, y), (along_x, along_y) = inputs, tangents
        inverse = pinv(x, **params)
        terms = [] if along_y is None else [matmul(inverse, along_y)]
        if along_x is not None:
            given, turned = adjoint(along_x), adjoint(inverse)
            seen = product(given, turned, out)
            terms += [
                matmul(inverse, matmul(turned, matmul(given, y - matmul(x, out))) - matmul(along_x, out)),
                seen - product(inverse, x, seen),
            ]
        return total(terms)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        if batched == (False, True) and args[0].ndim == 2:
            return in_columns(lstsq, *args, **params)
        return super().batch(size, args, batched, params)

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            ((Made((3, 2), regular), (3, 2)), {"rtol": 1e-12}),
            ((Made((2, 3), regular), (2, 1)), {"rtol": 1e-12}),
            ((Made((2, 2, 2), regular), (2, 2, 1)), {"rtol": 1e-12}),
            (((0, 2), (0, 1)), {"rtol": 1e-12}),
            (((0, 3, 2), (0, 3, 1)), {"rtol": 1e-12}),
        ]


solve, inv, pinv, lstsq = declare(Solve), declare(Inv), declare(Pinv), declare(Lstsq)
