"""What a kernel is to the program that runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """A native function `name(ptr table, ptr scratch, i64 low, i64 high)` that does the units `low` up to `high`.

    `table` holds the address of every buffer of the program, by slot. Units are independent of each other, so any
    division of `range(units)` gives the same bits; `grain` of them make a chunk that is worth a thread's attention.
    Each thread gives `scratch_bytes` of its own, aligned to 64.
    """

    name: str
    text: str
    units: int
    grain: int = 1
    scratch_bytes: int = 0
