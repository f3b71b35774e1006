"""What a page that is connected asks for, beyond what every file has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from backlit.diagnose.checkpoints import checkpoint_parts
from backlit.diagnose.recording import Recording

MAX_PARTS = 512  # of a choice of checkpoints


class Question(NamedTuple):
    """One element (in the flattened array) of the node `name` that somebody wants to know about."""

    name: str
    element: int


class Checkpoints(NamedTuple):
    """Parts, by their numbers, that somebody wants to see as checkpoints; none to compare those that come in groups."""

    parts: tuple[int, ...]


@dataclass
class Asked:
    """All that was asked for last."""

    element: Question | None = None
    checkpoints: Checkpoints | None = None

    def note(self, question: Question | Checkpoints) -> None:
        """Takes a question up; it replaces an earlier one of its kind."""
        if isinstance(question, Question):
            self.element = question
        else:
            self.checkpoints = question

    def chosen(self, recording: Recording) -> list[str]:
        """The names of the parts that are to be checkpoints, as far as the recording has them."""
        if self.checkpoints is None or not self.checkpoints.parts:
            return []
        names = checkpoint_parts(recording)
        return [names[k] for k in sorted(set(self.checkpoints.parts)) if k < len(names)]


def question(found: Any) -> Question | Checkpoints | None:
    """The question that a message is; None where it is none."""
    if not isinstance(found, dict):
        return None
    if found.keys() == {"ask", "element"} and type(found["ask"]) is str and type(found["element"]) is int:
        return Question(found["ask"], found["element"])
    if found.keys() == {"checkpoints"} and type(found["checkpoints"]) is list:
        parts = found["checkpoints"]
        if len(parts) <= MAX_PARTS and all(type(k) is int and k >= 0 for k in parts):
            return Checkpoints(tuple(parts))
    return None
