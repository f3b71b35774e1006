"""The text that a user typed, and errors that point into it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable

from backlit.core.errors import BacklitError, DataError

_AROUND = 34  # characters shown on each side of the place


class Source:
    """A text with its name for messages: the expression, or one of the values."""

    def __init__(self, text: str, what: str = "") -> None:
        self.lines = text.split("\n")
        self.what = what

    def error(
        self, place: ast.AST | tuple[int, int], message: str, kind: type[BacklitError] = DataError
    ) -> BacklitError:
        """The error `message` at a node of the parsed text, or at a line and column (both from 1)."""
        line, column = place if isinstance(place, tuple) else self._place(place)
        shown = self.lines[line - 1] if line <= len(self.lines) else ""
        start = max(0, column - 1 - _AROUND)
        before = ("..." if start else "") + shown[start : column - 1]
        after = shown[column - 1 : column - 1 + _AROUND] + ("..." if len(shown) > column - 1 + _AROUND else "")
        at = (f"line {line}, " if len(self.lines) > 1 else "") + f"column {column}"
        caret = " " * len(before) + "^"
        where = f"at {at}{f' of {self.what}' if self.what else ''}"
        return kind(f"{message} ({where})\n    {before.expandtabs(1)}{after.expandtabs(1)}\n    {caret}")

    def _place(self, node: ast.AST) -> tuple[int, int]:
        line = getattr(node, "lineno", 1)
        offset = getattr(node, "col_offset", 0)  # in bytes of UTF-8
        return line, len(self.lines[line - 1].encode()[:offset].decode(errors="ignore")) + 1


def near(word: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' when a known word resembles this one."""
    found = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""
