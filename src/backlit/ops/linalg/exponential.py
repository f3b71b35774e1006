"""The exponential of a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.op import Value, declare
from backlit.ops.elementwise import abs, logical_and, where
from backlit.ops.linalg.common import Made, MatrixOp, adjoint, regular
from backlit.ops.linear import concat
from backlit.ops.reduce import max
from backlit.ops.rounding import isfinite

# The largest 1-norm for which the Pade approximant of a degree is exact to rounding (Higham, 2005, table 2.3)
_DEGREES: dict[int, tuple[tuple[int, float], ...]] = {
    4: ((3, 0.4258730016922831), (5, 1.880152677804762), (7, 3.925724783138660)),
    8: (
        (3, 0.01495585217958292), (5, 0.2539398330063230), (7, 0.9504178996162932), (9, 2.097847961257068),
        (13, 5.371920351148152),
    ),
}  # fmt: skip


def _norms(x: Any) -> Any:
    """The 1-norm of each matrix."""
    return np.max(np.sum(np.abs(x), axis=-2), axis=-1, initial=0.0)


def _pade(x: Any, degree: int) -> Any:
    """The Pade approximant of the exponential, for even and odd powers apart (Higham, 2005, eq. 2.9)."""
    m = degree
    b = [math.factorial(2 * m - j) // (math.factorial(m - j) * math.factorial(j)) for j in range(m + 1)]
    one = np.eye(x.shape[-1], dtype=x.dtype)
    powers = [one, np.matmul(x, x)]
    while len(powers) <= (m // 2 if m < 13 else 3):
        powers.append(np.matmul(powers[-1], powers[1]))

    def combined(first: int) -> Any:
        """Sum of b_first x^0 + b_(first + 2) x^2 + ..."""
        factors = [float(c) for c in b[first::2]]
        low = _weighted(factors[:4] if m == 13 else factors, powers)
        return low + np.matmul(powers[3], _weighted([0.0, *factors[4:]], powers)) if m == 13 else low

    even, odd = combined(0), np.matmul(x, combined(1))
    return np.linalg.solve(even - odd, even + odd)


def _weighted(factors: list[float], powers: list[Any]) -> Any:
    total = factors[0] * powers[0]
    for c, p in zip(factors[1:], powers[1:], strict=False):
        total = total + c * p
    return total


def _halvings(x: Any, theta: float, degree: int) -> Any:
    """How often each matrix is halved (Al-Mohy and Higham, 2009, algorithm 5.1, with all norms computed).

    Norms of powers instead of powers of norms: a large element beside the diagonal, such as the direction of a derivative
    in a block matrix, does not cost digits.
    """
    x2 = np.matmul(x, x)
    x4, x6 = np.matmul(x2, x2), np.matmul(np.matmul(x2, x2), x2)
    d6, d8, d10 = (_norms(p) ** (1 / k) for p, k in ((x6, 6), (np.matmul(x4, x4), 8), (np.matmul(x4, x6), 10)))
    size = np.minimum(np.maximum(d6, d8), np.maximum(d8, d10))
    found = np.maximum(np.ceil(np.log2(np.where(size > 0, size, 1.0) / theta)), 0.0)
    found = np.where(np.isfinite(found), found, 0.0)
    return found + _more_halvings(x / 2.0 ** found[..., None, None], degree)


def _more_halvings(x: Any, degree: int) -> Any:
    """What rounding asks for beyond, where powers of the absolute values are much larger than those of the matrix."""
    power = 2 * degree + 1
    row = np.ones((*x.shape[:-2], 1, x.shape[-1]))
    for _ in range(power):
        row = np.matmul(row, np.abs(x))
    norm = _norms(x)
    above = np.max(row[..., 0, :], axis=-1, initial=0.0) / np.where(norm > 0, norm, 1.0)
    above = above / (math.comb(2 * degree, degree) * float(math.factorial(power)))
    unit = np.finfo(x.dtype).eps / 2
    more = np.ceil(np.log2(np.where(above > 0, above, unit) / unit) / (2 * degree))
    return np.where(np.isfinite(more), np.maximum(more, 0.0), 0.0)


class MatrixExp(MatrixOp):
    """The exponential of `x: [..., n, n]`, by scaling, a Pade approximant and squaring (Higham, 2005).

    Its derivative in a direction is a block of the exponential of a matrix of twice the size (Higham, Functions of matrices,
    2008, eq. 3.16), which costs about eight times as much and has derivatives of any order itself.
    """

    name, notation = "matrix_exp", "e^{{{x}}}"

    @staticmethod
    def forward(x: Any) -> Any:
        if not x.size:
            return np.zeros_like(x)
        degrees = _DEGREES[np.empty(0, x.dtype).real.itemsize]
        largest = float(np.max(_norms(x)))
        if not math.isfinite(largest):
            finite = np.isfinite(x).all(axis=(-2, -1), keepdims=True)
            if not finite.any():
                return np.full_like(x, np.nan)
            return np.where(finite, MatrixExp.forward(np.where(finite, x, 0)), x.dtype.type(np.nan))
        for degree, theta in degrees[:-1]:
            if largest <= theta:
                return _pade(x, degree)
        degree, theta = degrees[-1]
        halvings = _halvings(x, theta, degree)[..., None, None]
        out = _pade((x / 2.0**halvings).astype(x.dtype), degree)
        for k in range(int(np.max(halvings))):
            squared = np.matmul(out, out)
            out = squared if not halvings.ndim > 2 else np.where(k < halvings, squared, out)
        return out

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x"})

    def vjp(
        self, wanted: tuple[bool, ...], cotangent: Value, out: Value, inputs: Sequence[Value], **params: Any
    ) -> tuple[Value | None, ...]:
        return (_directional(adjoint(inputs[0]), cotangent),)

    def jvp(self, tangents: tuple[Value | None, ...], out: Value, inputs: Sequence[Value], **params: Any) -> Value:
        return _directional(inputs[0], tangents[0])

    def samples(self) -> list[tuple[Any, ...]]:
        return [((s,), {}) for s in ((3, 3), Made((2, 2, 2), regular), (1, 1), (0, 0), (0, 2, 2))]


def _directional(x: Value, along: Value) -> Value:
    """The derivative of the exponential at `x` in the direction `along`, which is brought to size 1 so as to need no scaling."""
    n = x.shape[-1]
    if not n or not math.prod(along.shape):
        return along * 0.0
    size = max(abs(along.detach()), axis=(-2, -1), keepdims=True)
    size = where(logical_and(size > 0.0, isfinite(size)), size, 1.0)
    along = along / size
    nothing = where(np.zeros((n, n), bool), x, 0.0)
    block = concat(concat(x, along, axis=-1), concat(nothing, x, axis=-1), axis=-2)
    return matrix_exp(block)[..., :n, n:] * size


matrix_exp = declare(MatrixExp)
