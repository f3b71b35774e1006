"""Reading and writing at an index: `x[i]`, `x[i] = v`, and `x.at[i]`, which makes a new tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, tensor
from backlit.ops import elementwise, indexing, linear, order, scatter
from backlit.ops.aliases import alias


def like(x: Tensor, value: Any) -> Tensor:
    """`value` as a tensor of the dtype of `x`; Python numbers are not rounded to the default dtype on the way.

    Raises:
      DTypeError: complex values for real elements.
    """
    if not isinstance(value, Tensor):
        value = as_tensor(value) if _holds_tensors(value) else tensor(np.asarray(value))
    if value.dtype.kind == "c" and x.dtype.kind != "c":
        raise DTypeError(f"write: complex values do not fit into {shown(x)}; use .real{here()}")
    return value if value.dtype == x.dtype else linear.astype(value, dtype=x.dtype)


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) or _holds_tensors(v) for v in value)


def picked(x: Tensor, key: Any) -> Tensor:
    """`x[key]`."""
    lifted, key = indexing.lift_truths(x, key)
    template, arrays = indexing.parse(lifted, key)
    out = indexing.index(lifted, *arrays, index=template)
    return out if arrays else alias(out, x)


class At:
    """`x.at[i]`: `set`, `add`, `multiply` and others give a new tensor and leave `x` as it is (JAX)."""

    def __init__(self, x: Tensor, key: Any = ()) -> None:
        self._x, self._key = x, key

    def __getitem__(self, key: Any) -> At:
        return At(self._x, key)

    def _parsed(self) -> tuple[Tensor, indexing.Template, list[Tensor]]:
        x, key = indexing.lift_truths(self._x, self._key)
        return x, *indexing.parse(x, key)

    def _back(self, out: Tensor) -> Tensor:
        return out if out.shape == self._x.shape else linear.reshape(out, shape=self._x.shape)

    def _spread(self, value: Any, shape: tuple[int, ...]) -> Tensor:
        """`value` in the dtype of `x`, broadcast to what the index picks; leading axes of length one may be too many."""
        value = like(self._x, value)
        while value.ndim > len(shape) and value.shape[0] == 1:
            value = linear.reshape(value, shape=value.shape[1:])
        return value if value.shape == shape else linear.broadcast_to(value, shape=shape)

    def get(self) -> Tensor:
        """The elements at the index."""
        return picked(self._x, self._key)

    def set(self, value: Any) -> Tensor:
        """`x` with `value` at the index; of two writes to one place the last counts."""
        mask = indexing.unknown_mask(self._x, self._key)
        if mask is not None:
            return self._masked(mask, value)
        x, template, arrays = self._parsed()
        shape = indexing.picked_shape(x.shape, template, arrays)
        return self._back(indexing.put(x, self._spread(value, shape), *arrays, index=template))

    def _masked(self, mask: Tensor, value: Any) -> Tensor:
        """`x` with `value`, one for all places, where a mask says so of which the contents are not known."""
        value, inner = like(self._x, value), self._x.ndim - mask.ndim
        if value.ndim > inner:
            raise ShapeError(
                f"write: {shown(value)} at a traced boolean index, of which it is not known where it is true; use where{here()}"
            )
        spread = linear.reshape(mask, shape=(*mask.shape, *(1,) * inner))
        return elementwise.where(spread, value, self._x)

    def laid(self, value: Any) -> Tensor:
        """Zeros like `x` with `value` added at the index; all else is structurally zero."""
        x, template, arrays = self._parsed()
        spread = self._spread(value, indexing.picked_shape(x.shape, template, arrays))
        return self._back(indexing.scatter_add(spread, *arrays, index=template, shape=x.shape))

    def add(self, value: Any) -> Tensor:
        """`x` with `value` added at the index; repeated places add up."""
        return self._x + self.laid(value)

    def subtract(self, value: Any) -> Tensor:
        """`x` with `value` taken away at the index; repeated places add up."""
        return self._x - self.laid(value)

    def multiply(self, value: Any) -> Tensor:
        """`x` times `value` at the index; at repeated places every factor counts."""
        return self._combined(elementwise.mul, value)

    mul = multiply

    def divide(self, value: Any) -> Tensor:
        """`x` divided by `value` at the index; at repeated places every divisor counts."""
        return self._combined(elementwise.div, value)

    def power(self, value: Any) -> Tensor:
        """`x` to the power `value` at the index; at repeated places one after the other."""
        return self._combined(elementwise.pow, value)

    def max(self, value: Any) -> Tensor:
        """The larger of `x` and `value` at the index; equal ones share the gradient, a Python number leaves `x` none."""
        return self._extreme(scatter.scatter_max, elementwise.maximum, value)

    def min(self, value: Any) -> Tensor:
        """The smaller of `x` and `value` at the index; equal ones share the gradient, a Python number leaves `x` none."""
        return self._extreme(scatter.scatter_min, elementwise.minimum, value)

    def apply(self, function: Callable[[Tensor], Any]) -> Tensor:
        """`x` with `function` applied to the elements at the index; once where a place is repeated."""
        return self.set(function(self.get()))

    def _extreme(self, op: Any, plain: Any, value: Any) -> Tensor:
        if isinstance(value, (bool, int, float)):
            return self.apply(lambda old: plain(old, value))
        x, template, arrays = self._parsed()
        spread = self._spread(value, indexing.picked_shape(x.shape, template, arrays))
        return self._back(op(x, spread, *arrays, index=template))

    def _combined(self, op: Any, value: Any) -> Tensor:
        """One combination after the other at each place: rounds in which no place comes twice."""
        x, template, arrays = self._parsed()
        shape = indexing.picked_shape(x.shape, template, arrays)
        spread = self._spread(value, shape)
        dtype = x.dtype
        if not arrays:
            new = op(indexing.index(x, index=template), spread)
            return self._back(indexing.put(x, like(self._x, new), index=template))
        places = indexing.index(np.arange(math.prod(x.shape)).reshape(x.shape), *arrays, index=template)
        known = indexing.contents(places)
        flat, values = linear.reshape(x, shape=(x.size,)), linear.reshape(spread, shape=(spread.size,))
        if known is None:
            flat = self._at_once(op, flat, values, linear.reshape(places, shape=(places.size,)))
            return self._back(linear.reshape(flat, shape=x.shape))
        for chosen in _rounds(np.asarray(known).ravel()):
            targets = known.ravel()[chosen]
            new = op(flat[targets], values[chosen])
            new = new if new.dtype == dtype else linear.astype(new, dtype=dtype)
            flat = indexing.put(flat, new, Tensor(targets), index=("array",))
        return self._back(linear.reshape(flat, shape=x.shape))

    def _at_once(self, op: Any, flat: Tensor, values: Tensor, places: Tensor) -> Tensor:
        """The same where it is not known which places meet: the values that meet at a place are multiplied first."""
        if op is elementwise.pow:
            raise ShapeError(
                f"at: whether a place of a traced index comes twice is not known; pick, raise and set instead{here()}"
            )
        sequence = order.argsort(places, axis=0, descending=False)
        places, products = picked(places, sequence), picked(values, sequence)
        reach = 1
        while reach < places.size:  # products of ever longer stretches that end here, within one place
            same = elementwise.equal(places[reach:], places[:-reach])
            longer = elementwise.where(same, products[reach:] * products[:-reach], products[reach:])
            products = linear.concat(products[:reach], longer, axis=0)
            reach *= 2
        # the last of each place has them all, and of two writes to one place the last counts
        return indexing.put(flat, like(flat, op(flat[places], products)), places, index=("array",))


def _rounds(places: Any) -> list[Any]:
    """The positions of `places` in rounds: the first of each place, then the second, and so on."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if places.size else np.zeros(0, np.intp)
    lengths = np.diff(np.r_[begins, places.size])
    rank = np.arange(places.size) - np.repeat(begins, lengths)
    return [np.sort(order[rank == r]) for r in range(int(lengths.max(initial=0)))]
