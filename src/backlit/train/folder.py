"""The folder of a run of `backlit train`: it takes its name when the run is done, and can be found again when it is not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backlit.core.errors import BacklitError, DataError
from backlit.train.job import CHECKPOINTS, HISTORY, MODEL

REPORT, PAGE = "report.txt", "report.html"
OWN = {MODEL, HISTORY, REPORT, PAGE, CHECKPOINTS}


@contextmanager
def output_folder(
    wanted: str | None, name: str, force: bool = False, resume: bool = False
) -> Iterator[tuple[Path, Path]]:
    """A folder to work in, `.<name>.unfinished`, and the name that it takes when the block ends well.

    Without `wanted` the name is `runs/<name>`, with a number when that exists. With `resume` it is the folder that an
    earlier run has left, with its checkpoints. A block that is interrupted or killed leaves it; one that fails does not.

    Raises:
      DataError: the folder exists and `force` is not given, cannot be made, or there is none to be resumed.
    """
    final = Path("runs") / name if wanted is None else Path(wanted)
    if final.name in ("", ".."):  # this folder or the one above, which have a name all the same
        final = final.resolve()
    made: list[Path] = []  # what is removed again when nothing is written
    if resume:
        final = _stopped(final, numbered=wanted is None)
    else:
        final, made = _free(final, numbered=wanted is None, force=force)
    work = _unfinished(final)
    was_there = resume and not work.exists()
    if was_there:
        final.rename(work)
    try:
        yield work, final
        if final.exists():
            shutil.rmtree(final)
        work.rename(final)
    except (BacklitError, OSError):
        if was_there:
            work.rename(final)
        for folder in made:
            shutil.rmtree(folder) if folder == work else folder.rmdir()
        raise


def _unfinished(final: Path) -> Path:
    return final.with_name(f".{final.name}.unfinished")


def _numbered(final: Path) -> Iterator[Path]:
    yield final
    number = 2
    while True:
        yield final.with_name(f"{final.name}-{number}")
        number += 1


def _free(final: Path, numbered: bool, force: bool) -> tuple[Path, list[Path]]:
    """Where a new run goes, and the folders that were made for it: where it works, and those above."""
    if numbered:
        final = next(path for path in _numbered(final) if not path.exists() and not _unfinished(path).exists())
    work = _unfinished(final)
    if final.exists() and not force:
        raise DataError(f"{final} exists already; choose another --out, or replace it with --force")
    if final.exists() and not (final.is_dir() and {p.name for p in final.iterdir()} <= OWN):
        raise DataError(f"{final} holds other things than a model; --force does not replace it")
    if work.exists():
        if not force:
            raise DataError(f"a run into {final} was not finished; go on with --resume, or start anew with --force")
        shutil.rmtree(work)
    try:
        parents = [p for p in final.parents if not p.exists()]  # removed again when nothing is written
        final.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        return final, [work, *parents]
    except OSError as error:
        raise DataError(f"cannot write to {final.parent}: {error.strerror or error}") from error


def _stopped(final: Path, numbered: bool) -> Path:
    """The name of the last run that was killed or interrupted."""
    names = [final]
    if numbered:
        names = []
        for path in _numbered(final):
            if not (path.exists() or _unfinished(path).exists()):
                break
            names.insert(0, path)  # the last first
    for path in names:
        if _unfinished(path).exists() or (path / CHECKPOINTS).is_dir():
            return path
    raise DataError(f"--resume: there is no run into {final} that was stopped before its end")
