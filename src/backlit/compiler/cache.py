"""Machine code on disk: what was compiled once is loaded the next time, in this process or another.

An entry is found by a digest of all that determines the code: the LLVM IR, the target with its options, the versions of
LLVM, llvmlite and backlit. It carries a checksum; an entry that is damaged counts as absent and is written again. The
folder belongs to the user alone, as what lies in it is run. Nothing here raises: a disk that is full or not writable only
means that the next process compiles again.

Settings, read at each look: `BACKLIT_CACHE=0` turns the cache off, `BACKLIT_CACHE_DIR` names another folder,
`BACKLIT_CACHE_MIB` the most it may take (512).
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
import sys
import time
import warnings
from contextlib import suppress

log = logging.getLogger("backlit")
MAGIC = b"backlit object 1\n"
SUFFIX = ".o"
TEMPORARY = ".tmp"
STALE_S = 3600.0  # a temporary file of that age is of a process that died
DEFAULT_MIB = 512
KEPT = 0.75  # of the limit, once it has been reached: room for some entries before the next time
_OFF = ("0", "off", "no", "false")
_OWNERS = hasattr(os, "getuid")  # elsewhere the user's own folder is private by its default rights
_warned: set[str] = set()


def folder() -> str | None:
    """Where the entries are, which may not exist yet; None when there is no cache."""
    if os.environ.get("BACKLIT_CACHE", "").strip().lower() in _OFF:
        return None
    if chosen := os.environ.get("BACKLIT_CACHE_DIR"):
        return os.path.abspath(chosen)
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        given = os.environ.get("XDG_CACHE_HOME", "")
        base = given if os.path.isabs(given) else os.path.join(home, ".cache")
    return os.path.join(base, "backlit") if os.path.isabs(base) else None  # no home is known


def key(*parts: str) -> str:
    """The name of an entry: a digest of `parts`, no two lists of which give the same."""
    digest = hashlib.sha256(MAGIC)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def load(name: str) -> bytes | None:
    """What was stored under a name; None when nothing was, or not all of it is as it was."""
    try:
        where = _folder_to_use(create=False)
        if where is None:
            return None
        path = os.path.join(where, name + SUFFIX)
        with open(path, "rb") as file:
            if not _private(os.fstat(file.fileno())):
                _refuse(path)
                return None
            found = file.read()
        content = found[len(MAGIC) + 32 :]
        if found[: len(MAGIC) + 32] != MAGIC + _checksum(name, content):
            log.info("compile: a damaged entry of the cache is made again: %s", path)
            return None
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.info("compile: the cache cannot be read: %s", error)
        return None
    with suppress(OSError):
        os.utime(path)  # what was used last is kept longest
    return content


def store(name: str, content: bytes) -> bool:
    """Puts an entry in its place as a whole, and makes room for it; whether that went well."""
    limit = _limit_bytes()
    whole = MAGIC + _checksum(name, content) + content
    if len(whole) > limit:
        return False
    temporary = None
    try:
        where = _folder_to_use(create=True)
        if where is None:
            return False
        temporary = os.path.join(where, f"{name}-{secrets.token_hex(8)}{TEMPORARY}")
        with open(temporary, "xb", opener=_private_file) as file:
            file.write(whole)
        os.replace(temporary, os.path.join(where, name + SUFFIX))
        temporary = None
        _make_room(where, limit)
    except OSError as error:
        log.info("compile: the cache cannot be written: %s", error)
        return False
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
    return True


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + content).digest()


def _private_file(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _private(found: os.stat_result) -> bool:
    """Whether nobody but the user can have written a file or folder."""
    if not _OWNERS:
        return True
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _folder_to_use(create: bool) -> str | None:
    """The folder once it is there and is the user's own; None when there is none."""
    where = folder()
    if where is None:
        return None
    if create and not os.path.isdir(where):
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(where, 0o700)
    if not _private(os.stat(where)):
        _refuse(where)
        return None
    return where


def _refuse(path: str) -> None:
    """Says once that something is not used because others could have written it."""
    if path not in _warned:
        _warned.add(path)
        warnings.warn(
            f"compile: {path} belongs to another user or can be written by others, so no machine code is loaded from "
            "it; remove it, or name a folder of your own in BACKLIT_CACHE_DIR",
            RuntimeWarning,
            stacklevel=2,
        )


def _limit_bytes() -> int:
    try:
        return int(float(os.environ.get("BACKLIT_CACHE_MIB", DEFAULT_MIB)) * 2**20)
    except (ValueError, OverflowError):
        return DEFAULT_MIB * 2**20


def _make_room(where: str, limit: int) -> None:
    """Removes what was not used for longest when the folder has grown too large, and what dead processes left."""
    entries: list[tuple[float, int, str]] = []
    with os.scandir(where) as found:
        for entry in found:
            with suppress(FileNotFoundError):  # another process removed it
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(SUFFIX):
                    entries.append((status.st_mtime, status.st_size, entry.path))
                elif entry.name.endswith(TEMPORARY) and time.time() - status.st_mtime > STALE_S:
                    os.unlink(entry.path)
    total = sum(size for _, size, _ in entries)
    if total <= limit:
        return
    for _, size, path in sorted(entries):
        with suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
        if total <= KEPT * limit:
            return
