"""What dtypes can hold, become and promote to, and what backlit says of itself, after the array API."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from backlit.core import dtype_names
from backlit.core.dtypes import complex_dtype, default_dtype, is_float, promote, real_dtype
from backlit.core.errors import ArgumentError, DTypeError
from backlit.core.op import NUMBERS
from backlit.core.source import here
from backlit.ops.protocols import check_device

DType = np.dtype[Any]
_ALL: tuple[DType, ...] = (*dtype_names.KINDS["bool"], *dtype_names.KINDS["numeric"])


class FloatInfo(NamedTuple):
    """The limits of a float dtype: its size in bits, the distance from 1 to the next number, the extreme numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IntInfo(NamedTuple):
    """The limits of an integer dtype: its size in bits and the extreme numbers."""

    bits: int
    max: int
    min: int
    dtype: DType


def dtype_of(who: str, x: Any) -> DType:
    """The dtype that `x` is, or that its elements have.

    Raises:
      DTypeError: `x` is neither a dtype nor an array.
    """
    try:
        found: DType = np.dtype(x if isinstance(x, (np.dtype, type, str)) else x.dtype)
        return found
    except (TypeError, AttributeError):
        raise DTypeError(f"{who}: expected a dtype or an array, got {x!r}{here()}") from None


def finfo(type: Any, /) -> FloatInfo:
    """The limits of a float dtype, or of the dtype of an array; of a complex one those of its parts.

    Raises:
      DTypeError: it is not a float.
    """
    dtype = dtype_of("finfo", type)
    if not is_float(dtype):
        raise DTypeError(f"finfo: {dtype} is not a float; see iinfo{here()}")
    dtype = real_dtype(dtype)
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return FloatInfo(
        8 * dtype.itemsize, float(info.eps), float(info.max), float(info.min), float(info.smallest_normal), dtype
    )


def iinfo(type: Any, /) -> IntInfo:
    """The limits of an integer dtype, or of the dtype of an array.

    Raises:
      DTypeError: it is not an integer.
    """
    dtype = dtype_of("iinfo", type)
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo: {dtype} is not an integer; see finfo{here()}")
    info = np.iinfo(dtype)
    return IntInfo(8 * dtype.itemsize, int(info.max), int(info.min), dtype)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether `dtype` is `kind`: a dtype, a name of several, or a tuple of these, of which one is enough.

    The names are "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric".

    Raises:
      ArgumentError: a name is none of these.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in dtype_names.KINDS:
            raise ArgumentError(f"isdtype: {kind!r} is not one of {', '.join(dtype_names.KINDS)}{here()}")
        return dtype_of("isdtype", dtype) in dtype_names.KINDS[kind]
    return bool(dtype_of("isdtype", dtype) == dtype_of("isdtype", kind))


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype of an op on these: NumPy 2's table, but an integer beside a float gives the float's dtype.

    Python numbers are weak: they change the kind, never the size.

    Raises:
      DTypeError: there is neither an array nor a dtype.
    """
    numbers: list[Any] = [x for x in arrays_and_dtypes if x.__class__ in NUMBERS]
    strong = [dtype_of("result_type", x) for x in arrays_and_dtypes if x.__class__ not in NUMBERS]
    if not strong:
        raise DTypeError(f"result_type: expected an array or a dtype among {arrays_and_dtypes}{here()}")
    found = strong[0]
    for dtype in strong[1:]:
        found = promote(found, dtype)
    for number in numbers:
        if isinstance(number, complex):
            found = complex_dtype(found)
        elif not is_float(found):  # where an integer or truth is, NumPy's rule for the number
            found = np.result_type(found, number)
    return found


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion turns `from_`, a dtype or an array, into `to`: their result type is `to`."""
    to = dtype_of("can_cast", to)
    return bool(result_type(dtype_of("can_cast", from_), to) == to)


class NamespaceInfo:
    """What `__array_namespace_info__` gives: devices, dtypes and capabilities, after the array API."""

    def capabilities(self) -> dict[str, Any]:
        """What there is beyond plain arrays."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """The device on which arrays are made: "cpu"."""
        return "cpu"

    def devices(self) -> list[str]:
        """All devices."""
        return ["cpu"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes that Python numbers get; see `set_default_dtype`."""
        check_device("__array_namespace_info__", device)
        return {
            "real floating": default_dtype(),
            "complex floating": complex_dtype(default_dtype()),
            "integral": np.dtype(np.int_),
            "indexing": np.dtype(np.intp),
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes of a kind that `isdtype` takes, by name; all of them when None."""
        check_device("__array_namespace_info__", device)
        return {str(d): d for d in _ALL if kind is None or isdtype(d, kind)}


def __array_namespace_info__() -> NamespaceInfo:
    """Devices, dtypes and capabilities, after the array API."""
    return NamespaceInfo()
