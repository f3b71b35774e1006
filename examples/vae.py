"""A variational autoencoder of handwritten digits (Kingma and Welling, 2014).

An encoder gives a mean and a spread of 20 hidden numbers for each image, a decoder the probability of each pixel from a
draw of them. The draw is mean + spread * noise, so the gradient goes through it. The loss bounds the nats that an image
takes; next to it stands what a model of independent pixels needs. Pixels are drawn black or white by their grey.
"""

from __future__ import annotations

import mnist
import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim
from backlit.nn import functional as F

HIDDEN, WIDTH, BATCH, RATE = 20, 400, 128, 2e-3


class VAE(nn.Module):
    """Images `[batch, 784]` of zeros and ones; the decoder gives a logit for each pixel."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, WIDTH), nn.GELU(), nn.Linear(WIDTH, 2 * HIDDEN))
        self.decoder = nn.Sequential(nn.Linear(HIDDEN, WIDTH), nn.GELU(), nn.Linear(WIDTH, 784))

    def bound(self, x):
        """Nats an image takes at most, mean of the batch: of its pixels, and of the hidden numbers."""
        mean, log_variance = bl.split(self.encoder(x), 2, axis=1)
        hidden = mean + bl.exp(0.5 * log_variance) * bl.random.normal(mean.shape)
        pixels = F.binary_cross_entropy_with_logits(self.decoder(hidden), x, reduction="sum") / len(x)
        divergence = 0.5 * bl.sum(mean**2 + bl.exp(log_variance) - 1.0 - log_variance) / len(x)
        return pixels + divergence


def picture(grey):
    """Images in letters, side by side, two rows of pixels a line."""
    rows = np.concatenate(list(grey.reshape(-1, 28, 28)), axis=1)[::2]
    return "\n".join("".join(" .:*#"[min(int(5 * p), 4)] for p in row) for row in rows)


@command(epochs=12)
def main(options: Options) -> Result:
    (images, _), (test_images, _) = mnist.load(options)
    images, test_images = images.reshape(-1, 784), test_images.reshape(-1, 784)
    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=RATE)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    trainer = bl.Trainer(
        model,
        optimizer,
        step=lambda model, grey: model.bound(bl.random.bernoulli(grey.shape, grey)),
        scheduler=schedule,
    )
    trainer.fit(data.DataLoader(images, BATCH, shuffle=True, drop_last=True), options.epochs, verbose=True)

    rng = np.random.default_rng(options.seed)
    black = (rng.random(test_images.shape) < test_images).astype(np.float32)
    with bl.no_grad():
        bound = model.bound(black).item()
        drawn = F.sigmoid(model.decoder(bl.random.normal((4, HIDDEN))))
    p = np.clip(images.mean(axis=0), 1e-4, 1 - 1e-4)
    independent = -float(np.mean(np.sum(black * np.log(p) + (1 - black) * np.log(1 - p), axis=1)))
    return Result(
        {"test nats an image": bound, "of independent pixels": independent}, [trainer], picture(np.asarray(drawn))
    )


if __name__ == "__main__":
    raise SystemExit(main())
