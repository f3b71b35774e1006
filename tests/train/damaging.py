"""Checkpoints damaged in every way, by accident and on purpose: each must be refused in one sentence, and the one before it used."""

from __future__ import annotations

import json
import random
import re
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import backlit as bl
from backlit import nn, optim
from backlit.io import state as files
from backlit.train import KeepBest, Trainer
from backlit.train.checkpoints import Checkpoints

MOST_BYTES = 500 << 20  # of memory for one file

Damage = tuple[str, bytes]


def make(folder: Path) -> tuple[bytes, bytes]:
    """Two checkpoints of one run, the older first."""
    bl.random.seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 6)).astype(np.float32), rng.integers(0, 3, 64)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = optim.Adam(model.parameters())
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), callbacks=[KeepBest("loss")], compile=False)
    trainer.fit((x, y), 2, batch_size=16, checkpoints=folder, keep=2, every=3, verbose=False)
    older, newer = Checkpoints(folder, 2).paths()
    return older.read_bytes(), newer.read_bytes()


def accidents(good: bytes, older: bytes, chance: random.Random, n: int) -> Iterator[Damage]:
    """What disks, copies and crashes do: cut off, flipped, overwritten, mixed up."""
    (n_header,) = struct.unpack("<Q", good[:8])
    for length in sorted({*range(40), n_header, n_header + 7, n_header + 8, n_header + 9, len(good) - 1}):
        yield "cut off", good[:length]
    for place in range(8):
        for bit in range(8):
            yield "a bit of the length", _flipped(good, place, bit)
    for block in range(0, len(good), 512):
        yield "a block of zeros", good[:block] + bytes(min(512, len(good) - block)) + good[block + 512 :]
    for extra in (1, 8, 4096):
        yield "longer than it was", good + chance.randbytes(extra)
    yield "two mixed up", good[: len(good) // 2] + older[len(good) // 2 :]
    yield "two mixed up", good[: 8 + n_header] + older[8 + struct.unpack("<Q", older[:8])[0] :]
    for _ in range(n):
        yield "cut off", good[: chance.randrange(len(good))]
        yield "a bit of the header", _flipped(good, chance.randrange(8, 8 + n_header), chance.randrange(8))
        yield "a bit of the tensors", _flipped(good, chance.randrange(8 + n_header, len(good)), chance.randrange(8))
        place, length = chance.randrange(len(good)), chance.randint(1, 600)
        noise = chance.randbytes(min(length, len(good) - place))
        if good[place : place + len(noise)] != noise:
            yield "overwritten", good[:place] + noise + good[place + len(noise) :]


def _flipped(good: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(good)
    changed[place] ^= 1 << bit
    return bytes(changed)


def others(chance: random.Random) -> Iterator[Damage]:
    """Files of another kind."""
    for start in (
        b"", b"\0" * 100_000, b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x80\x04\x95cos\nsystem\n", b"\x7fELF",
        b"\x89PNG\r\n\x1a\n", b"{}", b"[]", b"a,b\n1,2\n",
    ):  # fmt: skip
        yield "another kind of file", start
        yield "another kind of file", start + chance.randbytes(5000)


def header_of(good: bytes) -> tuple[dict[str, Any], bytes]:
    """The header as JSON, and the bytes of the tensors."""
    (n,) = struct.unpack("<Q", good[:8])
    return json.loads(good[8 : 8 + n]), good[8 + n :]


def packed(header: Any, tensors: bytes, length: int | None = None) -> bytes:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + tensors


def headers(good: bytes) -> Iterator[Damage]:
    """Headers that lie about the tensors."""
    header, tensors = header_of(good)
    names = [name for name in header if name != "__metadata__"]
    for length in (0, 1, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        yield "a length that lies", packed(header, tensors, length)
    lies: dict[str, list[tuple[str, Any]]] = {
        "a shape that lies": [
            ("shape", s) for s in (
                [1 << 40], [1 << 62, 1 << 62], [1 << 60, 0], [-1], [-(1 << 63)], [1.5], [True], ["8"], [[8]], "8", None, {}, 8,
                [1] * 100, [1e30], [10**30], [math_nan()],
            )
        ],
        "offsets that lie": [
            ("data_offsets", o) for o in (
                [-8, 0], [0, -8], [8, 0], [0, 1 << 62], [(1 << 64) - 8, 1 << 64], [0, 10**30], [0.0, 8.0], [0], [], [0, 4, 8],
                None, "0,8", {}, [[0], [8]], [math_nan(), 8],
            )
        ],
        "a type that lies": [("dtype", d) for d in ("F4", "F128", "O", "float32", "", None, 3, [], "../../F32", "F8_E4M3")],
    }  # fmt: skip
    for what, changes in lies.items():
        for name in (names[0], names[-1]):
            for entry, value in changes:
                yield what, packed({**header, name: {**header[name], entry: value}}, tensors)
    for a, b in ((names[0], names[1]), (names[2], names[5])):
        yield "tensors that overlap", packed({**header, a: header[b]}, tensors)
        yield (
            "tensors that overlap",
            packed({**header, a: {**header[a], "data_offsets": header[b]["data_offsets"]}}, tensors),
        )
    yield "a tensor too few", packed({n: v for n, v in header.items() if n != names[3]}, tensors)
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\boot.ini",
        "\0",
        "a\nb",
        "model.0.weight\u202e",
        "x" * 100_000,
    ):
        yield "another name", packed({(name if n == names[0] else n): v for n, v in header.items()}, tensors)
    for name in (names[0], "__metadata__"):
        text = json.dumps(header)
        twice = text[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}"
        yield "a name twice", packed(twice.encode(), tensors)
    for depth in (200, 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = (opening * depth + "1" + closing * depth).encode()
            yield "nested too deep", packed(nested, tensors)
            yield "nested too deep", packed(b'{"a": ' + nested + b"}", tensors)
    for text in (
        b"\xff\xfe",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"x"',
        b"{}",
        b'{"__metadata__": {"backlit": 3}}',
        b'{"a": NaN}',
    ):
        yield "no such JSON", packed(text, tensors)
    lists = b'{"__metadata__": {"a": ' + b"[]," * (5 << 20) + b"[]}}"
    yield "a header of 15 MiB", packed(lists, b"")
    empty = ", ".join(f'"{n}": {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}' for n in range(200_000))
    yield "a header of 15 MiB", packed(f"{{{empty}}}".encode(), b"")
    wide = b'{"__metadata__": {"a": "' + b"x" * (17 << 20) + b'"}}'
    yield "a header of 17 MiB", packed(wide, b"")


def math_nan() -> float:
    """NaN, which JSON has not."""
    return float("nan")


def forged(good: bytes, change: Callable[[dict[str, Any], dict[str, np.ndarray[Any, Any]]], None]) -> bytes:
    """A file changed on purpose: its checksums are right."""
    header, tensors = header_of(good)
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            dtype = files._STORED[entry["dtype"]]
            arrays[name] = np.frombuffer(tensors[begin:end], dtype).reshape(entry["shape"]).copy()
    head = json.loads(header["__metadata__"]["backlit"].partition(" ")[2])
    change(head, arrays)
    if "tensors_crc32" in head and head["tensors_crc32"] is not None:
        head["tensors_crc32"] = files._checksum(arrays)
    text = head["text"] if "text" in head else json.dumps(head)
    entries: dict[str, Any] = {"__metadata__": {"backlit": f"{zlib.crc32(text.encode())} {text}"}}
    data = b""
    kinds = {name: kind for kind, name in files._STORED.items()}
    for name, array in sorted(arrays.items(), key=lambda pair: -pair[1].dtype.itemsize):
        entries[name] = {
            "dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes],
        }  # fmt: skip
        data += array.tobytes()
    return packed(entries, data)


def _entry(node: Any, *path: Any) -> tuple[list[Any], int]:
    """The list and the place in it that hold what is at a path of a tree as it is stored."""
    holder, place = [node], 0
    for key in path:
        here = holder[place]
        if isinstance(here, list):
            holder, place = here, key
        else:
            pair = next(pair for pair in here["dict"] if pair[0] == key)
            holder, place = pair, 1
    return holder, place


def forgeries(good: bytes) -> Iterator[Damage]:
    """States that no run leaves, with checksums that are right."""

    def put(value: Any, *path: Any) -> bytes:
        def change(head: dict[str, Any], arrays: dict[str, Any]) -> None:
            holder, place = _entry(head["tree"], *path)
            holder[place] = value

        return forged(good, change)

    nan, infinity = {"float": "nan"}, {"float": "inf"}
    wrong = [
        nan,
        infinity,
        -1,
        1 << 64,
        10**400,
        1.5,
        True,
        None,
        "3",
        [],
        {"dict": []},
        {"tuple": [1]},
        {"code": "import os"},
    ]
    for name in ("epoch", "step", "batch", "rows", "skipped"):
        for value in wrong:
            yield "a count that none can be", put(value, "progress", name)
    for name in ("bytes", "crc32"):
        for value in wrong:
            yield "a count that none can be", put(value, "history", name)
    for name in ("counter", "children", "key"):
        for value in wrong:
            yield "a generator that none can be", put(value, "generators", 0, name)
    for value in (nan, infinity, -1.0, 1, "3", None, []):
        yield "a time that none can be", put(value, "progress", "seconds")
    for value in (nan, 1, "yes", None):
        yield "a truth that none can be", put(value, "progress", "trained")
        yield "a truth that none can be", put(value, "progress", "stopped")
    for name in ("progress", "history", "model", "optimizers", "metrics", "callbacks", "generators"):
        for value in (None, 3, "x", nan, {"tuple": []}):
            yield "a part of another kind", put(value, name)
    for version in (0, 2, 1.0 + 1e-9, "1", None, [], 1 << 70):
        yield "another version", forged(good, lambda head, _, v=version: head.update(version=v))
    for metadata in ({}, {"format": "backlit model 1"}, {"format": None}, {"format": "../../etc"}, [], None, "x"):
        yield "another format", forged(good, lambda head, _, m=metadata: head.update(metadata=m))
    for checksum in (0, None, "x", nan):
        yield (
            "another checksum",
            forged(good, lambda head, _, c=checksum: head.pop("tensors_crc32") and head.update(crc=c)),
        )

    def twice(head: dict[str, Any], arrays: dict[str, Any]) -> None:
        model = _entry(head["tree"], "model")[0][1]["dict"]
        model[1][1] = model[0][1]

    def key_twice(head: dict[str, Any], arrays: dict[str, Any]) -> None:
        model = _entry(head["tree"], "model")[0][1]["dict"]
        model.append(model[0])

    def left_over(head: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays["more"] = np.zeros(3)

    def absent(head: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays.pop(next(iter(arrays)))

    def odd_key(key: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
        def change(head: dict[str, Any], arrays: dict[str, Any]) -> None:
            _entry(head["tree"], "model")[0][1]["dict"][0][0] = key

        return change

    for change in (
        twice,
        key_twice,
        left_over,
        absent,
        odd_key(None),
        odd_key([1]),
        odd_key({}),
        odd_key(1.5),
        odd_key(True),
    ):
        yield "a tree that does not fit", forged(good, change)
    for text in (
        "[" * 200_000, '{"version": 1, "tree": ' + "[" * 100_000 + "]" * 100_000 + "}", "{", "", "NaN", '{"version": NaN}',
        '{"version": 1, "version": 1}', '{"version": ' + "9" * 100_000 + "}",
    ):  # fmt: skip
        yield "a head that none can be", forged(good, lambda head, _, t=text: head.update(text=t))


def every_damage(older: bytes, newer: bytes, seed: int, n: int) -> list[Damage]:
    """All of it, and at least `n` files in all: as many accidents as are needed."""
    chance = random.Random(seed)
    found = [*others(chance), *headers(newer), *forgeries(newer)]
    found += accidents(newer, older, chance, 0)
    left = max(0, n - len(found))
    found += accidents(newer, older, chance, -(-left // 4))
    return [(what, file) for what, file in dict.fromkeys(found) if file != newer]


def refused(folder: Path, older: bytes, file: Callable[[Path], Any]) -> tuple[str, float, int]:
    """What is said of a damaged newest checkpoint, the seconds it took and the bytes at most; the older one must be given."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "step-000000006.safetensors").write_bytes(older)
    file(folder / "step-000000008.safetensors")
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = Checkpoints(folder).newest()
    took = time.perf_counter() - began
    most = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10  # beyond what there ever was before
    assert found is not None and found[1].name == "step-000000006.safetensors", "the damaged file was taken"
    assert found[0]["progress"]["step"] == 6
    (warning,) = caught
    assert warning.category is RuntimeWarning
    text = str(warning.message)
    assert (
        "\n" not in text and len(text) < 1000 and re.search(r"step-000000008.*; going back to step-000000006", text)
    ), text
    assert {p.name for p in folder.iterdir()} == {"step-000000006.safetensors", "step-000000008.safetensors.damaged"}
    assert most < MOST_BYTES, most
    return text, took, most


def report(folder: Path, n: int, seed: int) -> str:
    """Tries all; a table of what was damaged how often."""
    folder.mkdir(parents=True)
    older, newer = make(folder / "run")
    kinds: Counter[str] = Counter()
    slowest, largest = 0.0, 0
    for what, file in every_damage(older, newer, seed, n):
        try:
            _, took, most = refused(folder / "tried", older, lambda path, file=file: path.write_bytes(file))
        except Exception as error:
            kept = folder / "not-refused"
            kept.write_bytes(file)
            raise AssertionError(f"{what}: {error!r}; the file is {kept}") from error
        kinds[what] += 1
        slowest, largest = max(slowest, took), max(largest, most)
    for size in (1 << 40, 1 << 42):
        refused(folder / "tried", older, lambda path, size=size: sparse(path, newer, size))
        kinds["a terabyte and more declared, and there"] += 1
    lines = [f"  {count:5d}  {what}" for what, count in sorted(kinds.items())]
    total = f"{sum(kinds.values())} damaged files, all refused in one sentence, the one before them used each time"
    return "\n".join([*lines, f"{total}; at most {slowest:.2f} s and {largest / 2**20:.0f} MiB for one"])


def sparse(path: Path, good: bytes, size: int) -> None:
    """A file with a tensor as large as it says, of nothing but a hole."""
    header, _ = header_of(good)
    text = json.dumps(
        {"__metadata__": header["__metadata__"], "a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    ).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


if __name__ == "__main__":
    print(report(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
