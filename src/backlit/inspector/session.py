"""The engine's side of a page that is connected to it: a run that is repeated from edited values, and what is said of it.

How the words travel is the matter of `live` (a server) and of `notebook` (a widget).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.record import listening
from backlit.core.tensor import Tensor
from backlit.diagnose.capture import Capture
from backlit.diagnose.recording import Recording
from backlit.inspector.asked import Asked, Asking, question
from backlit.inspector.columns import Columns
from backlit.inspector.pictures import Limits
from backlit.inspector.settings import Setting, settings
from backlit.inspector.state import reached_by
from backlit.inspector.tables import Written
from backlit.inspector.wire import pack

IDLE_S = 0.3  # after so long without an edit all tables are made, not only those of values and gradients
_LIMITS = Limits(full_elements=2048, full_bytes=1 << 19, side=16, thumbnail_bytes=1 << 19)


class Edited(NamedTuple):
    """A number of an optimizer or module that was set."""

    setting: str
    value: float


class Session:
    """A run that is repeated from edited values."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.call = run
        self.cells: dict[str, Tensor] = {}  # of parameters and inputs that the last run recorded
        self._undo: list[tuple[str, Callable[[], None]]] = []  # what was edited, and how it is taken back
        self._edited: set[tuple[str, int]] = set()  # elements, since the last run
        self.asked = Asked()
        self._known: tuple[Any, dict[str, Any]] = None, {}  # what was found out of a recording, whatever is asked of it
        cells, generators = reached_by(run)
        self._reached, self._random = list(cells.values()), [(g, g.get_state()) for g in generators]
        self._moved: list[tuple[Tensor, Any, Any]] = []  # what the last run wrote into: before, and what it left
        self._settings: dict[str, Setting] = {}
        self.recording = self._recorded()
        if not self.recording.nodes:
            raise ArgumentError("live: the function records nothing; it has to compute something that requires grad")

    def _recorded(self) -> Recording:
        for generator, state in self._random:
            generator.set_state(state)  # else every difference would be noise
        for cell in self.cells.values():
            if cell.requires_grad:
                cell.grad = None
        self.rewind()
        held = [(cell, cell._value) for cell in self._reached]
        recording = Recording()
        capture = Capture(recording)
        try:
            with listening(capture):
                self.call()
        finally:
            capture.finish()
            self._moved = [(cell, before, cell._value) for cell, before in held if cell._value is not before]
        self._settings = settings(capture.optimizers, capture.calls.named_modules())
        self.cells = {
            node.name: capture.cells[node]
            for node in reversed(recording.nodes)
            if node.kind in ("parameter", "input") and node in capture.cells
        }
        return recording

    def rewind(self) -> None:
        """Puts back what the last run wrote, such as the parameters that its optimizer moved."""
        for cell, before, left in self._moved:
            if cell._value is left:  # and nobody wrote since
                cell._value = before
        self._moved = []

    def edit(self, name: str, element: int, value: float) -> None:
        """Puts a number into one element of a parameter or input.

        Raises:
          ArgumentError: there is no such value or element.
        """
        self.rewind()
        array = self._array(name)
        if not 0 <= element < array.size:
            raise ArgumentError(f"live: {name} has no element {element}")
        before = array.reshape(-1)[element]
        self._put(name, element, value)
        self._edited.add((name, element))
        self._undo.append((name, lambda: self._put(name, element, before)))

    def set(self, name: str, value: float) -> None:
        """Sets a number of an optimizer or module.

        Raises:
          ArgumentError: there is none of this name, or the value is out of its range.
        """
        setting = self._settings.get(name)
        if setting is None:
            raise ArgumentError(f"live: there is no setting {name!r}")
        self.rewind()
        before = setting.read()
        setting.write(value)
        self._undo.append((f"setting {name}", lambda: setting.write(before)))

    def undo(self) -> bool:
        """Takes the last edit back; whether there was one."""
        if not self._undo:
            return False
        self.rewind()
        self._undo.pop()[1]()
        return True

    def _array(self, name: str) -> Any:
        cell = self.cells.get(name)
        if cell is None:
            raise ArgumentError(f"live: there is no value {name!r} that can be edited")
        return np.asarray(cell._value)

    def _put(self, name: str, element: int, value: Any) -> None:
        changed = np.array(self._array(name), order="C")
        changed.reshape(-1)[element] = value
        self.cells[name]._value = changed

    def run(self) -> None:
        """Runs again.

        Raises:
          ArgumentError: the run computed with something else than what was edited since the last; those edits are forgotten.
        """
        edited = {(name, element): self._array(name).reshape(-1)[element] for name, element in self._edited}
        self._edited.clear()
        self.recording = self._recorded()
        for (name, element), value in edited.items():
            used = self.used(name)
            if used is not None and (element >= used.size or used.reshape(-1)[element].tobytes() != value.tobytes()):
                self._undo = [(what, back) for what, back in self._undo if what != name]
                raise ArgumentError(
                    f"live: run computes {name!r} itself; make it outside of run, then it can be edited"
                )

    def used(self, name: str) -> Any:
        """The array that the last run computed with, in its first step, as that parameter or input; None where it had none."""
        node = next((n for n in self.recording.nodes if n.name == name), None)
        return None if node is None else np.asarray(node.value)

    def packed(self, complete: bool) -> bytes:
        """What the page gets: everything, or without what takes long to find out."""
        if self._known[0] is not self.recording:
            self._known = self.recording, {}
        written = Written(self.recording, sources=True, complete=complete, asked=self.asked, known=self._known[1])
        tables, info = written.tables(_LIMITS)
        named = Columns(name="", value="f8")
        for name, setting in self._settings.items():
            named.add(name, setting.read())
        tables["setting"] = named.columns()
        return pack(tables, {**info, "live": True, "complete": complete}, level=1)


