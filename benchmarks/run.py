"""Whole train steps: backlit against PyTorch, JAX and autograd on the CPU, and against the limits of the machine.

    python benchmarks/run.py [W1 W2 ...] [--rounds 6] [--configs backlit@2,torch@2] [--json out.json]
    python benchmarks/run.py W1 W2 W8 --sizes       every dimension times 0.5, 0.9, 1.1, 1.7, and the next prime
    python benchmarks/run.py W2 --neighbour         one spinning process beside: 2 threads against 1

A config is "peer@threads"; without --configs all of a workload are run. Times are microseconds a step, ranked by the
lower quartile. "vs best" is the ratio to the quickest other engine, "vs limit" to the machine's limit, measured before
each workload (`limits.py`). "cold" is everything from the start of the build to the first loss with empty caches of
compiled code, "warm" the same in a second process with what the first left there. Rows whose losses are apart by more than 2e-5 (float32) or 1e-9 (float64) are marked DIFFERENT WORK.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import harness
from limits import better, describe, limit_us, measure
from rich.console import Console
from rich.table import Table
from workloads import CATALOGUE, LIBRARIES, Workload, is_backlit, load

FACTORS = (0.5, 0.9, 1.1, 1.7)
SIZED = ("W1", "W2", "W8")
SIZED_PEERS = ("backlit@2", "torch@2", "torch@1", "jax@2", "jax@1")  # torch.compile starts too slowly for many sizes
NEIGHBOUR_PEERS = ("backlit@2", "backlit@1", "torch@2", "torch@1", "jax@2")


def versions() -> dict[str, str]:
    """Of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for library in ("numpy", *LIBRARIES):
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def busy_cores(measured_s: float = 0.5) -> float:
    """How many cores other processes keep busy, where Linux tells."""

    def idle_s() -> float:
        with open("/proc/stat") as file:
            fields = file.readline().split()  # user, nice, system, idle, iowait, ... of all cores
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")

    try:
        before = idle_s()
        time.sleep(measured_s)
        return max(0.0, (os.cpu_count() or 1) - (idle_s() - before) / measured_s)
    except OSError:
        return 0.0


def warm(configs: list[str]) -> None:
    """Imports each library once, so that no import is timed on files not yet in memory."""
    for library in {config.partition("@")[0].partition("-")[0] for config in configs}:
        for module in LIBRARIES.get(library, ())[:1]:
            if importlib.util.find_spec(module):
                subprocess.run([sys.executable, "-c", f"import {module}"], check=False, stderr=subprocess.DEVNULL)


def number(x: float | None, digits: int = 3) -> str:
    """Three significant digits without an exponent, thousands separated."""
    if x is None or not math.isfinite(x):
        return ""
    if x == 0:
        return "0"
    return f"{x:,.{max(0, digits - 1 - math.floor(math.log10(abs(x))))}f}"


def best_of_others(found: dict[str, dict[str, Any]]) -> float | None:
    """The lower quartile of the quickest engine that is not backlit and does the same work."""
    return min((row["p25_us"] for c, row in found.items() if not is_backlit(c) and not row["different"]), default=None)


def show(console: Console, workload: Workload, found: dict[str, Any], absent: dict[str, str], limit: Any) -> None:
    """One table."""
    best = best_of_others(found)
    end = "" if limit is None else f"; limit {number(limit)} us"
    console.print(f"\n[bold]{workload.name}[/]: {workload.title}, {workload.dtype}{end}")
    table = Table()
    table.add_column("config", no_wrap=True)
    for heading in ("p25 us", "median us", "vs best", "vs limit", "peak MiB", "import s", "cold s", "warm s"):
        table.add_column(heading, justify="right")
    for config, row in sorted(found.items(), key=lambda item: item[1]["p25_us"]):
        name = f"{config} [red]DIFFERENT WORK, off by {row['off']:.0e}[/]" if row["different"] else config
        table.add_row(
            name,
            number(row["p25_us"]),
            number(row["median_us"]),
            "" if best is None else f"{row['p25_us'] / best:.2f}",
            "" if limit is None else f"{row['p25_us'] / limit:.1f}",
            f"{row['rss_mib']:.0f}",
            f"{row['import_s']:.2f}",
            f"{row['cold_s']:.2f}",
            f"{row['start_s']:.2f}",
            style="bold" if is_backlit(config) else "",
        )
    console.print(table)
    for reason in dict.fromkeys(absent.values()):
        console.print(
            f"  left out: {', '.join(c for c, why in absent.items() if why == reason)}: {reason}", markup=False
        )


