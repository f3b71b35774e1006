"""A chain of elementwise arithmetic on 1e6 float64: one native loop against one pass of memory an operation.

All engines run in this one process, turn by turn, on one thread; milliseconds a call, median and 25th percentile. The
limit is the time to read the inputs and write the result once, measured as a copy of as many bytes. Engines that are
not installed are left out and named.

    python benchmarks/elementwise.py [--size 1000000] [--turns 40]
"""

from __future__ import annotations

import argparse
import importlib.util
import time

import numpy as np

import backlit as bl
from backlit.compiler import make_graph, simplify
from backlit.compiler.native import Program


def formula(x, y, where, sqrt, absolute):
    return where(x > y, x * 2.0 + sqrt(absolute(y)), x / (y + 3.0) - 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=40)
    options = parser.parse_args()
    x, y = np.random.default_rng(0).standard_normal((2, options.size))
    eager = lambda x, y: formula(x, y, bl.where, bl.sqrt, bl.abs)
    program = Program(simplify(make_graph(eager)(x, y)))
    tx, ty = bl.tensor(x), bl.tensor(y)
    out = np.empty((3, options.size // 2))
    source = np.ones_like(out)
    engines = {
        "limit (copy)": lambda: np.copyto(out, source),
        "backlit native": lambda: program(x, y)[0],
        "backlit eager": lambda: eager(tx, ty).numpy(),
        "numpy": lambda: formula(x, y, np.where, np.sqrt, np.abs),
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        a, b = torch.from_numpy(x), torch.from_numpy(y)
        engines["torch"] = lambda: formula(a, b, torch.where, torch.sqrt, torch.abs).numpy()
    expected = engines["numpy"]()
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(options.turns):
        for name, run in engines.items():
            start = time.perf_counter()
            result = run()
            times[name].append(time.perf_counter() - start)
            exact = name != "torch"
            assert result is None or np.allclose(
                result, expected, rtol=0 if exact else 1e-12, atol=0, equal_nan=True
            ), name
    print(f"{'milliseconds':16} {'p25':>8} {'median':>8}")
    for name, found in times.items():
        print(f"{name:16} {np.percentile(found, 25) * 1e3:8.3f} {np.median(found) * 1e3:8.3f}")
    if "torch" not in engines:
        print("torch: not installed")


if __name__ == "__main__":
    main()
