"""The packaged handwritten digits."""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def load_digits() -> tuple[Array, Array]:
    """1797 handwritten digits: images float32 [1797, 64], rows of 8 x 8 pixels in [0, 1]; labels int64 [1797].

    The file, its source and its licence are in `_files` beside this module. Each call reads it anew.
    """
    packaged = files("backlit.data").joinpath("_files", "digits.csv.gz")
    with packaged.open("rb") as compressed, gzip.open(compressed, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.int64)
    return (table[:, :-1] / 16).astype(np.float32), table[:, -1].copy()
