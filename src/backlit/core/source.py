"""The user's source line of an op: kept as code object and instruction offset, resolved when asked."""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_inside: dict[str, bool] = {}  # file name -> whether it belongs to this package


class Source(NamedTuple):
    """A place in the user's program."""

    code: CodeType
    offset: int

    @property
    def file(self) -> str:
        """Path of the file."""
        return self.code.co_filename

    @property
    def line(self) -> int:
        """Line number, from the code object's line table."""
        for start, end, line in self.code.co_lines():
            if start <= self.offset < end and line is not None:
                return line
        return self.code.co_firstlineno

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def user_source(depth: int = 2) -> tuple[CodeType, int] | None:
    """Code object and offset of the innermost frame outside this package; `Source(*found)` resolves them.

    The caller vouches that the innermost `depth` frames are inside: a look at each costs 60 ns.
    """
    frame = user_frame(sys._getframe(depth))
    return None if frame is None else (frame.f_code, frame.f_lasti)


def user_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame outside this package, from `frame` on outwards."""
    while frame is not None:
        name = frame.f_code.co_filename
        inside = _inside.get(name)
        if not (is_inside(name) if inside is None else inside):
            return frame
        frame = frame.f_back
    return None


def is_inside(file: str) -> bool:
    """Whether a file belongs to this package."""
    inside = _inside.get(file)
    if inside is None:
        inside = _inside[file] = file.startswith(_PACKAGE)
    return inside


def user_level() -> int:
    """The `stacklevel` with which `warnings.warn`, called where this is called, names the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and is_inside(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


def here() -> str:
    """' (file:line)' of the user's innermost frame, for the end of an error message."""
    found = user_source()
    return f" ({Source(*found)})" if found else ""
