"""One training job from data to saved model: what `backlit train` runs, without printing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
from backlit.data.tabular import Encoder
from backlit.data.target import Target
from backlit.io.state import save
from backlit.io.tables import read_table
from backlit.train import metrics
from backlit.train.history import History
from backlit.train.loop import Epoch, Stepper, cosine, epochs_of
from backlit.train.network import build_mlp

Array = np.ndarray[Any, Any]
MODEL, HISTORY, REPORT, PAGE = "model.safetensors", "history.jsonl", "report.txt", "report.html"
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
                option = name.replace("_", "-")
                raise ArgumentError(f"--{option} must be {'above' if name == 'lr' else 'at least'} {low}, got {value}")
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
    frame = read_table(path)
    aim = Target.infer(frame, target, task)
    frame = aim.labelled(frame)
    labels = aim.encode(frame) if aim.task == "classification" else None
    train, test = split_rows(labels, frame.height)
    encoder = Encoder.fit(frame[train], aim, drop=drop)
    notes = [f"{frame.height} rows, {len(test)} held out", *encoder.report]
    parts = []
    for rows in (train, test):
        x = encoder.transform(frame[rows], notes if rows is test else [])
        y = encoder.encode_target(frame[rows])
        parts.append((x, y if aim.task == "classification" else y.reshape(-1, 1)))
    stem = Path(path).name.split(".")[0]
    return Problem(
        stem, aim.task, parts[0], parts[1], encoder.target.n_outputs, classes=list(aim.classes), encoder=encoder,
        notes=notes,
    )  # fmt: skip


@dataclass
class Result:
    """What a finished job found on the held-out rows."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    confusion: Array | None
    gradient_norms: dict[str, float]
    epochs: int
    seconds: float
    interrupted: bool
    model: nn.Sequential
    how: str  # the steps ran


def train(
    problem: Problem, settings: Settings, folder: Path, on_step: Callable[[int, float], Any] | None = None,
    on_epoch: Callable[[Epoch], Any] | None = None, eager: bool = False,
    around: Callable[[int], AbstractContextManager[Any]] = lambda step: nullcontext(),
) -> Result:  # fmt: skip
    """Trains, evaluates on the held-out rows, and leaves model and history in `folder`; steps are compiled unless `eager`.

    A step runs inside `around(its number)`.

    Ctrl-C ends the training after the last whole epoch: its weights are evaluated and saved.

    Raises:
      TrainingDivergedError: the loss became infinite or NaN.
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

    last: Epoch | None = None
    kept: dict[str, Tensor] = {}
    seconds, interrupted = 0.0, False
    with History(folder / HISTORY) as history:
        history.write(
            "run", problem=problem.name, task=problem.task, rows=len(x), compiled=not eager, **asdict(settings)
        )
        stepper = Stepper(model, loss, optimizer, not eager)
        epochs = epochs_of(
            stepper, x, y, epochs=settings.epochs, batch_size=settings.batch_size, generator=generator,
            schedule=cosine, on_step=on_step, around=around,
        )  # fmt: skip
        try:
            for epoch in epochs:
                last, kept = epoch, model.state_dict()
                seconds += epoch.seconds
                history.write("epoch", **asdict(epoch))
                if on_epoch is not None:
                    on_epoch(epoch)
        except KeyboardInterrupt:
            if last is None:
                raise
            interrupted = True
            model.load_state_dict(kept)
        assert last is not None
        found, baseline, table = evaluate(model, problem)
        history.write("evaluation", metrics=found, baseline=baseline)
    metadata = {
        "format": "backlit model 1",
        "problem": problem.name,
        "network": [x.shape[1], list(settings.hidden), problem.n_outputs, settings.activation],
        "encoder": problem.encoder.to_json() if problem.encoder is not None else None,
        "settings": asdict(settings),
        "epochs": last.number,
        "metrics": {name: value if np.isfinite(value) else None for name, value in found.items()},
    }
    save(model.state_dict(), folder / MODEL, metadata)
    return Result(found, baseline, table, last.gradient_norms, last.number, seconds, interrupted, model, stepper.how())


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


@contextmanager
def output_folder(wanted: str | None, name: str, force: bool = False) -> Iterator[tuple[Path, list[Path]]]:
    """A temporary folder that takes its final name when the block ends well, and that name in a list.

    Without `wanted` the name is `runs/<name>`, with a number when that exists.

    Raises:
      DataError: the folder exists and `force` is not given, or cannot be made.
    """
    final = Path(wanted) if wanted is not None else Path("runs") / name
    if wanted is None:
        number = 2
        while final.exists():
            final, number = final.with_name(f"{name}-{number}"), number + 1
    elif final.exists() and not force:
        raise DataError(f"{final} exists already; choose another --out, or replace it with --force")
    elif final.exists() and not (
        final.is_dir() and {p.name for p in final.iterdir()} <= {MODEL, HISTORY, REPORT, PAGE}
    ):
        raise DataError(f"{final} holds other things than a model; --force does not replace it")
    try:
        parents = [p for p in final.parents if not p.exists()]  # removed again when nothing is written
        final.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    except OSError as error:
        raise DataError(f"cannot write to {final.parent}: {error.strerror or error}") from error
    try:
        yield made, [final]
        os.chmod(made, 0o755)
        if final.exists():
            shutil.rmtree(final)
        made.rename(final)
    finally:
        if made.exists():
            shutil.rmtree(made)
            for folder in parents:
                folder.rmdir()
