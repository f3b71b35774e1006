"""Module: a named tree of parameters, buffers and submodules; Parameter: a leaf that is trained."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from backlit.core import changes, record, tree
from backlit.core.dtypes import bfloat16, is_float
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor, tensor
from backlit.nn import hooks, leaves
from backlit.nn.hooks import Hooked
from backlit.nn.located import locate
from backlit.nn.printing import drawn
from backlit.nn.state import float_dtype, load, put


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


class Buffer(Tensor):
    """A tensor that a module keeps and does not train: assigned to an attribute of a module, it is registered there.

    Holds a copy of `data`, in its shape and dtype; one that is not `persistent` is left out of `state_dict`.
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        super().__init__(tensor(data)._value)
        self.persistent = persistent


class IncompatibleNames(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing: list[str]
    unexpected: list[str]


_alive: weakref.WeakValueDictionary[int, Module] = weakref.WeakValueDictionary()  # by id: they need not be hashable


def alive() -> list[Module]:
    """Every module there is."""
    return list(_alive.values())


class Module(Hooked):
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
    _hooks: hooks.Tables | None
    notes_changes = ("_parameters", "_buffers", "_modules", "_transient", "_hooks")

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        module = super().__new__(cls)
        _alive[id(module)] = module
        return module

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={}, _transient=set(), _hooks=None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        tree.register(cls, leaves.flatten, leaves.unflatten, leaves.n_trained)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The value of the module; a subclass states it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward: define forward(self, ...) in the class")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if hooks.used and self._hooks is not None:
                return hooks.call(self, args, kwargs)
            if record.active:
                return record.inside(self, self.forward, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            locate(error, self)
            raise

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
        if isinstance(value, Buffer) and name not in self._tables()[1]:
            self.register_buffer(name, value, getattr(value, "persistent", True))
            return
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
        if isinstance(value, Tensor) and type(self).__module__.startswith("backlit."):
            kind = type(self).__name__
            raise TypeError(f"{kind}: {name} cannot be a tensor; make the layer first and call it then, {kind}(...)(x)")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        if "_modules" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() first in its __init__")
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
        """Registers a submodule under `name`.

        Raises:
          TypeError: `module` is not a Module.
        """
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"register_module: expected a Module for {name!r}, got {type(module).__name__}")
        self._register(self._tables()[2], name, module)

    add_module = register_module

    # Walking

    def get_submodule(self, target: str) -> Module:
        """The module with a dotted name as `named_modules` gives it, this one for "".

        Raises:
          AttributeError: there is none.
        """
        found: Any = self
        for name in target.split(".") if target else ():
            found = found._modules.get(name)
            if found is None:
                there = ", ".join(n for n, _ in self.named_modules() if n) or "none"
                raise AttributeError(f"{type(self).__name__} has no module {target!r}; there are {there}")
        return found  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Puts a module in the place of the one with a dotted name; with `strict` there must be one.

        Raises:
          AttributeError: a module on the way is not there, or with `strict` the one itself.
          ArgumentError: the name is empty.
        """
        if not target:
            raise ArgumentError(f"{type(self).__name__}.set_submodule: expected the name of a module, got ''")
        if strict:
            self.get_submodule(target)
        path, _, name = target.rpartition(".")
        self.get_submodule(path).register_module(name, module)

    def _get(self, table: str, what: str, target: str) -> Tensor:
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path).__dict__[table].get(name)
        if found is None:
            there = ", ".join(n for n, _ in self._named(table, "", True)) or "none"
            raise AttributeError(f"{type(self).__name__} has no {what} {target!r}; there are {there}")
        return found  # type: ignore[no-any-return]

    def get_parameter(self, target: str) -> Tensor:
        """The parameter with a dotted name as `named_parameters` gives it.

        Raises:
          AttributeError: there is none.
        """
        return self._get("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name as `named_buffers` gives it.

        Raises:
          AttributeError: there is none.
        """
        return self._get("_buffers", "buffer", target)

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

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, parents first.

        Each is given once, unless `remove_duplicate` is False, and not at all if it is in `memo`, to which it is added.
        """
        known = set() if memo is None else set(memo)
        for name, module in self._walk(prefix, set() if remove_duplicate else None):
            if not remove_duplicate or module not in known:
                known.add(module)
                if memo is not None:
                    memo.add(module)
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def _named(self, table: str, prefix: str, recurse: bool, distinct: bool = True) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        where = self._walk(prefix, set() if distinct else None) if recurse else iter([(prefix, self)])
        for path, module in where:
            for name, value in getattr(module, table).items():
                if value is None or (distinct and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their dotted names, each once unless `remove_duplicate` is False."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """The parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once unless `remove_duplicate` is False."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

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

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name behind `prefix`, without their graph.

        The tensors keep the values of this moment: later steps of an optimizer do not show in
        them. Nothing is copied. A cell with two names appears under both. With `keep_vars` it is the cells themselves.
        """
        places = [(f"{prefix}{path}." if path else prefix, module) for path, module in self._walk("", None)]
        for at, module in places:
            for (hook,) in hooks.of_kind(module, "state_pre"):
                hook(module, at, keep_vars)
        found = {prefix + name: value if keep_vars else value.detach() for name, value in self._state().items()}
        for at, module in reversed(places):
            for (hook,) in hooks.of_kind(module, "state"):
                hook(module, found, at, {})
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleNames:
        """Writes the values of `state_dict` into the parameters and buffers, in their own dtype.

        With `strict=False` missing and unexpected names are returned instead of raised. With `assign` the cells take over
        the arrays with their dtype, without a copy; a parameter stays the tensor that an optimizer knows. On an
        error nothing has been written.

        Raises:
          TypeError: `state_dict` is no mapping.
          DataError: names are missing or unexpected, or shapes differ; all are listed.
        """
        modules = list(self._walk("", None))
        for path, module in modules:
            for (hook,) in hooks.of_kind(module, "load_pre"):
                state_dict = dict(state_dict)
                hook(module, state_dict, f"{path}." if path else "", {}, strict, [], [], [])
        found = IncompatibleNames(*load(type(self).__name__, self._state(), state_dict, strict, assign))
        for _, module in reversed(modules):
            for (hook,) in hooks.of_kind(module, "load"):
                hook(module, found)
        return found

    # Dtypes

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Self:
        """Floating parameters and buffers, and gradients, in another dtype: `to("float64")`, `to(dtype=...)`, `to(tensor)`.

        The cells stay the same tensors. The one device is "cpu". Make an optimizer behind it: its state has the dtype that the
        parameters had.

        Raises:
          DTypeError: the dtype is not a float.
          ArgumentError: another device, or something else is given.
        """
        new = float_dtype(f"{type(self).__name__}.to", args, dtype, device)
        for _, cell in (*self.named_parameters(), *self.named_buffers()):
            if new is not None and is_float(cell.dtype) and cell.dtype != new:
                put(cell, cell.detach().numpy().astype(new))
        changes.changed()
        return self

    def type(self, dst_type: Any) -> Self:
        """Floating parameters and buffers in another dtype; see `to`."""
        return self.to(dtype=dst_type)

    def float(self) -> Self:
        """Floating parameters and buffers in float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Floating parameters and buffers in float64."""
        return self.to(np.float64)

    def half(self) -> Self:
        """Floating parameters and buffers in float16."""
        return self.to(np.float16)

    def bfloat16(self) -> Self:
        """Floating parameters and buffers in bfloat16."""
        return self.to(bfloat16)

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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets the gradient of every parameter to None, or to zeros where it has one."""
        for parameter in self.parameters():
            grad = None if set_to_none else parameter.grad
            parameter.grad = None if grad is None else Tensor(np.zeros(grad.shape, grad.dtype))

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
        return drawn(self)


tree.register(Module, leaves.flatten, leaves.unflatten, leaves.n_trained)
