"""Step: one program of a compiled function, with where its inputs come from and where its outputs go."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.compiler import native
from backlit.compiler.arguments import Arguments, Pattern
from backlit.compiler.entry import CONSUMED, MISS, Entry
from backlit.compiler.ir import Atom, Var, verify
from backlit.compiler.passes import dce, simplify
from backlit.compiler.running import exclusive, process
from backlit.compiler.state import ROOT, Reached
from backlit.compiler.trace import Source, StepTrace
from backlit.core import changes, staging, tree
from backlit.core.aval import aval_of
from backlit.core.dtypes import default_dtype
from backlit.core.errors import TraceError
from backlit.core.graph import Cut, Node
from backlit.core.op import Op
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, muted

if TYPE_CHECKING:
    from backlit.compiler.compile import Compiled

SHORT = 30_000  # elements and multiplications that are done sooner than another thread could take over
ROUNDS = 20  # traces; each after the first begins with the tensors outside that those before have found
_numbers = itertools.count()
_sample = Tensor(np.empty(1))
_ALONE = getrefcount(_sample._value)  # of an array that only its tensor knows


class Inside(Exception):
    """A tensor of the state holds a value of a transform around the call, or is part of a recorded graph."""


class Step:
    """One program of a compiled function, made for arguments like `given` and for the state as it is now.

    Raises:
      TraceError: the function does something that cannot be compiled.
    """

    def __init__(self, compiled: Compiled, function: Any, given: Arguments) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = native.Phases(self.seconds)
        roots = {ROOT: compiled.function, **given.roots}
        self.reached = Reached(roots)
        if self.reached.prepare():
            self.reached = Reached(roots)
        self._refuse_recorded(given)
        trace, found = self._trace(function, given, roots)
        leaves, self._structure = tree.flatten(found)
        self._constant = [None if isinstance(x, Tensor) else (x,) for x in leaves]
        returned = [x for x in leaves if isinstance(x, Tensor)]
        self.nodes = [Cut("compile", x.node) if isinstance(x.node, Node) else x.node for x in returned]
        self.is_single = len(leaves) == 1 and isinstance(found, Tensor)
        is_flat = (
            type(found) in (list, tuple) and len(returned) == len(found) and all(x is y for x, y in zip(leaves, found))
        )
        self._flat = type(found) if is_flat else None  # what is built at once
        self.n_returned = len(returned)
        outputs: list[Atom] = [trace.atom(x) for x in returned]
        self.effects: list[tuple[Source, Any]] = []  # with the number of an output, None or CONSUMED
        for source, value in trace.effects():
            if value is None:
                self.effects.append((source, None))
            elif source.kind == "gradient" and not compiled.keep_grads:
                self.effects.append((source, CONSUMED))
            else:
                self.effects.append((source, len(outputs)))
                outputs.append(trace.atom(value))
        self._build(compiled, trace, outputs)
        self._watching = list(trace.runs)  # told of the first run, and of the second where they ask for it
        self._has_run = False
        self.absent = trace.gradients_absent
        self.foreign = given.foreign
        self.argument_avals = [aval_of(x) for x in given.leaves]
        self.muted = muted.get() > 0
        self.default_dtype = default_dtype()
        self.described = given.described()
        self.number = next(_numbers)  # later steps have higher ones
        self.used = -1  # higher than that of all others of its function when it was called last
        known = {id(x): k for k, x in enumerate(given.leaves)}
        every = [x for _, x in self.reached.cells.values()] + trace.strangers_lent
        self.aliases = [(known[id(x)], id(x)) for x in every if id(x) in known]
        self.cells = [(x, aval_of(x)) for x in every if id(x) not in known]
        self._recorded = [x.requires_grad for x, _ in self.cells]
        self._cell_ids = {id(x) for x in every}
        self.entry: Entry | None = None
        self.busy = np.zeros(1, np.int64)  # while a thread runs this without the GIL
        self.touched = self._cell_ids
        self.writes_arguments = any(s.number >= 0 for s, _ in self.effects)
        self._writes_foreign = any(s.number in given.foreign for s, _ in self.effects)
        self.pattern: Pattern | None = None
        self.written = {id(s.owner) for s, _ in self.effects if s.owner is not None}

    def _build(self, compiled: Compiled, trace: StepTrace, outputs: list[Atom]) -> None:
        graph = trace.graph
        self.lines = trace.lines()
        self._clock.ends("trace")
        graph.inputs = [var for _, var in trace.sources]
        graph.outputs = outputs
        graph = dce(verify(graph))
        used = {a for e in graph.eqns for a in e.inputs if isinstance(a, Var)} | {
            a for a in outputs if isinstance(a, Var)
        }
        order = {"argument": 0, "cell": 1}
        kept = [(source, var) for source, var in trace.sources if var in used]
        kept.sort(key=lambda pair: order.get(pair[0].kind, 2))
        graph.inputs = [var for _, var in kept]
        self.sources = [source for source, _ in kept]
        self.graph = simplify(graph)
        self._clock.ends("passes")
        numbers = {id(source): j for j, source in enumerate(self.sources)}
        state = [(k, numbers[id(s)]) for s, k in self.effects if isinstance(k, int) and id(s) in numbers]
        self.native = native.Program(self.graph, state, compiled.threads, compiled.contract)
        self.native.name = getattr(compiled.function, "__name__", "function")
        self.is_long = not all(isinstance(e.op, Op) for e in self.graph.eqns) or _work(self.graph.eqns) > SHORT

    def _refuse_recorded(self, given: Arguments) -> None:
        """Where a tensor is inside a graph recorded before, the function has to run as it is: it may walk back there."""
        if given.recorded or any(
            isinstance(x._value, Box) or (x.node.__class__ is Node and x.node.op is not None)
            for _, x in self.reached.cells.values()
        ):
            raise Inside

    def _trace(self, function: Any, given: Arguments, roots: dict[str, Any]) -> tuple[StepTrace, Any]:
        extra: list[Tensor] = []
        for _ in range(ROUNDS):
            with StepTrace("compile") as trace, staging.staging(trace):
                try:
                    for number, leaf in enumerate(given.leaves):
                        trace.lend(leaf, Source("argument", None, number))
                    for _, cell in self.reached.cells.values():
                        trace.lend(cell, Source("cell", cell))
                    for cell in extra:
                        trace.lend(cell, Source("cell", cell))
                        trace.strangers_lent.append(cell)
                    args, kwargs = given.whole()
                    found = tree.map(_frozen, function(*args, **kwargs))
                    trace.finish()
                    trace.forget_generators()
                    _refuse_stored(roots, trace)
                finally:
                    trace.give_back()
            strangers = [x for x in trace.strangers() if not any(x is y for y in extra)]
            if not strangers:
                return trace, found
            extra += strangers
        raise TraceError(
            f"compile: expected that the function reads the same tensors each time it is traced, got new ones each of {ROUNDS} "
            f"times, {aval_of(strangers[0])} last; it seems to make a tensor and to store it outside, where it stays: make "
            f"that before and write into it, x[...] = value, or return it{here()}"
        )

    def fits(self, given: Arguments) -> bool:
        """Whether guards and state are as they were when this was traced; the key of the arguments is not looked at."""
        return self.reached.unchanged() and self.fits_state(given)

    def fits_state(self, given: Arguments) -> bool:
        """The same without the guards."""
        if [(k, id(x)) for k, x in enumerate(given.leaves) if id(x) in self._cell_ids] != sorted(self.aliases):
            return False
        for (x, aval), recorded in zip(self.cells, self._recorded, strict=True):
            value, node = x._value, x.node
            if isinstance(value, Box) or (node.__class__ is Node and node.op is not None):
                raise Inside
            if value.shape != aval.shape or value.dtype != aval.dtype or (node.__class__ is Node) is not recorded:
                return False
        gradients = [s for s in self.sources if s.kind == "gradient"]
        for s in (*self.absent, *gradients):
            target = self._target(s, given)
            if target._grad is CONSUMED:
                return target.grad is None  # which raises: it would be read
            if (target._grad is None) is not (s in self.absent):
                return False
        return True

    def mode_difference(self) -> str:
        """How the modes here differ from those this is made for, in words; empty when they do not."""
        muted_here, dtype = muted.get() > 0, default_dtype()
        if muted_here is not self.muted:
            return f"it is called {'inside' if muted_here else 'outside'} no_grad"
        return f"the default dtype was {self.default_dtype} and is {dtype}" if dtype != self.default_dtype else ""

    def state_difference(self, given: Arguments) -> str:
        """Which tensor of the state is not as it was, in words; empty when none is."""
        paths = {id(cell): path for path, cell in self.reached.cells.values()}
        for x, aval in self.cells:
            if (x.shape, x.dtype) != aval:
                return f"{paths.get(id(x), 'a tensor')} was {aval} and is {aval_of(x)}"
        for s in self.absent:
            if self._target(s, given)._grad is not None:
                name = f"argument {s.number}" if s.number >= 0 else paths.get(id(s.owner), "a tensor")
                return f"{name}.grad was None and is a gradient"
        for s in self.sources:
            if s.kind == "gradient" and self._target(s, given)._grad is None:
                name = f"argument {s.number}" if s.number >= 0 else paths.get(id(s.owner), "a tensor")
                return f"{name}.grad was a gradient and is None"
        return ""

    @staticmethod
    def _target(source: Source, given: Arguments) -> Tensor:
        return given.leaves[source.number] if source.number >= 0 else source.owner

    # a run

    def quick(self, leaves: Sequence[Any]) -> Any:
        """What the step returns, for arguments like those of the last run; `MISS` where they are not."""
        if self.entry is None:
            return MISS
        if changes.count != self.reached.count and self.reached.recount():
            self.entry.recount()
        return self.entry(*leaves)

    def run(self, given: Arguments) -> Any:
        """What the step returns; what it leaves behind is written after all else has gone well.

        `MISS` where the state has changed while this waited for another thread.
        """
        if not self._watching:
            return self._run(given)
        if self._has_run:
            watching, self._watching = self._watching, []
            for watch in watching:
                watch(2)
            return self._run(given)
        found = self._run(given)
        if found is not MISS:
            self._has_run = True
            self._watching = [watch for watch in self._watching if watch(1)]
            if self._watching:
                self.entry = None  # the second run comes by here
        return found

    def _run(self, given: Arguments) -> Any:
        shared = None if self.native.always_raises or self._reads_gradient_of_argument() else process()
        if shared is None:
            return self._run_in_python(given)
        with exclusive():
            if not self.fits_state(given):
                return MISS
            self._separate(given)
            self.pattern = None if self._writes_foreign else given.pattern()
            self.entry = Entry(self, self.handed(given), shared)
        found = self.entry(*self.handed(given))
        return self._run_in_python(given) if found is MISS else found

    def handed(self, given: Arguments) -> list[Any]:
        """What is handed to the entry: tensors, and arrays of the caller as they are unless they are written to."""
        return given.leaves if self._writes_foreign else given.bare

    def _reads_gradient_of_argument(self) -> bool:
        return any(s.kind == "gradient" and s.number >= 0 for s in self.sources)

    def _separate(self, given: Arguments) -> None:
        """Gives each tensor whose array is to be written over an array of its own, where it shares one."""
        for j in self.native.over.values():
            cell, aval = self._target(self.sources[j], given), self.graph.inputs[j].aval
            value = cell._value
            if not (
                isinstance(value, np.ndarray)
                and value.base is None
                and value.flags.c_contiguous
                and value.flags.aligned
                and value.flags.writeable
                and value.flags.owndata
                and getrefcount(cell._value) <= _ALONE + 1
            ):
                cell._value = np.empty(aval.shape, aval.dtype)
                cell._value[...] = value

    def _run_in_python(self, given: Arguments) -> Any:
        """The same without a native entry: nothing is written over, and all that is new is put in place at the end."""
        with exclusive():
            if not self.fits_state(given):
                return MISS
            made = self.native.run([self._value(s, given) for s in self.sources], in_place=False)
            new = [(s, Tensor(made[k]) if s.kind == "gradient" else made[k]) if isinstance(k, int) else (s, k)
                   for s, k in self.effects]  # fmt: skip
            try:
                self._put(new, given)
            except BaseException:  # a signal; what has been put in place is put there again
                self._put(new, given)
                raise
        return self.returned([Tensor(x, node) for x, node in zip(made, self.nodes, strict=False)])

    def _value(self, source: Source, given: Arguments) -> Any:
        if source.kind == "key":
            return source.owner.key
        if source.kind == "counter":
            return np.uint64(source.owner.counter)
        target = self._target(source, given)
        return (target._grad if source.kind == "gradient" else target)._value

    def _put(self, new: list[tuple[Source, Any]], given: Arguments) -> None:
        for source, value in new:
            if source.kind == "counter":
                source.owner.counter = int(value)
            elif source.kind == "gradient":
                self._target(source, given)._grad = value
            else:
                self._target(source, given)._value = value

    def returned(self, tensors: list[Tensor]) -> Any:
        """What the function returns, made of its tensors."""
        if self.is_single:
            return tensors[0]
        if self._flat is not None:
            return self._flat(tensors)
        its = iter(tensors)
        return tree.unflatten(self._structure, [next(its) if c is None else c[0] for c in self._constant])


def _refuse_stored(roots: dict[str, Any], trace: StepTrace) -> None:
    """A traced value must not stay where the function put it: it has no contents."""
    for path, cell in Reached(roots).cells.values():
        if trace.box(cell) is not None and not trace.is_lent(cell):
            raise TraceError(
                f"compile: the function stores a traced value {cell.dtype}{list(cell.shape)}{trace.made_at(cell)} in {path}, "
                f"where it would have no contents; return it, or write it into a tensor made before, x[...] = value{here()}"
            )


def _work(eqns: list[Any]) -> float:
    """Elements that are read or computed, and multiplications of products."""
    total = 0.0
    for e in eqns:
        sizes = [float(math.prod(v.aval.shape)) for v in (*e.inputs, e.out) if isinstance(v, Var)]
        total += math.sqrt(math.prod(sizes)) if e.op.name == "matmul" else max(sizes)
    return total


def _frozen(x: Any) -> Any:
    """A returned tensor in a cell of its own: it keeps its value when the cell it was is given back."""
    return Tensor(x._value, x.node) if isinstance(x, Tensor) else x
