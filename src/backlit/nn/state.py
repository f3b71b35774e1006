"""Values put into the parameters and buffers of a module: those of a state dict, and its own in another dtype."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.errors import ArgumentError, DataError, DTypeError
from backlit.core.tensor import Tensor


def put(cell: Tensor, array: Any) -> None:
    """Another array of perhaps another dtype for a cell, which is a leaf as before; its gradient follows."""
    trained, grad = cell.requires_grad, cell._grad
    cell._value, cell.node = array, None
    if trained:
        cell.requires_grad_()
    if isinstance(grad, Tensor) and grad.dtype != array.dtype:
        cell._grad = Tensor(grad.detach().numpy().astype(array.dtype))


def load(
    name: str, own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool, assign: bool
) -> tuple[list[str], list[str]]:
    """Puts arrays into the cells `own` of a module of class `name`; names that are missing, and those that are unexpected.

    Nothing is written on an error.

    Raises:
      TypeError: `given` is no mapping.
      DataError: what is there does not fit; all of it is listed.
    """
    who = f"load_state_dict: {name}"
    if not isinstance(given, Mapping):
        way = "; use backlit.load(path)" if isinstance(given, (str, PathLike)) else ""
        raise TypeError(f"{who}: expected a mapping from names to arrays, got {type(given).__name__}{way}")
    there = {id(cell) for key, cell in own.items() if key in given}  # one name of a shared cell is enough
    missing = [key for key, cell in own.items() if id(cell) not in there]
    unexpected = [key for key in given if key not in own]
    found = {key: given[key] for key in own if key in given}
    arrays = {key: np.asarray(x.detach() if isinstance(x, Tensor) else x) for key, x in found.items()}
    wrong = [
        f"{key} (expected {list(own[key].shape)}, got {list(array.shape)})"
        for key, array in arrays.items()
        if array.shape != own[key].shape
    ]
    integers = [
        f"{key} ({array.dtype})"
        for key, array in arrays.items()
        if assign and own[key].requires_grad and not is_float(array.dtype)
    ]
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("missing", missing if strict else []), ("unexpected", unexpected if strict else []), ("wrong shape", wrong),
            ("trained, but no floats", integers),
        )
        if names
    ]  # fmt: skip
    if problems:
        raise DataError(f"{who}: " + "; ".join(problems))
    for key, array in arrays.items():
        if assign:
            put(own[key], array)
        else:
            own[key]._value = np.array(array, dtype=own[key].dtype)
    return missing, unexpected


def float_dtype(who: str, args: tuple[Any, ...], dtype: Any, device: Any) -> np.dtype[Any] | None:
    """The dtype that arguments like PyTorch's `to` ask for, None for none.

    Raises:
      DTypeError: it is not a float.
      ArgumentError: another device than "cpu", or something else is given.
    """
    for given in args:
        if isinstance(given, Tensor):
            dtype = given.dtype
        elif isinstance(given, str) and given.split(":")[0] in ("cpu", "cuda", "mps", "xpu"):
            device = given
        elif given is not None:
            dtype = given
    if device is not None and device != "cpu":
        raise ArgumentError(f"{who}: the one device is 'cpu', got {device!r}")
    if dtype is None:
        return None
    try:
        new: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise ArgumentError(f"{who}: {dtype!r} is no dtype") from None
    if not is_float(new):
        raise DTypeError(f"{who}: expected a dtype of floats, got {new}")
    return new
