"""One HTML file that holds a recording and the program that draws it; it opens from disk without a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from importlib.resources import files

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; "
    "worker-src blob:; font-src data:; img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def page(
    recording: bytes, *, title: str = "backlit", connect: str = "", live: str = "", swept: Sequence[bytes] = ()
) -> str:
    """The page of a packed recording (`wire.pack`), as text of one HTML file.

    The recording's bytes travel as base64 in a script element that no browser runs; names and source text
    inside it never become markup. A page that stays connected gets the path of its socket as `live`, and may speak to
    `connect` alone; with "parent" as `live` it speaks through what is around its frame. `swept` are the
    recordings of a sweep, one for each row of the recording's table `sweep`.
    """
    policy = f"{_POLICY}; connect-src {connect}" if connect else _POLICY
    built = files("backlit.inspector").joinpath("_static")
    style = built.joinpath("inspector.css").read_text(encoding="utf-8")
    script = built.joinpath("inspector.js").read_text(encoding="utf-8")
    return "".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n",
            '<div id="inspector"></div>\n<script type="text/plain" id="recording">',
            base64.b64encode(recording).decode(),
            f'</script>\n<script type="text/plain" id="socket">{live}' if live else "",
            "</script>\n",
            *[_carried(each) for each in swept],
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _carried(recording: bytes) -> str:
    return f'<script type="text/plain" class="swept">{base64.b64encode(recording).decode()}</script>\n'


def added(recording: bytes) -> int:
    """The bytes by which a page grows with one more recording of a sweep."""
    return len(_carried(recording))
