"""The user's source line of an op: kept as code object and instruction offset, resolved when asked."""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType
from typing import NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


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


def user_source() -> Source | None:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            return Source(code, frame.f_lasti)
        frame = frame.f_back
    return None
