"""A module as a tree: its leaves are its distinct parameters, then its distinct buffers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from backlit.core.tensor import Tensor

if TYPE_CHECKING:
    from backlit.nn.module import Module


class _Skeleton(NamedTuple):
    module: Module
    cells: tuple[Tensor, ...]


def flatten(module: Module) -> tuple[tuple[Tensor, ...], _Skeleton]:
    """The leaves of a module, and what remains of it."""
    found = {id(v): v for _, v in (*module.named_parameters(), *module.named_buffers())}
    cells = tuple(found.values())
    return cells, _Skeleton(module, cells)


def n_trained(module: Module) -> int:
    """How many of its leaves are parameters."""
    return len({id(p) for p in module.parameters()})


def unflatten(skeleton: _Skeleton, children: tuple[Any, ...]) -> Module:
    """A module like it with other leaves."""
    new = {id(cell): child for cell, child in zip(skeleton.cells, children, strict=True)}
    made: dict[int, Module] = {}

    def build(module: Module) -> Module:
        if id(module) in made:
            return made[id(module)]
        result = made[id(module)] = copy.copy(module)  # attributes that are no leaves are shared
        state = result.__dict__
        for table in ("_parameters", "_buffers"):
            state[table] = {name: new.get(id(v), v) for name, v in state[table].items()}
        state["_modules"] = {n: None if m is None else build(m) for n, m in state["_modules"].items()}
        state["_transient"] = set(state["_transient"])
        return result

    return build(skeleton.module)
