"""Predictions of a saved model for new rows."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np

from backlit import nn
from backlit.core.errors import BacklitError, DataError, FileFormatError
from backlit.data.tabular import Encoder
from backlit.io.state import load, load_metadata
from backlit.io.tables import read_table
from backlit.train.job import PIXELS, outputs_of
from backlit.train.network import build_mlp

Array = np.ndarray[Any, Any]


def load_model(path: str | os.PathLike[str]) -> tuple[nn.Sequential, dict[str, Any]]:
    """The network that `backlit train` saved, and what was kept with it.

    Raises:
      FileFormatError: it is no such file, or damaged.
    """
    metadata = load_metadata(path)
    if metadata.get("format") != "backlit model 1":
        raise FileFormatError(f"{path} is no model that `backlit train` saved")
    try:
        n_in, hidden, n_out, activation = metadata["network"]
        model = build_mlp(n_in, hidden, n_out, activation)
        model.load_state_dict(load(path))
    except (KeyError, TypeError, ValueError, BacklitError) as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error
    return model, metadata


def predict(model_path: str, table_path: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Columns of predictions for the rows of a table, and sentences on what was met in it.

    A classification gives the class and the probability of each class, a regression the value in the target's units.

    Raises:
      FileFormatError: the model is damaged or none.
      DataError: the table cannot be read, or its columns do not fit the model.
    """
    model, metadata = load_model(model_path)
    notes: list[str] = []
    if metadata.get("encoder") is None:
        return _with_probabilities("digit", list(range(10)), outputs_of(model, read_pixels(table_path))), notes
    encoder = Encoder.from_json(metadata["encoder"])
    outputs = outputs_of(model, encoder.transform(read_table(table_path), notes))
    name = encoder.target.name
    if encoder.target.task == "regression":
        return {name: encoder.decode(outputs).tolist()}, notes
    return _with_probabilities(name, list(encoder.target.classes), outputs), notes


def _with_probabilities(name: str, classes: list[Any], logits: Array) -> dict[str, list[Any]]:
    shares = np.asarray(nn.functional.softmax(logits.astype(np.float64)))
    columns: dict[str, list[Any]] = {name: [classes[i] for i in np.argmax(logits, axis=1)]}
    for i, c in enumerate(classes):
        columns[f"p({c})"] = [round(p, 6) for p in shares[:, i].tolist()]
    return columns


def read_pixels(path: str) -> Array:
    """Images `[rows, 64]` in [0, 1] from a CSV of 64 numbers from 0 to 16 a row, a label after them or not.

    Raises:
      DataError: there is no such file, or a row is not of that form (its line is named).
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}; expected a CSV of pixels")
    try:
        text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()
        rows = [row for row in csv.reader(text.splitlines(), strict=True)]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV file of pixels: {error}") from error
    images = []
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        try:
            values = np.array([float(v) for v in row])
        except ValueError:
            if number == 1:  # a header
                continue
            raise DataError(f"{file}: line {number} holds something that is not a number") from None
        if len(values) not in (PIXELS, PIXELS + 1):
            raise DataError(
                f"{file}: line {number} has {len(values)} columns; the model expects {PIXELS} pixels, and a label or not"
            )
        pixels = values[:PIXELS]
        if not (np.isfinite(pixels).all() and (pixels >= 0).all() and (pixels <= 16).all()):
            raise DataError(f"{file}: line {number} has pixels outside 0 to 16")
        images.append(pixels / 16)
    if not images:
        raise DataError(f"{file} has no rows")
    return np.array(images, dtype=np.float32)
