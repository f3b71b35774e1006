"""Complex numbers: their parts, conjugates, angles, and making them of two real arrays.

All are linear over the real numbers, so their transposes are those of the real inner product Re(conj(a) b).
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import complex_dtype, is_float, real_dtype
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import NUMBERS, Elementwise, LinearOp, Masked, Op, Value, declare, shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.elementwise import abs, equal, where
from backlit.ops.linear import astype, concat, detach, reshape
from backlit.ops.trigonometry import atan2


class _Part(LinearOp):
    """A map of complex arrays, element by element."""

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        return None if tangents[0] is None else (self(tangents[0][0]), tangents[0][1])  # a mask has no parts

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0])

    def samples(self) -> list[tuple[Any, ...]]:
        return [((z,), {}) for z in (np.array([[1.5 - 2.0j, -0.3j], [2.0, -1.0 + 0.5j]]), np.array(0.5 + 1.0j))] + [
            ((np.zeros((0, 2), np.complex128),), {})
        ]


class Real(_Part):
    """The real part of `x`; a real array is itself. Its cotangent comes back as a complex one without imaginary part."""

    name, notation, forward = "real", r"\operatorname{{Re}} {x}", staticmethod(np.real)

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        x = as_tensor(args[0])
        return super().__call__(x) if x.dtype.kind == "c" else x

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape, real_dtype(avals[0].dtype))

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return astype(cotangent, dtype=x.dtype)


class Imag(_Part):
    """The imaginary part of `x`, zeros for a real array."""

    name, notation, forward = "imag", r"\operatorname{{Im}} {x}", staticmethod(np.imag)

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        x = as_tensor(args[0])
        return super().__call__(x) if x.dtype.kind == "c" else Tensor(np.zeros(x.shape, x.dtype))

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval(avals[0].shape, real_dtype(avals[0].dtype))

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return cotangent if x.dtype == bool else make_complex(0.0, cotangent)


class Conj(_Part):
    """The complex conjugate of `x`; a real array is itself."""

    name, notation, forward = "conj", r"\overline{{{x}}}", staticmethod(np.conjugate)

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        x = as_tensor(args[0])
        return super().__call__(x) if x.dtype.kind == "c" else x

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return conj(cotangent)


class MakeComplex(Elementwise):
    """The complex number with real part `x` and imaginary part `y`: a primitive, as `x + 1j * y` is NaN beside infinities."""

    name, notation = "make_complex", r"{x} + \mathrm{{i}} {y}"
    inputs = ("x", "y")

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        shape = np.broadcast_shapes(np.shape(x), np.shape(y))
        out = np.empty(shape, complex_dtype(next(a.dtype for a in (x, y) if hasattr(a, "dtype"))))
        out.real, out.imag = x, y
        return out[()]

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        parts = tuple(a if a.__class__ in NUMBERS else as_tensor(a) for a in args)
        if any(a.__class__ is builtins.complex or (isinstance(a, Tensor) and a.dtype.kind == "c") for a in parts):
            raise DTypeError(f"complex: expected two real arrays, got {' and '.join(map(_shown, parts))}{here()}")
        return super().prepare(parts, params)

    def __call__(self, *args: Any) -> Tensor:
        args = self.prepare(args, {})
        return super().__call__(*args)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return 1.0 if argnum == 0 else 1.0j

    def contributions(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> Sequence[Any]:
        value, mask = cotangent
        return [(imag(value) if i else real(value), mask) for i in node.plan.argnums]

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        return super().push(
            tuple(None if t is None else (astype(t[0], dtype=out.dtype), t[1]) for t in tangents), out, inputs, params
        )

    def samples(self) -> list[tuple[Any, ...]]:
        return [(((3, 2), (3, 2)), {}), (((3, 1), (2,)), {}), (((), ()), {}), (((0, 2), (1, 2)), {})]


real, imag, conj, make_complex = (declare(c) for c in (Real, Imag, Conj, MakeComplex))


class Direction(Op):
    """x / |x| of a complex number, and 0 at 0, where its derivative is 0 too: what `sign` is of complex numbers.

    It moves across itself only: the derivative in the direction t is (t - out Re(conj(out) t)) / |x|, which is its own
    transpose for the real inner product.
    """

    name, notation, forward = "direction", r"\frac{{{x}}}{{\left|{x}\right|}}", staticmethod(np.sign)
    inputs = ("x",)

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        return 2 * math.prod(out)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "out"})

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        return self(args[0])

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        return (self._across(cotangent, out, *inputs),)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        return None if tangents[0] is None else self._across(tangents[0], out, *inputs)

    def _across(self, given: Masked, out: Value, x: Value) -> Masked:
        (value, mask), size = given, abs(x)
        origin = equal(size, 0)
        found = where(origin, 0.0, (value - out * real(conj(out) * value)) / where(origin, 1.0, size))
        return (found if mask is None else where(mask, found, 0.0)), mask

    def samples(self) -> list[tuple[Any, ...]]:
        return real.samples()


direction = declare(Direction)


def _shown(x: Any) -> str:
    return shown(x) if isinstance(x, Tensor) else repr(x)


def complex(real: Any, imag: Any, /) -> Tensor:
    """The complex array with these real and imaginary parts, which broadcast: complex64 of float32, else complex128.

    Raises:
      DTypeError: a part is complex.
    """
    real = real if real.__class__ in NUMBERS and not isinstance(imag, (int, float)) else as_tensor(real)
    return make_complex(real, imag)


def angle(x: Any, /) -> Tensor:
    """The angle of `x` in the complex plane, in [-pi, pi]; its derivative at 0 is 0, by structure."""
    x = as_tensor(x)
    if x.dtype.kind != "c" and not is_float(x.dtype):
        x = astype(x, dtype=np.float64)
    origin = equal(x, 0)
    safe = where(origin, 1.0, x)
    return where(origin, detach(atan2(imag(x), real(x))), atan2(imag(safe), real(safe)))


def view_as_real(x: Any, /) -> Tensor:
    """`x` as a real array with a last axis of two, the real and the imaginary parts.

    Raises:
      DTypeError: `x` is not complex.
    """
    x = as_tensor(x)
    if x.dtype.kind != "c":
        raise DTypeError(f"view_as_real: expected complex numbers, got {shown(x)}{here()}")
    return concat(*(reshape(part, shape=(*x.shape, 1)) for part in (real(x), imag(x))), axis=-1)


def view_as_complex(x: Any, /) -> Tensor:
    """The complex array of real and imaginary parts along the last axis of `x`, which has length two.

    Raises:
      ShapeError: the last axis is not of length two.
    """
    x = as_tensor(x)
    if not x.ndim or x.shape[-1] != 2:
        raise ShapeError(f"view_as_complex: expected [..., 2], got {shown(x)}{here()}")
    return make_complex(x[..., 0], x[..., 1])
