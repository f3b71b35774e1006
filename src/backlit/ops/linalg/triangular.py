"""Triangular systems, and the Cholesky decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.errors import LinAlgError, ShapeError
from backlit.core.op import Value, declare, shown
from backlit.core.source import here
from backlit.ops.contract import matmul
from backlit.ops.linalg.common import (
    Made,
    MatrixOp,
    adjoint,
    as_diagonal,
    definite,
    diagonal,
    hermitian,
    lapack,
    lower,
    np_hermitian,
    regular,
    total,
    upper,
)

_BLOCK = 128  # rows that are solved for at once; of 16 to 128 the fastest for many columns, and near it for one


def _substituted(a: Any, b: Any) -> Any:
    """The solution of an upper triangular system, from the last block of rows to the first.

    NumPy has no triangular solver. LU decomposition of an upper triangular block leaves it as it is, so that the general
    solver substitutes back without loss of the small elements; it costs n^2 _BLOCK beside n^2 columns of substitution.
    """
    n = a.shape[-1]
    if n <= _BLOCK:
        return np.linalg.solve(a, b)
    half = (n // 2 + _BLOCK - 1) // _BLOCK * _BLOCK
    below = _substituted(a[..., half:, half:], b[..., half:, :])
    above = _substituted(a[..., :half, :half], b[..., :half, :] - np.matmul(a[..., :half, half:], below))
    return np.concatenate((above, below), axis=-2)


class SolveTriangular(MatrixOp):
    """The solution `out: [..., n, k]` of `x out = y`, where one triangle of `x: [..., n, n]` is read, `y: [..., n, k]`.

    A primitive because substitution keeps digits that a general solver loses. The cotangent of `x` is zero beyond the
    triangle (and on its diagonal, if this counts as ones); it costs one more substitution and one product.

    Raises:
      LinAlgError: an element of the diagonal is 0.
    """

    name, notation = "solve_triangular", "{x}^{{-1}} {y}"
    inputs = ("x", "y")

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        x, y = super().prepare(args, params)
        params.update(upper=bool(params.get("upper", False)), unit=bool(params.get("unit", False)))
        if x.shape[-1] != y.shape[-2]:
            raise ShapeError(f"{self.name}: expected [n, n] and [n, k], got {shown(x)} and {shown(y)}{here()}")
        return x, y

    @staticmethod
    def forward(x: Any, y: Any, *, upper: bool, unit: bool) -> Any:
        n = x.shape[-1]
        a = np.where(np.tri(n, dtype=bool).T if upper else np.tri(n, dtype=bool), x, x.dtype.type(0))
        if unit:
            a[..., np.arange(n), np.arange(n)] = 1
        zero = np.argwhere(np.diagonal(a, axis1=-2, axis2=-1) == 0)
        if zero.size:
            *at, row = map(int, zero[0])
            matrix = f"matrix {at} of the batch" if at else "the matrix"
            raise LinAlgError(f"solve_triangular: {matrix} is singular: element {row} of its diagonal is 0{here()}")
        if not upper:  # turned about it is upper triangular
            return _substituted(a[..., ::-1, ::-1], y[..., ::-1, :])[..., ::-1, :].copy()
        return _substituted(a, y)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[1].shape, avals[1].dtype)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"} if argnum == 0 else {"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        found = self(adjoint(inputs[0]), cotangent, upper=not params["upper"], unit=params["unit"])
        return (
            _triangle(matmul(-found, adjoint(out)), **params) if wanted[0] else None,
            found if wanted[1] else None,
        )

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        x, y = tangents
        terms = [] if y is None else [y]
        if x is not None:
            terms.append(matmul(_triangle(-x, **params), out))
        return self(inputs[0], total(terms), **params)

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            ((Made((3, 3), regular), (3, 2)), {"upper": False}),
            ((Made((2, 2, 2), regular), (2, 2, 1)), {"upper": True}),
            ((Made((2, 2), regular), (2, 2)), {"upper": True, "unit": True}),
            (((0, 0), (0, 2)), {"upper": False}),
            (((0, 2, 2), (0, 2, 1)), {"upper": False}),
        ]


def _triangle(x: Value, upper: bool, unit: bool) -> Value:
    """The part of `x` that a triangular solver reads."""
    return _upper(x, int(unit)) if upper else lower(x, -int(unit))


_upper = upper
solve_triangular = declare(SolveTriangular)


class Cholesky(MatrixOp):
    """The lower triangular `out` with positive diagonal and `out out^H = (x + x^H) / 2`, for `x: [..., n, n]`.

    The Hermitian part of `x` is decomposed, so that its gradient is Hermitian and is right for every change of `x`. The VJP
    costs two triangular systems and one product (Murray, Differentiation of the Cholesky decomposition, 2016, eq. 10).

    Raises:
      LinAlgError: the Hermitian part of `x` is not positive definite.
    """

    name, notation = "cholesky", r"\operatorname{{cholesky}} {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        return lapack("cholesky", "is not positive definite", np.linalg.cholesky, np_hermitian(x))

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"out"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        turned = adjoint(out)
        inner = _lower_half(matmul(turned, lower(cotangent)))
        left = solve_triangular(turned, inner, upper=True)
        return (hermitian(adjoint(solve_triangular(turned, adjoint(left), upper=True))),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        left = solve_triangular(out, hermitian(tangents[0]), upper=False)
        return matmul(out, _lower_half(solve_triangular(out, adjoint(left), upper=False)))

    def samples(self) -> list[tuple[Any, ...]]:
        made = [Made((3, 3), definite), Made((2, 2, 2), definite), Made((1, 1), definite), (0, 0), (0, 2, 2)]
        return [((shape,), {}) for shape in made]


def _lower_half(x: Value) -> Value:
    """The lower triangle of `x` with half its diagonal."""
    return lower(x) - 0.5 * as_diagonal(diagonal(x))


cholesky = declare(Cholesky)
