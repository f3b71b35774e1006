"""Guided tours: a recording of an expression with text beside it, in which the reader predicts before the answer is shown.

A tour is a Markdown file; `parse_tour` says how it is written. Its numbers come from the recording, and the formulas that
are offered as answers are evaluated: the right one must be the gradient that was computed, the others must not.
"""

from __future__ import annotations

import html
import json
import re
import zlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from backlit.core.errors import BacklitError, DataError
from backlit.diagnose.expressed import evaluated, record_expression
from backlit.diagnose.latex import SMALL
from backlit.diagnose.recording import CONTRIBUTION, Contribution, Node, Recording
from backlit.diagnose.values import parse_values
from backlit.inspector.page import page
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import tables_of
from backlit.inspector.wire import pack

Tables = dict[str, dict[str, Any]]
_LOOK = re.compile(r"look at: *(\w+) *, *after ([^,]+)(?:, *see (.+))?")
_AFTER = re.compile(r"(value|gradient) of (\w+)|contribution (\d+) of (\w+)|(end)")
_CHOICE = re.compile(r"- \[([ x])\] (.+?) :: (.+?) :: (.+)")
_NUMBER = re.compile(r"\{(d_)?(\w+)(?:<(\w+))?\}")
_INLINE = re.compile(r"\$([^$]+)\$|`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|(\{(?:d_)?\w+(?:<\w+)?\})")


