"""Linear algebra of matrices in the last two axes: the array API's extension, and what it lacks.

All broadcast over leading axes, take integers as float64, and run in float32, float64, complex64 and complex128.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import array, linear, picking
from backlit.ops import linalg as ops
from backlit.ops.complex import real
from backlit.ops.linalg.common import adjoint, as_matrices, check_matrices, check_square


class EighResult(NamedTuple):
    """Eigenvalues in ascending order `[..., n]`, and the eigenvectors as columns `[..., n, n]`."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """Orthonormal columns, and a triangular matrix."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """Left singular vectors as columns, singular values in descending order, right singular vectors as adjoint rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


_BASIS = "what is differentiated depends on the added columns, which are one of many bases and have no derivative"


def cholesky(x: Any, /, *, upper: bool = False) -> Tensor:
    """The triangular L with positive diagonal and `L L^H = x`, for positive definite `x: [..., n, n]`; L^H with `upper`.

    What is decomposed is the Hermitian part `(x + x^H) / 2`: for a matrix that is not Hermitian NumPy reads the lower triangle
    alone. So the gradient is Hermitian, and right for every change of `x`.

    Raises:
      LinAlgError: a matrix is not positive definite.
    """
    out = ops.cholesky(x)
    return adjoint(out) if upper else out


@scope
def cholesky_solve(b: Any, factor: Any, /, *, upper: bool = False) -> Tensor:
    """The solution of `x out = b` for the `factor` that `cholesky` gives of `x`: two triangular systems."""
    factor = as_matrices("cholesky_solve", factor)
    first = solve_triangular(adjoint(factor) if upper else factor, b)
    return solve_triangular(factor if upper else adjoint(factor), first, upper=True)


@scope
def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """Orthonormal columns Q and triangular R with `Q R = x: [..., m, n]`.

    With k = min(m, n) and `mode="reduced"` Q is [..., m, k] and R [..., k, n]; with "complete" they are [..., m, m] and
    [..., m, n]. Derivatives exist where the first k columns of `x` are independent. Columns that "complete" adds to a tall
    matrix are one of many bases of a space: functions of the space have a gradient, those of the choice an error.

    Raises:
      ArgumentError: `mode` is neither.
      GradientError: in a reverse pass, what is differentiated depends on the choice of the added columns.
      LinAlgError: in a derivative, the first k columns depend on each other.
    """
    if mode not in ("reduced", "complete"):
        raise ArgumentError(f"qr: mode must be 'reduced' or 'complete', got {mode!r}{here()}")
    x = as_matrices("qr", x)
    check_matrices("qr", x)
    *lead, m, n = x.shape
    packed = ops.qr(x)
    q, r = packed[..., :m, :], adjoint(packed[..., m:, :])
    if mode == "complete" and m > n:
        message = f"qr: with mode='complete' {_BASIS}; use mode='reduced'"
        q = linear.concat(q, ops.complement(q, message=message), axis=-1)
        r = linear.concat(r, Tensor(np.zeros((*lead, m - n, n), x.dtype)), axis=-2)
    return QRResult(q, r)


