"""Tensor: a mutable cell that holds an immutable value, and the modes that decide what is recorded."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from backlit.core import staging
from backlit.core.dtypes import complex_dtype, default_dtype, is_float
from backlit.core.errors import DTypeError, GradientError, ShapeError, TraceError
from backlit.core.graph import Cut, Node, leaf_node
from backlit.core.source import here

trace_levels = itertools.count(1)
muted: ContextVar[int] = ContextVar("muted", default=0)  # levels below it record nothing


@contextmanager
def _muted_below(level: int) -> Iterator[None]:
    token = muted.set(level)
    try:
        yield
    finally:
        muted.reset(token)


def no_grad() -> Any:
    """Ops inside record no graph; a transform such as `grad` that begins inside is not affected."""
    return _muted_below(next(trace_levels))


def enable_grad() -> Any:
    """Ops inside record their graph, also within `no_grad`."""
    return _muted_below(0)


def is_grad_enabled() -> bool:
    """Whether ops on tensors that require grad are recorded here."""
    return muted.get() == 0


class Box:
    """A value of one transform: it wraps a lower Tensor and knows the trace that made it.

    `extra` is what the transform adds to the value: a graph node or a tangent.
    """

    __slots__ = ("extra", "primal", "trace")

    def __init__(self, trace: Any, primal: Tensor, extra: Any = None) -> None:
        self.trace = trace
        self.primal = primal
        self.extra = extra

    @property
    def shape(self) -> tuple[int, ...]:
        return self.primal._value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.primal._value.dtype  # type: ignore[no-any-return]


class Consumed:
    """In the place of a gradient that a compiled step used up."""


class Tensor:
    """An array with a place for its gradient.

    `_value` is a NumPy array (or scalar) or, inside a transform, a `Box`; it is never written to while anything
    else refers to it. `node` is where the value came from in the recorded graph (a `Node`), where its path was cut
    (a `Cut`), or None. Operators attach on floor 1, `backward` on floor 2.
    """

    __slots__ = ("__weakref__", "_grad", "_value", "node")
    __array_priority__ = 1000
    __hash__ = object.__hash__

    if TYPE_CHECKING:  # attached on floors 1 and 2, where what they do is known
        T: Tensor
        mT: Tensor
        real: Tensor
        imag: Tensor
        at: Any

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __iadd__(self, other: Any) -> Self: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __isub__(self, other: Any) -> Self: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Self: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Self: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def sum(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def var(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def std(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def min(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def logsumexp(self, axis: Any = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def argmax(self, axis: int | None = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def argmin(self, axis: int | None = None, keepdims: bool = False, **kwargs: Any) -> Tensor: ...
        def squeeze(self, axis: Any = None, **kwargs: Any) -> Tensor: ...
        def expand_dims(self, axis: int = 0, **kwargs: Any) -> Tensor: ...
        def unsqueeze(self, dim: int) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def to(self, dtype: Any) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def view(self, *shape: Any) -> Tensor: ...
        def permute(self, *axes: Any) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def broadcast_to(self, *shape: Any) -> Tensor: ...
        def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor: ...
        def clip(self, min: Any = None, max: Any = None) -> Tensor: ...
        def clamp(self, min: Any = None, max: Any = None) -> Tensor: ...
        def take(self, indices: Any, *, axis: int | None = None) -> Tensor: ...
        def clone(self) -> Tensor: ...
        def copy(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def log1p(self) -> Tensor: ...
        def expm1(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def sin(self) -> Tensor: ...
        def cos(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def sign(self) -> Tensor: ...
        def floor(self) -> Tensor: ...
        def rsqrt(self) -> Tensor: ...
        def exp2(self) -> Tensor: ...
        def log2(self) -> Tensor: ...
        def log10(self) -> Tensor: ...
        def cbrt(self) -> Tensor: ...
        def reciprocal(self) -> Tensor: ...
        def square(self) -> Tensor: ...
        def conj(self) -> Tensor: ...
        def angle(self) -> Tensor: ...
        def tan(self) -> Tensor: ...
        def asin(self) -> Tensor: ...
        def acos(self) -> Tensor: ...
        def atan(self) -> Tensor: ...
        def sinh(self) -> Tensor: ...
        def cosh(self) -> Tensor: ...
        def asinh(self) -> Tensor: ...
        def acosh(self) -> Tensor: ...
        def atanh(self) -> Tensor: ...
        def sinc(self) -> Tensor: ...
        def ceil(self) -> Tensor: ...
        def trunc(self) -> Tensor: ...
        def round(self) -> Tensor: ...
        def isnan(self) -> Tensor: ...
        def isinf(self) -> Tensor: ...
        def isfinite(self) -> Tensor: ...
        def signbit(self) -> Tensor: ...
        def deg2rad(self) -> Tensor: ...
        def rad2deg(self) -> Tensor: ...
        def logical_not(self) -> Tensor: ...
        def erf(self) -> Tensor: ...
        def erfc(self) -> Tensor: ...
        def erfinv(self) -> Tensor: ...
        def lgamma(self) -> Tensor: ...
        def digamma(self) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def maximum(self, other: Any) -> Tensor: ...
        def minimum(self, other: Any) -> Tensor: ...
        def pow(self, other: Any) -> Tensor: ...
        def logical_and(self, other: Any) -> Tensor: ...
        def logical_or(self, other: Any) -> Tensor: ...
        def logical_xor(self, other: Any) -> Tensor: ...
        def copysign(self, other: Any) -> Tensor: ...
        def nextafter(self, other: Any) -> Tensor: ...
        def logaddexp(self, other: Any) -> Tensor: ...
        def xlogy(self, other: Any) -> Tensor: ...
        def atan2(self, other: Any) -> Tensor: ...
        def hypot(self, other: Any) -> Tensor: ...
        def logit(self, eps: float | None = None) -> Tensor: ...
        def nan_to_num(self, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor: ...
        def backward(self, cotangent: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None: ...
        def register_hook(self, hook: Any) -> Any: ...
        def retain_grad(self) -> None: ...

    def __init__(self, value: Any, node: Any = None) -> None:
        self._value = value
        self.node = node
        self._grad: Any = None  # a Tensor, None or Consumed

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has accumulated here, or None."""
        self._check_imperative("grad: inside a transform there is no .grad; use what backlit.grad returns")
        if staging.active and (trace := staging.current()) is not None:
            return trace.gradient(self)  # type: ignore[no-any-return]
        if self._grad.__class__ is Consumed:
            raise GradientError(
                f"grad: the compiled step used up the gradient of {self.dtype}{list(self.shape)} and did not keep it; "
                f"compile with keep_grads=True{here()}"
            )
        grad: Tensor | None = self._grad
        return grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        self._check_imperative("grad: inside a transform there is no .grad; use what backlit.grad returns")
        if staging.active and (trace := staging.current()) is not None:
            trace.set_gradient(self, grad)
        else:
            self._grad = grad

    def _check_imperative(self, otherwise: str) -> None:
        """Raises inside a transform, where a traced value has no cell of its own; a program being compiled has."""
        if isinstance(self._value, Box) and not self._value.trace.imperative:
            raise TraceError(otherwise + here())

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
        return len(self._value.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for length in self._value.shape:
            n *= length
        return n

    @property
    def requires_grad(self) -> bool:
        """Whether ops on this tensor are recorded."""
        return self.node.__class__ is Node

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.requires_grad_(requires_grad)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made this value."""
        return self.node.__class__ is not Node or self.node.op is None

    def _concrete(self) -> Any:
        value = self._value
        if isinstance(value, Box):
            value.trace.check_alive()
            return value.trace.concrete(value)
        return value

    def numpy(self) -> np.ndarray[Any, Any]:
        """The value as a read-only NumPy array; no copy.

        Raises:
          GradientError: the tensor is part of a recorded graph (use `.detach()`).
          TraceError: it is traced.
        """
        if isinstance(self._value, Box) and not self._value.trace.one_value:
            self._concrete()  # which says what to do instead
        if isinstance(self._value, Box) or not self.is_leaf:
            what = self.node or f"a traced value {self.dtype}{list(self.shape)}"
            error = TraceError if isinstance(self._value, Box) else GradientError
            raise error(f"numpy: {what} would leave its graph as an ndarray; use .detach().numpy(){here()}")
        view = np.asarray(self._value).view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The one element as a Python number."""
        value = self._concrete()
        if value.size != 1:
            raise ShapeError(f"item: expected one element, got {self.dtype}{list(self.shape)}; use .tolist()")
        return value.item()

    def tolist(self) -> Any:
        """Nested Python lists of the elements."""
        return self._concrete().tolist()

    def detach(self) -> Tensor:
        """The same value without its graph."""
        value = self._value
        if isinstance(value, Box):
            return value.trace.detach(self)  # type: ignore[no-any-return]
        return Tensor(value, Cut("detach", self.node) if self.node is not None else None)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Marks a leaf as wanting its gradient accumulated in `.grad`; gives the tensor itself.

        Raises:
          DTypeError: integers and booleans have no gradient.
          TraceError: the tensor is traced.
          GradientError: it is not a leaf and gradients are to be switched off.
        """
        self._check_imperative("requires_grad_: inside a transform use backlit.grad, not requires_grad_")
        if not requires_grad:
            if not self.is_leaf:
                raise GradientError(f"requires_grad_: {self.node} is not a leaf; use .detach(){here()}")
            self.node = None
        elif not self.requires_grad:
            if not is_float(self.dtype):
                raise DTypeError(
                    f"requires_grad: {self.dtype}{list(self.shape)} has no gradient; use .astype('float32'){here()}"
                )
            self.node = leaf_node(self.shape, self.dtype, weakref.ref(self))
        return self

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self._concrete())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        return self._concrete().__index__()  # type: ignore[no-any-return]

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.shape else str(self)

    def __str__(self) -> str:
        if isinstance(self._value, Box) and not self._value.trace.prints:
            self._concrete()  # which raises: it would be printed once and never again
        return repr(self)

    def __repr__(self) -> str:
        value, more = self._value, ", requires_grad=True" if self.requires_grad else ""
        while isinstance(value, Box):
            if not value.trace.one_value:
                return f"tensor(traced by {value.trace.name}, {self.dtype}{list(self.shape)})"
            value, more = value.primal._value, f", traced by {value.trace.name}"
        body = np.array2string(np.asarray(value), separator=", ", prefix="tensor(")
        return f"tensor({body}, dtype={self.dtype}{more})"

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise GradientError(f"deepcopy: {self.node} is part of a recorded graph; copy .detach() of it")
        made = type(self).__new__(type(self))
        Tensor.__init__(made, np.array(self._concrete()))
        memo[id(self)] = made
        if self.requires_grad:
            made.requires_grad_()
        made._grad = self._grad.__deepcopy__(memo) if isinstance(self._grad, Tensor) else self._grad
        return made


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`.

    Python floats become float32 (see `set_default_dtype`), complex numbers complex64; NumPy arrays keep their dtype.

    Raises:
      ShapeError: nested lists of unequal lengths.
      DTypeError: `requires_grad` with a dtype that has no gradient, data that is no array, or complex data as real.
    """
    if isinstance(data, Tensor):
        data = data.detach()._concrete()
    elif isinstance(data, (list, tuple)):
        data = _plain(data)
    try:
        array = np.array(data)
    except ValueError:
        raise ShapeError(f"tensor: nested lists of unequal lengths are no array{here()}") from None
    if array.dtype.kind not in "biufc" and not is_float(array.dtype):
        raise DTypeError(f"tensor: cannot hold {array.dtype} data; expected numbers or booleans{here()}")
    if dtype is None and array.dtype.char in "dD" and not isinstance(data, (np.ndarray, np.generic)):
        holds_numpy = isinstance(data, list) and any(isinstance(x, (np.ndarray, np.generic)) for x in data)
        if not holds_numpy:
            dtype = default_dtype() if array.dtype == np.float64 else complex_dtype(default_dtype())
    if dtype is not None:
        if array.dtype.kind == "c" and np.dtype(dtype).kind not in "cb":
            raise DTypeError(f"tensor: {array.dtype} data does not fit into {np.dtype(dtype)}; take .real{here()}")
        array = array.astype(dtype)
    result = Tensor(array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))
    return result.requires_grad_() if requires_grad else result


def _plain(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_plain(x) for x in data]
    return data.numpy() if isinstance(data, Tensor) else data


def assign(cell: Tensor, new: Tensor) -> None:
    """Puts the value of `new`, of the same shape and dtype, into `cell`; a leaf that requires grad stays one."""
    if staging.active and (trace := staging.current()) is not None:
        trace.written(cell)
    if cell.requires_grad and cell.is_leaf:
        cell._value = new._value
    else:
        cell._value, cell.node = new._value, new.node


def as_tensor(data: Any) -> Tensor:
    """`data` itself when it is a Tensor, else a tensor with a copy of it."""
    return data if isinstance(data, Tensor) else tensor(data)
