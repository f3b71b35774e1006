"""Tensor: a mutable cell that holds an immutable value, and the modes that decide what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from backlit.core.dtypes import default_dtype
from backlit.core.errors import DTypeError, GraphError, ShapeError

recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Ops inside record no graph."""
    token = recording.set(False)
    try:
        yield
    finally:
        recording.reset(token)


@contextmanager
def enable_grad() -> Iterator[None]:
    """Ops inside record their graph, also within `no_grad`."""
    token = recording.set(True)
    try:
        yield
    finally:
        recording.reset(token)


class Box:
    """A value of one transform: it wraps a lower Tensor and knows the trace that made it."""

    __slots__ = ("trace", "primal")

    def __init__(self, trace: Any, primal: Tensor) -> None:
        self.trace = trace
        self.primal = primal

    @property
    def shape(self) -> tuple[int, ...]:
        return self.primal.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.primal.dtype


class Tensor:
    """An array with a place for its gradient.

    `_value` is a NumPy array (or scalar) or, inside a transform, a `Box`. `node` is where
    the value came from in the recorded graph. Operators attach on floor 1, `backward` on 2.
    """

    __slots__ = ("_value", "node", "requires_grad", "grad", "__weakref__")
    __array_priority__ = 1000

    def __init__(self, value: Any, requires_grad: bool = False, node: Any = None) -> None:
        self._value = value
        self.node = node
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Kind of the elements."""
        return self._value.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for length in self.shape:
            n *= length
        return n

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made this value."""
        return self.node is None or self.node.op is None

    def _concrete(self) -> Any:
        if isinstance(self._value, Box):
            raise GraphError(
                f"a traced value {self._value.dtype}{list(self.shape)} has no contents yet: "
                "inside a transform use backlit's ops, or return the value and look at it outside"
            )
        return self._value

    def numpy(self) -> np.ndarray[Any, Any]:
        """The value as a read-only NumPy array; no copy.

        Raises:
          GraphError: the tensor is part of a recorded graph (use `.detach()`), or is traced.
        """
        value = self._concrete()
        if self.requires_grad and self.node is not None and self.node.op is not None:
            raise GraphError("numpy: this tensor is part of a recorded graph; use .detach().numpy()")
        view = np.asarray(value).view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The one element as a Python number."""
        return self._concrete().item()

    def tolist(self) -> Any:
        """Nested Python lists of the elements."""
        return self._concrete().tolist()

    def detach(self) -> Tensor:
        """The same value without its graph."""
        value = self._value
        if isinstance(value, Box):
            return value.trace.detach(self)  # type: ignore[no-any-return]
        return Tensor(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Marks a leaf as wanting its gradient accumulated in `.grad`."""
        if requires_grad and self.dtype.kind not in "fcV":
            raise DTypeError(
                f"requires_grad: {self.dtype}{list(self.shape)} has no gradient; use .astype('float32')"
            )
        self.requires_grad = requires_grad
        return self

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self._concrete())

    def __float__(self) -> float:
        return float(self._concrete())

    def __int__(self) -> int:
        return int(self._concrete())

    def __index__(self) -> int:
        return self._concrete().__index__()  # type: ignore[no-any-return]

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.shape else str(self)

    def __repr__(self) -> str:
        if isinstance(self._value, Box):
            return f"Tensor(traced {self.dtype}{list(self.shape)})"
        body = np.array2string(np.asarray(self._value), separator=", ", prefix="tensor(")
        extra = ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({body}, dtype={self.dtype}{extra})"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Tensor has no attribute {name!r}")


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`.

    Python floats become float32 (see `set_default_dtype`); NumPy arrays keep their dtype.

    Raises:
      DTypeError: `requires_grad` with a dtype that has no gradient, or data that is no array.
    """
    if isinstance(data, Tensor):
        data = data._concrete()
    array = np.array(data)
    if array.dtype.kind not in "biufcV":
        raise DTypeError(f"tensor: cannot hold {array.dtype} data; expected numbers or booleans")
    if dtype is None and array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic)):
        dtype = default_dtype()
    if dtype is not None:
        array = array.astype(dtype)
    result = Tensor(array)
    return result.requires_grad_() if requires_grad else result


def as_tensor(data: Any) -> Tensor:
    """`data` itself when it is a Tensor, else a tensor that holds it."""
    if isinstance(data, Tensor):
        return data
    return Tensor(data) if isinstance(data, np.ndarray) else tensor(data)
