"""compile: a Python function of tensors, with all it reads and writes, as one program."""

from __future__ import annotations

import inspect
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from functools import update_wrapper
from operator import is_not, itemgetter
from sys import getrefcount
from typing import Any, overload

import numpy as np

from backlit.compiler import native
from backlit.compiler.ir import Atom, Var, verify
from backlit.compiler.passes import dce, simplify
from backlit.compiler.state import ROOT, Reached
from backlit.compiler.threads import checked
from backlit.compiler.trace import Source, StepTrace
from backlit.core import staging, tree
from backlit.core.dtypes import default_dtype
from backlit.core.errors import ArgumentError, TraceError
from backlit.core.graph import Node
from backlit.core.source import here
from backlit.core.tensor import Box, Consumed, Tensor, as_tensor, muted

log = logging.getLogger("backlit")
EXCLUSIVE = 4  # references to an array of the state while only its tensor and the caller's list know it
ALONE = 2  # and while nothing but one variable does
_MISS = object()
STORM = 8  # so many programs of one function are worth a warning
_NUMBERS = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype, slice, type(Ellipsis))


class _Inside(Exception):
    """A tensor of the state holds a value of a transform around the call."""


class Arguments:
    """The tensors among the arguments of a call, in order, and a key that says everything else about them."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], static: dict[str, Any]) -> None:
        self.leaves: list[Tensor] = []
        self.roots: dict[str, Any] = {}
        self._places: dict[int, int] = {}
        self.traced = False
        key = [self._visit(x, f"argument {k}") for k, x in enumerate(args)]
        named = [(name, self._visit(x, f"argument {name!r}")) for name, x in kwargs.items()]
        self.key = (*key, *named, *(("static", name, type(x), x) for name, x in static.items()))

    def _visit(self, x: Any, path: str) -> Any:
        if isinstance(x, Tensor):
            value = x._value
            if isinstance(value, Box):
                self.traced = True
            if id(x) in self._places:
                return ("again", self._places[id(x)])
            self._places[id(x)] = len(self.leaves)
            self.leaves.append(x)
            node = x.node
            return (value.shape, value.dtype, None if node is None else node.__class__ is Node)
        if isinstance(x, np.ndarray):
            self.leaves.append(as_tensor(x))
            return ("array", x.shape, x.dtype)
        if isinstance(x, (tuple, list)):
            return (type(x), *(self._visit(child, f"{path}[{k}]") for k, child in enumerate(x)))
        if isinstance(x, dict):
            return (dict, *((name, self._visit(child, f"{path}[{name!r}]")) for name, child in x.items()))
        if isinstance(x, _NUMBERS):
            return (type(x), repr(x))
        self.roots[path] = x
        return (type(x), id(x))

    def holds(self, cell: Tensor) -> bool:
        """Whether a tensor is an argument."""
        return id(cell) in self._places


class Program:
    """One program of a compiled function: a graph, where its inputs come from and where its outputs go."""

    def __init__(self, compiled: Compiled, given: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        started = time.perf_counter()
        roots = {ROOT: compiled.function, **given.roots}
        self.reached = Reached(roots)
        if self.reached.prepare():
            self.reached = Reached(roots)
        trace, found = self._trace(compiled, given, args, kwargs)
        effects = trace.effects()
        leaves, self._structure = tree.flatten(found)
        self._constant = [None if isinstance(x, Tensor) else (x,) for x in leaves]
        outputs: list[Atom] = [trace.atom(x) for x in leaves if isinstance(x, Tensor)]
        self.n_returned = len(outputs)
        self.effects: list[tuple[Source, Any]] = []
        for source, value in effects:
            if value is None or (source.kind.startswith("gradient") and not compiled.keep_grads):
                self.effects.append((source, None if value is None else Consumed()))
            else:
                self.effects.append((source, Ellipsis))  # the next output
                outputs.append(trace.atom(value))
        graph = trace.graph
        graph.inputs = [var for _, var in trace.sources]
        graph.outputs = outputs
        verify(graph)
        graph = dce(graph)
        used = {a for e in graph.eqns for a in e.inputs if isinstance(a, Var)} | {
            a for a in outputs if isinstance(a, Var)
        }
        order = {"argument": 0, "cell": 1}
        kept = [(source, var) for source, var in trace.sources if var in used]
        kept.sort(key=lambda pair: order.get(pair[0].kind, 2))
        graph.inputs = [var for _, var in kept]
        self.sources = [source for source, _ in kept]
        self.graph = simplify(graph)
        self.absent = trace.gradients_absent
        self.traced_s = time.perf_counter() - started
        numbers = {id(source): j for j, source in enumerate(self.sources)}
        replaced = [source for source, value in self.effects if value is Ellipsis]
        state = [(self.n_returned + k, numbers[id(s)]) for k, s in enumerate(replaced) if id(s) in numbers]
        self.native = native.Program(self.graph, state, compiled.threads)
        self._over = list(self.native.over.values())
        self._remember(given, args, kwargs, trace.strangers_lent)
        self._single = len(self._constant) == 1 and self._constant[0] is None and isinstance(found, Tensor)
        self.compiled_s = time.perf_counter() - started

    def _trace(
        self, compiled: Compiled, given: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[StepTrace, Any]:
        extra: list[Tensor] = []
        while True:
            arrays = iter(given.leaves)
            with StepTrace("compile") as trace, staging.staging(trace):
                try:
                    for number, leaf in enumerate(given.leaves):
                        trace.lend(leaf, Source("argument", None, number))
                    for _, cell in self.reached.cells.values():
                        trace.lend(cell, Source("cell", cell))
                    for cell in extra:
                        trace.lend(cell, Source("cell", cell))
                        trace.strangers_lent.append(cell)
                    found = compiled.function(
                        *(_with_tensors(x, given, arrays) for x in args),
                        **{name: _with_tensors(x, given, arrays) for name, x in kwargs.items()},
                    )
                    found = tree.map(_frozen, found)
                    trace.finish()
                finally:
                    trace.give_back()
            strangers = [x for x in trace.strangers() if not any(x is y for y in extra)]
            if not strangers:
                return trace, found
            extra += strangers

    def _remember(
        self, given: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any], strangers: Sequence[Tensor]
    ) -> None:
        """What `quick` looks at."""
        self._cell_ids = {*self.reached.cells, *map(id, strangers)}
        self._aliases = [(k, id(x)) for k, x in enumerate(given.leaves) if id(x) in self._cell_ids]
        self._numbers = [s.number for s in self.sources if s.kind == "argument"]
        self._cells = [s.owner for s in self.sources if s.kind == "cell"]
        self._gradients = [(s.owner, value) for s, value in self.effects if s.kind == "gradient"]
        self._mode = (muted.get() > 0, default_dtype())
        plain = len(self._numbers) + len(self._cells) == len(self.sources) and not self._aliases and not kwargs
        plain = plain and len(given.leaves) == len(args) and all(isinstance(x, Tensor) for x in args)
        results = len(self.native.over)
        for source, value in self.effects:
            if source.kind == "gradient":
                plain = plain and value is not Ellipsis
            else:
                plain = plain and source.kind == "cell"
                results -= 1
        self._expected: list[tuple[Any, Any, Any]] | None = None
        if plain and results == 0:
            self._expected = [
                (x.shape, x.dtype, None if x.node is None else x.node.__class__ is Node) for x in given.leaves
            ]
        chosen = itemgetter(*self._over) if self._over else None
        self._written_over = (lambda arrays: (chosen(arrays),)) if len(self._over) == 1 and chosen else chosen

    def fits(self, given: Arguments) -> bool:
        """Whether guards and state are as they were when this was traced; the key of the arguments is not looked at."""
        if not self.reached.unchanged():
            return False
        if [(k, id(x)) for k, x in enumerate(given.leaves) if id(x) in self._cell_ids] != self._aliases:
            return False
        return all(cell._grad is None for cell in self.absent)

    def inputs(self, given: Arguments) -> list[Any] | None:
        """The arrays of a call; None when one is not of the shape and dtype this is made for."""
        arrays = []
        for source, var in zip(self.sources, self.graph.inputs, strict=True):
            kind = source.kind
            if kind == "cell":
                array = source.owner._value
            elif kind == "argument":
                array = given.leaves[source.number]._value
            elif kind == "gradient":
                gradient = source.owner._grad
                if gradient.__class__ is Consumed:
                    return source.owner.grad  # type: ignore[no-any-return]  # which raises
                if gradient is None:
                    return None
                array = gradient._value
            else:
                array = source.owner.key if kind == "key" else np.uint64(source.owner.counter)
            if isinstance(array, Box):
                raise _Inside
            if array.shape != var.aval.shape or array.dtype != var.aval.dtype:
                return None
            arrays.append(array)
        return arrays

    def run(self, given: Arguments, arrays: list[Any]) -> Any:
        """The step: what it returns; what it leaves behind is written after all else has gone well."""
        self._separate(arrays)
        made = self.native.run(arrays)
        k = self.n_returned
        for source, value in self.effects:
            new = value
            if value is Ellipsis:
                new = made[k]
                k += 1
            if source.kind == "counter":
                source.owner.counter = int(new)
                continue
            cell = given.leaves[source.number] if source.number >= 0 else source.owner
            if source.kind.startswith("gradient"):
                cell._grad = Tensor(new) if value is Ellipsis else new
            elif cell._value is not new:
                old, cell._value = cell._value, new
                if getrefcount(old) <= ALONE and _writable(old):
                    self.native.recycle(k - 1, old)
                if not (cell.node.__class__ is Node and cell.node.op is None):
                    cell.node = None
        return self._returned(made)

    def _returned(self, made: list[Any]) -> Any:
        if self._single:
            return Tensor(made[0])
        returned = iter(made)
        return tree.unflatten(self._structure, [Tensor(next(returned)) if c is None else c[0] for c in self._constant])

    def _separate(self, arrays: list[Any]) -> None:
        """Puts a copy in the place of each array that is to be written over and that something else refers to."""
        for j in self._over:
            if self._shared(arrays, j):
                self.native.release_elsewhere(arrays[j])
                if self._shared(arrays, j):
                    arrays[j] = np.array(arrays[j])

    def _shared(self, arrays: list[Any], j: int) -> bool:
        array = arrays[j]
        known = native.HOLDS if self.native.given[j] is array else 0
        return not _writable(array) or getrefcount(array) > EXCLUSIVE + known

    def quick(self, args: tuple[Any, ...]) -> Any:
        """The step for tensors like those of the last call, with all else as it was then; `_MISS` where it is not."""
        expected = self._expected
        if expected is None or len(args) != len(expected) or staging.active:
            return _MISS
        arrays = []
        for x, (shape, dtype, recorded) in zip(args, expected, strict=True):
            if not isinstance(x, Tensor):
                return _MISS
            value, node = x._value, x.node
            if isinstance(value, Box) or value.shape != shape or value.dtype != dtype or id(x) in self._cell_ids:
                return _MISS
            if (None if node is None else node.__class__ is Node) is not recorded:
                return _MISS
            arrays.append(value)
        if len(args) > 1 and len(set(map(id, args))) < len(args):
            return _MISS
        if (muted.get() > 0, default_dtype()) != self._mode or not self.reached.unchanged():
            return _MISS
        for cell in self.absent:
            if cell._grad is not None:
                return _MISS
        state = [cell._value for cell in self._cells]
        n = len(self._numbers)
        if any(map(is_not, state, self.native.given[n:])):
            return _MISS
        arrays = [arrays[k] for k in self._numbers] + state
        del state
        if self._written_over and max(map(getrefcount, self._written_over(arrays))) > EXCLUSIVE + native.HOLDS:
            return _MISS
        made = self.native.run(arrays)
        for cell, value in self._gradients:
            cell._grad = value
        return self._returned(made)


def _writable(array: Any) -> bool:
    """Whether an array owns memory that may be written to."""
    return isinstance(array, np.ndarray) and array.base is None and array.flags.writeable


def _frozen(x: Any) -> Any:
    """A returned tensor in a cell of its own: it keeps its value when the cell it was is given back."""
    return Tensor(x._value, x.node) if isinstance(x, Tensor) else x


def _with_tensors(x: Any, given: Arguments, arrays: Any) -> Any:
    """The argument `x` with tensors in the place of arrays."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray):
        return next(leaf for leaf in arrays if not given.holds(leaf))
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(_with_tensors(child, given, arrays) for child in x))
    if isinstance(x, (tuple, list)):
        return type(x)([_with_tensors(child, given, arrays) for child in x])
    if isinstance(x, dict):
        return {name: _with_tensors(child, given, arrays) for name, child in x.items()}
    return x


