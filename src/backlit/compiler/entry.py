"""Entry: the way into a step for tensors as they are now, by one native call that checks, runs and writes back.

Where the layout of memory is not what the native code is made for, there is none and `Step` does the same in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.compiler import native as native_code
from backlit.compiler import threads
from backlit.compiler.ir import Var
from backlit.compiler.layout import CONTENTS, is_plain_scalar
from backlit.compiler.llvm.entry import ABSENT as NO_GRADIENT
from backlit.compiler.llvm.entry import BARE, CALL_WORDS, CELL_WORDS, FIXED, GRADIENT, HEAD, LOOSE, OVER, RECORDED
from backlit.compiler.running import Process, Words, entries, wait_for
from backlit.compiler.state import ABSENT
from backlit.core import changes, dtypes, record, staging
from backlit.core.aval import Aval
from backlit.core.graph import Node
from backlit.core.tensor import Consumed, Tensor

if TYPE_CHECKING:
    from backlit.compiler.step import Step
    from backlit.compiler.trace import Source

MISS = object()  # something is not as it was
CONSUMED = Consumed()
_COUNTER = "counter"


class Entry:
    """The native way into one step, for tensors and bare arrays like `leaves` as its arguments.

    `entry(*leaves)` gives what the step returns, or `MISS` where something is not as it was when this was made; then nothing
    has happened. It waits while another thread runs a program that may use the same tensors.
    """

    def __init__(self, step: Step, leaves: Sequence[Any], shared: Process) -> None:
        self.step, self.shared = step, shared
        self._elsewhere = step.reached.unchanged_elsewhere if step.reached.sets or step.reached.attributes else None
        self._specs: dict[Aval, Words] = {}
        self._makers: list[tuple[int, Callable[[], Any]]] = []
        self._taken: list[tuple[int, str, Any, tuple[int, ...], bool]] = []  # arrays that are there already
        self._made: dict[int, int] = {}
        self._kept: list[int] = []
        self._nodes: list[Any] = []  # held, so that their ids stay their own
        self._spare: dict[int, Any] = {}
        self._places: list[list[int]] = []
        self._n_arrays = 1  # the first one is a stamp
        self._written_over = {j: k for k, j in step.native.over.items()}
        self._fill(leaves)
        entries.add(self)

    def _fill(self, leaves: Sequence[Any]) -> None:
        step, native = self.step, self.step.native
        reached = step.reached
        absent = {(s.number, id(s.owner)) for s in step.absent}
        inputs = {(s.kind, s.number if s.number >= 0 else id(s.owner)): j for j, s in enumerate(step.sources)}
        arguments = []
        for k, (x, aval) in enumerate(zip(leaves, step.argument_avals, strict=True)):
            flags = NO_GRADIENT if any(number == k for number, _ in absent) else 0
            if any(number == k for number, _ in step.aliases):
                flags |= FIXED
            arguments.append(self._tensor(x, aval, inputs.get(("argument", k), -1), flags, type(x)))
        cells = []
        for x, aval in step.cells:
            flags = NO_GRADIENT if (-1, id(x)) in absent else 0
            cells.append(self._tensor(x, aval, inputs.get(("cell", id(x)), -1), flags))
        for j, source in enumerate(step.sources):
            if source.kind == "gradient":
                cells.append(self._tensor(source.owner, step.graph.inputs[j].aval, j, GRADIENT))
            elif source.kind in ("key", "counter"):
                self._taken.append((self._place(j), source.kind, source.owner, (), False))
        self.arguments, self.cells = Words(arguments, list(leaves)), Words(cells)
        self._found = {id(x): k for k, (x, _) in enumerate(step.cells)}
        swaps, marks, counters = self._effects()
        self._results = [(self._output(k), step.nodes[k]) for k in range(step.n_returned)]
        self._only = self._results[0] if step.is_single else None
        lists = [(values, Words([[id(x)] for x in then], then)) for values, then in reached.lists]
        dicts = [
            (table, Words([[id(key), id(value)] for key, value in zip(keys, then, strict=True)], (keys, then)))
            for table, keys, then in reached.dicts
        ]
        calls = [[*call, *[0] * (CALL_WORDS - len(call))] for call in native.calls()]
        variables = [
            *reached.variables,
            (vars(changes), "count", reached.count),
            (vars(staging), "active", 0),
            (vars(record), "active", 0),
            (vars(dtypes), "_default", dtypes.default_dtype()),
            (vars(threads), "_number", vars(threads)["_number"]),
            (vars(threads), "_pool", vars(threads)["_pool"]),
            (vars(native_code), "profiler", native_code.profiler),
        ]
        tables = {
            "variables": Words(
                [[id(t), id(key), 0 if then is ABSENT else id(then)] for t, key, then in variables], variables
            ),
            "slots": Words([[id(cell) + CONTENTS, id(then)] for cell, then in reached.closures], reached.closures),
            "lists": Words([[id(x), len(x), then.address] for x, then in lists], lists),
            "dicts": Words([[id(x), len(x), then.address] for x, then in dicts], dicts),
            "cells": self.cells,
            "places": Words(self._places),
            "swaps": Words(swaps),
            "marks": Words(marks),
            "counters": Words(counters),
            "calls": Words(calls),
        }
        words = {name: table.address for name, table in tables.items()}
        words |= {f"n_{name}": table.n for name, table in tables.items()}
        words |= {
            "process": self.shared.words.address,
            "arguments": self.arguments.address,
            "n_arguments": self.arguments.n,
            "muted": int(step.muted),
            "dynamic": native.dynamic.ctypes.data,
            "flag": native.flag_address,
            "releases": int(step.is_long or bool(native.callbacks)),  # arrays are held while Python runs
            "busy": step.busy.ctypes.data,
            "allowed": -1,
            "stamped": int(bool(self._taken)),
        }
        self._tables = tables
        self._head = np.array([words[name] for name in HEAD], np.int64)
        self._enter = self.shared.enter(self._head)

    def _tensor(self, x: Any, aval: Aval, j: int, flags: int, kind: type = Tensor) -> list[int]:
        """The row of one tensor, which is input `j` unless that is negative."""
        node = None if kind is np.ndarray else x.node
        value: Any = x if kind is np.ndarray else x._grad._value if flags & GRADIENT else x._value
        if kind is np.ndarray:
            flags |= BARE
        if node.__class__ is Node:
            flags |= RECORDED
        native, again = self.step.native, -1
        if j in self._written_over:
            flags |= OVER
            again = len(native.lowered.inputs) + self._written_over[j]
        elif not _lies_flat(value, aval):
            flags |= LOOSE
            source = self.step.sources[j] if j >= 0 else None
            if source is not None:
                self._taken.append((self._place(j), "copy", (source, aval), (), False))
            j = -1
        if aval not in self._specs:
            self._specs[aval] = self._spec(aval)
        self._nodes.append(node)
        return [id(x), id(node), flags, j, self._specs[aval].address, id(kind), id(x), id(value), again]

    def _spec(self, aval: Aval) -> Words:
        dims = Words([[n] for n in aval.shape])
        scalar = aval.dtype.type if not aval.shape and _is_plain(aval) else None
        row = [len(aval.shape), dims.address, id(aval.dtype), 0 if scalar is None else id(scalar)]
        return Words([row], (dims, aval.dtype, scalar))

    def recount(self) -> None:
        """Changes of modules and optimizers up to now are known not to matter."""
        number = len(self.step.reached.variables)
        table, count = self._tables["variables"], self.step.reached.count
        table.array[number, 2] = id(count)
        table.keep[number] = (*table.keep[number][:2], count)

    def allow(self, begun: int) -> None:
        """Lets this begin although others run, if no other has begun since."""
        self._head[HEAD.index("allowed")] = begun

    def _place(self, dynamic: int = -1) -> int:
        """A place in the list of arrays, whose address goes to `dynamic`."""
        if dynamic >= 0:
            self._places.append([self._n_arrays, dynamic])
        self._n_arrays += 1
        return self._n_arrays - 1

    def _noted(self, source: Source) -> int:
        """Where native code notes which tensor a source is."""
        if source.number >= 0:
            return self.arguments.address + 8 * (source.number * CELL_WORDS + 6)
        return self.cells.address + 8 * (self._found[id(source.owner)] * CELL_WORDS + 6)

    def _effects(self) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
        """Rows for what the step leaves behind: new arrays and gradients, marks, counters of generators."""
        slots, native = self.shared.layout, self.step.native
        swaps, marks, counters = [], [], []
        for source, k in self.step.effects:
            if source.kind == "counter":
                counters.append([id(source.owner), id(_COUNTER), self._static(k).ctypes.data])
            elif not isinstance(k, int):
                marks.append([self._noted(source), id(k)])
            elif source.kind == "gradient":
                swaps.append([self._noted(source), slots.grad, self._output(k, "gradient")])
            elif k not in native.over:
                at = self._output(k, "kept")
                self._kept.append(at)
                swaps.append([self._noted(source), slots.value, at])
        return swaps, marks, counters

    def _static(self, k: int) -> np.ndarray[Any, Any]:
        """An array of its own for output `k`, the same at each call."""
        native = self.step.native
        assert native.origins[k] == ("made", k)
        made = np.zeros((), np.uint64)
        self._taken.append((self._place(len(native.lowered.inputs) + k), "constant", made, (), False))
        return made

    def _output(self, k: int, role: str = "returned") -> int:
        """The place of the array for output `k`, which is "returned", a "gradient", or "kept" in a tensor of the state."""
        native = self.step.native
        kind, what = native.origins[k]
        a = native.lowered.outputs[k]
        shape = a.aval.shape if isinstance(a, Var) else ()
        if kind == "made" and what == k and isinstance(a, Var):
            at = self._place(len(native.lowered.inputs) + k)
            make: Callable[[], Any] = partial(np.empty, shape, a.aval.dtype)
            if role == "gradient":
                make = partial(_gradient, make)
            elif role == "kept":
                make = partial(self._used_again, at, make)
            self._made[k] = at
            self._makers.append((at, make))
            return at
        at = self._place()
        self._taken.append((at, kind, what, shape, role == "gradient"))
        return at

    def _used_again(self, at: int, make: Callable[[], Any]) -> Any:
        spare = self._spare.pop(at, None)
        if spare is not None and getrefcount(spare) == _ONE and spare.base is None and spare.flags.writeable:
            return spare
        return make()

    def __call__(self, *leaves: Tensor) -> Any:
        if self._elsewhere is not None and not self._elsewhere():
            return MISS
        while True:
            arrays: list[Any] = [None] * self._n_arrays
            for at, make in self._makers:
                arrays[at] = make()
            if self._taken:
                arrays[0] = self.shared.state[1:2].copy()  # whoever begins after this may change what is looked at now
                if not self._take(arrays, leaves):
                    return MISS
            found = self._enter(arrays, *leaves)
            if found is True:
                break
            if found is None:
                raised, self.step.native.raised = self.step.native.raised, None
                if raised is not None:
                    raise raised
                return MISS
            wait_for(self, leaves)
        for at in self._kept:
            self._spare[at] = arrays[at]
        if self._only is not None:
            at, node = self._only
            return Tensor(arrays[at], node)
        return self.step.returned([Tensor(arrays[at], node) for at, node in self._results])

    def _take(self, arrays: list[Any], leaves: Sequence[Tensor]) -> bool:
        """Fills in the arrays that are there already; whether they are as expected."""
        step = self.step
        for at, kind, what, shape, is_gradient in self._taken:
            if kind == "key":
                array = what.key
            elif kind == "counter":
                array = np.array(what.counter, np.uint64)
            elif kind == "made":
                array = arrays[self._made[what]]
                array = (array._value if isinstance(array, Tensor) else array).reshape(shape)
            elif kind == "input":
                source = step.sources[what]
                foreign = source.kind == "argument" and source.number in step.foreign
                value = self._input(source, leaves)
                if not isinstance(value, (np.ndarray, np.generic)):
                    return False
                array = np.array(value) if foreign else np.asarray(value)
                array = array.reshape(shape)
            elif kind == "copy":
                source, aval = what
                value = self._input(source, leaves)
                if not isinstance(value, (np.ndarray, np.generic)) or (value.shape, value.dtype) != aval:
                    return False
                array = np.array(value, order="C")
            else:
                array = what
            arrays[at] = Tensor(array) if is_gradient else array
        return True

    def _input(self, source: Source, leaves: Sequence[Tensor]) -> Any:
        if source.kind == "argument":
            x: Any = leaves[source.number] if source.number < len(leaves) else None
            return x if isinstance(x, np.ndarray) else getattr(x, "_value", None)
        return source.owner._grad._value if source.kind == "gradient" else source.owner._value

    def conflicts(self, other: Entry, leaves: Sequence[Tensor]) -> bool:
        """Whether a run with these arguments may not go on beside a run of `other`."""
        if other.step is self.step:
            return True
        mine, its = {id(x) for x in leaves}, {int(row[6]) for row in other.arguments.array[: other.arguments.n]}
        touched, its_touched = self.step.touched | mine, other.step.touched | its
        written = self.step.written | (mine if self.step.writes_arguments else set())
        its_written = other.step.written | (its if other.step.writes_arguments else set())
        return not (touched.isdisjoint(its_written) and written.isdisjoint(its_touched))


def _is_plain(aval: Aval) -> bool:
    kind: Any = aval.dtype.type
    return is_plain_scalar(kind)


def _lies_flat(value: Any, aval: Aval) -> bool:
    """Whether native code can read an array or scalar where it lies."""
    if isinstance(value, np.ndarray):
        return value.dtype is aval.dtype and value.flags.c_contiguous and value.flags.aligned
    return isinstance(value, np.generic) and value.dtype is aval.dtype and _is_plain(aval)


def _one() -> int:
    """References that `getrefcount` sees to an object that one local variable knows."""
    found = np.empty(1)
    return getrefcount(found)


_ONE = _one()


def _gradient(make: Callable[[], Any]) -> Tensor:
    return Tensor(make())
