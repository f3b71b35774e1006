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
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from backlit.core.errors import FileFormatError

MAGIC = b"BLT1"
FORMAT = "backlit recording"
VERSION = 1

Column: TypeAlias = "np.ndarray[Any, Any] | Sequence[str | None]"
Tables: TypeAlias = "Mapping[str, Mapping[str, Column]]"

_KINDS = {np.dtype(d): d for d in ("i1", "u1", "i4", "u4", "f4", "f8")}


def pack(tables: Tables, info: Mapping[str, Any]) -> bytes:
    """The gzipped container of `tables`; 64-bit integers become float64, text becomes indices into one list.

    A column is an array whose first axis counts the rows, or a sequence of `str` and `None`. The same tables
    give the same bytes.
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
    return gzip.compress(whole, 6, mtime=0)


def unpack(data: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Tables and info of a container made by `pack`; text columns become lists of `str` and `None`.

    Raises FileFormatError where the bytes are something else, cut short, or of a later version.
    """
    try:
        whole = gzip.decompress(data)
        if whole[:4] != MAGIC:
            raise FileFormatError("not a recording: the first bytes are not BLT1")
        length = int.from_bytes(whole[4:8], "little")
        header = json.loads(whole[8 : 8 + length])
        if header["version"] > VERSION:
            raise FileFormatError(f"a recording of version {header['version']}; this backlit reads up to {VERSION}")
        strings, start = header["strings"], 8 + length
        tables: dict[str, dict[str, Any]] = {}
        for name, table in header["tables"].items():
            columns = tables[name] = {}
            for column, about in table["columns"].items():
                text = about["dtype"] == "str"
                kind = np.dtype("<i4" if text else about["dtype"]).newbyteorder("<")
                shape = (table["rows"], *about["shape"])
                count = int(np.prod(shape))
                values = np.frombuffer(whole, kind, count, start + about["at"]).reshape(shape)
                columns[column] = [None if i < 0 else strings[i] for i in values.tolist()] if text else values
        return tables, header["info"]
    except (OSError, EOFError, KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"not a recording, or a damaged one: {error}") from error
