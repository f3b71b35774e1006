"""report: what a compiled program consists of, what it needs, and how long it took to make."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from backlit.compiler.costs import cost, eqns_of, kind_of, nbytes, total, why_callback
from backlit.compiler.ir import Var
from backlit.core.source import Source

if TYPE_CHECKING:
    from backlit.compiler.step import Step

PHASES = ("trace", "passes", "schedule", "kernels", "memory", "machine code")


@dataclass(frozen=True)
class KernelReport:
    """One kernel of a program, or one op that runs by its eager forward (`why` says why).

    `ops` are fused into it, in order; `lines` are the places of the user's program from which they come, "file:line".
    `units` is how many independent parts it has, `chunks` in how many pieces threads share them. `flops` counts as
    `costs.Cost` says; it is None where it depends on the values.
    """

    name: str
    kind: str
    ops: tuple[str, ...]
    shape: tuple[int, ...]
    lines: tuple[str, ...]
    flops: int | None
    read_bytes: int
    written_bytes: int
    units: int
    chunks: int
    why: str = ""


@dataclass(frozen=True)
class Report:
    """What `compiled.report()` gives; `str(report)` is a page of text.

    All sizes are known before the first step. `arena_bytes` holds what lies between kernels, and no plan of memory could
    be smaller than `arena_bound_bytes`; `scratch_bytes` is the room in which threads pack operands. `state_bytes` are
    the tensors that the function reaches, of which `written_over_bytes` are updated where they lie. `peak_bytes` is
    all of these with arguments and results. `seconds` says how long each phase took; `code` whether the machine code was
    "compiled", "compiled and stored", or "loaded" from the cache on disk.
    """

    name: str
    kernels: tuple[KernelReport, ...]
    threads: int
    argument_bytes: int
    state_bytes: int
    written_over_bytes: int
    result_bytes: int
    arena_bytes: int
    arena_bound_bytes: int
    scratch_bytes: int
    seconds: dict[str, float]
    code: str
    code_bytes: int

    @property
    def callbacks(self) -> tuple[KernelReport, ...]:
        """The ops that run by their eager forward."""
        return tuple(k for k in self.kernels if k.why)

    @property
    def flops(self) -> int:
        """Of one step, as far as they are known beforehand."""
        return sum(k.flops or 0 for k in self.kernels)

    @property
    def read_bytes(self) -> int:
        """By all kernels of one step."""
        return sum(k.read_bytes for k in self.kernels)

    @property
    def written_bytes(self) -> int:
        """By all kernels of one step."""
        return sum(k.written_bytes for k in self.kernels)

    @property
    def peak_bytes(self) -> int:
        """All memory that a step needs: arguments, state, results, arena and scratch."""
        parts = (self.argument_bytes, self.state_bytes, self.result_bytes, self.arena_bytes, self.scratch_bytes)
        return sum(parts)

    @property
    def cache_hit(self) -> bool:
        """Whether the machine code came from the cache on disk."""
        return self.code == "loaded"

    def __str__(self) -> str:
        native = len(self.kernels) - len(self.callbacks)
        counts = (_count(native, "kernel"), _count(len(self.callbacks), "callback"), _count(self.threads, "thread"))
        moved = f"{amount(self.read_bytes, 'B')} read, {amount(self.written_bytes, 'B')} written a step"
        parts = {
            "arguments": amount(self.argument_bytes, "B"),
            "state": f"{amount(self.state_bytes, 'B')} ({amount(self.written_over_bytes, 'B')} written where it lies)",
            "results": amount(self.result_bytes, "B"),
            "arena": f"{amount(self.arena_bytes, 'B')} (lower bound {amount(self.arena_bound_bytes, 'B')})",
            "scratch": amount(self.scratch_bytes, "B"),
        }
        phases = ", ".join(f"{phase} {self.seconds.get(phase, 0.0):.3f}" for phase in PHASES)
        lines = [f"{self.name}: {', '.join(counts)}; {amount(self.flops, 'FLOP')}, {moved}", ""]
        lines += table(("kernel", "ops", "shape", "FLOP", "read", "written", "chunks", "from"), self._rows(), (0, 1, 7))
        lines.append("")
        lines += [f"{k.ops[0]} runs by its eager forward: {k.why}" for k in self.callbacks]
        lines.append(
            f"memory: {amount(self.peak_bytes, 'B')} at most: " + ", ".join(f"{k} {v}" for k, v in parts.items())
        )
        made_s = sum(self.seconds.values())
        lines.append(f"made in {made_s:.3f} s: {phases} ({self.code}, {amount(self.code_bytes, 'B')})")
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                k.name,
                ops_in_words(k.ops),
                "x".join(map(str, k.shape)) or "1",
                "?" if k.flops is None else amount(k.flops, ""),
                amount(k.read_bytes, "B"),
                amount(k.written_bytes, "B"),
                "" if k.why else str(k.chunks),
                lines_in_words(k.lines),
            )
            for k in self.kernels
        ]


def report_of(name: str, step: Step) -> Report:
    """The report of one program of a compiled function."""
    program = step.native
    inputs = program.lowered.inputs
    kinds = [source.kind for source in step.sources]
    results = [v for k, v in program.buffer_of.items() if k not in program.over]
    return Report(
        name,
        kernels_of(step),
        program.n_threads,
        total(v for v, kind in zip(inputs, kinds, strict=True) if kind == "argument"),
        total(v for v, kind in zip(inputs, kinds, strict=True) if kind != "argument"),
        total(inputs[j] for j in program.over.values()),
        total(results),
        program.arena_bytes,
        program.arena_bound_bytes,
        program.room_bytes,
        {**step.seconds, **program.seconds},
        program.code.origin,
        program.code.object_bytes,
    )


def kernels_of(step: Step) -> tuple[KernelReport, ...]:
    """The kernels of a program in the order in which they run."""
    program, found = step.native, []
    chunks = iter(program.chunks)
    for number, work in enumerate(program.works):
        its = cost(work)
        whole = work.parts[0] if work.parts else work
        shape = whole.nest.shape if whole.nest is not None else whole.writes[0].aval.shape
        kernel = work.kernel
        found.append(
            KernelReport(
                f"{number} {kind_of(work)}",
                "callback" if kernel is None else kernel.name,
                its.ops,
                shape,
                _lines((v for e in eqns_of(work) for v in e.outs), step.lines),
                its.flops,
                its.read_bytes,
                its.written_bytes,
                0 if kernel is None else kernel.units,
                0 if kernel is None else next(chunks),
                "" if work.eqn is None else why_callback(work.eqn),
            )
        )
    return tuple(found)


def _lines(vs: Iterable[Var], known: dict[Var, Source]) -> tuple[str, ...]:
    found = dict.fromkeys(known[v] for v in vs if v in known)
    return tuple(dict.fromkeys(map(str, sorted(found, key=lambda s: (s.file, s.line)))))


def ops_in_words(ops: Sequence[str], longest: int = 48) -> str:
    """'matmul, add, mul x3': neighbours of one name together, the end left out where it would be long."""
    runs = [(name, len(list(its))) for name, its in groupby(ops)]
    words = [name if n == 1 else f"{name} x{n}" for name, n in runs]
    text = ", ".join(words)
    if len(text) <= longest:
        return text
    kept = 0
    while len(", ".join(words[: kept + 1])) <= longest - 12:
        kept += 1
    rest = sum(n for _, n in runs[kept:])
    return f"{', '.join(words[:kept])}, ... {rest} more"


def lines_in_words(lines: Sequence[str]) -> str:
    """'train.py:12,14': the lines of each file, which is named without its folder."""
    files: dict[str, list[str]] = {}
    for line in lines:
        path, _, number = line.rpartition(":")
        files.setdefault(os.path.basename(path), []).append(number)
    return " ".join(f"{name}:{','.join(numbers)}" for name, numbers in files.items())


def amount(n: float, unit: str) -> str:
    """A number with three digits and a prefix of thousands: '1.25 kB'."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(n) < 999.5 or prefix == "T":
            digits = 0 if prefix == "" and n == int(n) else 2 if abs(n) < 9.995 else 1 if abs(n) < 99.95 else 0
            return f"{n:.{digits}f} {prefix}{unit}".rstrip()
        n /= 1000
    raise AssertionError


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Lines of columns; those not `left` are set to the right."""
    widths = [max(len(row[c]) for row in (headings, *rows)) for c in range(len(headings))]
    return [
        "  ".join(
            x.ljust(w) if c in left else x.rjust(w) for c, (x, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (headings, *rows)
    ]


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


__all__ = ["KernelReport", "Report", "amount", "kernels_of", "nbytes", "report_of", "table"]
