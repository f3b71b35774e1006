"""How many forward passes a whole train step takes: forward, backward and update of W1, W2, W3, compiled.

    python benchmarks/passes.py [W1 W2 W3] [--threads 1,2] [--turns 40]

The forward pass is the network and its loss, compiled without gradients. Both take turns in one process; the figure is the
ratio of the lower quartiles. Three products of matrices instead of one make it 3 (2 in the first layer) where all else is free.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mlp import RECIPES, backlit_parts

import backlit as bl


def measure(calls: list[Callable[[], Any]], turns: int) -> list[float]:
    """Microseconds a call, the lower quartile over the turns."""
    times: list[list[float]] = [[] for _ in calls]
    n = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        n.append(max(1, int(0.004 / (time.perf_counter() - start))))
    for _ in range(turns):
        for k, call in enumerate(calls):
            call()
            start = time.perf_counter()
            for _ in range(n[k]):
                call()
            times[k].append((time.perf_counter() - start) / n[k] * 1e6)
    return [float(np.percentile(t, 25)) for t in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", metavar="W", default=[*RECIPES])
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--turns", type=int, default=40)
    options = parser.parse_args()
    print("workload  threads   forward us      step us   step / forward")
    for name in options.workloads:
        for threads in options.threads:
            step, forward, x, y = backlit_parts(RECIPES[name][1])
            step, forward = bl.compile(step, threads=threads), bl.compile(forward, threads=threads)
            passed, stepped = measure([lambda: forward(x, y), lambda: step(x, y)], options.turns)  # noqa: B023 - used at once
            print(f"{name:8s} {threads:8d} {passed:12,.1f} {stepped:12,.1f} {stepped / passed:16.2f}")


if __name__ == "__main__":
    main()
