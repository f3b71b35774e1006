"""Values for the names of an expression: as text, `name=number` or `name=[[1, 2], [3, 4]]`, or as arrays."""

from __future__ import annotations

import ast
import keyword
import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from backlit.core.errors import DataError
from backlit.core.tensor import Tensor
from backlit.diagnose.expression import Program, as_array, literal
from backlit.diagnose.source import Source, near

MAX_ELEMENTS = 1000
_MAX_LENGTH = 40 * MAX_ELEMENTS
_NAMED = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}


def parse_values(texts: Iterable[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Float64 arrays by name, from texts like `x=2`, `W=[[1, 2], [3, 4]]`, `z=-inf`.

    Raises:
      DataError: a text is not of this form, or names a value a second time.
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    for given in texts:
        name, equals, written = (part.strip() for part in given.partition("="))
        name = unicodedata.normalize("NFKC", name)  # as Python does with names
        if not equals or not name.isidentifier() or keyword.iskeyword(name):
            raise DataError(f"a value is given as NAME=VALUE, like x=2 or W=[[1,2],[3,4]]; got {_cut(given)!r}")
        if name in found:
            raise DataError(f"{name} is given twice; give each value once")
        if len(written) > _MAX_LENGTH:
            raise DataError(f"the value of {name} has {len(written)} characters; at most {_MAX_LENGTH} are read")
        source = Source(written, f"the value of {name}")
        try:
            node = ast.parse(written, mode="eval").body
            nested = literal(source, node, _NAMED)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"the value of {name} is a number or nested lists of numbers, like 2 or [[1,2],[3,4]]; "
                f"got {_cut(written)!r}"
            ) from None
        found[name] = as_array(source, node, nested)
    return found


def given(program: Program, values: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The values that the program reads, as float64 arrays.

    Raises:
      DataError: one is missing, not used, too large, or not an array of real numbers.
    """
    unread = [name for name in values if name not in program.reads]
    missing = [name for name in program.reads if name not in values]
    if missing:
        name = missing[0]
        others = f" (nor have {', '.join(missing[1:])})" if missing[1:] else ""
        hint = near(name, [*unread, *program.assigned]) or f"; give it as {name}=NUMBER"
        raise program.source.error(program.reads[name], f"{name} has no value{others}{hint}")
    for name in unread:
        if name in program.assigned:
            raise DataError(f"the value given for {name} is not used: the expression assigns {name} before it reads it")
        raise DataError(
            f"the value given for {name} is not used: the expression has no such name{near(name, program.reads)}"
        )
    return {name: _array(name, value) for name, value in values.items()}


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        plain = np.asarray(value.detach() if isinstance(value, Tensor) else value)
        made = plain.astype(np.float64, casting="same_kind" if plain.dtype.kind in "fc" else "safe")
    except (TypeError, ValueError):
        raise DataError(f"the value of {name} is not a number or an array of real numbers") from None
    if made.size > MAX_ELEMENTS:
        raise DataError(f"the value of {name} has {made.size} elements; at most {MAX_ELEMENTS} can be explained")
    return made


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
