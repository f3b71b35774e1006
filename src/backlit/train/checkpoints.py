"""A folder of checkpoints: the last few of a run, each a whole file."""

from __future__ import annotations

import math
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from backlit.core.errors import DataError, FileFormatError
from backlit.core.tensor import Tensor
from backlit.io.state import load, load_metadata, save

FORMAT = "backlit checkpoint 1"
_NAME = re.compile(r"step-(\d{9,18})\.safetensors")
_UNFINISHED = re.compile(r"\.backlit-[0-9a-f]{16}\.tmp")


class Checkpoints:
    """The checkpoints of a run in `folder`, of which the last `keep` stay.

    A file is written beside its place, flushed, renamed, and its folder flushed, before an older one is removed: at every
    instant there are `keep` whole ones, or all that were ever written.

    Raises:
      DataError: the folder cannot be made, or `keep` is less than 1.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3) -> None:
        if keep < 1:
            raise DataError(f"checkpoints: keep must be at least 1, got {keep}")
        self.folder, self.keep = Path(folder), keep
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                if _UNFINISHED.fullmatch(path.name):  # of a run that was killed while it wrote
                    path.unlink()
        except OSError as error:
            raise DataError(f"checkpoints: cannot write to {self.folder}: {error.strerror or error}") from error

    def paths(self) -> list[Path]:
        """The files, oldest first."""
        found = [(int(m[1]), path) for path in self.folder.iterdir() if (m := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def save(self, state: dict[str, Any], step: int, **metadata: Any) -> Path:
        """Writes the state after `step` steps, and removes what is more than `keep`.

        Raises:
          DataError: it cannot be written.
        """
        path = self.folder / f"step-{step:09d}.safetensors"
        save(state, path, {"format": FORMAT, "step": step, **metadata})
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> tuple[dict[str, Any], Path] | None:
        """The last state that is whole, and its file; None where there is none.

        A damaged file is renamed to `.damaged`, with a warning that says which one is used instead.

        Raises:
          FileFormatError: there are checkpoints, and every one is damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return load_checkpoint(path), path
            except FileFormatError as error:
                number = paths.index(path)
                if number == 0:
                    raise FileFormatError(f"{error}; no other checkpoint is left in {self.folder}") from error
                os.replace(path, path.with_name(path.name + ".damaged"))
                warnings.warn(f"{error}; going back to {paths[number - 1].name}", RuntimeWarning, stacklevel=4)
        return None


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state in a checkpoint: a dictionary that has the entries of `Trainer.state_dict`.

    Raises:
      FileFormatError: the file is damaged, or no checkpoint.
    """
    if load_metadata(path).get("format") != FORMAT:
        raise FileFormatError(f"load: {os.fspath(path)} is no checkpoint of a training run")
    state = load(path)
    try:
        _check(state)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: no run leaves such a state ({error!r})") from error
    return dict(state)


def _check(state: Any) -> None:
    """Raises where a state has not the entries that every run has, or numbers that none can have."""
    for name, kind in (
        ("model", dict), ("optimizers", list), ("metrics", dict), ("callbacks", list), ("generators", list),
    ):  # fmt: skip
        if not isinstance(state[name], kind):
            raise TypeError(f"{name} is a {type(state[name]).__name__}")
    progress, history = state["progress"], state["history"]
    counts = {name: progress[name] for name in ("epoch", "step", "batch", "rows", "skipped")}
    counts |= {name: history[name] for name in ("bytes", "crc32")}
    for generator in state["generators"]:
        counts |= {name: generator[name] for name in ("counter", "children")}
        if np.asarray(generator["key"]).shape != (2,) or np.asarray(generator["key"]).dtype != np.uint64:
            raise ValueError("a generator whose key is no key")
        _refuse(counts)
    _refuse(counts)
    if not (isinstance(progress["seconds"], float) and 0.0 <= progress["seconds"] < math.inf):
        raise ValueError(f"seconds: {progress['seconds']!r}")
    if not isinstance(progress["lr"], float):
        raise TypeError(f"lr: {progress['lr']!r}")
    if not all(isinstance(progress[name], bool) for name in ("trained", "stopped")):
        raise TypeError("trained or stopped is no truth value")
    for sum_, count in progress["sums"].values():
        _refuse({"count": count})
        np.asarray(sum_, np.float64)
    if not all(isinstance(value, Tensor) for value in state["model"].values()):
        raise TypeError("model holds something else than tensors")


def _refuse(counts: dict[str, Any]) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
            raise ValueError(f"{name}: {value!r}"[:100])
