"""The array API standard 2024.12 held against `array_api_strict`: what is compared, and how.

A case is one call. Where the strict implementation refuses a call the standard leaves it undefined, and nothing is counted.
The cases run with float64 as the default dtype, as it is there.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import array_api_strict as strict
import numpy as np

import backlit as bl
from backlit.core import dtypes

strict.set_array_api_strict_flags(api_version="2024.12")

NAMES = [
    "e", "inf", "nan", "newaxis", "pi", "bool", "complex128", "complex64", "float32", "float64", "int16", "int32",
    "int64", "int8", "uint16", "uint32", "uint64", "uint8", "__array_namespace_info__", "astype", "can_cast", "finfo",
    "iinfo", "isdtype", "result_type", "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full",
    "full_like", "linspace", "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like", "abs", "acos",
    "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and", "bitwise_invert", "bitwise_left_shift",
    "bitwise_or", "bitwise_right_shift", "bitwise_xor", "ceil", "clip", "conj", "copysign", "cos", "cosh", "divide",
    "equal", "exp", "expm1", "floor", "floor_divide", "greater", "greater_equal", "hypot", "imag", "isfinite",
    "isinf", "isnan", "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "nextafter",
    "not_equal", "positive", "pow", "real", "reciprocal", "remainder", "round", "sign", "signbit", "sin", "sinh",
    "sqrt", "square", "subtract", "tan", "tanh", "trunc", "take", "take_along_axis", "matmul", "matrix_transpose",
    "tensordot", "vecdot", "broadcast_arrays", "broadcast_to", "concat", "expand_dims", "flip", "moveaxis",
    "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "tile", "unstack", "argmax", "argmin",
    "count_nonzero", "nonzero", "searchsorted", "where", "argsort", "sort", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "cumulative_prod", "cumulative_sum", "max", "mean", "min", "prod", "std",
    "sum", "var", "all", "any", "diff", "linalg.cholesky", "linalg.cross", "linalg.det", "linalg.diagonal",
    "linalg.eigh", "linalg.eigvalsh", "linalg.inv", "linalg.matmul", "linalg.matrix_norm", "linalg.matrix_power",
    "linalg.matrix_rank", "linalg.matrix_transpose", "linalg.outer", "linalg.pinv", "linalg.qr", "linalg.slogdet",
    "linalg.solve", "linalg.svd", "linalg.svdvals", "linalg.tensordot", "linalg.trace", "linalg.vecdot",
    "linalg.vector_norm", "fft.fft", "fft.ifft", "fft.fftn", "fft.ifftn", "fft.rfft", "fft.irfft", "fft.rfftn",
    "fft.irfftn", "fft.hfft", "fft.ihfft", "fft.fftfreq", "fft.rfftfreq", "fft.fftshift", "fft.ifftshift",
]  # fmt: skip

ARRAY = [
    "__abs__", "__add__", "__and__", "__array_namespace__", "__bool__", "__complex__", "__dlpack__",
    "__dlpack_device__", "__eq__", "__float__", "__floordiv__", "__ge__", "__getitem__", "__gt__", "__index__",
    "__int__", "__invert__", "__le__", "__lshift__", "__lt__", "__matmul__", "__mod__", "__mul__", "__ne__",
    "__neg__", "__or__", "__pos__", "__pow__", "__rshift__", "__setitem__", "__sub__", "__truediv__", "__xor__",
    "to_device", "__radd__", "__rand__", "__rfloordiv__", "__rlshift__", "__rmatmul__", "__rmod__", "__rmul__",
    "__ror__", "__rpow__", "__rrshift__", "__rsub__", "__rtruediv__", "__rxor__", "__iadd__", "__iand__",
    "__ifloordiv__", "__ilshift__", "__imatmul__", "__imod__", "__imul__", "__ior__", "__ipow__", "__irshift__",
    "__isub__", "__itruediv__", "__ixor__", "dtype", "device", "mT", "ndim", "shape", "size", "T",
]  # fmt: skip

# Names of the standard that backlit does not have yet. A name that is here and there fails the test.
MISSING: set[str] = set()

# Where the strict implementation's signature is not the standard's.
SIGNATURES: dict[str, Callable[..., None]] = {
    "expand_dims": lambda x, /, *, axis=0: None,
    "astype": lambda x, dtype, /, *, copy=True, device=None: None,
    "from_dlpack": lambda x, /, *, device=None, copy=None: None,
}


@dataclass(frozen=True)
class Case:
    """One call: of the function `name`, or of what it stands for in `run(namespace, array)`."""

    name: str
    label: str
    run: Callable[[Any, Callable[[Any], Any]], Any]
    rtol: float = 0.0  # in units of the last place: of each number up to 100, of the largest one beyond
    values: bool = True
    invariant: Callable[[Any], Any] = lambda x: x  # what does not depend on choices that are left open


def found(namespace: Any, name: str) -> Any:
    """The function of a dotted name, None where it is missing."""
    for part in name.split("."):
        namespace = getattr(namespace, part, None)
    return namespace


def has(name: str) -> bool:
    """Whether backlit has a name of the standard."""
    *above, last = name.split(".")
    return hasattr(found(bl, above[0]) if above else bl, last)


def signature_fault(name: str) -> str | None:
    """How the signature differs from the standard's: every call valid there must be valid here, with the same defaults."""
    theirs, ours = SIGNATURES.get(name, found(strict, name)), found(bl, name)
    if not callable(theirs) or isinstance(theirs, (type, strict._dtypes.DType)):
        return None
    a, b = (list(inspect.signature(f).parameters.values()) for f in (theirs, ours))
    for p in a:
        q = next((q for q in b if q.name == p.name), None)
        if q is None:
            return f"no parameter {p.name}"
        if q.kind != p.kind and not (p.kind is p.KEYWORD_ONLY and q.kind is q.POSITIONAL_OR_KEYWORD):
            return f"{p.name} is {q.kind.description}, not {p.kind.description}"
        if p.default is not p.empty and p.default != q.default:
            return f"{p.name} is {q.default!r} unless given, not {p.default!r}"
    positional = [p.name for p in a if p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_POSITIONAL]
    if [q.name for q in b[: len(positional)]] != positional:
        return f"begins with {[q.name for q in b]}"
    names = {p.name for p in a}
    needed = [
        q.name
        for q in b
        if q.name not in names and q.default is q.empty and q.kind not in (q.VAR_KEYWORD, q.VAR_POSITIONAL)
    ]
    return f"needs {needed}" if needed else None


