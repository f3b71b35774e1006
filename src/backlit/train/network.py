"""Networks that can be rebuilt from a description kept with their weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from backlit import nn
from backlit.core.errors import ArgumentError
from backlit.core.rng import Generator

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}


def build_mlp(
    n_in: int, hidden: Sequence[int], n_out: int, activation: str = "relu", generator: Generator | None = None
) -> nn.Sequential:
    """Linear layers of the given widths with an activation between them.

    Raises:
      ArgumentError: an unknown activation or a width below one.
    """
    if activation not in ACTIVATIONS:
        raise ArgumentError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    widths = [n_in, *hidden, n_out]
    if min(widths) < 1:
        raise ArgumentError(f"layers need at least one unit, got {list(hidden)}")
    layers: list[Any] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(a, b, generator=generator))
        if i < len(widths) - 2:
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)
