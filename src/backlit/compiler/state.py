"""What a function can reach: the tensors and generators that are its state, and the Python values that guard it."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterator
from operator import is_
from typing import Any

import numpy as np

from backlit.compiler.arguments import PLAIN
from backlit.core import changes
from backlit.core.graph import Node
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor

ROOT = "function"
_NAMES_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "STORE_GLOBAL")
_FOREIGN = sys.stdlib_module_names | {"numpy", "llvmlite", "ml_dtypes"}
ABSENT = object()  # in the place of a variable that is not there
_BY_NAME = {"getattr", "vars", "__dict__", "hasattr", "setattr"}  # code that may read attributes it does not name


class Reached:
    """All that is reached from some roots: cells, and guards, which are pairs of a path and what was found there.

    `unchanged` says cheaply that a second look would find the same: every watched container and variable holds the same
    objects. Modules and optimizers count their changes, so that those of `noted` are looked at only when one has changed.
    Of other objects those attributes are looked at that the code names.
    """

    def __init__(self, roots: dict[str, Any]) -> None:
        self.cells: dict[int, tuple[str, Tensor]] = {}
        self.guards: dict[str, Any] = {}
        self.lists: list[tuple[list[Any], list[Any]]] = []
        self.sets: list[tuple[Any, list[Any]]] = []
        self.dicts: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []
        self.variables: list[tuple[dict[str, Any], str, Any]] = []  # globals
        self.closures: list[tuple[types.CellType, Any]] = []
        self.attributes: list[tuple[Any, str, Any]] = []  # of classes, and those in slots
        self.count = changes.count
        self._noted_lists: list[tuple[Any, list[Any]]] = []
        self._noted: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []
        self._seen: dict[int, Any] = {}
        self._named: set[str] = set()  # in code that is reached
        self._waiting: list[tuple[str, dict[str, Any], type]] = []  # attributes that some code may name
        self._kinds: dict[type, None] = {}
        self._taken: set[tuple[int, str]] = set()
        for path, value in roots.items():
            self._visit(value, path)
        while self._look_again():
            pass

    def prepare(self) -> bool:
        """Lets every object that makes its state at its first use (an optimizer) make it now; whether one did."""
        made = [
            value.prepare_state() for value in list(self._seen.values())
            if not isinstance(value, type) and hasattr(type(value), "prepare_state")
        ]  # fmt: skip
        return any(made)

    def generators(self) -> list[Generator]:
        """The random generators among what is reached, in the order in which they are found."""
        return [value for value in self._seen.values() if isinstance(value, Generator)]

    def unchanged(self) -> bool:
        """Whether every container and variable still holds the same objects."""
        if changes.count != self.count and not self.recount():
            return False
        return (
            _same_lists(self.lists)
            and _same_dicts(self.dicts)
            and all(table.get(name, ABSENT) is then for table, name, then in self.variables)
            and all(_contents(cell) is then for cell, then in self.closures)
            and self.unchanged_elsewhere()
        )

    def recount(self) -> bool:
        """Whether the changes counted since then were none of these; they need not be looked at again."""
        if not (_same_lists(self._noted_lists) and _same_dicts(self._noted)):
            return False
        self.count = changes.count
        return True

    def unchanged_elsewhere(self) -> bool:
        """The same of what only Python can look at: sets, and attributes of classes."""
        return _same_lists(self.sets) and all(
            getattr(owner, name, ABSENT) is then for owner, name, then in self.attributes
        )

    def difference(self, other: Reached) -> str:
        """Where `other` differs first, in words; empty when it does not."""
        for path in dict.fromkeys((*self.guards, *other.guards)):
            mine, its = self.guards.get(path, "nothing"), other.guards.get(path, "nothing")
            if mine != its:
                return f"{path} was {_described(mine)} and is {_described(its)}"
        return ""

    def _visit(self, value: Any, path: str, noted: bool = False) -> None:
        if isinstance(value, PLAIN):
            self.guards[path] = (type(value), repr(value))
            return
        if isinstance(value, Tensor):
            self.guards[path] = (id(value), value.shape, value.dtype, value.requires_grad)
            if id(value) not in self.cells:
                self.cells[id(value)] = path, value
                if value.node.__class__ is Node and value.node.extra is not None:
                    self._watch(value.node.extra.hooks, False)
                    for key, hook in value.node.extra.hooks.items():
                        self._visit(hook, f"{path}.hook[{key}]")
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
            if isinstance(value, (set, list)):
                watched: Any = self._noted_lists if noted else self.lists if isinstance(value, list) else self.sets
                watched.append((value, list(value)))
            self.guards[path] = (type(value), len(value))
            yield from ((f"{path}[{k}]", child) for k, child in enumerate(value))
        elif isinstance(value, functools.partial):
            yield from ((f"{path}.{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
        elif isinstance(value, types.MethodType):
            yield f"{path}.__func__", value.__func__
            yield f"{path}.__self__", value.__self__
        elif isinstance(value, types.FunctionType):
            self.guards[path] = id(value.__code__)
            if path == ROOT or not _library(value.__module__):
                self._named |= _names(value.__code__)
                yield from self._of_function(value, path)
        elif isinstance(value, types.ModuleType):
            self.guards[path] = id(value)
            if not _library(value.__name__):
                self._waiting.append((path, vars(value), type(value)))
        elif isinstance(value, type):
            self.guards[path] = id(value)
            self._add_kind(value)
        elif isinstance(value, (Generator, np.ndarray)) or not hasattr(value, "__dict__"):
            self.guards[path] = id(value)
            if not _library(type(value).__module__):
                self._add_kind(type(value))
                for name in _slots(type(value)):
                    content = getattr(value, name, ABSENT)
                    self.attributes.append((value, name, content))
                    if content is not ABSENT:
                        yield f"{path}.{name}", content
        elif (named := getattr(type(value), "guarded", None)) is not None:  # the rest is its own business
            yield from ((f"{path}.{name}", getattr(value, name)) for name in named)
        elif type(value).__module__.split(".")[0] not in _FOREIGN:
            own = vars(value)
            self._add_kind(type(value))
            if hasattr(type(value), "notes_changes") or _library(type(value).__module__):
                self._watch(own, hasattr(type(value), "notes_changes"))
                yield from ((f"{path}.{name}", child) for name, child in own.items())
            else:
                self._waiting.append((path, own, type(value)))
            if hasattr(value, "__wrapped__"):
                yield f"{path}.__wrapped__", value.__wrapped__

    def _add_kind(self, kind: type) -> None:
        self._kinds.update((base, None) for base in kind.__mro__ if not _library(base.__module__))

    def _watch(self, table: dict[Any, Any], noted: bool) -> None:
        (self._noted if noted else self.dicts).append((table, list(table), list(dict.values(table))))

    def _look_again(self) -> bool:
        """Visits what code that was reached meanwhile names; whether there was something."""
        before = len(self._named)
        everything = bool(self._named & _BY_NAME)
        found: list[tuple[str, Any]] = []
        for path, own, kind in self._waiting:
            for owner, name, _ in self.attributes:
                if (
                    isinstance(owner, type)
                    and issubclass(kind, owner)
                    and name not in own
                    and (id(own), name) not in self._taken
                ):
                    self._taken.add((id(own), name))
                    self.variables.append((own, name, ABSENT))
            for name in [name for name in own if everything or name in self._named]:
                if (id(own), name) not in self._taken:
                    self._taken.add((id(own), name))
                    self.variables.append((own, name, own[name]))
                    found.append((f"{path}.{name}", own[name]))
        for kind in list(self._kinds):
            for name, member in list(vars(kind).items()):
                if (name in self._named or _implicit(name)) and (id(kind), name) not in self._taken:
                    self._taken.add((id(kind), name))
                    found += self._of_class(kind, name, member)
        for path, child in found:
            self._visit(child, path)
        return bool(found) or len(self._named) != before

    def _of_class(self, kind: type, name: str, member: Any) -> Iterator[tuple[str, Any]]:
        path = f"{kind.__qualname__}.{name}"
        if isinstance(member, property):
            yield path, member.fget
        elif isinstance(member, (classmethod, staticmethod)):
            yield path, member.__func__
        elif isinstance(member, types.FunctionType):
            yield path, member
        elif isinstance(member, (*PLAIN, Tensor, dict, list, tuple)) and not name.startswith("__"):
            self.attributes.append((kind, name, member))
            yield path, member

    def _of_function(self, f: types.FunctionType, path: str) -> Iterator[tuple[str, Any]]:
        names, prefix = f.__code__.co_freevars, "" if path == ROOT else f"{path}:"
        for name, cell in zip(names, f.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # not yet assigned
                continue
            self.closures.append((cell, content))
            yield prefix + name, content
        for name in sorted(_globals(f.__code__)):
            if name in f.__globals__:
                content = f.__globals__[name]
                self.variables.append((f.__globals__, name, content))
                yield prefix + name, content
        for k, default in enumerate(f.__defaults__ or ()):
            yield f"{path}.__defaults__[{k}]", default
        for name, default in (f.__kwdefaults__ or {}).items():
            yield f"{path}.__kwdefaults__[{name!r}]", default
        if hasattr(f, "__wrapped__"):
            yield f"{path}.__wrapped__", f.__wrapped__


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _same_lists(watched: list[tuple[Any, list[Any]]]) -> bool:
    return all(len(values) == len(then) and all(map(is_, values, then)) for values, then in watched)


def _same_dicts(watched: list[tuple[dict[Any, Any], list[Any], list[Any]]]) -> bool:
    for table, keys, then in watched:
        if len(table) != len(then) or not all(map(is_, dict.values(table), then)) or list(table) != keys:
            return False
    return True


@functools.cache
def _library(module: str | None) -> bool:
    """Whether a module is installed rather than the user's own."""
    top = (module or "").split(".")[0]
    if top in _FOREIGN or top == "backlit":
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _slots(kind: type) -> list[str]:
    """Names of the slots of a class."""
    found = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return [
        name for names in found for name in ((names,) if isinstance(names, str) else names) if name != "__weakref__"
    ]


def _implicit(name: str) -> bool:
    """Whether code may call a method without naming it."""
    return name in ("forward", "__call__", "__getattr__", "__getitem__", "__iter__", "__len__", "__enter__", "__exit__")


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def _names(code: types.CodeType) -> set[str]:
    """Names of globals and attributes that a function or one inside it may read."""
    return {name for c in _codes(code) for name in c.co_names}


def _globals(code: types.CodeType) -> set[str]:
    """Those that are globals."""
    return {i.argval for c in _codes(code) for i in dis.get_instructions(c) if i.opname in _NAMES_GLOBAL}


def _described(found: Any) -> str:
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], type):
        return found[1] if isinstance(found[1], str) else f"a {found[0].__name__} of {found[1]}"
    if isinstance(found, tuple) and len(found) == 4:
        return f"a tensor {found[2]}{list(found[1])}" + (" that requires grad" if found[3] else "")
    if isinstance(found, type):
        return f"a {found.__name__}"
    return found if isinstance(found, str) else "another object"
