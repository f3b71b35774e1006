"""The recorded files, and how far backlit's results are from them.

A file is a safetensors file compressed by xz: arrays by name, and a header of plain text that says which PyTorch made
them, when, from which seed and with which options.
"""

from __future__ import annotations

import functools
import json
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
from reference_run import Array, Arrays, Given
from safetensors.numpy import load, save

import backlit as bl

FOLDER = Path(__file__).parent
DTYPES = ("float64", "float32")
# relative to the largest element of an array; an array that is small beside the largest of its case may be nothing but
# rounding (the gradient of a bias before a batch norm), and counts as a tenth of that at least
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}


class Backlit:
    """What a case is run with."""

    nn, functional, optim = bl.nn, bl.nn.functional, bl.optim

    @staticmethod
    def tensor(array: Array, trained: bool) -> Any:
        return bl.tensor(array, requires_grad=trained)

    @staticmethod
    def array(tensor: Any) -> Array:
        return np.asarray(tensor.detach().numpy())

    @staticmethod
    def is_tensor(value: Any) -> bool:
        return isinstance(value, bl.Tensor)

    @staticmethod
    def load(module: Any, values: Arrays) -> None:
        module.load_state_dict(values, strict=False)

    @staticmethod
    def call(module: Any, inputs: Any, options: dict[str, Any]) -> Any:
        return module(*inputs, **options)


def write(name: str, header: dict[str, str], facts: Any, arrays: Arrays) -> int:
    """Writes a file, unless there is one that differs in the date alone; gives its length in bytes."""
    arrays = {k: np.asarray(v, order="C") for k, v in sorted(arrays.items())}
    path = FOLDER / f"{name}.safetensors.xz"
    if path.exists():
        header_before, facts_before, _ = read(name)
        before = load(lzma.decompress(path.read_bytes()))
        same = header_before | {"date": header["date"]} == header and facts_before == json.loads(json.dumps(facts))
        if same and set(before) == set(arrays) and all(_same(v, arrays[k]) for k, v in before.items()):
            return path.stat().st_size
    data = save(arrays, {**header, "facts": json.dumps(facts)})
    path.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    return path.stat().st_size


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@functools.cache
def read(name: str) -> tuple[dict[str, str], Any, dict[str, dict[str, Arrays]]]:
    """The header, the facts, and of each case the arrays it is given and those that came out, by dtype."""
    data = lzma.decompress((FOLDER / f"{name}.safetensors.xz").read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])["__metadata__"]
    cases: dict[str, dict[str, Arrays]] = {}
    for key, array in load(data).items():
        case, kind, what = key.split("|")
        cases.setdefault(case, {"given": {}, **{d: {} for d in DTYPES}})[kind][what] = array
    return header, json.loads(header.pop("facts")), cases


def difference(found: Arrays, wanted: Arrays) -> tuple[float, str]:
    """The largest difference relative to the scale of an array, and whose it is.

    Raises:
      AssertionError: other names, shapes or dtypes, other integers, or other places of what is not finite.
    """
    nothing = {
        k: np.zeros_like(v) for k, v in wanted.items() if ".gradient." in k and not v.any()
    }  # it may be None here
    found = {**nothing, **found}
    assert sorted(found) == sorted(wanted), sorted(set(found) ^ set(wanted))
    worst = (0.0, "")
    kinds: dict[str, float] = {}
    sizes = {
        k: float(np.abs(v, where=np.isfinite(v), out=np.zeros_like(v)).max(initial=0.0)) for k, v in wanted.items()
    }
    for name, size in sizes.items():
        kind = ".".join(name.split(".")[:2])
        kinds[kind] = max(kinds.get(kind, 0.0), size)
    for name, right in wanted.items():
        got = found[name]
        assert got.shape == right.shape and got.dtype == right.dtype, (
            name,
            got.shape,
            got.dtype,
            right.shape,
            right.dtype,
        )
        if right.dtype.kind != "f":
            assert np.array_equal(got, right), name
            continue
        finite = np.isfinite(right)
        assert np.array_equal(got[~finite], right[~finite], equal_nan=True), f"{name}: what is not finite differs"
        scale = max(sizes[name], 0.1 * kinds[".".join(name.split(".")[:2])])
        off = float(np.abs(got - right, where=finite, out=np.zeros_like(right)).max(initial=0.0))
        off = off if np.isfinite(off) else np.inf
        worst = max(worst, (off / scale if scale else float(off > 0), name))
    return worst


def agree(found: Arrays, wanted: Arrays, dtype: str) -> None:
    off, name = difference(found, wanted)
    assert off <= TOLERANCES[dtype], f"{name} is off by {off:.1e} of its scale, more than {TOLERANCES[dtype]:.0e}"


def taken(case: dict[str, Arrays]) -> Given:
    return Given(case["given"])
