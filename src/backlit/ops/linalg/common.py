"""What the ops of linear algebra share: their operands, errors with the place in the batch, triangles and adjoints.

Rules are written with `adjoint`, the conjugate transpose, so that they hold for complex matrices too. An op with several
results gives them one below the other in one array, `[..., rows, columns]`; its function takes them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import promote
from backlit.core.errors import DTypeError, LinAlgError, ShapeError
from backlit.core.op import Op, Value, shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.complex import conj
from backlit.ops.contract import matmul, matrix_transpose
from backlit.ops.elementwise import where
from backlit.ops.linear import astype, batched_all, reshape, sum

_PRECISIONS = frozenset(map(np.dtype, (np.float32, np.float64, np.complex64, np.complex128)))


def as_matrices(name: str, x: Any) -> Tensor:
    """`x` as a tensor of floats; integers and booleans become float64, as in NumPy.

    Raises:
      DTypeError: `x` has a precision that LAPACK has no routines for, such as float16.
    """
    x = as_tensor(x)
    if x.dtype.kind in "biu":
        return astype(x, dtype=np.float64)
    if x.dtype not in _PRECISIONS:
        raise DTypeError(
            f"{name}: expected float32, float64, complex64 or complex128, got {shown(x)}; use .astype{here()}"
        )
    return x  # type: ignore[no-any-return]


def check_matrices(name: str, x: Tensor) -> None:
    """Raises for what has fewer than two axes."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected matrices [..., m, n], got {shown(x)}{here()}")


def check_square(name: str, x: Tensor) -> None:
    """Raises for matrices that are not square."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name}: expected square matrices [..., n, n], got {shown(x)}{here()}")


def lapack(name: str, what: str, function: Callable[..., Any], *operands: Any, **options: Any) -> Any:
    """`function(*operands, **options)`; its failure becomes an error that says `what` is wrong with which matrix.

    The place in the batch is found by trying one matrix after the other.
    """
    try:
        return function(*operands, **options)
    except np.linalg.LinAlgError:
        lead = operands[0].shape[:-2]
        place = next((at for at in np.ndindex(*lead) if _fails(function, [a[at] for a in operands])), None)
        matrix = "the matrix" if not lead or place is None else f"matrix {list(map(int, place))} of the batch"
        raise LinAlgError(f"{name}: {matrix} {what}{here()}") from None


def _fails(function: Callable[..., Any], operands: list[Any]) -> bool:
    try:
        function(*operands)
    except np.linalg.LinAlgError:
        return True
    return False


class MatrixOp(Op):
    """An op on the last two axes of each operand, all of which have the same leading axes and dtype."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    square: ClassVar[bool] = True  # whether the first operand is square

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        tensors = [as_matrices(self.name, a) for a in args]
        (check_square if self.square else check_matrices)(self.name, tensors[0])
        dtype = tensors[0].dtype
        for t in tensors[1:]:
            check_matrices(self.name, t)
            dtype = promote(dtype, t.dtype)
            if t.shape[:-2] != tensors[0].shape[:-2]:
                raise ShapeError(
                    f"{self.name}: the leading axes differ: {' and '.join(map(shown, tensors))}; "
                    f"see broadcast_to{here()}"
                )
        return tuple(t if t.dtype == dtype else astype(t, dtype=dtype) for t in tensors)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape, avals[0].dtype)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(*batched_all(size, args, batched), **params)


class Made(tuple[int, ...]):
    """Shape of an array in `samples()`, and what turns numbers drawn within the domain into a matrix of the right kind."""

    kind: Callable[[Any], Any]

    def __new__(cls, shape: tuple[int, ...], kind: Callable[[Any], Any]) -> Self:
        made = super().__new__(cls, shape)
        made.kind = kind
        return made


def regular(x: Any) -> Any:
    """A matrix far from singular, of full rank, with singular values apart: `x: [..., m, n]` beside a diagonal."""
    n = min(x.shape[-2:])
    return 0.5 * x + np.eye(*x.shape[-2:]) * (2.0 + 1.5 * np.arange(x.shape[-1]) * (-1.0 if n % 2 else 1.0))


def symmetric(x: Any) -> Any:
    """A symmetric matrix with eigenvalues apart."""
    return 0.25 * (x + np.swapaxes(x, -1, -2)) + np.diag(2.0 * np.arange(x.shape[-1]) - 1.5)


def definite(x: Any) -> Any:
    """A positive definite matrix."""
    return 0.5 * np.matmul(x, np.swapaxes(x, -1, -2)) + np.eye(x.shape[-1])


# Adjoints, triangles, diagonals


def conjugate(x: Value) -> Value:
    """`x` itself where it is real."""
    return conj(x) if x.dtype.kind == "c" else x


def adjoint(x: Value) -> Value:
    """The conjugate transpose of `x: [..., m, n]`."""
    return conjugate(matrix_transpose(x))


def np_adjoint(x: Any) -> Any:
    """The conjugate transpose of a NumPy array."""
    x = np.swapaxes(x, -1, -2)
    return x.conj() if x.dtype.kind == "c" else x


def hermitian(x: Value) -> Value:
    """The Hermitian part of a square matrix, `(x + x^H) / 2`."""
    return 0.5 * (x + adjoint(x))


def skew(x: Value) -> Value:
    """The skew-Hermitian part of a square matrix, `(x - x^H) / 2`."""
    return 0.5 * (x - adjoint(x))


def np_hermitian(x: Any) -> Any:
    """The Hermitian part of a square NumPy array."""
    return 0.5 * (x + np_adjoint(x))


def lower(x: Value, k: int = 0) -> Value:
    """`x` on and below its diagonal `k`, structural zeros elsewhere."""
    return where(np.tri(x.shape[-2], x.shape[-1], k, dtype=bool), x, 0.0)


def upper(x: Value, k: int = 0) -> Value:
    """`x` on and above its diagonal `k`, structural zeros elsewhere."""
    return where(~np.tri(x.shape[-2], x.shape[-1], k - 1, dtype=bool), x, 0.0)


def diagonal(x: Value) -> Value:
    """The main diagonal of square matrices `x: [..., n, n]`: `[..., n]`."""
    return sum(where(np.eye(x.shape[-1], dtype=bool), x, 0.0), axis=-1)


def as_diagonal(x: Value) -> Value:
    """`x: [..., n]` on the diagonal of `[..., n, n]`, structural zeros elsewhere."""
    return where(np.eye(x.shape[-1], dtype=bool), as_row(x), 0.0)


def as_row(x: Value) -> Value:
    """`x: [..., n]` as `[..., 1, n]`: what scales columns."""
    return reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1]))


def as_column(x: Value) -> Value:
    """`x: [..., n]` as `[..., n, 1]`: what scales rows."""
    return reshape(x, shape=(*x.shape, 1))


def trace(x: Value) -> Value:
    """Sum of the main diagonal of square matrices `x: [..., n, n]`: `[...]`."""
    return sum(diagonal(x), axis=-1)


def scaled(x: Value, factor: Value) -> Value:
    """Each matrix of `x: [..., m, n]` times its `factor: [...]`."""
    return x * reshape(factor, shape=(*factor.shape, 1, 1))


def product(*factors: Value) -> Value:
    """The product of matrices from left to right."""
    out = factors[0]
    for factor in factors[1:]:
        out = matmul(out, factor)
    return out


def total(terms: list[Value]) -> Value:
    """Sum of terms, of which there is at least one."""
    out = terms[0]
    for term in terms[1:]:
        out = out + term
    return out