@scope
def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition `U diag(S) Vh = x: [..., m, n]`, with the singular values in descending order.

    With k = min(m, n) and `full_matrices=False` U is [..., m, k] and Vh [..., k, n]; else they are [..., m, m] and [..., n, n],
    and what is added is one of many bases of a space: functions of the space have a gradient, those of the choice an error.
    Derivatives of U and Vh exist where the singular values differ, and if `x` is not square are not 0; those of S always
    (at 0 it is 0). Complex vectors have a common phase, with which it is as with a basis.

    Raises:
      GradientError: in a reverse pass, a cotangent reaches vectors that have no derivative.
    """
    x = as_matrices("svd", x)
    check_matrices("svd", x)
    m, n = x.shape[-2:]
    packed = ops.svd(x)
    u, s, v = packed[..., :m, :], real(packed[..., m, :]), packed[..., m + 1 :, :]
    if full_matrices and m != n:
        message = f"svd: with full_matrices=True {_BASIS}; use full_matrices=False"
        if m > n:
            u = linear.concat(u, ops.complement(u, message=message), axis=-1)
        else:
            v = linear.concat(v, ops.complement(v, message=message), axis=-1)
    return SVDResult(u, s, adjoint(v))


def svdvals(x: Any, /) -> Tensor:
    """Singular values of `x: [..., m, n]` in descending order, `[..., min(m, n)]`; their derivative at 0 is 0."""
    return ops.svdvals(x)


@scope
def eigh(x: Any, /) -> EighResult:
    """Eigenvalues, in ascending order, and eigenvectors of the Hermitian part `(x + x^H) / 2` of `x: [..., n, n]`.

    The derivatives of eigenvectors exist where their eigenvalues differ from all others; those of the eigenvalues do not
    divide by differences. Complex eigenvectors have a phase each, on which what is differentiated must not depend.

    Raises:
      GradientError: in a reverse pass, a cotangent reaches eigenvectors of equal eigenvalues, or turns a phase.
    """
    packed = ops.eigh(x)
    return EighResult(real(packed[..., 0, :]), packed[..., 1:, :])


def eigvalsh(x: Any, /) -> Tensor:
    """Eigenvalues of the Hermitian part `(x + x^H) / 2` of `x: [..., n, n]` in ascending order.

    Where some are equal, the gradient is right for functions of them that do not depend on their order.
    """
    return ops.eigvalsh(x)


def _columns(name: str, a: Any, b: Any, square: bool) -> tuple[Tensor, Tensor, bool]:
    """Matrices, right-hand sides as columns, and whether they were one vector."""
    a, b = as_matrices(name, a), as_matrices(name, b)
    (check_square if square else check_matrices)(name, a)
    vector = b.ndim == 1
    if not b.ndim or a.shape[-2] != b.shape[0 if vector else -2]:
        raise ShapeError(f"{name}: expected [..., m, n] and [m] or [..., m, k], got {shown(a)} and {shown(b)}{here()}")
    return a, linear.reshape(b, shape=(*b.shape, 1)) if vector else b, vector


def _applied(name: str, op: Any, a: Tensor, b: Tensor, vector: bool, **params: Any) -> Tensor:
    """`op` over the common leading axes; one matrix is decomposed once for all right-hand sides."""
    if a.ndim == 2 and b.ndim > 2:
        out = ops.in_columns(op, a, b, **params)
    else:
        if a.shape[:-2] != b.shape[:-2]:
            try:
                lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
            except ValueError:
                raise ShapeError(f"{name}: leading axes do not broadcast: {shown(a)} and {shown(b)}{here()}") from None
            a, b = (linear.broadcast_to(x, shape=(*lead, *x.shape[-2:])) for x in (a, b))
        out = op(a, b, **params)
    return linear.reshape(out, shape=out.shape[:-1]) if vector else out


@scope
def solve(x1: Any, x2: Any, /) -> Tensor:
    """The solution of `x1 out = x2` for `x1: [..., n, n]` and `x2: [n]` or `[..., n, k]`, by LU decomposition.

    A reverse pass decomposes once more: LAPACK's factors are not kept.

    Raises:
      LinAlgError: a matrix is singular.
    """
    a, b, vector = _columns("solve", x1, x2, True)
    return _applied("solve", ops.solve, a, b, vector)


@scope
def solve_triangular(
    x1: Any, x2: Any, /, *, upper: bool = False, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """The solution of `x1 out = x2` for triangular `x1: [..., n, n]` and `x2: [n]` or `[..., n, k]`, by substitution.

    The other triangle is not read, nor the diagonal with `unitriangular`, which counts it as ones. With `left=False` the
    solution is that of `out x1 = x2`, `x2: [..., k, n]`. Costs n^2 operations a column, and about 100 n^2 once.

    Raises:
      LinAlgError: an element of a diagonal is 0.
    """
    if not left:
        a, b = as_matrices("solve_triangular", x1), as_matrices("solve_triangular", x2)
        check_square("solve_triangular", a)
        check_matrices("solve_triangular", b)
        return adjoint(  # type: ignore[no-any-return]
            solve_triangular(adjoint(a), adjoint(b), upper=not upper, unitriangular=unitriangular)
        )
    a, b, vector = _columns("solve_triangular", x1, x2, True)
    return _applied("solve_triangular", ops.solve_triangular, a, b, vector, upper=upper, unit=unitriangular)


def inv(x: Any, /) -> Tensor:
    """The inverse of `x: [..., n, n]`; for `inv(x) @ b` use `solve`, which is more exact.

    Raises:
      LinAlgError: a matrix is singular.
    """
    return ops.inv(x)


def _tolerance(name: str, x: Tensor, rtol: Any) -> Any:
    """The relative size up to which singular values count as 0: a number, or nested tuples of one for each matrix."""
    if rtol is None:
        return float(max(x.shape[-2:]) * np.finfo(x.dtype).eps)
    values = np.asarray(rtol._concrete() if isinstance(rtol, Tensor) else rtol, np.float64)
    try:
        np.broadcast_to(values, x.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"{name}: rtol {list(values.shape)} does not fit the leading axes of {shown(x)}{here()}"
        ) from None
    return _tuples(values.tolist())


def _tuples(x: Any) -> Any:
    return tuple(map(_tuples, x)) if isinstance(x, list) else x


def pinv(x: Any, /, *, rtol: Any = None) -> Tensor:
    """The Moore-Penrose inverse of `x: [..., m, n]`.

    Singular values up to `rtol` times the largest count as 0, by default max(m, n) eps. The derivative is that of matrices
    of the same rank.
    """
    x = as_matrices("pinv", x)
    check_matrices("pinv", x)
    return ops.pinv(x, rtol=_tolerance("pinv", x, rtol))


@scope
def lstsq(x1: Any, x2: Any, /, *, rtol: Any = None) -> Tensor:
    """The `out` of least norm with the least `|x1 out - x2|`, for `x1: [..., m, n]` and `x2: [m]` or `[..., m, k]`.

    Tall, wide and rank-deficient matrices: singular values up to `rtol` times the largest, by default max(m, n) eps, count as
    0. The derivative is that of matrices of the same rank. NumPy's other results are `x2 - x1 @ out`, `matrix_rank` and
    `svdvals`.
    """
    a, b, vector = _columns("lstsq", x1, x2, False)
    return _applied("lstsq", ops.lstsq, a, b, vector, rtol=_tolerance("lstsq", a, rtol))


def det(x: Any, /) -> Tensor:
    """Determinant of `x: [..., n, n]`; first and second derivatives are right for singular matrices too."""
    return ops.det(x)


@scope
def slogdet(x: Any, /) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant of `x: [..., n, n]`: of a singular one 0 and -inf.

    Raises:
      LinAlgError: in a derivative, a matrix is singular.
    """
    packed = ops.slogdet(x)
    return SlogdetResult(packed[..., 0], real(packed[..., 1]))


