"""Tables of what `diagnose` finds in a recording: formulas of local rules, their balance, the flow of gradients, and where
they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from backlit.autodiff.walk import Pick
from backlit.core.errors import BacklitError
from backlit.diagnose.balance import balance
from backlit.diagnose.bands import Bands
from backlit.diagnose.flow import flow
from backlit.diagnose.nonfinite import not_finite
from backlit.diagnose.provenance import Provenance, provenance
from backlit.diagnose.recording import Node, Recording, Scope
from backlit.diagnose.replay import place_of
from backlit.diagnose.rules import RuleBook
from backlit.inspector.columns import Columns
from backlit.inspector.sankey import Flow, views

CULPRITS = 4  # reasons that are named for each layer
TARGETS = 8  # parameters whose gradient is followed back to the loss

_WHICH = {"value": 0, "delta": 1, "contribution": 2}

Tables = dict[str, dict[str, Any]]
Followed = str | tuple[str, Any]  # a value or module, one element of a value, or a direction of one (an array)
Edges = Mapping[tuple[int, int], int]  # the row of an edge, by the index of the node it leads to and the argument


def keeps_values(recording: Recording) -> bool:
    """Whether the arrays of the run are there; with statistics alone there is nothing to diagnose."""
    return any(node.value is not None for node in recording.nodes if node.op is not None)


def formulas(recording: Recording) -> tuple[Tables, Any]:
    """The tables `formula`, `rule` and `rulenumbers`, and the row of `formula` for every node (-1 for none).

    A formula is there once for all nodes of one structure.
    """
    book, failed = RuleBook(), -1
    of_node = np.full(len(recording.nodes), failed, np.int32)
    numbers = Columns(node="i4", argnum="i4", text="", latex="")
    for node in recording.nodes:
        if not _has_values(node):
            continue
        try:
            of_node[node.index] = book.index(node)
        except BacklitError:
            continue  # a rule of the user's that does not take symbols
        for argnum, text, latex in book.numbers(node):
            numbers.add(node.index, argnum, text, latex)
    formula = Columns(forward_latex="", forward_text="", shapes="", note="")
    rule = Columns(formula="i4", argnum="i4", latex="", text="", shapes="", partial="")
    for row, rules in enumerate(book.rules):
        formula.add(rules.forward.latex, rules.forward.text, rules.forward.shapes, rules.note or None)
        for argnum, written in rules.reverse.items():
            partial = rules.partials.get(argnum)
            rule.add(row, argnum, written.latex, written.text, written.shapes, partial and partial.latex)
    return {"formula": formula.columns(), "rule": rule.columns(), "rulenumbers": numbers.columns()}, of_node


def _has_values(node: Node) -> bool:
    """Whether an op made the node, and what its rule reads is still there."""
    if node.op is None or (node.value is None and not isinstance(node.op, Pick)):
        return False
    return all(not isinstance(a, Node) or a.value is not None or a.op is not None for a in node.args)


def lamps(recording: Recording) -> Tables:
    """The table `lamp`: how far each rule is from the transpose of its derivative, and whether that is too far."""
    table = Columns(node="i4", residual="f8", allowed="f8", guilty="u1")
    for found in balance(recording).nodes:
        if found.checked:
            table.add(found.node.index, found.residual, found.allowed, found.guilty)
    return {"lamp": table.columns()}


def flows(recording: Recording, place: Mapping[Scope, int], bands: Bands) -> Tables:
    """The tables `flow` and `culprit` (layers of every step), `activation` and `badwalk`.

    Culprits are there for layers within the bands too, for a page on which the reader moves these.
    """
    layer = Columns(
        step="i4", module="i4", node="i4", name="", value_rms="f8", delta_norm="f8", grad_norm="f8", gain="f8",
        product="f8", powers="f8", band="u1",
    )  # fmt: skip
    culprit = Columns(flow="i4", rank="i4", what="", factor="f8", node="i4")
    activation = Columns(node="i4", dead="f8", zero="f8", saturated="f8")
    for step in recording.steps:
        if step.root is None:
            continue
        found = flow(recording, step.index, bands)
        for part in found.layers:
            module = -1 if part.call is None else place.get(part.call, -1)
            row = layer.add(
                step.index, module, part.node.index, part.name, part.value_rms, part.delta_norm, part.grad_norm,
                part.gain, part.product, part.powers, part.band,
            )  # fmt: skip
            for rank, reason in enumerate(part.culprits[:CULPRITS]):
                culprit.add(row, rank, reason.what, reason.factor, reason.node.index)
        for unit in found.activations:
            activation.add(unit.node.index, unit.dead, unit.zero, unit.saturated)
    return {
        "flow": layer.columns(),
        "culprit": culprit.columns(),
        "activation": activation.columns(),
        "badwalk": _walk(recording) if keeps_values(recording) else _NO_WALK,
    }


_NO_WALK: dict[str, Any] = Columns(event="i4", node="i4", which="u1", element="", text="").columns()


def _walk(recording: Recording) -> dict[str, Any]:
    """From the first thing that is not finite back to its cause; no row where all is finite."""
    table = Columns(event="i4", node="i4", which="u1", element="", text="")
    found = not_finite(recording)
    for link in () if found is None else found.way:
        event = -1 if found is None else found.event
        table.add(event, link.node.index, _WHICH[link.which], str(list(link.element)), link.text)
    return table.columns()


def origins(
    recording: Recording, edges: Edges, module: Sequence[int], parent: Sequence[int], follow: Sequence[Followed] = ()
) -> Tables:
    """Where the gradients of parameters came from: `provenance` and `provshare`, and the tables of its drawings.

    `module` is the row of `module` for each node, `parent` that of the module around each. Of many parameters some are
    followed, the first and the last among them; then what `follow` names.

    Raises:
      ArgumentError: of something in `follow` there is no gradient.
    """
    target = Columns(
        target="i4", element="i4", title="", total="f8", residual="f8", cancelled="f8", note="", share_start="i4", share_count="i4",
    )  # fmt: skip
    share = Columns(edge="i4", share="f8")
    drawing = _Drawing()
    for found, element, title in _followed(recording, follow):
        root = recording.steps[found.targets[0].step].root
        if root is None or root in found.targets:
            continue
        # several parameters are one box, at the place of the first: then nothing ends before the last cut
        last = min(node.index for node in found.targets)
        row = target.add(
            last, element, title, found.total, found.residual, found.cancelled, found.note or None, len(share.rows),
            len(found.shares),
        )  # fmt: skip
        for _, c, part in found.shares:
            share.add(edges.get((c.child.index, c.argnum), -1), part)
        ends = {node.index for node in found.targets}
        currents = [(a, last if b in ends else b, part) for a, b, part in _currents(found)]
        drawing.add(row, Flow(root.index, last, currents, module, parent))
    return {"provenance": target.columns(), "provshare": share.columns(), **drawing.tables()}


def _followed(recording: Recording, follow: Sequence[Followed]) -> Iterator[tuple[Provenance, int, str | None]]:
    """Where gradients came from, with the element that it is about (-1 for all) and a title where that is no node's name."""
    for node in targets_of(recording):
        try:
            yield provenance(recording, node), -1, None
        except BacklitError:
            continue
    for asked in follow:
        of, way = (asked, None) if isinstance(asked, str) else asked
        if way is None:
            found = provenance(recording, of)
            yield found, -1, None if found.targets[0].name == of else of
        elif isinstance(way, (int, np.integer, tuple)):
            element = way if isinstance(way, tuple) else int(way)
            found = provenance(recording, of, element=element)
            yield found, place_of(element, found.targets[0].shape, "follow"), None
        else:
            yield provenance(recording, of, direction=[way]), -1, f"{of} in a given direction"


