"""Products of float32 matrices: GFLOP/s of MKL (through torch), OpenBLAS (through NumPy) and backlit.

Every shape as `A @ B`, with A held transposed, and with B held transposed; at 1 and at 2 threads, each library and
thread count in a process of its own, turn by turn. The figure is that of the median call, and in brackets the best.
What is not installed is left out and named.

    python benchmarks/products.py [--rounds 5] [--threads 1,2] [--json out.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from limits import flops, seconds_a_call

SHAPES = (  # m, n, k
    *((size, size, size) for size in (64, 128, 256, 512, 1024, 2048)),
    (32, 128, 64), (32, 64, 128), (128, 64, 32), (128, 512, 784), (784, 512, 128), (256, 2048, 2048),
    (2048, 2048, 256), (1024, 1024, 256), (1024, 256, 1024), (1024, 768, 256), (32, 1024, 256), (128, 32, 128),
    (255, 257, 253), (1, 2048, 2048), (2048, 1, 2048), (7, 4096, 64),
)  # fmt: skip
FORMS = ("AB", "AtB", "ABt")
NAMES = {"torch": "MKL", "numpy": "OpenBLAS", "backlit": "backlit"}
TOLERANCE = 1e-5  # of an entry against the norms of its row and column


def operands(m: int, n: int, k: int, form: str) -> tuple[Any, Any, Any]:
    """A [m, k] and B [k, n], one of them possibly a transposed view, and room for the result."""
    import numpy as np

    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if form == "AtB" else (m, k), np.float32)
    b = rng.standard_normal((n, k) if form == "ABt" else (k, n), np.float32)
    return a.T if form == "AtB" else a, b.T if form == "ABt" else b, np.empty((m, n), np.float32)


def product_of_numpy(a: Any, b: Any, out: Any) -> Callable[[], Any]:
    import numpy as np

    return lambda: np.matmul(a, b, out=out)


def product_of_torch(a: Any, b: Any, out: Any) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    x, y, result = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    return lambda: torch.mm(x, y, out=result)


def product_of_backlit(a: Any, b: Any, out: Any) -> Callable[[], Any]:
    from backlit.compiler import make_graph
    from backlit.compiler.native import Program

    # transposed views are products of the matrices that are held, transposed in the program
    held = [x if x.flags.c_contiguous else x.T for x in (a, b)]
    turned = [x is not y for x, y in zip(held, (a, b), strict=True)]
    graph = make_graph(lambda *xs: xs[0].mT @ xs[1] if turned[0] else xs[0] @ (xs[1].mT if turned[1] else xs[1]))(*held)
    program = Program(graph, threads=int(os.environ["OMP_NUM_THREADS"]))
    program.dynamic[:] = [x.ctypes.data for x in (*held, out)]
    (_, *bound), (_, *run) = program.calls() or ((), ())
    program._bind(*bound)
    return lambda: program._run(*run)


PRODUCTS = {"torch": product_of_torch, "numpy": product_of_numpy, "backlit": product_of_backlit}


def serve(library: str, measured_s: float) -> None:
    """A worker: answers every shape and form asked for with least and median seconds, and the largest error."""
    import numpy as np

    for line in sys.stdin:
        *shape, form = json.loads(line)
        a, b, out = operands(*shape, form)
        least, median = seconds_a_call(PRODUCTS[library](a, b, out), measured_s)
        # entries here and there, without a library whose threads would stay awake
        rng = np.random.default_rng(1)
        i, j = (rng.integers(0, size, 400) for size in out.shape)
        rows, columns = a[i].astype(np.float64), b[:, j].T.astype(np.float64)
        bound = np.sqrt((rows**2).sum(axis=1) * (columns**2).sum(axis=1))
        error = float(np.max(np.abs(out[i, j] - (rows * columns).sum(axis=1)) / bound))
        print(json.dumps([least, median, error]), flush=True)


def available() -> tuple[list[str], list[str]]:
    """The libraries that can be measured, and the names of the others."""
    found = [name for name in ("torch", "numpy") if importlib.util.find_spec(name)]
    if importlib.util.find_spec("backlit"):
        found.append("backlit")
    return found, [NAMES[name] for name in PRODUCTS if name not in found]


def start(library: str, threads: int, measured_s: float) -> subprocess.Popen[str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, os.path.abspath(__file__), "--worker", library, str(measured_s)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)


def ask(worker: subprocess.Popen[str], question: Any) -> list[float]:
    """The answer of a worker, which is stopped until the next question: the threads of most libraries stay awake."""
    assert worker.stdin is not None and worker.stdout is not None
    worker.send_signal(signal.SIGCONT)
    worker.stdin.write(json.dumps(question) + "\n")
    worker.stdin.flush()
    answer: list[float] = json.loads(worker.stdout.readline())
    worker.send_signal(signal.SIGSTOP)
    return answer


def measure(libraries: list[str], threads: list[int], rounds: int, measured_s: float, say: Any) -> dict[str, Any]:
    """GFLOP/s [median, best] and the error by "mxn@k form" and "library@threads"."""
    workers = {f"{name}@{n}": start(name, n, measured_s) for n in threads for name in libraries}
    table: dict[str, Any] = {}
    try:
        for m, n, k in SHAPES:
            for form in FORMS:
                key = f"{m}x{n}@k{k} {form}"
                say(key)
                answers: dict[str, list[list[float]]] = {config: [] for config in workers}
                for _ in range(rounds):
                    for config, worker in workers.items():
                        answers[config].append(ask(worker, (m, n, k, form)))
                table[key] = {
                    config: {
                        "median": flops(m, n, k) / 1e9 / statistics.median(median for _, median, _ in found),
                        "best": flops(m, n, k) / 1e9 / min(least for least, _, _ in found),
                        "error": max(error for *_, error in found),
                    }
                    for config, found in answers.items()
                }
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
    return table


def summary(found: dict[str, Any]) -> list[str]:
    """For each library and thread count how backlit's median stands against it, over all rows."""
    lines = []
    for config in next(iter(found.values())):
        library, _, threads = config.partition("@")
        ours = f"backlit@{threads}"
        if library == "backlit" or any(ours not in row for row in found.values()):
            continue
        ratios = {key: row[ours]["median"] / row[config]["median"] for key, row in found.items()}
        mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
        low = sorted(key for key, ratio in ratios.items() if ratio < 0.8)
        least = min(ratios, key=lambda key: ratios[key])
        lines.append(
            f"backlit / {NAMES[library]} at {threads}: geometric mean {mean:.2f}, least {ratios[least]:.2f} ({least}); "
            f"{len(low)} of {len(ratios)} below 0.8" + (f": {', '.join(low)}" if low else "")
        )
    return lines


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return serve(sys.argv[2], float(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.03, help="measured for each figure and round")
    parser.add_argument("--json", help="file to store the figures in")
    options = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    console = Console()
    libraries, absent = available()
    with console.status("") as status:
        found = measure(libraries, options.threads, options.rounds, options.seconds, status.update)
    configs = list(next(iter(found.values())))
    for form, title in zip(FORMS, ("A @ B", "A held transposed", "B held transposed")):
        console.print(f"\n[bold]{title}[/]: GFLOP/s by library @threads, median (best)")
        table = Table()
        table.add_column("m x n @ k", no_wrap=True)
        for config in configs:
            library, _, threads = config.partition("@")
            table.add_column(f"{NAMES[library]} @{threads}", justify="right", no_wrap=True)
        for key, row in found.items():
            if key.endswith(f" {form}"):
                quickest = max(figures["median"] for figures in row.values())
                cells = []
                for figures in row.values():
                    text = f"{figures['median']:.0f} ({figures['best']:.0f})"
                    text = f"[bold]{text}[/]" if figures["median"] == quickest else text
                    cells.append(text if figures["error"] <= TOLERANCE else f"[red]{text} WRONG[/]")
                table.add_row(key.removesuffix(f" {form}"), *cells)
        console.print(table)
    for line in summary(found):
        console.print(line)
    for name in absent:
        console.print(f"{name}: not installed")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
