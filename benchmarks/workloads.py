"""What a workload is, and where each one is found."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CATALOGUE = {
    "W0a": "scalars", "W0b": "scalars",
    "W1": "mlp", "W2": "mlp", "W3": "mlp",
    "W7a": "elementwise_gradients", "W7b": "elementwise_gradients", "W7c": "runge_kutta",
    "W8": "regression",
}  # fmt: skip
LIBRARIES = {
    "torch": ("torch",),
    "jax": ("jax", "jax.numpy"),
    "autograd": ("autograd", "autograd.numpy"),
    "backlit": ("backlit",),
}


class Skipped(Exception):
    """A peer that cannot run here, with the reason."""


@dataclass(frozen=True)
class Running:
    """A peer ready to train."""

    step: Callable[[], Any]  # one whole train step; gives a handle of its loss
    read: Callable[[Any], float]  # waits for a handle
    moved: Callable[[], float] | None = None  # how far the parameters are from their start, where that is compared too


@dataclass(frozen=True)
class Work:
    """What a step cannot avoid, for the machine's limit; activations count as cached, a gradient as used at once."""

    product_flops: float = 0.0
    small_products: bool = False  # too small for more than one thread
    streamed_bytes: float = 0.0  # reads and writes of state and data that do not fit the inner caches
    working_set_bytes: float = 0.0  # of those arrays
    transcendentals: float = 0.0  # float64 exp, log, tanh that do not depend on one another
    dependent_sines: float = 0.0  # float64 sines on the longest path
    dependent_fmas: float = 0.0  # float64 multiply-adds on it


@dataclass(frozen=True)
class Workload:
    """One train step and the engines that do it."""

    name: str
    title: str
    dtype: str
    peers: dict[str, Callable[[int], Running]]
    configs: tuple[str, ...]
    dims: dict[str, int] = field(default_factory=dict)  # what a variant may change
    work: Work | None = None
    prepare: Callable[[], Any] | None = None  # draws the data, which is no engine's work


def load(name: str, dims: dict[str, int] | None = None) -> Workload:
    """The workload of that name, with other dimensions if given."""
    found: Workload = importlib.import_module(CATALOGUE[name]).workload(name, dims)
    return found


def split(config: str) -> tuple[str, int]:
    """Peer and number of threads of "peer@threads"."""
    peer, _, threads = config.partition("@")
    return peer, int(threads or 1)


def library(config: str) -> str:
    return config.partition("@")[0].partition("-")[0]


def is_backlit(config: str) -> bool:
    return library(config) == "backlit"


def compile_step(step: Callable[..., Any], threads: int, eager: bool) -> Callable[..., Any]:
    """The backlit step compiled for that many threads, or as it is.

    Raises:
      Skipped: this backlit has no `compile`.
    """
    import backlit as bl

    if eager:
        return step
    if not hasattr(bl, "compile"):
        raise Skipped("backlit has no compile")
    return bl.compile(step, threads=threads)
