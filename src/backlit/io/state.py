"""State dicts and checkpoints as one safetensors file.

The arrays of a tree are the tensors of the file, named by their path (`model.layers.0.weight`). What remains is JSON in
the file's metadata under "backlit": a checksum of the JSON, then the tree, the user's metadata and a checksum of the
tensors. Other programs read the tensors and pass over the metadata. No code is run when a file is read, and no name in it
is taken for a path.

A file that anybody may have written is read within bounds: the header, at most 16 MiB, is looked at before anything in it is
believed; a name that is there twice, a tensor that the tree takes twice or not at all, and tensors beyond the memory of the
machine are refused.

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
MAX_HEADER_BYTES = 16 << 20  # of a file: read as Python objects 16 MiB take at most some 400 MB
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
    n_bytes = len(json.dumps(header)) + sum(len(name.encode()) + 40 + 22 * a.ndim + 60 for name, a in arrays.items())
    if n_bytes > MAX_HEADER_BYTES:
        raise DataError(
            f"save: all that is no array would take {n_bytes >> 20} MiB as JSON, {MAX_HEADER_BYTES >> 20} are the most; make "
            "long lists of numbers NumPy arrays"
        )
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
        tree = _rebuilt(head["tree"], arrays)
        if arrays:
            raise ValueError(f"tensor {next(iter(arrays))!r} has no place in it")
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its tree is malformed ({error!r})") from error
    return tree


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
    """The text metadata and the tensors; nothing is read of tensors where the header is damaged."""
    name = os.fspath(path)
    if not os.path.isfile(name):  # a device or a pipe cannot be mapped into memory
        what = "is no ordinary file" if os.path.exists(name) else "does not exist"
        raise FileFormatError(f"load: {name} {'is a folder' if os.path.isdir(name) else what}")
    arrays = {}
    try:
        _check_header(name)
        with safe_open(name, framework="np") as file:
            header = file.metadata() or {}
            if _is_own(header):
                _head(path, header)
            for key in file.keys() if with_tensors else ():
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _STORED:
                    raise FileFormatError(f"load: {name}: tensor {key!r} has the type {dtype}, which backlit has not")
                array = arrays[key] = file.get_tensor(key)
                if dtype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
                    raise FileFormatError(f"load: {name} is damaged: booleans of {key!r} are neither 0 nor 1")
            return header, arrays
    except SafetensorError as error:
        raise FileFormatError(f"load: {name} is damaged or no safetensors file: {error}") from error
    except OSError as error:
        raise FileFormatError(f"load: cannot read {name}: {error.strerror or error}") from error
    except (ValueError, MemoryError) as error:  # a shape that NumPy refuses
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"load: {name} is damaged: {error or 'it does not fit into memory'}") from error


def _check_header(name: str) -> None:
    """Refuses what the library lets pass, or reads at a cost without bound, before it reads the file."""
    size = os.path.getsize(name)
    with open(name, "rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        if n_bytes > MAX_HEADER_BYTES:
            raise FileFormatError(
                f"load: {name} is damaged or no safetensors file: a header of {n_bytes} bytes, where "
                f"{MAX_HEADER_BYTES >> 20} MiB are the most"
            )
        text = file.read(n_bytes)
    memory = _memory_bytes()
    if memory is not None and size > memory:
        raise FileFormatError(f"load: {name} is of {size >> 20} MiB, this machine has {memory >> 20} MiB of memory")
    try:
        json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"load: {name} is damaged or no safetensors file: its header: {error}") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:80]!r} is there twice")
    return found


def _memory_bytes() -> int | None:
    """The memory of the machine, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _is_own(header: dict[str, str]) -> bool:
    return "backlit" in header or any(_OWN.match(value) for value in header.values())  # the latter alone is damage


def _head(path: Path, header: dict[str, str]) -> dict[str, Any]:
    checksum, _, text = header.get("backlit", "").partition(" ")
    if checksum != str(zlib.crc32(text.encode())):
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: its header does not match its checksum")
    try:
        head = json.loads(text, object_pairs_hook=_without_doubles)
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
            found = {_key(key): _rebuilt(child, arrays) for key, child in pairs}
            if len(found) < len(pairs):
                raise ValueError("a key is there twice")
            return found
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


def _key(key: Any) -> Any:
    if type(key) not in (str, int):
        raise TypeError(f"the key {key!r}")
    return key


def _fetch(reference: Any, arrays: dict[str, Array]) -> Array:
    """The array of that name, which nothing else has."""
    if not isinstance(reference, list):
        return arrays.pop(reference)
    (name,) = reference
    pairs = arrays.pop(name)  # [..., 2], see _keep
    return pairs.view(np.complex128).reshape(pairs.shape[:-1])
