"""Handwritten digits by a convolutional network in the manner of LeNet-5 (LeCun et al., 1998).

Two convolutions, each followed by pooling, then two layers. The learning rate goes up and down once (Smith, 2018), which
brings the network past 99 of 100 within a few passes.
"""

from __future__ import annotations

import mnist
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim, train

BATCH, RATE = 128, 4e-3


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip


@command(epochs=3)
def main(options: Options) -> Result:
    normalised = data.transforms.Normalize(mnist.MEAN, mnist.STD)
    (images, labels), (test_images, test_labels) = mnist.load(options)
    digits = data.TensorDataset(normalised(images), labels)
    loader = data.DataLoader(digits, BATCH, shuffle=True, drop_last=True)

    model = lenet()
    optimizer = optim.AdamW(model.parameters(), lr=RATE)
    schedule = optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, epochs=options.epochs, steps_per_epoch=len(loader), cycle_momentum=False
    )
    trainer = bl.Trainer(
        model, optimizer, nn.functional.cross_entropy, {"accuracy": train.Accuracy()}, scheduler=schedule
    )
    trainer.fit(loader, options.epochs, verbose=True)
    held_out = data.DataLoader(data.TensorDataset(normalised(test_images), test_labels), 500)
    return Result({"test accuracy": trainer.evaluate(held_out)["accuracy"]}, [trainer])


if __name__ == "__main__":
    raise SystemExit(main())
