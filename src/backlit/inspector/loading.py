"""A recording from the tables of a file: to look at, and to save again as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from backlit.core.errors import FileFormatError
from backlit.core.op import REGISTRY
from backlit.diagnose.recording import (
    SEED,
    Contribution,
    EventKind,
    Moved,
    Node,
    Place,
    Recomputed,
    Recording,
    Saved,
    Scope,
    Step,
    Update,
)
from backlit.diagnose.statistics import N_BINS, Statistics
from backlit.inspector.tables import KINDS, SCOPES, STATISTICS

_KIND_NAMES = {number: name for name, number in KINDS.items()}
_SCOPE_NAMES = {number: name for name, number in SCOPES.items()}


def recording_of(tables: Mapping[str, Mapping[str, Any]], info: Mapping[str, Any]) -> Recording:
    """The recording that `tables` describe.

    Nodes have the arrays whose exact contents are in the file, else None with statistics; static parameters of ops are
    not restored.

    Raises:
      FileFormatError: a table is missing, or refers to what is not there.
    """
    try:
        return _Reader(tables, info).recording()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileFormatError(f"load_recording: a table is missing or does not fit the others: {error!r}") from error


class _Reader:
    def __init__(self, tables: Mapping[str, Mapping[str, Any]], info: Mapping[str, Any]) -> None:
        self.tables, self.made = tables, Recording()
        self.made.note = str(info.get("note", ""))
        self.made.packed = {name: dict(columns) for name, columns in tables.items()}, dict(info)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of some columns, as Python numbers and text."""
        found = self.tables[table]
        lists = [found[c].tolist() if isinstance(found[c], np.ndarray) else found[c] for c in columns]
        return list(zip(*lists, strict=True))

    def recording(self) -> Recording:
        self.scopes()
        self.nodes()
        self.contributions()
        self.events()
        self.statistics()
        self.saved()
        self.recomputed()
        self.steps()
        return self.made

    def scopes(self) -> None:
        scopes = self.made.modules
        for k, (path, name, class_name, parent, kind, step) in enumerate(
            self.rows("module", "path", "name", "class", "parent", "kind", "step")
        ):
            if not -1 <= parent < k or (parent < 0) != (k == 0):
                raise ValueError(f"module {k} has parent {parent}")
            scopes.append(
                Scope(_SCOPE_NAMES[kind], name, class_name, scopes[parent] if k else None, step, path, k)  # type: ignore[arg-type]
            )

    def nodes(self) -> None:
        dims = self.tables["dims"]["n"].astype(np.int64).tolist()
        ops = self.tables["op"]["name"]
        places = [Place(file, line) for file, line in self.rows("source", "file", "line")]
        names = (
            "name", "kind", "op", "module", "step", "dtype", "dims_start", "ndim", "source", "forward_event", "vjp_event",
            "completed_event", "uses",
        )  # fmt: skip
        for k, row in enumerate(self.rows("node", *names)):
            name, kind, op, module, step, dtype, start, ndim, source, forward, vjp, completed, uses = row
            node = Node(
                k, _KIND_NAMES[kind], REGISTRY.get(ops[_index(op)]) if op >= 0 else None, {}, (), (), None,  # type: ignore[arg-type]
                self.made.modules[_index(module)], step, places[_index(source)] if source >= 0 else None, name,
            )  # fmt: skip
            node.shape = tuple(dims[start : start + ndim])
            node.dtype = np.dtype(dtype) if dtype in _DTYPES else dtype
            node.forward_event, node.vjp_event, node.completed_event = _some(forward), _some(vjp), _some(completed)
            node.uses = uses
            self.made.nodes.append(node)
            self.made._by_name.setdefault((step, name), node)

    def contributions(self) -> None:
        nodes = self.made.nodes
        args: dict[int, dict[int, tuple[Any, bool]]] = {}
        found: list[tuple[int, Node, Contribution]] = []
        self.of_edge: list[Contribution | None] = []
        for giver, taker, argnum, wanted, event, order in self.rows(
            "edge", "from", "to", "argnum", "wanted", "event", "order"
        ):
            args.setdefault(_index(taker), {})[_index(argnum)] = nodes[_index(giver)], bool(wanted)
            self.of_edge.append(None if event < 0 else Contribution(nodes[taker], argnum, None, event))
            if (contribution := self.of_edge[-1]) is not None:
                found.append((order, nodes[giver], contribution))
        for node, argnum, text in self.rows("number", "node", "argnum", "text"):
            args.setdefault(_index(node), {})[_index(argnum)] = _number(text), False
        for k, of_node in args.items():
            if sorted(of_node) != list(range(len(of_node))):
                raise ValueError(f"node {k} lacks an argument")
            nodes[k].args = tuple(of_node[i][0] for i in range(len(of_node)))
            nodes[k].wanted = tuple(of_node[i][1] for i in range(len(of_node)))
        for _, node, contribution in sorted(found, key=lambda f: f[0]):
            node.contributions.append(contribution)

    def events(self) -> None:
        for kind, node, edge, n_bytes, ns in self.rows("event", "kind", "node", "edge", "bytes", "ns"):
            contribution = self.of_edge[_index(edge)] if edge >= 0 else None
            self.made.events.add(EventKind(kind), self.made.nodes[_index(node)], contribution, int(n_bytes), int(ns))

    def statistics(self) -> None:
        hist = self.tables["hist"]["count"]
        arrays = self.arrays()
        for node, which, edge, *numbers, start, array in self.rows(
            "stat", "node", "which", "edge", *STATISTICS, "hist_start", "array"
        ):
            counts = hist[start : start + N_BINS] if start >= 0 else None
            n, low, high, mean, rms, absmax, zeros, nans, infs, subnormals = numbers
            found = Statistics(
                int(n), low, high, mean, rms, absmax, int(zeros), int(nans), int(infs), int(subnormals), counts
            )
            value, owner = arrays[_index(array)] if array >= 0 else None, self.made.nodes[_index(node)]
            if which == 2:
                contribution = self.of_edge[_index(edge)]
                if contribution is not None:
                    contribution.statistics = found
                    contribution.value = _shaped(value, owner)
                continue
            name = ("value", "cotangent")[which]
            owner.statistics = {**(owner.statistics or {}), name: found}
            setattr(owner, name, _shaped(value, owner))
        for event in self.made.events:
            if event.kind is SEED and not event.node.contributions:
                event.node.seed = event.node.cotangent

    def arrays(self) -> list[Any]:
        """The arrays of which the exact contents are there; None for the others."""
        raw = self.tables["raw"]["byte"]
        found: list[Any] = []
        for full, dtype, at, n_bytes in self.rows("array", "full", "dtype", "at", "nbytes"):
            start, stop = _index(int(at)), _index(int(at)) + _index(int(n_bytes))
            if stop > len(raw):
                raise IndexError("an array lies beyond the data")
            if dtype not in ("f4", "f8", "i4", "u4", "i1", "u1"):
                raise ValueError(f"an array of type {dtype!r}")
            found.append(np.frombuffer(raw[start:stop].tobytes(), "<" + dtype) if full else None)
        return found

    def saved(self) -> None:
        readers = [(self.made.nodes[_index(node)], argnum) for node, argnum in self.rows("reader", "node", "argnum")]
        for node, begin, end, n_bytes, start, count in self.rows(
            "saved", "node", "from_event", "to_event", "bytes", "readers_start", "readers_count"
        ):
            self.made.nodes[_index(node)].saved = Saved(begin, int(n_bytes), _some(end), readers[start : start + count])

    def recomputed(self) -> None:
        if "recompute" in self.tables:
            names: tuple[str, ...] = ("node", "from_event", "to_event", "count", "bytes", "kept", "ns")
            if "flops" in self.tables["recompute"]:  # earlier files have no count of operations
                names += ("flops", "uncounted")
            for node, begin, end, *amounts in self.rows("recompute", *names):
                found = Recomputed(self.made.nodes[_index(node)], begin, _some(end), *map(int, amounts))
                self.made.recomputed.append(found)

    def steps(self) -> None:
        names = ("index", "number", "loss", "root", "event_from", "event_to", "node_from", "node_to")
        for index, number, loss, root, event, event_stop, node, node_stop in self.rows("step", *names):
            step = Step(index, number, node, event, node_stop, event_stop, None if math.isnan(loss) else loss)
            step.root = self.made.nodes[_index(root)] if root >= 0 else None
            self.made.steps.append(step)
        moves = self.rows("update", "node", "event", "step", "value_norm", "grad_norm", "change_norm", "predicted")
        for k, event, step_number, *norms in moves:
            update = Update(self.made.nodes[_index(k)], None, None, None, event, Moved(*norms))
            self.made.steps[_index(step_number)].updates.append(update)
        for name, step_number, value in self.rows("series", "name", "step", "value"):
            self.made.series.setdefault(name, []).append((step_number, value))


_DTYPES = frozenset(
    {"bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)), "float16", "bfloat16", "float32", "float64"}
)


def _index(k: int) -> int:
    if k < 0:
        raise IndexError(f"an index {k}")
    return k


def _some(event: int) -> int | None:
    return None if event < 0 else event


def _number(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        return complex(text) if "j" in text else float(text)


def _shaped(value: Any, owner: Node) -> Any:
    """The contents in the shape and dtype of their node."""
    if value is None or str(owner.dtype).startswith("complex"):  # of which a file has magnitudes
        return None
    shaped = value.reshape(owner.shape)
    return shaped.astype(owner.dtype) if isinstance(owner.dtype, np.dtype) else shaped
