"""A batch of items: their arrays stacked along a new first axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core import tree
from backlit.core.dtypes import bfloat16, default_dtype
from backlit.core.errors import DataError
from backlit.core.tensor import Tensor

Array = np.ndarray[Any, Any]
_LEAVES = (np.ndarray, np.generic, Tensor, int, float, str)


def default_collate(batch: Sequence[Any]) -> Any:
    """Items of one structure as a batch of that structure: arrays and numbers stacked as tensors, anything else as lists.

    Items are numbers, arrays, tensors, or tuples, lists, named tuples and dictionaries of them, nested as may be. Python
    integers give int64, floats the default float dtype; arrays keep theirs.

    Raises:
      DataError: the items are none, or differ in structure, shape or dtype.
    """
    return tensors(collate(batch))


def collate(items: Sequence[Any]) -> Any:
    """`default_collate` with NumPy arrays in the place of tensors."""
    if not items:
        raise DataError("default_collate: there are no items to make a batch of")
    first = items[0]
    are_plain = type(first) is tuple and all(isinstance(leaf, _LEAVES) for leaf in first)  # the usual, at half the time
    if are_plain and all(type(item) is tuple and len(item) == len(first) for item in items):
        return tuple([_stacked(leaves) for leaves in zip(*items, strict=True)])
    flattened = [tree.flatten(item) for item in items]
    structure = flattened[0][1]
    for number, (_, other) in enumerate(flattened):
        if other != structure:
            raise DataError(
                f"default_collate: item {number} of a batch is {_told(items[number])}, the first is {_told(items[0])}; "
                "items of unlike structure need a collate_fn"
            )
    return tree.unflatten(
        structure, [_stacked(leaves) for leaves in zip(*(found for found, _ in flattened), strict=True)]
    )


def tensors(x: Any) -> Any:
    """The tree with its NumPy arrays and numbers as tensors, without a copy; what else is in it stays."""
    return tree.map(_tensor, x)


def _tensor(leaf: Any) -> Any:
    if isinstance(leaf, (np.ndarray, np.generic)) and _is_numeric(leaf.dtype):
        return Tensor(np.asarray(leaf))
    return leaf


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" or dtype == bfloat16


def _stacked(leaves: tuple[Any, ...]) -> Any:
    """One leaf of every item, along a new first axis; a list where they are no arrays of numbers."""
    arrays = [_array(leaf) for leaf in leaves]
    found = [a for a in arrays if a is not None]
    if not found:
        return list(leaves)
    if len(found) < len(arrays) or len({(a.dtype, a.shape) for a in found}) > 1:
        kinds = {f"{a.dtype}{list(a.shape)}" for a in found}
        kinds |= {type(leaf).__name__ for leaf, a in zip(leaves, arrays, strict=True) if a is None}
        raise DataError(
            f"default_collate: items of a batch differ: {', '.join(sorted(kinds)[:4])}; pad or convert them, or give a collate_fn"
        )
    return np.stack(found)


def _array(leaf: Any) -> Array | None:
    match leaf:
        case bool():
            return np.asarray(leaf)
        case int():
            return np.asarray(leaf, np.int64)
        case Tensor():
            return leaf.detach().numpy()
        case np.ndarray() | np.generic():  # before float, which np.float64 is
            return np.asarray(leaf) if _is_numeric(leaf.dtype) else None
        case float():
            return np.asarray(leaf, default_dtype())
        case complex():
            return np.asarray(leaf, np.complex64)
    return None


def _told(item: Any) -> str:
    """An item in a few words."""
    match item:
        case tuple() | list():
            return f"a {type(item).__name__} of {len(item)}"
        case dict():
            return f"a dict of {', '.join(map(repr, list(item)[:5]))}"
    return f"a {type(item).__name__}"
