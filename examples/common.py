"""What every example is given and gives: one command line, the data folder, and a result that says what was reached.

python examples/mnist_cnn.py --data DIR --epochs 3 --seed 0 --threads 2 --json result.json
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

# Read when NumPy is loaded: convolutions run by NumPy, whose own threads wait for each other in busy loops. A step of ResNet-20
# takes 0.42 s with one and 0.56 s with two on an idle machine of two cores, and many times as long on a busy one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import backlit as bl


@dataclass(frozen=True)
class Options:
    """How an example is to run; `say` prints progress."""

    epochs: int
    seed: int = 0
    data: Path | None = None

    def file(self, name: str) -> Path:
        """The file of that name in the data folder.

        Raises:
          DataError: there is no folder, or no such file in it.
        """
        if self.data is None:
            raise bl.DataError(
                f"this example reads {name}; give the folder it lies in with --data DIR or $BACKLIT_DATA"
            )
        if not (self.data / name).is_file():
            raise bl.DataError(
                f"there is no {name} in {self.data}; give another folder with --data DIR or $BACKLIT_DATA"
            )
        return self.data / name

    def say(self, text: str) -> None:
        """A line of progress."""
        print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Result:
    """What an example reached: numbers by name, the compiled functions it used, and text to show, such as a sample."""

    numbers: dict[str, float]
    compiled: Sequence[Any] = ()
    text: str = ""

    def sentence(self) -> str:
        """The numbers in a line."""
        return ", ".join(f"{name} {shown(value)}" for name, value in self.numbers.items())

    def programs(self) -> dict[str, Any]:
        """Of the compiled functions: how many native programs and kernels, and the ops that ran by their eager forward."""
        reports = [report for f in self.compiled for report in f.reports()]
        fallen: dict[str, int] = {}
        for report in reports:
            for callback in report.callbacks:
                fallen[callback.ops[0]] = fallen.get(callback.ops[0], 0) + 1
        return {"programs": len(reports), "kernels": sum(len(r.kernels) for r in reports), "fallbacks": fallen}

    def how(self) -> str:
        """How the steps ran, in words."""
        made = self.programs()
        if not made["programs"]:
            return "op by op"
        fallen = ", ".join(f"{n} {op}" for op, n in made["fallbacks"].items()) or "none"
        programs = "program" if made["programs"] == 1 else "programs"
        return f"{made['programs']} native {programs} of {made['kernels']} kernels; by their eager forward: {fallen}"


def shown(value: float) -> str:
    """Four digits, or all of a whole number."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def command(epochs: int) -> Callable[[Callable[[Options], Result]], Callable[[Sequence[str] | None], int]]:
    """Makes an example, a function from `Options` to a `Result`, a command with that many epochs by default."""

    def made(example: Callable[[Options], Result]) -> Callable[[Sequence[str] | None], int]:
        def run(
            data: Annotated[Path | None, typer.Option(envvar="BACKLIT_DATA", help="Folder of the data files.")] = None,
            epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = epochs,
            seed: Annotated[int, typer.Option(help="Of weights, order and noise.")] = 0,
            threads: Annotated[int | None, typer.Option(min=1, help="Of native code; else one for each core.")] = None,
            eager: Annotated[bool, typer.Option("--eager", help="Op by op, instead of compiled.")] = False,
            to: Annotated[Path | None, typer.Option("--json", help="A file for the result.")] = None,
        ) -> None:
            bl.random.seed(seed)
            if threads is not None:
                bl.set_num_threads(threads)
            began = time.perf_counter()
            with bl.eager() if eager else contextlib.nullcontext():
                result = example(Options(epochs, seed, data))
            if eager:
                result = replace(result, compiled=())
            seconds = time.perf_counter() - began
            if result.text:
                print(result.text)
            print(f"{result.sentence()}; {seconds:.1f} s, {epochs} epochs\n{result.how()}")
            if to is not None:
                found = {"numbers": result.numbers, "seconds": seconds, "epochs": epochs, **result.programs()}
                to.write_text(json.dumps(found) + "\n", encoding="utf-8")

        run.__doc__ = inspect.getdoc(inspect.getmodule(example))

        @functools.wraps(example)
        def main(arguments: Sequence[str] | None = None) -> int:
            app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            app.command()(run)
            try:
                app(sys.argv[1:] if arguments is None else arguments)  # which ends by SystemExit
            except SystemExit as stop:
                return int(stop.code or 0)
            except bl.BacklitError as error:
                print(" ".join(str(error).split()), file=sys.stderr)
            return 2

        return main

    return made
