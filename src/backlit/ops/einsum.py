"""einsum: sums of products by Einstein's notation, as sums, diagonals and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core.dtypes import promote
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import contract, linear
from backlit.ops.elementwise import mul

_LETTERS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order of their codes, by which they are sorted
)
Labels = tuple[str, ...]  # a letter an axis; the axes of an ellipsis are "0", "1", ... counted from the last


@scope
def einsum(*operands: Any, optimize: Any = True) -> Tensor:
    """Sum of products of `operands[1:]` by the subscripts `operands[0]`, as NumPy's `einsum`.

    `einsum("ij,jk->ik", x, y)` has a letter an axis: those that the result lacks are summed over. A letter twice in
    one operand takes the diagonal; `...` stands for axes that broadcast; without `->` the result has the letters that
    occur once, in alphabetical order, behind the axes of the ellipsis. `einsum(x, [0, 1], y, [1, 2], [0, 2])` says the
    same in numbers. An axis of length one broadcasts.

    Three and more operands are contracted two at a time on the path that `np.einsum_path` finds under `optimize`
    (True, False for the order given, "greedy", "optimal" or a path); a pair that sums over a common letter is one
    product of matrices, all others are elementwise.

    Raises:
      ArgumentError: the subscripts are malformed.
      ShapeError: the operands do not have as many axes as the subscripts say, or lengths differ.
    """
    subscripts, arrays = _arguments(operands)
    terms, result = _parse(subscripts, tuple(x.ndim for x in arrays))
    sizes = _sizes(subscripts, terms, arrays)
    dtype = arrays[0].dtype
    for x in arrays[1:]:
        dtype = promote(dtype, x.dtype)
    parts: list[tuple[Tensor, Labels]] = []
    for x, labels in zip(arrays, terms, strict=True):
        x = x if x.dtype == dtype else linear.astype(x, dtype=dtype)
        x, labels = _diagonal(x, labels)
        # an axis that broadcasts is the same for all values of its letter
        kept = [(n, c) for n, c in zip(x.shape, labels, strict=True) if n == sizes[c]]
        if len(kept) < x.ndim:
            x = linear.reshape(x, shape=[n for n, _ in kept])
        parts.append((x, tuple(c for _, c in kept)))
    for chosen in _path(subscripts, tuple(x.shape for x in arrays), optimize):
        group = [parts[i] for i in chosen]
        parts = [p for i, p in enumerate(parts) if i not in chosen]
        wanted = {*result, *(c for _, labels in parts for c in labels)}
        made = group[0]
        for n, other in enumerate(group[1:], 2):
            made = _pair(made, other, wanted | {c for _, labels in group[n:] for c in labels})
        parts.append(made)
    ((x, labels),) = parts
    x, labels = _summed(x, labels, set(result))
    x = _ordered(x, labels, result)
    return linear.reshape(x, shape=x.shape) if x is arrays[0] else x


def _shape(labels: Labels, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(sizes[c] for c in labels)


def _arguments(operands: tuple[Any, ...]) -> tuple[str, list[Tensor]]:
    """Subscripts and arrays, of either form."""
    if not operands:
        raise ArgumentError(f"einsum: no subscripts are given{here()}")
    if isinstance(operands[0], str):
        arrays = [as_tensor(x) for x in operands[1:]]
        if not arrays:
            raise ArgumentError(f"einsum: no operands are given for {operands[0]!r}{here()}")
        return operands[0].replace(" ", ""), arrays
    if len(operands) == 1:
        raise ArgumentError(f"einsum: an operand and its list of subscripts come in pairs{here()}")
    n = len(operands) // 2
    lists = [*operands[1 : 2 * n : 2]]
    text = ",".join(map(_spelled, lists))
    if len(operands) % 2:
        text += "->" + _spelled(operands[-1])
    return text, [as_tensor(x) for x in operands[0 : 2 * n : 2]]


def _spelled(subscripts: Any) -> str:
    """The letters for a list of numbers, in which ... may stand."""
    if not isinstance(subscripts, (list, tuple)):
        raise ArgumentError(
            f"einsum: expected a list of subscripts behind each operand, got {type(subscripts).__name__}{here()}"
        )
    text = ""
    for s in subscripts:
        if s is Ellipsis:
            text += "..."
        elif isinstance(s, (int, np.integer)) and 0 <= s < len(_LETTERS):
            text += _LETTERS[s]
        else:
            raise ArgumentError(f"einsum: a subscript is ... or a number from 0 to 51, got {s!r}{here()}")
    return text


@lru_cache(maxsize=512)
def _parse(subscripts: str, ndims: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of each operand and of the result."""
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ArgumentError(f"einsum: {subscripts!r} speaks of {len(terms)} operands, {len(ndims)} are given{here()}")
    read = tuple(_labels(subscripts, t, n) for t, n in zip(terms, ndims, strict=True))
    dots = max((len([c for c in labels if c.isdigit()]) for labels in read), default=0)
    counts: dict[str, int] = {}
    for labels in read:
        for c in labels:
            counts[c] = counts.get(c, 0) + 1
    spread = tuple(str(i) for i in reversed(range(dots)))
    if not arrow:
        return read, (*spread, *sorted(c for c, n in counts.items() if n == 1 and not c.isdigit()))
    if right.count("...") > 1 or not set(right.replace("...", "")) <= set(_LETTERS):
        raise ArgumentError(f"einsum: the result of {subscripts!r} is malformed{here()}")
    if dots and "..." not in right:
        raise ArgumentError(
            f"einsum: the result of {subscripts!r} lacks the axes of ..., which are not summed over{here()}"
        )
    before, _, behind = right.partition("...")
    result = (*before, *(spread if "..." in right else ()), *behind)
    letters = [c for c in result if not c.isdigit()]
    if len(set(letters)) < len(letters):
        raise ArgumentError(f"einsum: a letter is twice in the result of {subscripts!r}{here()}")
    if missing := [c for c in letters if c not in counts]:
        raise ArgumentError(f"einsum: {missing[0]!r} is in the result of {subscripts!r} but in no operand{here()}")
    return read, result


