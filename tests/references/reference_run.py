"""How a case of a reference is computed: the same lines for PyTorch, when it is recorded, and for backlit, in the tests.

A case names a class of `nn` or a function of `nn.functional` with its arguments. Arrays stand in it as draws: the
recorder draws them, the tests take what was drawn from the file. What comes out is a dictionary of arrays by name:
outputs, the gradients of all inputs and parameters under random cotangents, and what the call wrote into the state and
into its inputs.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Draw:
    """An array to be drawn; `trained` ones of floats are differentiated."""

    make: Callable[[np.random.Generator], Any]
    trained: bool = True


def normal(*shape: int) -> Draw:
    return Draw(lambda rng: rng.standard_normal(shape))


def uniform(*shape: int, low: float = 0.05, high: float = 0.95) -> Draw:
    return Draw(lambda rng: rng.uniform(low, high, shape))


def fixed(draw: Draw) -> Draw:
    return Draw(draw.make, trained=False)


def signs(*shape: int) -> Draw:
    return Draw(lambda rng: np.where(rng.random(shape) < 0.5, 1.0, -1.0), trained=False)


def classes(n: int, *shape: int, ignored: int | None = None) -> Draw:
    """Numbers below `n`, three in ten of them `ignored` where that is given."""

    def make(rng: np.random.Generator) -> Any:
        found = rng.integers(0, n, shape)
        return found if ignored is None else np.where(rng.random(shape) < 0.3, ignored, found)

    return Draw(make)


def shares(*shape: int, axis: int = -1) -> Draw:
    """Positive numbers that add up to one along an axis."""

    def make(rng: np.random.Generator) -> Any:
        found = rng.gamma(1.0, size=shape) + 0.02
        return found / found.sum(axis=axis, keepdims=True)

    return Draw(make)


def logs(draw: Draw) -> Draw:
    return Draw(lambda rng: np.log(draw.make(rng)), draw.trained)


def given(values: Any) -> Draw:
    return Draw(lambda rng: np.asarray(values), trained=False)


@dataclasses.dataclass(frozen=True)
class Of:
    """A module as an argument of another."""

    name: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str  # of a class in `nn`, or of a function in `nn.functional`
    args: tuple[Any, ...] = ()  # of the constructor
    inputs: tuple[Any, ...] = ()  # trees of draws
    options: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the constructor, or of the function
    call: dict[str, Any] = dataclasses.field(default_factory=dict)  # keyword arguments of a module's call
    modes: tuple[str, ...] = ("train",)  # one call each
    first: str | None = None  # a function of `nn.functional` before the first input

    @property
    def is_module(self) -> bool:
        return self.name[0].isupper()

    def __str__(self) -> str:
        said = [self.name, *map(_told, self.args)]
        said += [f"{k}={_told(v)}" for k, v in {**self.options, **self.call}.items()]
        return " ".join(said)


def _told(value: Any) -> str:
    match value:
        case Draw():
            return "array"
        case Of():
            return f"{value.name}({', '.join(map(_told, value.args))})"
        case tuple() | list():
            return "x".join(map(_told, value)) or "()"
        case _ if callable(value):
            return getattr(value, "__name__", "function").replace("<lambda>", "function")
    return str(value)


def layer(name: str, *args: Any, of: Any, call: Any = None, modes: Any = ("train",), **options: Any) -> Case:
    return Case(name, args, of if isinstance(of, tuple) else (of,), options, call or {}, tuple(modes))


def numbered(cases: list[Case]) -> dict[str, Case]:
    """By a name that is the case's alone."""
    found: dict[str, Case] = {}
    for case in cases:
        name, n = str(case), 1
        while name in found:
            n += 1
            name = f"{case} #{n}"
        found[name] = case
    return found


class Given:
    """The arrays a case is given: drawn when it is recorded, else those of the file."""

    def __init__(self, arrays: Arrays, seed: str | None = None) -> None:
        self.arrays = arrays
        self.rng = None if seed is None else np.random.default_rng(zlib.crc32(seed.encode()))

    def __call__(self, name: str, make: Callable[[np.random.Generator], Any]) -> Array:
        if self.rng is not None and name not in self.arrays:
            drawn = np.asarray(make(self.rng))
            self.arrays[name] = drawn.astype(np.float32) if drawn.dtype.kind == "f" else drawn
        if name not in self.arrays:
            raise LookupError(f"the recorded case has no {name!r}; record again with: make references")
        return self.arrays[name]


