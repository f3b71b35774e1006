"""NumPy's names for backlit's arrays: `import backlit.numpy as np` runs a NumPy program and makes it differentiable.

Arrays are tensors. Numbers and lists become float64 and int64 as in NumPy. What NumPy's functions take and backlit's do
not is an error that names the parameter, and so is a name that is not there.
"""

from __future__ import annotations

from typing import Any

import numpy as _np

from backlit.core.tensor import Tensor
from backlit.numpy import fft, functions, linalg, ufuncs
from backlit.numpy.creation import mgrid as mgrid
from backlit.numpy.creation import ogrid as ogrid
from backlit.numpy.joined import c_ as c_
from backlit.numpy.joined import r_ as r_
from backlit.ops import dispatch as _dispatch

_NUMPYS_OWN = (
    "pi", "e", "euler_gamma", "inf", "nan", "newaxis", "True_", "False_", "dtype", "finfo", "iinfo", "errstate", "s_", "index_exp",
    "ndindex", "generic", "number", "integer", "signedinteger", "unsignedinteger", "inexact", "floating", "complexfloating", "bool",
    "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64", "complex64",
    "complex128", "intp", "uintp", "int_", "uint", "intc", "uintc", "short", "ushort", "long", "ulong", "longlong", "ulonglong", "byte",
    "ubyte", "half", "single", "double", "csingle", "cdouble", "ScalarType", "typecodes", "exceptions",
)  # fmt: skip
_LATE = ("random", "testing")  # modules of NumPy's that take a while to import
ndarray = Tensor
FUNCTIONS = functions.made()
UFUNCS = ufuncs.made()
_here = {name: getattr(_np, name) for name in _NUMPYS_OWN if hasattr(_np, name)} | FUNCTIONS | UFUNCS
globals().update(_here)
__all__ = sorted({*_here, *_LATE, "c_", "fft", "linalg", "mgrid", "ndarray", "ogrid", "r_"})  # noqa: PLE0605 - generated

for _module, _functions in ((_np, FUNCTIONS), (_np.linalg, linalg.FUNCTIONS), (_np.fft, fft.FUNCTIONS)):
    for _name, _function in _functions.items():
        if _name not in functions.PLAIN:
            _dispatch.FUNCTIONS[getattr(_module, _name)] = _function
for _name, _ufunc in UFUNCS.items():
    _dispatch.METHODS[getattr(_np, _name)] = _ufunc


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(_np, name)
    where = (
        "NumPy has it, backlit.numpy does not (yet)" if hasattr(_np, name) else "neither NumPy nor backlit.numpy has it"
    )
    raise AttributeError(f"backlit.numpy has no attribute {name!r}: {where}; dir(backlit.numpy) lists what there is")


def __dir__() -> list[str]:
    return __all__
