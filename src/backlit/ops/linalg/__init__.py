"""Decompositions, systems of equations, determinants and functions of matrices: LAPACK's, with derivatives."""

from backlit.ops.linalg.coincident import coincident
from backlit.ops.linalg.determinant import adjugate, adjugate_tangent, det, slogdet
from backlit.ops.linalg.eigen import eigh, eigvalsh
from backlit.ops.linalg.exponential import matrix_exp
from backlit.ops.linalg.orthogonal import complement, qr
from backlit.ops.linalg.refused import refused
from backlit.ops.linalg.singular import svd, svdvals
from backlit.ops.linalg.solving import in_columns, inv, lstsq, pinv, solve
from backlit.ops.linalg.triangular import cholesky, solve_triangular

__all__ = [
    "adjugate",
    "adjugate_tangent",
    "cholesky",
    "coincident",
    "complement",
    "det",
    "eigh",
    "eigvalsh",
    "in_columns",
    "inv",
    "lstsq",
    "matrix_exp",
    "pinv",
    "qr",
    "refused",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
]
