"""Containers of modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, overload

from backlit.nn.module import Module


class Sequential(Module):
    """Modules applied one after another; their names are '0', '1', ... or the keys of one mapping.

    Raises:
      TypeError: an element is not a Module.
    """

    @overload
    def __init__(self, *modules: Module) -> None: ...

    @overload
    def __init__(self, modules: Mapping[str, Module], /) -> None: ...

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = dict(modules[0])
        else:
            named = {str(i): module for i, module in enumerate(modules)}
        for name, module in named.items():
            self._add(name, module)

    def _add(self, name: str, module: Any) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"Sequential: expected modules, got {type(module).__name__} at {name!r}")
        self.register_module(name, module)

    def append(self, module: Module) -> Self:
        """Adds a module at the end."""
        self._add(str(len(self)), module)
        return self

    def forward(self, x: Any) -> Any:
        """`x` through every module in turn."""
        for module in self:
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        found: Module = list(self._modules.values())[index]
        return found

    def __setitem__(self, index: int, module: Module) -> None:
        self._add(list(self._modules)[index], module)
