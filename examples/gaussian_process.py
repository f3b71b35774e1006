"""A Gaussian process that predicts the consumption of cars, its lengths of scale fitted by gradient.

The kernel has one length of scale for each feature, and the logarithm of the evidence says how well lengths, amplitude and
noise fit: it needs a Cholesky factor of the kernel's matrix, through which the gradient goes back. A feature with a long
scale is one that does not matter, so the lengths can be read. Judged on held-out rows by the root of the mean squared error
and by the mean log density, next to a linear model.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, linalg, optim


def kernel(log, x, y):
    x, y = x / bl.exp(log["scale"]), y / bl.exp(log["scale"])
    squares = bl.sum(x**2, axis=1)[:, None] + bl.sum(y**2, axis=1) - 2.0 * x @ y.T
    return bl.exp(2.0 * log["amplitude"] - 0.5 * squares)


def factors(log, x, y):
    """The Cholesky factor of the covariance of the targets, and the inverse of the covariance times the targets."""
    lower = linalg.cholesky(kernel(log, x, x) + bl.exp(2.0 * log["noise"]) * bl.eye(len(x), dtype=bl.float64))
    half = linalg.solve_triangular(lower, y[:, None], upper=False)
    return lower, linalg.solve_triangular(lower.T, half, upper=True)[:, 0]


def evidence(log, x, y):
    """The log density of all targets, each by one row."""
    lower, weights = factors(log, x, y)
    return (-0.5 * y @ weights - bl.sum(bl.log(linalg.diagonal(lower)))) / len(x) - 0.5 * np.log(2 * np.pi)


def predict(log, x, y, new):
    lower, weights = factors(log, x, y)
    cross = kernel(log, new, x)
    explained = linalg.solve_triangular(lower, cross.T, upper=False)
    return cross @ weights, bl.exp(2.0 * log["amplitude"]) + bl.exp(2.0 * log["noise"]) - bl.sum(explained**2, axis=0)


def density(y, mean, variance):
    return float(np.mean(-0.5 * (y - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)))


@command(epochs=150)
def main(options: Options) -> Result:
    frame = data.read_table(options.file("tabular/mpg.csv")).drop("name")
    train, test = data.split_rows(None, frame.height)
    encoder = data.Encoder.fit(frame[train], "mpg")
    x, x_test = (encoder.transform(frame[rows]).astype(np.float64) for rows in (train, test))
    y, y_test = (encoder.encode_target(frame[rows]).astype(np.float64).reshape(-1) for rows in (train, test))

    log = {"scale": np.zeros(x.shape[1]), "amplitude": np.array(0.0), "noise": np.array(-1.0)}
    log = {name: bl.tensor(value, requires_grad=True) for name, value in log.items()}
    optimizer = optim.Adam(log.values(), lr=0.05)

    @bl.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = -evidence(log, x, y)
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(options.epochs):
        loss = step(x, y)
        if epoch % 25 == 0:
            options.say(f"epoch {epoch}: log evidence by row {-loss.item():.4f}")
    with bl.no_grad():
        mean, variance = (np.asarray(a) for a in predict(log, x, y, x_test))
    order = np.argsort(log["scale"].detach().numpy())
    scales = np.exp(log["scale"].detach().numpy())
    text = "lengths of scale, standardised: " + ", ".join(f"{encoder.feature_names[i]} {scales[i]:.1f}" for i in order)

    ones = lambda a: np.column_stack([a, np.ones(len(a))])
    line = np.linalg.lstsq(ones(x), y, rcond=None)[0]
    linear, spread = ones(x_test) @ line, float(np.mean((ones(x) @ line - y) ** 2))
    std = encoder.target.std
    return Result(
        {
            "test RMSE": std * float(np.sqrt(np.mean((mean - y_test) ** 2))),
            "of a linear model": std * float(np.sqrt(np.mean((linear - y_test) ** 2))),
            "log density": density(y_test, mean, variance) - np.log(std),
            "of the linear model": density(y_test, linear, np.full(len(y_test), spread)) - np.log(std),
        },
        [step], text,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
