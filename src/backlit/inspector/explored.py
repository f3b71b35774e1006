"""Tables of what is worked out ahead for a file, where nothing can be run any more: paths, trees of contributions, single
elements taken apart and nudged. Each has a bound on its work, so that a large recording is saved as quickly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from backlit.core.errors import BacklitError
from backlit.diagnose.cells import FORWARD, Cell, Operand, cell, sampled_cells
from backlit.diagnose.graded import graded, residual_sums
from backlit.diagnose.nudge import Nudge, nudge, sampled_nudges
from backlit.diagnose.paths import paths
from backlit.diagnose.recording import Node, Recording
from backlit.inspector.asked import Question
from backlit.inspector.columns import Columns

PATH_NODES = 200_000  # of all listed paths together; beyond, the heaviest are there
CELLS = 400
PATH_WORK, GRADED_WORK, NUDGE_WORK = 6e6, 5e7, 1e6  # elements that are read
_WHICH = {"value": 0, "delta": 1}

Tables = dict[str, dict[str, Any]]


def explored(recording: Recording, asked: Question | None = None) -> Tables:
    """Cells and nudges for elements of all nodes, and that which is asked for."""
    return {**_cells(recording, asked), **_nudges(recording, asked)}


def _size(recording: Recording) -> int:
    return sum(int(node.value.size) for node in recording.nodes if node.value is not None)


def ways(recording: Recording, targets: Sequence[Node]) -> Tables:
    """Paths and graded splits for the targets."""
    of = Columns(target="i4", count="", entropy="f8", exact="u1", heaviest_start="i4", heaviest_count="i4", listed="u1")
    path = Columns(paths="i4", start="i4", count="i4", weight="f8")
    along = Columns(node="i4")
    split = Columns(target="i4", branches="i4", share="f8")
    size = max(1, _size(recording))
    for target in targets[: max(1, int(PATH_WORK / size))]:
        found = paths(recording, target)
        start = len(along.rows)
        for node in found.heaviest.nodes:
            along.add(node.index)
        row = of.add(
            target.index, str(found.count), found.entropy, found.exact, start, len(found.heaviest.nodes),
            found.listed is not None,
        )  # fmt: skip
        for listed in found.listed or ():
            if len(along.rows) + len(listed.nodes) > PATH_NODES:
                break
            path.add(row, len(along.rows), len(listed.nodes), listed.weight)
            for node in listed.nodes:
                along.add(node.index)
    branches = len(residual_sums(recording)) + 1
    for target in targets[: int(GRADED_WORK / (size * branches))] if branches > 1 else ():
        try:
            parts = graded(recording, target)
        except BacklitError:
            continue
        if len(parts.shares) > 1:
            for k, share in enumerate(parts.shares):
                split.add(target.index, k, share)
    return {"paths": of.columns(), "path": path.columns(), "pathnode": along.columns(), "graded": split.columns()}


def _asked(recording: Recording, asked: Question | None) -> tuple[Node, int] | None:
    """The node of the last step that is asked about, where there is one, and the element."""
    if asked is None:
        return None
    last = len(recording.steps) - 1
    return next(((n, asked.element) for n in recording.nodes if n.name == asked.name and n.step == last), None)


def _cells_asked(recording: Recording, asked: Question | None) -> Iterator[Cell]:
    if (found := _asked(recording, asked)) is not None:
        node, element = found
        for maker, argnum in ((node, FORWARD), *((c.child, c.argnum) for c in node.contributions)):
            with suppress(BacklitError):  # what cannot be taken apart
                yield cell(recording, maker, element, argnum)


def _nudge_asked(recording: Recording, asked: Question | None) -> Iterator[Nudge]:
    if (found := _asked(recording, asked)) is not None:
        with suppress(BacklitError):
            yield nudge(recording, *found)


def _cells(recording: Recording, asked: Question | None) -> Tables:
    view = Columns(
        node="i4", argnum="i4", element="i4", total="f8", latex="", term_start="i4", term_count="i4"
    )  # fmt: skip
    term = Columns(
        text="", left="f8", left_node="i4", left_which="u1", left_element="i4", right="f8", right_node="i4",
        right_which="u1", right_element="i4", product="f8",
    )  # fmt: skip
    for found in chain(_cells_asked(recording, asked), sampled_cells(recording, CELLS)):
        view.add(
            found.node.index, found.argnum, found.element, found.total, found.latex or None, len(term.rows),
            len(found.terms),
        )  # fmt: skip
        for one in found.terms:
            term.add(one.text or None, *_operand(one.left), *_operand(one.right), one.product)
    return {"cellview": view.columns(), "cellterm": term.columns()}


def _operand(operand: Operand | None) -> tuple[float, int, int, int]:
    if operand is None:
        return float("nan"), -1, 0, -1
    return operand.number, -1 if operand.node is None else operand.node.index, _WHICH[operand.which], operand.element


def _nudges(recording: Recording, asked: Question | None) -> Tables:
    table = Columns(
        node="i4", element="i4", delta="f8", estimate="f8", step="f8", error="f8", point_start="i4", point_count="i4"
    )
    point = Columns(h="f8", estimate="f8", error="f8")
    for found in chain(_nudge_asked(recording, asked), sampled_nudges(recording, work=NUDGE_WORK)):
        table.add(
            found.node.index, found.element, found.delta, found.estimate, found.step, found.error, len(point.rows),
            len(found.points),
        )  # fmt: skip
        for one in found.points:
            point.add(one.step, one.estimate, one.error)
    return {"nudge": table.columns(), "nudgepoint": point.columns()}
