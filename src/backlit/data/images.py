"""Folders of images, one of each class, decoded as they are used."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from backlit.core.errors import ArgumentError, DataError, FileFormatError
from backlit.data.arguments import height_and_width
from backlit.data.dataset import Dataset
from backlit.io.replace import Path

Array = np.ndarray[Any, Any]
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_CHANNELS = {"RGB": 3, "L": 1}


class ImageFolder(Dataset[tuple[Any, Any]]):
    """Images under `root/class name/`: an item is (uint8 [channels, height, width], class number int64).

    Classes are the folders in the order of their names, images those files below them whose names end as images' do, in
    the order of their paths. An image is decoded when it is asked for, to `mode` "RGB" or "L" (grey), and with `size`, one
    number or (height, width), scaled to it; else those of a batch must be of one size. Needs Pillow, extra `image`, which
    lets other threads run while it decodes (`num_workers`).

    `classes` names the classes, `class_to_idx` their numbers, `samples` has the path and the class of each image.

    Raises:
      DataError: Pillow is not installed; there is no such folder, or a class has no image; as they are read: images of
        two sizes.
      FileFormatError: as they are read: a file is damaged, no image, or of more than 8 bits a channel.
      ArgumentError: an unknown mode, or a size that is none.
    """

    takes_rows = True

    def __init__(self, root: Path, size: int | tuple[int, int] | None = None, mode: str = "RGB") -> None:
        if mode not in _CHANNELS:
            raise ArgumentError(f"ImageFolder: mode must be 'RGB' or 'L', got {mode!r}")
        self.root, self.mode = os.fspath(root), mode
        self.size = None if size is None else height_and_width("ImageFolder", size)
        _pillow()
        if not os.path.isdir(self.root):
            raise DataError(f"ImageFolder: there is no folder {self.root}")
        self.classes = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        if not self.classes:
            raise DataError(f"ImageFolder: {self.root} has no folders; expected one of each class")
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples = [(path, i) for i, name in enumerate(self.classes) for path in self._found(name)]
        self.targets = np.array([i for _, i in self.samples], np.int64)

    def _found(self, name: str) -> list[str]:
        folder = os.path.join(self.root, name)
        paths = [os.path.join(where, f) for where, _, files in os.walk(folder, followlinks=True) for f in files]
        images = sorted(path for path in paths if path.lower().endswith(EXTENSIONS))
        if not images:
            raise DataError(
                f"ImageFolder: the folder {folder} has no image; expected names that end in {', '.join(EXTENSIONS)}"
            )
        return images

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        picked = self.targets[index]
        if picked.ndim == 0:
            return self._image(self.samples[index][0]), picked
        paths = [self.samples[row][0] for row in np.asarray(index).tolist()]
        shape = (_CHANNELS[self.mode], *self.size) if self.size is not None else None
        images: Array | None = None if shape is None else np.empty((len(paths), *shape), np.uint8)
        for row, path in enumerate(paths):
            image = self._image(path)
            if images is None:
                images = np.empty((len(paths), *image.shape), np.uint8)
            if image.shape != images.shape[1:]:
                raise DataError(
                    f"ImageFolder: {path} is {image.shape[1]} x {image.shape[2]}, {paths[0]} is {images.shape[2]} x "
                    f"{images.shape[3]}; give a size to scale them to"
                )
            images[row] = image
        return images if images is not None else np.empty((0, _CHANNELS[self.mode], 0, 0), np.uint8), picked

    def _image(self, path: str) -> Array:
        pillow = _pillow()
        try:
            with pillow.open(path) as file:
                if file.mode[0] in "IF":
                    raise FileFormatError(f"ImageFolder: {path} has more than 8 bits a channel; convert it")
                image = file.convert(self.mode)
                if self.size is not None:
                    image = image.resize(self.size[::-1], pillow.Resampling.BILINEAR)
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, pillow.DecompressionBombError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(f"ImageFolder: {path} is damaged or no image: {error}") from error
        pixels = np.asarray(image)
        return pixels[None] if self.mode == "L" else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def __len__(self) -> int:
        return len(self.samples)


def _pillow() -> Any:
    # in the extra `image`: importing it with this file would make it needed for every `import backlit`
    try:
        import PIL.Image
    except ImportError:
        raise DataError("ImageFolder: decoding images needs Pillow; pip install 'backlit[image]'") from None
    return PIL.Image
