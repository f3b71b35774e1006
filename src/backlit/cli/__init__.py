"""Floor 11: the `backlit` command."""

from __future__ import annotations

import sys

import typer

from backlit.cli.explain import explain
from backlit.cli.inspect import inspect
from backlit.cli.predict import predict
from backlit.cli.train import train
from backlit.core.errors import BacklitError
from backlit.train.step import TrainingDivergedError

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Train, predict and explain with exact gradients.",
)  # fmt: skip
_USAGE: type = typer.BadParameter.__mro__[2]  # typer's base of usage errors; where it lives differs by version
for _command in (train, predict, inspect):
    app.command()(_command)
app.command(context_settings={"ignore_unknown_options": True})(explain)  # an expression may begin with a minus


def main() -> None:
    """Runs the command line: exit code 0 when done, 1 when it failed, 2 on bad input, 130 on Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs the command with `arguments` and gives its exit code; errors are one sentence on standard error."""
    try:
        result: object = app(arguments or ["--help"], standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _complain("stopped", 130)
    except TrainingDivergedError as error:
        return _complain(str(error), 1)
    except BacklitError as error:
        return _complain(str(error), 2)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if isinstance(error, _USAGE):
            return _complain(f"{error.format_message()} (see backlit --help)", 2)  # type: ignore[attr-defined]
        raise
    return result if isinstance(result, int) else 0


def _complain(message: str, code: int) -> int:
    typer.echo("backlit: " + " ".join(message.split()), err=True)
    return code
