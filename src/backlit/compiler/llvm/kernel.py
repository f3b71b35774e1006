"""What a kernel is to the program that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backlit.compiler.llvm.writer import Index, Writer

PARAMETERS = "ptr %table, ptr %scratch, i64 %low, i64 %high"


@dataclass(frozen=True)
class Kernel:
    """A native function `name(ptr table, ptr scratch, i64 low, i64 high)` that does the units `low` up to `high`.

    `table` holds the address of every buffer of the program, by slot. Units are independent of each other, so any
    division of `range(units)` gives the same bits; `grain` of them make a chunk that is worth a thread's attention, and
    `together`, from a multiple of it on, share some work if one thread does them.
    Each thread gives `scratch_bytes` of its own, aligned to 64. `helpers` are internal functions that the text calls,
    by name: equal names have equal texts, so that kernels of one module share them.

    A loop over rows can be run a stretch of rows at a time beside others: `aligned` are the slots of buffers of which each
    unit touches its own share only, and stretches begin at multiples of `step`; 0 where that cannot be done. `alone` does the
    same faster where there is nothing to run beside.

    One that `shares` is given to one thread, and gives kernels that it calls to all threads of the program.
    """

    name: str
    text: str
    units: int
    grain: int = 1
    scratch_bytes: int = 0
    helpers: Mapping[str, str] = field(default_factory=dict)
    together: int = 1
    aligned: frozenset[int] = frozenset()
    step: int = 0
    shares: bool = False
    alone: Kernel | None = None

    @property
    def grains(self) -> int:
        """Into how many pieces worth a thread's attention it can be cut."""
        return -(-self.units // self.grain)


@dataclass(frozen=True)
class Operand:
    """An array in the buffer at `table[slot]`; `offset` and `strides` count elements."""

    slot: int
    offset: int
    strides: tuple[int, ...]

    def pointer(self, w: Writer, kind: str) -> str:
        """The address of its first element."""
        place = w.hoisted(f"getelementptr ptr, ptr %table, i64 {self.slot}")
        base = w.hoisted(f"load ptr, ptr {place}")
        return w.hoisted(f"getelementptr {kind}, ptr {base}, i64 {self.offset}") if self.offset else base


def unravel(w: Writer, number: Index, shape: tuple[int, ...]) -> list[Index]:
    """The indices of entry `number` of an array, the last of which runs fastest."""
    found: list[Index] = []
    for size in reversed(shape[1:]):
        found.insert(0, w.rem(number, size))
        number = w.div(number, size)
    return [number, *found] if shape else []
