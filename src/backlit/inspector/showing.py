"""Recordings in a browser and in a notebook."""

from __future__ import annotations

import html
import os
import tempfile
import webbrowser
from typing import Any

from backlit.core.errors import ArgumentError
from backlit.diagnose.recording import Recording
from backlit.inspector.file import packed_of, save
from backlit.inspector.page import page
from backlit.inspector.pictures import Limits

_NOTEBOOK = Limits(full_elements=1024, full_bytes=1 << 17, side=16, thumbnail_bytes=1 << 18)


def show(recording: Recording, **options: Any) -> str:
    """Writes the page to a temporary file, opens it in the browser, and gives its path; options are those of `save`."""
    folder = tempfile.mkdtemp(prefix="backlit-")
    path = os.path.join(folder, "recording.html")
    save(recording, path, **options)
    webbrowser.open("file://" + path)
    return path


def notebook_page(recording: Recording, height: int = 640) -> str:
    """The page in a frame that may run its own program and nothing else; a notebook shows it."""
    whole = html.escape(page(packed_of(recording, _NOTEBOOK), title="recording"), quote=True)
    whole = whole.encode("ascii", "xmlcharrefreplace").decode()  # a notebook may be saved in any encoding
    return (
        f'<iframe sandbox="allow-scripts" srcdoc="{whole}" '
        f'style="width:100%;height:{height}px;border:0" title="recording"></iframe>'
    )


class Frame:
    """A recording as the last line of a cell shows it, in a frame of its own height."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def frame(recording: Recording, height: int = 640) -> Frame:
    """What a notebook shows, `height` pixels high, where the recording itself, as the last line of a cell, has 640.

    Raises:
      ArgumentError: `height` is no positive number of pixels.
    """
    if type(height) is not int or height < 1:
        raise ArgumentError(f"frame: height is a positive number of pixels, not {height!r}")
    return Frame(notebook_page(recording, height))


def _repr_html_(self: Recording) -> str:
    return notebook_page(self)


setattr(Recording, "save", save)  # noqa: B010
setattr(Recording, "show", show)  # noqa: B010
setattr(Recording, "frame", frame)  # noqa: B010
setattr(Recording, "_repr_html_", _repr_html_)  # noqa: B010