@dataclass(frozen=True)
class Choice:
    """One answer to a question: its text, its formula, whether it is right, and what is said to who chooses it."""

    text: str
    formula: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A prediction of the gradient of `of`, and the text that is shown when it is made."""

    of: str
    text: str
    choices: tuple[Choice, ...]
    reveal: str


@dataclass(frozen=True)
class TourStep:
    """A station: text, the node to look at, the moment, as in "value of u", "contribution 1 of y" or "end", and nodes to see
    afterwards."""

    title: str
    node: str
    after: str
    see: tuple[str, ...]
    text: str
    question: Question | None


@dataclass(frozen=True)
class Tour:
    """A tour: an expression with values for its names, and the stations."""

    name: str
    title: str
    kind: str
    expression: str
    values: str
    intro: str
    steps: tuple[TourStep, ...]


def parse_tour(text: str, name: str) -> Tour:
    """The tour that is written in `text`.

    It begins with a head between lines of `---`: `title`, `kind` (`example` or `practice`), `expression`, `values` (as on the
    command line). An introduction follows, then the stations. Each has a heading `## ...`, the line
    `look at: NODE, after MOMENT` (and perhaps `, see NODE NODE`), text, and perhaps a question `? d_NODE: text` with a choice a line,
    `- [x] text :: formula :: what is said`, and after them the text that is revealed. In texts `$...$` is LaTeX, `{u}`
    the value of u, `{d_u}` its gradient and `{y<v}` the contribution to the gradient of y that came from v.

    Raises:
      DataError: it is not written like this; with the line.
    """
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (rest := [line.strip() for line in lines[1:]]):
        raise DataError(f"tour {name}: expected a head between lines of ---")
    end = rest.index("---")
    head = dict(line.split(":", 1) for line in rest[:end] if ":" in line)
    wanted = {"title", "kind", "expression", "values"}
    if head.keys() != wanted or head["kind"].strip() not in ("example", "practice"):
        raise DataError(f"tour {name}: the head has the lines title, kind (example or practice), expression and values")
    parts = re.split(r"^## +(.+)$", "\n".join(lines[end + 2 :]), flags=re.MULTILINE)
    steps = tuple(_step(name, title.strip(), body) for title, body in zip(parts[1::2], parts[2::2], strict=True))
    if not steps:
        raise DataError(f"tour {name}: expected at least one station, headed by ## and its title")
    title, kind, expression, values = (head[k].strip() for k in ("title", "kind", "expression", "values"))
    return Tour(name, title, kind, expression, values, parts[0].strip(), steps)


def _step(tour: str, title: str, body: str) -> TourStep:
    lines = body.strip().splitlines()
    look = _LOOK.fullmatch(lines[0].strip()) if lines else None
    if look is None or _AFTER.fullmatch(look[2].strip()) is None:
        raise DataError(f"tour {tour}, {title!r}: begin with a line like 'look at: y, after gradient of y'")
    asked = next((i for i, line in enumerate(lines) if line.startswith("? ")), None)
    text = "\n".join(lines[1:asked]).strip()
    return TourStep(
        title,
        look[1],
        look[2].strip(),
        tuple((look[3] or "").split()),
        text,
        None if asked is None else _question(tour, title, lines[asked:]),
    )


def _question(tour: str, title: str, lines: list[str]) -> Question:
    of, colon, text = lines[0][2:].partition(":")
    choices = [(i, m) for i, line in enumerate(lines) if (m := _CHOICE.fullmatch(line.strip()))]
    written = sum(line.startswith("- [") for line in lines)
    if not colon or not of.startswith("d_") or sum(m[1] == "x" for _, m in choices) != 1 or written != len(choices):
        raise DataError(
            f"tour {tour}, {title!r}: a question is '? d_NAME: text' with choices '- [ ] text :: formula :: why', one of "
            "them marked with x"
        )
    reveal = "\n".join(lines[choices[-1][0] + 1 :]).strip()
    return Question(
        of.strip().removeprefix("d_"),
        text.strip(),
        tuple(Choice(m[2], m[3], m[1] == "x", m[4]) for _, m in choices),
        reveal,
    )


def bundled() -> list[Tour]:
    """The tours that come with backlit, examples first."""
    folder = files("backlit.inspector").joinpath("tours")
    found = [
        parse_tour(f.read_text(encoding="utf-8"), f.name.removesuffix(".md"))
        for f in folder.iterdir()
        if f.name.endswith(".md")
    ]
    order = ("merge", "hidden_layer", "softmax", "practice_easy", "practice_medium", "practice_hard")
    return sorted(found, key=lambda tour: order.index(tour.name) if tour.name in order else len(order))


def record_tour(tour: Tour) -> Recording:
    """The recording that a tour goes through; its answers are checked on it.

    Raises:
      DataError: a node or moment that is spoken of is not in the recording, the answer that is marked as right is not
        the gradient, or one that is not marked is.
    """
    recording = record_expression(tour.expression, parse_values(tour.values.split()))
    for step in tour.steps:
        _time(tour, step, recording)
        if step.question is not None:
            _check(tour, step.question, recording)
    return recording


def _check(tour: Tour, question: Question, recording: Recording) -> None:
    found = _node(tour, recording, question.of).cotangent
    if found is None:
        raise DataError(f"tour {tour.name}: no gradient reached {question.of}")
    values = {n.name: n.value for n in recording.nodes if n.name.isidentifier() and n.value is not None}
    for choice in question.choices:
        try:
            given = np.asarray(evaluated(choice.formula, values))
        except BacklitError as error:
            raise DataError(f"tour {tour.name}: {choice.formula}: {error}") from None
        same = given.shape == np.shape(found) and np.allclose(given, found, rtol=1e-12, atol=1e-12)
        if same != choice.right:
            verdict = "is not the gradient" if choice.right else "is the gradient, though it is not marked"
            raise DataError(f"tour {tour.name}: d_{question.of}: {choice.formula} {verdict}")


def _node(tour: Tour, recording: Recording, name: str) -> Node:
    try:
        return recording[name]
    except BacklitError as error:
        raise DataError(f"tour {tour.name}: {error}") from None


def _time(tour: Tour, step: TourStep, recording: Recording) -> int:
    """How many events have happened at the moment of a step."""
    what, of, number, by, end = _AFTER.fullmatch(step.after).groups()  # type: ignore[union-attr]
    if end:
        return len(recording.events)
    node = _node(tour, recording, of or by)
    event = node.forward_event if what == "value" else node.completed_event
    if number:
        found = [e for e, x in enumerate(recording.events) if x.kind is CONTRIBUTION and x.node is node]
        event = found[int(number) - 1] if 0 < int(number) <= len(found) else None
    if event is None:
        raise DataError(f"tour {tour.name}, {step.title!r}: there is no {step.after}")
    return event + 1


# What goes to the page


def tour_tables(tour: Tour, recording: Recording, limits: Limits | None = None) -> tuple[Tables, dict[str, Any]]:
    """The tables of the recording with the tour among them, and `info`."""
    tables, info = tables_of(recording, limits or Limits(), sources=False)
    writer = _Prose(tour, recording, tables)
    steps = []
    for step in tour.steps:
        node = _node(tour, recording, step.node)
        ask = step.question and {
            "html": writer.html(step.question.text),
            "choices": [
                {"html": writer.inline(c.text), "right": c.right, "why": writer.inline(c.why)}
                for c in sorted(step.question.choices, key=lambda c: zlib.crc32((tour.name + c.text).encode()))
            ],
            "reveal": writer.html(step.question.reveal),
        }
        steps.append(
            {
                "title": step.title, "html": writer.html(step.text), "node": node.index,
                "time": _time(tour, step, recording), "panel": "node", "follow": [_node(tour, recording, n).index for n in step.see], "ask": ask,
            }
        )  # fmt: skip
    data = {"name": tour.name, "title": tour.title, "kind": tour.kind, "intro": writer.html(tour.intro), "steps": steps}
    return {**tables, "tour": {"name": [tour.name], "json": [json.dumps(data, ensure_ascii=False)]}}, {
        **info,
        "note": tour.title,
    }


def tour_page(tour: Tour) -> str:
    """The page of a tour: one HTML file."""
    return page(pack(*tour_tables(tour, record_tour(tour))), title=tour.title)


def _written(x: float, digits: int) -> str:
    return f"{x:.{digits}g}".replace("-", "\N{MINUS SIGN}")


class _Prose:
    """Texts of a tour as HTML; numbers name the cell of the tables that they are in."""

    def __init__(self, tour: Tour, recording: Recording, tables: Tables) -> None:
        self.tour, self.recording = tour, recording
        stat = tables["stat"]
        self.rows = {
            (int(node), int(which), int(edge)): row
            for row, (node, which, edge) in enumerate(zip(stat["node"], stat["which"], stat["edge"], strict=True))
        }
        edge = tables["edge"]
        self.edges = {
            (int(child), int(argnum)): row
            for row, (child, argnum) in enumerate(zip(edge["to"], edge["argnum"], strict=True))
        }

    def html(self, text: str) -> str:
        """Paragraphs."""
        return "".join(f"<p>{self.inline(' '.join(p.split()))}</p>" for p in re.split(r"\n\s*\n", text) if p.strip())

    def inline(self, text: str) -> str:
        """One paragraph's inside."""
        made, at = [], 0
        for match in _INLINE.finditer(text):
            made.append(html.escape(text[at : match.start()], quote=False))
            latex, code, strong, emphasis, number = match.groups()
            if latex:
                made.append(f'<span class="math" data-latex="{html.escape(latex.strip())}"></span>')
            elif number:
                made.append(self.number(number))
            else:
                tag, inner = ("code", code) if code else ("strong", strong) if strong else ("em", emphasis)
                made.append(f"<{tag}>{html.escape(inner, quote=False)}</{tag}>")
            at = match.end()
        return "".join([*made, html.escape(text[at:], quote=False)])

    def number(self, written: str) -> str:
        """The value, gradient or contribution that stands in braces."""
        delta, name, source = _NUMBER.fullmatch(written).groups()  # type: ignore[union-attr]
        node = _node(self.tour, self.recording, name)
        which, edge, array = (1, -1, node.cotangent) if delta else (0, -1, node.value)
        if source is not None:
            given = self._contribution(node, source)
            which, edge, array = 2, self.edges[given.child.index, given.argnum], given.value
        if array is None:
            raise DataError(f"tour {self.tour.name}: {written} was not computed")
        row = self.rows[node.index, which, edge]
        if np.size(array) == 1 and not np.ndim(array):
            return f'<span class="number" data-cell="stat:{row}:mean">{_written(float(array), 6)}</span>'
        if np.size(array) > SMALL or np.ndim(array) > 2:
            raise DataError(f"tour {self.tour.name}: {written} has more than {SMALL} elements")
        lines = (" & ".join(_written(float(x), 4) for x in line) for line in np.atleast_2d(array))
        latex = r"\begin{bmatrix} " + r" \\ ".join(lines) + r" \end{bmatrix}"
        return f'<span class="math" data-latex="{html.escape(latex)}"></span>'

    def _contribution(self, node: Node, source: str) -> Contribution:
        for contribution in node.contributions:
            child = contribution.child
            inserted = re.fullmatch(r"t\d+", child.name) is not None  # an op that the expression does not name
            if source == child.name or (
                inserted and any(n.name == source and child in n.args for n in self.recording.nodes)
            ):
                return contribution
        raise DataError(f"tour {self.tour.name}: {node.name} got no contribution from {source}")
