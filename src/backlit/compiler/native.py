"""A scheduled graph as native code: kernels, one arena for what lies between them, and a list of what runs in which order.

What has no instructions runs by its op's forward, between two stretches of native code.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from backlit.compiler.builder import Builder
from backlit.compiler.chains import chained
from backlit.compiler.ir import Array, Atom, Eqn, Graph, Literal, Var, evaluate
from backlit.compiler.llvm.division import division_definitions
from backlit.compiler.llvm.kernel import Kernel
from backlit.compiler.llvm.rare import definitions
from backlit.compiler.llvm.runtime import DIVIDE, PROGRAM_WORDS, SHARE, STEP_WORDS
from backlit.compiler.llvm.target import Code, attributes
from backlit.compiler.llvm.values import contracting
from backlit.compiler.llvm.writer import declarations
from backlit.compiler.memory import Range, place
from backlit.compiler.passes import bounds, expand, layouts, loops_apart, simplify, sink, transposes
from backlit.compiler.schedule import schedule, topological
from backlit.compiler.threads import get_num_threads, native, pool
from backlit.core.aval import Aval
from backlit.core.errors import CompilerError
from backlit.core.quiet import silence, variable

watch: Callable[[Program], None] | None = None  # called when the buffers of a program have their places; for tests
profiler: Profiler | None = None  # times kernels, while somebody profiles


OUTSIDE, RAISED = 1, 2  # why a run ends: an index is out of bounds, an op's forward has raised


def empty(aval: Aval) -> Array:
    """New memory for an output."""
    return np.empty(aval.shape, aval.dtype)


def _at(address: int, aval: Aval) -> Array:
    """An array that lies somewhere, as long as whoever it belongs to keeps it."""
    size = math.prod(aval.shape) * aval.dtype.itemsize
    if not size:
        return np.empty(aval.shape, aval.dtype)
    words: Any = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(words, np.uint8).view(aval.dtype).reshape(aval.shape)


class Profiler(Protocol):
    """What is asked to run kernels and callbacks while somebody profiles."""

    def timed(self, program: Program, run: int, pool: int, address: int, first: int, last: int) -> tuple[int, ...]:
        """A native function with its operands that does the same as `run(pool, address, first, last)`."""

    def run(self, program: Program, run: int, pool: int, address: int, first: int, last: int) -> None:
        """Does it now."""

    def callback(self, program: Program, eqn: Eqn) -> AbstractContextManager[None]:
        """Around an op's forward."""


