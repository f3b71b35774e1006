"""Parameters that are functions of others: `weight` is computed at each use from what is trained."""

from __future__ import annotations

from functools import cache
from typing import Any

from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, no_grad
from backlit.nn.container import ModuleDict, ModuleList
from backlit.nn.module import Module, Parameter
from backlit.nn.state import put


class ParametrizationList(ModuleList):
    """The modules through which one parameter goes, in turn, and what it is computed from.

    That is `original`, or `original0`, `original1` ... where the first module takes several; they are what is trained.
    """

    def __init__(self, first: Module, original: Tensor) -> None:
        super().__init__([first])
        found: Any = original
        if hasattr(first, "right_inverse"):
            with no_grad():
                found = first.right_inverse(original)
        self.n_originals = len(found) if isinstance(found, (tuple, list)) else 0
        trained = isinstance(original, Parameter)
        if not self.n_originals:
            if found is not original:
                put(original, found.detach()._value)  # the same cell, which an optimizer may know
            self._keep("original", original, trained)
        for k in range(self.n_originals):
            self._keep(
                f"original{k}", Parameter(found[k].detach(), original.requires_grad) if trained else found[k], trained
            )

    def _keep(self, name: str, value: Any, trained: bool) -> None:
        if trained:
            self.register_parameter(name, value)
        else:
            self.register_buffer(name, value)

    def forward(self) -> Tensor:
        """The parameter as it is now."""
        originals = [getattr(self, f"original{k}") for k in range(self.n_originals)] or [self.original]
        modules = list(self)
        x: Tensor = modules[0](*originals)
        for module in modules[1:]:
            x = module(x)
        return x

    def right_inverse(self, value: Tensor) -> None:
        """Sets what is trained so that the parameter becomes `value`, by the `right_inverse` of each module.

        Raises:
          ArgumentError: a module has none.
        """
        found: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise ArgumentError(
                        f"{type(module).__name__} has no right_inverse, so that nothing can be assigned{here()}"
                    )
                found = module.right_inverse(found)
            parts = found if isinstance(found, (tuple, list)) else [found]
            names = [f"original{k}" for k in range(self.n_originals)] or ["original"]
            for name, part in zip(names, parts, strict=True):
                getattr(self, name)[...] = part


@cache
def _class(cls: type[Module], names: tuple[str, ...]) -> type[Module]:
    """A subclass whose attributes `names` are computed; one for all modules of a class."""

    def read(name: str) -> property:
        return property(lambda self: self.parametrizations[name]())

    def assign(self: Module, name: str, value: Any) -> None:
        if name in names:
            self.parametrizations[name].right_inverse(value)
        else:
            cls.__setattr__(self, name, value)

    return type(f"Parametrized{cls.__name__}", (cls,), {**{n: read(n) for n in names}, "__setattr__": assign})


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a parameter, or some one, of `module` itself is computed from others."""
    tables = module._modules.get("parametrizations")
    if not isinstance(tables, ModuleDict):
        return False
    return len(tables) > 0 if tensor_name is None else tensor_name in tables


def _plain_class(module: Module) -> Any:
    return type(module).__mro__[1] if is_parametrized(module) else type(module)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes a parameter or buffer of `module` what `parametrization(original)` gives, and gives `module`.

    `original` is trained, under the name `parametrizations.<tensor_name>.original`. A second one goes on from the first. With a
    method `right_inverse` it starts so that the parameter keeps its value, and can be assigned. It is called at each use of
    the parameter.

    Raises:
      ArgumentError: there is no such parameter or buffer, or the result has another dtype.
      ShapeError: the result has another shape; both may be with `unsafe`.
    """
    if is_parametrized(module, tensor_name):
        tables: Any = module.parametrizations
        before = getattr(module, tensor_name)
        _check(tensor_name, before, parametrization(before), unsafe)
        if hasattr(parametrization, "right_inverse"):
            with no_grad():
                value = parametrization.right_inverse(before.detach())
            tables[tensor_name].right_inverse(value)
        tables[tensor_name].append(parametrization)
        return module
    table = next((t for t in (module._parameters, module._buffers) if t.get(tensor_name) is not None), None)
    if table is None:
        there = ", ".join([*module._parameters, *module._buffers]) or "none"
        raise ArgumentError(
            f"register_parametrization: {type(module).__name__} has no {tensor_name!r}; there are {there}"
        )
    original = table[tensor_name]
    kept = original.detach()
    chain = ParametrizationList(parametrization, original)
    with no_grad():
        _check(tensor_name, kept, chain(), unsafe)
    plain, names = (
        _plain_class(module),
        (*module.parametrizations, tensor_name) if is_parametrized(module) else (tensor_name,),
    )
    if not is_parametrized(module):
        module.register_module("parametrizations", ModuleDict())
    delattr(module, tensor_name)
    module.parametrizations[tensor_name] = chain
    object.__setattr__(module, "__class__", _class(plain, names))
    return module


def _check(name: str, before: Tensor, after: Tensor, unsafe: bool) -> None:
    if unsafe:
        return
    if not isinstance(after, Tensor) or after.shape != before.shape:
        got = shown(after) if isinstance(after, Tensor) else type(after).__name__
        raise ShapeError(f"register_parametrization: expected {name} to stay {shown(before)}, got {got}{here()}")
    if after.dtype != before.dtype:
        raise ArgumentError(
            f"register_parametrization: expected {name} to stay {before.dtype}, got {after.dtype}{here()}"
        )


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Makes a parameter one of its own again, with the value that it has or, without `leave_parametrized`, its original.

    Raises:
      ArgumentError: it is not computed from others, or from several and its original is asked for.
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(
            f"remove_parametrizations: {tensor_name!r} of {type(module).__name__} is not parametrized{here()}"
        )
    chain: Any = module.parametrizations[tensor_name]
    if not leave_parametrized and chain.n_originals:
        raise ArgumentError(
            f"remove_parametrizations: {tensor_name!r} has several originals; leave it parametrized{here()}"
        )
    value: Any = None
    if leave_parametrized:
        with no_grad():
            value = chain().detach()
    trained = bool(chain._parameters)
    cell: Any = (
        Parameter(value, next(iter(chain.parameters())).requires_grad) if chain.n_originals and trained else None
    )
    if cell is None:
        cell = value if chain.n_originals else chain.original
        if value is not None and not chain.n_originals:
            put(cell, value._value)
    plain = _plain_class(module)
    left = tuple(n for n in module.parametrizations if n != tensor_name)
    object.__setattr__(module, "__class__", _class(plain, left) if left else plain)
    del module.parametrizations[tensor_name]
    if not left:
        delattr(module, "parametrizations")
    if trained:
        module.register_parameter(tensor_name, cell)
    else:
        module.register_buffer(tensor_name, cell)
    return module
