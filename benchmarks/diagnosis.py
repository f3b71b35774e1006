"""What looking into a recording costs: formulas, balance, provenance, flow, on an MLP, a residual net and a deep graph.

`python benchmarks/diagnosis.py` prints a table of milliseconds, best of some runs, beside a forward pass without a recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import backlit as bl
from backlit import nn
from backlit.diagnose.balance import balance
from backlit.diagnose.flow import flow
from backlit.diagnose.provenance import provenance
from backlit.diagnose.rules import RuleBook


class Block(nn.Module):
    """A residual block with a branch of two layers."""

    def __init__(self, n: int, k: int, dtype: Any) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n, k * n, dtype=dtype), nn.Linear(k * n, n, dtype=dtype)

    def forward(self, x: Any) -> Any:
        """The input and what the branch adds to it."""
        return x + self.second(nn.functional.gelu(self.first(x))) * 0.1


def best(f: Callable[[], Any], runs: int = 7) -> float:
    """The shortest of several runs, in milliseconds."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


def formulas(recording: bl.Recording) -> None:
    """The rules of all nodes, with their numbers."""
    book = RuleBook()
    for node in recording.nodes:
        if node.op is not None:
            book.index(node)
            book.numbers(node)


def models(dtype: Any) -> dict[str, tuple[Any, int, int]]:
    """Name to model, batch and width of the input."""
    linear = lambda n, m: nn.Linear(n, m, dtype=dtype)
    return {
        "MLP 784-256-256-10": (nn.Sequential(linear(784, 256), nn.ReLU(), linear(256, 256), nn.ReLU(), linear(256, 10)), 64, 784),
        "12 residual blocks of 128": (nn.Sequential(*(Block(128, 1, dtype) for _ in range(12)), linear(128, 10)), 256, 128),
        "6 residual blocks of 192-768": (nn.Sequential(*(Block(192, 4, dtype) for _ in range(6)), linear(192, 10)), 256, 192),
        "700 residual blocks of 16": (nn.Sequential(*(Block(16, 1, dtype) for _ in range(700)), linear(16, 10)), 8, 16),
    }  # fmt: skip


def main() -> None:
    """Prints the table."""
    rng = np.random.default_rng(0)
    print(
        f"{'':40}{'nodes':>7}{'forward':>9}{'formulas':>9}{'balance':>9}{'provenance':>11}{'times':>7}{'flow':>8}  residual"
    )
    for dtype in (np.float32, np.float64):
        for name, (model, batch, width) in models(dtype).items():
            x, y = rng.standard_normal((batch, width)).astype(dtype), rng.integers(0, 10, batch)

            def forward(model: Any = model, x: Any = x, y: Any = y) -> Any:
                return nn.functional.cross_entropy(model(x), y)

            with bl.record() as recording:
                forward().backward()
            of = next(n for n in recording.nodes if n.kind == "parameter")
            times = [
                best(forward), best(lambda r=recording: formulas(r)), best(lambda r=recording: balance(r), 2),
                best(lambda r=recording, of=of: provenance(r, of)), best(lambda r=recording: flow(r)),
            ]  # fmt: skip
            print(
                f"{name + ' ' + np.dtype(dtype).name:40}{len(recording.nodes):7}{times[0]:9.2f}{times[1]:9.2f}{times[2]:9.1f}"
                f"{times[3]:11.2f}{times[3] / times[0]:7.2f}{times[4]:8.2f}  {provenance(recording, of).residual:.1e}"
            )


if __name__ == "__main__":
    main()
