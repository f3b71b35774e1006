"""Modules that move shapes alone, or nothing."""

from __future__ import annotations

import math
from typing import Any

from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.nn.module import Module


class Identity(Module):
    """Its input as it is; arguments are taken and do nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """`input`."""
        return input


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` (included) as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The flattened `input`."""
        return as_tensor(input).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` as axes of the lengths `unflattened_size`, of which one may be -1.

    Raises:
      ShapeError: at a call, the axis has another length.
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """`input` with more axes."""
        input = as_tensor(input)
        at, sizes = self.dim % input.ndim, list(self.unflattened_size)
        n = input.shape[at]
        if sizes.count(-1) == 1:
            known = math.prod(s for s in sizes if s != -1)
            sizes[sizes.index(-1)] = n // known if known else 0
        if math.prod(sizes) != n:
            raise ShapeError(
                f"Unflatten: axis {self.dim} of {shown(input)} is not {list(self.unflattened_size)}{here()}"
            )
        return input.reshape((*input.shape[:at], *sizes, *input.shape[at + 1 :]))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
