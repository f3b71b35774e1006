"""Containers of parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

import numpy as np

from backlit.core.tensor import Tensor
from backlit.nn.module import Module, Parameter


def _parameter(value: Any, who: str, name: object) -> Parameter:
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, (Tensor, np.ndarray)):
        raise TypeError(f"{who}: expected parameters or arrays, got {type(value).__name__} at {name!r}")
    return Parameter(value.detach() if isinstance(value, Tensor) else value)


class ParameterList(Module):
    """A list of parameters, which are registered under '0', '1', ...; arrays become parameters. It has no forward.

    Raises:
      TypeError: an element is neither a parameter nor an array.
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def _replace(self, values: list[Any]) -> None:
        made = [_parameter(value, "ParameterList", k) for k, value in enumerate(values)]
        for name in list(self._parameters):
            delattr(self, name)
        for k, parameter in enumerate(made):
            self.register_parameter(str(k), parameter)

    def append(self, value: Any) -> Self:
        """Adds a parameter at the end."""
        return self.extend([value])

    def extend(self, values: Iterable[Any]) -> Self:
        """Adds parameters at the end."""
        self._replace([*self, *values])
        return self

    def pop(self, index: int = -1) -> Parameter:
        """Takes a parameter out."""
        parameters = list(self)
        taken = parameters.pop(index)
        self._replace(parameters)
        return taken

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    @overload
    def __getitem__(self, index: int) -> Parameter: ...

    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...

    def __getitem__(self, index: int | slice) -> Parameter | ParameterList:
        parameters = list(self)
        return ParameterList(parameters[index]) if isinstance(index, slice) else parameters[index]

    def __setitem__(self, index: int, value: Any) -> None:
        parameters = list(self)
        parameters[index] = _parameter(value, "ParameterList", index)
        self._replace(parameters)


class ParameterDict(Module):
    """A dictionary of parameters, which are registered under their keys; arrays become parameters. It has no forward.

    Raises:
      TypeError: a value is neither a parameter nor an array.
    """

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Adds parameters under their keys, in place of those that are there; those of a plain dictionary in sorted order.

        So does PyTorch, and an optimizer's state goes by the order.
        """
        given = dict(parameters)
        ordered = isinstance(parameters, (OrderedDict, ParameterDict)) or not isinstance(parameters, Mapping)
        for key in given if ordered else sorted(given):
            self[key] = given[key]

    def keys(self) -> Iterable[str]:
        """The keys in order."""
        return self._parameters.keys()

    def values(self) -> Iterable[Parameter]:
        """The parameters in order."""
        return self._parameters.values()

    def items(self) -> Iterable[tuple[str, Parameter]]:
        """Keys and parameters in order."""
        return self._parameters.items()

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter under `key`, `default` where there is none."""
        return self._parameters.get(key, default)

    def setdefault(self, key: str, default: Any) -> Parameter:
        """The parameter under `key`, which is set to `default` where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Parameter:
        """Takes a parameter out."""
        parameter = self[key]
        del self[key]
        return parameter

    def clear(self) -> None:
        """Takes all parameters out."""
        for key in list(self._parameters):
            del self[key]

    def __getitem__(self, key: str) -> Parameter:
        found: Parameter = self._parameters[key]
        return found

    def __setitem__(self, key: str, value: Any) -> None:
        self.register_parameter(key, _parameter(value, "ParameterDict", key))

    def __delitem__(self, key: str) -> None:
        if key not in self._parameters:
            raise KeyError(key)
        delattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)
