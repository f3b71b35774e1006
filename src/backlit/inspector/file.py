"""Recordings in files: `.blt` to be read again, `.html` to be opened in a browser, from disk, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.core.arguments import positive
from backlit.core.errors import ArgumentError, DataError, FileFormatError
from backlit.diagnose.bands import Bands
from backlit.diagnose.checkpoints import Chosen
from backlit.diagnose.recording import Recording
from backlit.inspector.diagnosed import Followed, keeps_values
from backlit.inspector.loading import recording_of
from backlit.inspector.page import added, page
from backlit.inspector.pictures import Limits
from backlit.inspector.sweep import Sweep, Swept, recorded, sweep_table
from backlit.inspector.tables import Written
from backlit.inspector.wire import MAX_BYTES, pack, unpack
from backlit.io.replace import replaced

Path = str | os.PathLike[str]
Source = Callable[[Limits], tuple[Any, Any]]
_MEGABYTE = 1_000_000


def save(
    recording: Recording,
    path: Path,
    *,
    max_mb: float | None = None,
    sources: bool = True,
    follow: Sequence[Followed] = (),
    bands: Bands | None = None,
    checkpoints: Sequence[Chosen] = (),
    tree_depth: int | None = None,
    sweep: Sweep | None = None,
    run: Callable[..., Any] | None = None,
) -> None:
    """Writes the recording to `path`: a page for a name in `.html`, data for one in `.blt`.

    The page holds everything it needs. Small arrays are kept exactly, of large ones thumbnails; both shrink until the
    file has at most `max_mb` megabytes (of 10^6 bytes). Lines of the user's program around every op are in the file unless
    `sources` is false. Of the last step's parameters some are followed back to the loss, and all that `follow` names: values
    and modules by their paths, `(path, element)` for one element of a gradient, `(path, array)` for any direction of one; each
    costs about two forward passes. What the last step would keep and compute again with checkpoints in groups is compared, and
    with those that `checkpoints` chooses, as `checkpoint_plans` says. `bands` are the limits of health that the page begins with. Trees
    of contributions, of two parameters and of what `follow` names, have three levels and a few rows, or `tree_depth` levels and
    up to 2,000 rows.

    With `sweep` the page also has `run()` recorded for each of the values it declares, and slides over them: `{"x": [..]}` of an
    input or a parameter, `{("0/weight", (2, 1)): [..]}` of one element, `{"lr": [..]}` of an argument of `run`, which
    does a forward and a backward pass. Each value costs a run and adds a recording to the file. The file is replaced as a whole,
    or, on an error, not at all.

    Raises:
      ArgumentError: the name ends in neither, or `follow` has what got no gradient, or `checkpoints` what is no call, or they
        ask for more of a recording that was read from a file or has statistics alone, or `sweep` has a variable that `run`
        has not.
      DataError: the file cannot be written, or not be made so small.
    """
    name = os.fspath(path)
    if not name.endswith((".html", ".blt")):
        raise ArgumentError(f"save: {name} must end in .html (a page) or .blt (data)")
    if tree_depth is not None and (type(tree_depth) is not int or tree_depth < 1):
        raise ArgumentError(f"save: tree_depth is a positive number of levels, not {tree_depth!r}")
    if bands is not None and not isinstance(bands, Bands):
        raise ArgumentError(f"save: bands are diagnose.bands.Bands, such as Bands(amber=2), not {bands!r}")
    for option, listed in (("follow", follow), ("checkpoints", checkpoints)):
        if isinstance(listed, str):
            raise ArgumentError(f"save: {option} is a list, such as [{listed!r}], not {listed!r}")
    for asked in follow:
        if not isinstance(asked, str) and not (
            isinstance(asked, (tuple, list)) and len(asked) == 2 and isinstance(asked[0], str)
        ):
            raise ArgumentError(
                f"save: follow has names of nodes or modules, or pairs of one and an element or direction, not {asked!r}"
            )
    if max_mb is not None:
        max_mb = positive("save", "max_mb", max_mb)
    if follow or checkpoints or tree_depth:
        what = "followed" if follow else "compared" if checkpoints else "opened"
        if recording.packed is not None:
            raise ArgumentError(f"save: nothing more can be {what} in a recording that was read from a file")
        if not keeps_values(recording):
            raise ArgumentError(f"save: nothing can be {what} in a recording of statistics, or of nothing")
    source = _source(recording, sources, follow, checkpoints, bands, tree_depth)
    title = os.path.basename(name).rsplit(".", 1)[0]
    swept: list[tuple[Swept, Source]] = []
    if sweep is not None or run is not None:
        if sweep is None or run is None:
            raise ArgumentError(
                "save: a sweep needs sweep=, the values, and run=, the function that is recorded with each"
            )
        if not name.endswith(".html"):
            raise ArgumentError(f"save: a sweep is part of a page; {name} must end in .html")
        swept = [
            (found, _source(found.recording, sources, follow, checkpoints, bands, tree_depth))
            for found in recorded(sweep, run)
        ]
    data = _fitting(source, name.endswith(".html"), max_mb, title, swept)
    with replaced(path, "save") as temporary, open(temporary, "wb") as file:
        file.write(data)


def _fitting(
    source: Source, as_page: bool, max_mb: float | None, title: str, swept: Sequence[tuple[Swept, Source]]
) -> bytes:
    limits = Limits()
    while True:
        others = [pack(*of(limits.tighter().tighter())) for _, of in swept]
        tables, info = source(limits)
        if swept:
            tables = {**tables, "sweep": sweep_table([found for found, _ in swept], [added(other) for other in others])}
        packed = pack(tables, info)
        data = page(packed, title=title, swept=others).encode() if as_page else packed
        if max_mb is None or len(data) <= max_mb * _MEGABYTE:
            return data
        if limits.side <= 1:
            raise DataError(
                f"save: the recording takes {len(data) / _MEGABYTE:.2f} MB without the contents of arrays, more than "
                f"max_mb={max_mb}; record fewer steps{' or values' if swept else ''}"
            )
        limits = limits.tighter()


def packed_of(recording: Recording, limits: Limits, sources: bool = True) -> bytes:
    """The bytes of a `.blt` file."""
    return pack(*_source(recording, sources)(limits))


def _source(
    recording: Recording,
    sources: bool,
    follow: Sequence[Followed] = (),
    checkpoints: Sequence[Chosen] = (),
    bands: Bands | None = None,
    tree_depth: int | None = None,
) -> Source:
    """What gives the tables for limits: made once, or those of the file that the recording was read from."""
    if recording.packed is None:
        written = Written(
            recording, sources, follow=follow, checkpoints=checkpoints, bands=bands, tree_depth=tree_depth
        )
        return written.tables
    tables, info = recording.packed
    if bands is not None:
        info = {**info, "bands": bands.limits()}
    if not sources:
        tables = {**tables, "source": {**tables["source"], "snippet": [None] * len(tables["source"]["snippet"])}}
    return lambda limits: (tables if limits.side > 1 else _without_pictures(tables), info)


def _without_pictures(tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tables of a file without the contents of arrays, of which no other column may speak then."""
    speak: dict[str, tuple[str, ...]] = {
        "stat": ("array",),
        "edge": ("array",),
        "partial": ("array",),
        "example": ("array",),
    }
    speak["update"] = ("weight", "grad", "change")
    speak["optstate"] = ("array",)
    found = dict(tables)
    for name, columns in speak.items():
        if name in tables:
            none = {column: np.full_like(tables[name][column], -1) for column in columns if column in tables[name]}
            found[name] = {**tables[name], **none}
    return found | {k: {n: c[:0] for n, c in tables[k].items()} for k in ("array", "raw")}


def load_recording(path: Path) -> Recording:
    """The recording of a `.blt` file.

    Its nodes have their names, places, statistics, contributions and, where the file has the exact contents, arrays; it can
    be shown and saved, not be run again.

    Raises:
      FileFormatError: the file is no recording, damaged, cut short, or of a later version.
      DataError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"load_recording: cannot read {os.fspath(path)}: {error.strerror or error}") from error
    try:
        return recording_of(*unpack(data))
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)}: {error}") from error
