"""`backlit predict`: predictions of a saved model as CSV."""

from __future__ import annotations

from typing import Annotated

import typer

from backlit.io.tables import write_csv
from backlit.train.predict import predict as predictions


def predict(
    model: Annotated[str, typer.Argument(help="A model.safetensors that `backlit train` saved.")],
    file: Annotated[str, typer.Argument(help="A table with the columns the model was trained on.")],
    out: Annotated[str, typer.Option(help="Where to write the CSV; - is the standard output.")] = "-",
) -> None:
    """Predicts the target for every row of FILE."""
    columns, notes = predictions(model, file)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    write_csv(columns, out)
    if out != "-":
        typer.echo(f"{len(next(iter(columns.values())))} predictions in {out}", err=True)
