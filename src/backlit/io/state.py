"""State dicts and checkpoints as one safetensors file.

The arrays of a tree are the tensors of the file, named by their path (`model.layers.0.weight`). What remains is JSON in
the file's metadata under "backlit": a checksum of the JSON, then the tree, the user's metadata and a checksum of the
tensors. Other programs read the tensors and pass over the metadata. No code is run when a file is read.

In the tree plain values stand for themselves and lists for lists; everything else is an object with one of the
keys "dict" (a list of pairs, since keys may be integers), "tuple", "tensor", "scalar", "float" and "complex".
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, TensorSpec, safe_open, serialize_file

from backlit.core.dtypes import bfloat16
from backlit.core.errors import DataError, FileFormatError
from backlit.core.tensor import Tensor
from backlit.io.replace import Path, replaced

_VERSION = 1
_STORED = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "BF16": bfloat16.name,
}  # fmt: skip
_OWN = re.compile(r'\d+ \{"version": ')
_STORABLE = frozenset(_STORED.values())
Array = np.ndarray[Any, Any]


def save(obj: Any, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a tree of arrays and plain values, and `metadata`, as one safetensors file.

    `obj` is made of dictionaries (keys are strings or integers), lists, tuples, Tensors, NumPy arrays and scalars,
    Python numbers, strings, booleans and None; their subclasses come back as the plain type. A flat dictionary of
    arrays gives tensors named by its keys. `metadata` is any JSON object, read by `load_metadata`.

    The file is written beside `path`, flushed and renamed: `path` is never half-written. Costs one copy of each
    array that is not contiguous, and one pass over all of them for the checksum.

    Raises:
      DataError: something in the tree or the metadata cannot be saved (its place is named), or the file not written.
    """
    arrays: dict[str, Array] = {}
    try:
        extra = json.dumps(dict(metadata or {}), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"save: the metadata is not JSON: {error}") from error
    try:
        tree = json.dumps(_skeleton(obj, (), arrays))
    except RecursionError:
        raise DataError("save: obj contains itself, or is nested too deeply") from None
    head = f'{{"version": {_VERSION}, "metadata": {extra}, "tensors_crc32": {_checksum(arrays)}, "tree": {tree}}}'
    # one entry: the library writes several in an order that changes from run to run, and the file's bits with it
    header = {"backlit": f"{zlib.crc32(head.encode())} {head}"}
    specs = {
        name: TensorSpec(dtype=a.dtype.name, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes)
        for name, a in arrays.items()
    }
    with replaced(path, "save") as temporary:
        try:
            serialize_file(specs, temporary, metadata=header)
        except SafetensorError as error:
            raise DataError(f"save: cannot write {os.fspath(path)}: {error}") from error


