"""Small files in the places and formats in which the examples look for the real ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n"
SYLLABLES = ("an", "be", "cor", "da", "el", "fi")
TABLES = {
    "penguins": ("species,island,bill_length_mm,sex", lambda rng, k: (
        f"{('Adelie', 'Gentoo', 'Chinstrap')[k % 3]},{'Dream' if k % 2 else 'Biscoe'},"
        f"{'' if k == 7 else round(40 + 5 * (k % 3) + rng.normal(), 1)},{('MALE', 'FEMALE', '')[k % 7 % 3]}"
    )),
    "mpg": ("mpg,horsepower,weight,origin,name", lambda rng, k: (
        f"{round(20 + (k % 20 - 10) ** 2 / 5 + rng.normal(), 1)},{'' if k == 5 else 60 + 5 * (k % 20)},"
        f"{2000 + 80 * (k % 20)},{('usa', 'japan')[k % 2]},car {k}"
    )),
}  # fmt: skip


def idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes(), 1))


def bars(rng: np.random.Generator, n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, size, size]` uint8, each with a bright bar at the height that is its class."""
    labels = rng.integers(0, 10, n).astype(np.uint8)
    images = rng.integers(0, 60, (n, size, size), np.uint8)
    step = size // 10
    for image, label in zip(images, labels, strict=True):
        image[step * label : step * (label + 1)] += 180
    return images, labels


def colours(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 32, 32, 3]` uint8, each in the colour of its class, with noise."""
    labels = rng.integers(0, 10, n).astype(np.uint8)
    means = np.stack([labels % 3, labels // 3 % 3, labels // 9], axis=1) * 80
    return (means[:, None, None] + rng.integers(0, 60, (n, 32, 32, 3))).astype(np.uint8), labels


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("text", "mnist", "cifar10", "tabular"):
        (made / name).mkdir()
    (made / "text" / "tinyshakespeare.txt").write_text(TEXT * 250)
    names = ["".join(rng.choice(SYLLABLES, 3)) for _ in range(400)]
    (made / "text" / "names.txt").write_text("\n".join(names) + "\n")
    for part, n in (("train", 640), ("t10k", 200)):
        images, labels = bars(rng, n, 28)
        idx(made / "mnist" / f"{part}-images-idx3-ubyte.gz", images)
        idx(made / "mnist" / f"{part}-labels-idx1-ubyte.gz", labels)
    arrays = {}
    for part, n in (("train", 96), ("test", 40)):
        arrays[f"x_{part}"], arrays[f"y_{part}"] = colours(rng, n)
    np.savez(made / "cifar10" / "cifar10_subset.npz", **arrays)
    for name, (heading, row) in TABLES.items():
        (made / "tabular" / f"{name}.csv").write_text("\n".join([heading, *(row(rng, k) for k in range(90))]) + "\n")
    return made
