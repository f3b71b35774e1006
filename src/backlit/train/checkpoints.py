"""A folder of checkpoints: the last few of a run, each a whole file."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

from backlit.core.errors import DataError, FileFormatError
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
                before = [p for p in paths if p < path]
                if not before:
                    raise
                warnings.warn(f"{error}; going back to {before[-1].name}", RuntimeWarning, stacklevel=4)
                os.replace(path, path.with_name(path.name + ".damaged"))
        return None


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state in a checkpoint: a dictionary that has the entries of `Trainer.state_dict`.

    Raises:
      FileFormatError: the file is damaged, or no checkpoint.
    """
    if load_metadata(path).get("format") != FORMAT:
        raise FileFormatError(f"load: {os.fspath(path)} is no checkpoint of a training run")
    state = load(path)
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in ("progress", "model")):
        raise FileFormatError(f"load: {os.fspath(path)} is damaged: it lacks what a checkpoint has")
    return state