class Conversation:
    """What one page says, and what it is answered: text in, bytes of a recording or text of an error out.

    `owes` tells that the page has not been sent all tables of the last run; `rest` are they.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.owes = False
        self._waiting: list[Any] = []

    def hear(self, text: str) -> bool:
        """Takes a message of the page; False where it is none."""
        message = understood(text)
        if isinstance(message, Asking):
            self.session.asked.note(message)
            self.owes = True
        elif message is not None:
            self._waiting.append(message)
        return message is not None

    def answer(self) -> bytes | str | None:
        """Makes the edits that were heard since, all before one run; None where there were none."""
        count = len(self._waiting)  # more may be heard meanwhile, in another thread
        todo = latest(self._waiting[:count])
        del self._waiting[:count]
        if not todo:
            return None
        try:
            for message in todo:
                if message == "undo":
                    self.session.undo()
                elif isinstance(message, Edited):
                    self.session.set(*message)
                else:
                    self.session.edit(*message)
            self.session.run()
            data = self.session.packed(False)
        except Exception as error:  # noqa: BLE001 - of the user's run: told, and the page stays
            return json.dumps({"error": f"{type(error).__name__}: {error}"[:500]})
        self.owes = True
        return data

    def rest(self) -> bytes:
        """All tables of the last run."""
        self.owes = False
        return self.session.packed(True)


def understood(text: str) -> Any:
    """An edit (name, element, value), or of a setting, a question, "undo", or None for anything else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict) and len(found) == 1 and found.get("undo") is True:
            return "undo"
        if (asked := question(found)) is not None:
            return asked
        if isinstance(found, dict) and found.keys() == {"setting", "value"}:
            key, value = found["setting"], found["value"]
            if type(key) is str and type(value) in (int, float) and math.isfinite(value):
                return Edited(key, float(value))
        elif isinstance(found, dict) and found.keys() == {"name", "element", "value"}:
            name, element, value = found["name"], found["element"], found["value"]
            if type(name) is str and type(element) is int and type(value) in (int, float) and math.isfinite(value):
                return name, element, float(value)
    return None


def latest(messages: list[Any]) -> list[Any]:
    """The messages without edits that a later one to the same element makes moot."""
    found: list[Any] = []
    for message in messages:
        if message != "undo":
            found = [m for m in found if m == "undo" or m[:-1] != message[:-1]] if "undo" not in found else found
        found.append(message)
    return found
