"""One training job from data to saved model: what `backlit train` runs, without printing."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backlit import nn, optim
from backlit.core.errors import ArgumentError, DataError
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor, no_grad
from backlit.data.digits import load_digits
from backlit.data.split import split_rows
from backlit.data.tables import split_table
from backlit.data.tabular import Encoder
from backlit.io.state import save
from backlit.optim.lr_scheduler import LambdaLR
from backlit.train import metrics
from backlit.train.callbacks import Callback
from backlit.train.history import History
from backlit.train.network import build_mlp
from backlit.train.trainer import Trainer

Array = np.ndarray[Any, Any]
MODEL, HISTORY = "model.safetensors", "history.jsonl"
CHECKPOINTS, CHECKPOINT_S = "checkpoints", 5.0
PIXELS = 64


@dataclass
class Settings:
    """How to train; all of it is kept with the model."""

    seed: int = 0
    epochs: int = 60
    batch_size: int = 64
    lr: float = 1e-2
    hidden: tuple[int, ...] = (256,)
    activation: str = "relu"
    optimizer: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.05
    label_smoothing: float = 0.1

    def check(self) -> None:
        """Raises when a setting is out of range.

        Raises:
          ArgumentError: it is; the option is named.
        """
        for name, low, high in (
            ("epochs", 1, 10**6), ("batch_size", 1, 10**9), ("lr", 0, 1e6), ("momentum", 0, 1), ("weight_decay", 0, 1e6),
            ("label_smoothing", 0, 1), ("seed", 0, 2**63),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value < high or (name == "lr" and value == 0):
                option, bound = name.replace("_", "-"), "above" if name == "lr" else "at least"
                raise ArgumentError(f"--{option} must be {bound} {low} and below {high:g}, got {value}")
        if self.optimizer not in OPTIMIZERS:
            raise ArgumentError(f"--optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")


OPTIMIZERS: dict[str, Callable[[Any, Settings], optim.Optimizer]] = {
    "adamw": lambda p, s: optim.AdamW(p, lr=s.lr, weight_decay=s.weight_decay),
    "adam": lambda p, s: optim.Adam(p, lr=s.lr, weight_decay=s.weight_decay),
    "sgd": lambda p, s: optim.SGD(
        p, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay, nesterov=s.momentum > 0
    ),
}


@dataclass
class Problem:
    """Data ready for a network: features and targets of the training and the held-out rows."""

    name: str
    task: str
    train: tuple[Array, Array]
    test: tuple[Array, Array]
    n_outputs: int
    classes: list[Any] = field(default_factory=list)
    encoder: Encoder | None = None
    notes: list[str] = field(default_factory=list)

    def decode(self, outputs: Array) -> Array:
        """Values of the target from outputs; class numbers where there are classes."""
        if self.task == "classification":
            numbers: Array = np.argmax(outputs, axis=1)
            return numbers
        assert self.encoder is not None
        values: Array = self.encoder.decode(outputs)
        return values


def digits_problem() -> Problem:
    """The packaged digits, with a fixed stratified fifth of the rows held out."""
    images, labels = load_digits()
    train, test = split_rows(labels, len(images))
    notes = [f"{len(images)} digits of 8 x 8 pixels; {len(test)} held out, the same share of each class"]
    return Problem(
        "digits", "classification", (images[train], labels[train]), (images[test], labels[test]), 10,
        classes=list(range(10)), notes=notes,
    )  # fmt: skip


def table_problem(path: str, target: str, task: str | None = None, drop: tuple[str, ...] = ()) -> Problem:
    """A table with one column to predict from the others, a fixed fifth of the rows held out.

    Everything is learned from the training rows alone: medians, means, categories.

    Raises:
      DataError: the table or its columns cannot be used.
    """
    split = split_table(path, target, task, drop)
    (x, y), (x_test, y_test), encoder = split.train.tensors, split.test.tensors, split.encoder
    return Problem(
        Path(path).name.split(".")[0], encoder.target.task, (x, y), (x_test, y_test), encoder.target.n_outputs,
        classes=list(encoder.target.classes), encoder=encoder, notes=list(split.report),
    )  # fmt: skip


@dataclass
class Result:
    """What a finished job found on the held-out rows."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    confusion: Array | None
    history: History
    model: nn.Sequential
    how: str  # the steps ran

    @property
    def gradient_norms(self) -> dict[str, float]:
        """By parameter, the norm of its gradient, mean over the last epoch."""
        return dict(self.history.epochs[-1]["gradient_norms"])

    @property
    def seconds(self) -> float:
        """That the whole epochs took."""
        return float(sum(self.history["seconds"]))


class _WholeEpochs(Callback):
    """Keeps the weights as they were after the last whole epoch."""

    def __init__(self) -> None:
        self.weights: dict[str, Any] = {}

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.weights = trainer.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = dict(state["weights"])