class Compiled:
    """What `compile` gives: the function, with its programs."""

    guarded = ("__wrapped__",)  # what one compiled function looks at in another, or in itself

    def __init__(
        self,
        f: Callable[..., Any],
        static_argnames: Sequence[str],
        keep_grads: bool,
        contract: bool,
        threads: int | None,
    ) -> None:
        self.function, self.keep_grads, self.contract = f, keep_grads, contract
        self.threads = None if threads is None else checked(threads, "compile")
        self.static_argnames = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
        self._signature = inspect.signature(f) if self.static_argnames else None
        if self._signature is not None:
            unknown = sorted(set(self.static_argnames) - set(self._signature.parameters))
            if unknown:
                raise ArgumentError(f"compile: static_argnames {unknown} are no arguments of the function{here()}")
        self._programs: dict[Any, list[Program]] = {}
        self._last: Program | None = None
        self.reasons: list[str] = []
        update_wrapper(self, f)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else _Bound(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._last is not None and not kwargs and self._signature is None:
            found = self._last.quick(args)
            if found is not _MISS:
                return found
        static: dict[str, Any] = {}
        whole = (args, kwargs)
        if self._signature is not None:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            static = {name: bound.arguments[name] for name in self.static_argnames}
            args, kwargs = (), {k: v for k, v in bound.arguments.items() if k not in static}
        given = Arguments(args, kwargs, static)
        if given.traced or staging.current() is not None:
            return self.function(*whole[0], **whole[1])
        try:
            program, arrays = self._find(given, args, kwargs, static)
            return program.run(given, arrays)
        except _Inside:
            return self.function(*whole[0], **whole[1])

    def _find(
        self, given: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any], static: dict[str, Any]
    ) -> tuple[Program, list[Any]]:
        try:
            key = (given.key, muted.get() > 0, default_dtype())
            known = self._programs.setdefault(key, [])
        except TypeError as error:
            raise ArgumentError(f"compile: a static argument must be hashable ({error}){here()}") from None
        for program in known:
            if program.fits(given) and (arrays := program.inputs(given)) is not None:
                self._last = program
                return program, arrays
        now = Reached({ROOT: self.function, **given.roots})
        for program in known:  # as it was before, in other objects of the same meaning
            if not program.reached.difference(now) and all(cell._grad is None for cell in program.absent):
                program.reached = now
                if (arrays := program.inputs(given)) is not None:
                    self._last = program
                    return program, arrays
        if self._last is not None:
            self._say_why(known, now, given)
        saved = self.function
        if static:
            self.function = _filled(saved, static)
        try:
            program = Program(self, given, args, kwargs)
        finally:
            self.function = saved
        known.insert(0, program)
        self._last = program
        arrays = program.inputs(given)
        if arrays is None:
            raise TraceError(f"compile: a tensor of the state changed its shape or dtype while it was traced{here()}")
        return program, arrays

    def _say_why(self, known: list[Program], now: Reached, given: Arguments) -> None:
        name = getattr(self.function, "__name__", "function")
        if not known:
            why = "the arguments have another structure, shape, dtype or value"
        else:
            why = known[0].reached.difference(now) or "a tensor of the state has another shape, dtype or gradient"
        self.reasons.append(why)
        log.info("compile: %s is compiled again: %s", name, why)
        if len(self.reasons) == STORM:
            warnings.warn(
                f"compile: {name} has been compiled {STORM + 1} times, the last time because {why}; "
                "pass what changes as a tensor",
                RuntimeWarning,
                stacklevel=4,
            )

    def _program(self) -> Program:
        if self._last is None:
            raise ArgumentError(f"compile: nothing is compiled yet; call the function first{here()}")
        return self._last

    def ir(self) -> str:
        """The graph of the program that ran last, as text."""
        return str(self._program().graph)

    def llvm(self) -> str:
        """The LLVM IR of the program that ran last."""
        return self._program().native.llvm()