@dataclass(frozen=True)
class Deviation:
    """Cases that differ on purpose, by patterns of their labels and differences, and why."""

    title: str
    why: str
    label: str
    difference: str = ""

    def covers(self, case: Case, what: str) -> bool:
        """Whether a difference is of this kind."""
        return bool(re.search(self.label, case.label) and re.search(self.difference, what))


DEVIATIONS = (
    Deviation(
        "Integers beside floats",
        "have the float's dtype (`int32` with `float32` gives `float32`); the standard leaves it open, and NumPy's `float64` "
        "would widen whole networks",
        r"^(linalg\.)?(matmul|tensordot|vecdot|cross|outer)\(",
        r"^(float32|complex64).*, not (float64|complex128)",
    ),
    Deviation(
        "Complex numbers as real ones",
        "are refused by `asarray`, `sum` and all that take a dtype, as the standard asks of `astype`: take `.real`",
        r"complex",
        r"does not fit into",
    ),
    Deviation(
        "`can_cast` from one kind to another",
        "says what promotion does here, which is defined across kinds; the strict implementation says no",
        r"^can_cast\(",
        r"^True, not False",
    ),
    Deviation(
        "Powers and reciprocals of complex numbers with zeros, infinities and NaNs in their parts",
        "are those of NumPy's `**` and `1 / x`, whose special values are not those of its functions `power` and `reciprocal`; "
        "the standard leaves them open",
        r"^(reciprocal|pow)\(.*j\)+$|^(reciprocal|pow)\(complex|^complex.* \*\*=? ",
    ),
    Deviation(
        "`sign` of complex infinities",
        "is the direction, `1` for `inf + 0j`; the strict implementation gives the NaN of a quotient",
        r"^sign\(complex",
        r"not np.float(32|64)\(nan\)",
    ),
    Deviation(
        "`cumulative_sum` with `include_initial`",
        "has the sums that it has without it, so that of `-0.0` stays `-0.0`; the strict implementation adds it to `0.0`",
        r"^cumulative_sum\(.*include_initial",
        r"^np.float(32|64)\(-0.0\), not np.float(32|64)\(0.0\)",
    ),
)


