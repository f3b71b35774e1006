"""Kernels that write to places of an array, mostly given by integer arrays, and one that joins many arrays.

A unit is one row of the result along its first axis, which it alone writes: it goes over all places in order and takes those in
its rows. So what falls on one place is added, or overwritten, in the order of the places, whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from backlit.compiler.ir import Eqn, Var
from backlit.compiler.llvm import loops
from backlit.compiler.llvm.conversion import SCALARS, SMALL, convert
from backlit.compiler.llvm.kernel import PARAMETERS, Kernel
from backlit.compiler.llvm.target import vector_bytes
from backlit.compiler.llvm.values import emit
from backlit.compiler.llvm.writer import Index, Writer
from backlit.compiler.picks import OPERANDS, Along, At, Chosen, arrays_of, picking_of

_CHUNKS = 8  # each of which looks at all places


def scatter_kernel(name: str, e: Eqn, slots: Sequence[int]) -> Kernel:
    """The kernel of a `scatter_add` or `put` by integer arrays, given the slots of its operands and its result."""
    return _Scatter(name, e, slots).kernel()


def _pointers(w: Writer, slots: Sequence[int]) -> list[str]:
    at = [w.hoisted(f"getelementptr ptr, ptr %table, i64 {slot}") for slot in slots]
    return [w.hoisted(f"load ptr, ptr {a}") for a in at]


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


class _Scatter:
    """Writes one kernel."""

    def __init__(self, name: str, e: Eqn, slots: Sequence[int]) -> None:
        self.w, self.e = Writer(name, PARAMETERS), e
        *operands, self.out = _pointers(self.w, slots)
        self.base = operands[0] if e.op.name == "put" else None
        n = OPERANDS[e.op.name]
        self.arrays = list(zip(operands[n:], arrays_of(e), strict=True))
        self.values, source = operands[n - 1], e.inputs[n - 1]
        assert isinstance(source, Var)
        self.how, self.shape = picking_of(e), e.out.aval.shape
        self.dtype = e.out.aval.dtype
        self.scalar = SCALARS[self.dtype]
        self.to, self.of = _strides(self.shape), _strides(source.aval.shape)
        lanes = max(1, vector_bytes() // self.dtype.itemsize)
        inner = [k for k, p in enumerate(self.how.parts) if isinstance(p, Along) and p.length > 1]
        self.vector = None  # the axis along which neighbours are written, if there are enough of them
        if inner and inner[-1] > 0:
            part = self.how.parts[inner[-1]]
            assert isinstance(part, Along)
            if self.to[inner[-1]] * part.step == 1 and self.of[part.axis] == 1 and part.length >= lanes // 2:
                self.vector, self.lanes = inner[-1], lanes

    def kernel(self) -> Kernel:
        w, row = self.w, math.prod(self.shape[1:])
        rows, size = self.shape[0], row * self.dtype.itemsize
        begin = w.at(self.out, "i8", w.mul("%low", size))
        n = w.mul(w.sub("%high", "%low"), size)
        if self.base is None:
            w.do(f"call void @llvm.memset.p0.i64(ptr {begin}, i8 0, i64 {n}, i1 false)")
        else:
            source = w.at(self.base, "i8", w.mul("%low", size))
            w.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {begin}, ptr {source}, i64 {n}, i1 false)")
        first = self.how.parts[0]
        places = math.prod(self.how.shape)
        if isinstance(first, Along):
            grain = max(1, loops.GRAIN_BYTES // (size + 8 * places))
            with w.loop(0, first.length) as turn:
                at = w.add(first.start, w.mul(turn.i, first.step))
                with self._mine(at):
                    self._over_places(w.mul(at, self.to[0]), w.mul(turn.i, self.of[first.axis]))
        else:
            grain = max(1, -(-rows // _CHUNKS), loops.GRAIN_BYTES // size)
            with self._mine(first.place) if isinstance(first, At) else nullcontext():
                self._over_places(first.place * self.to[0] if isinstance(first, At) else 0, 0)
        return Kernel(w.name, w.text(), rows, grain)

    def _mine(self, at: Index) -> AbstractContextManager[None]:
        """Only if a row is one of those that are to be done."""
        w = self.w
        off, many = w.sub(at, "%low"), w.sub("%high", "%low")
        return w.only_if(w.new(f"icmp ult i64 {off}, {many}"))

    def _over_places(self, to: Index, of: Index) -> None:
        """All places that the integer arrays name, in order."""

        def go(k: int, index: list[Index], of: Index) -> None:
            if k < len(self.how.shape):
                with self.w.loop(0, self.how.shape[k]) as turn:
                    go(k + 1, [*index, turn.i], self.w.add(of, self.w.mul(turn.i, self.of[self.how.first + k])))
                return
            self._at_place(index, to, of)

        if 0 not in self.how.shape:
            go(0, [], of)

    def _at_place(self, index: list[Index], to: Index, of: Index) -> None:
        w = self.w
        mine: AbstractContextManager[None] = nullcontext()
        for axis, part in enumerate(self.how.parts):
            if isinstance(part, Chosen):
                at = self._place(part.number, index, self.shape[axis])
                to = w.add(to, w.mul(at, self.to[axis]))
                mine = self._mine(at) if axis == 0 else mine
            elif isinstance(part, At) and axis:
                to = w.add(to, part.place * self.to[axis])
        with mine:
            self._along(1, to, of)

    def _place(self, number: int, index: list[Index], n: int) -> Index:
        """What an integer array says, counted from the end where it is negative, and never outside."""
        w, (pointer, v) = self.w, self.arrays[number]
        shape, dtype = v.aval.shape, v.aval.dtype
        steps = _strides(shape)
        inner = index[len(index) - len(shape) :]
        offsets = [w.mul(i, s) for i, s, m in zip(inner, steps, shape, strict=True) if m != 1]
        scalar = SCALARS[dtype]
        found = w.load_scalar(scalar, w.at(pointer, scalar, *offsets))
        found = convert(w, found, dtype, np.dtype(np.int64))
        if dtype.kind == "i":
            below = w.new(f"icmp slt i64 {found}, 0")
            found = w.new(f"select i1 {below}, i64 {w.add(found, n)}, i64 {found}")
        return w.new(f"call i64 @llvm.umin.i64(i64 {found}, i64 {n - 1})")

    def _along(self, axis: int, to: Index, of: Index) -> None:
        """The slices behind the first axis, then one element or vector after the other."""
        w, parts = self.w, self.how.parts
        while axis < len(parts) and not isinstance(parts[axis], Along):
            axis += 1
        if axis == len(parts):
            self._write(to, of, None)
            return
        part = parts[axis]
        assert isinstance(part, Along)
        to = w.add(to, part.start * self.to[axis])
        if axis != self.vector:
            with w.loop(0, part.length) as turn:
                self._along(
                    axis + 1,
                    w.add(to, w.mul(turn.i, part.step * self.to[axis])),
                    w.add(of, w.mul(turn.i, self.of[part.axis])),
                )
            return
        self.w.lanes = self.lanes
        whole = part.length // self.lanes * self.lanes
        if whole:
            with w.loop(0, whole, self.lanes) as turn:
                self._write(w.add(to, turn.i), w.add(of, turn.i), None)
        if whole < part.length:
            self._write(w.add(to, whole), w.add(of, whole), w.first_lanes(part.length - whole))
        self.w.lanes = 1

    def _write(self, to: Index, of: Index, mask: str | None) -> None:
        w, scalar = self.w, self.scalar
        target = w.at(self.out, scalar, to)
        value = w.load(scalar, w.at(self.values, scalar, of), mask)
        if self.base is None:
            value = _sum(w, w.load(scalar, target, mask), value, self.dtype)
        w.store(scalar, value, target, mask)


def _sum(w: Writer, x: str, y: str, dtype: np.dtype[Any]) -> str:
    if dtype == bool:
        return emit(w, "logical_or", [x, y], dtype, dtype)
    if dtype not in SMALL:
        return emit(w, "add", [x, y], dtype, dtype)
    single = np.dtype(np.float32)
    total = emit(w, "add", [convert(w, a, dtype, single) for a in (x, y)], single, single)
    return convert(w, total, single, dtype)


def concat_kernel(name: str, e: Eqn, slots: Sequence[int]) -> Kernel:
    """The kernel that joins arrays: a unit is one place along the axes before the one that they are joined along."""
    w, axis, size = Writer(name, PARAMETERS), e.params["axis"], e.out.aval.dtype.itemsize
    *parts, out = _pointers(w, slots)
    shape = e.out.aval.shape
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * size
    row = shape[axis] * inner
    with w.loop("%low", "%high") as turn:
        target = w.at(out, "i8", w.mul(turn.i, row))
        at = 0
        for part, n in zip(parts, e.params["sizes"], strict=True):
            if n:
                source = w.at(part, "i8", w.mul(turn.i, n * inner))
                w.do(
                    f"call void @llvm.memcpy.p0.p0.i64(ptr {w.at(target, 'i8', at)}, ptr {source}, i64 {n * inner}, i1 false)"
                )
            at += n * inner
    return Kernel(name, w.text(), outer, max(1, loops.GRAIN_BYTES // max(1, row)))


OWN_KERNELS: dict[str, Callable[[str, Eqn, Sequence[int]], Kernel]] = {
    "scatter_add": scatter_kernel, "put": scatter_kernel, "concat": concat_kernel,
}  # fmt: skip
