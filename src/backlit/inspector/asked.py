"""What a page that is connected asks for, beyond what every file has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backlit.diagnose.checkpoints import checkpoint_parts
from backlit.diagnose.recording import Recording

MAX_PARTS = 512  # of a choice of checkpoints
MAX_OPENED = 512  # rows of trees


class Question(NamedTuple):
    """One element (in the flattened array) of the node `name` that somebody wants to know about."""

    name: str
    element: int


class Checkpoints(NamedTuple):
    """Parts, by their numbers, that somebody wants to see as checkpoints; none to compare those that come in groups."""

    parts: tuple[int, ...]


class Opened(NamedTuple):
    """A row of the tree of contributions to the node `name` whose parts somebody wants to see.

    `way` has the rows of the table `edge` at which the row and those above it part, -1 for that of the rest.
    """

    name: str
    way: tuple[int, ...]


Asking = Question | Checkpoints | Opened


@dataclass
class Asked:
    """All that was asked for last; of the trees every row that was opened."""

    element: Question | None = None
    checkpoints: Checkpoints | None = None
    opened: dict[Opened, None] = field(default_factory=dict)

    def note(self, question: Asking) -> None:
        """Takes a question up; it replaces an earlier one of its kind."""
        if isinstance(question, Question):
            self.element = question
        elif isinstance(question, Checkpoints):
            self.checkpoints = question
        else:
            self.opened[question] = None
            while len(self.opened) > MAX_OPENED:
                del self.opened[next(iter(self.opened))]

    def chosen(self, recording: Recording) -> list[str]:
        """The names of the parts that are to be checkpoints, as far as the recording has them."""
        if self.checkpoints is None or not self.checkpoints.parts:
            return []
        names = checkpoint_parts(recording)
        return [names[k] for k in sorted(set(self.checkpoints.parts)) if k < len(names)]


def question(found: Any) -> Asking | None:
    """The question that a message is; None where it is none."""
    if not isinstance(found, dict):
        return None
    if found.keys() == {"ask", "element"} and type(found["ask"]) is str and type(found["element"]) is int:
        return Question(found["ask"], found["element"])
    if found.keys() == {"checkpoints"} and type(found["checkpoints"]) is list:
        parts = found["checkpoints"]
        if len(parts) <= MAX_PARTS and all(type(k) is int and k >= 0 for k in parts):
            return Checkpoints(tuple(parts))
    if found.keys() == {"open", "way"} and type(found["open"]) is str and type(found["way"]) is list:
        way = tuple(found["way"])
        return Opened(found["open"], way) if all(type(k) is int and k >= -1 for k in way) else None
    return None
