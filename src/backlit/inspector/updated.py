"""Tables of what optimizers did: parameters, gradients, changes, state and settings; the change of the loss, foretold and actual."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core.errors import BacklitError
from backlit.diagnose.effects import effect
from backlit.diagnose.flops import flops
from backlit.diagnose.recording import Recording, Step, Update
from backlit.diagnose.statistics import measure
from backlit.inspector.columns import Columns
from backlit.inspector.pictures import Pictures

WORK = 2e10  # floating-point operations of all runs together that a file is worth, and applications of ops
APPLICATIONS = 40_000
_LARGE = "the step is large, so that the loss was not computed again while the file was written"

Tables = dict[str, dict[str, Any]]


def updated(recording: Recording, pictures: Pictures, complete: bool = True) -> Tables:
    """The tables `update`, `effect`, `optstate` and `optsetting`.

    The loss is computed again after the updates while the work stays within bounds, of the last step first: of all updates
    together, then of each alone. Without `complete` it is not.
    """
    table = Columns(
        node="i4", event="i4", step="i4", value_norm="f8", grad_norm="f8", change_norm="f8", ratio="f8", predicted="f8",
        actual="f8", weight="i4", grad="i4", change="i4",
    )  # fmt: skip
    state = Columns(update="i4", name="", value="f8", norm="f8", array="i4")
    setting = Columns(update="i4", name="", value="f8")
    whole = Columns(step="i4", before="f8", after="f8", actual="f8", predicted="f8", note="")
    alone: dict[Update, float] = {}
    for step, found, note in _effects(recording) if complete else ():
        if found is None:
            whole.add(step.index, *[math.nan] * 4, note)
        else:
            whole.add(step.index, found.before, found.after, found.actual, found.predicted, note or None)
            alone.update(found.each)
    for step in recording.steps:
        for u in step.updates:
            moved = u.measured()
            ratio = moved.change / moved.value if moved.value else math.nan
            arrays = [-1, -1, -1]
            if u.before is not None:
                arrays = [pictures.add(x) for x in (u.before, u.gradient, np.subtract(u.after, u.before))]
            row = table.add(
                u.node.index, u.event, step.index, moved.value, moved.gradient, moved.change, ratio, moved.predicted,
                alone.get(u, math.nan), *arrays,
            )  # fmt: skip
            for name, value in u.settings.items():
                setting.add(row, name, value)
            for name, array in u.state.items():
                if array.ndim == 0:
                    state.add(row, name, float(array), math.nan, -1)
                else:
                    state.add(row, name, math.nan, measure(array, histogram=False).norm, pictures.add(array))
    return {
        "update": table.columns(), "effect": whole.columns(), "optstate": state.columns(), "optsetting": setting.columns(),
    }  # fmt: skip


def _effects(recording: Recording) -> list[tuple[Step, Any, str]]:
    """For each step with updates what they did to the loss, or why that is not known."""
    found: dict[Step, tuple[Any, str]] = {}
    work, applications = WORK, float(APPLICATIONS)
    for each in (False, True):
        for step in reversed(recording.steps):
            if not step.updates or (each and found[step][0] is None):
                continue
            ops = [n for n in recording.nodes[step.start_node : step.stop_node] if n.kind == "op"]
            runs = len(step.updates) + 2 if each else 2
            once = sum(flops(n.op, n.args, n, n.params) or 0 for n in ops)
            if runs * once > work or runs * len(ops) > applications:
                found.setdefault(step, (None, _LARGE))
                continue
            work, applications = work - runs * once, applications - runs * len(ops)
            try:
                found[step] = effect(recording, step.index, each), ""
            except BacklitError as error:
                found[step] = None, str(error).partition(": ")[2] or str(error)
    return [(step, *found[step]) for step in recording.steps if step in found]