def _labels(subscripts: str, term: str, ndim: int) -> Labels:
    before, dots, behind = term.partition("...")
    letters = before + behind
    if not set(letters) <= set(_LETTERS):
        raise ArgumentError(f"einsum: {subscripts!r} has {term!r}, which is neither letters nor ...{here()}")
    free = ndim - len(letters)
    if free < 0 or (free and not dots):
        raise ShapeError(
            f"einsum: {term!r} of {subscripts!r} has letters for {len(letters)} axes, the operand has {ndim}{here()}"
        )
    return (*before, *(str(i) for i in reversed(range(free))), *behind)


def _sizes(subscripts: str, terms: Sequence[Labels], arrays: Sequence[Tensor]) -> dict[str, int]:
    """The length of each letter's axes."""
    sizes: dict[str, int] = {}
    for x, labels in zip(arrays, terms, strict=True):
        for n, c in zip(x.shape, labels, strict=True):
            known = sizes.setdefault(c, n)
            if (known != n and 1 not in (known, n)) or n != x.shape[labels.index(c)]:
                what = "an axis of ..." if c.isdigit() else repr(c)
                raise ShapeError(
                    f"einsum: {what} of {subscripts!r} has lengths {known} and {n}: {' and '.join(map(shown, arrays))}"
                    f"{here()}"
                )
            sizes[c] = n if known == 1 else known
    return sizes


