"""A live page in a notebook, without a server: it speaks with the kernel through the messages of a widget.

Needs the extra `notebook` (anywidget).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from backlit.core.errors import ArgumentError
from backlit.inspector.session import Session
from backlit.inspector.showing import notebook_page
from backlit.inspector.widget import Views


class LiveWidget(anywidget.AnyWidget):
    """What a cell shows as its last line: the page of a run, whose numbers can be edited, `height` pixels high.

    `run` takes no arguments and does a forward and a backward pass; every edit runs it again in the kernel, between cells, from
    the same random numbers. Its parameters and inputs are edited in place: the next cell sees them as they were left. A place
    that shows no widgets shows the page of the first run instead.

    Raises:
      ArgumentError: `run` records nothing, or `height` is no positive number of pixels.
    """

    _esm = files("backlit.inspector").joinpath("_static", "widget.js").read_text(encoding="utf-8")
    height = traitlets.Int(640).tag(sync=True)

    def __init__(self, run: Callable[[], Any], *, height: int = 640) -> None:
        if type(height) is not int or height < 1:
            raise ArgumentError(f"LiveWidget: height is a positive number of pixels, not {height!r}")
        self.session = Session(run)
        self._first = self.session.recording
        super().__init__(height=height)
        views = Views(self.session, self.send)
        self.on_msg(lambda _, message, buffers: views.hear(message))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        found = super()._repr_mimebundle_(**options)
        bundle = found[0] if isinstance(found, tuple) else found
        if bundle is not None:  # for places without widgets, such as a notebook turned into a page
            bundle["text/html"] = notebook_page(self._first, self.height)
        return found
