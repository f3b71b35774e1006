"""Sorting, searching and sets, with the array API's signatures: values are picked by places, so gradients go to the picks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import indexing, linear, order
from backlit.ops.cumulative import Extremes
from backlit.ops.elementwise import equal, logical_not, minimum
from backlit.ops.picking import take, take_along_axis


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The places of the elements in rising (or falling) order along `axis`; NaN counts as larger than all numbers.

    Equal elements always keep their order, whatever `stable` says. No gradient.

    Raises:
      ShapeError: `x` has no axis.
    """
    return order.argsort(x, axis=axis, descending=descending)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in rising (or falling) order along `axis`; NaN counts as larger than all numbers.

    Each gradient goes back to the place from which its element comes. Keeps the places.

    Raises:
      ShapeError: `x` has no axis.
    """
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


def topk(x: Any, k: int, /, *, axis: int = -1, largest: bool = True, sorted: bool = True) -> Extremes:
    """The `k` largest (or smallest) elements along `axis`, in order, and the places from which they are.

    Of equal elements the first are taken. What is not taken is structurally zero. They are in order whatever `sorted` says.

    Raises:
      ShapeError: there are fewer than `k` elements, or `x` has no axis.
    """
    x = as_tensor(x)
    places = order.argsort(x, axis=axis, descending=largest)
    (at,) = linear.normalize_axes("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[at]:
        raise ShapeError(f"topk: {k} elements of {x.shape[at]} along axis {at} of {shown(x)}{here()}")
    places = places[(*(slice(None),) * at, slice(0, int(k)))]
    return Extremes(take_along_axis(x, places, axis=at), places)


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where the elements of `x2` belong in the rising array `x1`: places from 0 to n that keep it rising.

    With `side` "left" before equal elements, with "right" behind them. `sorter` holds the places that bring `x1` into order.
    A matrix `x1: [..., n]` is searched row by row for `x2: [..., m]`. No gradient.

    Raises:
      ShapeError: `x1` has no axis, or several that are not those of `x2`.
      ArgumentError: `side` is neither.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if sorter is not None:
        x1 = take_along_axis(x1, sorter, axis=-1)
    if x1.ndim != 1:
        return order.searchsorted(x1, x2, side=side)
    found = order.searchsorted(x1, linear.reshape(x2, shape=(x2.size,)), side=side)
    return linear.reshape(found, shape=x2.shape)


def _contents(x: Tensor) -> Any:
    """The array, for a result whose shape is that of its contents: an error inside `vmap` and `compile`."""
    return np.asarray(x._concrete())


def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The places of the nonzero elements, NaN among them: one array of indices for every axis. No gradient.

    Raises:
      ShapeError: `x` has no axis.
      TraceError: inside `vmap` or `compile`, where how many there are is not known.
    """
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError(f"nonzero: expected at least one axis, got {shown(x)}{here()}")
    return tuple(Tensor(places) for places in np.nonzero(_contents(x)))


class UniqueAll(NamedTuple):
    """Different elements, where each is first, which of them every element is, and how many are equal to each."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Different elements and how many are equal to each."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Different elements and which of them every element is."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Any, /) -> UniqueAll:
    """The different elements of `x` in rising order, with places and counts; each NaN is different from all others.

    `indices` are places in the flattened array, `inverse_indices` has the shape of `x`. The gradient of a value goes to
    where it is first.

    Raises:
      TraceError: inside `vmap` or `compile`, where how many there are is not known.
    """
    x = as_tensor(x)
    array = _contents(x)
    _, first, inverse, counts = np.unique(
        array.ravel(), return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    values = take(linear.reshape(x, shape=(x.size,)), first, axis=0)
    return UniqueAll(values, Tensor(first), Tensor(inverse.reshape(x.shape)), Tensor(counts))


def unique_counts(x: Any, /) -> UniqueCounts:
    """The different elements of `x` in rising order and how often each is there; see `unique_all`."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """The different elements of `x` in rising order and which of them each element is; see `unique_all`."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Any, /) -> Tensor:
    """The different elements of `x` in rising order; see `unique_all`."""
    return unique_all(x).values


def isin(x1: Any, x2: Any, /, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """For each element of `x1` whether it is (or with `invert` is not) among the elements of `x2`; NaN never is.

    Costs a sort of `x2` and a search, whatever `assume_unique` says. No gradient.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if not x2.size:
        return Tensor(np.full(x1.shape, invert))
    rising = sort(linear.reshape(x2, shape=(x2.size,)))
    places = minimum(searchsorted(rising, x1), x2.size - 1)
    found = equal(take(rising, places, axis=0), x1)
    return logical_not(found) if invert else found


def bincount(x: Any, /, *, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 on is in `x: [n]`, or the sum of the `weights: [n]` there; `minlength` counts at least.

    Its gradient in the weights picks what each was added to.

    Raises:
      DTypeError: `x` does not hold integers.
      ShapeError: `x` has not one axis, or `weights` another shape.
      ArgumentError: a number is negative.
      TraceError: inside `vmap` or `compile`, where the largest number is not known.
    """
    x = as_tensor(x)
    if x.dtype.kind not in "iu":
        raise DTypeError(f"bincount: expected integers, got {shown(x)}{here()}")
    if x.ndim != 1 or (weights is not None and as_tensor(weights).shape != x.shape):
        beside = "" if weights is None else f" and weights {shown(as_tensor(weights))}"
        raise ShapeError(f"bincount: expected [n], got {shown(x)}{beside}{here()}")
    numbers = _contents(x)
    if numbers.size and numbers.min() < 0:
        raise ArgumentError(f"bincount: {numbers.min()} is negative{here()}")
    length = max(int(numbers.max()) + 1 if numbers.size else 0, minlength)
    added = np.ones(x.shape, np.intp) if weights is None else weights
    return indexing.scatter_add(added, x, index=("array",), shape=(length,))


def histogram(
    x: Any, /, bins: Any = 10, range: tuple[float, float] | None = None, *, weights: Any = None, density: bool = False
) -> tuple[Tensor, Tensor]:
    """How many elements are in each bin (or the sum of their `weights`), and the edges of the bins.

    `bins` is how many, between the ends in `range` or the extremes of `x`, or the rising edges themselves; a bin holds its
    lower edge, and the last one its upper edge too. With `density` divided by the sum and the widths. No gradient in `x`.

    Raises:
      ArgumentError: NumPy refuses the bins.
      TraceError: inside `vmap` or `compile`.
    """
    x = as_tensor(x)
    flat = _contents(x).ravel()
    try:
        edges = np.histogram_bin_edges(flat, _contents(bins) if isinstance(bins, Tensor) else bins, range)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"histogram: {error}{here()}") from None
    places = np.searchsorted(edges, flat, side="right") - 1
    places[flat == edges[-1]] = len(edges) - 2
    inside = np.flatnonzero((places >= 0) & (places < len(edges) - 1))
    if weights is not None:
        weights = linear.reshape(weights, shape=(x.size,))[inside]
    counts = bincount(places[inside], weights=weights, minlength=len(edges) - 1)
    if density:
        counts = counts / linear.sum(counts) / np.diff(edges)
    return counts, Tensor(edges)