class Library(Protocol):
    """What both libraries are asked for."""

    nn: Any
    functional: Any

    def tensor(self, array: Array, trained: bool) -> Any: ...
    def array(self, tensor: Any) -> Array: ...
    def is_tensor(self, value: Any) -> bool: ...
    def load(self, module: Any, values: Arrays) -> None: ...
    def call(self, module: Any, inputs: Any, options: dict[str, Any]) -> Any: ...


def walk(tree: Any, f: Callable[[str, Any], Any], path: str = "") -> Any:
    """`tree` with `f(path, leaf)` for its leaves."""
    if isinstance(tree, (tuple, list)) and not hasattr(tree, "_fields"):
        return type(tree)(walk(x, f, f"{path}.{k}") for k, x in enumerate(tree))
    if isinstance(tree, dict):
        return {k: walk(x, f, f"{path}.{k}") for k, x in tree.items()}
    return f(path, tree)


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    walk(tree, lambda path, leaf: found.append((path, leaf)))
    yield from found


def cast(array: Array, dtype: Any) -> Array:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def build(library: Library, case: Case, take: Given, dtype: Any) -> Any:
    """The module of a case with the parameters that were drawn."""

    def made(path: str, value: Any) -> Any:
        if isinstance(value, Of):
            args, options = walk(value.args, made, path), walk(value.options, made, path)
            return getattr(library.nn, value.name)(*args, **options)
        if isinstance(value, Draw):
            return library.tensor(cast(take(f"argument{path}", value.make), dtype), False)
        return value

    module = getattr(library.nn, case.name)(*walk(case.args, made), **walk(case.options, made))
    values = {}
    for name, p in module.named_parameters():
        shape = tuple(p.shape)
        values[name] = take(f"parameter.{name}", lambda rng, shape=shape: 0.5 * rng.standard_normal(shape))
    library.load(module, {k: cast(v, dtype) for k, v in values.items()})
    return module


def run(library: Library, case: Case, take: Given, dtype: Any) -> Arrays:
    """Everything that is compared, by name."""
    results: Arrays = {}
    module = build(library, case, take, dtype) if case.is_module else None
    for k, mode in enumerate(case.modes):
        trained: dict[str, Any] = {}
        fixed: dict[str, tuple[Any, Array]] = {}

        def made(path: str, value: Any, k: int = k, trained: Any = trained, fixed: Any = fixed) -> Any:
            if not isinstance(value, Draw):
                return value
            array = cast(take(f"{k}{path}", value.make), dtype)
            floats = value.trained and array.dtype.kind == "f"
            cell = library.tensor(array, floats)
            if floats:
                trained[path[1:]] = cell
            else:
                fixed[path[1:]] = cell, array.copy()
            return cell

        inputs = walk(case.inputs, made, ".input")
        options = walk(case.call if module is not None else case.options, made, ".option")
        if case.first is not None:
            inputs = (getattr(library.functional, case.first)(inputs[0], -1), *inputs[1:])
        before: Arrays = {}
        if module is not None:
            module.train(mode == "train")
            module.zero_grad()
            trained |= {f"parameter.{n}": p for n, p in module.named_parameters() if p.requires_grad}
            before = {n: library.array(v).copy() for n, v in module.state_dict().items()}
        out = library.call(getattr(library.functional, case.name) if module is None else module, inputs, options)
        total: Any = 0.0
        for path, leaf in leaves(out):
            if not library.is_tensor(leaf):
                continue
            array = library.array(leaf)
            results[f"{k}.output{path}"] = array
            if array.dtype.kind == "f" and leaf.requires_grad:
                shape = array.shape
                cotangent = take(f"{k}.cotangent{path}", lambda rng, shape=shape: rng.standard_normal(shape))
                total = total + (leaf * library.tensor(cast(cotangent, dtype), False)).sum()
        if library.is_tensor(total):
            total.backward()
        for path, (cell, was) in fixed.items():
            if not np.array_equal(now := library.array(cell), was):
                results[f"{k}.written.{path}"] = now.copy()
        for path, cell in trained.items():
            if cell.grad is not None:
                results[f"{k}.gradient.{path}"] = library.array(cell.grad)
        if module is not None:
            for name, v in module.state_dict().items():
                after = library.array(v)
                if not np.array_equal(before[name], after):
                    results[f"{k}.state.{name}"] = after.copy()
    return results
