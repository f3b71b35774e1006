"""A model in training or evaluation mode for a while; every module has its own mode again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backlit.nn import Module


@contextmanager
def training(model: Module) -> Iterator[None]:
    """The model in training mode; where it is so already, modules that are not, as frozen ones may be, stay as they are."""
    modes = [(module, module.training) for module in model.modules()]
    if not model.training:
        model.train()
    try:
        yield
    finally:
        _restore(modes)


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """All of the model in evaluation mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        _restore(modes)


def _restore(modes: list[tuple[Module, bool]]) -> None:
    for module, mode in modes:
        if module.training != mode:
            module.training = mode
