"""The arguments of a call: the tensors among them, and a key that says everything else about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backlit.core import tree
from backlit.core.graph import Node
from backlit.core.tensor import Box, Tensor, as_tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, slice, type(Ellipsis), range)


class Arguments:
    """The tensors among the arguments of a call, each once and in order, and what else is known of them.

    An array becomes a tensor of its own and is in `foreign` by its number: its memory belongs to the caller. `key` holds
    structure, shapes, dtypes and numbers; objects that are no containers are in `roots` by their path.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], static: dict[str, Any]) -> None:
        self.leaves: list[Tensor] = []
        self.bare: list[Any] = []  # the same with arrays in the place of tensors made of them
        self.foreign: set[int] = set()
        self.roots: dict[str, Any] = {}
        self.traced = False
        self.recorded = False
        self._args, self._kwargs, self.static = args, kwargs, static
        self.called = args, kwargs  # as the call was written
        self._places: dict[int, int] = {}
        key = [self._visit(x, f"argument {k}") for k, x in enumerate(args)]
        named = [(name, self._visit(x, f"argument {name!r}")) for name, x in kwargs.items()]
        self.key = (*key, *named, *(("static", name, type(x), x) for name, x in static.items()))

    def _visit(self, x: Any, path: str) -> Any:
        if isinstance(x, Tensor):
            value, node = x._value, x.node
            if isinstance(value, Box):
                self.traced = True
            if node.__class__ is Node and node.op is not None:
                self.recorded = True
            return self._again(x) or (self._leaf(x, x), node.__class__ is Node)
        if isinstance(x, np.ndarray):
            self.foreign.add(len(self.leaves))
            usual = type(x) is np.ndarray and x.dtype.kind in "biufc" and x.dtype.isnative
            return "array", self._leaf(x, Tensor(x) if usual else as_tensor(x), usual)
        if isinstance(x, (tuple, list)):
            return (type(x), *(self._visit(child, f"{path}[{k}]") for k, child in enumerate(x)))
        if isinstance(x, dict):
            return (dict, *((name, self._visit(child, f"{path}[{name!r}]")) for name, child in x.items()))
        if isinstance(x, PLAIN):
            return (type(x), repr(x))
        if (parts := tree.parts(x)) is not None:
            children, aux, _ = parts
            below = [self._visit(child, f"{path}.{k}") for k, child in enumerate(children)]
            return (type(x), self._visit(aux, f"{path}.aux"), *below)
        self.roots[path] = x
        return (type(x), id(x))

    def _again(self, x: Any) -> Any:
        return ("again", self._places[id(x)]) if id(x) in self._places else None

    def _leaf(self, x: Any, tensor: Tensor, bare: bool = False) -> Any:
        self._places[id(x)] = len(self.leaves)
        self.leaves.append(tensor)
        self.bare.append(x if bare else tensor)
        return tensor._value.shape, tensor._value.dtype

    def pattern(self) -> Pattern | None:
        """What later calls may be compared with; None where that would find other tensors than are here."""
        args, kwargs = self.called
        pattern = Pattern(args, kwargs)
        found = pattern.leaves(args, kwargs)
        if (
            found is None
            or len(found) != len(self.bare)
            or any(x is not y for x, y in zip(found, self.bare, strict=True))
        ):
            return None
        return pattern

    def described(self) -> dict[str, str]:
        """Every argument and what is in it, in words."""
        found: dict[str, str] = {}
        for k, x in enumerate(self._args):
            _describe(x, f"argument {k}", found)
        for name, x in {**self._kwargs, **self.static}.items():
            _describe(x, f"argument {name!r}", found)
        return found

    def whole(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with tensors in the place of arrays."""
        arrays = iter([self.leaves[k] for k in sorted(self.foreign)])
        return (
            tuple([_with_tensors(x, arrays) for x in self._args]),
            {name: _with_tensors(x, arrays) for name, x in self._kwargs.items()},
        )


class Pattern:
    """Arguments but for the tensors and arrays in them, to which those of a later call are compared.

    `is_flat` where all are tensors or arrays given by position, each another one.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._seen: dict[int, int] = {}
        self._n_leaves = 0
        self._args, self._kwargs = self._of(args), self._of(kwargs)
        self.is_flat = (
            not kwargs and self._n_leaves == len(args) and all(isinstance(x, (Tensor, np.ndarray)) for x in args)
        )

    def _of(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            if id(x) in self._seen:
                return "again", self._seen[id(x)]
            self._seen[id(x)] = self._n_leaves
        if isinstance(x, (Tensor, np.ndarray)):
            self._n_leaves += 1
            return "leaf", type(x)
        if isinstance(x, (tuple, list)):
            return "items", type(x), [self._of(child) for child in x]
        if isinstance(x, dict):
            return "keys", list(x), [self._of(child) for child in x.values()]
        if isinstance(x, PLAIN):
            return "value", x, repr(x)
        return "object", x if tree.parts(x) is None else object()  # an object with children fits nothing

    def leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any] | None:
        """The tensors and arrays of a call that is like the one before; None where it is not."""
        found: list[Any] = []
        if _fits(self._args, args, found) and _fits(self._kwargs, kwargs, found):
            return found if len(found) == len(set(map(id, found))) else None
        return None


def _fits(pattern: Any, x: Any, found: list[Any]) -> bool:
    kind = pattern[0]
    if kind == "leaf":
        found.append(x)
        return x.__class__ is pattern[1]
    if kind == "items":
        if x.__class__ is not pattern[1] or len(x) != len(pattern[2]):
            return False
        for its, child in zip(pattern[2], x, strict=True):
            if its[0] == "leaf":  # most are
                if child.__class__ is not its[1]:
                    return False
                found.append(child)
            elif not _fits(its, child, found):
                return False
        return True
    if kind == "keys":
        if not isinstance(x, dict) or list(x) != pattern[1]:
            return False
        return all(_fits(its, child, found) for its, child in zip(pattern[2], x.values(), strict=True))
    if kind == "value":
        return x is pattern[1] or (x.__class__ is pattern[1].__class__ and repr(x) == pattern[2])
    if kind == "again":
        return pattern[1] < len(found) and x is found[pattern[1]]
    return x is pattern[1]


def _with_tensors(x: Any, arrays: Iterator[Tensor]) -> Any:
    if isinstance(x, np.ndarray):
        return next(arrays)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(_with_tensors(child, arrays) for child in x))
    if isinstance(x, (tuple, list)):
        return type(x)([_with_tensors(child, arrays) for child in x])
    if isinstance(x, dict):
        return {name: _with_tensors(child, arrays) for name, child in x.items()}
    if not isinstance(x, (Tensor, *PLAIN)) and (parts := tree.parts(x)) is not None:
        children, _, rebuild = parts
        return rebuild([_with_tensors(child, arrays) for child in children])
    return x


