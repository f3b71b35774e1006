"""Elementwise ops that keep or take apart what a number is made of: rounding, signs, neighbours, tests for NaN and infinity."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from backlit.core.dtypes import is_float
from backlit.core.op import REGISTRY, Value, declare
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.elementwise import _Binary, _Unary, equal, mul, sign, where


class _Flat(_Unary):
    """Constant between jumps: its derivative is 0."""

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value) -> Value:
        return 0.0


class Ceil(_Flat):
    """The least integer not below `x`; its derivative is 0."""

    name, notation, forward = "ceil", r"\lceil {x} \rceil", staticmethod(np.ceil)


class Trunc(_Flat):
    """`x` without its fraction; its derivative is 0."""

    name, notation, forward = "trunc", r"\operatorname{{trunc}} {x}", staticmethod(np.trunc)


class Round(_Flat):
    """The integer nearest to `x`, an even one where two are; its derivative is 0."""

    name, notation = "round", r"\operatorname{{round}} {x}"

    @staticmethod
    def forward(x: Any) -> Any:
        return np.rint(x) if is_float(x.dtype) else np.positive(x)


class Copysign(_Binary):
    """The size of `x` with the sign of `y`; its derivative in `x` is 0 at 0, that in `y` is 0."""

    name, notation = "copysign", r"\left|{x}\right| \operatorname{{sign}} {y}"
    forward = staticmethod(np.copysign)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset({"x", "y"}) if argnum == 0 else frozenset()

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        if argnum == 1:
            return 0.0
        return sign(x) * (copysign(1.0, y) if isinstance(y, Tensor) else math.copysign(1.0, y))


class Nextafter(_Binary):
    """The number next to `x` on the way to `y`; its derivative in `x` is 1, that in `y` is 0."""

    name, notation = "nextafter", r"\operatorname{{nextafter}}({x}, {y})"
    forward = staticmethod(np.nextafter)

    def reads(self, argnum: int) -> frozenset[str]:
        return frozenset()

    def partial(self, argnum: int, out: Value, x: Value, y: Value) -> Value:
        return 1.0 if argnum == 0 else 0.0


class _Test(_Unary):
    """A result of booleans; nothing is differentiable through it."""

    differentiable = False

    def samples(self) -> list[tuple[Any, ...]]:
        return [*super().samples(), ((np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan]),), {})]


class Isnan(_Test):
    """Whether `x` is NaN."""

    name, notation, forward = "isnan", r"{x} = \mathrm{{NaN}}", staticmethod(np.isnan)


class Isinf(_Test):
    """Whether `x` is an infinity of either sign."""

    name, notation, forward = "isinf", r"\left|{x}\right| = \infty", staticmethod(np.isinf)


class Isfinite(_Test):
    """Whether `x` is neither infinite nor NaN."""

    name, notation, forward = "isfinite", r"\left|{x}\right| < \infty", staticmethod(np.isfinite)


class Signbit(_Test):
    """Whether the sign of `x` is minus, that of -0.0 and of NaN included."""

    name, notation, forward = "signbit", r"{x} \le -0", staticmethod(np.signbit)


ceil, trunc, round = (declare(c) for c in (Ceil, Trunc, Round))
copysign, nextafter = declare(Copysign), declare(Nextafter)
isnan, isinf, isfinite, signbit = (declare(c) for c in (Isnan, Isinf, Isfinite, Signbit))


def positive(x: Any, /) -> Tensor:
    """`x` itself."""
    return as_tensor(x)


def nan_to_num(x: Any, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """`x` with other numbers for NaN and the infinities (the greatest and the least number unless given).

    What is replaced has a structurally zero cotangent.
    """
    found: Tensor = as_tensor(x)
    if not is_float(found.dtype):
        return found
    if found.dtype.kind == "c":
        parts = (nan_to_num(REGISTRY[part](found), nan, posinf, neginf) for part in ("real", "imag"))
        return REGISTRY["make_complex"](*parts)
    largest = float(ml_dtypes.finfo(found.dtype).max)  # type: ignore[no-untyped-call]
    found = where(isnan(found), nan, found)
    found = where(equal(found, math.inf), largest if posinf is None else posinf, found)
    return where(equal(found, -math.inf), -largest if neginf is None else neginf, found)


def deg2rad(x: Any, /) -> Tensor:
    """`x` degrees in radians."""
    return mul(as_tensor(x), math.pi / 180.0)


def rad2deg(x: Any, /) -> Tensor:
    """`x` radians in degrees."""
    return mul(as_tensor(x), 180.0 / math.pi)
