"""The parameters of a model as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, assign, no_grad
from backlit.ops.shape import concat


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters in their order, [total]; recorded.

    Raises:
      ShapeError: there are no parameters.
    """
    parts = [parameter.reshape((-1,)) for parameter in parameters]
    if not parts:
        raise ShapeError(f"parameters_to_vector: there are no parameters{here()}")
    return concat(parts, axis=0)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes the elements of `vec: [total]` into the parameters in their order, in their dtypes.

    Raises:
      ShapeError: there are more or fewer of them; nothing has been written.
    """
    cells, vec = list(parameters), as_tensor(vec)
    if vec.shape != (sum(cell.size for cell in cells),):
        raise ShapeError(
            f"vector_to_parameters: expected [{sum(cell.size for cell in cells)}], got {shown(vec)}{here()}"
        )
    start = 0
    with no_grad():
        for cell in cells:
            assign(cell, vec[start : start + cell.size].reshape(cell.shape).astype(cell.dtype))
            start += cell.size