def _diagonal(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """`x` with each label once: a label that is there more often takes the diagonal of its axes."""
    for c in dict.fromkeys(labels):
        at = [i for i, other in enumerate(labels) if other == c]
        if len(at) == 1:
            continue
        n = x.shape[at[0]]
        rest = [i for i in range(x.ndim) if i not in at]
        beside = [x.shape[i] for i in rest]
        flat = linear.reshape(linear.permute_dims(x, axes=(*at, *rest)), shape=(n ** len(at), *beside))
        x = flat[:: sum(n**k for k in range(len(at)))] if n else flat  # elements whose places in these axes are equal
        labels = (c, *(labels[i] for i in rest))
    return x, labels


def _summed(x: Tensor, labels: Labels, wanted: set[str]) -> tuple[Tensor, Labels]:
    """`x` summed over the labels that nobody wants."""
    axes = tuple(i for i, c in enumerate(labels) if c not in wanted)
    if not axes:
        return x, labels
    total = linear.sum(x, axis=axes)
    total = total if total.dtype == x.dtype else linear.astype(total, dtype=x.dtype)
    return total, tuple(c for c in labels if c in wanted)


def _path(subscripts: str, shapes: tuple[tuple[int, ...], ...], optimize: Any) -> list[tuple[int, ...]]:
    """The places of the operands that are contracted, step by step; results go to the end."""
    n = len(shapes)
    if n < 3:
        return [(0, 1)] * (n - 1)
    if optimize is False:
        return [(0, 1), *((0, n - k) for k in range(2, n))]
    if isinstance(optimize, (list, tuple)):
        optimize = tuple(tuple(step) if isinstance(step, (list, tuple)) else step for step in optimize)
    return _found_path(subscripts, shapes, optimize)


@lru_cache(maxsize=512)
def _found_path(subscripts: str, shapes: tuple[tuple[int, ...], ...], optimize: Any) -> list[tuple[int, ...]]:
    blanks = [np.broadcast_to(np.float64(0), s) for s in shapes]
    way = list(optimize) if isinstance(optimize, tuple) and optimize[0] == "einsum_path" else optimize
    try:
        return [tuple(step) for step in np.einsum_path(subscripts, *blanks, optimize=way)[0][1:]]
    except (TypeError, KeyError, RuntimeError) as error:
        raise ArgumentError(f"einsum: no path by optimize={optimize!r}: {error}{here()}") from None


def _pair(first: tuple[Tensor, Labels], second: tuple[Tensor, Labels], wanted: set[str]) -> tuple[Tensor, Labels]:
    """The product of two operands, summed over the labels that nobody else wants."""
    x, a = _summed(*first, wanted | set(second[1]))
    y, b = _summed(*second, wanted | set(a))
    common = [c for c in a if c in b]
    together = [c for c in common if c not in wanted]
    if not together:
        labels = (*a, *(c for c in b if c not in a))
        return mul(_aligned(x, a, labels), _aligned(y, b, labels)), labels
    batch = [c for c in common if c in wanted]
    rows, columns = [c for c in a if c not in common], [c for c in b if c not in common]
    sizes = dict(zip((*a, *b), (*x.shape, *y.shape), strict=True))
    lengths = [math.prod(sizes[c] for c in part) for part in (rows, together, columns)]
    lead = [sizes[c] for c in batch]
    left = linear.reshape(_ordered(x, a, (*batch, *rows, *together)), shape=(*lead, lengths[0], lengths[1]))
    right = linear.reshape(_ordered(y, b, (*batch, *together, *columns)), shape=(*lead, lengths[1], lengths[2]))
    labels = (*batch, *rows, *columns)
    return linear.reshape(contract.matmul(left, right), shape=_shape(labels, sizes)), labels


def _ordered(x: Tensor, labels: Labels, order: Labels) -> Tensor:
    axes = tuple(labels.index(c) for c in order)
    return x if axes == tuple(range(x.ndim)) else linear.permute_dims(x, axes=axes)


def _aligned(x: Tensor, labels: Labels, onto: Labels) -> Tensor:
    """`x` with the axes `onto`, of length one where it has none."""
    x = _ordered(x, labels, tuple(c for c in onto if c in labels))
    own = dict(zip((c for c in onto if c in labels), x.shape, strict=True))
    shape = tuple(own.get(c, 1) for c in onto)
    return x if x.shape == shape else linear.reshape(x, shape=shape)