class Program:
    """A graph ready to run: `program(*arrays)` gives its outputs.

    `state` pairs outputs with the inputs that they replace; where nothing else needs the input any more, such an output is
    written over it. `callbacks` names the ops that run by their forwards. `threads` is how many it uses; None for as many
    as `get_num_threads` says at each run. With `contract` a product and the sum it goes into may be rounded once.
    """

    def __init__(
        self, graph: Graph, state: Sequence[tuple[int, int]] = (), threads: int | None = None, contract: bool = False
    ) -> None:
        self.graph = graph
        self.threads, self.contract = threads, contract
        self.name = "program"  # for reports
        self._inner: dict[Eqn, list[Program]] = {}
        self._entered: Any = None
        self.raised: BaseException | None = None  # by an op's forward in a run that was entered in native code
        self.seconds: dict[str, float] = {}
        clock = Phases(self.seconds)
        checked, has_flag = bounds(sink(loops_apart(graph)))
        self.lowered = simplify(layouts(simplify(transposes(simplify(expand(checked))))))
        clock.ends("passes")
        self.plan = schedule(self.lowered)
        self._flag = np.zeros(64, np.uint8)  # its first byte says that an index is out of bounds
        self.flag = self._flag_of(self.lowered.outputs.pop()) if has_flag else None
        clock.ends("schedule")
        with contracting(contract):
            self.works = Builder(self.plan).works()
        clock.ends("kernels")
        self.callbacks = [w.eqn.op.name for w in self.works if w.eqn is not None]
        self.buffer_of = self._outputs()
        self.over = self._replaced(state)
        self._order()
        self._lay_out()
        clock.ends("memory")
        if watch is not None:
            watch(self)
        self._compile()
        self._bind, self._run = (native().function(name, *[ctypes.c_int64] * 4) for name in ("bind", "run"))
        self._spread(self.threads or get_num_threads())
        clock.ends("machine code")
        self.origins = [self._origin(k) for k in range(len(self.lowered.outputs))]

    def _flag_of(self, a: Atom) -> Var | None:
        """The buffer in which the program says that an index is out of bounds; None where that is known beforehand."""
        if isinstance(a, Var) and (root := self.plan.kept[a]) not in self.lowered.consts:
            return root
        self._flag[0] = a.value if isinstance(a, Literal) else self.lowered.consts[self.plan.kept[a]]
        return None

    def _outputs(self) -> dict[int, Var]:
        """The buffer of each output that is computed; others are inputs, constants or the same as another."""
        taken = {*self.lowered.inputs, *self.lowered.consts}
        found: dict[int, Var] = {}
        for k, a in enumerate(self.lowered.outputs):
            if isinstance(a, Var) and (root := self.plan.kept[a]) not in taken:
                found[k] = root
                taken.add(root)
        return found

    def _replaced(self, state: Sequence[tuple[int, int]]) -> dict[int, int]:
        """Outputs that may be written over an input, as far as the work that computes them is concerned."""
        writer = {v: w for w in self.works for v in w.writes}
        handed = Counter(self.plan.kept[a] for a in self.lowered.outputs if isinstance(a, Var))
        found = {}
        for k, j in state:
            root, x = self.buffer_of.get(k), self.lowered.inputs[j]
            if root is None or root.aval != x.aval or handed[root] > 1 or x in handed:  # which somebody else gets too
                continue
            if writer[root].reads_in_step(x, root):
                found[k] = j
        return found

    def _order(self) -> None:
        """Puts the works in an order in which what is written over has been read by all others, as far as there is one."""
        writer = {v: number for number, w in enumerate(self.works) for v in w.writes}
        # what may end a run comes before anything is written over, and so does what it needs
        first = {number for number, w in enumerate(self.works) if w.kernel is None or self.flag in w.writes}
        needed, pending = set(first), list(first)
        while pending:
            more = {writer[v] for v in self.works[pending.pop()].reads if v in writer} - needed
            needed |= more
            pending += more
        self.over = {k: j for k, j in self.over.items() if writer[self.buffer_of[k]] not in needed}
        while True:
            last = {self.lowered.inputs[j]: writer[self.buffer_of[k]] for k, j in self.over.items()}
            before: list[set[int]] = [set() for _ in self.works]
            for number, w in enumerate(self.works):
                before[number] |= {writer[v] for v in w.reads if v in writer}
                if number in last.values():
                    before[number] |= first
                for v in w.reads:
                    if v in last and last[v] != number:
                        before[last[v]].add(number)
            order = topological(before)
            if len(order) == len(self.works):
                for w in self.works:
                    if w.kernel is not None and self.flag in w.writes:  # which is looked at when all of it is done
                        w.kernel = replace(w.kernel, step=0)
                number_of = {k: number for number, k in enumerate(order)}
                same = {self.buffer_of[k]: self.lowered.inputs[j] for k, j in self.over.items()}
                self.works = chained(
                    [self.works[k] for k in order], [{number_of[b] for b in before[k]} for k in order], same
                )
                return
            stuck = set(range(len(self.works))) - set(order)
            self.over = {k: j for k, j in self.over.items() if writer[self.buffer_of[k]] not in stuck}

    def _lay_out(self) -> None:
        """Gives every buffer between works its place in the arena."""
        outside = {*self.lowered.inputs, *self.lowered.consts, *self.buffer_of.values(), self.flag}
        first: dict[Var, int] = {}
        last: dict[Var, int] = {}
        for number, w in enumerate(self.works):
            for v in (*w.reads, *w.writes):
                if v not in outside:
                    first.setdefault(v, number)
                    last[v] = number
        sizes = [math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in first]
        plan = place([Range(first[v], last[v], n) for v, n in zip(first, sizes, strict=True)])
        self.arena_bytes, self.arena_bound_bytes = plan.peak_bytes, plan.lower_bound_bytes
        self.scratch_bytes = max((w.kernel.scratch_bytes for w in self.works if w.kernel), default=0)
        self._memory = np.zeros(self.arena_bytes + 64, np.uint8)
        self._base = -(-self._memory.ctypes.data // 64) * 64
        self._offsets = dict(zip(first, plan.offsets, strict=True))

    def _array(self, v: Var) -> Array:
        """A buffer of the arena as an array."""
        start = self._base - self._memory.ctypes.data + self._offsets[v]
        size = math.prod(v.aval.shape) * v.aval.dtype.itemsize
        return self._memory[start : start + size].view(v.aval.dtype).reshape(v.aval.shape)

    def _compile(self) -> None:
        """Makes the code, and the list of what runs: of each kernel its address, its table, its units."""
        texts: dict[str, str] = {}
        names: list[str] = []
        same: dict[str, str] = {}
        for w in self.works:
            if w.kernel is None:
                continue
            texts.update(w.kernel.helpers)
            body = w.kernel.text.replace(f"@{w.kernel.name}(", "@(", 1)
            names.append(same.setdefault(body, w.kernel.name))
            if names[-1] == w.kernel.name and texts.setdefault(w.kernel.name, w.kernel.text) != w.kernel.text:
                raise CompilerError(f"two kernels that do not do the same are both called {w.kernel.name}")
        body = "\n".join(texts.values())
        body += f"\n{definitions(body)}\n{division_definitions(body)}"
        self.code = Code("\n".join([declarations(body), body, attributes()]))
        self._consts = {v: np.asarray(a, order="C") for v, a in self.lowered.consts.items()}
        outputs = self._results_of = {root: k for k, root in self.buffer_of.items()}
        inputs = self._inputs = {v: k for k, v in enumerate(self.lowered.inputs)}
        n_inputs = len(inputs)
        table: list[int] = []
        places: list[int] = []  # of the table, that are filled at each call
        dynamic: list[int] = []  # with which address
        steps: list[tuple[int, int, Kernel]] = []
        self._segments: list[tuple[int, int, Eqn | None]] = []
        start = self._guard = 0
        where = {name: self.code.address(name) for name in dict.fromkeys(names)}
        addresses = iter(map(where.__getitem__, names))
        for w in self.works:
            if w.kernel is None:
                self._segments.append((start, len(steps), w.eqn))
                start = len(steps)
                continue
            steps.append((next(addresses), len(table), w.kernel))
            if self.flag in w.writes:
                self._segments.append((start, len(steps), None))
                start = self._guard = len(steps)
            for v in w.table():
                if v in inputs or v in outputs:
                    places.append(len(table))
                    dynamic.append(inputs[v] if v in inputs else n_inputs + outputs[v])
                    table.append(0)
                else:
                    table.append(self._fixed(v))
        self._segments.append((start, len(steps), None))
        self._table = np.array(table or [0], np.int64)
        self._kernels = [(address, self._table.ctypes.data + 8 * at, kernel) for address, at, kernel in steps]
        self._pairs = np.array([x for pair in zip(places, dynamic, strict=True) for x in pair] or [0], np.int64)
        self._n_pairs = len(places)
        self.dynamic = np.zeros(n_inputs + len(self.lowered.outputs) or 1, np.int64)

    def _fixed(self, v: Var) -> int:
        """The address of a buffer that is the same at each call."""
        if v is self.flag:
            return self._flag.ctypes.data
        return self._consts[v].ctypes.data if v in self._consts else self._base + self._offsets[v]

    def _spread(self, threads: int) -> None:
        """Prepares for so many threads: what each takes at a time, and room for it to work in."""
        self._threads = threads
        self._steps = np.zeros(STEP_WORDS * max(1, len(self._kernels)), np.int64)
        divide, at = native().function("divide", *[ctypes.c_int64] * 4), self._steps.ctypes.data
        for k, (address, table, kernel) in enumerate(self._kernels):
            self._steps[STEP_WORDS * k :][:3] = address, table, kernel.units
            divide(at + 8 * STEP_WORDS * k, kernel.grain, kernel.together, threads)
        shares = threads > 1 and any(kernel.shares for _, _, kernel in self._kernels)
        self._parallel = shares or any(self._steps[4::STEP_WORDS] > 1)
        each = -(-self.scratch_bytes // 64) * 64
        self._scratch = np.empty(each * threads + 128, np.uint8)
        scratch = -(-(self._scratch.ctypes.data + 8) // 64) * 64
        used = threads if self._parallel else 1
        self._program = np.zeros(PROGRAM_WORDS, np.int64)
        self._program[:5] = self._steps.ctypes.data, scratch, each, used, len(self._kernels) - self._guard
        self._program[SHARE], self._program[DIVIDE] = (native().address(name) for name in ("share", "divide"))
        self._program_address = self._program.ctypes.data

    @property
    def n_threads(self) -> int:
        """For how many threads it is prepared."""
        return self._threads

    @property
    def chunks(self) -> list[int]:
        """For each kernel, into how many pieces it is cut for threads to share."""
        return [int(n) for n in self._steps[4::STEP_WORDS][: len(self._kernels)]]

    @property
    def room_bytes(self) -> int:
        """Scratch of all threads together."""
        return self._scratch.nbytes

    def llvm(self) -> str:
        """The LLVM IR of the program."""
        return self.code.text

    def asm(self) -> str:
        """The machine code of the program, as text."""
        return self.code.asm()

    def __call__(self, *arrays: Any) -> list[Array]:
        graph = self.lowered
        if len(arrays) != len(graph.inputs):
            raise CompilerError(f"program: expected {len(graph.inputs)} inputs, got {len(arrays)}")
        given = [np.asarray(a) for a in arrays]
        for v, array in zip(graph.inputs, given, strict=True):
            if (array.shape, array.dtype) != v.aval:
                raise CompilerError(f"program: expected {v.aval}, got {array.dtype}{list(array.shape)}")
        return self.run(given, in_place=False)

    def run(self, given: Sequence[Array], in_place: bool = True) -> list[Array]:
        """The outputs for arrays that fit; `in_place`, those in `over` are written into the inputs they replace."""
        held = [np.asarray(array, order="C") for array in given]
        made: list[Array | None] = []
        for k, a in enumerate(self.lowered.outputs):
            array = None
            if k in self.buffer_of and isinstance(a, Var):
                j = self.over.get(k) if in_place else None
                array = empty(a.aval) if j is None else held[j]
                self.dynamic[len(held) + k] = array.ctypes.data
            made.append(array)
        self.dynamic[: len(held)] = [array.ctypes.data for array in held]
        self._bind(*self._bound())
        if self.flag is not None:
            self._flag[0] = 0
        shared = self._shared()
        for start, stop, eqn in self._segments:
            if stop > start:
                self._do(shared, start, stop)
            if self._flag[0] == OUTSIDE:  # by the ops' own forwards, one of which raises
                return evaluate(self.graph, *held)
            if eqn is not None:
                with nullcontext() if profiler is None else profiler.callback(self, eqn):
                    self._call(eqn, held, made)
        return [self._output(k, held, made) for k in range(len(made))]

    @property
    def always_raises(self) -> bool:
        """Whether an index is known to be out of bounds, whatever the inputs."""
        return self.flag is None and bool(self._flag[0] == OUTSIDE)

    def calls(self) -> list[tuple[int, ...]]:
        """Native functions with their operands that are all of a run, once `dynamic` holds the addresses of inputs and
        outputs and for as long as the number of threads stays the same.

        They need not hold the GIL; what an op's forward raises ends the run, and is then in `raised`.
        """
        bind, run = (native().address(name) for name in ("bind", "run"))
        found: list[tuple[int, ...]] = [(bind, *self._bound())]
        for number, (start, stop, eqn) in enumerate(self._segments):
            if stop > start:
                of = (run, self._shared(), self._program_address, start, stop)
                found.append(of if profiler is None else profiler.timed(self, *of))
            if eqn is not None:
                found.append((self._into_python(), number))
        return found

    def _into_python(self) -> int:
        """The address of a function that runs an op by its forward; what that raises is kept, and the flag set."""
        if self._entered is None:

            def called(number: int) -> None:
                try:
                    eqn = self._segments[number][2]
                    assert eqn is not None
                    with nullcontext() if profiler is None else profiler.callback(self, eqn):
                        self._call(eqn, None, None)
                except BaseException as error:  # noqa: BLE001 - nothing may go through native code; it is raised behind it
                    self.raised = error
                    self._flag[0] = RAISED

            self._entered = ctypes.CFUNCTYPE(None, ctypes.c_int64)(called)
        return ctypes.cast(self._entered, ctypes.c_void_p).value or 0

    @property
    def flag_address(self) -> int:
        """Where the byte is that says that an index is out of bounds."""
        return self._flag.ctypes.data

    def _do(self, shared: int, start: int, stop: int) -> None:
        """Runs some kernels."""
        if profiler is None:
            self._run(shared, self._program_address, start, stop)
        else:
            profiler.run(self, native().address("run"), shared, self._program_address, start, stop)

    def _bound(self) -> tuple[int, ...]:
        return self._table.ctypes.data, self._pairs.ctypes.data, self._n_pairs, self.dynamic.ctypes.data

    def _shared(self) -> int:
        """The pool of threads for the next run, once all is prepared for as many as there are to be."""
        threads = self.threads or get_num_threads()
        if threads != self._threads:
            self._spread(threads)
        return pool(threads).address if self._parallel else 0

    def _origin(self, k: int) -> tuple[str, Any]:
        """Where output `k` comes from: "made" by the program, as this or another output, an "input", or a "constant"."""
        a = self.lowered.outputs[k]
        if isinstance(a, Literal):
            return "constant", np.asarray(a.value)
        root = self.plan.kept[a]
        if root in self._consts:
            return "constant", self._consts[root].reshape(a.aval.shape)
        if root in self._inputs:
            return "input", self._inputs[root]
        return "made", self._results_of[root]

    def _output(self, k: int, held: list[Array], made: list[Array | None]) -> Array:
        kind, what = self.origins[k]
        a = self.lowered.outputs[k]
        shape = a.aval.shape if isinstance(a, Var) else ()
        found = made[what] if kind == "made" else held[what] if kind == "input" else what
        return found if (kind, what) == ("made", k) else np.array(found).reshape(shape)

    def _value(self, v: Var, held: list[Array] | None, outputs: list[Array | None] | None) -> Array:
        """The contents of a kept variable; without arrays, what lies at the addresses in `dynamic`."""
        root = self.plan.kept[v]
        k, j = self._results_of.get(root), self._inputs.get(root)
        if root in self._consts:
            array = self._consts[root]
        elif j is None and k is None:
            array = self._array(root)
        elif held is None or outputs is None:
            array = _at(int(self.dynamic[len(self._inputs) + k if j is None else j]), root.aval)  # type: ignore[operator]
        else:
            array = outputs[k] if j is None else held[j]  # type: ignore[assignment, index]
        return array.reshape(v.aval.shape)

    def _call(self, e: Eqn, held: list[Array] | None, outputs: list[Array | None] | None) -> None:
        operands = [a.value if isinstance(a, Literal) else self._value(a, held, outputs) for a in e.inputs]
        token = variable.set(silence)
        try:
            if e.regions:
                found = e.op.evaluate(operands, self._regions(e), e.params)
            else:
                found = [e.op.forward(*operands, **e.params)]
            for v, value in zip(e.outs, found, strict=True):
                self._value(v, held, outputs)[...] = value
        finally:
            variable.reset(token)

    def _regions(self, e: Eqn) -> list[Program]:
        """The regions of a loop that cannot be native as a whole, each as a program."""
        if e not in self._inner:
            self._inner[e] = [Program(region, threads=self.threads, contract=self.contract) for region in e.regions]
        return self._inner[e]


class Phases:
    """Seconds from the end of one phase to that of the next, by name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._last = seconds, time.perf_counter()

    def ends(self, name: str) -> None:
        """A phase is over."""
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now
