"""Arrays from files: IDX, as the digits of MNIST come, and NPZ."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from backlit.core.errors import DataError, FileFormatError
from backlit.data.on_disk import npy_header
from backlit.io.replace import Path, replaced

Array = np.ndarray[Any, Any]
_CODES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


def read_idx(path: Path) -> Array:
    """The array of an IDX file, compressed by gzip or not; the machine's byte order.

    Raises:
      FileFormatError: there is no such file, or it is damaged or of another kind.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as plain:
            is_compressed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(name, "rb") if is_compressed else open(name, "rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _CODES:
                raise FileFormatError(f"read_idx: {name} is no IDX file: it begins with {magic.hex(' ')}")
            dtype, lengths = np.dtype(_CODES[magic[2]]), file.read(4 * magic[3])
            if len(lengths) < 4 * magic[3]:
                raise FileFormatError(f"read_idx: {name} is damaged: it ends within its head")
            shape = struct.unpack(f">{magic[3]}I", lengths)
            expected = math.prod(shape) * dtype.itemsize
            content = _read(file, expected)
            if len(content) != expected or file.read(1):
                found = len(content) if len(content) < expected else "more"
                raise FileFormatError(
                    f"read_idx: {name} is damaged: {dtype.name}{list(shape)} takes {expected} bytes, it has {found}"
                )
    except _DAMAGE as error:
        raise FileFormatError(f"read_idx: {name} is damaged: {error}") from error
    except OSError as error:
        raise FileFormatError(f"read_idx: cannot read {name}: {error.strerror or error}") from error
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def write_idx(array: Any, path: Path) -> None:
    """Writes an array as an IDX file, compressed where the name ends in .gz; the file is replaced as a whole.

    Raises:
      DataError: the format has not the dtype, or the file cannot be written.
    """
    x = np.asarray(array)
    code = next((c for c, kind in _CODES.items() if np.dtype(kind) == x.dtype.newbyteorder(">")), None)
    if code is None:
        raise DataError(
            f"write_idx: the format has no {x.dtype}; convert to one of uint8, int8, int16, int32, float32, float64"
        )
    content = bytes([0, 0, code, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.astype(_CODES[code]).tobytes()
    with replaced(path, "write_idx") as temporary, open(temporary, "wb") as file:
        file.write(gzip.compress(content, mtime=0) if os.fspath(path).endswith(".gz") else content)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name, as `numpy.savez` writes it. Python objects are not read: that would run code.

    Raises:
      FileFormatError: there is no such file, or it is damaged, of another kind, or holds Python objects.
    """
    name = os.fspath(path)
    arrays = {}
    try:
        with zipfile.ZipFile(name) as archive:
            for member in archive.infolist():
                where = f"read_npz: {name}: {member.filename}"
                with archive.open(member) as file:
                    shape, in_columns, dtype = npy_header(file, where)
                    expected = math.prod(shape) * dtype.itemsize
                    content = _read(file, expected)
                    if len(content) != expected or file.read(1):
                        raise FileFormatError(
                            f"{where} is damaged: {dtype}{list(shape)} takes {expected} bytes, it has others"
                        )
                order: Any = "F" if in_columns else "C"
                arrays[member.filename.removesuffix(".npy")] = np.ndarray(shape, dtype, content, order=order)
    except (*_DAMAGE, zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error) as error:
        raise FileFormatError(f"read_npz: {name} is damaged or no .npz file: {error}") from error
    except OSError as error:
        raise FileFormatError(f"read_npz: cannot read {name}: {error.strerror or error}") from error
    return arrays


def _read(file: Any, n_bytes: int) -> bytearray:
    """Up to so many bytes; memory is taken only for what is there, whatever a damaged head asks for."""
    content = bytearray()
    while len(content) < n_bytes and (piece := file.read(min(n_bytes - len(content), 1 << 24))):
        content += piece
    return content
