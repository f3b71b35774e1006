"""What a function can reach: the tensors and generators that are its state, and the Python values that guard it."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

import numpy as np

from backlit.core import changes
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, slice, type(Ellipsis), range)
ROOT = "function"
_READS_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_FOREIGN = sys.stdlib_module_names | {"numpy", "llvmlite", "ml_dtypes"}


class Reached:
    """All that is reached from some roots: cells, and guards, which are pairs of a path and what was found there.

    `unchanged` says cheaply that a second look would find the same.
    """

    def __init__(self, roots: dict[str, Any]) -> None:
        self.cells: dict[int, tuple[str, Tensor]] = {}
        self.guards: dict[str, Any] = {}
        self._seen: dict[int, Any] = {}
        self._lists: list[tuple[Any, list[Any]]] = []
        self._dicts: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []
        self._noted: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []  # whose changes are counted
        self._noted_lists: list[tuple[Any, list[Any]]] = []
        self._count = changes.count
        self._variables: list[tuple[Callable[[], Any], Any]] = []
        for path, value in roots.items():
            self._visit(value, path)

    def prepare(self) -> bool:
        """Lets every object that makes its state at its first use (an optimizer) make it now; whether one did."""
        made = [
            value.prepare_state() for value in list(self._seen.values())
            if not isinstance(value, type) and hasattr(type(value), "prepare_state")
        ]  # fmt: skip
        return any(made)

    def unchanged(self) -> bool:
        """Whether every container and variable still holds the same objects."""
        if changes.count != self._count:
            if not (_same_lists(self._noted_lists) and _same_dicts(self._noted)):
                return False
            self._count = changes.count
        if not (_same_lists(self._lists) and _same_dicts(self._dicts)):
            return False
        for look, then in self._variables:
            if look() is not then:
                return False
        return True

    def difference(self, other: Reached) -> str:
        """Where `other` differs first, in words; empty when it does not."""
        for path in dict.fromkeys((*self.guards, *other.guards)):
            mine, its = self.guards.get(path, "nothing"), other.guards.get(path, "nothing")
            if mine != its:
                return f"{path} was {_described(mine)} and is {_described(its)}"
        return ""

    def _visit(self, value: Any, path: str, noted: bool = False) -> None:
        if isinstance(value, _PLAIN):
            self.guards[path] = (type(value), repr(value))
            return
        if isinstance(value, Tensor):
            self.cells.setdefault(id(value), (path, value))
            self.guards[path] = (id(value), value.shape, value.dtype, value.requires_grad)
            return
        if id(value) in self._seen:
            self.guards[path] = id(value)
            return
        self._seen[id(value)] = value  # held, so that its id stays its own
        inside = noted and isinstance(value, (dict, list, tuple, set, frozenset))
        counted = getattr(type(value), "notes_changes", ())
        for name, child in self._children(value, path, inside):
            self._visit(child, name, inside or name.rpartition(".")[2] in counted)

    def _children(self, value: Any, path: str, noted: bool) -> Iterator[tuple[str, Any]]:
        self.guards[path] = type(value)
        if isinstance(value, dict):
            self._watch(value, noted)
            self.guards[path] = (dict, tuple(map(repr, value)))
            yield from ((f"{path}[{key!r}]", child) for key, child in dict.items(value))
        elif isinstance(value, (list, tuple, set, frozenset)):
            if not isinstance(value, (tuple, frozenset)):
                (self._noted_lists if noted else self._lists).append((value, list(value)))
            self.guards[path] = (type(value), len(value))
            yield from ((f"{path}[{k}]", child) for k, child in enumerate(value))
        elif isinstance(value, functools.partial):
            yield from ((f"{path}.{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
        elif isinstance(value, types.MethodType):
            yield f"{path}.__self__", value.__self__
            yield f"{path}.__func__", value.__func__
        elif isinstance(value, types.FunctionType):
            self.guards[path] = id(value.__code__)
            if not _library(value.__module__):
                yield from self._of_function(value, path)
        elif isinstance(value, (Generator, type, types.ModuleType, np.ndarray)) or not hasattr(value, "__dict__"):
            self.guards[path] = id(value)
        elif (named := getattr(type(value), "guarded", None)) is not None:  # the rest is its own business
            yield from ((f"{path}.{name}", getattr(value, name)) for name in named)
        elif type(value).__module__.split(".")[0] not in _FOREIGN:
            own = vars(value)
            self._watch(own, hasattr(type(value), "notes_changes"))
            yield from ((f"{path}.{name}", child) for name, child in own.items())
            if hasattr(value, "__wrapped__"):
                yield f"{path}.__wrapped__", value.__wrapped__

    def _watch(self, table: dict[Any, Any], noted: bool) -> None:
        (self._noted if noted else self._dicts).append((table, list(table), list(dict.values(table))))

    def _of_function(self, f: types.FunctionType, path: str) -> Iterator[tuple[str, Any]]:
        names, prefix = f.__code__.co_freevars, "" if path == ROOT else f"{path}:"
        for name, cell in zip(names, f.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not yet assigned
                continue
            self._variables.append((functools.partial(getattr, cell, "cell_contents", None), content))
            yield prefix + name, content
        for name in sorted(_names(f.__code__)):
            if name in f.__globals__:
                content = f.__globals__[name]
                self._variables.append((functools.partial(f.__globals__.get, name), content))
                yield prefix + name, content
        for k, default in enumerate(f.__defaults__ or ()):
            yield f"{path}.__defaults__[{k}]", default
        for name, default in (f.__kwdefaults__ or {}).items():
            yield f"{path}.__kwdefaults__[{name!r}]", default
        if hasattr(f, "__wrapped__"):
            yield f"{path}.__wrapped__", f.__wrapped__


def _same_lists(watched: list[tuple[Any, list[Any]]]) -> bool:
    return all(len(values) == len(then) and all(map(is_, values, then)) for values, then in watched)


def _same_dicts(watched: list[tuple[dict[Any, Any], list[Any], list[Any]]]) -> bool:
    for table, keys, then in watched:
        if len(table) != len(then) or not all(map(is_, dict.values(table), then)) or list(table) != keys:
            return False
    return True


def _library(module: str | None) -> bool:
    return (module or "").split(".")[0] in _FOREIGN | {"backlit"}


def _names(code: types.CodeType) -> set[str]:
    """Global names that a function or one inside it may read; names of attributes are in `co_names` as well."""
    found = {i.argval for i in dis.get_instructions(code) if i.opname in _READS_GLOBAL}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found |= _names(inner)
    return found


def _described(found: Any) -> str:
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], type):
        return found[1] if isinstance(found[1], str) else f"a {found[0].__name__} of {found[1]}"
    if isinstance(found, tuple) and len(found) == 4:
        return f"a tensor {found[2]}{list(found[1])}" + (" that requires grad" if found[3] else "")
    if isinstance(found, type):
        return f"a {found.__name__}"
    return found if isinstance(found, str) else "another object"
