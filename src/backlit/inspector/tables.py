"""A recording as tables of numbers and text: what goes into a file, and what the page draws."""

from __future__ import annotations

import linecache
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.source import Source
from backlit.core.version import __version__
from backlit.diagnose.bands import Bands
from backlit.diagnose.checkpoints import Chosen
from backlit.diagnose.recording import CONTRIBUTION, Contribution, Node, Recording, Scope
from backlit.diagnose.statistics import HISTOGRAM_EDGES, Statistics, measure, plain
from backlit.inspector.asked import Asked
from backlit.inspector.columns import Columns
from backlit.inspector.derived import derived, peak_event
from backlit.inspector.diagnosed import Followed, flows, formulas, keeps_values, lamps, origins, targets_of
from backlit.inspector.explored import explored, ways
from backlit.inspector.pictures import Limits, Pictures
from backlit.inspector.plans import compared
from backlit.inspector.trees import DEPTH, trees
from backlit.inspector.updated import updated

VALUE, DELTA, CONTRIBUTED = range(3)
KINDS = {"parameter": 0, "input": 1, "constant": 2, "op": 3}
SCOPES = {"root": 0, "module": 1, "function": 2, "step": 3}
_SMALL = 4096  # larger arrays have no histogram where it must be quick
_AROUND = 3  # lines of the source that are shown before and after the one
STATISTICS = ("n", "min", "max", "mean", "rms", "absmax", "zeros", "nans", "infs", "subnormals")


