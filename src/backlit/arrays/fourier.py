"""Fourier transforms with the array API's signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backlit.core.dtypes import complex_dtype, default_dtype
from backlit.core.errors import DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import fourier, linear
from backlit.ops.complex import conj
from backlit.ops.fourier import SWAPPED, check_norm
from backlit.ops.protocols import check_device

Lengths = Sequence[int] | None
Axes = Sequence[int] | None


def _resized(who: str, x: Tensor, n: int | None, axis: int) -> Tensor:
    """`x` cut, or continued with zeros, to length `n` along `axis`."""
    (axis,) = linear.normalize_axes(who, axis, x.ndim)
    if n is None or n == x.shape[axis]:
        return x
    if n < 1:
        raise ShapeError(f"{who}: expected a positive length, got {n}{here()}")
    if n < x.shape[axis]:
        return x[(*(slice(None),) * axis, slice(n))]
    return linear.pad(x, width=[(0, n - m if a == axis else 0) for a, m in enumerate(x.shape)])


def _along(who: str, x: Tensor, s: Lengths, axes: Axes) -> tuple[list[int | None], list[int]]:
    """The lengths (None for as it is) and axes of a transform along several: the last ones for which there are lengths."""
    chosen = list(axes) if axes is not None else list(range(x.ndim))[-len(s) if s else 0 :]
    lengths: list[int | None] = [None] * len(chosen)
    if s is not None:
        lengths = [None if n == -1 else n for n in s]
    if len(lengths) != len(chosen):
        raise ShapeError(f"{who}: {len(lengths)} lengths for {len(chosen)} axes{here()}")
    linear.normalize_axes(who, tuple(chosen), x.ndim)
    return lengths, chosen


def _all_resized(who: str, x: Tensor, s: Lengths, axes: Axes) -> tuple[Tensor, list[int]]:
    lengths, chosen = _along(who, x, s, axes)
    for n, axis in zip(lengths, chosen, strict=True):
        x = _resized(who, x, n, axis)
    return x, chosen


@scope
def fft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform along `axis`, cut or continued with zeros to `n` numbers.

    out_k = sum_j x_j exp(-2 pi i j k / n); "ortho" divides by sqrt(n), "forward" by n. O(n log n) for any n.
    """
    return fourier.fft(_resized("fft", as_tensor(x), n, axis), axes=(axis,), norm=norm)


@scope
def ifft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `fft` with the same `norm`, along `axis`, cut or continued with zeros to `n` numbers."""
    return fourier.ifft(_resized("ifft", as_tensor(x), n, axis), axes=(axis,), norm=norm)


@scope
def fftn(x: Any, /, *, s: Lengths = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The Fourier transform along all `axes`, cut or continued to the lengths `s` (-1 for as it is)."""
    x, chosen = _all_resized("fftn", as_tensor(x), s, axes)
    return fourier.fft(x, axes=tuple(chosen), norm=norm)


@scope
def ifftn(x: Any, /, *, s: Lengths = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The inverse of `fftn` with the same `norm`."""
    x, chosen = _all_resized("ifftn", as_tensor(x), s, axes)
    return fourier.ifft(x, axes=tuple(chosen), norm=norm)


@scope
def rfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The first n // 2 + 1 numbers of the Fourier transform of real `x`, of which the rest are conjugates.

    Raises:
      DTypeError: `x` is complex.
    """
    return fourier.rfft(_resized("rfft", as_tensor(x), n, axis), axis=axis, norm=norm)


@scope
def irfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The real array of length `n` whose Fourier transform begins with `x`; n is 2 (length - 1) unless given."""
    x = as_tensor(x)
    (axis,) = linear.normalize_axes("irfft", axis, x.ndim)
    n = 2 * (x.shape[axis] - 1) if n is None else n
    if n < 1:
        raise ShapeError(f"irfft: {n} numbers along axis {axis} of {shown(x)}; give a positive n{here()}")
    return fourier.irfft(_resized("irfft", x, n // 2 + 1, axis), n=n, axis=axis, norm=norm)


@scope
def rfftn(x: Any, /, *, s: Lengths = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The Fourier transform of real `x` along `axes`, half of it along the last one.

    Raises:
      ShapeError: there is no axis.
      DTypeError: `x` is complex.
    """
    x, chosen = _all_resized("rfftn", as_tensor(x), s, axes)
    if not chosen:
        raise ShapeError(f"rfftn: expected at least one axis of {shown(x)}{here()}")
    return fourier.fft(fourier.rfft(x, axis=chosen[-1], norm=norm), axes=tuple(chosen[:-1]), norm=norm)


@scope
def irfftn(x: Any, /, *, s: Lengths = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The inverse of `rfftn` with the same `norm`; the last length is 2 (length - 1) unless `s` gives it.

    Raises:
      ShapeError: there is no axis.
    """
    x = as_tensor(x)
    lengths, chosen = _along("irfftn", x, s, axes)
    if not chosen:
        raise ShapeError(f"irfftn: expected at least one axis of {shown(x)}{here()}")
    for n, axis in zip(lengths[:-1], chosen[:-1], strict=True):
        x = _resized("irfftn", x, n, axis)
    last = lengths[-1]
    return irfft(fourier.ifft(x, axes=tuple(chosen[:-1]), norm=norm), n=last, axis=chosen[-1], norm=norm)


@scope
def hfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The real Fourier transform, of length `n`, of the array that begins with `x` and goes on with its conjugates."""
    check_norm("hfft", norm)
    return irfft(conj(as_tensor(x)), n=n, axis=axis, norm=SWAPPED[norm])


@scope
def ihfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `hfft` with the same `norm`: the first n // 2 + 1 numbers.

    Raises:
      DTypeError: `x` is complex.
    """
    check_norm("ihfft", norm)
    return conj(rfft(x, n=n, axis=axis, norm=SWAPPED[norm]))


def _sample_frequencies(who: str, values: Any, d: float, dtype: Any, device: Any) -> Tensor:
    check_device(who, device)
    dtype = default_dtype() if dtype is None else np.dtype(dtype)
    if complex_dtype(dtype) == dtype or dtype.kind in "biu":
        raise DTypeError(f"{who}: the frequencies are real floats, not {dtype}{here()}")
    return Tensor((values / d).astype(dtype))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of `fft` of `n` samples at distance `d`: 0, 1, ..., -2, -1 over n d."""
    return _sample_frequencies("fftfreq", np.fft.fftfreq(n), d, dtype, device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of `rfft` of `n` samples at distance `d`: 0, 1, ..., n // 2 over n d."""
    return _sample_frequencies("rfftfreq", np.fft.rfftfreq(n), d, dtype, device)


def _turned(who: str, x: Any, axes: Any, back: bool) -> Tensor:
    found: Tensor = as_tensor(x)
    for axis in linear.normalize_axes(who, axes, found.ndim):
        n = found.shape[axis]
        at = n // 2 if back else n - n // 2
        lead = (slice(None),) * axis
        if n > 1:
            found = linear.concat(found[(*lead, slice(at, None))], found[(*lead, slice(at))], axis=axis)
    return found


@scope
def fftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """`x` with the frequency zero in the middle of `axes`, of all unless given."""
    return _turned("fftshift", x, axes, False)


@scope
def ifftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _turned("ifftshift", x, axes, True)
