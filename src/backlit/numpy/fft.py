"""NumPy's `fft`, with derivatives of every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backlit.arrays import fourier
from backlit.core.tensor import Tensor
from backlit.numpy.views import view

_TABLE = {
    "fft": "*a | n axis norm", "ifft": "*a | n axis norm", "rfft": "*a | n axis norm", "irfft": "*a | n axis norm",
    "hfft": "*a | n axis norm", "ihfft": "*a | n axis norm", "fftn": "*a | s axes norm", "ifftn": "*a | s axes norm",
    "rfftn": "*a | s axes norm", "irfftn": "*a | s axes norm", "fftshift": "*x | axes", "ifftshift": "*x | axes",
}  # fmt: skip
FUNCTIONS = {
    name: view(f"fft.{name}", getattr(fourier, name), text, getattr(np.fft, name)) for name, text in _TABLE.items()
}


def _planes(ours: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`ours` over the last two axes unless others are named."""

    def transform(x: Tensor, *, axes: Any = (-2, -1), **options: Any) -> Tensor:
        return ours(x, axes=axes, **options)

    transform.__doc__ = ours.__doc__
    return transform


FUNCTIONS |= {
    name: view(f"fft.{name}", _planes(getattr(fourier, ours)), "*a | s axes norm", getattr(np.fft, name))
    for name, ours in (("fft2", "fftn"), ("ifft2", "ifftn"), ("rfft2", "rfftn"), ("irfft2", "irfftn"))
}


def _frequencies(name: str) -> Callable[..., Tensor]:
    ours = getattr(fourier, name)

    def frequencies(n: int, d: float = 1.0) -> Tensor:
        return ours(n, d=d, dtype=np.float64)  # type: ignore[no-any-return]

    frequencies.__name__, frequencies.__doc__ = name, ours.__doc__
    return frequencies


FUNCTIONS |= {name: _frequencies(name) for name in ("fftfreq", "rfftfreq")}
globals().update(FUNCTIONS)
__all__ = sorted(FUNCTIONS)  # noqa: PLE0605 - generated


def __getattr__(name: str) -> Any:
    raise AttributeError(f"backlit.numpy.fft has no attribute {name!r}; dir(backlit.numpy.fft) lists what there is")
