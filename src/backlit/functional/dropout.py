"""Dropout: elements, channels or groups set to 0 at random while training, or to the value that keeps the moments of SELU."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    mask: Callable[[Tensor], tuple[int, ...]], alpha: bool = False,
) -> Tensor:  # fmt: skip
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{who}: p must be between 0 and 1, got {p}")
    x = as_tensor(input)
    if not training or p == 0.0:
        return x
    kept = bernoulli(mask(x), 1.0 - p, generator=generator)
    if alpha:
        scale = 1.0 / math.sqrt((_SATURATED**2 * p + 1.0) * (1.0 - p)) if p < 1.0 else 0.0
        out = ew.where(kept, x, _SATURATED) * scale - scale * _SATURATED * p
    else:
        out = ew.where(kept, x * (1.0 / (1.0 - p)) if p < 1.0 else x, 0.0)
    return replace(x, out) if inplace else out


def _elements(x: Tensor) -> tuple[int, ...]:
    return x.shape


def _channels(who: str, *n_axes: int) -> Callable[[Tensor], tuple[int, ...]]:
    """The shape of a mask of whole channels; an input of the fewer axes where two numbers are given has no batch axis."""

    def mask(x: Tensor) -> tuple[int, ...]:
        if x.ndim not in n_axes:
            raise ShapeError(f"{who}: expected {' or '.join(map(str, n_axes))} axes, got {shown(x)}{here()}")
        lead = 1 if len(n_axes) == 2 and x.ndim == min(n_axes) else 2
        return (*x.shape[:lead], *(1 for _ in x.shape[lead:]))

    return mask


@scope
def dropout(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is 0 with probability `p`, else divided by 1 - p, while `training`; otherwise `input` itself.

    What is dropped is structurally zero in every derivative. Under vmap all examples share a mask (Srivastava et al., 2014).

    Raises:
      ArgumentError: `p` is no probability.
    """
    return _dropped("dropout", input, p, training, inplace, generator, _elements)


@scope
def dropout1d(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels of `[batch, channels, length]` or `[channels, length]`.

    Raises:
      ShapeError: `input` has neither two nor three axes.
    """
    return _dropped("dropout1d", input, p, training, inplace, generator, _channels("dropout1d", 2, 3))


@scope
def dropout2d(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels of `[batch, channels, height, width]`; three axes are `[batch, channels, length]`, as in PyTorch.

    Raises:
      ShapeError: `input` has neither three nor four axes.
    """
    mask = _channels("dropout2d", as_tensor(input).ndim if as_tensor(input).ndim == 3 else 4)
    return _dropped("dropout2d", input, p, training, inplace, generator, mask)


@scope
def dropout3d(
    input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`dropout` of whole channels of `[batch, channels, depth, height, width]`, or without the batch axis.

    Raises:
      ShapeError: `input` has neither four nor five axes.
    """
    return _dropped("dropout3d", input, p, training, inplace, generator, _channels("dropout3d", 4, 5))


@scope
def alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Each element is that of selu(-infinity) with probability `p`; mean 0 and variance 1 are kept (Klambauer et al., 2017).

    Raises:
      ArgumentError: `p` is no probability.
    """
    return _dropped("alpha_dropout", input, p, training, inplace, generator, _elements, alpha=True)


@scope
def feature_alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`alpha_dropout` of whole channels of `[batch, channels, ...]`.

    Raises:
      ShapeError: `input` has fewer than two axes.
    """
    x = as_tensor(input)
    mask = _channels("feature_alpha_dropout", max(x.ndim, 2))
    return _dropped("feature_alpha_dropout", x, p, training, inplace, generator, mask, alpha=True)