@scope
def matrix_power(x: Any, n: int, /) -> Tensor:
    """`x: [..., n, n]` to an integer power, by squaring; a negative power is one of the inverse.

    Raises:
      LinAlgError: a matrix is singular and `n` is negative.
      ArgumentError: `n` is not an integer.
    """
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool):
        raise ArgumentError(f"matrix_power: the power must be an integer, got {n!r}{here()}")
    x, n = as_matrices("matrix_power", x), int(n)
    check_square("matrix_power", x)
    if n == 0:
        return linear.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), shape=x.shape)
    square, n = (ops.inv(x), -n) if n < 0 else (x, n)
    out = None
    while n:
        if n & 1:
            out = square if out is None else array.matmul(out, square)
        n >>= 1
        square = array.matmul(square, square) if n else square
    assert out is not None
    return out


def diagonal(x: Any, /, *, offset: int = 0) -> Tensor:
    """The diagonal `offset` of the matrices `x: [..., m, n]`: `[..., k]`."""
    return picking.diagonal(_matrices("diagonal", x), offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum along the diagonal `offset` of the matrices `x: [..., m, n]`: `[...]`."""
    return picking.trace(_matrices("trace", x), offset, -2, -1, dtype=dtype)


def _matrices(name: str, x: Any) -> Tensor:
    x = as_tensor(x)
    check_matrices(name, x)
    return x  # type: ignore[no-any-return]


def matrix_exp(x: Any, /) -> Tensor:
    """The exponential of `x: [..., n, n]` by scaling and squaring; a derivative costs one of a matrix of twice the size."""
    return ops.matrix_exp(x)
