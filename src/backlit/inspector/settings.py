"""Numbers that rule a run beside its values: of its optimizers and of its modules, by name, to be read and set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from backlit.nn.module import Module
from backlit.optim.base import Optimizer


@dataclass(frozen=True)
class Setting:
    """One number: how it is read, and how it is set."""

    read: Callable[[], float]
    write: Callable[[float], None]


def settings(optimizers: Iterable[Optimizer], modules: Iterable[tuple[str, Module]]) -> dict[str, Setting]:
    """The settings of optimizers (`SGD.lr`, `Adam.betas[0]`) and the floats that modules have as attributes (`2.p`)."""
    found: dict[str, Setting] = {}
    for optimizer in optimizers:
        name = _free(type(optimizer).__name__, found)
        for k in range(len(optimizer.param_groups)):
            group = f"{name}.groups[{k}]" if len(optimizer.param_groups) > 1 else name
            found.update({f"{group}.{part}": setting for part, setting in _of_group(optimizer, k)})
    for name, module in modules:
        for attribute, value in vars(module).items():
            if type(value) is float and not attribute.startswith("_"):
                found.setdefault(f"{name}.{attribute}" if name else attribute, _of_module(module, attribute))
    return found


def _free(name: str, found: dict[str, Setting]) -> str:
    """The name, with a number where another optimizer has it."""
    taken = {key.split(".")[0] for key in found}
    return next(n for k in range(len(taken) + 1) if (n := f"{name}_{k}" if k else name) not in taken)


def _of_group(optimizer: Optimizer, k: int) -> Iterator[tuple[str, Setting]]:
    for name, value in optimizer.param_groups[k].items():
        if name == "initial_lr":
            continue
        if type(value) in (int, float):
            yield name, _number(optimizer, k, name)
        elif name == "betas":
            for i in range(len(value)):
                yield f"betas[{i}]", _beta(optimizer, k, i)


def _number(optimizer: Optimizer, k: int, name: str) -> Setting:
    def write(value: float) -> None:  # the group itself is another after a state was loaded
        optimizer.param_groups[k][name] = value

    return Setting(lambda: float(optimizer.param_groups[k][name]), write)


def _beta(optimizer: Optimizer, k: int, i: int) -> Setting:
    def write(value: float) -> None:
        group = optimizer.param_groups[k]
        group["betas"] = tuple(value if j == i else float(b) for j, b in enumerate(group["betas"]))

    return Setting(lambda: float(optimizer.param_groups[k]["betas"][i]), write)


def _of_module(module: Module, attribute: str) -> Setting:
    def read() -> Any:
        return getattr(module, attribute)

    return Setting(read, lambda value: setattr(module, attribute, value))
