"""How a function of backlit is given NumPy's signature: arguments bound as NumPy binds them, numbers in float64."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, tensor
from backlit.ops import linear
from backlit.ops.indexing import contents
from backlit.ops.shape import nested

WEAK = (bool, int, float, complex)  # numbers that take the dtype of the array beside them


def lift(x: Any, name: str = "array") -> Tensor:
    """`x` as a tensor in the dtype that NumPy gives it: floats are float64. Tensors stay, everything else is copied."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (list, tuple)) and holds_tensors(x):
        return nested([_doubled(v) for v in x])
    array = np.asarray(x)
    if array.dtype.kind == "O":
        raise DTypeError(f"np.{name}: arrays of objects are not supported; expected numbers or booleans{here()}")
    return tensor(np.array(array))


def _doubled(x: Any) -> Any:
    """A nested list with its numbers, and what NumPy would make of them, as tensors."""
    if isinstance(x, (list, tuple)):
        return [_doubled(v) for v in x] if holds_tensors(x) else lift(x)
    return x if isinstance(x, Tensor) else lift(x)


def holds_tensors(x: Any) -> bool:
    """Whether a nested list has a tensor in it."""
    return any(isinstance(v, Tensor) or (isinstance(v, (list, tuple)) and holds_tensors(v)) for v in x)


def lift_all(args: tuple[Any, ...], name: str) -> list[Any]:
    """Operands as tensors; Python numbers stay as they are beside an array, whose dtype they take."""
    weak = not all(isinstance(a, WEAK) for a in args)
    return [a if weak and type(a) in WEAK else lift(a, name) for a in args]


class Spec:
    """Which parameters of NumPy's function ours has, from text such as "*a shape | axis keepdims ddof=correction".

    Before the bar stand what ours takes by position: `*a` an array, `**a` a sequence of arrays, `shape` anything else;
    behind it what it takes by keyword, under another name after "=".
    """

    def __init__(self, text: str) -> None:
        before, _, behind = text.partition("|")
        words = before.split()
        self.names = [w.lstrip("*") for w in words]
        self.stars = [len(w) - len(w.lstrip("*")) for w in words]
        self.keywords = {w.partition("=")[0]: w.rpartition("=")[2] for w in behind.split()}

    def lifted(self, values: list[Any], name: str) -> list[Any]:
        """The values of the positional parameters, arrays among them as tensors."""
        return [
            lift(value, name) if stars == 1 else [lift(v, name) for v in _sequence(value, name)] if stars else value
            for value, stars in zip(values, self.stars, strict=True)
        ]


def _sequence(x: Any, name: str) -> Any:
    if isinstance(x, (list, tuple)):
        return x
    if isinstance(x, (Tensor, np.ndarray)):
        return list(x)
    raise DTypeError(f"np.{name}: expected a sequence of arrays, got {type(x).__name__}{here()}")


@lru_cache(maxsize=1024)
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def view(name: str, ours: Callable[..., Any], text: str, theirs: Any = None) -> Callable[..., Any]:
    """`ours` with the signature of NumPy's function `name`; what it has no counterpart for is an error when given."""
    spec, theirs = Spec(text), theirs if theirs is not None else getattr(np, name)
    count = len(spec.names)

    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) == count and not kwargs:
            return ours(*spec.lifted(list(args), name))
        signature = _signature(theirs)
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise ArgumentError(f"np.{name}: {error}{here()}") from None
        values, given = [], {}
        for parameter, value in bound.items():
            default = signature.parameters[parameter].default
            if parameter in spec.names:
                continue
            if value is default or value is np._NoValue or _equal(value, default):
                continue
            if parameter not in spec.keywords:
                raise unsupported(name, parameter)
            given[spec.keywords[parameter]] = value
        for parameter in spec.names:
            if parameter not in bound:
                raise ArgumentError(f"np.{name}: {parameter} is missing{here()}")
            values.append(bound[parameter])
        return ours(*spec.lifted(values, name), **given)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = inspect.getdoc(ours) or f"NumPy's `{name}`."
    return call


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and isinstance(value, (bool, int, float, str)) and value == default


def unsupported(name: str, parameter: str) -> ArgumentError:
    """The error for a parameter of NumPy's that has no counterpart."""
    why = {
        "out": "a value is never written to while others may refer to it: assign the result, or write x[...] = it",
        "order": "values have no memory layout of their own",
        "where": "choose with np.where before",
    }.get(parameter, "backlit has no counterpart")
    return ArgumentError(f"np.{name}: {parameter}= is not supported; {why}{here()}")


def discrete(name: str, module: Any = np) -> Callable[..., Any]:
    """NumPy's own function `name` of the elements as they are, for results through which nothing is differentiated."""
    theirs = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("out") is not None:
            raise unsupported(name, "out")
        return tensors(theirs(*[known(a, name) for a in args], **{k: known(v, name) for k, v in kwargs.items()}))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"NumPy's own `{name}`; nothing is differentiated through its result."
    return call


def plain(name: str, module: Any = np) -> Callable[..., Any]:
    """NumPy's own function `name` for what no gradient is taken of; an error where one would be."""
    theirs = discrete(name, module)

    def call(*args: Any, **kwargs: Any) -> Any:
        if recorded(list(args)) or recorded(list(kwargs.values())):
            raise DTypeError(
                f"np.{name}: has no gradient here; use .detach() (or stop_gradient) first where none is wanted{here()}"
            )
        return theirs(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"NumPy's own `{name}`, of arrays that no gradient is taken of."
    return call


def known(x: Any, name: str) -> Any:
    """`x` with the contents of tensors for the tensors.

    Raises:
      ShapeError: a tensor stands for many values at once, or has none yet.
    """
    if isinstance(x, Tensor):
        found = contents(x)
        if found is None:
            raise ShapeError(f"np.{name}: the elements of a traced value are not known here{here()}")
        view = found.view()
        view.flags.writeable = False
        return view
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return type(x)(known(v, name) for v in x)
    return x


def tensors(x: Any) -> Any:
    """`x` with tensors for its arrays; numbers, strings and the like stay."""
    if isinstance(x, np.ndarray):
        return Tensor(x) if x.dtype.kind in "biufc" else x
    if isinstance(x, np.generic):
        return Tensor(np.asarray(x)) if x.dtype.kind in "biufc" else x
    if isinstance(x, (list, tuple)):
        return type(x)(*(tensors(v) for v in x)) if hasattr(x, "_fields") else type(x)(tensors(v) for v in x)
    return x


def recorded(x: Any) -> bool:
    """Whether derivatives may be taken through `x`, or something in it."""
    if isinstance(x, Tensor):
        return x.requires_grad or isinstance(x._value, Box)
    return isinstance(x, (list, tuple)) and any(recorded(v) for v in x)


def cast(x: Any, dtype: Any) -> Tensor:
    """`x` with the dtype; itself when it has it or None is given."""
    x = lift(x)
    return x if dtype is None or x.dtype == np.dtype(dtype) else linear.astype(x, dtype=dtype)
