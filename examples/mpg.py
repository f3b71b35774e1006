"""The consumption of cars from a table with missing values, by several networks at once.

The encoder learns from the training rows what to do with each column, and standardises the target. An ensemble of networks
is one set of parameters with a leading axis: the loss of one, a plain function of a dictionary of arrays, becomes that of
all by `vmap`, and one optimizer trains them. Their mean is judged on held-out rows next to a linear model.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, optim

FILE, BATCH, RATE, MEMBERS, WIDTH = "tabular/mpg.csv", 32, 3e-3, 10, 32


def network(p, x):
    """Of one member: `x: [rows, features]` to `[rows]`."""
    hidden = bl.tanh(x @ p["in"] + p["shift"])
    hidden = hidden + bl.tanh(hidden @ p["inner"] + p["inner shift"])
    return hidden @ p["out"] + p["mean"]


def start(n_in: int):
    draw = lambda *shape: bl.random.normal((MEMBERS, *shape), 0.0, shape[0] ** -0.5)
    zeros = lambda *shape: bl.zeros((MEMBERS, *shape))
    values = {"in": draw(n_in, WIDTH), "shift": zeros(WIDTH), "inner": draw(WIDTH, WIDTH), "inner shift": zeros(WIDTH),
              "out": draw(WIDTH), "mean": zeros()}  # fmt: skip
    return {name: value.requires_grad_() for name, value in values.items()}


@command(epochs=200)
def main(options: Options) -> Result:
    frame = data.read_table(options.file(FILE)).drop("name")
    train, test = (frame[rows] for rows in data.split_rows(None, frame.height))
    encoder = data.Encoder.fit(train, "mpg")
    x, y, x_test = encoder.transform(train), encoder.encode_target(train), encoder.transform(test)

    members = start(x.shape[1])
    optimizer = optim.AdamW(members.values(), lr=RATE, weight_decay=0.1)
    loader = data.DataLoader(data.TensorDataset(x, y), BATCH, shuffle=True, drop_last=True)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(loader))
    of_all = bl.vmap(network, in_axes=(0, None))

    @bl.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = bl.mean((of_all(members, x) - y) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(options.epochs):
        for batch in loader:
            loss = step(*batch)
            schedule.step()
        if epoch % 50 == 49:
            options.say(f"epoch {epoch + 1}: loss {loss.item():.4f}")

    true = test["mpg"].to_numpy()
    rmse = lambda guessed: float(np.sqrt(np.mean((encoder.decode(guessed) - true) ** 2)))
    with bl.no_grad():
        guessed = np.asarray(of_all(members, x_test))
    ones = lambda a: np.column_stack([a, np.ones(len(a))])
    line = ones(x_test) @ np.linalg.lstsq(ones(x), y, rcond=None)[0]
    numbers = {
        "test RMSE": rmse(guessed.mean(axis=0)), "of one network": float(np.mean([rmse(g) for g in guessed])),
        "of a linear model": rmse(line),
    }  # fmt: skip
    return Result(numbers, [step], "\n".join(encoder.report))


if __name__ == "__main__":
    raise SystemExit(main())