def train(
    problem: Problem, settings: Settings, folder: Path, callbacks: Sequence[Callback] = (), *, eager: bool = False,
    resume: bool = False, verbose: bool | None = False,
) -> Result:  # fmt: skip
    """Trains, evaluates on the held-out rows, and leaves model and history in `folder`; steps are compiled unless `eager`.

    Ctrl-C ends the training: the weights of the last whole epoch are evaluated and saved, and the checkpoints stay in
    `folder`, from which `resume` goes on. They are removed when the training is done.

    Raises:
      TrainingDivergedError: the loss became infinite or NaN.
      DataError: the run to be resumed was another one.
      KeyboardInterrupt: before the first epoch was over.
    """
    settings.check()
    generator = Generator(settings.seed)
    x, y = problem.train
    model = build_mlp(x.shape[1], settings.hidden, problem.n_outputs, settings.activation, generator)
    optimizer = OPTIMIZERS[settings.optimizer](model.parameters(), settings)
    smoothing, is_classification = settings.label_smoothing, problem.task == "classification"

    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        if is_classification:
            return nn.functional.cross_entropy(outputs, target, label_smoothing=smoothing)
        return nn.functional.mse_loss(outputs, target)

    about = {"problem": problem.name, "task": problem.task, "rows": len(x), "compiled": not eager, **asdict(settings)}
    if resume:
        _check_same(folder / HISTORY, about)
    n_steps = settings.epochs * math.ceil(len(x) / settings.batch_size)
    whole = _WholeEpochs()
    trainer = Trainer(
        model, optimizer, loss, callbacks=[whole, *callbacks], compile=not eager, gradient_norms=True,
        scheduler=LambdaLR(optimizer, lambda step: cosine(step / n_steps)), scheduler_interval="step",
    )  # fmt: skip
    history = trainer.fit(
        (x, y), settings.epochs, batch_size=settings.batch_size, generator=generator, checkpoints=folder / CHECKPOINTS,
        keep=2, every_s=CHECKPOINT_S, resume=resume, history=folder / HISTORY, about=about, verbose=verbose,
    )  # fmt: skip
    if not history.epochs:
        raise KeyboardInterrupt
    if history.interrupted:
        model.load_state_dict(whole.weights)
    else:
        shutil.rmtree(folder / CHECKPOINTS)
    found, baseline, table = evaluate(model, problem)
    history.write("evaluation", metrics=found, baseline=baseline)
    history.close()
    metadata = {
        "format": "backlit model 1",
        "problem": problem.name,
        "network": [x.shape[1], list(settings.hidden), problem.n_outputs, settings.activation],
        "encoder": problem.encoder.to_json() if problem.encoder is not None else None,
        "settings": asdict(settings),
        "epochs": len(history),
        "metrics": {name: value if np.isfinite(value) else None for name, value in found.items()},
    }
    save(model.state_dict(), folder / MODEL, metadata)
    return Result(found, baseline, table, history, model, trainer.how())


def _check_same(path: Path, about: dict[str, Any]) -> None:
    """Refuses to resume a run with other options than it was started with."""
    try:
        with path.open(encoding="utf-8") as file:
            before = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise DataError(f"--resume: {path} cannot be read: {error}") from error
    now = json.loads(json.dumps(about))
    other = [f"{name} {before.get(name)!r}, now {value!r}" for name, value in now.items() if before.get(name) != value]
    if other:
        raise DataError(f"--resume: the run was started with {'; '.join(other)}")


def cosine(progress: float, warmup: float = 0.05) -> float:
    """A factor for the learning rate: linear up over `warmup`, then half a cosine down to 0."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))


def outputs_of(model: nn.Module, x: Array) -> Array:
    """What the model gives for rows, without recording."""
    with no_grad():
        return np.asarray(model(Tensor(x)))


def evaluate(model: nn.Module, problem: Problem) -> tuple[dict[str, float], dict[str, float], Array | None]:
    """Metrics on the held-out rows, those of the simplest guess, and the confusion matrix of a classification."""
    x, y = problem.test
    if problem.task == "classification":
        n = problem.n_outputs
        guesses = problem.decode(outputs_of(model, x))
        common = np.full(len(y), np.bincount(problem.train[1], minlength=n).argmax())
        found, baseline = (
            {"accuracy": metrics.accuracy(y, g), "macro F1": metrics.macro_f1(y, g, n)} for g in (guesses, common)
        )
        return found, baseline, metrics.confusion(y, guesses, n)
    true, guessed = problem.decode(y), problem.decode(outputs_of(model, x))
    mean = np.full(len(true), float(problem.decode(problem.train[1]).mean()))
    found, baseline = (
        {"RMSE": metrics.rmse(true, g), "MAE": metrics.mae(true, g), "R2": metrics.r2(true, g)} for g in (guessed, mean)
    )
    return found, baseline, None
