"""Products of a matrix and a vector: bound by reading the matrix once, along the axis in which it is contiguous."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backlit.compiler.llvm.kernel import PARAMETERS, Kernel, Operand, unravel
from backlit.compiler.llvm.target import Features
from backlit.compiler.llvm.tile import multiply_add
from backlit.compiler.llvm.writer import SIZES, Index, Writer

Give = Callable[[Writer, list[Index], Index, str, str | None], None]  # (writer, batch, number, sums, mask)

SLACK = 64  # elements on either side of the sums that may be overwritten


@dataclass(frozen=True)
class Sweep:
    """Adds `rows` rows of a matrix, each times an element of a vector, to sums; the last vector has `last` lanes."""

    kind: str
    lanes: int
    rows: int
    step: int  # of the vector
    down: int
    across: int  # 1 unless there is a single lane
    last: int
    fma: bool

    @property
    def name(self) -> str:
        """Tells it from every other one."""
        numbers = (self.rows, self.step, self.down, self.across, self.last, int(self.fma))
        return f"sweep_{self.kind}{self.lanes}_{'_'.join(map(str, numbers))}"

    def text(self) -> str:
        """The function `(x, matrix, sums, count, more)` for `count` columns, rounded up to vectors."""
        w = Writer(self.name, "ptr %x, ptr %matrix, ptr %sums, i64 %count, i64 %more", self.lanes)
        kind, typed = self.kind, w.type(self.kind)
        mask = w.first_lanes(self.last) if self.last < self.lanes else None
        ones = [w.splat(kind, w.load_scalar(kind, w.at("%x", kind, r * self.step))) for r in range(self.rows)]
        first = w.new("icmp eq i64 %more, 0")
        with w.loop(0, "%count", self.lanes) as i:
            place = w.at("%sums", kind, i.i)
            total = w.new(f"select i1 {first}, {typed} {w.constant(kind, 0)}, {typed} {w.load(kind, place)}")
            column = w.at("%matrix", kind, w.mul(i.i, self.across))
            for r, one in enumerate(ones):
                row = w.load(kind, w.at(column, kind, r * self.down), mask)
                total = multiply_add(w, kind, one, row, total, self.fma)
            w.store(kind, total, place)
        return w.text(internal=True)


@dataclass(frozen=True)
class Dots:
    """Products of `rows` rows, `down` apart, with a vector, all contiguous and of `depth` elements."""

    kind: str
    lanes: int
    rows: int
    down: int
    depth: int
    fma: bool

    @property
    def name(self) -> str:
        """Tells it from every other one."""
        return f"dots_{self.kind}{self.lanes}_{self.rows}_{self.down}_{self.depth}_{int(self.fma)}"

    def text(self) -> str:
        """The function `(x, matrix, sums)`."""
        w = Writer(self.name, "ptr %x, ptr %matrix, ptr %sums", self.lanes)
        kind, lanes = self.kind, self.lanes
        sums = [w.constant(kind, 0)] * (2 * self.rows)
        whole = self.depth - self.depth % (2 * lanes)
        if whole:
            with w.loop(0, whole, 2 * lanes, carry=[(w.type(kind), v) for v in sums]) as k:
                k.next = self._more(w, self._more(w, k.old, 0, k.i, None), 1, w.add(k.i, lanes), None)
            sums = k.next
        for half, start in enumerate(range(whole, self.depth, lanes)):
            rest = self.depth - start
            sums = self._more(w, sums, half, start, w.first_lanes(rest) if rest < lanes else None)
        for r in range(self.rows):
            w.do(f"store {kind} {self._across(w, sums[2 * r], sums[2 * r + 1])}, ptr {w.at('%sums', kind, r)}")
        return w.text(internal=True)

    def _more(self, w: Writer, sums: Sequence[str], half: int, k: Index, mask: str | None) -> list[str]:
        x = w.load(self.kind, w.at("%x", self.kind, k), mask)
        sums = list(sums)
        for r in range(self.rows):
            row = w.load(self.kind, w.at("%matrix", self.kind, k, r * self.down), mask)
            sums[2 * r + half] = multiply_add(w, self.kind, row, x, sums[2 * r + half], self.fma)
        return sums

    def _across(self, w: Writer, a: str, b: str) -> str:
        """The sum of all lanes of two vectors, always added in the same order."""
        typed, lanes = w.type(self.kind), self.lanes
        total = w.new(f"fadd {typed} {a}, {b}")
        half = lanes
        while half > 1:
            half //= 2
            order = ", ".join(f"i32 {lane ^ half}" for lane in range(lanes))
            other = w.new(f"shufflevector {typed} {total}, {typed} poison, <{lanes} x i32> <{order}>")
            total = w.new(f"fadd {typed} {total}, {other}")
        return w.lane(self.kind, total, 0)


def matvec(
    name: str, kind: str, batch: tuple[int, ...], n: int, k: int, x: Operand, matrix: Operand, give: Give, *,
    vectors: bool, allowed: Features,
) -> Kernel:  # fmt: skip
    """A kernel of `sum_k x[*batch, k] * matrix[*batch, k, j]` for every `j` below `n`.

    Sums are given on in vectors or one by one. The last axis of the batch, of at least one entry, is for several
    vectors times one matrix, which is read in parts.
    """
    return _Driver(name, kind, batch, n, k, x, matrix, give, vectors, allowed).kernel()


class _Driver:
    def __init__(
        self, name: str, kind: str, batch: tuple[int, ...], n: int, k: int, x: Operand, matrix: Operand, give: Give,
        vectors: bool, allowed: Features,
    ) -> None:  # fmt: skip
        self.name, self.kind, self.batch, self.n, self.k = name, kind, batch, n, k
        self.x, self.matrix, self.give, self.vectors, self.fma = x, matrix, give, vectors, allowed.fma
        self.lanes = allowed.vector_bytes // SIZES[kind]
        self.down, self.across = matrix.strides[-2:]
        self.by_dots = self.down == 1 and (self.across != 1 or n == 1)
        wanted = max(1, min(n, 2048, -(-(1 << 16) // max(1, k))))  # of about 2^16 elements each
        if self.by_dots:
            # as many rows beside one another as there are registers for (Zen 5, 2048 x 2048: 41 GFLOP/s with 8, 36 with 4)
            self.rows = min(n, 8 if allowed.registers >= 32 else 4)
            self.chunk = min(n, wanted + -wanted % self.rows)
        else:
            self.swept = self.lanes if self.across == 1 else 1
            # rows long enough to be fetched ahead (Zen 5, 2048 x 2048: 50 GFLOP/s with 2 KiB, 38 with 1)
            wanted = max(wanted, 2048 // SIZES[kind])
            self.chunk = min(wanted + -wanted % self.swept, n - n % self.swept) or n
        self.chunks = -(-n // self.chunk)
        self.helpers: dict[str, str] = {}

    def kernel(self) -> Kernel:
        w = Writer(self.name, PARAMETERS, self.lanes)
        kind = self.kind
        copied = self.k if self.by_dots and self.x.strides[-1] != 1 else 0
        copied += -copied % 16
        with w.loop("%low", "%high") as unit:
            *place, chunk, last = unravel(w, unit.i, (*self.batch[:-1], self.chunks, self.batch[-1]))
            place.append(last)
            start = w.mul(chunk, self.chunk)
            end = w.least(w.add(start, self.chunk), self.n)
            x = w.at(self.x.pointer(w, kind), kind, *map(w.mul, place, self.x.strides))
            matrix = w.at(self.matrix.pointer(w, kind), kind, *map(w.mul, place, self.matrix.strides))
            sums = w.at("%scratch", kind, copied + SLACK)
            if self.by_dots:
                if copied:
                    x = self._copied(w, x)
                self._dots(w, x, matrix, sums, start, end)
            else:
                sums = self._sweep(w, x, matrix, sums, start)
            if self.vectors:
                self._give_vectors(w, place, sums, chunk, start)
            else:
                with w.loop(start, end) as i:
                    value = w.load_scalar(kind, w.at(sums, kind, w.sub(i.i, start)))
                    w.lanes = 1
                    self.give(w, place, i.i, value, None)
                    w.lanes = self.lanes
        units = math.prod(self.batch) * self.chunks
        work = self.k * self.chunk
        grain = max(1, min(units, round(2e5 / max(1, work))))
        size = (copied + self.chunk + 2 * SLACK) * SIZES[kind]
        return Kernel(self.name, w.text(), units, grain, size, self.helpers)

    def _copied(self, w: Writer, x: str) -> str:
        with w.loop(0, self.k) as i:
            value = w.load_scalar(self.kind, w.at(x, self.kind, w.mul(i.i, self.x.strides[-1])))
            w.do(f"store {self.kind} {value}, ptr {w.at('%scratch', self.kind, i.i)}")
        return "%scratch"

    def _dots(self, w: Writer, x: str, matrix: str, sums: str, start: Index, end: Index) -> None:
        dots = Dots(self.kind, self.lanes, self.rows, self.across, self.k, self.fma)
        self.helpers[dots.name] = dots.text()
        with w.loop(start, end, self.rows) as i:
            row = w.least(i.i, self.n - self.rows)  # the last ones overlap their neighbours
            source = w.at(matrix, self.kind, w.mul(row, self.across))
            w.do(f"call void @{dots.name}(ptr {x}, ptr {source}, ptr {w.at(sums, self.kind, w.sub(row, start))})")

    def _sweep(self, w: Writer, x: str, matrix: str, sums: str, start: Index) -> str:
        """Where the first of the sums asked for is; the last chunk overlaps its neighbour."""
        kind, lanes = self.kind, self.swept
        first = w.least(start, self.n - self.chunk)
        matrix = w.at(matrix, kind, w.mul(first, self.across))
        last = self.chunk % lanes or lanes
        if self.k == 0:
            with w.loop(0, self.chunk) as i:
                w.do(f"store {kind} 0.0, ptr {w.at(sums, kind, i.i)}")
        for low, high, rows in ((0, self.k - self.k % 8, 8), (self.k - self.k % 8, self.k, self.k % 8)):
            if low == high:
                continue
            sweep = Sweep(kind, lanes, rows, self.x.strides[-1], self.down, self.across, last, self.fma)
            self.helpers[sweep.name] = sweep.text()
            with w.loop(low, high, rows) as k:
                factors, source = w.at(x, kind, w.mul(k.i, sweep.step)), w.at(matrix, kind, w.mul(k.i, sweep.down))
                w.do(f"call void @{sweep.name}(ptr {factors}, ptr {source}, ptr {sums}, i64 {self.chunk}, i64 {k.i})")
        return w.at(sums, kind, w.sub(start, first))

    def _give_vectors(self, w: Writer, place: list[Index], sums: str, chunk: Index, start: Index) -> None:
        edge = self.n % self.chunk
        if not edge:
            self._call(w, self.chunk, place, sums, start)
            return
        last = w.new(f"icmp eq i64 {chunk}, {self.chunks - 1}")
        with w.only_if(last):
            self._call(w, edge, place, sums, start)
        if self.chunks > 1:
            with w.only_if(w.new(f"xor i1 {last}, true")):
                self._call(w, self.chunk, place, sums, start)

    def _call(self, w: Writer, count: int, place: list[Index], sums: str, start: Index) -> None:
        """Gives on `count` sums by a function of its own."""
        name = f"{self.name}_finish{count}"
        indices = ", ".join(f"i64 {i}" for i in (*place, start))
        w.do(f"call void @{name}(ptr %table, ptr {sums}, {indices})")
        if name in self.helpers:
            return
        inner: list[Index] = [f"%b{d}" for d in range(len(place))]
        f = Writer(name, f"ptr %table, ptr %sums, {', '.join(f'i64 {i}' for i in (*inner, '%start'))}", self.lanes)
        rest = count % self.lanes
        if count > rest:
            with f.loop(0, count - rest, self.lanes) as i:
                value = f.load(self.kind, f.at("%sums", self.kind, i.i))
                self.give(f, inner, f.add("%start", i.i), value, None)
        if rest:
            mask = f.first_lanes(rest)
            value = f.load(self.kind, f.at("%sums", self.kind, count - rest))
            self.give(f, inner, f.add("%start", count - rest), value, mask)
        self.helpers[name] = f.text(internal=True)