class Written:
    """The tables of a recording and `info`, but for the contents of arrays, of which any amount may be added.

    `follow` names what else the page follows back to the loss, and `checkpoints` what else is compared, as `save` says;
    `asked` is what a page that is connected asks for besides: an element that is taken apart and nudged, checkpoints, which are
    compared there only when they are asked for, rows of trees of contributions; `tree_depth` is how deep these are in a file. `known` takes up what was found out of the recording and gives it again. `bands` are the limits of health that the page begins with. Without `complete` those are left out that
    take long to find out: balance, flow, provenance, paths, cells, nudges, checkpoints.
    """

    def __init__(
        self, recording: Recording, sources: bool, complete: bool = True, follow: Sequence[Followed] = (),
        asked: Asked | None = None, bands: Bands | None = None, checkpoints: Sequence[Chosen] = (),
        tree_depth: int | None = None, known: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._pictures, bands = Pictures(), bands or Bands()
        self._tables = _Writer(
            recording, self._pictures, sources, complete, follow, asked, bands, checkpoints, tree_depth, known
        ).tables()
        self._info = {**_info(recording), "bands": bands.limits(), "tree_depth": tree_depth or DEPTH}

    def tables(self, limits: Limits) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """The tables, with contents within the limits."""
        return {**self._tables, **self._pictures.tables(limits)}, {**self._info, "thumbnail_side": limits.side}


def tables_of(recording: Recording, limits: Limits, sources: bool) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The tables of a recording, and `info`. Without `sources` no line of the user's program is in them."""
    return Written(recording, sources).tables(limits)


def _info(recording: Recording) -> dict[str, Any]:
    return {
        "backlit": __version__,
        "note": recording.note,
        "steps": len(recording.steps),
        "peak_bytes": recording.peak_bytes,
        "peak_event": peak_event(recording),
        "recomputed_values": sum(found.count for found in recording.recomputed),
        "recomputed_bytes": sum(found.n_bytes for found in recording.recomputed),
        "recomputed_flops": sum(found.flops for found in recording.recomputed),
        "recomputed_ns": sum(found.ns for found in recording.recomputed),
        "hist_edges": list(HISTOGRAM_EDGES),
    }


class _Writer:
    def __init__(
        self, recording: Recording, pictures: Pictures, sources: bool, complete: bool, follow: Sequence[Followed],
        asked: Asked | None, bands: Bands, checkpoints: Sequence[Chosen],
        tree_depth: int | None, known: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        self.recording, self.pictures, self.with_sources, self.complete = recording, pictures, sources, complete
        self.follow, self.asked, self.bands, self.checkpoints = follow, asked, bands, checkpoints
        self.tree_depth, self.known = tree_depth, {} if known is None else known
        self.stat = Columns(
            node="i4", which="u1", edge="i4", **dict.fromkeys(STATISTICS, "f8"), norm="f4", hist_start="i4", array="i4"
        )
        self.hist: list[Any] = []
        self.measured: dict[int, tuple[Statistics, int]] = {}  # by address of an array that the recording keeps alive
        self.ops: dict[Any, int] = {}
        self.source_rows: dict[Any, int] = {}
        self.source = Columns(file="", line="i4", function="", snippet_start="i4", snippet="")
        self.dims: list[int] = []
        self.edge_of: dict[tuple[int, int], int] = {}

    def tables(self) -> dict[str, dict[str, Any]]:
        module, place = self.modules()
        node, number = self.nodes(place)
        edge = self.edges()
        written, node["formula"] = formulas(self.recording)
        if self.complete and keeps_values(self.recording):
            written |= self.found(place, node["module"], module["parent"])
            written |= explored(self.recording, self.asked.element if self.asked else None)
            written |= self.trees() | self.plans()
        elif self.complete:
            written |= flows(self.recording, place, self.bands)
        tables = {
            "op": {"name": [op.name for op in self.ops], "notation": [op.notation for op in self.ops]},
            "module": module,
            "node": node,
            "dims": {"n": np.array(self.dims, "f8")},
            "edge": edge,
            "number": number,
            "event": self.events(),
            "stat": self.stat.columns(),
            "hist": {"count": np.concatenate(self.hist) if self.hist else np.zeros(0, "u4")},
            **self.saved(),
            "recompute": self.recomputed(),
            "source": self.source.columns(),
            "step": self.steps(),
            **updated(self.recording, self.pictures, self.complete),
            "series": self.series(),
            "example": self.examples(),
            **derived(self.recording, self.edge_of, self.ops, self.pictures),
            **written,
        }
        return tables

    def found(self, place: dict[Scope, int], module: Sequence[int], parent: Sequence[int]) -> dict[str, dict[str, Any]]:
        """What takes long and is the same whatever is asked: known already, or found out."""
        if not self.known:
            self.known.update(lamps(self.recording) | flows(self.recording, place, self.bands))
            self.known.update(origins(self.recording, self.edge_of, module, parent, self.follow))
            self.known.update(ways(self.recording, targets_of(self.recording)))
        return self.known

    def trees(self) -> dict[str, dict[str, Any]]:
        """Trees of contributions, of what is followed by name as well."""
        names = [f if isinstance(f, str) else f[0] for f in self.follow]
        last = len(self.recording.steps) - 1
        followed = [n for n in self.recording.nodes if n.name in names and n.step == last and n.cotangent is not None]
        opened = self.asked.opened if self.asked else ()
        return trees(self.recording, self.edge_of, targets_of(self.recording), self.tree_depth, followed, opened)

    def plans(self) -> dict[str, dict[str, Any]]:
        """What other checkpoints would cost; in a page that is connected, once it is asked for."""
        if self.asked is None:
            return compared(self.recording, self.checkpoints)
        if self.asked.checkpoints is None:
            return {}
        try:
            return compared(self.recording, self.asked.chosen(self.recording), everything=True)
        except ArgumentError:  # of a step that cannot be run again, which the tables tell
            return compared(self.recording)

    def modules(self) -> tuple[dict[str, Any], dict[Scope, int]]:
        """The calls in which something was recorded, and the row of each."""
        used: set[Scope] = set()
        for node in self.recording.nodes:
            for scope in node.call.ancestors():
                if scope in used:
                    break
                used.add(scope)
        table = Columns(path="", name="", **{"class": ""}, parent="i4", kind="u1", step="i4")
        place: dict[Scope, int] = {}
        for scope in self.recording.modules:
            if scope in used or scope.parent is None:
                parent = -1 if scope.parent is None else place[scope.parent]
                place[scope] = table.add(
                    scope.path, scope.name, scope.class_name, parent, SCOPES[scope.kind], scope.step
                )
        return table.columns(), place

    def nodes(self, place: dict[Scope, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        table = Columns(
            name="", label="", kind="u1", op="i4", module="i4", step="i4", dtype="", dims_start="i4", ndim="u1",
            size="f8", bytes="f8", source="i4", forward_event="i4", vjp_event="i4", completed_event="i4",
            forward_ns="f8", backward_ns="f8", uses="i4", params="", args="",
        )  # fmt: skip
        number = Columns(node="i4", argnum="i4", text="")
        events = self.recording.events
        for node in self.recording.nodes:
            size = math.prod(node.shape)
            start = len(self.dims)
            self.dims.extend(node.shape)
            op = -1 if node.op is None else self.ops.setdefault(node.op, len(self.ops))
            forward = 0 if node.forward_event is None else events[node.forward_event].ns
            backward = 0 if node.vjp_event is None else events[node.vjp_event].ns
            args = ", ".join(a.name if isinstance(a, Node) else repr(a) for a in node.args)
            table.add(
                node.name, node.label, KINDS[node.kind], op, place[node.call], node.step, str(node.dtype or ""), start,
                len(node.shape), size, size * (node.dtype.itemsize if node.dtype is not None else 0), self.sourced(node),
                _or_none(node.forward_event), _or_none(node.vjp_event), _or_none(node.completed_event), forward,
                backward, node.uses, ", ".join(f"{k}={_short(v)}" for k, v in node.params.items()), args,
            )  # fmt: skip
            for argnum, a in enumerate(node.args):
                if not isinstance(a, Node):
                    number.add(node.index, argnum, repr(a))
            known = node.statistics or {}
            self.measure(node.index, VALUE, -1, node.value, known.get("value"))
            self.measure(node.index, DELTA, -1, node.cotangent, known.get("cotangent"))
        return table.columns(), number.columns()

    def edges(self) -> dict[str, Any]:
        table = Columns(
            **{"from": "i4"}, to="i4", argnum="i4", wanted="u1", event="i4", order="i4", norm="f8", share="f8",
            cosine="f8", array="i4",
        )  # fmt: skip
        given: dict[tuple[int, int], tuple[int, Contribution, Node]] = {
            (c.child.index, c.argnum): (order, c, node)
            for node in self.recording.nodes
            for order, c in enumerate(node.contributions)
        }
        for node in self.recording.nodes:
            for argnum, a in enumerate(node.args):
                if not isinstance(a, Node):
                    continue
                edge = self.edge_of[node.index, argnum] = len(table.rows)
                wanted = argnum < len(node.wanted) and node.wanted[argnum]
                found = given.get((node.index, argnum))
                event, order, norm, cosine, share, array = -1, -1, math.nan, math.nan, math.nan, -1
                if found is not None:
                    order, contribution, taker = found
                    event = contribution.event
                    norm, array = self.measure(
                        taker.index, CONTRIBUTED, edge, contribution.value, contribution.statistics
                    )
                    cosine, share = _part(contribution.value, taker.cotangent)
                table.add(a.index, node.index, argnum, wanted, event, order, norm, share, cosine, array)
        return table.columns()

    def measure(self, node: int, which: int, edge: int, array: Any, known: Statistics | None) -> tuple[float, int]:
        """Adds the statistics of an array; gives its norm and the row of its contents."""
        if array is None and known is None:
            return math.nan, -1
        found = self.measured.get(id(array)) if array is not None else None
        if found is None:
            statistics = known or measure(array, histogram=self.complete or np.size(array) <= _SMALL)
            start = -1
            if statistics.histogram is not None:
                start = len(self.hist) * len(statistics.histogram)
                self.hist.append(statistics.histogram)
            found = statistics, start
            if array is not None:
                self.measured[id(array)] = found
        statistics, start = found
        row = self.pictures.add(array)
        self.stat.add(
            node, which, edge, *(getattr(statistics, name) for name in STATISTICS), statistics.norm, start, row
        )
        return statistics.norm, row

    def events(self) -> dict[str, Any]:
        table = Columns(kind="u1", node="i4", edge="i4", bytes="f8", ns="f8")
        for position, event in enumerate(self.recording.events):
            edge = -1
            if event.kind is CONTRIBUTION and event.contribution is not None:
                contribution = event.contribution
                if contribution.event == position:
                    edge = self.edge_of.get((contribution.child.index, contribution.argnum), -1)
            table.add(int(event.kind), event.node.index, edge, event.bytes, event.ns)
        return table.columns()

    def saved(self) -> dict[str, dict[str, Any]]:
        saved = Columns(node="i4", from_event="i4", to_event="i4", bytes="f8", readers_start="i4", readers_count="i4")
        reader = Columns(node="i4", argnum="i4")
        for node in self.recording.nodes:
            kept = node.saved
            if kept is not None:
                start = len(reader.rows)
                for by, argnum in kept.readers:
                    reader.add(by.index, argnum)
                saved.add(node.index, kept.from_event, _or_none(kept.to_event), kept.bytes, start, len(kept.readers))
        return {"saved": saved.columns(), "reader": reader.columns()}

    def recomputed(self) -> dict[str, Any]:
        table = Columns(
            node="i4",
            from_event="i4",
            to_event="i4",
            count="f8",
            bytes="f8",
            kept="f8",
            ns="f8",
            flops="f8",
            uncounted="f8",
        )
        for found in self.recording.recomputed:
            table.add(
                found.node.index, found.from_event, _or_none(found.to_event), found.count, found.n_bytes, found.kept,
                found.ns, found.flops, found.uncounted,
            )  # fmt: skip
        return table.columns()

    def sourced(self, node: Node) -> int:
        """The row of the user's line that made a node."""
        if node.where is None:
            return -1
        row = self.source_rows.get(node.where)
        if row is None:
            source = Source(*node.where)
            first, text = -1, None
            if self.with_sources:
                first = max(1, source.line - _AROUND)
                lines = [linecache.getline(source.file, k) for k in range(first, source.line + _AROUND + 1)]
                text = "".join(lines).rstrip() or None
            name = _file_name(source.file)
            row = self.source_rows[node.where] = self.source.add(
                name, source.line, source.code.co_qualname, first, text
            )
        return row

    def steps(self) -> dict[str, Any]:
        table = Columns(
            index="i4", number="i4", loss="f8", root="i4", event_from="i4", event_to="i4", node_from="i4", node_to="i4"
        )
        for step in self.recording.steps:
            table.add(
                step.index, step.number, math.nan if step.loss is None else step.loss,
                -1 if step.root is None else step.root.index, step.start_event, step.stop_event, step.start_node,
                step.stop_node,
            )  # fmt: skip
        return table.columns()

    def examples(self) -> dict[str, Any]:
        table = Columns(truth="", predicted="", probability="f8", array="i4")
        for e in self.recording.examples:
            table.add(e.truth, e.predicted, e.probability, self.pictures.add(e.array))
        return table.columns()

    def series(self) -> dict[str, Any]:
        table = Columns(name="", step="i4", value="f8")
        for name, points in self.recording.series.items():
            for step, value in points:
                table.add(name, step, value)
        return table.columns()


def _or_none(event: int | None) -> int:
    return -1 if event is None else event


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _part(part: Any, whole: Any) -> tuple[float, float]:
    """Cosine of the angle between a contribution and the total, and its signed share <part, whole> / <whole, whole>.

    The shares of a sum add to 1. NaN where one of them is zero or not finite.
    """
    if part is None or whole is None:
        return math.nan, math.nan
    if part is whole:
        return 1.0, 1.0
    x, y = (plain(a).astype(np.float64).reshape(-1) for a in (part, whole))
    with np.errstate(all="ignore"):
        inner, square = float(np.dot(x, y)), float(np.dot(y, y))
        length = math.sqrt(float(np.dot(x, x))) * math.sqrt(square)
        if not 0.0 < length < math.inf:
            return math.nan, math.nan
        return inner / length, inner / square


def _file_name(path: str) -> str:
    """The path from the folder of the process where the file is below it, else the file's own name."""
    here = os.getcwd() + os.sep
    return path[len(here) :] if path.startswith(here) else os.path.basename(path)
