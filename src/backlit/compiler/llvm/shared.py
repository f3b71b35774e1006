"""Functions that are written once for NumPy and for native code, and a way to compute with floats as doubles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backlit.compiler.llvm.arithmetic import Builder, Floats
from backlit.ops import error_functions, gamma_functions


def widened(function: Callable[..., Any]) -> Callable[..., str]:
    """A function of doubles, `function(v, kind, *operands)`, for both formats: floats are widened and rounded again.

    `kind` is the format of the result.
    """

    def both(b: Builder, kind: str, *operands: str) -> str:
        v = Floats(b, "double")
        if kind == "double":
            return str(function(v, kind, *operands))
        narrow = b.type(kind)
        wide = [b.new(f"fpext {narrow} {x} to {v.typed}") for x in operands]
        return b.new(f"fptrunc {v.typed} {function(v, kind, *wide)} to {narrow}")

    return both


erfc, erfinv = widened(error_functions.erfc_of), widened(error_functions.erfinv_of)
lgamma, digamma, trigamma = (
    widened(f) for f in (gamma_functions.lgamma_of, gamma_functions.digamma_of, gamma_functions.trigamma_of)
)
