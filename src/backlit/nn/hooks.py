"""Hooks of modules: functions called around forward, and when gradients pass a module on the way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from backlit.autodiff.gate import Gate
from backlit.core import changes, record, tree
from backlit.core.dtypes import is_float
from backlit.core.errors import ShapeError
from backlit.core.source import here
from backlit.core.tensor import Tensor

if TYPE_CHECKING:
    from backlit.nn.module import Module

used = False  # whether there has ever been a hook: until then a call looks at nothing else

# the hooks of a module by kind, in the order of their calls, each with its options; never changed in place, so that a hook
# may remove itself, and a program compiled without it finds what it was compiled with
Tables = dict[str, tuple[tuple[Any, ...], ...]]


class Handle:
    """Takes a hook away: by `remove()`, or at the end of a `with` block."""

    def __init__(self, module: Module, kind: str, entry: tuple[Any, ...]) -> None:
        self._module, self._kind, self._entry = module, kind, entry

    def remove(self) -> None:
        """Takes the hook away; a second call does nothing."""
        tables: Tables = self._module.__dict__["_hooks"] or {}
        left = tuple(entry for entry in tables.get(self._kind, ()) if entry is not self._entry)
        _replace(self._module, {**tables, self._kind: left})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register(module: Any, kind: str, hook: Callable[..., Any], *options: bool, prepend: bool = False) -> Handle:
    """Adds a hook behind those of its kind, or before them.

    Raises:
      TypeError: it cannot be called.
    """
    if not callable(hook):
        raise TypeError(f"{type(module).__name__}: a hook must be a function, got {type(hook).__name__}")
    entry = (hook, *options)
    tables: Tables = module._hooks or {}
    there = tables.get(kind, ())
    _replace(module, {**tables, kind: (entry, *there) if prepend else (*there, entry)})
    return Handle(module, kind, entry)


def _replace(module: Module, tables: Tables) -> None:
    global used
    used = True
    changes.changed()
    module.__dict__["_hooks"] = {kind: entries for kind, entries in tables.items() if entries} or None


def of_kind(module: Module, kind: str) -> tuple[tuple[Any, ...], ...]:
    """The hooks of one kind with their options."""
    tables: Tables = module.__dict__["_hooks"] or {}
    return tables.get(kind, ())


class Hooked:
    """What a module has to register hooks."""

    _hooks: Tables | None

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Calls `hook(module, args)` before `forward`; what it returns, unless None, takes the place of the arguments.

        With `with_kwargs` it is `hook(module, args, kwargs)`, which returns None or `(args, kwargs)`.
        """
        return register(self, "forward_pre", hook, with_kwargs, prepend=prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> Handle:
        """Calls `hook(module, args, out)` after `forward`; what it returns, unless None, takes the place of `out`.

        With `with_kwargs` it is `hook(module, args, kwargs, out)`. With `always_call` it is called also where something
        raises, with what there is of `out`.
        """
        return register(self, "forward", hook, with_kwargs, always_call, prepend=prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Calls `hook(module, grad_output)` when the gradients of all outputs are there: a tuple, None where there is none.

        What it returns, unless None, takes their place.
        """
        return register(self, "backward_pre", hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Calls `hook(module, grad_input, grad_output)` when the gradients of the positional arguments are there.

        They are tuples, with None where there is no gradient. What it returns, unless None, takes the place of `grad_input`.
        Without an argument of which a gradient is wanted it is called when those of the outputs are there. It works under
        `backward`, `grad` and the other reverse transforms; forward mode passes it.
        """
        return register(self, "backward", hook, prepend=prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Calls `hook(module, prefix, keep_vars)` before `state_dict` looks at the module."""
        return register(self, "state_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Calls `hook(module, state_dict, prefix, {})`, which may change the state dict that is to be given."""
        return register(self, "state", hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Calls `hook(module, state_dict, prefix, {}, strict, [], [], [])`, which may change a copy of what is to be loaded.

        So names of an earlier version become those of today. The last three lists are PyTorch's, and not looked at.
        """
        return register(self, "load_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Calls `hook(module, incompatible_names)` when everything has been loaded."""
        return register(self, "load", hook)


def call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a module that has hooks."""
    if record.active:
        return record.inside(module, module.forward, args, kwargs, partial(_run, module))
    return _run(module, *args, **kwargs)


def _run(module: Module, *args: Any, **kwargs: Any) -> Any:
    done: set[int] = set()
    after = of_kind(module, "forward")
    out: Any = None
    try:
        for hook, with_kwargs in of_kind(module, "forward_pre"):
            args, kwargs = _before(hook, with_kwargs, module, args, kwargs)
        back = _Back(module) if of_kind(module, "backward") or of_kind(module, "backward_pre") else None
        if back is not None:
            args = back.entering(args)
        out = module.forward(*args, **kwargs)
        for k, (hook, with_kwargs, _) in enumerate(after):
            done.add(k)
            found = hook(module, args, kwargs, out) if with_kwargs else hook(module, args, out)
            out = out if found is None else found
        return out if back is None else back.leaving(out)
    except Exception as error:
        for k, (hook, with_kwargs, always) in enumerate(after):
            if always and k not in done:
                try:
                    hook(module, args, kwargs, out) if with_kwargs else hook(module, args, out)
                except Exception as another:  # noqa: BLE001 - whatever it is, the first error is what went wrong
                    error.add_note(f"a forward hook of {type(module).__name__} failed too: {another}")
        raise


def _before(
    hook: Any, with_kwargs: bool, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not with_kwargs:
        found = hook(module, args)
        return (args if found is None else found if isinstance(found, tuple) else (found,)), kwargs
    found = hook(module, args, kwargs)
    if found is None:
        return args, kwargs
    if not (
        isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], tuple) and isinstance(found[1], dict)
    ):
        raise TypeError(
            f"{type(module).__name__}: a forward pre-hook with kwargs must give None or (args, kwargs), got {found!r}"
        )
    return found


class _Back:
    """One call of a module, the gradients of whose outputs and inputs go through its hooks."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.grad_output: tuple[Tensor | None, ...] = ()
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.n_inputs = self.n_outputs = 0
        self.enters = False  # whether a gradient of an input is wanted

    def entering(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments behind a gate."""
        self.n_inputs, self.inputs = len(args), _floats(args)
        given = [args[k] for k in self.inputs]
        behind = Gate(f"{type(self.module).__name__}.inputs", self._at_inputs)(*given) if given else ()
        self.enters = any(a is not b for a, b in zip(given, behind, strict=True))
        return tuple(_filled(list(args), self.inputs, behind))

    def leaving(self, out: Any) -> Any:
        """What the module gives behind a gate."""
        leaves, structure = tree.flatten(out)
        self.n_outputs, self.outputs = len(leaves), _floats(leaves)
        self.grad_output = (None,) * self.n_outputs
        if not self.outputs:
            return out
        gate = Gate(f"{type(self.module).__name__}.outputs", self._at_outputs)
        return tree.unflatten(structure, _filled(leaves, self.outputs, gate(*(leaves[k] for k in self.outputs))))

    def _at_outputs(self, cotangents: list[Tensor | None]) -> list[Tensor | None]:
        whole = tuple(_filled([None] * self.n_outputs, self.outputs, cotangents))
        for (hook,) in of_kind(self.module, "backward_pre"):
            whole = self._replaced(hook(self.module, whole), whole)
        self.grad_output = whole
        if not self.enters:
            self._at_inputs([None] * len(self.inputs))
        return [whole[k] for k in self.outputs]

    def _at_inputs(self, cotangents: list[Tensor | None]) -> list[Tensor | None]:
        whole = tuple(_filled([None] * self.n_inputs, self.inputs, cotangents))
        for (hook,) in of_kind(self.module, "backward"):
            whole = self._replaced(hook(self.module, whole, self.grad_output), whole)
        return [whole[k] for k in self.inputs]

    def _replaced(self, found: Any, before: tuple[Any, ...]) -> tuple[Any, ...]:
        if found is None:
            return before
        new = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if len(new) != len(before):
            raise ShapeError(
                f"{type(self.module).__name__}: a backward hook gave {len(new)} gradients for {len(before)}{here()}"
            )
        return new


def _floats(values: Any) -> list[int]:
    return [k for k, x in enumerate(values) if isinstance(x, Tensor) and is_float(x.dtype)]


def _filled(whole: list[Any], places: list[int], values: Any) -> list[Any]:
    for k, value in zip(places, values, strict=True):
        whole[k] = value
    return whole
