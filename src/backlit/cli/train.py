"""`backlit train`: a network trained on the digits or on a table, with a report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from backlit.cli.report import TrainingPage
from backlit.core.errors import ArgumentError
from backlit.train import job
from backlit.train.job import Problem, Result, Settings
from backlit.train.loop import Epoch

_TABLE_DEFAULTS = {"epochs": 150, "batch_size": 32, "lr": 5e-3, "hidden": (64,), "label_smoothing": 0.05}


def train(
    data: Annotated[
        str, typer.Argument(help="'digits' for the digits that come with backlit, or a table (CSV, Parquet).")
    ],
    target: Annotated[str | None, typer.Option(help="The column to predict, for a table.")] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression; else taken from the target.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out; may be given again.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for model, history and report; default runs/<name>.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the model that is in the folder.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of weights and order of rows.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate at its peak.")] = None,
    hidden: Annotated[str | None, typer.Option(help="Widths of the hidden layers, as in 64,32.")] = None,
    activation: Annotated[str | None, typer.Option(help="relu, tanh, sigmoid or gelu.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam or sgd.")] = None,
    momentum: Annotated[float | None, typer.Option(help="For sgd.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the weights.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the labels spread over all classes.")] = None,
    eager: Annotated[bool, typer.Option("--eager", help="Run steps op by op instead of compiling them.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no report; only errors.")] = False,
) -> int:
    """Trains a small network and saves it with a report of how it does on held-out rows."""
    given: dict[str, Any] = {
        "seed": seed, "epochs": epochs, "batch_size": batch_size, "lr": lr, "activation": activation,
        "optimizer": optimizer, "momentum": momentum, "weight_decay": weight_decay,
        "label_smoothing": label_smoothing, "hidden": None if hidden is None else _widths(hidden),
    }  # fmt: skip
    defaults: dict[str, Any] = {} if data == "digits" else _TABLE_DEFAULTS
    settings = dataclasses.replace(Settings(**defaults), **{k: v for k, v in given.items() if v is not None})
    settings.check()
    if data == "digits":
        if target is not None or task is not None or drop:
            raise ArgumentError("digits: --target, --task and --drop are for tables")
        problem = job.digits_problem()
    elif target is None:
        raise ArgumentError(f"which column of {data} is to be predicted? give --target COLUMN")
    else:
        problem = job.table_problem(data, target, task, tuple(drop or ()))
    with job.output_folder(out, problem.name, force) as (folder, final):
        with _progress(problem, settings, quiet) as (on_step, on_epoch):
            page = TrainingPage(problem, settings)
            result = job.train(
                problem,
                settings,
                folder,
                _both(page.on_step, on_step),
                _both(page.on_epoch, on_epoch),
                eager,
                page.around,
            )
        page.write(result, folder / job.PAGE)
        with (folder / job.REPORT).open("w", encoding="utf-8") as file:
            _report(Console(file=file, width=100), problem, settings, result)
    if not quiet:
        _report(Console(highlight=False), problem, settings, result)
        _locate(final[0])
    if result.interrupted:
        typer.echo(f"backlit: stopped after {result.epochs} whole epochs; their model is saved in {final[0]}", err=True)
        return 130
    return 0


def _both(first: Callable[..., Any], second: Callable[..., Any] | None) -> Callable[..., Any]:
    if second is None:
        return first

    def call(*args: Any) -> None:
        first(*args)
        second(*args)

    return call


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ArgumentError(f"--hidden must be whole numbers such as 64,32, got {text!r}") from None


@contextmanager
def _progress(problem: Problem, settings: Settings, quiet: bool) -> Iterator[tuple[Any, Any]]:
    """What to call after each step and epoch: a bar on a terminal, ten lines elsewhere, nothing when quiet."""
    rows = len(problem.train[0])
    if quiet or not sys.stderr.isatty():

        def line(epoch: Epoch) -> None:
            if not quiet and (epoch.number * 10) // settings.epochs != ((epoch.number - 1) * 10) // settings.epochs:
                speed = epoch.rows / max(epoch.seconds, 1e-9)
                typer.echo(
                    f"epoch {epoch.number}/{settings.epochs}  loss {epoch.loss:.4f}  {speed:,.0f} rows/s", err=True
                )

        yield None, line
        return
    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"), BarColumn(), TextColumn("{task.fields[status]}"),
        MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=rows * settings.epochs, epoch=1, epochs=settings.epochs, status="starting")

        def step(n: int, loss: float) -> None:
            bar.update(task, advance=n, status=f"loss {loss:.4f}  {bar.tasks[0].speed or 0.0:,.0f} rows/s")

        def epoch_done(epoch: Epoch) -> None:
            bar.update(task, epoch=min(epoch.number + 1, settings.epochs))

        yield step, epoch_done


def _report(console: Console, problem: Problem, settings: Settings, result: Result) -> None:
    for note in problem.notes:
        console.print(f"  {note}", style="dim", soft_wrap=True)
    summary = _table(console, f"{problem.name}: {len(problem.test[0])} held-out rows")
    summary.add_column("metric")
    summary.add_column("model", justify="right")
    guess = "most frequent class" if problem.task == "classification" else "training mean"
    summary.add_column(f"always the {guess}", justify="right")
    for name, value in result.metrics.items():
        summary.add_row(name, f"{value:.4f}", f"{result.baseline[name]:.4f}")
    console.print(summary)
    if result.confusion is not None and len(result.confusion) <= 12:
        table = _table(console, "confusion: rows are the true classes, columns the predicted ones")
        table.add_column("")
        for c in problem.classes:
            table.add_column(str(c), justify="right")
        for i, c in enumerate(problem.classes):
            counts = result.confusion[i]
            table.add_row(str(c), *(str(n) if n else "." for n in counts.tolist()))
        console.print(table)
    norms = _table(console, "gradient norm of each parameter, mean over the last epoch")
    norms.add_column("parameter")
    norms.add_column("shape", justify="right")
    norms.add_column("gradient norm", justify="right")
    for name, p in result.model.named_parameters():
        norms.add_row(name, " x ".join(map(str, p.shape)), f"{result.gradient_norms[name]:.3e}")
    console.print(norms)
    rows = len(problem.train[0]) * result.epochs
    console.print(
        f"{result.epochs} epochs of {len(problem.train[0])} rows in {result.seconds:.2f} s "
        f"({rows / max(result.seconds, 1e-9):,.0f} rows/s), seed {settings.seed}",
        soft_wrap=True,
    )
    console.print(f"steps ran as {result.how}", soft_wrap=True)


def _table(console: Console, title: str) -> Table:
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    return Table(box=SIMPLE_HEAD, pad_edge=False)


def _locate(folder: Path) -> None:
    typer.echo(
        f"model    {folder / job.MODEL}\nhistory  {folder / job.HISTORY}\nreport   {folder / job.REPORT}\n"
        f"page     {folder / job.PAGE}  (open it in a browser)"
    )