def load(path: Path) -> Any:
    """What `save` wrote to `path`, arrays as Tensors; of another program's safetensors file a flat dictionary.

    Costs one copy of each tensor, and one pass over them for the checksum where the file has one.

    Raises:
      FileFormatError: there is no such file, or it is damaged or no safetensors file.
    """
    header, arrays = _read(path, with_tensors=True)
    if not _is_own(header):
        return {name: Tensor(array) for name, array in arrays.items()}
    head = _head(path, header)
    if head.get("tensors_crc32") != _checksum(arrays):
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its tensors do not match their checksum")
    try:
        return _rebuilt(head["tree"], arrays)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its tree is malformed ({error!r})") from error


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata given to `save`, without reading the tensors; of another program's file its text metadata.

    Raises:
      FileFormatError: there is no such file, or it is damaged or no safetensors file.
    """
    header, _ = _read(path, with_tensors=False)
    if not _is_own(header):
        return dict(header)
    metadata = _head(path, header).get("metadata")
    if not isinstance(metadata, dict):
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its metadata is no JSON object")
    return metadata


def _skeleton(x: Any, place: tuple[Any, ...], arrays: dict[str, Array]) -> Any:
    """What remains of `x` when its arrays are put into `arrays`."""
    match x:
        case None | bool():
            return x
        case str():
            return str(x)
        case Tensor():
            return {"tensor": _keep(x.detach().numpy(), place, arrays)}
        case np.ndarray():
            return {"tensor": _keep(x, place, arrays)}
        case np.generic():  # before float, which np.float64 is
            return {"scalar": _keep(np.asarray(x), place, arrays)}
        case int():
            return int(x)
        case float():
            return float(x) if math.isfinite(x) else {"float": str(float(x))}
        case complex():
            return {"complex": [str(x.real), str(x.imag)]}
        case dict():
            for key in x:
                if type(key) not in (str, int):
                    raise DataError(f"save: {_show(place)} has the key {key!r}; keys must be strings or integers")
            return {"dict": [[key, _skeleton(value, (*place, key), arrays)] for key, value in x.items()]}
        case list():
            return [_skeleton(value, (*place, i), arrays) for i, value in enumerate(x)]
        case tuple():
            return {"tuple": [_skeleton(value, (*place, i), arrays) for i, value in enumerate(x)]}
    raise DataError(
        f"save: {_show(place)} is of type {type(x).__name__}; "
        "expected Tensors, arrays, numbers, strings, booleans, None, or dict, list, tuple of them"
    )


def _keep(array: Array, place: tuple[Any, ...], arrays: dict[str, Array]) -> Any:
    """Puts `array` into `arrays` as it is stored, and gives its reference: the name, for complex128 in a list."""
    name = ".".join(map(str, place)) or "tensor"
    while name in arrays or name == "__metadata__":
        name += "_"
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"save: the name {_show(place)} has characters that UTF-8 cannot hold") from None
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    array = np.asarray(array, order="C")
    if array.dtype == np.complex128:  # safetensors has no such type: two float64 on a last axis
        arrays[name] = array.reshape(*array.shape, 1).view(np.float64)
        return [name]
    if array.dtype.name not in _STORABLE:
        raise DataError(f"save: {_show(place)} is an array of {array.dtype}, which safetensors cannot hold")
    arrays[name] = array
    return name


def _show(place: tuple[Any, ...]) -> str:
    return "obj" + "".join(f"[{key!r}]" for key in place)


def _checksum(arrays: dict[str, Array]) -> int:
    total = 0
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return total


def _read(path: Path, with_tensors: bool) -> tuple[dict[str, str], dict[str, Array]]:
    name = os.fspath(path)
    if not os.path.isfile(name):  # a device or a pipe cannot be mapped into memory
        what = "is no ordinary file" if os.path.exists(name) else "does not exist"
        raise FileFormatError(f"load: {name} {'is a folder' if os.path.isdir(name) else what}")
    arrays = {}
    try:
        with safe_open(name, framework="np") as file:
            for key in file.keys() if with_tensors else ():
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _STORED:
                    raise FileFormatError(f"load: {name}: tensor {key!r} has the type {dtype}, which backlit has not")
                arrays[key] = file.get_tensor(key)
            return file.metadata() or {}, arrays
    except SafetensorError as error:
        raise FileFormatError(f"load: {name} is damaged or no safetensors file: {error}") from error
    except OSError as error:
        raise FileFormatError(f"load: cannot read {name}: {error.strerror or error}") from error


def _is_own(header: dict[str, str]) -> bool:
    return "backlit" in header or any(_OWN.match(value) for value in header.values())  # the latter alone is damage


def _head(path: Path, header: dict[str, str]) -> dict[str, Any]:
    checksum, _, text = header.get("backlit", "").partition(" ")
    if checksum != str(zlib.crc32(text.encode())):
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its header does not match its checksum")
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its header is no JSON ({error!r})") from error
    version = head.get("version") if isinstance(head, dict) else None
    if version != _VERSION:
        raise FileFormatError(
            f"load: {os.fspath(path)} has format {version!r}, this backlit reads {_VERSION}; use the version that wrote it"
        )
    return dict(head)


def _rebuilt(node: Any, arrays: dict[str, Array]) -> Any:
    match node:
        case None | bool() | int() | float() | str():
            return node
        case list():
            return [_rebuilt(child, arrays) for child in node]
        case {"dict": pairs}:
            return {key: _rebuilt(child, arrays) for key, child in pairs}
        case {"tuple": children}:
            return tuple([_rebuilt(child, arrays) for child in children])
        case {"tensor": reference}:
            return Tensor(_fetch(reference, arrays))
        case {"scalar": reference}:
            return _fetch(reference, arrays)[()]
        case {"float": text}:
            return float(text)
        case {"complex": [real, imag]}:
            return complex(float(real), float(imag))
    raise ValueError(f"unknown entry {node!r}")


def _fetch(reference: Any, arrays: dict[str, Array]) -> Array:
    if not isinstance(reference, list):
        return arrays[reference]
    pairs = arrays[reference[0]]  # [..., 2], see _keep
    return pairs.view(np.complex128).reshape(pairs.shape[:-1])
