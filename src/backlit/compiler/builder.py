"""The work of each group of a schedule: its kernel, and the buffers that it reads and writes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from backlit.compiler.before import joined_rows, sizes_of
from backlit.compiler.ir import Eqn, Literal, Var
from backlit.compiler.llvm.computed import Computed
from backlit.compiler.llvm.kernel import Kernel, Operand
from backlit.compiler.llvm.maps import Finish
from backlit.compiler.llvm.nest import Load, Nest, Store
from backlit.compiler.llvm.nest_kernel import nest_kernel
from backlit.compiler.llvm.philox import philox_kernel
from backlit.compiler.llvm.product import product
from backlit.compiler.llvm.scatter import OWN_KERNELS
from backlit.compiler.llvm.sequential import sequential_kernel
from backlit.compiler.nested import nested_kernel
from backlit.compiler.picks import is_picked
from backlit.compiler.schedule import Group, Schedule
from backlit.compiler.views import identity
from backlit.compiler.work import Work
from backlit.core.aval import Aval


class Builder:
    """Makes the work of each group."""

    def __init__(self, plan: Schedule, names: Iterator[str] | None = None) -> None:
        self.plan = plan
        self._names = names or (f"k{n}" for n in itertools.count())
        self._made: dict[Any, tuple[Kernel, int | None, Nest]] = {}

    def _kernel(
        self, nest: Nest, key: Any, make: Callable[[str], tuple[Kernel, int | None]]
    ) -> tuple[Kernel, int | None, Nest]:
        """A kernel with its number of blocks and its nest, those of an equal nest if there was one.

        Equal layers have equal kernels, as these know their buffers by local slots only; `key` is all beside the nest
        on which the text depends.
        """
        found = (key, _signature(nest))
        if found not in self._made:
            self._made[found] = (*make(next(self._names)), nest)
        return self._made[found]

    def works(self) -> list[Work]:
        """What the groups do, in order."""
        return [work for group in self.plan.groups for work in self._of_group(group)]

    def _of_group(self, group: Group) -> list[Work]:
        root = self.plan.kept
        reads = list(dict.fromkeys(root[v] for v in group.reads))
        if group.kind == "call":
            if group.head.regions and (work := self._control(group, reads)) is not None:
                return [work]
            if group.head.op.name == "concat" or is_picked(group.head):
                return [self._own(group, reads)]
            if group.head.op.name == "random_words" and len(group.head.inputs) == len(reads) == 2:
                return [self._random(group)]
            return [Work(None, {}, reads, [root[v] for v in group.head.outs], group.head, group=group)]
        slots: dict[Var, int] = {}

        def slot_of(v: Var) -> int | None:
            return slots.setdefault(root[v], len(slots)) if v in root else None

        nest = Nest(group.shape, slot_of, self.plan.made_by, {e.out for e in group.members})
        writes = [root[v] for v in group.writes]
        if group.kind == "product":
            return [self._product(group, nest, slots, reads, writes)]
        for v in group.stores:
            nest.store(v, slot_of(v))  # type: ignore[arg-type]
        for e in group.reductions:
            nest.reduce(e, slot_of(e.out), e.inputs[0] not in root)  # type: ignore[arg-type]
        axes = group.axes if group.reductions else None
        kernel, blocks, nest = self._kernel(nest, axes, lambda name: nest_kernel(name, nest, axes))
        work = Work(kernel, slots, reads, writes, nest=nest, group=group)
        if blocks is None:
            return [work]
        return [work, *(w for e in group.reductions for w in self._combined(e, root[e.out], blocks, work))]

    def _control(self, group: Group, reads: list[Var]) -> Work | None:
        """A loop or a branch as one kernel."""
        root, e = self.plan.kept, group.head
        buffers = [root[v] for v in (*e.inputs, *e.outs)]  # type: ignore[index]
        slots: dict[Var, int] = {}
        for v in buffers:
            slots.setdefault(v, len(slots))
        places = [slots[v] for v in buffers]
        kernel = sequential_kernel(next(self._names), e, places)
        if kernel is None:
            names = self._names
            kernel = nested_kernel(next(names), e, places, lambda plan: Builder(plan, names).works())
        return None if kernel is None else Work(kernel, slots, reads, [root[v] for v in e.outs], group=group)

    def _own(self, group: Group, reads: list[Var]) -> Work:
        """An op with a kernel of its own."""
        root, e = self.plan.kept, group.head
        buffers = [root[v] for v in (*e.inputs, e.out)]  # type: ignore[index]
        slots = {v: k for k, v in enumerate(dict.fromkeys(buffers))}
        kernel = OWN_KERNELS[e.op.name](next(self._names), e, [slots[v] for v in buffers])
        return Work(kernel, slots, reads, [root[e.out]], group=group)

    def _random(self, group: Group) -> Work:
        e = group.head
        buffers = [self.plan.kept[v] for v in (*e.inputs, e.out)]  # type: ignore[index]
        operands = [Operand(slot, 0, ()) for slot in range(3)]
        kernel = philox_kernel(next(self._names), e.params["n"], *operands)
        return Work(kernel, {v: k for k, v in enumerate(buffers)}, buffers[:2], buffers[2:], group=group)

    def _combined(self, e: Eqn, out: Var, blocks: int, before: Work) -> list[Work]:
        """The results of blocks, left by `before` in the place of `out`, joined in their order."""
        size = math.prod(out.aval.shape)
        parts = Var(Aval((blocks, size), out.aval.dtype))
        before.slots = {parts if v is out else v: k for v, k in before.slots.items()}
        before.writes = [parts if v is out else v for v in before.writes]
        joined = Eqn(e.op, (parts,), {"axis": (0,), "keepdims": False}, Var(Aval((size,), out.aval.dtype)))
        nest = Nest(parts.aval.shape, {parts: 0, joined.out: 1}.get, {joined.out: joined})
        nest.reduce(joined, 1, False)
        kernel, again, _ = self._kernel(nest, (0,), lambda name: nest_kernel(name, nest, (0,)))
        work = Work(kernel, {parts: 0, out: 1}, [parts], [out], joins=e.op.name)
        return [work] if again is None else [work, *self._combined(e, out, again, work)]

    def _product(self, group: Group, nest: Nest, slots: dict[Var, int], reads: list[Var], writes: list[Var]) -> Work:
        head, slot_of = group.head, nest.slot_of
        sizes, roots = sizes_of(head, group.computed, self.plan.kept, self.plan.made_by)
        operands: list[Operand] = []
        made: list[Nest | None] = []
        joined: tuple[int, ...] = ()
        for side, (a, x) in enumerate(zip(head.inputs, (sizes.a, sizes.b), strict=True)):
            assert isinstance(a, Var)
            if sizes.computed[side]:
                if side == 0:
                    joined = joined_rows(a, self.plan.kept, self.plan.made_by) or ()
                x_of = self.plan.made_by[a].inputs[0] if side == 0 and joined else a
                made.append(self._computed(x_of, side == 0 and sizes.merged().turned, slot_of))  # type: ignore[arg-type]
                operands.append(x)
                continue
            made.append(None)
            operands.append(replace(x, slot=slot_of(roots[side])))  # type: ignore[arg-type]
        nest.given(head.out)
        for v in group.stores:
            nest.store(v, slot_of(v))  # type: ignore[arg-type]
        sizes = replace(sizes, a=operands[0], b=operands[1])
        before = tuple(x for x in made if x is not None)

        def make(name: str) -> tuple[Kernel, None]:
            a, b = (None if x is None else Computed(x, rows) for x, rows in zip(made, (joined, ()), strict=True))
            return product(name, sizes, Finish(nest), computed=(a, b)), None

        kernel, _, nest = self._kernel(nest, (sizes, joined, *map(_signature, before)), make)
        loaded = {what.slot for x in before for what, _, _ in x.nodes if isinstance(what, Load)}
        loaded |= {x.slot for x, there in zip(operands, sizes.computed, strict=True) if not there}
        found = tuple(v for v, slot in slots.items() if slot in loaded)
        return Work(kernel, slots, reads, writes, nest=nest, operands=found, before=before, group=group)

    def _computed(self, a: Var, turned: bool, slot_of: Callable[[Var], int | None]) -> Nest:
        """What has to be done for an operand that is not in memory; its last axis is the one along which it is laid out."""
        shape, at = a.aval.shape, identity(a.aval.ndim)
        if turned:
            shape = (*shape[:-2], shape[-1], shape[-2])
            at = (*at[:-2], at[-1], at[-2])
        nest = Nest(shape, slot_of, self.plan.made_by)
        node = nest.value(a, at, (), a.aval.dtype)
        nest.stores.append(Store(node, -1, 0, (0,) * len(shape)))
        return nest


def _signature(nest: Nest) -> Any:
    """What two nests have in common of which the same text would be made."""
    nodes = tuple(
        (repr(what) if isinstance(what, Literal) else what, dtype, guards) for what, dtype, guards in nest.nodes
    )
    stores = tuple((s.node, s.slot, s.offset, s.strides) for s in nest.stores)
    reductions = tuple((r.node, r.how, r.slot, r.factors) for r in nest.reductions)
    return nest.shape, nodes, stores, reductions
