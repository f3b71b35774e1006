"""Tiny Shakespeare as numbers, for the examples that write it letter by letter; and what pairs of letters alone reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Options

from backlit import data

FILE = "text/tinyshakespeare.txt"
Array = np.ndarray[Any, Any]


def load(options: Options) -> tuple[data.CharTokenizer, Array, Array]:
    """The letters, and the text as their numbers: nine tenths for training, the last one for validation."""
    text = data.read_text(options.file(FILE))
    letters = data.CharTokenizer.train(text)
    codes = letters.encode(text)
    cut = len(codes) * 9 // 10
    return letters, codes[:cut], codes[cut:]


def bigram_loss(train: Array, validation: Array, n_letters: int) -> float:
    """Nats a letter of `validation`, each guessed from the one before by counting pairs in `train` (and one more each)."""
    counts = np.ones((n_letters, n_letters))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    log = np.log(counts / counts.sum(axis=1, keepdims=True))
    return float(-log[validation[:-1], validation[1:]].mean())
