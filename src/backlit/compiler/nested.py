"""Loops and branches over arrays as one kernel that calls the kernels of its regions, without entering Python.

A region is scheduled like a program. Its intermediates have places in the scratch of the kernel that runs it, the carry two
places that take turns, and what is stacked is read and written where the step belongs.

The kernel runs on one thread. Those it calls that are worth it are shared out among the threads of the program, each with its
own scratch; they divide their work as in a program without loops, so the bits are the same however many threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from backlit.compiler.control import SCAN, WHILE
from backlit.compiler.ir import Eqn, Graph, Var
from backlit.compiler.llvm.conversion import SCALARS
from backlit.compiler.llvm.kernel import PARAMETERS, Kernel
from backlit.compiler.llvm.runtime import CHUNKS_WORD, DIVIDE, POOL_USED, SHARE, STEP_WORDS, STRIDE, THREADS_USED
from backlit.compiler.llvm.writer import Index, Writer
from backlit.compiler.memory import ALIGNMENT_BYTES, Range, place
from backlit.compiler.schedule import Schedule, schedule, topological

Works = Callable[[Schedule], list[Any]]
watch: Callable[[_Region], None] | None = None  # called when the buffers of a region have their places; for tests


def nested_kernel(name: str, e: Eqn, slots: Sequence[int], works_of: Works) -> Kernel | None:
    """The kernel of an equation of control flow, given the slots of its operands and results.

    None where something in it has no kernel.
    """
    regions = [_Region(r, works_of) for r in e.regions]
    if any(r.unfit for r in regions):
        return None
    emitter = _Emitter(name, e, slots, regions)
    if e.op is SCAN:
        emitter.scan()
    elif e.op is WHILE:
        emitter.loop_while()
    else:
        emitter.switch()
    helpers: dict[str, str] = {}
    for r in regions:
        for work in r.works:
            helpers |= {**work.kernel.helpers, work.kernel.name: work.kernel.text}
    shares = any(work.kernel.shares or work.kernel.grains > 1 for r in regions for work in r.works)
    return Kernel(name, emitter.w.text(), 1, scratch_bytes=emitter.scratch_bytes, helpers=helpers, shares=shares)


def _bytes(v: Var) -> int:
    return math.prod(v.aval.shape) * v.aval.dtype.itemsize


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _ordered(works: list[Any]) -> list[Any]:
    """Each work after those whose results it reads, else as they are."""
    writer = {v: number for number, work in enumerate(works) for v in work.writes}
    order = topological([{writer[v] for v in work.reads if v in writer} - {n} for n, work in enumerate(works)])
    return [works[n] for n in order]


class _Region:
    """The kernels of a region, and where its intermediates lie."""

    def __init__(self, graph: Graph, works_of: Works) -> None:
        self.graph = graph
        plan = schedule(graph)
        self.works = _ordered(works_of(plan))
        self.unfit = any(w.kernel is None for w in self.works)
        self.outputs = [plan.kept[a] for a in graph.outputs]  # type: ignore[index]
        outside = {*graph.inputs, *self.outputs}
        first: dict[Var, int] = {}
        last: dict[Var, int] = {}
        for number, work in enumerate(self.works):
            for v in (*work.reads, *work.writes):
                if v not in outside:
                    first.setdefault(v, number)
                    last[v] = number
        arena = place([Range(first[v], last[v], _bytes(v)) for v in first])
        self.offsets = dict(zip(first, arena.offsets, strict=True))
        self.arena_bytes = _aligned(arena.peak_bytes)
        if watch is not None:
            watch(self)
        self.n_slots = sum(len(w.slots) for w in self.works)
        self.scratch_bytes = 0 if self.unfit else max((w.kernel.scratch_bytes for w in self.works), default=0)


class _Emitter:
    """Writes the function of one equation."""

    def __init__(self, name: str, e: Eqn, slots: Sequence[int], regions: list[_Region]) -> None:
        self.w = w = Writer(name, PARAMETERS)
        self.e, self.regions = e, regions
        pointers = []
        for slot in slots:
            place_of = w.hoisted(f"getelementptr ptr, ptr %table, i64 {slot}")
            pointers.append(w.hoisted(f"load ptr, ptr {place_of}"))
        self.operands, self.results = pointers[: len(e.inputs)], pointers[len(e.inputs) :]
        # scratch: the tables of the kernels and the steps made of those that are shared out, two places for the carry,
        # intermediates, the scratch of the kernels, before which they find the program
        self.tables: list[int] = []
        at = 0
        for r in regions:
            self.tables.append(at)
            at += 8 * r.n_slots
        self.steps: dict[int, int] = {}
        for work in (work for r in regions for work in r.works):
            if work.kernel.grains > 1:
                self.steps[id(work)] = at
                at += 8 * STEP_WORDS
        self.carried: list[Var] = []
        if e.op is SCAN or e.op is WHILE:
            k = e.params["n_consts"]
            self.carried = regions[-1].graph.inputs[k : k + e.params["n_carry"] if e.op is SCAN else None]
        self.carry_at = at = _aligned(at)
        self.places: list[int] = []
        size = 0
        for v in self.carried:
            self.places.append(size)
            size += _aligned(_bytes(v))
        self.carry_bytes = size
        self.flag_at = at = at + 2 * size
        self.arena_at = at = at + ALIGNMENT_BYTES
        self.scratch_at = at = at + max(r.arena_bytes for r in regions) + ALIGNMENT_BYTES
        self.scratch_bytes = at + max(r.scratch_bytes for r in regions)
        self.program = w.hoisted(f"load ptr, ptr {w.hoisted('getelementptr i8, ptr %scratch, i64 -8')}")
        self.pool, self.threads, self.share, self.divide, self.stride = (
            w.hoisted(f"load {typed}, ptr {w.hoisted(f'getelementptr i64, ptr {self.program}, i64 {word}')}")
            for typed, word in (
                ("ptr", POOL_USED),
                ("i64", THREADS_USED),
                ("ptr", SHARE),
                ("ptr", DIVIDE),
                ("i64", STRIDE),
            )
        )
        w.do(f"store ptr {self.program}, ptr {self._at('%scratch', self.scratch_at - 8)}")

    # pieces

    def _at(self, pointer: str, offset: Index) -> str:
        return self.w.at(pointer, "i8", offset)

    def _copy(self, target: str, source: str, v: Var) -> None:
        if _bytes(v):
            self.w.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {_bytes(v)}, i1 false)")

    def _run(self, number: int, inputs: Sequence[str], outputs: Sequence[str], fixed: dict[Var, str]) -> None:
        """One run of a region; `fixed` are variables whose addresses are in the tables already."""
        w, region = self.w, self.regions[number]
        where = dict(zip(region.graph.inputs, inputs, strict=True))
        copies = []
        for v, target in zip(region.outputs, outputs, strict=True):
            if v in where:
                copies.append((target, v))
            else:
                where[v] = target
        scratch = self._at("%scratch", self.scratch_at)
        at: int = self.tables[number]
        for work in region.works:
            table = self._at("%scratch", at)
            for v, slot in work.slots.items():
                if v not in fixed:
                    w.do(f"store ptr {where[v]}, ptr {self._at(table, 8 * slot)}")
            self._call(work, table, scratch)
            at += 8 * len(work.slots)
        for target, v in copies:
            self._copy(target, where[v], v)

    def _call(self, work: Any, table: str, scratch: str) -> None:
        """Runs one kernel, with all threads if it is worth it and this program has them now."""
        w = self.w
        alone = f"call void @{work.kernel.name}(ptr {table}, ptr {scratch}, i64 0, i64 {work.kernel.units})"
        if id(work) not in self.steps:
            w.do(alone)
            return
        step = self._at("%scratch", self.steps[id(work)])
        chunks = w.new(f"load i64, ptr {self._at(step, 8 * CHUNKS_WORD)}")
        operands = f"ptr {self.pool}, ptr {step}, i64 {chunks}, i64 {self.threads}, ptr {scratch}, i64 {self.stride}"

        def do(instruction: str) -> list[str]:
            w.do(instruction)
            return []

        many = w.new(f"icmp sgt i64 {chunks}, 1")
        w.choose(many, lambda: do(f"call void {self.share}({operands})"), lambda: do(alone), [])

    def _divide(self, work: Any, table: str) -> None:
        """Writes the step of a kernel that may be shared out: into one chunk where there is one thread."""
        w, kernel = self.w, work.kernel
        step = self._at("%scratch", self.steps[id(work)])
        for word, value in enumerate((f"ptr @{kernel.name}", f"ptr {table}", f"i64 {kernel.units}")):
            w.do(f"store {value}, ptr {self._at(step, 8 * word)}")
        many = w.new(f"icmp ne ptr {self.pool}, null")
        threads = w.new(f"select i1 {many}, i64 {self.threads}, i64 1")
        w.do(f"call void {self.divide}(ptr {step}, i64 {kernel.grain}, i64 {kernel.together}, i64 {threads})")

    def _fix(self, number: int, known: dict[Var, str]) -> dict[Var, str]:
        """Puts into the tables what does not change from run to run: intermediates, and inputs as in `known`."""
        region = self.regions[number]
        arena = self._at("%scratch", self.arena_at)
        fixed = dict(known)
        for v, offset in region.offsets.items():
            fixed[v] = self._at(arena, offset)
        at: int = self.tables[number]
        for work in region.works:
            if id(work) in self.steps:
                self._divide(work, self._at("%scratch", at))
            for v, slot in work.slots.items():
                if v in fixed:
                    self.w.do(f"store ptr {fixed[v]}, ptr {self._at('%scratch', at + 8 * slot)}")
            at += 8 * len(work.slots)
        return fixed

    def _parts(self, block: str) -> list[str]:
        """The addresses of the carry in one of its two places."""
        return [self._at(block, offset) for offset in self.places]

    def _begin(self, first: Sequence[str]) -> tuple[str, str]:
        one = self._at("%scratch", self.carry_at)
        other = self._at(one, self.carry_bytes)
        for target, source, v in zip(self._parts(one), first, self.carried, strict=True):
            self._copy(target, source, v)
        return one, other

    def _end(self, block: str) -> None:
        for target, source, v in zip(self.results, self._parts(block), self.carried, strict=False):
            self._copy(target, source, v)

    # the three kinds

    def scan(self) -> None:
        """A loop of known length."""
        w, params, graph = self.w, self.e.params, self.regions[0].graph
        k, m, n = params["n_consts"], params["n_carry"], params["length"]
        fixed = self._fix(0, dict(zip(graph.inputs[:k], self.operands[:k], strict=True)))
        one, other = self._begin(self.operands[k : k + m])
        with w.loop(0, n, carry=[("ptr", one), ("ptr", other)]) as turn:
            now, after = turn.old
            at = w.sub(n - 1, turn.i) if params["reverse"] else turn.i
            shares = zip(self.operands[k + m :], graph.inputs[k + m :], strict=True)
            xs = [self._at(p, w.mul(at, _bytes(v))) for p, v in shares]
            stacked = zip(self.results[m:], graph.outputs[m:], strict=True)
            ys = [self._at(p, w.mul(at, _bytes(v))) for p, v in stacked]  # type: ignore[arg-type]
            self._run(0, [*self.operands[:k], *self._parts(now), *xs], [*self._parts(after), *ys], fixed)
            turn.next = [after, now]
        self._end(turn.next[0])

    def loop_while(self) -> None:
        """A loop until a condition fails."""
        w, k = self.w, self.e.params["n_consts"]
        fixed = []
        for number, region in enumerate(self.regions):
            fixed.append(self._fix(number, dict(zip(region.graph.inputs[:k], self.operands[:k], strict=True))))
        one, other = self._begin(self.operands[k:])
        flag = self._at("%scratch", self.flag_at)

        def more(old: list[str]) -> str:
            self._run(0, [*self.operands[:k], *self._parts(old[0])], [flag], fixed[0])
            return w.load_scalar("i1", flag)

        with w.loop_while([("ptr", one), ("ptr", other)], more) as turn:
            now, after = turn.old
            self._run(1, [*self.operands[:k], *self._parts(now)], self._parts(after), fixed[1])
            turn.next = [after, now]
        self._end(turn.next[0])

    def switch(self) -> None:
        """One of several regions."""
        w, v = self.w, self.e.inputs[0]
        assert isinstance(v, Var)
        scalar = SCALARS[v.aval.dtype]
        index = w.load_scalar(scalar, self.operands[0])
        sign = "s" if v.aval.dtype.kind == "i" else "u"

        def branch(number: int) -> list[str]:
            def here() -> list[str]:
                region = self.regions[number]
                fixed = self._fix(number, dict(zip(region.graph.inputs, self.operands[1:], strict=True)))
                self._run(number, self.operands[1:], self.results, fixed)
                return []

            if number == len(self.regions) - 1:
                return here()
            chosen = w.new(f"icmp {sign}le {scalar} {index}, {number}")
            return w.choose(chosen, here, lambda: branch(number + 1), [])

        branch(0)
