"""Where an element of a sequence stands, told by angles: rotated queries and keys, and sines and cosines to be added."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.dtypes import default_dtype, is_float
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.elementwise import cos, sin
from backlit.ops.shape import concat, expand_dims, stack


@scope
def rotary_embedding(
    x: Any, positions: Any = None, *, base: float = 10000.0, dims: int | None = None, interleaved: bool = False,
    scaling: float = 1.0, scaling_type: str = "linear",
) -> Tensor:  # fmt: skip
    """`x: [..., steps, size]` with its first `dims` numbers turned, in pairs, by angles that grow with the position.

    Pair i of a number at position p is turned by p base^(-2 i / dims) (Su et al., 2021, equation 34), so that the product of
    a query and a key depends on how far apart they are. Pairs are i and i + dims / 2, as in GPT-NeoX and Llama, or 2 i and
    2 i + 1 with `interleaved`, as in GPT-J. `dims` is the whole size unless given. `positions` are 0, 1, ... along the axis
    before the last unless given; they broadcast to [..., steps]. For sequences `scaling` times longer than those that were
    trained, positions are divided by it ("linear", Chen et al., 2023), or the base is multiplied by
    scaling^(dims / (dims - 2)) ("ntk"), which turns the fastest pair as before. Angles are computed in float64.

    Raises:
      ShapeError: there are not two axes, positions do not fit, or there are not as many numbers as `dims`.
      DTypeError: `x` is not real floats.
      ArgumentError: `dims` is odd or not above 0, `base` or `scaling` not above 0, or the type unknown.
    """
    x = as_tensor(x)
    n = x.shape[-1] if dims is None and x.ndim else dims or 0
    if x.ndim < 2 or x.shape[-1] < n:
        raise ShapeError(
            f"rotary_embedding: expected [..., steps, size] with a size of at least {n}, got {shown(x)}{here()}"
        )
    if not is_float(x.dtype) or x.dtype.kind == "c":
        raise DTypeError(f"rotary_embedding: expected floats, got {shown(x)}; use .astype('float32'){here()}")
    angles = _angles("rotary_embedding", _positions("rotary_embedding", positions, x), n, base, scaling, scaling_type)
    turned_cos, turned_sin = cos(angles).astype(x.dtype), sin(angles).astype(x.dtype)
    half = n // 2
    if interleaved:
        pairs = x[..., :n].reshape((*x.shape[:-1], half, 2))
        first, second = pairs[..., 0], pairs[..., 1]
    else:
        first, second = x[..., :half], x[..., half:n]
    turned = [first * turned_cos - second * turned_sin, first * turned_sin + second * turned_cos]
    if interleaved:
        turned = [stack(turned, axis=-1).reshape((*x.shape[:-1], n))]
    return concat([*turned, x[..., n:]] if n < x.shape[-1] else turned, axis=-1)


@scope
def sinusoidal_embedding(
    positions: Any, embedding_dim: int, *, base: float = 10000.0, dtype: Any = None
) -> Tensor:  # fmt: skip
    """Sines and cosines of positions `[...]`, in turn: `[..., embedding_dim]` (Vaswani et al., 2017, section 3.5).

    Number 2 i is sin(p base^(-2 i / embedding_dim)) and number 2 i + 1 the cosine of the same. Computed in float64.

    Raises:
      ArgumentError: `embedding_dim` is odd or not above 0, or `base` is not above 0.
    """
    angles = _angles("sinusoidal_embedding", as_tensor(positions), embedding_dim, base, 1.0, "linear")
    both = stack([sin(angles), cos(angles)], axis=-1).reshape((*angles.shape[:-1], embedding_dim))
    return both.astype(default_dtype() if dtype is None else dtype)


def _positions(who: str, positions: Any, x: Tensor) -> Tensor:
    if positions is None:
        return Tensor(np.arange(x.shape[-2]))
    found = as_tensor(positions)
    try:
        fits = np.broadcast_shapes(found.shape, x.shape[:-1]) == x.shape[:-1]
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{who}: positions {shown(found)} do not broadcast to {list(x.shape[:-1])}{here()}")
    return found


def _angles(who: str, positions: Tensor, n: int, base: float, scaling: float, scaling_type: str) -> Tensor:
    """Of each position the angle of each pair, [..., n / 2], in float64."""
    if n <= 0 or n % 2:
        raise ArgumentError(f"{who}: expected an even number of dimensions above 0, got {n}{here()}")
    if not (base > 0 and scaling > 0):
        raise ArgumentError(f"{who}: base and scaling must be above 0, got {base} and {scaling}{here()}")
    if scaling_type not in ("linear", "ntk"):
        raise ArgumentError(f"{who}: scaling_type must be 'linear' or 'ntk', got {scaling_type!r}{here()}")
    if scaling_type == "ntk" and n > 2:
        base, scaling = base * scaling ** (n / (n - 2)), 1.0
    speeds = np.exp(np.arange(0, n, 2) * (-math.log(base) / n)) / scaling
    angles: Tensor = expand_dims(positions.astype(np.float64), axis=-1) * speeds
    return angles