class _Bound:
    """A compiled function bound to its first argument, as a method is."""

    def __init__(self, compiled: Compiled, owner: Any) -> None:
        self._compiled, self._owner = compiled, owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(self._owner, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)


def _filled(f: Callable[..., Any], static: dict[str, Any]) -> Callable[..., Any]:
    """`f` with some arguments given by name, the others by name as well."""

    def filled(**kwargs: Any) -> Any:
        bound = inspect.signature(f).bind_partial()
        bound.arguments.update({**kwargs, **static})
        order = inspect.signature(f).parameters
        bound.arguments = {name: bound.arguments[name] for name in order if name in bound.arguments}
        return f(*bound.args, **bound.kwargs)

    return filled


@overload
def compile(
    f: None = None, *, static_argnames: Sequence[str] = (), keep_grads: bool = False, contract: bool = False,
    threads: int | None = None,
) -> Callable[[Callable[..., Any]], Compiled]: ...  # fmt: skip


@overload
def compile(
    f: Callable[..., Any], *, static_argnames: Sequence[str] = (), keep_grads: bool = False, contract: bool = False,
    threads: int | None = None,
) -> Compiled: ...  # fmt: skip


def compile(
    f: Callable[..., Any] | None = None, *, static_argnames: Sequence[str] = (), keep_grads: bool = False,
    contract: bool = False, threads: int | None = None,
) -> Any:  # fmt: skip
    """`f` as a compiled program, made at its first call for the shapes and dtypes of its arguments; also a decorator.

    What `f` does to tensors becomes the program: forward, `backward`, an optimizer's step, writes to tensors and draws
    from generators. The tensors and generators that `f` reaches are its state, read at each call and written after it.
    Other Python values that it reaches are guards: a change compiles another program, and `logging` says why. Numbers
    among the arguments are such values too, those named in `static_argnames` compared by `==`. NumPy arrays that `f`
    takes from outside are constants.

    After a call `.grad` of a tensor is as after an eager one with `keep_grads`; without, a gradient that the program
    made is used up. Inside a transform the function runs as it is.

    Raises:
      TraceError: `f` looks at the contents of a traced value (print, float(), if).

    Example:
      step = backlit.compile(lambda w, x: backlit.sum((x @ w) ** 2))
    """

    def decorate(g: Callable[..., Any]) -> Compiled:
        return Compiled(g, static_argnames, keep_grads, contract, threads)

    return decorate if f is None else decorate(f)
