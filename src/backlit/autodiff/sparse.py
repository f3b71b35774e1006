"""Jacobians of a known pattern of nonzeros: columns that share no row are found by one product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.autodiff.batch import vmap
from backlit.core.errors import GradientError, ShapeError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.ops.elementwise import where

Pattern = np.ndarray[Any, np.dtype[Any]]


def colours(pattern: Pattern) -> Pattern:
    """A number for each column of `pattern: [m, n]`, such that two columns with nonzeros in one row differ.

    Greedy, the fullest columns first (Curtis, Powell and Reid 1974, J. Inst. Maths Applics 13, 117); O(n m) memory.
    """
    found = np.full(pattern.shape[1], -1)
    taken: list[Pattern] = []  # for each colour the rows that its columns have
    for column in np.argsort(-pattern.sum(0), kind="stable"):
        rows = pattern[:, column]
        number = next((k for k, used in enumerate(taken) if not (used & rows).any()), len(taken))
        if number == len(taken):
            taken.append(np.zeros(pattern.shape[0], bool))
        taken[number] |= rows
        found[column] = number
    return found


def by_colours(who: str, product: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, pattern: Any) -> Tensor:
    """The Jacobian `[*out, *in]` from its products with tangents, for an input like `x` and an output like `y`.

    Raises:
      ShapeError: the pattern has another shape.
      GradientError: a product with random numbers finds an element that the pattern leaves out.
    """
    live = np.asarray(pattern) != 0
    if live.shape not in ((*y.shape, *x.shape), (int(np.prod(y.shape)), int(np.prod(x.shape)))):
        raise ShapeError(f"{who}: expected a pattern {[*y.shape, *x.shape]}, got {list(live.shape)}{here()}")
    live = live.reshape((int(np.prod(y.shape)), int(np.prod(x.shape))))
    colour = colours(live)
    n_colours = int(colour.max(initial=-1)) + 1
    check = np.random.default_rng(0).uniform(0.5, 1.5, colour.size)
    seeds = np.concatenate([colour == np.arange(n_colours)[:, None], check[None]]).astype(x.dtype)
    found = vmap(product)(Tensor(seeds.reshape((n_colours + 1, *x.shape)))).reshape(
        (n_colours + 1, live.shape[0])
    )  # [colours, m]
    rows, columns = np.indices(live.shape)
    matrix = where(live, found[colour[columns], rows], 0.0)
    _verify(who, matrix, check, found[n_colours])
    return matrix.reshape((*y.shape, *x.shape))


def _verify(who: str, matrix: Tensor, direction: Pattern, product: Tensor) -> None:
    entries, expected = matrix._value, product._value
    if not isinstance(entries, np.ndarray) or not isinstance(expected, np.ndarray):
        return  # inside a transform there is nothing to look at
    entries, expected = entries.astype(np.float64), expected.astype(np.float64)
    scale = np.abs(entries) @ direction + np.abs(expected)
    allowed = 64 * direction.size * np.finfo(product.dtype).eps * scale  # two sums of as many products
    wrong = np.flatnonzero(np.isfinite(expected) & ~(np.abs(entries @ direction - expected) <= allowed))
    if wrong.size:
        raise GradientError(
            f"{who}: the Jacobian has nonzeros that the sparsity pattern leaves out, in row {wrong[0]} "
            f"({wrong.size} such rows); give a pattern that covers them, or none{here()}"
        )