def run_steps(names: list[str], options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """One table for each workload, and the limits of the machine, measured before each and the best of them kept."""
    stored: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    for name in names:
        workload = load(name)
        with console.status("measuring the machine") as status:
            now = measure()
            machine = better(machine, now) if machine else now
            found, absent = harness.measure(
                name, options.configs or workload.configs, options.rounds, options.turn, say=status.update
            )
        limit = limit_us(workload.work, machine)
        console.print(describe(machine))
        show(console, workload, found, absent, limit)
        stored[name] = {"title": workload.title, "limit_us": limit, "configs": found, "absent": absent}
    for name, entry in stored.items():  # the limits once more, now that the machine is known better
        entry["limit_us"] = limit_us(load(name).work, machine)
    return {"machine": machine, "steps": stored}


def next_prime(n: int) -> int:
    n += 1
    while any(n % divisor == 0 for divisor in range(2, math.isqrt(n) + 1)):
        n += 1
    return n


def variants(dims: dict[str, int], each: bool) -> dict[str, dict[str, int]]:
    """Other dimensions, all of them at once or one at a time, by their name."""
    changes: dict[str, Callable[[int], int]] = {
        f"x {factor}": lambda size, factor=factor: max(1, round(size * factor)) for factor in FACTORS
    }
    changes["next prime"] = next_prime
    if not each:
        return {what: {key: change(size) for key, size in dims.items()} for what, change in changes.items()}
    return {f"{key} {what}": {**dims, key: change(dims[key])} for key in dims for what, change in changes.items()}


def run_sizes(names: list[str], options: argparse.Namespace, console: Console) -> Any:
    """For each workload its variants, and the worst ratio of backlit to the quickest other engine."""
    stored: dict[str, Any] = {}
    for name in names:
        dims = load(name).dims
        if name not in SIZED:
            console.print(f"{name}: its sizes are fixed")
            continue
        console.print(f"\n[bold]{name}[/]: other sizes, p25 us a step")
        # a line for each as soon as it is measured: all take minutes, and what is interrupted keeps its figures
        changed_dims = variants(dims, options.sizes == "each")
        line = f"{{:{max(map(len, changed_dims))}}}  {{:20}}  {{:>9}}  {{:>10}} {{:9}}  {{:>5}}".format
        console.print(line("variant", "sizes", "backlit", "best other", "", "ratio"), soft_wrap=True)
        ratios: dict[str, float] = {}
        stored[name], reasons = {}, {}
        for what, changed in {"as it is": dims, **changed_dims}.items():
            with console.status("") as status:
                found, absent = harness.measure(
                    name, options.configs or SIZED_PEERS, options.rounds, options.turn, changed,
                    lambda text, what=what: status.update(f"{text} ({what})"),
                )  # fmt: skip
            stored[name][what] = {"dims": changed, "configs": found, "absent": absent}
            reasons |= absent
            ours = {c: row["p25_us"] for c, row in found.items() if is_backlit(c)}
            best = best_of_others(found)
            wrong = [c for c, row in found.items() if row["different"]]
            if ours and best:
                ratios[what] = min(ours.values()) / best
            others = [c for c, row in found.items() if row["p25_us"] == best]
            console.print(line(
                what, "-".join(map(str, changed.values())), number(min(ours.values(), default=math.nan)),
                number(best), " ".join(others), f"{ratios[what]:.2f}" if what in ratios else "",
            ), markup=False, soft_wrap=True)  # fmt: skip
            for config in wrong:
                console.print(f"  [red]{config} DIFFERENT WORK[/]")
        for config, reason in reasons.items():
            console.print(f"  left out: {config}: {reason}", markup=False)
        if ratios:
            worst = max(ratios, key=lambda what: ratios[what])
            console.print(f"worst ratio: {ratios[worst]:.2f} ({worst})")
    return stored


def run_beside(names: list[str], options: argparse.Namespace, console: Console) -> Any:
    """For each workload the configs alone and beside a spinning process."""
    stored: dict[str, Any] = {}
    for name in names:
        with console.status("") as status:
            found, absent = harness.beside(
                name, options.configs or NEIGHBOUR_PEERS, options.rounds, options.turn, status.update
            )
        stored[name] = {"configs": found, "absent": absent}
        console.print(f"\n[bold]{name}[/]: one spinning process beside, us a step")
        table = Table()
        table.add_column("config", no_wrap=True)
        for heading in ("alone p25", "median", "beside p25", "median", "p75", "median beside / alone"):
            table.add_column(heading, justify="right")
        for config, states in found.items():
            alone, other = states["alone"], states["beside"]
            figures = (alone["p25_us"], alone["median_us"], other["p25_us"], other["median_us"], other["p75_us"])
            slower = other["median_us"] / alone["median_us"]
            table.add_row(config, *map(number, figures), f"{slower:.2f}", style="bold" if is_backlit(config) else "")
        console.print(table)
        for config, reason in absent.items():
            console.print(f"  left out: {config}: {reason}", markup=False)
        for config in found:
            peer, _, threads = config.partition("@")
            if threads != "1" and f"{peer}@1" in found:
                ratio = found[config]["beside"]["median_us"] / found[f"{peer}@1"]["beside"]["median_us"]
                console.print(f"{peer} beside it: {threads} threads take {ratio:.2f} of the time of 1")
    return stored


def end(*_: Any) -> None:
    """Ends the program by an exception, so that the workers are ended and their caches removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt that
    sys.exit(143)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="W", help=f"of {' '.join(CATALOGUE)} (all)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--turn", type=float, default=0.4, help="seconds of each config in a round")
    parser.add_argument("--configs", type=lambda text: tuple(text.split(",")), help="peer@threads,...")
    parser.add_argument("--json", help="file to store the figures in")
    parser.add_argument("--sizes", nargs="?", const="together", choices=("together", "each"), help="other dimensions")
    parser.add_argument("--neighbour", action="store_true", help="with and without a spinning process beside")
    options = parser.parse_args()
    for name in options.workloads:
        if name not in CATALOGUE:
            parser.error(f"no workload {name}; there are {', '.join(CATALOGUE)}")
    if options.sizes and options.neighbour:
        parser.error("--sizes and --neighbour are two runs")
    signal.signal(signal.SIGTERM, end)
    names = options.workloads or list(SIZED if options.sizes else ["W2"] if options.neighbour else CATALOGUE)
    console = Console()
    stored: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "versions": versions()}
    console.print(f"{stored['processor']}; " + ", ".join(f"{k} {v}" for k, v in stored["versions"].items()))
    stored["busy_cores"] = busy_cores()
    if stored["busy_cores"] > 0.2:
        console.print(
            f"[red]other processes keep {stored['busy_cores']:.1f} cores busy: these figures are disturbed[/]"
        )
    warm([c for name in names for c in options.configs or load(name).configs])
    if options.sizes:
        stored["sizes"] = run_sizes(names, options, console)
    elif options.neighbour:
        stored["neighbour"] = run_beside(names, options, console)
    else:
        stored |= run_steps(names, options, console)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(stored, file, indent=1)


if __name__ == "__main__":
    main()
