"""Discrete Fourier transforms: complex ones along any axes, and those of real numbers along one.

All are linear, so their derivatives are themselves and their transposes, which are transforms again: for the inner
product Re(conj(a) b) the transpose of sum_j x_j exp(-2 pi i j k / n) is sum_k c_k exp(2 pi i j k / n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from backlit.core.aval import Aval
from backlit.core.dtypes import complex_dtype, real_dtype
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import LinearOp, Masked, Value, declare, shown
from backlit.core.source import here
from backlit.core.tensor import Tensor
from backlit.ops.elementwise import mul
from backlit.ops.linear import astype, broadcast_to, normalize_axes, sum

SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}  # what the other direction is scaled by


def check_norm(who: str, norm: Any) -> None:
    """Raises where `norm` is not the name of a scale.

    Raises:
      ArgumentError: it is not.
    """
    if norm not in SWAPPED:
        raise ArgumentError(f"{who}: norm must be 'backward', 'ortho' or 'forward', got {norm!r}{here()}")


class _Transform(LinearOp):
    """A linear map of whole lines: what comes from a line that is structurally zero throughout is zero, all else is not."""

    butterfly: ClassVar[float] = 2.5  # operations a number and level of a transform of real numbers

    def flops(self, out: tuple[int, ...], inputs: Sequence[tuple[int, ...]], params: dict[str, Any]) -> int | None:
        axes = params["axes"] if "axes" in params else (params["axis"],)
        longer = max(out, inputs[0], key=math.prod)
        length = math.prod(longer[a] for a in axes)
        return round(self.butterfly * math.prod(longer) * math.log2(max(length, 1)))

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        axes = params["axes"] if "axes" in params else (params["axis"],)
        found = normalize_axes(self.name, axes, x.ndim)
        empty = [a for a in found if x.shape[a] == 0]
        if empty or params.get("n", 1) < 1:
            raise ShapeError(
                f"{self.name}: nothing to transform along axis {empty or list(found)} of {shown(x)}{here()}"
            )
        params["norm"] = params.get("norm", "backward")
        check_norm(self.name, params["norm"])
        if "axes" in params:
            params["axes"] = found
        else:
            params["axis"] = found[0]
        return (self._typed(x),)

    def _typed(self, x: Tensor) -> Tensor:
        """`x` in a dtype that is transformed: real numbers as complex ones, half precision as single."""
        return x if x.dtype.kind == "c" else astype(x, dtype=complex_dtype(x.dtype))

    def pull(self, cotangent: Masked, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        value, mask = cotangent
        return ((self.transpose(value, node.up, **node.params), _lines(mask, node.params, node.up.shape)),)

    def push(
        self, tangents: tuple[Masked | None, ...], out: Value, inputs: Sequence[Value], params: dict[str, Any]
    ) -> Masked | None:
        if tangents[0] is None:
            return None
        value, mask = tangents[0]
        return self(value, **params), _lines(mask, params, out.shape)

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        if "axes" in params:
            return self(args[0], **{**params, "axes": tuple(a + 1 for a in params["axes"])})
        return self(args[0], **{**params, "axis": params["axis"] + 1})


def _lines(mask: Value, params: dict[str, Any], shape: tuple[int, ...]) -> Value:
    """The mask of lines of which an element is live, as long as those of `shape`."""
    if mask is None:
        return None
    axes = params["axes"] if "axes" in params else (params["axis"],)
    return broadcast_to(sum(mask, axis=axes, keepdims=True) > 0, shape=shape)


class _Complex(_Transform):
    butterfly = 5.0

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return avals[0]  # type: ignore[no-any-return]

    def samples(self) -> list[tuple[Any, ...]]:
        z = np.array([[0.5 - 1.0j, 2.0, -0.3j], [1.5, -0.7 + 0.2j, 1.0j]])
        return [
            ((z,), {"axes": (-1,)}),
            ((z,), {"axes": (1, 0), "norm": "ortho"}),
            ((z[0, :1],), {"axes": (0,), "norm": "forward"}),
            ((z[:0],), {"axes": (1,)}),
            ((z,), {"axes": ()}),
        ]


class Fft(_Complex):
    """The discrete Fourier transform along `axes`: out_k = sum_j x_j exp(-2 pi i j k / n), scaled by `norm`.

    Raises:
      ShapeError: an axis is out of range, named twice, or without elements.
      ArgumentError: `norm` is none of "backward" (scale 1), "ortho" (1 / sqrt(n)), "forward" (1 / n).
    """

    name, notation = "fft", r"\mathcal{{F}} {x}"

    @staticmethod
    def forward(x: Any, *, axes: tuple[int, ...], norm: Any) -> Any:
        return np.fft.fftn(x, axes=axes, norm=norm) if axes else x

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return ifft(cotangent, axes=params["axes"], norm=SWAPPED[params["norm"]])


class Ifft(_Complex):
    """The inverse of `fft` along `axes`: out_j = 1/n sum_k x_k exp(2 pi i j k / n), otherwise scaled by `norm`.

    Raises:
      ShapeError: an axis is out of range, named twice, or without elements.
      ArgumentError: `norm` is none of "backward" (scale 1 / n), "ortho" (1 / sqrt(n)), "forward" (1).
    """

    name, notation = "ifft", r"\mathcal{{F}}^{{-1}} {x}"

    @staticmethod
    def forward(x: Any, *, axes: tuple[int, ...], norm: Any) -> Any:
        return np.fft.ifftn(x, axes=axes, norm=norm) if axes else x

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        return fft(cotangent, axes=params["axes"], norm=SWAPPED[params["norm"]])


def _weights(like: Value, axis: int, n: int, inner: float) -> Tensor:
    """`inner` at the frequencies that stand for two of n, their conjugates included, and one at the others."""
    count = n // 2 + 1
    weights = np.full(count, inner, real_dtype(like.dtype))
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return Tensor(weights.reshape((count, *(1,) * (like.ndim - axis - 1))))


class Rfft(_Transform):
    """The first n // 2 + 1 numbers of the Fourier transform of real `x` along `axis`; the others are their conjugates.

    Raises:
      ShapeError: the axis is out of range or without elements.
      DTypeError: `x` is complex.
    """

    name, notation = "rfft", r"\mathcal{{F}}_{{\mathbb{{R}}}} {x}"

    @staticmethod
    def forward(x: Any, *, axis: int, norm: Any) -> Any:
        return np.fft.rfft(x, axis=axis, norm=norm)

    def _typed(self, x: Tensor) -> Tensor:
        if x.dtype.kind == "c":
            raise DTypeError(f"rfft: expected real numbers, got {shown(x)}; use fft{here()}")
        wanted = real_dtype(complex_dtype(x.dtype))
        return x if x.dtype == wanted else astype(x, dtype=wanted)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        (x,), axis = avals, params["axis"]
        return Aval((*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :]), complex_dtype(x.dtype))

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        axis, n = params["axis"], x.shape[params["axis"]]
        halved = mul(cotangent, _weights(cotangent, axis, n, 0.5))
        return irfft(halved, n=n, axis=axis, norm=SWAPPED[params["norm"]])

    def samples(self) -> list[tuple[Any, ...]]:
        return [
            (((2, 5),), {"axis": -1}),
            (((4, 2),), {"axis": 0, "norm": "ortho"}),
            (((1,),), {"axis": 0, "norm": "forward"}),
            (((0, 2),), {"axis": 1}),
        ]


class Irfft(_Transform):
    """The real array of length `n` along `axis` of which `x` are the first n // 2 + 1 numbers of the Fourier transform.

    The imaginary parts of those that are their own conjugates, the first and for even `n` the last, are not read.

    Raises:
      ShapeError: the axis is out of range, or not of length n // 2 + 1.
    """

    name, notation = "irfft", r"\mathcal{{F}}_{{\mathbb{{R}}}}^{{-1}} {x}"

    @staticmethod
    def forward(x: Any, *, n: int, axis: int, norm: Any) -> Any:
        return np.fft.irfft(x, n=n, axis=axis, norm=norm)

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = super().prepare(args, params)
        if x.shape[params["axis"]] != params["n"] // 2 + 1:
            raise ShapeError(f"irfft: n={params['n']} takes {params['n'] // 2 + 1} frequencies, got {shown(x)}{here()}")
        return (x,)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        (x,), axis = avals, params["axis"]
        return Aval((*x.shape[:axis], params["n"], *x.shape[axis + 1 :]), real_dtype(x.dtype))

    def transpose(self, cotangent: Value, x: Any, *rest: Value, **params: Any) -> Value:
        axis, n = params["axis"], params["n"]
        found = rfft(cotangent, axis=axis, norm=SWAPPED[params["norm"]])
        return mul(found, _weights(found, axis, n, 2.0))

    def samples(self) -> list[tuple[Any, ...]]:
        z = np.array([[0.5 - 1.0j, 2.0, -0.3j], [1.5, -0.7 + 0.2j, 1.0j]])
        return [
            ((z,), {"n": 4, "axis": -1}),
            ((z,), {"n": 5, "axis": 1, "norm": "ortho"}),
            ((z,), {"n": 3, "axis": 0, "norm": "forward"}),
            ((z[0, :1],), {"n": 1, "axis": 0}),
            ((z[:0],), {"n": 4, "axis": 1}),
        ]


fft, ifft, rfft, irfft = (declare(c) for c in (Fft, Ifft, Rfft, Irfft))
