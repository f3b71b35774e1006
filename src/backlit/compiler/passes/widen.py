"""Ops on operands for which there are no instructions, in a dtype that has them: what NumPy's own loops do.

Integers become the floats that a function gives; float16 and bfloat16 are computed with as float32, each result rounded to
what it is kept in. Conversions of operands are exact or are those that NumPy applies, so the bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from backlit.compiler.ir import Atom, Eqn, Literal, Var
from backlit.compiler.llvm.conversion import SMALL
from backlit.compiler.llvm.functions import SAMPLING
from backlit.compiler.llvm.numbers import TESTS
from backlit.compiler.llvm.values import COMPARE, WHOLE, can_emit
from backlit.core.dtypes import is_float
from backlit.core.op import Elementwise
from backlit.core.tensor import Tensor
from backlit.ops import elementwise as ew
from backlit.ops import linear, reduce

SINGLE = np.dtype(np.float32)
_REDUCED = (
    "sum", "prod", "max", "min", "norm", "logsumexp", "matmul", "cumsum", "cumprod", "cumulative_logsumexp", "recurrence",
)  # fmt: skip
_NARROW = ("nextafter", "rsqrt", "xlogy")  # eagerly these round to the small dtype on the way
_LOGICAL = ("logical_and", "logical_or", "logical_xor", "logical_not")


def widened(e: Eqn, inputs: tuple[Atom, ...]) -> Callable[..., Any] | None:
    """A function of tensors that gives what the equation gives, in ops of other dtypes; None where there is none."""
    typed = [a.aval.dtype for a in inputs if isinstance(a, Var)]
    out = e.out.aval.dtype
    if not typed or any(isinstance(a, Literal) and isinstance(a.value, complex) for a in inputs):
        return None
    name = e.op.name
    if name in SAMPLING:
        return None
    if SMALL.intersection(typed) or (out in SMALL and name != "astype"):
        if isinstance(e.op, Elementwise):
            return _where if name == "where" else None if name in _NARROW else partial(_single, e.op, out)
        return partial(_reduced, e.op, out) if name in _REDUCED else None
    if not isinstance(e.op, Elementwise) or name == "where":
        return None
    if name in ("abs", *WHOLE) and out == bool:
        return lambda x: x
    literals = [a.value for a in inputs if isinstance(a, Literal)]
    if any(d.kind not in "iub" for d in typed) or can_emit(name, typed, out, literals):
        return None
    if typed[0] == bool and out == bool and name in ("add", "mul") and not literals:
        return ew.logical_or if name == "add" else ew.logical_and  # type: ignore[no-any-return]
    loop = _loop_dtype(name, typed[0], out, literals)
    if loop is None or loop == typed[0] or not (loop in SMALL or can_emit(name, [loop], out, literals)):
        return None
    return partial(_in, e.op, loop)


def _loop_dtype(name: str, dtype: np.dtype[Any], out: np.dtype[Any], literals: list[Any]) -> np.dtype[Any] | None:
    """The dtype that NumPy converts the operands of one dtype to."""
    if name in _LOGICAL:
        return np.dtype(bool) if not literals else None
    if name in TESTS:
        return np.dtype(np.float64)
    if name not in COMPARE:
        return out
    if any(isinstance(v, float) for v in literals):
        return np.result_type(dtype, 1.0)
    if dtype.kind == "b" or all(-(2**63) <= v < 2**63 for v in literals):
        return None if dtype == np.uint64 else np.dtype(np.int64)
    return None


def _in(op: Any, loop: np.dtype[Any], *operands: Any) -> Any:
    return op(*(linear.astype(x, dtype=loop) if isinstance(x, Tensor) else x for x in operands))


def _single(op: Any, out: np.dtype[Any], *operands: Any) -> Any:
    """An op on small floats: numbers are rounded to their dtype first, as NumPy does."""
    (small,) = {x.dtype for x in operands if isinstance(x, Tensor) and x.dtype in SMALL} or {out}
    wide = [linear.astype(x, dtype=SINGLE) if isinstance(x, Tensor) else _rounded(x, small) for x in operands]
    if op.name in ("maximum", "minimum") and small == np.float16:
        # NumPy's halves keep the first of two zeros, its floats the second
        x, y = wide
        wins = ew.greater_equal(x, y) if op.name == "maximum" else ew.less_equal(x, y)
        nan = ew.not_equal(x, x) if isinstance(x, Tensor) else math.isnan(x)
        found = ew.where(ew.logical_or(wins, nan), x, y)
    elif op.name == "sign" and small != np.float16:  # where a zero keeps its sign
        found = ew.where(ew.equal(wide[0], 0.0), wide[0], op(*wide))
    else:
        found = op(*wide)
    return linear.astype(found, dtype=out) if found.dtype != out else found


def _rounded(x: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(x, bool) or (dtype != np.float16 and isinstance(x, float)):  # bfloat16 beside a float is a float32
        return x
    with np.errstate(over="ignore"):
        return float(dtype.type(x))


def _where(condition: Any, x: Any, y: Any) -> Any:
    like = x if isinstance(x, Tensor) else y
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return None
    x, y = (a if isinstance(a, Tensor) else Tensor(np.asarray(a).astype(like.dtype)) for a in (x, y))
    return ew.where(
        condition, *(linear.broadcast_to(a, shape=like.shape) if a.shape != like.shape else a for a in (x, y))
    )


def _reduced(op: Any, out: np.dtype[Any], *operands: Any, **params: Any) -> Any:
    if op.name in ("max", "min") and not params["axis"]:
        return operands[0]
    return linear.astype(op(*(linear.astype(x, dtype=SINGLE) for x in operands), **params), dtype=out)


def extreme_of_truths(op: Any, x: Tensor, params: dict[str, Any]) -> Any:
    """The largest or smallest truth value."""
    return linear.astype(op(linear.astype(x, dtype=np.uint8), **params), dtype=bool)


def position(x: Tensor, largest: bool, axis: int | None, keepdims: bool) -> Tensor:
    """The first place of the extreme element, or of the first NaN."""
    shape = x.shape
    if axis is None:
        x = linear.reshape(x, shape=(x.size,))
    if x.dtype == bool:
        x = linear.astype(x, dtype=np.uint8)
    at = axis or 0
    n = x.shape[at]
    whole = np.int32 if n < 2**31 - 1 else np.int64
    high = (reduce.max if largest else reduce.min)(x, axis=at, keepdims=True)
    hit = ew.equal(x, linear.broadcast_to(high, shape=x.shape))
    if is_float(x.dtype):
        hit = ew.logical_or(hit, ew.not_equal(x, x))  # there are others only where the extreme is NaN
    places = np.arange(n, dtype=whole).reshape(-1, *(1,) * (x.ndim - at - 1))
    numbered = ew.where(hit, linear.broadcast_to(Tensor(places), shape=x.shape), n)
    found = linear.astype(reduce.min(numbered, axis=at), dtype=np.intp)
    if not keepdims:
        return found
    kept = (1,) * len(shape) if axis is None else (*shape[:at], 1, *shape[at + 1 :])
    return linear.reshape(found, shape=kept)
