"""Module: a named tree of parameters, buffers and submodules; Parameter: a leaf that is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from backlit.core import changes, record, tree
from backlit.core.errors import ArgumentError, DataError
from backlit.core.tensor import Tensor, tensor


class Parameter(Tensor):
    """A tensor that a module trains: assigned to an attribute of a module, it is registered there.

    Holds a copy of `data`, in its shape and dtype.

    Raises:
      DTypeError: `requires_grad` with a dtype that has no gradient.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(tensor(data)._value)
        if requires_grad:
            self.requires_grad_()


class IncompatibleNames(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing: list[str]
    unexpected: list[str]


class Module:
    """Base of every layer and network.

    Attributes that hold a `Parameter` or a `Module` are registered under their name, in the
    order of their assignment; `register_buffer` adds tensors that are kept but not trained.
    A subclass calls `super().__init__()` first and states `forward`.

    A module is a tree (`backlit.core.tree`) whose leaves are its distinct parameters, then its
    distinct buffers, in named order; a cell reachable by two names is one leaf.
    """

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _transient: set[str]
    notes_changes = ("_parameters", "_buffers", "_modules", "_transient")

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={}, _transient=set())

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        tree.register(cls, _flatten, _unflatten, _n_trained)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The value of the module; a subclass states it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if record.active:
            return record.inside(self, self.forward, args, kwargs)
        return self.forward(*args, **kwargs)

    # Registration

    def _tables(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        found = self.__dict__
        if "_modules" not in found:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning attributes")
        return found["_parameters"], found["_buffers"], found["_modules"]

    def _register(self, table: dict[str, Any], name: str, value: Any) -> None:
        changes.changed()
        if not name or "." in name:
            raise ArgumentError(f"{type(self).__name__}: {name!r} cannot name a parameter, buffer or module")
        for other in self._tables():
            if other is not table:
                other.pop(name, None)
        self.__dict__.pop(name, None)
        table[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        changes.changed()
        if isinstance(value, (Parameter, Module)):
            parameters, _, modules = self._tables()
            self._register(parameters if isinstance(value, Parameter) else modules, name, value)
            return
        if "_modules" in self.__dict__:
            parameters, buffers, modules = self._tables()
            if name in buffers and (value is None or isinstance(value, Tensor)):
                buffers[name] = value
                return
            for table, kind in ((parameters, "Parameter"), (modules, "Module"), (buffers, "Tensor")):
                if name in table:
                    if value is not None:
                        raise TypeError(
                            f"{type(self).__name__}.{name}: expected a {kind} or None, "
                            f"got {type(value).__name__}; `del` the attribute first to change its kind"
                        )
                    table[name] = None
                    return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        changes.changed()
        for table in self._tables():
            if name in table:
                del table[name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Registers `parameter` under `name`; `None` keeps the name for a parameter that is absent."""
        self._register(self._tables()[0], name, parameter)

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Registers a tensor that is not trained; one that is not `persistent` is left out of `state_dict`.

        Raises:
          TypeError: `value` is not a Tensor.
        """
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"register_buffer: expected a Tensor for {name!r}, got {type(value).__name__}")
        self._register(self._tables()[1], name, value)
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Registers a submodule under `name`."""
        self._register(self._tables()[2], name, module)

    # Walking

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules, each once."""
        for _, module in self.named_children():
            yield module

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, Module]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._walk(f"{prefix}.{name}" if prefix else name, seen)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, each once, parents first."""
        return self._walk(prefix, set())

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def _named(self, table: str, prefix: str, recurse: bool, distinct: bool = True) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        where = self._walk(prefix, set() if distinct else None) if recurse else iter([(prefix, self)])
        for path, module in where:
            for name, value in module.__dict__[table].items():
                if value is None or (distinct and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their dotted names, each once."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """The parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # State

    def _state(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for path, module in self._walk("", None):
            for table in (module._parameters, module._buffers):
                for name, value in table.items():
                    if value is not None and not (table is module._buffers and name in module._transient):
                        found[f"{path}.{name}" if path else name] = value
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, without their graph.

        The tensors keep the values of this moment: later steps of an optimizer do not show in
        them. Nothing is copied. A cell with two names appears under both.
        """
        return {name: value.detach() for name, value in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleNames:
        """Writes the values of `state_dict` into the parameters and buffers, in their own dtype.

        With `strict=False` missing and unexpected names are returned instead of raised. On an
        error nothing has been written.

        Raises:
          DataError: names are missing or unexpected, or shapes differ; all are listed.
        """
        own = self._state()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        arrays = {name: np.asarray(state_dict[name]) for name in own if name in state_dict}
        wrong = [
            f"{name} (expected {list(own[name].shape)}, got {list(array.shape)})"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        problems = []
        if strict and missing:
            problems.append("missing: " + ", ".join(missing))
        if strict and unexpected:
            problems.append("unexpected: " + ", ".join(unexpected))
        if wrong:
            problems.append("wrong shape: " + ", ".join(wrong))
        if problems:
            raise DataError(f"load_state_dict: {type(self).__name__}: " + "; ".join(problems))
        for name, array in arrays.items():
            own[name]._value = np.array(array, dtype=own[name].dtype)
        return IncompatibleNames(missing, unexpected)

    # Modes

    def train(self, mode: bool = True) -> Self:
        """Sets `training` here and below."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Sets `training` to False here and below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Marks every parameter as trained or frozen."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Sets the gradient of every parameter to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls `fn` on every module below, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # Printing

    def extra_repr(self) -> str:
        """What `repr` shows in the parentheses; a layer states its arguments."""
        return ""

    def __repr__(self) -> str:
        count = sum(p.size for p in self.parameters())
        own = [f"{n} {list(v.shape)}" for n, v in {**self._parameters, **self._buffers}.items() if v is not None]
        note = ", ".join(own)
        if count:
            total = f"{count:,} parameter" + ("s" if count != 1 else "")
            note = f"{note}: {total}" if note else total
        suffix = f"  # {note}" if note else ""
        head = type(self).__name__
        below = [(name, module) for name, module in self._modules.items() if module is not None]
        if not below:
            return f"{head}({self.extra_repr()}){suffix}"
        lines = [f"{head}({self.extra_repr()}{suffix}"]
        for name, module in below:
            lines.append(f"  ({name}): " + repr(module).replace("\n", "\n  "))
        return "\n".join([*lines, ")"])


class _Skeleton(NamedTuple):
    module: Module
    cells: tuple[Tensor, ...]


def _flatten(module: Module) -> tuple[tuple[Tensor, ...], _Skeleton]:
    found = {id(v): v for _, v in (*module.named_parameters(), *module.named_buffers())}
    cells = tuple(found.values())
    return cells, _Skeleton(module, cells)


def _n_trained(module: Module) -> int:
    return len({id(p) for p in module.parameters()})


def _unflatten(skeleton: _Skeleton, children: tuple[Any, ...]) -> Module:
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


tree.register(Module, _flatten, _unflatten, _n_trained)
