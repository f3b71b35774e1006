"""Missing pixels filled in by matrix factorisation.

The packaged digits are a matrix of images by pixels, of which a third of the entries are hidden. The product of two thin
matrices, a few numbers for each image times a few for each pixel, is fitted to the entries that are seen, and judged by those
that are not. Rows of the thin matrices are picked by integer arrays, whose gradient is a sum into these rows.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim

RANK, HIDDEN, BATCH, DECAY = 24, 1 / 3, 4096, 0.01


class Factors(nn.Module):
    """A value for each pair of row and column: a product of two short vectors, and a mean of the column."""

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.rows = nn.Embedding(rows, RANK)
        self.columns = nn.Embedding(columns, RANK)
        self.mean = nn.Embedding(columns, 1)
        for layer, spread in ((self.rows, 0.1), (self.columns, 0.1), (self.mean, 0.0)):
            nn.init.normal_(layer.weight, 0.0, spread)

    def forward(self, row, column):
        return bl.sum(self.rows(row) * self.columns(column), axis=1) + self.mean(column)[:, 0]


@command(epochs=30)
def main(options: Options) -> Result:
    images, _ = data.load_digits()
    rng = np.random.default_rng(options.seed)
    entries = rng.permutation(images.size)
    row, column, value = entries // images.shape[1], entries % images.shape[1], images.reshape(-1)[entries]
    n_hidden = round(HIDDEN * len(entries))
    seen = slice(n_hidden, None)

    model = Factors(*images.shape)
    loader = data.DataLoader(
        data.TensorDataset(row[seen], column[seen], value[seen]), BATCH, shuffle=True, drop_last=True
    )
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(loader))

    @bl.compile
    def step(row, column, value):
        optimizer.zero_grad()
        error = model(row, column) - value
        lengths = bl.sum(model.rows(row) ** 2 + model.columns(column) ** 2, axis=1)
        loss = bl.mean(error**2 + DECAY * lengths)
        loss.backward()
        optimizer.step()
        return loss

    def hidden_error():
        with bl.no_grad():
            guessed = model(row[:n_hidden], column[:n_hidden])
        return float(np.sqrt(np.mean((np.asarray(guessed) - value[:n_hidden]) ** 2)))

    for epoch in range(options.epochs):
        for batch in loader:
            loss = step(*batch)
            schedule.step()
        if epoch % 10 == 9:
            options.say(f"epoch {epoch + 1}: loss {loss.item():.5f}, error of hidden pixels {hidden_error():.4f}")
    mean = np.bincount(column[seen], value[seen]) / np.bincount(column[seen])
    by_mean = float(np.sqrt(np.mean((mean[column[:n_hidden]] - value[:n_hidden]) ** 2)))
    return Result({"RMSE of hidden pixels": hidden_error(), "by the mean of the pixel": by_mean}, [step])


if __name__ == "__main__":
    raise SystemExit(main())
