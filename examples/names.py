"""New first names, letter by letter, from a multilayer network over the letters before (Bengio et al., 2003).

Each letter is guessed from the CONTEXT letters before it, every one a vector that is learned. A dot stands before and
behind a name. The loss of names that were kept back is in nats a letter, next to that of a table of pairs of letters.
"""

from __future__ import annotations

import numpy as np
from common import Options, Result, command

import backlit as bl
from backlit import data, nn, optim

FILE, CONTEXT, BATCH, RATE = "text/names.txt", 8, 256, 5e-3
LETTERS = ".abcdefghijklmnopqrstuvwxyz"


def examples_of(names):
    """The CONTEXT letters before each letter of each name, and that letter, as numbers."""
    before, letters = [], []
    for name in names:
        codes = [0] * CONTEXT + [LETTERS.index(letter) for letter in name] + [0]
        before += [codes[i : i + CONTEXT] for i in range(len(name) + 1)]
        letters += codes[CONTEXT:]
    return np.array(before), np.array(letters)


def pairs_loss(train, test):
    counts = np.ones((len(LETTERS), len(LETTERS)))
    np.add.at(counts, (train[0][:, -1], train[1]), 1)
    log = np.log(counts / counts.sum(axis=1, keepdims=True))
    return float(-log[test[0][:, -1], test[1]].mean())


@command(epochs=12)
def main(options: Options) -> Result:
    rng = np.random.default_rng(options.seed)
    names = data.read_text(options.file(FILE)).split()
    names = [names[i] for i in rng.permutation(len(names))]
    n_test = len(names) // 10
    test, train = examples_of(names[:n_test]), examples_of(names[n_test:])

    model = nn.Sequential(
        nn.Embedding(len(LETTERS), 24), nn.Flatten(), nn.Linear(24 * CONTEXT, 256), nn.BatchNorm1d(256), nn.Tanh(),
        nn.Dropout(0.2), nn.Linear(256, len(LETTERS)),
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=RATE)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    trainer = bl.Trainer(model, optimizer, nn.functional.cross_entropy, scheduler=schedule)
    loader = data.DataLoader(data.TensorDataset(*train), BATCH, shuffle=True, drop_last=True)
    trainer.fit(loader, options.epochs, verbose=True)
    loss = trainer.evaluate(test)["loss"]

    @bl.compile
    def next_letters(before):
        with bl.no_grad():
            return bl.random.categorical(model(before))

    model.eval()
    before = np.zeros((20, CONTEXT), np.int64)  # twenty names at once
    written = [""] * len(before)
    while not all("." in name for name in written) and len(written[0]) < 20:
        drawn = np.asarray(next_letters(before))
        before = np.concatenate([before[:, 1:], drawn[:, None]], axis=1)
        written = [name + LETTERS[code] for name, code in zip(written, drawn, strict=True)]
    made = [name.split(".")[0] for name in written]
    known = set(names)
    text = ", ".join(name + "*" * (name in known) for name in made) + "   (* is in the file)"
    return Result({"test loss": loss, "of pairs of letters": pairs_loss(train, test)}, [trainer, next_letters], text)


if __name__ == "__main__":
    raise SystemExit(main())
