"""MNIST from its four files: 60,000 handwritten digits for training and 10,000 for the test."""

from __future__ import annotations

from common import Options

from backlit import data

MEAN, STD = 0.1307, 0.3081  # of the pixels for training


def load(options: Options):
    """Images `[n, 1, 28, 28]` float32 in 0..1 and labels `[n]` int64, for training and for the test."""
    return _pair(options, "train"), _pair(options, "t10k")


def _pair(options: Options, name: str):
    images = data.read_idx(options.file(f"mnist/{name}-images-idx3-ubyte.gz"))
    labels = data.read_idx(options.file(f"mnist/{name}-labels-idx1-ubyte.gz"))
    return data.transforms.ToFloat()(images[:, None]), labels.astype("int64")
