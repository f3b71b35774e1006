"""Networks of 10, 100, 1,000 equal layers: time to compile and time a step must grow with the depth and no faster.

    python benchmarks/depth.py [depth ...] [--width 64] [--batch 32] [--optimizer sgd]

Each layer is Linear, then tanh. Every depth is compiled in a process of its own, with an empty cache ("cold")
and again with what the first left there ("warm").
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from rich.console import Console
from rich.table import Table


def one(depth: int, width: int, batch: int, optimizer: str, profiled: bool) -> dict[str, Any]:
    """Builds and runs one network in this process."""
    import numpy as np

    import backlit as bl
    from backlit import nn, optim

    layers = [module for _ in range(depth) for module in (nn.Linear(width, width), nn.Tanh())]
    model = nn.Sequential(*layers)
    opt = {"sgd": optim.SGD, "adam": optim.Adam}[optimizer](model.parameters(), lr=1e-3)

    def step(x: bl.Tensor, y: bl.Tensor) -> bl.Tensor:
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        return loss

    compiled = bl.compile(step, threads=1)
    rng = np.random.default_rng(0)
    x, y = (bl.tensor(rng.standard_normal((batch, width)).astype(np.float32)) for _ in range(2))
    if profiled:
        import cProfile
        import pstats

        with cProfile.Profile() as profile:
            compiled(x, y).item()
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    start = time.perf_counter()
    compiled(x, y).item()
    first_s = time.perf_counter() - start
    times = []
    for _ in range(max(5, 3000 // depth)):
        start = time.perf_counter()
        compiled(x, y).item()
        times.append(time.perf_counter() - start)
    return {"first_s": first_s, "step_us": statistics.quantiles(times, n=4)[0] * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("depths", nargs="*", type=int, default=[10, 100, 1000])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    parser.add_argument("--here", action="store_true", help="one depth in this process; prints JSON")
    parser.add_argument("--profile", action="store_true", help="with --here: where the first step spends its time")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(one(options.depths[0], options.width, options.batch, options.optimizer, options.profile)))
        return
    table = Table(
        title=f"Linear {options.width} -> {options.width} and tanh, batch {options.batch}, {options.optimizer}"
    )
    headings = (
        "layers",
        "cold first step s",
        "warm first step s",
        "cold ms a layer",
        "us a step",
        "us a step and layer",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for depth in options.depths:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            environment = {**os.environ, "BACKLIT_CACHE_DIR": os.path.join(folder, "backlit")}
            command = [sys.executable, __file__, str(depth), "--here"]
            command += ["--width", str(options.width), "--batch", str(options.batch), "--optimizer", options.optimizer]
            cold, warm = (
                json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
                for _ in range(2)
            )
        step_us = min(cold["step_us"], warm["step_us"])
        table.add_row(
            f"{depth:,}", f"{cold['first_s']:.2f}", f"{warm['first_s']:.2f}", f"{cold['first_s'] / depth * 1e3:.1f}",
            f"{step_us:,.0f}", f"{step_us / depth:.2f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
