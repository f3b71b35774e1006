"""`backlit inspect`: the page of a recording."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from backlit.inspector.file import load_recording, save


def inspect(
    file: Annotated[str, typer.Argument(help="A recording, as saved by recording.save('x.blt').")],
    out: Annotated[str | None, typer.Option(help="Where to write the page; default FILE with .html.")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the page, open no browser.")] = False,
    no_sources: Annotated[bool, typer.Option("--no-sources", help="Leave out the lines of the program.")] = False,
) -> None:
    """Writes the page of a recording and opens it in the browser."""
    recording = load_recording(file)
    page = Path(out) if out is not None else Path(file).with_suffix(".html")
    save(recording, page, sources=not no_sources)
    typer.echo(f"page  {page}")
    if not no_open:
        webbrowser.open(page.resolve().as_uri())
