"""The ops of one run of a function, written down so that they can be applied again to other values.

What is replayed is the program that ran, not the Python function: the same branches, the same random numbers, the same
values taken from around it, and nothing is printed or written a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from backlit.autodiff.trace import Trace, highest
from backlit.core import record, tree
from backlit.core.aval import Aval, aval_of
from backlit.core.op import Op, bind
from backlit.core.tensor import Box, Tensor, as_tensor, muted, no_grad
from backlit.ops.linear import detach


class _At(int):
    """The number of a value on the tape; a Python number beside it stands for itself."""


class _Step:
    """One op, or one call: what applies it, and the numbers of its operands and results."""

    __slots__ = ("apply", "args", "dead", "nested", "op", "outs", "params", "quiet")

    def __init__(
        self, apply: Callable[..., Any], args: list[Any], outs: range, quiet: bool, nested: bool, op: Op | None,
        params: dict[str, Any],
    ) -> None:  # fmt: skip
        self.apply, self.args, self.outs, self.quiet, self.nested = apply, args, outs, quiet, nested
        self.op, self.params = op, params  # None for what is no single op
        self.dead: list[int] = []  # values that nobody needs behind this step


class Program:
    """A function of tensors: the steps of a tape that its results need."""

    def __init__(self, steps: list[_Step], n_inputs: int, outs: list[int]) -> None:
        self.outs, self.n_inputs = outs, n_inputs
        self.steps: list[_Step] = []
        needed = set(outs)
        for step in reversed(steps):
            if not needed.isdisjoint(step.outs):
                self.steps.append(step)
                used = {a for a in step.args if a.__class__ is _At}
                step.dead = [int(a) for a in used | set(step.outs) if a not in needed]
                needed |= used
        self.steps.reverse()

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The results for these inputs, as ordinary ops that every transform goes through."""
        values: dict[int, Any] = dict(enumerate(inputs))
        for step in self.steps:
            args = [values[a] if a.__class__ is _At else a for a in step.args]
            listeners = () if step.nested else record.current()  # it tells of its own ops
            begin = perf_counter_ns() if listeners else 0
            if step.quiet:
                with no_grad():
                    outs = step.apply(*args)
            else:
                outs = step.apply(*args)
            for listener in listeners:
                listener.reapplied(step.op, args, step.params, outs, perf_counter_ns() - begin)
            values.update(zip(step.outs, outs, strict=True))
            for a in step.dead:
                del values[a]
        return [values[a] for a in self.outs]


class Tape(Trace):
    """Writes down every op on its values.

    With `computes` they have contents, without derivatives; else only shape and dtype.
    """

    def __init__(self, name: str, computes: bool) -> None:
        super().__init__(name)
        self.computes = computes
        self.inputs: list[Tensor] = []
        self.steps: list[_Step] = []
        self._n = 0
        self._captured: dict[tuple[int, int], tuple[_At, Tensor]] = {}

    def input(self, x: Tensor) -> Tensor:
        """A value on the tape that stands for `x`; all inputs come before the first step."""
        self.inputs.append(Tensor(x._value, x.node))
        return self._new([plain(x) if self.computes else blank(aval_of(x))])[0]

    def program(self, outs: Sequence[Tensor]) -> tuple[Program, list[Tensor]]:
        """The program that gives `outs`, and its inputs: those of the tape, then what it takes from around it."""
        ends = [int(self._at(x)) for x in outs]
        order = [*range(len(self.inputs)), *(int(at) for at, _ in self._captured.values())]
        number = {old: new for new, old in enumerate(order)}
        n = len(order)
        for step in self.steps:
            for old in step.outs:
                number[old] = n
                n += 1
        steps = [
            _Step(
                s.apply, [_At(number[a]) if a.__class__ is _At else a for a in s.args],
                range(number[s.outs[0]], number[s.outs[0]] + len(s.outs)) if s.outs else range(0), s.quiet, s.nested,
                s.op, s.params,
            )
            for s in self.steps
        ]  # fmt: skip
        made = Program(steps, len(order), [number[a] for a in ends])
        return made, [*self.inputs, *(x for _, x in self._captured.values())]

    def process(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
        at = [self._at(a) for a in args]
        if self.computes:
            out = bind(op, tuple(self.plain(a) for a in args), params)
        else:
            out = blank(op.abstract(*(aval_of(a) if isinstance(a, Tensor) else a for a in args), **params))
        return self._step(lambda *values: [bind(op, values, params)], at, [out], op=op, params=params)[0]

    def control(self, call: Any, operands: Sequence[Tensor]) -> list[Tensor]:
        """The results of a call of control flow in a graph."""
        outs = call([self.plain(x) for x in operands])
        return self._step(lambda *values: call(values), [self._at(x) for x in operands], outs)

    def custom(self, owner: Any, values: Any, structure: Any) -> Any:
        places = [k for k, x in enumerate(values) if isinstance(x, Tensor)]

        def filled(tensors: Sequence[Tensor]) -> Any:
            given = list(values)
            for k, x in zip(places, tensors, strict=True):
                given[k] = x
            return tree.unflatten(structure, given)

        def again(*tensors: Tensor) -> list[Tensor]:
            return [as_tensor(x) for x in tree.leaves(owner(*filled(tensors)))]

        operands = [values[k] for k in places]
        leaves, its_structure = tree.flatten(owner.f(*filled([self.plain(x) for x in operands])))
        outs = [plain(as_tensor(x)) for x in leaves]
        nested = getattr(owner, "kind", "") == "checkpoint"
        return tree.unflatten(its_structure, self._step(again, [self._at(x) for x in operands], outs, nested))

    def detach(self, x: Tensor) -> Tensor:
        return self._step(lambda value: [value.detach()], [self._at(x)], [self.plain(x)], op=detach)[0]

    def plain(self, x: Any) -> Any:
        """The contents of `x` without derivatives."""
        if not isinstance(x, Tensor):
            return x
        return plain(x) if (box := self.box(x)) is None else box.primal

    def _at(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if (box := self.box(x)) is not None:
            return box.extra
        if isinstance(x._value, Box):
            x._value.trace.check_alive()
        key = id(x._value), id(x.node)
        if key not in self._captured:  # the tensor is held, so that the ids stay its own
            self._captured[key] = _At(self._n), Tensor(x._value, x.node)
            self._n += 1
        return self._captured[key][0]

    def _step(
        self, apply: Callable[..., Any], args: list[Any], outs: Sequence[Tensor], nested: bool = False,
        op: Op | None = None, params: dict[str, Any] = {},  # noqa: B006 - only read
    ) -> list[Tensor]:  # fmt: skip
        first = self._n
        made = self._new(outs)
        self.steps.append(_Step(apply, args, range(first, self._n), muted.get() > self.level, nested, op, params))
        return made

    def _new(self, values: Sequence[Tensor]) -> list[Tensor]:
        made = [Tensor(Box(self, x, _At(self._n + k))) for k, x in enumerate(values)]
        self._n += len(values)
        return made


def plain(x: Tensor) -> Tensor:
    """The value of `x` without derivatives at any level, and without a word of where its path was cut."""
    return Tensor(x._value) if highest([x]) is None else Tensor(x.detach()._value)


def blank(aval: Aval) -> Tensor:
    """A value of which only shape and dtype count; it takes no memory."""
    return Tensor(np.broadcast_to(np.zeros((), aval.dtype), aval.shape))
