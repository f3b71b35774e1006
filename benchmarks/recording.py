"""What recording costs: a training step of an MLP 784-256-256-10 with batch 64, not recorded, recorded, with statistics.

    python benchmarks/recording.py

Prints medians of runs of ten steps, recorded as one, each kind of run in turn so that all meet the same machine, and what the hooks cost while
nobody listens: their number in a step times the time of the test that finds that nobody does.
"""

from __future__ import annotations

import statistics
import time
import timeit

import numpy as np

import backlit
from backlit import nn, optim
from backlit.core import record
from backlit.functional import cross_entropy

STEPS = 10


def main() -> None:
    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    generator = np.random.default_rng(0)
    data = backlit.tensor(generator.standard_normal((64, 784)).astype(np.float32))
    labels = backlit.tensor(generator.integers(0, 10, 64))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(net(data), labels).backward()
        optimizer.step()

    def steps() -> None:
        for _ in range(STEPS):
            step()

    def recorded(**options: bool) -> None:
        with backlit.record(**options):
            steps()

    kinds = {"off": steps, "full": recorded, "statistics": lambda: recorded(statistics=True)}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for k in range(63):
        for kind, run in kinds.items():
            begin = time.perf_counter()
            run()
            if k >= 3:
                times[kind].append((time.perf_counter() - begin) / STEPS)
    off = statistics.median(times["off"])
    for kind, taken in times.items():
        found = statistics.median(taken)
        print(f"{kind:12}{found * 1e6:10.0f} us{found / off:8.2f} x")
    with backlit.record() as recording:
        step()
    calls = sum(scope.kind in ("module", "function") for scope in recording.modules)
    tests = calls + len(recording.events) + len(recording.nodes) + 100  # a test each, and the ops that are not recorded
    one = min(timeit.repeat("record.active", globals={"record": record}, number=100_000, repeat=5)) / 100_000
    wrapped = record.scope(lambda: None)
    call = min(timeit.repeat("f()", globals={"f": wrapped}, number=100_000, repeat=5)) / 100_000
    cost = tests * one + calls * call
    print(f"hooks, off  {cost * 1e6:10.1f} us{cost / off * 100:8.2f} %   ({tests} tests, {calls} calls)")


if __name__ == "__main__":
    main()
