"""NumPy's universal functions: ops that are called, and reduce, accumulate, outer and at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.numpy.views import WEAK, cast, lift, lift_all, unsupported
from backlit.ops import cumulative, dispatch, elementwise, exponential, linear, rounding, shape, statistics
from backlit.ops.at import At

_REDUCE: dict[str, Callable[..., Tensor]] = {
    "add": statistics.sum, "multiply": statistics.prod, "maximum": statistics.max, "minimum": statistics.min,
    "logical_and": statistics.all, "logical_or": statistics.any, "logaddexp": statistics.logsumexp,
}  # fmt: skip
_ACCUMULATE: dict[str, Callable[..., Any]] = {
    "add": cumulative.cumsum, "multiply": cumulative.cumprod, "logaddexp": cumulative.logcumsumexp,
    "maximum": lambda x, axis: cumulative.cummax(x, axis)[0], "minimum": lambda x, axis: cumulative.cummin(x, axis)[0],
}  # fmt: skip
_AT = {
    "add": At.add, "subtract": At.subtract, "multiply": At.multiply, "divide": At.divide,
    "power": At.power, "maximum": At.max, "minimum": At.min,
}  # fmt: skip


class Ufunc:
    """One of NumPy's universal functions, made of a function of backlit."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = (type(function) if hasattr(function, "notation") else function).__doc__
        self._function = function
        self.nin = getattr(np, name).nin

    def __call__(self, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if len(args) > self.nin:
            raise unsupported(self.__name__, "out")
        for parameter, value in kwargs.items():
            if value is not None and not (parameter == "where" and value is True):
                raise unsupported(self.__name__, parameter)
        if len(args) < self.nin:
            raise ArgumentError(f"np.{self.__name__}: expected {self.nin} operands, got {len(args)}{here()}")
        operands = lift_all(args, self.__name__)
        return self._function(*operands) if dtype is None else self._function(*(cast(a, dtype) for a in operands))

    def has(self, method: str) -> bool:
        """Whether there is `reduce`, `accumulate`, `outer` or `at` of this op."""
        tables = {"reduce": _REDUCE, "accumulate": _ACCUMULATE, "at": _AT}
        return method == "outer" or self.__name__ in tables.get(method, {})

    def _of(self, table: dict[str, Any], what: str) -> Any:
        if self.__name__ not in table:
            raise ArgumentError(f"np.{self.__name__}.{what}: only {', '.join(table)} have it here{here()}")
        return table[self.__name__]

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Tensor:
        """The op applied to all elements along `axis`, one after the other."""
        if out is not None:
            raise unsupported(f"{self.__name__}.reduce", "out")
        return self._of(_REDUCE, "reduce")(cast(array, dtype), axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Tensor:
        """The op applied to all elements along `axis` up to each."""
        if out is not None:
            raise unsupported(f"{self.__name__}.accumulate", "out")
        return self._of(_ACCUMULATE, "accumulate")(cast(array, dtype), axis=axis)  # type: ignore[no-any-return]

    def outer(self, x: Any, y: Any) -> Tensor:
        """The op of every element of `x` with every one of `y`."""
        x, y = lift(x), lift(y)
        return self._function(shape.reshape(x, (*x.shape, *(1,) * y.ndim)), y)  # type: ignore[no-any-return]

    def at(self, x: Any, indices: Any, y: Any) -> None:
        """Applies the op to the elements of the tensor `x` at `indices`, repeated ones again, and writes them there."""
        update = self._of(_AT, "at")
        if not isinstance(x, Tensor):
            raise ArgumentError(f"np.{self.__name__}.at: expected a tensor to write to, got {type(x).__name__}{here()}")
        x[...] = update(At(x, indices), y)

    def __repr__(self) -> str:
        return f"<ufunc '{self.__name__}'>"


def _divmod(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Quotient rounded down and remainder."""
    return elementwise.floor_divide(x, y), elementwise.remainder(x, y)


def _modf(x: Any) -> tuple[Tensor, Tensor]:
    """Fraction and integer part, with the sign of `x`; the derivative goes to the fraction."""
    whole = rounding.trunc(x)
    return x - whole, linear.astype(whole, dtype=x.dtype)


def _fmod(x: Any, y: Any) -> Tensor:
    """The remainder of a division that is rounded towards zero; its derivative ignores the jumps."""
    rest = elementwise.remainder(_size(x), _size(y))
    return elementwise.where(lift(x) < 0, -rest, rest)


def _size(x: Any) -> Any:
    """The absolute value, with the derivative 1 at 0."""
    return abs(x) if isinstance(x, WEAK) else elementwise.where(x < 0, -x, x)


def _heaviside(x: Any, y: Any) -> Tensor:
    """0 below zero, `y` at zero, 1 above."""
    x, y = shape.broadcast_arrays(lift(x), lift(y))
    step = linear.astype(x > 0, dtype=x.dtype)
    return elementwise.where(elementwise.equal(x, 0), y, elementwise.where(rounding.isnan(x), x, step))


def _logaddexp2(x: Any, y: Any) -> Tensor:
    """log2(2^x + 2^y) without overflow."""
    ln2 = 0.6931471805599453
    return exponential.logaddexp(x * ln2, y * ln2) / ln2


def _skipping(op: Any) -> Callable[[Any, Any], Tensor]:
    """A maximum or minimum in which a NaN gives way to a number."""

    def apply(x: Any, y: Any) -> Tensor:
        x, y = shape.broadcast_arrays(lift(x), lift(y))
        a = elementwise.where(rounding.isnan(x), y, x)
        b = elementwise.where(rounding.isnan(y), x, y)
        return op(a, b)  # type: ignore[no-any-return]

    return apply


def _ldexp(x: Any, n: Any) -> Tensor:
    """`x` times 2 to the power `n`, an integer."""
    return x * exponential.exp2(linear.astype(lift(n), dtype=lift(x).dtype))  # type: ignore[no-any-return]


def _float_power(x: Any, y: Any) -> Tensor:
    """`x` to the power `y`, in float64 at least."""
    wide = [
        a if isinstance(a, (bool, int, float)) else cast(a, np.result_type(lift(a).dtype, np.float64)) for a in (x, y)
    ]
    return elementwise.pow(*(float(a) if isinstance(a, (bool, int)) else a for a in wide))


def _matvec(x: Any, y: Any) -> Tensor:
    """Matrices `[..., m, n]` times vectors `[..., n]`."""
    return (x @ shape.expand_dims(y, axis=-1))[..., 0]  # type: ignore[no-any-return]


def _vecmat(x: Any, y: Any) -> Tensor:
    """Vectors `[..., m]`, conjugated, times matrices `[..., m, n]`."""
    x = lift(x)
    x = x.conj() if x.dtype.kind == "c" else x
    return (shape.expand_dims(x, axis=-2) @ y)[..., 0, :]  # type: ignore[no-any-return]


_COMPOSED: dict[str, Callable[..., Any]] = {
    "fabs": elementwise.abs, "divmod": _divmod, "modf": _modf, "fmod": _fmod, "heaviside": _heaviside,
    "logaddexp2": _logaddexp2, "fmax": _skipping(elementwise.maximum), "fmin": _skipping(elementwise.minimum),
    "ldexp": _ldexp, "float_power": _float_power, "matvec": _matvec, "vecmat": _vecmat,
}  # fmt: skip


def made() -> dict[str, Ufunc]:
    """The universal functions there are, by all of NumPy's names for each."""
    found = {}
    for name in np.__all__:
        theirs = vars(np).get(name)  # its submodules would be loaded by getattr, some tens of milliseconds
        if not isinstance(theirs, np.ufunc):
            continue
        function = dispatch.UFUNCS.get(theirs) or _COMPOSED.get(name)
        if function is not None:
            found[name] = Ufunc(theirs.__name__, function)
    return found
