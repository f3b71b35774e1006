"""Handwritten digits by two hidden layers: MNIST in the plainest way, with the loop written out."""

from __future__ import annotations

import mnist
import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim

BATCH, RATE = 128, 2e-3


@command(epochs=10)
def main(options: Options) -> Result:
    train, (test_images, test_labels) = mnist.load(options)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 10),
    )  # fmt: skip
    loader = data.DataLoader(data.TensorDataset(*train), BATCH, shuffle=True, drop_last=True)
    optimizer = optim.AdamW(model.parameters(), lr=RATE)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(loader))

    @bl.compile
    def step(images, labels):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    for epoch in range(options.epochs):
        losses = []
        for images, labels in loader:
            losses.append(step(images, labels).item())
            schedule.step()
        options.say(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")

    model.eval()
    with bl.no_grad():
        guessed = np.asarray(model(test_images)).argmax(axis=1)
    return Result({"test accuracy": float((guessed == test_labels).mean())}, [step])


if __name__ == "__main__":
    raise SystemExit(main())
