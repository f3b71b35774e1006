"""A small GPT that learns to write Shakespeare letter by letter.

A transformer as in GPT-2: each block adds what attention to earlier letters finds, then what a small network makes of it.
Training takes windows from anywhere in the text. The loss of the text that was kept back is in nats a letter, next to that
of a table of pairs of letters.
"""

from __future__ import annotations

import numpy as np
import shakespeare
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim

WIDTH, HEADS, BLOCKS, WINDOW, BATCH, RATE, SAMPLE = 128, 4, 4, 64, 32, 2e-3, 300


class Block(nn.Module):
    """Attention, then two layers at each place; both added to what goes through."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def attend(self, x):
        batch, steps, _ = x.shape
        parts = self.qkv(x).reshape(batch, steps, 3, HEADS, WIDTH // HEADS)
        q, k, v = (parts[:, :, i].swapaxes(1, 2) for i in range(3))  # [batch, heads, steps, WIDTH / heads]
        found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(found.swapaxes(1, 2).reshape(batch, steps, WIDTH))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.narrow(nn.functional.gelu(self.widen(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """Codes of letters `[batch, steps]` to logits of the next letter `[batch, steps, letters]`."""

    def __init__(self, letters: int):
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, WIDTH), nn.Embedding(WINDOW, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, letters, bias=False)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, 0.0, 0.02)

    def forward(self, codes):
        x = self.letter(codes) + self.place.weight[: codes.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def loss_of(logits, following):
    return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), following.reshape(-1))


@command(epochs=4)
def main(options: Options) -> Result:
    letters, train, validation = shakespeare.load(options)
    anywhere = data.TokenWindows(train, WINDOW, stride=1)
    order = data.RandomSampler(anywhere, replacement=True, num_samples=len(train) // WINDOW)
    loader = data.DataLoader(anywhere, BATCH, sampler=order, drop_last=True)
    held_out = data.DataLoader(data.TokenWindows(validation, WINDOW), BATCH, drop_last=True)

    model = GPT(letters.vocab_size)
    steps = options.epochs * len(loader)
    optimizer = optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.1)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1, cycle_momentum=False)
    trainer = bl.Trainer(model, optimizer, loss_of, scheduler=schedule, clip_norm=1.0)
    history = trainer.fit(loader, options.epochs, validation=held_out, verbose=True)

    @bl.compile
    def write(codes, last):
        with bl.no_grad():
            return bl.random.categorical(model(codes)[0, last] / 0.7)

    written = [*letters.encode("\n")]
    for _ in range(SAMPLE):  # windows of one length, so one program; what is behind `last` is not looked at
        seen = written[-WINDOW:]
        codes = np.array([seen + [0] * (WINDOW - len(seen))])
        written.append(write(codes, bl.asarray(len(seen) - 1)).item())
    pairs = shakespeare.bigram_loss(train, validation, letters.vocab_size)
    numbers = {"validation loss": history.epochs[-1]["val_loss"], "of pairs of letters": pairs}
    return Result(numbers, [trainer, write], letters.decode(written[1:]))


if __name__ == "__main__":
    raise SystemExit(main())