# Comparison


def plain(x: Any) -> Any:
    """A result as NumPy arrays, dtypes and Python values."""
    if isinstance(x, strict.Array if hasattr(strict, "Array") else strict._array_object.Array):
        return np.asarray(x._array)
    if isinstance(x, bl.Tensor):
        return np.asarray(x.numpy())
    if isinstance(x, strict._dtypes.DType):
        return x._np_dtype
    if hasattr(x, "_fields"):
        return SimpleNamespace(**{f: plain(getattr(x, f)) for f in x._fields})
    if isinstance(x, (tuple, list)):
        return tuple(map(plain, x))
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    return x


def difference(got: Any, want: Any, ulps: float, values: bool) -> str | None:
    """What is different, None when nothing is: dtype, shape, and values with their signs of zero."""
    if isinstance(want, SimpleNamespace):
        names = list(vars(want))
        if not isinstance(got, SimpleNamespace) or list(vars(got)) != names:
            return f"fields {got!r}, not {names}"
        return next((d for n in names if (d := difference(getattr(got, n), getattr(want, n), ulps, values))), None)
    if isinstance(want, tuple):
        if not isinstance(got, tuple) or len(got) != len(want):
            return f"{got!r}, not {len(want)} results"
        return next((d for g, w in zip(got, want, strict=True) if (d := difference(g, w, ulps, values))), None)
    if not isinstance(want, np.ndarray):
        same = got == want or (isinstance(want, float) and math.isnan(want) and math.isnan(got))
        return None if same and (type(got) is type(want) or isinstance(want, np.dtype)) else f"{got!r}, not {want!r}"
    if not isinstance(got, np.ndarray):
        return f"{got!r}, not an array"
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
    if not values:
        return None
    if want.dtype.kind == "c":
        parts = (difference(p(got), p(want), ulps, True) for p in (np.real, np.imag))
        if ulps and np.isfinite(want).all():
            near = np.abs(got - want) <= allowed(want, ulps)
            return None if near.all() else f"{got[~near][0]!r}, not {want[~near][0]!r}"
        return next(filter(None, parts), None)
    if want.dtype.kind == "f":
        same = (got == want) & (np.signbit(got) == np.signbit(want)) | (np.isnan(got) & np.isnan(want))
        if ulps:
            near = np.isfinite(want) & (np.abs(got - want) <= allowed(want, ulps))
            same |= near & ((want != 0) | (ulps > 100))
    else:
        same = got == want
    return None if same.all() else f"{got[~same][0]!r}, not {want[~same][0]!r}"


def allowed(want: np.ndarray, ulps: float) -> np.ndarray:
    """How far a result may be off: by so many units in the last place of each number, or of the largest one."""
    size = np.abs(want)
    if ulps > 100:
        size = np.max(size, initial=0.0, where=np.isfinite(size))
    return ulps * np.finfo(want.dtype).eps * size


@contextlib.contextmanager
def comparing() -> Iterator[None]:
    """float64 as the default dtype, and no warnings."""
    before = dtypes.default_dtype()
    bl.set_default_dtype("float64")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        bl.set_default_dtype(before)


def outcome(case: Case) -> str | None:
    """None where both agree, "undefined" where the strict one refuses, otherwise the difference."""
    try:
        want = plain(case.run(strict, strict.asarray))
    except Exception:  # noqa: BLE001 - whatever is refused there is undefined
        return "undefined"
    try:
        got = plain(case.run(bl, bl.asarray))
    except Exception as error:  # noqa: BLE001 - is the difference
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return difference(case.invariant(got), case.invariant(want), case.rtol, case.values)


def compared(cases: list[Case]) -> tuple[Counter[str], Counter[str], list[tuple[Case, str]]]:
    """How many cases of each function match, how many there are, and those that do not."""
    match, total, wrong = Counter[str](), Counter[str](), []
    with comparing():
        for case in cases:
            if (found_ := outcome(case)) == "undefined":
                continue
            total[case.name] += 1
            if found_ is None:
                match[case.name] += 1
            else:
                wrong.append((case, found_))
    return match, total, wrong
