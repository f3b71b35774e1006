"""Whole train steps of several engines, measured in interleaved rounds.

Each config "peer@threads" lives in a process of its own, which reports its import, build and first-step seconds, the
losses of its first steps and its peak memory, and then waits for turns. The turns go round by round (A B C, A B C, ...),
so that drift of the machine hits all alike. A sample is at least 4 ms of steps, closed by waiting for the loss.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workloads import LIBRARIES, library, load, split

TOLERANCES = {"float32": 2e-5, "float64": 1e-9}
SAMPLE_S = 0.004
START_TIMEOUT_S = 300.0
TURN_TIMEOUT_S = 120.0


class Worker:
    """One config in its own process, with fresh caches of compiled code, or those that another one left."""

    def __init__(
        self, name: str, config: str, dims: dict[str, int] | None = None, scratch: str | None = None
    ) -> None:  # fmt: skip
        self.config = config
        self.times: list[float] = []
        self.scratch = scratch or tempfile.mkdtemp(prefix="benchmark-")
        threads = str(split(config)[1])
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
            "TORCHINDUCTOR_CACHE_DIR": os.path.join(self.scratch, "inductor"),
            "XDG_CACHE_HOME": os.path.join(self.scratch, "cache"),
            "BACKLIT_CACHE_DIR": os.path.join(self.scratch, "backlit"),
            "JAX_PLATFORMS": "cpu",
        }
        command = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py"), name, config]
        if dims is not None:
            command += ["--dims", json.dumps(dims)]
        with open(os.path.join(self.scratch, "log"), "w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )
        self.found: dict[str, Any] = {}

    def wait(self) -> None:
        """Until it has started or failed."""
        self.found = self._answer(START_TIMEOUT_S)

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            return {"failed": f"no answer in {timeout_s:.0f} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"failed": f"ended: {self._last_words()}"}

    def _last_words(self) -> str:
        with open(os.path.join(self.scratch, "log")) as log:
            lines = [line.strip() for line in log if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
        return (errors or lines or [f"exit code {self.process.wait(5)}"])[-1]

    @property
    def reason(self) -> str | None:
        """Why it does not run."""
        return self.found.get("skipped") or self.found.get("failed")

    def turn(self, seconds: float) -> list[float]:
        """Seconds a step of the samples of one turn; none when the worker has failed."""
        step_s = self.found["step_s"]
        steps = max(1, math.ceil(SAMPLE_S / step_s))
        samples = max(1, min(40, int(seconds / (steps * step_s))))
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"samples": samples, "steps": steps, "longest_s": 2 * seconds}) + "\n")
            self.process.stdin.flush()
            answer = self._answer(TURN_TIMEOUT_S)
        except BrokenPipeError:
            answer = {"failed": f"ended: {self._last_words()}"}
        times: list[float] = answer.pop("times", [])
        if times:
            self.found["step_s"] = min(step_s, *times)
        self.found.update(answer)
        return times

    def close(self) -> None:
        """Ends the process and removes its caches."""
        self.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def stop(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(5 if self.found else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(100000): pass"


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """One process beside that never sleeps."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def started(
    name: str, configs: Sequence[str], dims: dict[str, int] | None = None, say: Callable[[str], Any] = print
) -> Iterator[tuple[list[Worker], dict[str, str]]]:
    """The workers of these configs, started one after another, and why the others do not run."""
    workers: list[Worker] = []
    absent: dict[str, str] = {}
    peers = load(name, dims).peers
    try:
        for config in configs:
            if importlib.util.find_spec(LIBRARIES.get(library(config), ("sys",))[0]) is None:
                absent[config] = f"{library(config)} is not installed"
            elif config.partition("@")[0] not in peers:
                absent[config] = f"not in {name}"
            else:
                say(f"{name}: starting {config}")
                worker = Worker(name, config, dims)
                workers.append(worker)
                worker.wait()
                if not worker.reason:
                    say(f"{name}: starting {config} once more, from its caches")
                    worker.stop()
                    again = workers[-1] = Worker(name, config, dims, worker.scratch)
                    again.wait()
                    again.found |= {"cold_s": worker.found["start_s"], "cold_rss_mib": worker.found["rss_mib"]}
                    worker = again
                if worker.reason:
                    absent[config] = worker.reason
        yield [worker for worker in workers if not worker.reason], absent
    finally:
        for worker in workers:
            worker.close()


def spread(times: list[float]) -> dict[str, float]:
    """Quantiles in microseconds a step."""
    ordered = sorted(times)
    return {
        "min_us": ordered[0] * 1e6,
        "p25_us": ordered[len(ordered) // 4] * 1e6,
        "median_us": statistics.median(ordered) * 1e6,
        "p75_us": ordered[3 * len(ordered) // 4] * 1e6,
        "samples": len(ordered),
    }


def disagreement(values: list[list[float]]) -> list[float]:
    """For each row the largest relative distance of its entries from the median of their columns."""
    if not values or not values[0]:
        return [0.0] * len(values)
    medians = [statistics.median(column) for column in zip(*values, strict=True)]
    return [
        max(abs(x - median) / max(abs(median), 1e-300) if x != median else 0.0 for x, median in zip(row, medians))
        for row in values
    ]


def measure(
    name: str,
    configs: Sequence[str],
    rounds: int = 6,
    turn_s: float = 0.4,
    dims: dict[str, int] | None = None,
    say: Callable[[str], Any] = print,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The figures of each config that runs, and the reasons of the others.

    `off` is the largest relative distance of its losses, and of how far its parameters moved where that is reported,
    from the median over the configs; `different` says whether that is beyond the tolerance of the dtype.
    """
    tolerance = TOLERANCES[load(name, dims).dtype]
    with started(name, configs, dims, say) as (workers, absent):
        for i in range(rounds):
            say(f"{name}: round {i + 1} of {rounds}")
            for worker in workers:
                if not worker.reason:
                    worker.times += worker.turn(turn_s)
        alive = [worker for worker in workers if worker.times and not worker.reason]
        absent |= {worker.config: worker.reason for worker in workers if worker.reason}
    offs = disagreement([worker.found["losses"] + worker.found["moved"] for worker in alive])
    return {
        worker.config: {
            **worker.found,
            **spread(worker.times),
            "off": off,
            "different": not off <= tolerance,
            "rss_mib": max(worker.found["rss_mib"], worker.found["cold_rss_mib"]),
        }
        for worker, off in zip(alive, offs, strict=True)
    }, absent


def beside(
    name: str, configs: Sequence[str], rounds: int = 6, turn_s: float = 0.4, say: Callable[[str], Any] = print
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Each config alone and beside a spinning process, in alternating rounds."""
    found: dict[str, dict[str, list[float]]] = {}
    with started(name, configs, say=say) as (workers, absent):
        for i in range(rounds):
            for state, company in (("alone", contextlib.nullcontext()), ("beside", neighbour())):
                say(f"{name}: round {i + 1} of {rounds}, {state}")
                with company:
                    for worker in workers:
                        if not worker.reason:
                            times = found.setdefault(worker.config, {}).setdefault(state, [])
                            times += worker.turn(turn_s)
        absent |= {worker.config: worker.reason for worker in workers if worker.reason}
    return {
        c: {state: spread(t) for state, t in states.items()} for c, states in found.items() if c not in absent
    }, absent
