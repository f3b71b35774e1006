"""The first value or gradient that is not finite, and the way from there to its cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backlit.core.dtypes import is_float
from backlit.diagnose.formula import number_text
from backlit.diagnose.recording import COMPLETED, CONTRIBUTION, FORWARD, Contribution, Node, Recording


@dataclass(frozen=True)
class Link:
    """One station on the way to the cause: a node, which of its arrays, where in it, and what is said of it."""

    node: Node
    which: str  # "value", "delta" or "contribution"
    element: tuple[int, ...]
    text: str
    contribution: Contribution | None = None


@dataclass(frozen=True)
class NotFinite:
    """The first event at which something is not finite, and the way from what it reached back to its cause.

    `way` ends at the cause: the first node all of whose inputs are finite, or a given value that is not.
    """

    event: int
    way: tuple[Link, ...]

    @property
    def cause(self) -> Link:
        """The end of the way."""
        return self.way[-1]


def not_finite(recording: Recording) -> NotFinite | None:
    """The first event of a recording that brought a NaN or an infinity, and its cause; None where all is finite.

    Costs a pass over the values up to there.
    """
    given = next((n for n in recording.nodes if n.op is None and _bad(n.value) is not None), None)
    for position, event in enumerate(recording.events):
        node = event.node
        if event.kind == FORWARD and _bad(node.value) is not None:
            return NotFinite(position, tuple(_forward(node)))
        if event.kind == CONTRIBUTION and event.contribution is not None:
            element = _bad(event.contribution.value)
            if element is not None:
                return NotFinite(position, tuple(_backward(node, event.contribution, element)))
        if event.kind == COMPLETED and (element := _bad(node.cotangent)) is not None:
            said = f"its contributions are finite, their sum is {_shown(node.cotangent, element)}"
            if node.seed is not None and _bad(node.seed) is not None:
                said = f"the gradient it was given to begin with is {_shown(node.seed, element)}"
            return NotFinite(position, (Link(node, "delta", element, said),))
    if given is not None:
        return NotFinite(0, tuple(_forward(given)))
    return None


def _bad(x: Any) -> tuple[int, ...] | None:
    """The first element that is not finite: a NaN before an infinity."""
    if x is None or not is_float(x.dtype):
        return None
    found = np.isfinite(x)
    if np.all(found):
        return None
    nan = np.isnan(x)
    where = np.argwhere(nan if np.any(nan) else ~np.asarray(found))
    return tuple(int(i) for i in where[0])


def _shown(x: Any, element: tuple[int, ...]) -> str:
    return number_text(np.asarray(x)[element])


def _forward(node: Node) -> list[Link]:
    """From a value that is not finite to the first op that made one of finite inputs."""
    way: list[Link] = []
    while True:
        element = _bad(node.value)
        assert element is not None
        if node.op is None:
            way.append(Link(node, "value", element, f"it was given as {_shown(node.value, element)}"))
            return way
        guilty = [a for a in node.args if isinstance(a, Node) and _bad(a.value) is not None]
        numbers = [a for a in node.args if not isinstance(a, Node) and not np.isfinite(a)]
        if not guilty:
            inputs = _inputs(node, element)
            said = f"{node.op.name} of {inputs} is {_shown(node.value, element)}" if inputs else (
                f"{node.op.name} of finite inputs is {_shown(node.value, element)}"
            )  # fmt: skip
            if numbers:
                said = f"{node.op.name} has the number {number_text(numbers[0])} as an argument"
            way.append(Link(node, "value", element, said))
            return way
        way.append(Link(node, "value", element, f"{_shown(node.value, element)}, from {guilty[0].name}"))
        node = guilty[0]


def _backward(node: Node, contribution: Contribution, element: tuple[int, ...]) -> list[Link]:
    """A contribution that is not finite: the gradient that arrived at its node was, or its rule met a value it has no
    finite derivative at."""
    child = contribution.child
    said = f"{_shown(contribution.value, element)} from the rule of {child.name}"
    way = [Link(node, "contribution", element, said, contribution)]
    if child.cotangent is None or _bad(child.cotangent) is None:
        assert child.op is not None
        at = element if child.shape == node.shape else None
        inputs = "" if at is None else _inputs(child, at)
        arrived = "" if at is None or child.cotangent is None else f"; {_shown(child.cotangent, at)} arrived"
        text = f"{child.op.name} has no finite derivative at {inputs}{arrived}" if inputs else (
            f"a finite gradient arrived at {child.name}, and its rule gave {_shown(contribution.value, element)}"
        )  # fmt: skip
        way.append(Link(child, "delta", at if at is not None else (0,) * len(child.shape), text))
    return way


def _inputs(node: Node, element: tuple[int, ...]) -> str:
    """The inputs of an elementwise node at one element."""
    found = []
    for a in node.args:
        if not isinstance(a, Node):
            found.append(number_text(a))
        elif a.value is not None and a.shape == node.shape:
            found.append(_shown(a.value, element))
        else:
            return ""
    return " and ".join(found)
