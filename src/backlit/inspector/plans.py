"""Tables of what other checkpoints would cost, for the page to draw side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from backlit.core.errors import ArgumentError
from backlit.diagnose.checkpoints import Chosen, Plan, checkpoint_parts, checkpoint_plans, sensible
from backlit.diagnose.flops import flops
from backlit.diagnose.recording import Recording
from backlit.inspector.columns import Columns

WORK = 2e10  # floating-point operations of all runs together that a file is worth, and applications of ops
APPLICATIONS = 60_000
POINTS = 160  # of a curve

Tables = dict[str, dict[str, Any]]


def compared(recording: Recording, chosen: Sequence[Chosen] = (), everything: bool = False) -> Tables:
    """The tables `plan`, `planpoint`, `plansegment`, `planpart`, and `plans` of one row with what is said of all.

    Of large steps only the groups near the square root of the number of parts are run, or none, unless `everything` or
    something is chosen; `note` then says so.

    Raises:
      ArgumentError: `chosen` is none of the recording's calls, or overlaps.
    """
    try:
        parts = checkpoint_parts(recording)
    except (ArgumentError, IndexError) as error:
        if chosen:
            raise
        return _tables(None, str(error).partition(": ")[2] or "there is no step")
    every, note = (None, "") if everything else _affordable(recording, len(parts))
    if every == [] and not chosen:
        return _tables(None, note)
    try:
        found = checkpoint_plans(recording, chosen, every=every)
    except ArgumentError as error:
        if chosen:
            raise
        return _tables(None, str(error).partition(": ")[2])
    return _tables(found, note)


def _affordable(recording: Recording, n_parts: int) -> tuple[list[int] | None, str]:
    """The groups that are tried, None for all of them."""
    ops = [n for n in recording.nodes if n.kind == "op" and n.step == recording.steps[-1].index]
    once = 3 * sum(flops(n.op, n.args, n, n.params) or 0 for n in ops)
    runs = min(WORK / max(once, 1), APPLICATIONS / max(len(ops), 1))
    tried = sensible(n_parts)
    if len(tried) + 1 <= runs:
        return None, ""
    if runs < 2:
        return [], "The step is large, so that no run of it with other checkpoints was made while the file was written."
    near = min(tried, key=lambda k: abs(k - math.sqrt(n_parts)))
    return [near], "The step is large: of the groups that could be tried only one was run while the file was written."


def _tables(found: Any, note: str) -> Tables:
    whole = Columns(forward_flops="f8", uncounted="f8", note="")
    plan = Columns(
        name="", peak="f8", kept="f8", flops="f8", uncounted="f8", values="f8", peak_share="f8", flops_share="f8", least="u1",
        seed="f8", point_start="i4", point_count="i4", segment_start="i4", segment_count="i4",
    )  # fmt: skip
    point, segment = Columns(at="f8", bytes="f8"), Columns(first="", last="")
    part = Columns(name="", bytes="f8")
    if found is None:
        whole.add(math.nan, math.nan, note)
    else:
        whole.add(found.forward_flops, found.uncounted, note or None)
        bare = found.plans[0]
        least = min(p.peak_bytes for p in found.plans)
        for p in found.plans:
            start, first = len(point.rows), len(segment.rows)
            for at, n_bytes in _thinned(p):
                point.add(at, n_bytes)
            for ends in p.segments:
                segment.add(*ends)
            plan.add(
                p.name, p.peak_bytes, p.kept_bytes, p.flops, p.uncounted, p.values, _ratio(p.peak_bytes, bare.peak_bytes),
                _ratio(p.flops, found.forward_flops), p.peak_bytes == least, p.seed / max(len(p.curve) - 1, 1), start,
                len(point.rows) - start, first, len(segment.rows) - first,
            )  # fmt: skip
        for one in found.parts:
            part.add(one.name, one.bytes)
    return {
        "plans": whole.columns(), "plan": plan.columns(), "planpoint": point.columns(), "plansegment": segment.columns(),
        "planpart": part.columns(),
    }  # fmt: skip


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _thinned(plan: Plan) -> list[tuple[float, int]]:
    """The bytes kept over the run from 0 to 1; of each of so many stretches the most."""
    n = len(plan.curve)
    found: list[tuple[float, int]] = []
    for k in range(min(n, POINTS)):
        begin, end = k * n // min(n, POINTS), (k + 1) * n // min(n, POINTS)
        at = max(range(begin, end), key=plan.curve.__getitem__)
        found.append((at / max(n - 1, 1), plan.curve[at]))
    return found
