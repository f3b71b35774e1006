"""Eager cost of a long scalar chain: forward and backward of 10,000 steps `x = sin(x) * 1.01` on a 0-d float64.

Every engine runs in this one process, turn by turn, so that drift of the machine hits all alike; the figure is the
median over the turns, in microseconds a step. For backlit the parts are measured too, by leaving one out at a time.
Engines that are not installed are left out and named.

    python benchmarks/chain.py [--steps 10000] [--turns 15]
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable
from unittest import mock

import numpy as np

import backlit
from backlit.core import op

START = 0.5


def chain(sin: Callable, x, steps: int):
    for _ in range(steps):
        x = sin(x) * 1.01
    return x


def run_backlit(steps: int) -> tuple[float, float, float]:
    x = backlit.tensor(np.float64(START), requires_grad=True)
    start = time.perf_counter()
    y = chain(backlit.sin, x, steps)
    middle = time.perf_counter()
    y.backward()
    return middle - start, time.perf_counter() - middle, x.grad.item()


def run_torch(steps: int) -> tuple[float, float, float]:
    import torch

    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    start = time.perf_counter()
    y = chain(torch.sin, x, steps)
    middle = time.perf_counter()
    y.backward()
    return middle - start, time.perf_counter() - middle, x.grad.item()


def run_autograd(steps: int) -> tuple[float, float, float]:
    import autograd.numpy as anp
    from autograd import make_vjp

    start = time.perf_counter()
    pullback, _ = make_vjp(lambda x: chain(anp.sin, x, steps))(START)
    middle = time.perf_counter()
    gradient = pullback(1.0)
    return middle - start, time.perf_counter() - middle, float(gradient)


def run_without_recording(steps: int) -> tuple[float, float, float]:
    x = backlit.tensor(np.float64(START))
    start = time.perf_counter()
    chain(backlit.sin, x, steps)
    return time.perf_counter() - start, 0.0, float("nan")


def run_without_source(steps: int) -> tuple[float, float, float]:
    with mock.patch.object(op, "user_source", lambda depth: None):
        return run_backlit(steps)


def plain_contributions(self, cotangent, out, inputs, node):
    return [(cotangent[0] * self.partial(i, out, *inputs), None) for i in node.plan.argnums]


def run_without_masks(steps: int) -> tuple[float, float, float]:
    with mock.patch.object(op.Elementwise, "contributions", plain_contributions):
        return run_backlit(steps)


def run_numpy(steps: int) -> tuple[float, float, float]:
    """The same arithmetic written by hand: the floor."""
    start = time.perf_counter()
    x = np.float64(START)
    kept = []
    for _ in range(steps):
        kept.append(x)
        x = np.sin(x) * 1.01
    middle = time.perf_counter()
    g = np.float64(1.0)
    for x in reversed(kept):
        g = g * 1.01 * np.cos(x)
    return middle - start, time.perf_counter() - middle, float(g)


ENGINES = {
    "backlit": run_backlit,
    "torch": run_torch,
    "autograd": run_autograd,
    "numpy by hand": run_numpy,
    "backlit, nothing recorded": run_without_recording,
    "backlit, no source line": run_without_source,
    "backlit, no masks": run_without_masks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    absent = [e for e in ("torch", "autograd") if importlib.util.find_spec(e) is None]
    engines = {name: run for name, run in ENGINES.items() if name not in absent}
    if "torch" in engines:
        import torch

        torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in engines}
    for turn in range(options.turns + 2):
        for name, run in engines.items():
            gc.collect()  # so that each pays for its own garbage only
            times = run(options.steps)
            if turn >= 2:
                found[name].append(times)
    expected = found["numpy by hand"][0][2]
    print(f"{'microseconds a step':28} {'forward':>8} {'backward':>9} {'both':>7}  (least both)")
    for name, turns in found.items():
        forward, backward, both = (
            statistics.median(f(t) for t in turns) / options.steps * 1e6
            for f in (lambda t: t[0], lambda t: t[1], lambda t: t[0] + t[1])
        )
        least = min(t[0] + t[1] for t in turns) / options.steps * 1e6
        gradient = turns[0][2]
        wrong = "" if np.isnan(gradient) or np.isclose(gradient, expected, rtol=1e-9) else "  WRONG GRADIENT"
        print(f"{name:28} {forward:8.2f} {backward:9.2f} {both:7.2f}  ({least:.2f}){wrong}")
    for name in absent:
        print(f"{name}: not installed")


if __name__ == "__main__":
    main()
