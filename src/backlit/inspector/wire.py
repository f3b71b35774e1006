"""The container of a recording: a JSON header and columns of numbers, gzipped.

    bytes 0..3   "BLT1"
    bytes 4..7   length of the header, unsigned, little-endian
    header       JSON, padded with spaces so that the data begins at a multiple of 8
    data         the columns, each from a multiple of 8, little-endian

The header lists the tables, the columns of each with type, shape of one row and place in the data, the
strings that columns of text point into, and `info`, a JSON object about the whole.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from backlit.core.errors import FileFormatError

MAGIC = b"BLT1"
FORMAT = "backlit recording"
VERSION = 1
MAX_BYTES = 1 << 30  # more is refused before it fills the memory

Column: TypeAlias = "np.ndarray[Any, Any] | Sequence[str | None]"
Tables: TypeAlias = "Mapping[str, Mapping[str, Column]]"

_KINDS = {np.dtype(d): d for d in ("i1", "u1", "i4", "u4", "f4", "f8")}


def pack(tables: Tables, info: Mapping[str, Any], level: int = 6) -> bytes:
    """The gzipped container of `tables`; 64-bit integers become float64, text becomes indices into one list.

    A column is an array whose first axis counts the rows, or a sequence of `str` and `None`. The same tables
    give the same bytes; `level` is how hard gzip tries.
    """
    strings: dict[str, int] = {}
    blocks: list[bytes] = []
    place = 0
    described: dict[str, Any] = {}
    for name, columns in tables.items():
        rows = {len(c) for c in columns.values()}
        if len(rows) > 1:
            raise ValueError(f"table {name}: columns of {sorted(rows)} rows")
        listed = {}
        for column, given in columns.items():
            if isinstance(given, np.ndarray):
                values = given.astype(np.float64) if given.dtype in (np.int64, np.uint64) else given
                if values.dtype == np.bool_:
                    values = values.astype(np.uint8)
                kind = _KINDS[values.dtype.newbyteorder("=")]
            else:
                kind = "str"
                values = np.array([-1 if s is None else strings.setdefault(s, len(strings)) for s in given], np.int32)
            data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
            listed[column] = {"dtype": kind, "shape": list(values.shape[1:]), "at": place}
            data += bytes(-len(data) % 8)
            blocks.append(data)
            place += len(data)
        described[name] = {"rows": rows.pop() if rows else 0, "columns": listed}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "info": dict(info),
        "strings": list(strings),
        "tables": described,
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % 8)
    whole = MAGIC + len(text).to_bytes(4, "little") + text + b"".join(blocks)
    return gzip.compress(whole, level, mtime=0)


def unpack(data: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Tables and info of a container made by `pack`; text columns become lists of `str` and `None`.

    Raises:
      FileFormatError: the bytes are something else, damaged, cut short, too large, or of a later version.
    """
    try:
        return _checked(_inflated(data))
    except FileFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(f"a damaged recording: {error!r}") from error


def _inflated(data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        raise FileFormatError("not a recording: it is not gzipped")
    inflater = zlib.decompressobj(31)
    try:
        whole = inflater.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise FileFormatError(f"a damaged recording: {error}") from error
    if len(whole) == MAX_BYTES and not inflater.eof:
        raise FileFormatError(f"a recording of more than {MAX_BYTES >> 20} MiB")
    if not inflater.eof:
        raise FileFormatError("a recording that is cut short")
    if whole[:4] != MAGIC:
        raise FileFormatError("not a recording: the first bytes are not BLT1")
    return whole


def _checked(whole: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    length = int.from_bytes(whole[4:8], "little")
    start = 8 + length
    if start > len(whole):
        raise FileFormatError("a recording whose header is cut short")
    header = json.loads(whole[8:start])
    if not isinstance(header, dict) or header.get("format") != FORMAT or type(header.get("version")) is not int:
        raise FileFormatError("not a recording: its header names another format")
    if header["version"] > VERSION:
        raise FileFormatError(f"a recording of version {header['version']}; this backlit reads up to {VERSION}")
    strings, info = header["strings"], header["info"]
    if not isinstance(strings, list) or not all(type(s) is str for s in strings) or not isinstance(info, dict):
        raise FileFormatError("a damaged recording: its strings or its info are something else")
    room = len(whole) - start
    tables: dict[str, dict[str, Any]] = {}
    for name, table in header["tables"].items():
        columns = tables[name] = {}
        rows = _count(table["rows"])
        for column, about in table["columns"].items():
            dtype, at = about["dtype"], _count(about["at"])
            if dtype != "str" and dtype not in _KINDS.values():
                raise FileFormatError(f"a damaged recording: column {column!r} has type {dtype!r}")
            kind = np.dtype("<i4" if dtype == "str" else "<" + dtype)
            shape = (rows, *(_count(n) for n in about["shape"]))
            if at % 8 or at + math.prod(shape) * kind.itemsize > room:
                raise FileFormatError(f"a damaged recording: column {column!r} of table {name!r} lies beyond the data")
            values = np.frombuffer(whole, kind, math.prod(shape), start + at).reshape(shape)
            if dtype != "str":
                columns[column] = values
            elif len(shape) == 1 and values.max(initial=-1) < len(strings):
                columns[column] = [None if i < 0 else strings[i] for i in values.tolist()]
            else:
                raise FileFormatError(f"a damaged recording: column {column!r} names a string that is not there")
    return tables, info


def _count(n: Any) -> int:
    if type(n) is not int or not 0 <= n <= MAX_BYTES:
        raise FileFormatError(f"a damaged recording: {n!r} where a count or a place belongs")
    return n
