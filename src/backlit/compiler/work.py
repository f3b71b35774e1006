"""What a program does in one go: a kernel with its buffers, or the forward of an op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backlit.compiler.ir import Eqn, Var
from backlit.compiler.llvm.kernel import Kernel
from backlit.compiler.llvm.nest import Load, Nest
from backlit.compiler.schedule import Group


@dataclass(eq=False)
class Work:
    """One kernel with its buffers by local slot, or one equation that its op's forward computes.

    The kernel of a chain calls those of its `parts`, and has their buffers one after the other.
    """

    kernel: Kernel | None
    slots: dict[Var, int]
    reads: list[Var]
    writes: list[Var]
    eqn: Eqn | None = None
    nest: Nest | None = None
    operands: tuple[Var, ...] = ()  # of a product, and what those are computed from that are not in memory
    before: tuple[Nest, ...] = ()  # operands of a product that it computes itself
    parts: Sequence[Work] = ()
    group: Group | None = None  # of the schedule; None where results of blocks are joined, and of a chain
    joins: str = ""  # by which op

    def table(self) -> list[Var]:
        """The buffers whose addresses the kernel is given, in order."""
        if self.parts:
            return [v for part in self.parts for v in part.table()]
        return sorted(self.slots, key=self.slots.__getitem__)

    def reads_in_step(self, x: Var, out: Var) -> bool:
        """Whether `x` is read only at the element of `out` that is being written, so that both may be one buffer."""
        if self.nest is None or x in self.operands or out not in self.slots:
            return False
        stores = [s for s in self.nest.stores if s.slot == self.slots[out]]
        loads = [
            what for what, _, _ in self.nest.nodes if isinstance(what, Load) and what.slot == self.slots.get(x, -1)
        ]
        return len(stores) == 1 and all(
            (a.offset, a.strides, a.index) == (stores[0].offset, stores[0].strides, -1) for a in loads
        )
