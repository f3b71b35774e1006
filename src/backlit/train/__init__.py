"""Floor 9: the training loop, metrics, histories and networks for tables."""

from backlit.train.history import History
from backlit.train.loop import Epoch, TrainingDivergedError, fit
from backlit.train.network import build_mlp

__all__ = ["Epoch", "History", "TrainingDivergedError", "build_mlp", "fit"]
