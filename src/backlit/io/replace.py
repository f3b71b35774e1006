"""Replace a file as a whole: whoever opens the path finds the old contents or the new, never a part."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backlit.core.errors import DataError

Path = str | os.PathLike[str]


@contextmanager
def replaced(path: Path, who: str) -> Iterator[str]:
    """The path of a temporary file in the folder of `path`, which becomes `path` when the block ends well.

    It is flushed to the disk and renamed; when the block raises it is removed and `path` is as before. A link stays
    a link, and a file that was there keeps its permissions. `who` opens the messages of errors.

    Raises:
      DataError: `path` is a folder or no ordinary file, its folder does not exist, or it cannot be written.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise DataError(f"{who}: {os.fspath(path)} is a folder; name a file in it")
    if os.path.lexists(target) and not os.path.isfile(target):
        # Renaming over a device or a pipe would destroy it.
        raise DataError(f"{who}: {os.fspath(path)} is a device or a pipe; name an ordinary file")
    if not os.path.isdir(folder):
        raise DataError(f"{who}: {os.fspath(path)}: the folder {folder} does not exist; create it first")
    temporary = os.path.join(folder, f".backlit-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb"):
            mode = stat.S_IMODE(os.stat(target if os.path.exists(target) else temporary).st_mode)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
        _flush_folder(folder)
    except OSError as error:
        raise DataError(f"{who}: cannot write {os.fspath(path)}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _flush_folder(folder: str) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
