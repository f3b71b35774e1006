"""What other array libraries ask of an array: its namespace, its device, its memory through DLPack."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DTypeError
from backlit.core.op import shown
from backlit.core.source import here
from backlit.core.tensor import Tensor

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")  # of the array API


def check_device(who: str, device: Any) -> None:
    """Raises where `device` is not the one there is.

    Raises:
      ArgumentError: it is neither "cpu" nor None.
    """
    if device not in (None, "cpu"):
        raise ArgumentError(f'{who}: there is no device {device!r}; the one there is is "cpu"{here()}')


def _namespace(x: Tensor, *, api_version: str | None = None) -> Any:
    if api_version not in (None, *VERSIONS):
        raise ArgumentError(
            f"__array_namespace__: the array API {api_version!r} is none of {', '.join(VERSIONS)}{here()}"
        )
    return sys.modules["backlit"]


def _to_device(x: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    check_device("to_device", device)
    return x


def _dlpack(
    x: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """A capsule of the memory of `x`, which is shared unless `copy`; who takes it must not write while a graph is alive."""
    x.numpy()  # raises for what has derivatives or is traced
    try:
        return np.asarray(x._value).__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    except BufferError as error:
        raise DTypeError(f"__dlpack__: {shown(x)} cannot be given out ({error}){here()}") from error


def _dlpack_device(x: Tensor) -> tuple[int, int]:
    return (1, 0)  # the processor's memory


for _name, _value in {
    "__array_namespace__": _namespace,
    "__dlpack__": _dlpack,
    "__dlpack_device__": _dlpack_device,
    "to_device": _to_device,
    "device": property(lambda x: "cpu"),
}.items():
    setattr(Tensor, _name, _value)
