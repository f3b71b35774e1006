"""The species of penguins from a table with missing values.

The encoder learns from the training rows what to do with each column: numbers are standardised, missing ones are the median
and marked, texts become zeros and ones. Five networks are trained, each without a fifth of the rows, by which it is judged;
so every row is held out once.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim

FILE, BATCH, RATE, FOLDS = "tabular/penguins.csv", 32, 1e-2, 5


def trained(x, y, n_classes: int, epochs: int) -> bl.Trainer:
    """A network that was trained on these rows."""
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, n_classes))
    trainer = bl.Trainer(model, optim.AdamW(model.parameters(), lr=RATE), nn.functional.cross_entropy)
    trainer.fit((x, y), epochs, batch_size=BATCH, verbose=False)
    return trainer


@command(epochs=40)
def main(options: Options) -> Result:
    frame = data.read_table(options.file(FILE))
    target = data.Target.infer(frame, "species")
    fold = np.random.default_rng(options.seed).permutation(frame.height) % FOLDS
    right, trainers, report = 0, [], ()
    for held_out in range(FOLDS):
        train, test = frame[np.flatnonzero(fold != held_out)], frame[np.flatnonzero(fold == held_out)]
        encoder = data.Encoder.fit(train, target)
        trainer = trained(encoder.transform(train), encoder.encode_target(train), target.n_outputs, options.epochs)
        guessed = encoder.decode(trainer.predict(encoder.transform(test)))
        right += int((guessed == test["species"].to_numpy()).sum())
        options.say(f"without part {held_out + 1} of {FOLDS}: {right} right in all")
        trainers, report = [*trainers, trainer], encoder.report
    most = max(frame["species"].to_list().count(name) for name in target.classes)
    numbers = {"accuracy": right / frame.height, "of the commonest species": most / frame.height}
    return Result(numbers, trainers, "\n".join(report))


if __name__ == "__main__":
    raise SystemExit(main())
