"""Kernels over a shared outer axis run one after the other on a stretch of it, so that what they share stays in cache.

A kernel may be part of a chain where each unit of it touches its own share of every buffer that another one writes. Then
the bits do not depend on how long a stretch is, and a chain is a kernel like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from backlit.compiler.ir import Var
from backlit.compiler.llvm.kernel import PARAMETERS, Kernel
from backlit.compiler.llvm.writer import Writer
from backlit.compiler.schedule import topological
from backlit.compiler.work import Work

SHARED_BYTES = 1 << 18  # what is passed on or read twice is worth a chain if it does not fit the inner caches
STRETCH_BYTES = 1 << 17  # of all buffers that a chain touches


def chained(works: list[Work], before: Sequence[set[int]], same: dict[Var, Var]) -> list[Work]:
    """The works with chains in the place of what is in them, in an order that respects `before`.

    `before[k]` holds the numbers of works that come before number `k`, all of them smaller. `same` maps a buffer to the
    one in whose memory it lies. Takes time proportional to the works of equal units squared.
    """
    candidates: dict[int, list[int]] = {}
    for k, w in enumerate(works):
        if w.kernel is not None and w.kernel.step and w.kernel.units > 1:
            candidates.setdefault(w.kernel.units, []).append(k)
    chains: dict[int, list[int]] = {}
    for units, numbers in candidates.items():
        largest = max(_bytes(v) for k in numbers for v in works[k].slots)
        if len(numbers) > 1 and largest >= SHARED_BYTES:
            for members in _chains(works, numbers, before, same, units):
                chains[members[-1]] = members
    chains = _without_cycles(len(works), before, chains)
    inside = {k for members in chains.values() for k in members}
    works = [w if k in inside else _alone(w) for k, w in enumerate(works)]
    return _ordered(works, before, chains) if chains else works


def _alone(w: Work) -> Work:
    """The work with the kernel that it has where it is in no chain."""
    return w if w.kernel is None or w.kernel.alone is None else replace(w, kernel=w.kernel.alone)


def _without_cycles(n_works: int, before: Sequence[set[int]], chains: dict[int, list[int]]) -> dict[int, list[int]]:
    """The chains but for the last of those that wait for each other: each alone can run in one go, not all together."""
    chains = dict(chains)
    while chains:
        group = list(range(n_works))  # a chain stands where its last member is
        for last, members in chains.items():
            for k in members:
                group[k] = last
        needed: list[set[int]] = [set() for _ in group]
        for k, its in enumerate(before):
            needed[group[k]] |= {group[b] for b in its} - {group[k]}
        stuck = chains.keys() - set(topological(needed))
        if not stuck:
            break
        del chains[max(stuck)]
    return chains


def _chains(
    works: list[Work], numbers: list[int], before: Sequence[set[int]], same: dict[Var, Var], units: int
) -> list[list[int]]:
    """Groups of at least two of `numbers`, each closed under dependencies that go out of it and back."""
    found: list[list[int]] = []
    left = list(numbers)
    while left:
        members, left = [left[0]], left[1:]
        after = set(members)  # what depends on a member, itself included
        outside: set[int] = set()  # of these, what is not in the chain
        for k in range(members[0] + 1, left[-1] + 1 if left else 0):
            if not before[k] & after:
                if k in left and _fits(works, members, k, same) and _shares(works, members, k):
                    members.append(k)
                    after.add(k)
                continue
            if k in left and not before[k] & outside and _fits(works, members, k, same) and _shares(works, members, k):
                members.append(k)
            else:
                outside.add(k)
            after.add(k)
        left = [k for k in left if k not in members]
        if any(_bytes(v) >= SHARED_BYTES for v in _shared(works, members)):
            found.append(members)
    return found


def _fits(works: list[Work], members: list[int], k: int, same: dict[Var, Var]) -> bool:
    """Whether each unit of work `k` and of the members touches its own share of what one of them writes."""
    w = works[k]
    for m in members:
        other = works[m]
        written = {same.get(v, v) for v in (*w.writes, *other.writes)}
        for a, b in ((w, other), (other, w)):
            its = {same.get(v, v) for v in b.slots}
            for v, slot in a.slots.items():
                place = same.get(v, v)
                if place in written and place in its and slot not in a.kernel.aligned:  # type: ignore[union-attr]
                    return False
    return True


def _along(w: Work) -> set[Var]:
    """The buffers that a work touches stretch by stretch."""
    assert w.kernel is not None
    return {v for v, slot in w.slots.items() if slot in w.kernel.aligned}


def _shares(works: list[Work], members: list[int], k: int) -> bool:
    """Whether work `k` touches a buffer that a member touches, both stretch by stretch."""
    mine = _along(works[k])
    return any(mine & _along(works[m]) for m in members)


def _shared(works: list[Work], members: list[int]) -> set[Var]:
    """What at least two members touch stretch by stretch."""
    seen: set[Var] = set()
    shared: set[Var] = set()
    for m in members:
        shared |= seen & _along(works[m])
        seen |= _along(works[m])
    return shared


def _ordered(works: list[Work], before: Sequence[set[int]], chains: dict[int, list[int]]) -> list[Work]:
    """Each chain comes when all that its members need is done; other works as early as before."""
    chain_of = {k: last for last, members in chains.items() for k in members}
    made: list[Work] = []
    done: set[int] = set()

    def do(start: int) -> None:
        pending = [start]
        while pending:
            k = pending[-1]
            members = chains.get(chain_of.get(k, -1), [k])
            needed = sorted({b for m in members for b in before[m]} - done - set(members))
            if k in done:
                pending.pop()
            elif needed:
                pending += needed[::-1]
            else:
                made.append(works[k] if len(members) == 1 else _joined([works[m] for m in members]))
                done.update(members)
                pending.pop()

    for k in range(len(works)):
        do(k)
    return made


def _joined(parts: list[Work]) -> Work:
    kernels = [w.kernel for w in parts if w.kernel is not None]
    units = kernels[0].units
    step = math.lcm(*(k.step for k in kernels))
    touched = {v for w in parts for v in _along(w)}
    per_unit = max(1, sum(map(_bytes, touched)) // units)
    stretch = step * max(1, STRETCH_BYTES // (per_unit * step))
    names: list[str] = []
    helpers: dict[str, str] = {}
    for kernel in kernels:  # named after what they do, so that chains that do the same have the same text
        body = kernel.text.replace(f"@{kernel.name}(", "@(", 1)
        names.append("part_" + sha256(body.encode()).hexdigest()[:16])
        helpers |= {**kernel.helpers, names[-1]: body.replace("@(", f"@{names[-1]}(", 1)}
    # kernels of one text have one name, so chains that begin with the same are told apart by all that they do
    slots = [len(part.slots) for part in parts]
    name = "chain_" + sha256(repr((names, slots, stretch)).encode()).hexdigest()[:16]
    w = Writer(name, PARAMETERS)
    with w.loop("%low", "%high", stretch) as at:
        end = w.least(w.add(at.i, stretch), "%high")
        start = 0
        for part, called in zip(parts, names, strict=True):
            table = w.at("%table", "ptr", start)
            w.do(f"call void @{called}(ptr {table}, ptr %scratch, i64 {at.i}, i64 {end})")
            start += len(part.slots)
    grain = max(stretch, max(k.grain for k in kernels) // stretch * stretch)
    joined = Kernel(name, w.text(), units, grain, max(k.scratch_bytes for k in kernels), helpers)
    writes = [v for part in parts for v in part.writes]
    reads = [v for part in parts for v in part.reads if v not in writes]
    return Work(joined, {}, list(dict.fromkeys(reads)), writes, parts=parts)


def _bytes(v: Var) -> int:
    return math.prod(v.aval.shape) * v.aval.dtype.itemsize
