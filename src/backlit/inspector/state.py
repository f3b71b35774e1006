"""What a run may change, kept to be put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.compiler.state import ROOT, Reached
from backlit.core.rng import Generator, default_generator
from backlit.core.tensor import Tensor


def reached_by(run: Callable[..., Any]) -> tuple[dict[str, Tensor], list[Generator]]:
    """All that a run may change: the tensors that its code reaches, such as the state of optimizers, and generators."""
    roots = {ROOT: run}
    reached = Reached(roots)
    if reached.prepare():
        reached = Reached(roots)
    generators = {id(g): g for g in (*reached.generators(), default_generator())}
    return dict(reached.cells.values()), list(generators.values())


class State:
    """Values and gradients of tensors, and where generators are."""

    def __init__(self, cells: dict[str, Tensor], generators: list[Generator]) -> None:
        self.cells = cells
        self.kept = [(x, np.array(x._value), x.node, x._grad, _copied(x._grad)) for x in cells.values()]
        self.generators = [(g, g.get_state()) for g in generators]

    def restore(self) -> None:
        """Puts everything back."""
        for cell, value, node, grad, contents in self.kept:
            cell._value, cell.node, cell._grad = value.copy(), node, grad
            if isinstance(grad, Tensor):
                grad._value = contents.copy()
        for generator, state in self.generators:
            generator.set_state(state)

    def values(self) -> dict[str, Any]:
        """Copies of what the cells hold."""
        return {name: np.array(cell._value) for name, cell in self.cells.items()}


def _copied(grad: Any) -> Any:
    return np.array(grad._value) if isinstance(grad, Tensor) else None
