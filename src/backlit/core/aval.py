"""Aval: shape and dtype of an array not yet computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Aval(NamedTuple):
    """What an op's shape rule takes and gives."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def aval_of(x: Any) -> Any:
    """The aval of an array or tensor; a Python number stands for itself."""
    return Aval(tuple(x.shape), np.dtype(x.dtype)) if hasattr(x, "shape") else x


def reduced_shape(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """`shape` after a reduction over `axis`."""
    if keepdims:
        return tuple(1 if i in axis else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axis)