def _describe(x: Any, path: str, found: dict[str, str]) -> None:
    if isinstance(x, (Tensor, np.ndarray)):
        found[path] = f"{x.dtype}{list(x.shape)}"
        if isinstance(x, Tensor) and x.requires_grad:
            found[path] += " that requires grad"
    elif isinstance(x, (tuple, list)):
        found[path] = f"a {type(x).__name__} of {len(x)}"
        for k, child in enumerate(x):
            _describe(child, f"{path}[{k}]", found)
    elif isinstance(x, dict):
        found[path] = f"a dictionary with {', '.join(map(repr, x)) or 'nothing'}"
        for name, child in x.items():
            _describe(child, f"{path}[{name!r}]", found)
    elif isinstance(x, PLAIN):
        found[path] = repr(x)
    elif (parts := tree.parts(x)) is not None:
        found[path] = f"a {type(x).__name__}"
        _describe(parts[1], f"{path}.aux", found)
        for k, child in enumerate(parts[0]):
            _describe(child, f"{path}.{k}", found)
    else:
        found[path] = f"the {type(x).__name__} at {id(x):#x}"


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """How arguments differ, in words."""
    found: dict[str, str] = {}
    for path in dict.fromkeys((*after, *before)):
        was, now = before.get(path, "not given"), after.get(path, "not given")
        if was != now and not any(path.startswith(known) for known in found):
            found[path] = f"{path} was {was} and is {now}"
    return list(found.values())
