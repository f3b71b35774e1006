"""Linear algebra of matrices in the last two axes: decompositions, systems of equations, norms, with derivatives."""

from __future__ import annotations

from backlit.arrays.linalg import (
    EighResult,
    QRResult,
    SlogdetResult,
    SVDResult,
    cholesky,
    cholesky_solve,
    det,
    diagonal,
    eigh,
    eigvalsh,
    inv,
    lstsq,
    matrix_exp,
    matrix_power,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
    trace,
)
from backlit.arrays.matrix_norms import cond, matrix_norm, matrix_rank
from backlit.core.errors import LinAlgError
from backlit.ops.array import matmul
from backlit.ops.norm import vector_norm
from backlit.ops.products import cross, outer, tensordot, vecdot
from backlit.ops.shape import matrix_transpose

__all__ = [
    "EighResult",
    "LinAlgError",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "cholesky_solve",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]
