"""Logistic regression of the packaged digits, with functions alone: no module, no optimizer.

The model is a dictionary of arrays and a function of it. `value_and_grad` gives a gradient of the same structure, and
gradient descent with momentum is two lines of `tree.map`. The loss is convex, so the norm of the gradient says how near the
end is, and no seed matters.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn

RATE, MOMENTUM, DECAY = 0.5, 0.9, 1e-3


def logits(model, x):
    return x @ model["weight"] + model["bias"]


def loss(model, x, y):
    return nn.functional.cross_entropy(logits(model, x), y) + 0.5 * DECAY * bl.sum(model["weight"] ** 2)


@bl.compile
def step(model, velocity, x, y):
    value, gradient = bl.value_and_grad(loss)(model, x, y)
    velocity = bl.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocity, gradient)
    model = bl.tree.map(lambda p, v: p + v, model, velocity)
    return model, velocity, value, bl.sqrt(sum(bl.sum(g * g) for g in gradient.values()))


@command(epochs=500)
def main(options: Options) -> Result:
    images, labels = data.load_digits()
    train, test = data.split_rows(labels, len(images))
    model = {"weight": bl.zeros((64, 10)), "bias": bl.zeros(10)}
    velocity = bl.tree.map(bl.zeros_like, model)
    x, y = bl.tensor(images[train]), bl.tensor(labels[train])
    for epoch in range(options.epochs):  # each a single step, on all rows
        model, velocity, value, slope = step(model, velocity, x, y)
        if epoch % 100 == 0:
            options.say(f"epoch {epoch}: loss {value.item():.5f}, norm of the gradient {slope.item():.1e}")
    guessed = np.asarray(logits(model, images[test])).argmax(axis=1)
    accuracy = float((guessed == labels[test]).mean())
    return Result({"test accuracy": accuracy, "norm of the gradient": slope.item()}, [step])


if __name__ == "__main__":
    raise SystemExit(main())
