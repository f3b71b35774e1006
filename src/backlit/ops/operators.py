"""Infix operators, indexing and writing, attached to Tensor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from backlit.core import staging
from backlit.core.errors import ShapeError, WriteError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Box, Tensor, assign, muted
from backlit.ops import elementwise, indexing, linear
from backlit.ops.aliases import check_no_alias
from backlit.ops.array import matmul
from backlit.ops.at import At, like, picked


def _check_writable(x: Tensor, what: str) -> None:
    if x.requires_grad and x.is_leaf and not muted.get():
        raise WriteError(
            f"{what}: {shown(x)} is a leaf that requires grad; write under backlit.no_grad(), "
            f"or make a new value with x.at[i].set(v){here()}"
        )


def _nobody_else(write: Callable[[Any], None], dunder: str) -> int | None:
    """How many references `dunder` counts to a tensor that nothing else refers to; None where that tells nothing."""
    counts: list[int] = []

    def count(x: Any, *args: Any) -> Any:
        counts.append(sys.getrefcount(x))
        return x

    kind = type("Probe", (), {dunder: count})
    kept = kind()
    write([kept])
    write(_Made(kind))
    return counts[1] if counts[1] < counts[0] else None


class _Made:
    """Gives a new object each time."""

    def __init__(self, kind: Callable[[], Any]) -> None:
        self.kind = kind

    def __getitem__(self, key: Any) -> Any:
        return self.kind()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def _set_one(x: Any) -> None:
    x[0][0] = 1


def _add_one(x: Any) -> None:
    x[0] += 1


_UNSEEN, _UNSEEN_IN_PLACE = _nobody_else(_set_one, "__setitem__"), _nobody_else(_add_one, "__iadd__")


def _put_in(x: Tensor, new: Tensor) -> None:
    """The value of `new` goes into the cell of `x`."""
    if new.shape != x.shape:
        raise ShapeError(f"write: {shown(new)} does not fit into {shown(x)}{here()}")
    new = new if new.dtype == x.dtype else linear.astype(new, dtype=x.dtype)
    assign(x, new)


def replace(x: Tensor, new: Tensor) -> Tensor:
    """`x` itself, into whose cell the value and the graph of `new` go, as of `x[...] = new`."""
    _check_writable(x, "inplace=True")
    _put_in(x, new)
    return x


def _write(x: Tensor, key: Any, value: Any) -> None:
    _check_writable(x, "x[i] = v")
    check_no_alias(x, "x[i] = v")
    if sys.getrefcount(x) == _UNSEEN:
        raise WriteError(
            f"x[i] = v: {shown(x)} is a value of its own that nothing else refers to, so the write would be lost (a slice is "
            f"no view): use x[i, j] = v for x[i][j] = v{here()}"
        )
    value = like(x, value)
    plain = (
        staging.current() is None
        and not isinstance(x._value, Box)
        and not isinstance(value._value, Box)
        and (muted.get() or not (x.requires_grad or value.requires_grad))
        and indexing.unknown_mask(x, key) is None
    )
    if plain and _owns(x):
        lifted, inner = indexing.lift_truths(x, key)
        template, arrays = indexing.parse(lifted, inner)
        if lifted is x and all(not isinstance(a._value, Box) for a in arrays):
            try:
                x._value[indexing.fill(template, [a._value for a in arrays])] = value._value
            except (ValueError, IndexError) as error:
                raise ShapeError(f"x[i] = v: {error}{here()}") from None
            return
    _put_in(x, At(x, key).set(value))


def _owns(x: Tensor) -> bool:
    """Whether nothing but this cell refers to the buffer, so that it may be written to."""
    value = x._value
    return (
        isinstance(value, np.ndarray) and value.base is None and value.flags.writeable and sys.getrefcount(value) <= 3
    )


def _in_place(op: Any, sign: str) -> Callable[[Tensor, Any], Tensor]:
    def write(x: Tensor, other: Any) -> Tensor:
        _check_writable(x, f"x {sign}= v")
        if _UNSEEN_IN_PLACE is not None and sys.getrefcount(x) != _UNSEEN_IN_PLACE:  # a[i] += v writes to a afterwards
            check_no_alias(x, f"x {sign}= v")
        _put_in(x, op(x, other))
        return x

    return write


def _infix(op: Any) -> Callable[[Tensor, Any], Any]:
    def apply(x: Tensor, other: Any) -> Any:
        return op(x, other)

    return apply


def _reflected(op: Any) -> Callable[[Tensor, Any], Any]:
    def apply(x: Tensor, other: Any) -> Any:
        return op(other, x)

    return apply


def _iterate(x: Tensor) -> Iterator[Tensor]:
    if not x.ndim:
        raise ShapeError(f"iteration over a 0-d tensor{here()}")
    return (x[i] for i in range(x.shape[0]))


def attach() -> None:
    """Gives Tensor its operators."""
    for dunder, op, sign in (
        ("add", elementwise.add, "+"), ("sub", elementwise.sub, "-"), ("mul", elementwise.mul, "*"),
        ("truediv", elementwise.div, "/"), ("pow", elementwise.pow, "**"), ("and", elementwise.bitwise_and, "&"),
        ("or", elementwise.bitwise_or, "|"), ("xor", elementwise.bitwise_xor, "^"),
        ("floordiv", elementwise.floor_divide, "//"), ("mod", elementwise.remainder, "%"),
        ("lshift", elementwise.left_shift, "<<"), ("rshift", elementwise.right_shift, ">>"),
    ):  # fmt: skip
        setattr(Tensor, f"__{dunder}__", _infix(op))
        setattr(Tensor, f"__r{dunder}__", _reflected(op))
        setattr(Tensor, f"__i{dunder}__", _in_place(op, sign))
    for dunder, op in (
        ("eq", elementwise.equal), ("ne", elementwise.not_equal), ("lt", elementwise.less),
        ("le", elementwise.less_equal), ("gt", elementwise.greater), ("ge", elementwise.greater_equal),
    ):  # fmt: skip
        setattr(Tensor, f"__{dunder}__", _infix(op))
    others: dict[str, Any] = {
        "__neg__": lambda x: elementwise.neg(x), "__abs__": lambda x: elementwise.abs(x), "__pos__": lambda x: x,
        "__invert__": lambda x: elementwise.bitwise_invert(x), "__getitem__": picked, "__setitem__": _write,
        "__iter__": _iterate, "at": property(At),
        "__matmul__": lambda x, y: matmul(x, y), "__rmatmul__": lambda x, y: matmul(y, x),
        "__imatmul__": _in_place(matmul, "@"),
    }  # fmt: skip
    for name, value in others.items():
        setattr(Tensor, name, value)


attach()
