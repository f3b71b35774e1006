"""One config of one workload in this process: reports its start, then runs the turns asked for on standard input.

    python benchmarks/worker.py W1 torch@2 [--dims '{"batch": 29, ...}']

`harness.py` starts it. Libraries are imported here and in the functions that build a peer, never at the top of a
module, so that each process imports its own only and the import can be timed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import math
import os
import resource
import sys
import time
from typing import Any

from workloads import LIBRARIES, Skipped, library, load, split

N_COMPARED = 5  # first steps whose losses are compared
SAMPLE_S = 0.004


def peak_rss_mib() -> float:
    """The most memory this process has held."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def serve(name: str, config: str, dims: dict[str, int] | None) -> None:
    """A worker: starts the peer, reports, and runs the turns asked for on the standard input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints goes to the log

    def answer(**found: Any) -> None:
        answers.write(json.dumps(found) + "\n")

    peer, threads = split(config)
    if threads == 1 and library(config) == "jax":  # it has no setting for its threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    start = time.perf_counter()
    for module in LIBRARIES.get(library(config), ()):
        importlib.import_module(module)
    import_s = time.perf_counter() - start
    import_rss_mib = peak_rss_mib()
    if library(config) == "torch":
        import torch

        torch.set_num_threads(threads)
    try:
        workload = load(name, dims)
        if workload.prepare is not None:
            workload.prepare()
        start = time.perf_counter()
        running = workload.peers[peer](threads)
        build_s = time.perf_counter() - start
        step, read = running.step, running.read
        start = time.perf_counter()
        losses = [read(step())]
        first_s = time.perf_counter() - start
        losses += [read(step()) for _ in range(N_COMPARED - 1)]
        moved = [running.moved()] if running.moved else []
    except Skipped as skipped:
        return answer(skipped=str(skipped))
    step_s, end = math.inf, time.perf_counter() + 0.3
    while time.perf_counter() < end:  # warms up, too; the best of some tries, as a neighbour may disturb one
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < 2 * SAMPLE_S:
            handle, n = step(), n + 1
        read(handle)
        step_s = min(step_s, (time.perf_counter() - start) / n)
    answer(
        import_s=import_s, import_rss_mib=import_rss_mib, rss_mib=peak_rss_mib(), start_s=build_s + first_s,
        losses=losses, moved=moved, step_s=step_s,
    )  # fmt: skip
    for line in sys.stdin:
        turn = json.loads(line)
        gc.collect()
        end = time.perf_counter() + min(0.02, 3 * step_s)
        read(step())
        while time.perf_counter() < end:  # threads awake, caches warm
            read(step())
        times: list[float] = []
        end = time.perf_counter() + turn["longest_s"]
        while len(times) < turn["samples"] and (not times or time.perf_counter() < end):
            start = time.perf_counter()
            for _ in range(turn["steps"]):
                handle = step()
            read(handle)
            times.append((time.perf_counter() - start) / turn["steps"])
        answer(times=times, rss_mib=peak_rss_mib())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload")
    parser.add_argument("config")
    parser.add_argument("--dims", type=json.loads)
    options = parser.parse_args()
    serve(options.workload, options.config, options.dims)


if __name__ == "__main__":
    main()
