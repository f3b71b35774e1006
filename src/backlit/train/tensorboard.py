"""The numbers of a run for TensorBoard, written by tensorboardX (the extra `tensorboard`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from backlit.core.arguments import integer
from backlit.core.errors import ArgumentError
from backlit.train.callbacks import Callback

if TYPE_CHECKING:
    from backlit.train.trainer import Trainer


class TensorBoard(Callback):
    """Writes the numbers of every epoch, and of every `every` steps if that is given, to event files in `folder`.

    A resumed run writes on; TensorBoard hides what an earlier process wrote of later steps.

    Raises:
      ArgumentError: tensorboardX is not installed, or `every` is no integer of at least 1.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int | None = None) -> None:
        try:
            import tensorboardX
        except ImportError:
            raise ArgumentError(
                "TensorBoard: writing its files needs tensorboardX; pip install 'backlit[tensorboard]'"
            ) from None
        self._make = tensorboardX.SummaryWriter
        self.folder = os.fspath(folder)
        self.every = None if every is None else integer("TensorBoard", "every", every)
        self._writer: Any = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Opens the file."""
        self._writer = self._make(self.folder, purge_step=trainer.step + 1 if trainer.step else None)

    def on_step_end(self, trainer: Trainer) -> None:
        """Writes the numbers of a step, where they are asked for."""
        if self.every is not None and trainer.step % self.every == 0:
            self._write("step", trainer.logs | {"lr": trainer.optimizer.lr}, trainer.step)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Writes the numbers of an epoch."""
        left_out = ("epoch", "step", "rows")
        self._write("epoch", {n: v for n, v in trainer.logs.items() if n not in left_out}, trainer.step)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, kind: str, numbers: dict[str, Any], step: int) -> None:
        for name, value in numbers.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(f"{kind}/{name}", value, step)
        self._writer.flush()
