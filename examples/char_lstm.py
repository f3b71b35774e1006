"""An LSTM that learns to write Shakespeare letter by letter.

The text is cut into as many strands as a batch has rows, which are read side by side; the state of each is carried from one
window to the next, while gradients stay within a window. The loop is written out. The loss of the text that was kept back is
in nats a letter, next to that of a table of pairs of letters.
"""

from __future__ import annotations

import numpy as np
import shakespeare
from common import Options, Result, command

import backlit as bl
from backlit import nn, optim

WIDTH, WINDOW, BATCH, RATE, SAMPLE = 256, 64, 32, 4e-3, 300


class Writer(nn.Module):
    """Codes of letters `[batch, steps]` and a state to logits of the next letter `[batch, steps, letters]` and a state."""

    def __init__(self, letters: int):
        super().__init__()
        self.letter = nn.Embedding(letters, 64)
        self.lstm = nn.LSTM(64, WIDTH, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(WIDTH, letters)

    def forward(self, codes, state):
        x, state = self.lstm(self.letter(codes), state)
        return self.head(self.dropout(x)), state


def start(batch: int):
    return bl.zeros((1, batch, WIDTH)), bl.zeros((1, batch, WIDTH))


def strands(codes):
    """The text as BATCH strands side by side: pairs of a window `[BATCH, WINDOW]` and the letters behind each of its own."""
    n = (len(codes) - 1) // (BATCH * WINDOW)
    here, following = (codes[k : k + BATCH * n * WINDOW].reshape(BATCH, n, WINDOW) for k in (0, 1))
    return [(here[:, i], following[:, i]) for i in range(n)]


@command(epochs=4)
def main(options: Options) -> Result:
    letters, train, validation = shakespeare.load(options)
    model = Writer(letters.vocab_size)
    windows = strands(train)
    optimizer = optim.Adam(model.parameters(), lr=RATE)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(windows))

    def loss_of(codes, following, state):
        logits, state = model(codes, state)
        return nn.functional.cross_entropy(logits.reshape(-1, letters.vocab_size), following.reshape(-1)), state

    @bl.compile
    def step(codes, following, state):
        optimizer.zero_grad()
        loss, state = loss_of(codes, following, state)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss, tuple(part.detach() for part in state)

    @bl.compile
    def judge(codes, following, state):
        with bl.no_grad():
            return loss_of(codes, following, state)

    @bl.compile
    def write(code, state):
        with bl.no_grad():
            logits, state = model(code, state)
        return bl.random.categorical(logits[0, 0] / 0.7).reshape(1, 1), state

    for epoch in range(options.epochs):
        state = start(BATCH)
        for codes, following in windows:
            loss, state = step(codes, following, state)
            schedule.step()
        options.say(f"epoch {epoch + 1}: loss {loss.item():.3f}")

    model.eval()
    losses, state = [], start(BATCH)
    for codes, following in strands(validation):
        loss, state = judge(codes, following, state)
        losses.append(loss.item())
    code, state, written = bl.asarray(letters.encode("\n")[None]), start(1), []
    for _ in range(SAMPLE):
        code, state = write(code, state)
        written.append(code.item())
    pairs = shakespeare.bigram_loss(train, validation, letters.vocab_size)
    numbers = {"validation loss": float(np.mean(losses)), "of pairs of letters": pairs}
    return Result(numbers, [step, judge, write], letters.decode(written))


if __name__ == "__main__":
    raise SystemExit(main())
