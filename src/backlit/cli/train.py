"""`backlit train`: a network trained on the digits or on a table, with a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from backlit.cli.report import TrainingPage
from backlit.core.errors import ArgumentError
from backlit.train import job
from backlit.train.folder import PAGE, REPORT, output_folder
from backlit.train.job import Problem, Result, Settings

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
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
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
    with output_folder(out, problem.name, force, resume) as (folder, final):
        page = TrainingPage(problem, settings)
        verbose = False if quiet else None
        result = job.train(problem, settings, folder, [page], eager=eager, resume=resume, verbose=verbose)
        page.write(result, folder / PAGE)
        with (folder / REPORT).open("w", encoding="utf-8") as file:
            _report(Console(file=file, width=100), problem, settings, result)
    if not quiet:
        _report(Console(highlight=False), problem, settings, result)
        _locate(final)
    if result.history.interrupted:
        typer.echo(
            f"backlit: stopped after {len(result.history)} whole epochs; their model is saved in {final}; "
            "the same command with --resume goes on",
            err=True,
        )
        return 130
    return 0


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ArgumentError(f"--hidden must be whole numbers such as 64,32, got {text!r}") from None


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
    n_epochs = len(result.history)
    rows = len(problem.train[0]) * n_epochs
    console.print(
        f"{n_epochs} epochs of {len(problem.train[0])} rows in {result.seconds:.2f} s "
        f"({rows / max(result.seconds, 1e-9):,.0f} rows/s), seed {settings.seed}",
        soft_wrap=True,
    )
    console.print(f"steps ran as {result.how}", soft_wrap=True)


def _table(console: Console, title: str) -> Table:
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    return Table(box=SIMPLE_HEAD, pad_edge=False)


def _locate(folder: Path) -> None:
    typer.echo(
        f"model    {folder / job.MODEL}\nhistory  {folder / job.HISTORY}\nreport   {folder / REPORT}\n"
        f"page     {folder / PAGE}  (open it in a browser)"
    )
