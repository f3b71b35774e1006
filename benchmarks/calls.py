"""The cost of a compiled call, in microseconds: programs that do next to nothing, so that what is around them shows.

python benchmarks/calls.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import backlit as bl
from backlit import nn, optim


def best_us(f: Callable[[], Any], n: int = 2000, rounds: int = 9) -> float:
    """The least time of a call over some rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(n):
            f()
        best = min(best, (time.perf_counter() - start) / n)
    return 1e6 * best


def cases() -> dict[str, Callable[[], Any]]:
    """Calls by what they are."""
    arrays = [bl.tensor(np.ones(8)) for _ in range(20)]
    numpy_arrays = [np.ones(8) for _ in range(20)]
    state = [bl.tensor(np.ones(8)) for _ in range(20)]
    x = arrays[0]
    nothing = bl.compile(lambda *xs: None)
    first = bl.compile(lambda *xs: xs[0] + xs[-1])
    every = bl.compile(lambda *xs: [v + 1.0 for v in xs])
    tree = bl.compile(lambda batch, scale=1.0: batch["a"][0] * scale)
    batch = {"a": arrays[:10], "b": arrays[10:]}
    static = bl.compile(lambda x, axis: bl.sum(x, axis=axis), static_argnames="axis")

    @bl.compile
    def counts(x):
        for cell in state:
            cell += x

    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    opt = optim.Adam(model.parameters())
    rows = bl.tensor(np.ones((1, 8), np.float32))

    @bl.compile
    def train(rows):
        opt.zero_grad()
        loss = model(rows).sum()
        loss.backward()
        opt.step()
        return loss

    noise = bl.compile(lambda: bl.random.normal((4,)))
    return {
        "no-op with 20 tensors": lambda: nothing(*arrays),
        "no-op with 20 NumPy arrays": lambda: nothing(*numpy_arrays),
        "sum of two of 20 tensors": lambda: first(*arrays),
        "20 tensors to 20 results": lambda: every(*arrays),
        "a dictionary of lists of 20 tensors, a keyword": lambda: tree(batch, scale=2.0),
        "one tensor and a static argument": lambda: static(x, axis=0),
        "state of 20 tensors written in place": lambda: counts(x),
        "Adam on a network of 8-8-1, one example": lambda: train(rows),
        "normal numbers of the default generator": noise,
    }


def main() -> None:
    table = Table("call", "us")
    for name, call in cases().items():
        call()
        table.add_row(name, f"{best_us(call):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
