"""Which calls of modules and functions a recorded value was made in, and what parameters and inputs are called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from backlit.core import source
from backlit.core.tensor import Box, Tensor
from backlit.diagnose.recording import Node, Scope

_GENERIC = frozenset({"x", "y", "z"})
_FRAMES = 4  # so many of the user's frames are searched for the variable that holds a value


class Calls:
    """The stack of calls, the tree they leave behind, and the names of values that no op made."""

    def __init__(self, scopes: list[Scope]) -> None:
        self.scopes = scopes
        self.root = self._add(Scope("root", "", "", None, 0))
        self.current = self.root
        self.stack: list[tuple[Scope, Any, Any]] = []  # the call before, and the module that is now innermost
        self.module: Any = None
        self.counts: dict[tuple[Scope, str], int] = {}
        self.tops: dict[int, tuple[Any, str]] = {}  # modules called in no other, with the user's name for them
        self.top_of: dict[Scope, int] = {}
        self.owned: dict[int, tuple[Any, int, str]] = {}  # parameters: the cell, its top module and dotted name
        self.given: dict[int, tuple[Any, str, bool]] = {}  # arguments of calls: the array, its name, whether outermost
        self.variables: dict[Any, str] = {}  # what the user calls what is met at a place in the program
        self.first: dict[tuple[int, str], Scope] = {}  # the first call of a module in a step, by its path

    def _add(self, scope: Scope) -> Scope:
        scope.index = len(self.scopes)
        self.scopes.append(scope)
        return scope

    def begin_step(self, index: int) -> None:
        """What is called from now on belongs to another step."""
        if not self.stack:
            self.current = self._add(Scope("step", f"step {index}", "", self.root, index))

    def enter(self, owner: Any, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call begins."""
        self.stack.append((self.current, self.module, None))
        self._note_arguments(function, args, kwargs)
        if owner is function:
            scope = self._add(Scope("function", "", "", self.current, self.current.step))
            scope.name = self._numbered(owner.__name__.lstrip("_"))
        else:
            scope = self._module(owner)
            self.module = owner
        self.current = scope

    def leave(self) -> None:
        """The call that began last has ended."""
        self.current, self.module, _ = self.stack.pop()

    def _numbered(self, name: str) -> str:
        key = (self.current, name)
        k = self.counts[key] = self.counts.get(key, -1) + 1
        return f"{name}#{k}" if k else name

    def _module(self, owner: Any) -> Scope:
        if self.module is None:
            name = self._top(owner)
        else:
            name = _path_in(self.module, owner)
            for part in name.split(".")[:-1]:  # lists of modules, which are not called themselves
                self.current = self._between(part)
            name = name.rsplit(".", 1)[-1]
        scope = self._add(Scope("module", "", type(owner).__name__, self.current, self.current.step))
        scope.name = self._numbered(name)
        if self.module is None:
            self.top_of[scope] = id(owner)
        return scope

    def _between(self, name: str) -> Scope:
        for scope in reversed(self.scopes):
            if scope.parent is self.current and scope.name == name:
                return scope
        return self._add(Scope("module", name, "", self.current, self.current.step))

    def _top(self, owner: Any) -> str:
        """The name of a module that is called in no other one: the user's variable, or its class."""
        found = self.tops.get(id(owner))
        if found is None:
            name = _variable(owner)[0] or type(owner).__name__
            taken = {known for _, known in self.tops.values()}
            name = next(n for k in range(len(taken) + 1) if (n := f"{name}_{k}" if k else name) not in taken)
            found = self.tops[id(owner)] = (owner, name)
            for path, cell in (*owner.named_parameters(), *owner.named_buffers()):
                self.owned.setdefault(id(cell), (cell, id(owner), path))
        return found[1]

    def _note_arguments(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outermost = not self.stack[1:]
        names = None
        for k, x in enumerate(args):
            if isinstance(x, Tensor) and x.is_leaf and not isinstance(x._value, Box):
                names = names or _parameter_names(function)
                if k < len(names):
                    self.given.setdefault(id(x._value), (x._value, names[k], outermost))
        for name, x in kwargs.items():
            if isinstance(x, Tensor) and x.is_leaf and not isinstance(x._value, Box):
                self.given.setdefault(id(x._value), (x._value, name, outermost))

    def name_of(self, x: Tensor, value: Any, site: Any) -> tuple[str, bool]:
        """What a value that no op made is called ("" for nothing), and whether the user gave it; `site` is the place in the
        program, op and argument where it is met."""
        owned = self.owned.get(id(x))
        if owned is not None and owned[0] is x:
            return f"\0{owned[1]}\0{owned[2]}", False  # which `finish` resolves, when all top modules are known
        found = self.given.get(id(value))
        if found is not None and found[0] is value:
            return (self._variable(x, site) or found[1], True) if found[2] else (found[1], False)
        if self.current.kind == "function":
            return "", False  # made inside of it
        variable = self._variable(x, site)
        return variable, bool(variable)

    def _variable(self, x: Any, site: Any) -> str:
        """The user's variable that holds `x`. What the innermost frame calls it is what it will be called at this place
        in every step."""
        known = self.variables.get(site)
        if known is None:
            known, innermost = _variable(x)
            if innermost:
                self.variables[site] = known
        return known

    def named_modules(self) -> list[tuple[str, Any]]:
        """All modules in those that are called in no other, with their paths as names of nodes have them."""
        alone = len(self.tops) == 1
        found = []
        for top, name in self.tops.values():
            for path, module in top.named_modules():
                parts = ([] if alone else [name]) + ([path] if path else [])
                found.append((".".join(parts), module))
        return found

    def finish(self) -> None:
        """Gives every call its path."""
        alone = len(self.tops) == 1
        for scope in self.scopes[1:]:
            parent = scope.parent
            assert parent is not None
            if scope.kind == "step":
                continue
            name = scope.name
            if scope in self.top_of and alone:
                name = f"#{name.rsplit('#', 1)[1]}" if "#" in name else ""
            if scope.kind == "function":
                scope.path = f"{parent.path}/{name}" if parent.path else name
            else:
                scope.path = f"{parent.path}.{name}" if parent.path and name else parent.path or name
                self.first.setdefault((scope.step, scope.path), scope)

    def named(self, node: Node) -> str:
        """The name of a node but for its number; what no op made is moved to the call that it belongs to."""
        path = node.call.path
        if node.kind == "op":
            assert node.op is not None
            return f"{path}/{node.op.name}" if path else node.op.name
        name = node.name
        if name.startswith("\0"):
            _, top, dotted = name.split("\0")
            module, _, own = dotted.rpartition(".")
            if len(self.tops) > 1:
                first = self.tops[int(top)][1]
                module = f"{first}.{module}" if module else first
            self._belongs(node, module)
            return f"{module}/{own}" if module else own
        if name and node.kind == "input":
            node.call = next(s for s in node.call.ancestors() if s.kind in ("step", "root"))
        if not name:
            return f"{path}/{node.kind}" if path else node.kind
        return name

    def _belongs(self, node: Node, path: str) -> None:
        """Puts a parameter into the first call of its module in its step, or the innermost module it was used in."""
        inner = next((s for s in node.call.ancestors() if s.kind != "function"), node.call)
        node.call = self.first.get((node.step, path), inner)


def _path_in(module: Any, owner: Any) -> str:
    """The dotted name of `owner` in `module`, or its class where it is not registered there."""
    for name, child in module._modules.items():
        if child is owner:
            return str(name)
    for name, child in module.named_modules():
        if child is owner and name:
            return str(name)
    return type(owner).__name__


_names: dict[Any, list[str]] = {}


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    key = getattr(function, "__func__", function)
    found = _names.get(key)
    if found is None:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]
        _names[key] = found
    return found


def _variable(x: Any) -> tuple[str, bool]:
    """The user's variable that holds `x`, in the innermost frames ("" where there is none), and whether that is in the
    innermost of all."""
    frame: FrameType | None = sys._getframe(2)
    looked = 0
    while frame is not None and looked < _FRAMES:
        if not source.is_inside(frame.f_code.co_filename):
            looked += 1
            for name, value in frame.f_locals.items():
                if value is x and name.isidentifier() and not name.startswith("_"):
                    return name, looked == 1
        frame = frame.f_back
    return "", False
