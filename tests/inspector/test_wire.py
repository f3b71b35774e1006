"""The container of recordings: what goes in comes out, and anything else is refused by name."""

import gzip
import json

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import FileFormatError
from backlit.inspector.wire import pack, unpack

TABLES = {
    "node": {
        "name": ["x", None, "x", "</script>é"],
        "size": np.array([1, 2, 3, 1 << 40]),
        "kind": np.array([0, 1, 2, 255], np.uint8),
        "pair": np.arange(8, dtype=np.float32).reshape(4, 2),
        "seen": np.array([True, False, True, True]),
    },
    "raw": {"byte": np.arange(5, dtype=np.uint8)},
    "nothing": {"at": np.zeros(0, np.int32)},
}


def test_tables_come_back():
    tables, info = unpack(pack(TABLES, {"a": [1, "b"]}))
    assert info == {"a": [1, "b"]}
    assert tables["node"]["name"] == TABLES["node"]["name"]
    np.testing.assert_array_equal(tables["node"]["size"], [1.0, 2.0, 3.0, 2.0**40])
    np.testing.assert_array_equal(tables["node"]["pair"], TABLES["node"]["pair"])
    np.testing.assert_array_equal(tables["node"]["seen"], [1, 0, 1, 1])
    np.testing.assert_array_equal(tables["raw"]["byte"], TABLES["raw"]["byte"])
    assert len(tables["nothing"]["at"]) == 0


def test_the_layout_is_as_described():
    whole = gzip.decompress(pack(TABLES, {}))
    length = int.from_bytes(whole[4:8], "little")
    header = json.loads(whole[8 : 8 + length])
    assert whole[:4] == b"BLT1" and (8 + length) % 8 == 0
    assert header["format"] == "backlit recording" and header["version"] == 1
    columns = [c for t in header["tables"].values() for c in t["columns"].values()]
    assert all(c["at"] % 8 == 0 for c in columns)
    assert header["strings"] == ["x", "</script>é"]


def test_same_tables_same_bytes():
    assert pack(TABLES, {"a": 1}) == pack(TABLES, {"a": 1})


def test_columns_of_one_table_have_one_length():
    with pytest.raises(ValueError, match="node"):
        pack({"node": {"a": np.zeros(2, np.int32), "b": ["x"]}}, {})


@pytest.mark.parametrize(
    "data",
    [b"", b"no", gzip.compress(b"BLT2"), gzip.compress(b"BLT1\x05\0\0\0{}")],
    ids=["nothing", "not gzipped", "other magic", "not JSON"],
)
def test_what_is_no_recording_is_refused(data):
    with pytest.raises(FileFormatError, match="recording"):
        unpack(data)


def test_a_cut_or_later_recording_is_refused():
    data = pack(TABLES, {})
    with pytest.raises(FileFormatError):
        unpack(data[: len(data) // 2])
    whole = bytearray(gzip.decompress(data))
    with pytest.raises(FileFormatError):
        unpack(gzip.compress(bytes(whole[:-40])))
    at = whole.index(b'"version":1')
    whole[at + 10 : at + 11] = b"2"
    with pytest.raises(FileFormatError, match="version 2"):
        unpack(gzip.compress(bytes(whole)))
    assert issubclass(FileFormatError, bl.BacklitError)
