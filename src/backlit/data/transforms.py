"""Transforms of batches of images, vectorised: crop, flip, cut out, scale.

Images are `[batch, channels, height, width]`. What a transform draws comes from `generator` where it is called by hand with
one, else from `data.current_generator()`: in a `DataLoader` the stream of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backlit.core.arguments import integer
from backlit.core.dtypes import default_dtype, is_float
from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator
from backlit.data.arguments import height_and_width
from backlit.data.dataset import as_array
from backlit.data.stream import current_generator

Array = np.ndarray[Any, Any]
__all__ = ["ChannelsFirst", "Compose", "Cutout", "Normalize", "RandomCrop", "RandomHorizontalFlip", "ToFloat"]


class Compose:
    """One transform after another."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Any, generator: Generator | None = None) -> Any:
        for transform in self.transforms:
            images = transform(images, generator) if isinstance(transform, (_Random, Compose)) else transform(images)
        return images


class _Random(ABC):
    """A transform that draws."""

    def __call__(self, images: Any, generator: Generator | None = None) -> Array:
        return self.apply(_images(type(self).__name__, images), generator or current_generator())

    @abstractmethod
    def apply(self, images: Array, generator: Generator) -> Array:
        """The images transformed."""


class RandomCrop(_Random):
    """A part of each image, `size` high and wide, at a place of its own, of the image with `padding` around it.

    `size` is one number or (height, width). The padding is `fill`, or with `padding_mode="reflect"` the image mirrored at its
    edge.

    Raises:
      ArgumentError: numbers out of range, or an unknown mode.
      DataError: the images with their padding are smaller than `size`.
    """

    def __init__(
        self, size: int | tuple[int, int], padding: int = 0, fill: float = 0, padding_mode: str = "constant"
    ) -> None:
        self.size, self.padding = height_and_width("RandomCrop", size), integer("RandomCrop", "padding", padding, 0)
        self.fill, self.padding_mode = fill, padding_mode
        if padding_mode not in ("constant", "reflect"):
            raise ArgumentError(f"RandomCrop: padding_mode must be 'constant' or 'reflect', got {padding_mode!r}")

    def apply(self, images: Array, generator: Generator) -> Array:
        n, p = len(images), self.padding
        if p:
            around = ((0, 0), (0, 0), (p, p), (p, p))
            filled = {"constant_values": self.fill} if self.padding_mode == "constant" else {}
            images = np.pad(images, around, self.padding_mode, **filled)  # type: ignore[call-overload]
        room = [images.shape[2] - self.size[0] + 1, images.shape[3] - self.size[1] + 1]
        if min(room) < 1:
            raise DataError(
                f"RandomCrop: images of {list(images.shape[2:])} with their padding hold no part of {list(self.size)}"
            )
        top, left = (generator.randint((n,), k).numpy() for k in room)
        parts = np.lib.stride_tricks.sliding_window_view(images, self.size, axis=(2, 3))
        picked: Array = parts[np.arange(n), :, top, left]
        return picked


class RandomHorizontalFlip(_Random):
    """Each image mirrored left to right with probability `p`.

    Raises:
      ArgumentError: `p` is no probability.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"RandomHorizontalFlip: p must be between 0 and 1, got {p}")
        self.p = p

    def apply(self, images: Array, generator: Generator) -> Array:
        flipped = np.flatnonzero(generator.bernoulli((len(images),), self.p).numpy())
        images = images.copy()
        images[flipped] = images[flipped, ..., ::-1]
        return images


class Cutout(_Random):
    """A square `size` wide of each image set to `fill`, its middle anywhere in the image (DeVries and Taylor, 2017).

    Raises:
      ArgumentError: `size` is less than 1.
    """

    def __init__(self, size: int, fill: float = 0) -> None:
        self.size, self.fill = integer("Cutout", "size", size), fill

    def apply(self, images: Array, generator: Generator) -> Array:
        inside = []
        for length in images.shape[2:]:
            begin = generator.randint((len(images), 1), length).numpy() - self.size // 2
            places = np.arange(length)
            inside.append((places >= begin) & (places < begin + self.size))
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return np.where(hole, np.asarray(self.fill, images.dtype), images)


class ToFloat:
    """Integers from 0 to 255 as floats from 0 to 1; floats as they are, in `dtype`, the default float dtype unless given."""

    def __init__(self, dtype: Any = None) -> None:
        self.dtype = dtype

    def __call__(self, images: Any) -> Array:
        """Raises:
        DataError: integers that are not bytes.
        """
        x: Array = as_array(images)
        dtype = np.dtype(self.dtype or default_dtype())
        if is_float(x.dtype):
            return x.astype(dtype, copy=False)
        if x.dtype not in (np.uint8, np.bool_):
            raise DataError(f"ToFloat: expected bytes (uint8), booleans or floats, got {x.dtype}; convert with .astype")
        return x.astype(dtype) if x.dtype == np.bool_ else np.divide(x, dtype.type(255), dtype=dtype)


class Normalize:
    """(images - mean) / std, with one number for all channels or one for each.

    Raises:
      ArgumentError: a standard deviation is 0.
      DataError: the images are no floats, or have another number of channels.
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (np.atleast_1d(np.asarray(v, np.float64)) for v in (mean, std))
        if not (self.std != 0).all() or self.mean.ndim != 1 or self.std.ndim != 1:
            raise ArgumentError(f"Normalize: expected a mean and a deviation other than 0 a channel, got {mean}, {std}")

    def __call__(self, images: Any) -> Array:
        x: Array = as_array(images)
        if not is_float(x.dtype):
            raise DataError(f"Normalize: expected floats, got {x.dtype}; put ToFloat before it")
        mean, std = (v.astype(x.dtype) for v in (self.mean, self.std))
        if len(mean) > 1 or len(std) > 1:
            x = _images("Normalize", x)
            if x.shape[1] not in (len(mean), len(std)) or {len(mean), len(std)} - {1, x.shape[1]}:
                raise DataError(f"Normalize: means {len(mean)}, deviations {len(std)}, but {x.shape[1]} channels")
            mean, std = mean[:, None, None], std[:, None, None]
        made: Array = (x - mean) / std
        return made


class ChannelsFirst:
    """[batch, height, width, channels], as files have it, to [batch, channels, height, width], a copy."""

    def __call__(self, images: Any) -> Array:
        """Raises:
        DataError: the images have other axes.
        """
        return np.ascontiguousarray(np.moveaxis(_images("ChannelsFirst", images), -1, 1))


def _images(who: str, images: Any) -> Array:
    x: Array = as_array(images)
    if x.ndim != 4:
        raise DataError(
            f"{who}: expected images [batch, channels, height, width], got {list(x.shape)}; add the axes that are not there"
        )
    return x
