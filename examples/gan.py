"""A small generative adversarial network of the packaged digits (Goodfellow et al., 2014).

A generator makes images of 8 x 8 pixels from noise, a critic learns to tell them from real ones, and both learn in turn. The
critic pays for the square of its slope at real images (Mescheder et al., 2018): the gradient of a gradient. Pictures are made
by the average of the generator over its last steps.

Success is measured, not looked at: each image among as many real as made ones is called real or made as its nearest
neighbour is. Made images as good as real ones leave that at one half; copies of a few, or bad ones, bring it near one.
"""

from __future__ import annotations

import itertools

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim
from backlit.nn import functional as F

NOISE, WIDTH, BATCH, RATE, PENALTY, AVERAGE = 32, 256, 64, 1e-3, 1.0, 0.995


def layers(*widths: int) -> nn.Sequential:
    inner = [m for pair in itertools.pairwise(widths) for m in (nn.Linear(*pair), nn.LeakyReLU(0.2))]
    return nn.Sequential(*inner[:-1])


def neighbours(real, made):
    """The share of images whose nearest neighbour is of their own kind, and the row of the nearest real one of each made."""
    both = np.concatenate([real, made])
    squares = (both**2).sum(axis=1)
    distance = squares[:, None] + squares - 2.0 * both @ both.T
    np.fill_diagonal(distance, np.inf)
    kind = np.arange(len(both)) < len(real)
    return float((kind[distance.argmin(axis=1)] == kind).mean()), distance[len(real) :, : len(real)].argmin(axis=1)


@command(epochs=600)
def main(options: Options) -> Result:
    images, labels = data.load_digits()
    generator, critic = layers(NOISE, WIDTH, WIDTH, images.shape[1]), layers(images.shape[1], WIDTH, WIDTH, 1)
    average = optim.swa_utils.AveragedModel(generator, optim.swa_utils.get_ema_avg_fn(AVERAGE))
    of_generator = optim.Adam(generator.parameters(), lr=RATE, betas=(0.5, 0.99))
    of_critic = optim.Adam(critic.parameters(), lr=RATE, betas=(0.5, 0.99))

    def make(model, n):
        return F.sigmoid(model(bl.random.normal((n, NOISE))))

    @bl.compile
    def step(real):
        of_critic.zero_grad()
        made = make(generator, len(real)).detach()
        slope = bl.grad(lambda x: bl.sum(critic(x)))(real)
        loss = bl.mean(F.softplus(-critic(real)) + F.softplus(critic(made)))
        (loss + 0.5 * PENALTY * bl.sum(slope**2) / len(real)).backward()
        of_critic.step()

        of_generator.zero_grad()
        fooling = bl.mean(F.softplus(-critic(make(generator, len(real)))))
        fooling.backward()
        of_generator.step()
        average.update_parameters(generator)
        return loss, fooling

    loader = data.DataLoader(images, BATCH, shuffle=True, drop_last=True)
    for epoch in range(options.epochs):
        for real in loader:
            loss, fooling = step(real)
        if epoch % 100 == 99:
            options.say(
                f"epoch {epoch + 1}: loss of the critic {loss.item():.3f}, of the generator {fooling.item():.3f}"
            )

    with bl.no_grad():
        made = np.asarray(make(average, len(images)))
    own, nearest = neighbours(images, made)
    shares = np.bincount(labels[nearest], minlength=10) / len(made)
    noise = np.random.default_rng(options.seed).standard_normal(images.shape)
    by_pixel, _ = neighbours(images, np.clip(images.mean(axis=0) + images.std(axis=0) * noise, 0, 1))
    numbers = {"told apart by neighbours": own, "independent pixels": by_pixel, "rarest digit": float(shares.min())}
    return Result(numbers, [step])


if __name__ == "__main__":
    raise SystemExit(main())
