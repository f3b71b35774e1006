"""NumPy's `linalg`, with derivatives of every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.arrays import linalg, matrix_norms
from backlit.core.errors import ArgumentError, LinAlgError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.numpy.views import known, lift, plain, view
from backlit.ops import array, products, shape
from backlit.ops.norm import vector_norm


def _norm(x: Tensor, *, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors along one axis or of matrices in two; of the flattened array when neither is said."""
    if axis is None:
        if ord is None or x.ndim == 1:
            found = vector_norm(x, ord=2 if ord is None else ord)
            return shape.reshape(found, (1,) * x.ndim) if keepdims else found
        axis = tuple(range(x.ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    if len(axes) == 1:
        return vector_norm(x, axis=axes[0], keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ArgumentError(f"np.linalg.norm: expected one axis or two, got {axis}{here()}")
    moved = shape.moveaxis(x, tuple(axes), (-2, -1))
    found = matrix_norms.matrix_norm(moved, keepdims=keepdims, ord="fro" if ord is None else ord)
    return shape.moveaxis(found, (-2, -1), tuple(axes)) if keepdims else found


def _eigh(x: Tensor, *, UPLO: str = "L") -> Any:
    return linalg.eigh(_whole(x, UPLO))


def _eigvalsh(x: Tensor, *, UPLO: str = "L") -> Tensor:
    return linalg.eigvalsh(_whole(x, UPLO))


def _whole(x: Tensor, triangle: str) -> Tensor:
    if triangle not in ("L", "U"):
        raise ArgumentError(f'np.linalg: UPLO must be "L" or "U", got {triangle!r}{here()}')
    return (
        x if triangle == "L" else shape.matrix_transpose(x).conj() if x.dtype.kind == "c" else shape.matrix_transpose(x)
    )


def _svd(x: Tensor, *, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    if hermitian:
        raise ArgumentError(f"np.linalg.svd: hermitian= is not supported; use eigh{here()}")
    return linalg.svd(x, full_matrices=full_matrices) if compute_uv else linalg.svdvals(x)


def _rank(x: Tensor, *, tol: Any = None, rtol: Any = None) -> Tensor:
    if tol is not None:
        raise ArgumentError(f"np.linalg.matrix_rank: tol= is not supported; use rtol={here()}")
    return matrix_norms.matrix_rank(x, rtol=rtol)


def _pinv(x: Tensor, *, rcond: Any = None, rtol: Any = None) -> Tensor:
    return linalg.pinv(x, rtol=rcond if rtol is None else rtol)


def _lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least squares: the solution with its gradient, and as NumPy has them residuals, rank and singular values."""
    a, b = lift(a), lift(b)
    solution = linalg.lstsq(a, b, rtol=rcond)
    _, residuals, rank, values = np.linalg.lstsq(known(a, "linalg.lstsq"), known(b, "linalg.lstsq"), rcond=rcond)
    return solution, Tensor(residuals), Tensor(np.asarray(rank)), Tensor(values)


def _multi_dot(arrays: Any) -> Tensor:
    """The product of several matrices, multiplied from the left."""
    out = lift(arrays[0])
    for factor in arrays[1:]:
        out = products.dot(out, lift(factor))
    return out


_TABLE: dict[str, tuple[Callable[..., Any], str]] = {
    "norm": (_norm, "*x | ord axis keepdims"), "vector_norm": (vector_norm, "*x | axis keepdims ord"),
    "matrix_norm": (matrix_norms.matrix_norm, "*x | keepdims ord"), "cond": (matrix_norms.cond, "*x | p=ord"),
    "matrix_rank": (_rank, "*A | tol rtol"), "cholesky": (linalg.cholesky, "*a | upper"), "qr": (linalg.qr, "*a | mode"),
    "svd": (_svd, "*a | full_matrices compute_uv hermitian"), "svdvals": (linalg.svdvals, "*x |"),
    "eigh": (_eigh, "*a | UPLO"), "eigvalsh": (_eigvalsh, "*a | UPLO"), "inv": (linalg.inv, "*a |"), "pinv": (_pinv, "*a | rcond rtol"),
    "solve": (linalg.solve, "*a *b |"), "det": (linalg.det, "*a |"), "slogdet": (linalg.slogdet, "*a |"),
    "matrix_power": (linalg.matrix_power, "*a n |"), "matmul": (array.matmul, "*x1 *x2 |"),
    "matrix_transpose": (shape.matrix_transpose, "*x |"), "cross": (products.cross, "*x1 *x2 | axis"),
    "outer": (products.outer, "*x1 *x2 |"), "tensordot": (products.tensordot, "*x1 *x2 | axes"),
    "vecdot": (products.vecdot, "*x1 *x2 | axis"), "diagonal": (linalg.diagonal, "*x | offset"),
    "trace": (linalg.trace, "*x | offset dtype"),
}  # fmt: skip
FUNCTIONS = {
    name: view(f"linalg.{name}", ours, text, getattr(np.linalg, name))
    for name, (ours, text) in _TABLE.items()
    if hasattr(np.linalg, name)
}
FUNCTIONS |= {"lstsq": _lstsq, "multi_dot": _multi_dot}
PLAIN = {name: plain(name, np.linalg) for name in ("eig", "eigvals", "tensorinv", "tensorsolve")}
globals().update(FUNCTIONS | PLAIN | {"LinAlgError": LinAlgError})
__all__ = sorted({*FUNCTIONS, *PLAIN, "LinAlgError"})  # noqa: PLE0605 - generated


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"backlit.numpy.linalg has no attribute {name!r}; dir(backlit.numpy.linalg) lists what there is"
    )
