"""compile: a Python function of tensors, with all it reads and writes, as one program."""

from __future__ import annotations

import inspect
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any, overload

from backlit.compiler import garbage, running
from backlit.compiler.arguments import Arguments, changes
from backlit.compiler.entry import MISS
from backlit.compiler.report import Report, report_of
from backlit.compiler.state import ROOT, Reached
from backlit.compiler.step import Inside, Step
from backlit.compiler.threads import checked
from backlit.core import record, staging
from backlit.core.dtypes import default_dtype
from backlit.core.errors import ArgumentError
from backlit.core.source import here
from backlit.core.tensor import muted

log = logging.getLogger("backlit")
STORM = 8  # so many programs of one function are worth a warning
MOST = 64  # programs of one function are kept, those that were called last
_eager: ContextVar[bool] = ContextVar("eager", default=False)


@contextmanager
def eager() -> Iterator[None]:
    """Inside, compiled functions run as the plain functions they were made of, line by line."""
    token = _eager.set(True)
    try:
        yield
    finally:
        _eager.reset(token)


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
        self._steps: dict[Any, list[Step]] = {}
        self._last: Step | None = None
        self._uses = itertools.count()
        self.reasons: list[str] = []
        update_wrapper(self, f)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else _Bound(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        last = self._last
        if last is not None and last.entry is not None and last.pattern is not None:
            leaves = args if last.pattern.is_flat and not kwargs else last.pattern.leaves(args, kwargs)
            if leaves is not None and (found := last.entry(*leaves)) is not MISS:
                return found
        return self._called(args, kwargs)

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        listeners = record.current()
        if _eager.get() or staging.current() is not None or listeners:
            for listener in listeners:
                listener.interpreted(self)
            return self.function(*args, **kwargs)
        given = self._given(args, kwargs)
        if not (given.traced or given.recorded):
            for step in self._known(given):
                if (found := step.quick(step.handed(given))) is not MISS:
                    self._use(step)
                    return found
        with running.tracing:  # so that no other thread has lent its tensors to a trace
            given = self._given(args, kwargs)
            try:
                while not (given.traced or given.recorded):
                    if (found := self._find(self._known(given), given).run(given)) is not MISS:
                        return found
            except Inside:
                pass
        return self.function(*args, **kwargs)

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        if self._signature is None:
            return Arguments(args, kwargs, {})
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        static = {name: bound.arguments[name] for name in self.static_argnames}
        given = Arguments((), {k: v for k, v in bound.arguments.items() if k not in static}, static)
        given.called = args, kwargs
        return given

    def _known(self, given: Arguments) -> list[Step]:
        """The steps for arguments like these, in the modes there are."""
        try:
            return self._steps.setdefault((given.key, muted.get() > 0, default_dtype()), [])
        except TypeError as error:
            raise ArgumentError(f"compile: a static argument must be hashable ({error}){here()}") from None

    def _find(self, known: list[Step], given: Arguments) -> Step:
        """The step for these arguments and the state as it is, made where there is none yet."""
        for step in known:
            if step.fits(given):
                return self._use(step)
        now = Reached({ROOT: self.function, **given.roots})
        for step in known:  # as it was before, in other objects of the same meaning
            if not step.reached.difference(now) and step.fits_state(given):
                step.reached = now
                return self._use(step)
        if self._last is not None:
            self._say_why(known, now, given)
        function = _filled(self.function, given.static) if given.static else self.function
        with garbage.kept():
            step = Step(self, function, given)
        known.insert(0, step)
        self._use(step)
        self._trim()
        return step

    def _use(self, step: Step) -> Step:
        """`step`, noted as the one called last."""
        self._last, step.used = step, next(self._uses)
        return step

    def _trim(self) -> None:
        """Drops the programs that were called longest ago, with their memory, where there are more than are kept."""
        every = [(step.used, key) for key, steps in self._steps.items() for step in steps]
        gone = {used for used, _ in sorted(every, key=lambda pair: pair[0])[: max(0, len(every) - MOST)]}
        if not gone:
            return
        for key, steps in list(self._steps.items()):  # new lists: another thread may go over the old ones
            left = [step for step in steps if step.used not in gone]
            if left:
                self._steps[key] = left
            else:
                del self._steps[key]
        log.info("compile: %s has more than %d programs: the one called longest ago is dropped", self._name(), MOST)

    def _name(self) -> str:
        return getattr(self.function, "__name__", "function")

    def _say_why(self, known: list[Step], now: Reached, given: Arguments) -> None:
        """Logs in one sentence why another program is made, and warns when there are many."""
        name = self._name()
        described = given.described()
        others = known or [step for steps in self._steps.values() for step in steps]
        differences = [changes(step.described, described) for step in others]
        near = min(range(len(others)), key=lambda k: (len(differences[k]), -others[k].number))
        step = others[near]
        why = "; ".join(differences[near][:3]) or step.mode_difference() or step.reached.difference(now)
        why = why or step.state_difference(given) or "the arguments are shared in another way"
        self.reasons.append(why)
        del self.reasons[: -(10 * MOST)]
        log.info("compile: %s is compiled again: %s", name, why)
        if len(self.reasons) == STORM:
            warnings.warn(
                f"compile: {name} has been compiled {STORM + 1} times, the last time because {why}; pass what changes as a "
                "tensor, or keep it the same",
                RuntimeWarning,
                stacklevel=5,
            )

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step:
        """The step for some arguments, made if there is none yet but not run; without arguments the one that ran last."""
        if not args and not kwargs and self._last is not None:
            return self._last
        try:
            inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            if args or kwargs:
                raise
            raise ArgumentError(
                "compile: nothing is compiled yet; call the function first, or give the arguments of a call to compile "
                f"for them without a run{here()}"
            ) from error
        try:
            with running.tracing:
                given = self._given(args, kwargs)
                if given.traced or given.recorded:
                    raise Inside
                return self._find(self._known(given), given)
        except Inside:
            raise ArgumentError(
                f"compile: an argument or a tensor of the state is part of a recorded graph: for it the function is not "
                f"compiled, it runs as it is{here()}"
            ) from None

    def report(self, *args: Any, **kwargs: Any) -> Report:
        """What the program for these arguments consists of, what memory it needs, how long it took to make.

        The program is made if there is none yet; it is not run. Without arguments it is the one that ran last.

        Raises:
          ArgumentError: nothing is compiled yet and no arguments are given.
        """
        return report_of(self._name(), self._step(args, kwargs))

    def reports(self) -> list[Report]:
        """The reports of all programs that there are."""
        return [report_of(self._name(), step) for steps in list(self._steps.values()) for step in reversed(steps)]

    def ir(self, *args: Any, **kwargs: Any) -> str:
        """The graph of the program for these arguments, or of the one that ran last, as text."""
        return str(self._step(args, kwargs).graph)

    def llvm(self, *args: Any, **kwargs: Any) -> str:
        """The LLVM IR of the program for these arguments, or of the one that ran last."""
        return self._step(args, kwargs).native.llvm()

    def asm(self, *args: Any, **kwargs: Any) -> str:
        """The machine code of the program for these arguments, or of the one that ran last, as text."""
        return self._step(args, kwargs).native.asm()


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
    made is used up. What is returned has no graph: `backward` belongs inside. Inside a transform, with an argument that is
    part of a recorded graph, while a recorder listens and within `backlit.eager()` the function runs as it is.

    A step happens whole or not at all: what it leaves behind is written after the last thing that can fail, and a signal is
    handled after the call. `contract` lets a product and the sum it goes into be rounded once, which is quicker and changes
    bits; `threads` is how many threads the program uses, else as many as `set_num_threads` says.

    The 64 programs called last are kept; one that was dropped is made again, from the cache of machine code.

    A call costs about a microsecond beyond the program where all arguments are tensors given by position.

    Raises:
      TraceError: `f` looks at the contents of a traced value (print, float(), if), or stores one outside.
      ArgumentError: `f` is no function, or a generator or coroutine; an option is none of those there are; a static
        argument is not hashable.

    Example:
      step = backlit.compile(lambda w, x: backlit.sum((x @ w) ** 2))
    """

    def decorate(g: Callable[..., Any]) -> Compiled:
        if not callable(g):
            raise ArgumentError(f"compile: expected a function, got {type(g).__name__}{here()}")
        for test in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction):
            if test(g):
                raise ArgumentError(
                    f"compile: expected a function that returns when it is done; {g.__name__} does not{here()}"
                )
        return Compiled(g, static_argnames, keep_grads, contract, threads)

    return decorate if f is None else decorate(f)