def targets_of(recording: Recording) -> list[Node]:
    """The parameters of the last step that got a gradient; of many some, evenly."""
    last = len(recording.steps) - 1
    found = [n for n in recording.nodes if n.kind == "parameter" and n.step == last and n.cotangent is not None]
    if len(found) <= TARGETS:
        return found
    large = [n for n in found if len(n.shape) > 1]
    chosen = large if len(large) >= TARGETS else found
    return [chosen[k * (len(chosen) - 1) // (TARGETS - 1)] for k in range(TARGETS)]


def _currents(found: Provenance) -> list[tuple[int, int, float]]:
    """Triples (giver, taker, share); a result of a function with several passes all it has on to the function."""
    made = [(c.child.index, node.index, share) for node, c, share in found.shares]
    for node, share in found.node_share.items():
        if isinstance(node.op, Pick):
            made.append((node.index, node.args[0].index, share))
    return made


class _Drawing:
    """The tables of drawings of flows through modules."""

    def __init__(self) -> None:
        self.view = Columns(
            target="i4", within="i4", box_start="i4", box_count="i4", link_start="i4", link_count="i4", cut_start="i4",
            cut_count="i4",
        )  # fmt: skip
        self.box = Columns(module="i4", node="i4", row="i4", share="f8", turn="i4")
        self.link = Columns(**{"from": "i4"}, to="i4", share="f8", edges="i4")
        self.cut = Columns(row="i4", sum="f8")

    def add(self, target: int, flow: Flow) -> None:
        for within, drawn in views(flow).items():
            first = len(self.box.rows)
            self.view.add(
                target, within, first, len(drawn.boxes), len(self.link.rows), len(drawn.links), len(self.cut.rows),
                len(drawn.cuts),
            )  # fmt: skip
            for box in drawn.boxes:
                self.box.add(box.module, box.node, box.row, box.share, box.turn)
            for a, b, share, count in drawn.links:
                self.link.add(first + a, first + b, share, count)
            for row, total in enumerate(drawn.cuts):
                self.cut.add(row, total)

    def tables(self) -> Tables:
        return {
            "sankey": self.view.columns(),
            "sankeybox": self.box.columns(),
            "sankeylink": self.link.columns(),
            "sankeycut": self.cut.columns(),
        }
