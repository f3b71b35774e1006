"""Floor 9: the training loop, its callbacks, metrics, checkpoints and histories, and networks for tables."""

from backlit.train.callbacks import Callback, EarlyStopping, KeepBest
from backlit.train.history import History
from backlit.train.lr_finder import LRFinder
from backlit.train.network import build_mlp
from backlit.train.running import (
    R2,
    Accuracy,
    BinaryAccuracy,
    ConfusionMatrix,
    MacroF1,
    Mean,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    Perplexity,
    RootMeanSquaredError,
    TopKAccuracy,
)
from backlit.train.step import TrainingDivergedError
from backlit.train.tensorboard import TensorBoard
from backlit.train.trainer import Trainer

__all__ = [
    "R2",
    "Accuracy",
    "BinaryAccuracy",
    "Callback",
    "ConfusionMatrix",
    "EarlyStopping",
    "History",
    "KeepBest",
    "LRFinder",
    "MacroF1",
    "Mean",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Perplexity",
    "RootMeanSquaredError",
    "TensorBoard",
    "TopKAccuracy",
    "Trainer",
    "TrainingDivergedError",
    "build_mlp",
]
