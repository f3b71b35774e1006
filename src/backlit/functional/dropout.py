"""Dropout: elements, channels or groups set to 0 at random while training, or to the value that keeps the moments of SELU."""

from __future__ import annotations

import math
from typing import Any

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.rng import Generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.activation import SELU_ALPHA, SELU_SCALE
from backlit.ops import elementwise as ew
from backlit.ops.operators import replace
from backlit.ops.samplers import bernoulli

_SATURATED = -SELU_ALPHA * SELU_SCALE  # what selu comes to at -infinity


def _dropped(
    who: str, input: Any, p: float, training: bool, inplace: bool, generator: Generator | None,
    leads: dict[int, int] | None = None, alpha: bool = False,
) -> Tensor:  # fmt: skip
    """Dropout of elements; or of whole channels, whose axis and those before it are `leads[x.ndim]` in number."""
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{who}: p must be between 0 and 1, got {p}")
    x = as_tensor(input)
    if not training or p == 0.0:
        return x
    shape = x.shape
    if leads is not None:
        if x.ndim not in leads:
            raise ShapeError(f"{who}: expected {' or '.join(map(str, leads))} axes, got {shown(x)}{here()}")
        shape = tuple(n if a < leads[x.ndim] else 1 for a, n in enumerate(shape))
    kept = bernoulli(shape, 1.0 - p, generator=generator)
    if alpha:
        scale = 1.0 / math.sqrt((_SATURATED**2 * p + 1.0) * (1.0 - p)) if p < 1.0 else 0.0
        out = ew.where(kept, x, _SATURATED) * scale - scale * _SATURATED * p
    else:
        out = ew.where(kept, x * (1.0 / (1.0 - p)) if p < 1.0 else x, 0.0)
    return replace(x, out) if inplace else out


@scope
def dropout(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is 0 with probability `p`, else divided by 1 - p, while `training`; otherwise `input` itself.

    What is dropped is structurally zero in every derivative. Under vmap all examples share a mask (Srivastava et al., 2014).

    Raises:
      ArgumentError: `p` is no probability.
    """
    return _dropped("dropout", input, p, training, inplace, generator)


@scope
def dropout1d(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels of `[batch, channels, length]` or `[channels, length]`.

    Raises:
      ShapeError: `input` has neither two nor three axes.
    """
    return _dropped("dropout1d", input, p, training, inplace, generator, {2: 1, 3: 2})


@scope
def dropout2d(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels of `[batch, channels, height, width]`; three axes are `[batch, channels, length]`, as in PyTorch.

    Raises:
      ShapeError: `input` has neither three nor four axes.
    """
    return _dropped("dropout2d", input, p, training, inplace, generator, {3: 2, 4: 2})


@scope
def dropout3d(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels of `[batch, channels, depth, height, width]`, or without the batch axis.

    Raises:
      ShapeError: `input` has neither four nor five axes.
    """
    return _dropped("dropout3d", input, p, training, inplace, generator, {4: 1, 5: 2})


@scope
def alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is that of selu(-infinity) with probability `p`; mean 0 and variance 1 are kept (Klambauer et al., 2017).

    Raises:
      ArgumentError: `p` is no probability.
    """
    return _dropped("alpha_dropout", input, p, training, inplace, generator, alpha=True)


@scope
def feature_alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`alpha_dropout` of whole channels of `[batch, channels, ...]`.

    Raises:
      ShapeError: `input` has fewer than two axes.
    """
    x = as_tensor(input)
    return _dropped("feature_alpha_dropout", x, p, training, inplace, generator, {max(x.ndim, 2): 2}, alpha=True)
