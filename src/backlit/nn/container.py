"""Containers of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from backlit.core.tensor import Tensor
from backlit.nn.module import Module
from backlit.nn.shape import Identity


def _named(x: Any) -> str:
    """What something is that is no module."""
    if isinstance(x, type) and issubclass(x, Module):
        return f"the class {x.__name__} (write {x.__name__}(...))"
    return type(x).__name__


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
            raise TypeError(f"Sequential: expected modules, got {_named(module)} at {name!r}")
        self.register_module(name, module)

    def append(self, module: Module) -> Self:
        """Adds a module at the end."""
        self._add(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Adds modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Puts a module before the one at `index`; all are numbered anew."""
        modules = list(self)
        modules.insert(index, module)
        return self._renumbered(modules)

    def pop(self, index: int | slice = -1) -> Module:
        """Takes a module out, or those of a slice as a Sequential; the others are numbered anew."""
        taken = self[index]
        del self[index]
        return taken

    def _renumbered(self, modules: list[Module]) -> Self:
        made = Sequential(*modules)  # which refuses what is none
        for name in list(self._modules):
            delattr(self, name)
        for name, module in made._modules.items():
            self.register_module(name, module)
        return self

    def forward(self, x: Any) -> Any:
        """`x` through every module in turn.

        Raises:
          TypeError: a module gives a tuple of tensors, as a recurrent layer does, and the next is a layer that takes one tensor.
        """
        for module in self._modules.values():
            if x.__class__ is tuple:
                self._refuse_several(module, x)
            x = module(x)
        return x

    def _refuse_several(self, module: Module, x: tuple[Any, ...]) -> None:
        """Raises where `x`, of the module before, cannot go into `module`."""
        modules = list(self)
        k = next(k for k, m in enumerate(modules) if m is module)
        if k and _takes_one(module) and any(isinstance(y, Tensor) for y in x):
            raise TypeError(
                f"Sequential: {type(modules[k - 1]).__name__} gives a tuple of {len(x)}, and {type(module).__name__} takes one "
                f"tensor; put a module between them whose forward takes out what is wanted"
            )

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    @overload
    def __getitem__(self, index: int | slice) -> Module: ...

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        found: Module = list(self._modules.values())[index]
        return found

    def __setitem__(self, index: int, module: Module) -> None:
        self._add(list(self._modules)[index], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._renumbered(modules)

    def __add__(self, other: Iterable[Module]) -> Sequential:
        return Sequential(*self, *other)

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(list(other))


def _takes_one(module: Module) -> bool:
    """Whether it is a layer of this package that does something with one tensor."""
    return type(module).__module__.startswith("backlit.") and not isinstance(module, (Sequential, Identity))


class ModuleList(Module):
    """A list of modules, which are registered under '0', '1', ...; it has no forward.

    Raises:
      TypeError: an element is not a Module.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _replace(self, modules: list[Any]) -> None:
        for module in modules:
            if not isinstance(module, Module):
                raise TypeError(f"ModuleList: expected modules, got {_named(module)}")
        for name in list(self._modules):
            delattr(self, name)
        for i, module in enumerate(modules):
            self.register_module(str(i), module)

    def append(self, module: Module) -> Self:
        """Adds a module at the end."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Adds modules at the end."""
        self._replace([*self, *modules])
        return self

    def insert(self, index: int, module: Module) -> None:
        """Puts a module before the one at `index`."""
        modules = list(self)
        modules.insert(index, module)
        self._replace(modules)

    def pop(self, index: int = -1) -> Module:
        """Takes a module out."""
        modules = list(self)
        taken = modules.pop(index)
        self._replace(modules)
        return taken

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, modules: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *modules])

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    def __getitem__(self, index: int | slice) -> Module:
        modules = list(self)
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        modules = list(self)
        modules[index] = module
        self._replace(modules)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index]
        self._replace(modules)


class ModuleDict(Module):
    """A dictionary of modules, which are registered under their keys; it has no forward.

    Raises:
      TypeError: a value is not a Module.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds modules under their keys, in place of those that are there."""
        for key, module in dict(modules).items():
            self[key] = module

    def keys(self) -> Iterable[str]:
        """The keys in order."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules in order."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Keys and modules in order."""
        return self._modules.items()

    def pop(self, key: str) -> Module:
        """Takes a module out."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Takes all modules out."""
        for key in list(self._modules):
            del self[key]

    def __getitem__(self, key: str) -> Module:
        found: Module = self._modules[key]
        return found

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: expected modules, got {_named(module)} at {key!r}")
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        if key not in self._modules:
            raise KeyError(key)
        delattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)
