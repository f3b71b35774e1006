"""What this machine can do at most, measured: products of matrices, streaming, exp, dependent sines and multiply-adds.

`limit_us` turns them into the least time of a workload's step. What cannot be measured here is left out: products and
streaming use the better of torch and NumPy (torch may be absent), the dependent chains are two loops compiled by LLVM
that call the C library's sine.

    python benchmarks/limits.py
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from workloads import Work

LARGE_PRODUCTS = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 256))  # m, n, k
SMALL_PRODUCTS = ((32, 128, 64), (32, 64, 128), (128, 64, 32))
STREAMED_MIB = (8, 16, 64, 256)

CHAINS = """
declare double @llvm.sin.f64(double)
declare double @llvm.fma.f64(double, double, double)

define double @sines(double %x0, i64 %n) {
entry: br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %x = phi double [%x0, %entry], [%y, %loop]
  %y = call double @llvm.sin.f64(double %x)
  %next = add i64 %i, 1
  %done = icmp eq i64 %next, %n
  br i1 %done, label %end, label %loop
end: ret double %y
}

define double @fmas(double %x0, i64 %n) {
entry: br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %x = phi double [%x0, %entry], [%y, %loop]
  %y = call double @llvm.fma.f64(double %x, double 0.5, double 0.25)
  %next = add i64 %i, 1
  %done = icmp eq i64 %next, %n
  br i1 %done, label %end, label %loop
end: ret double %y
}
"""


def seconds_a_call(call: Callable[[], Any], measured_s: float = 0.1) -> tuple[float, float]:
    """Least and median seconds of a call, over samples of at least 0.2 ms."""
    call()
    start = time.perf_counter()
    call()
    n = max(1, int(2e-4 / max(time.perf_counter() - start, 1e-8)))
    samples, end = [], time.perf_counter() + measured_s
    while len(samples) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(n):
            call()
        samples.append((time.perf_counter() - start) / n)
    samples.sort()
    return samples[0], samples[len(samples) // 2]


def flops(m: int, n: int, k: int) -> float:
    return 2.0 * m * n * k


def measure_numpy() -> dict[str, Any]:
    """Flops and bytes a second of NumPy with the threads of the environment, and seconds of one exp in cache."""
    import numpy as np

    rng = np.random.default_rng(0)

    def rate(m: int, n: int, k: int) -> float:
        x, y = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        out = np.empty((m, n), np.float32)
        return flops(m, n, k) / seconds_a_call(lambda: np.matmul(x, y, out=out))[0]

    streamed = {}
    for mib in STREAMED_MIB:
        x = np.ones(mib * 2**17)
        times = {1: lambda x=x: x.sum(), 2: lambda x=x: np.multiply(x, 1.0, out=x)}
        streamed[str(mib)] = max(passes * x.nbytes / seconds_a_call(call)[0] for passes, call in times.items())
    x = rng.random(2**13)
    out = np.empty_like(x)
    return {
        "large": max(rate(*sizes) for sizes in LARGE_PRODUCTS),
        "small": max(rate(*sizes) for sizes in SMALL_PRODUCTS),
        "streamed": streamed,
        "exp_s": seconds_a_call(lambda: np.exp(x, out=out))[0] / x.size,
    }


def measure_torch() -> dict[str, Any]:
    """The same of torch."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    def rate(m: int, n: int, k: int) -> float:
        x, y, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
        return flops(m, n, k) / seconds_a_call(lambda: torch.mm(x, y, out=out))[0]

    streamed = {}
    for mib in STREAMED_MIB:
        x = torch.ones(mib * 2**17, dtype=torch.float64)
        times = {1: lambda x=x: x.sum(), 2: lambda x=x: x.mul_(1.0)}
        streamed[str(mib)] = max(passes * x.nbytes / seconds_a_call(call)[0] for passes, call in times.items())
    x = torch.rand(2**13, dtype=torch.float64)
    out = torch.empty_like(x)
    return {
        "large": max(rate(*sizes) for sizes in LARGE_PRODUCTS),
        "small": max(rate(*sizes) for sizes in SMALL_PRODUCTS),
        "streamed": streamed,
        "exp_s": seconds_a_call(lambda: torch.exp(x, out=out))[0] / x.numel(),
    }


def measure_chains() -> dict[str, Any]:
    """Seconds of one sine and of one multiply-add, each waiting for the one before."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, features=features)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(CHAINS), machine)
    engine.finalize_object()
    n, found = 10_000, {}
    for key, name in (("sine_s", "sines"), ("fma_s", "fmas")):
        signature = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)
        run = signature(engine.get_function_address(name))
        found[key] = seconds_a_call(lambda run=run: run(0.9, n))[0] / n
    return found


PARTS = {
    "numpy": (measure_numpy, "numpy"),
    "torch": (measure_torch, "torch"),
    "chains": (measure_chains, "llvmlite"),
}


def measure() -> dict[str, Any]:
    """The machine's limits; each library in a process of its own, with one thread and with all."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, list[dict[str, Any]]] = {"one": [], "all": []}
    for part, (_, library) in PARTS.items():
        if importlib.util.find_spec(library) is None:
            continue
        for threads in {1, cores} if part != "chains" else {1}:
            names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            environment = {**os.environ, **dict.fromkeys(names, str(threads))}
            command = [sys.executable, os.path.abspath(__file__), "--part", part]
            answer = json.loads(subprocess.check_output(command, env=environment))
            for key, count in (("one", 1), ("all", cores)):
                if threads == count:
                    found[key].append(answer)

    def best(threads: str, key: str, of: Callable[..., Any] = max) -> float | None:
        return of((part[key] for part in found[threads] if key in part), default=None)

    return {
        "cores": cores,
        "flops_large": max(best("all", "large") or 0.0, best("one", "large") or 0.0),
        "flops_large_1": best("one", "large"),
        "flops_small": best("one", "small"),
        "bytes_per_s": {
            str(mib): max(part["streamed"][str(mib)] for part in found["all"] if "streamed" in part)
            for mib in STREAMED_MIB
        },
        "exp_s": best("one", "exp_s", min),
        "sine_s": best("one", "sine_s", min),
        "fma_s": best("one", "fma_s", min),
    }


def better(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The higher rates and the lower times of two measurements: what the machine can do when nothing disturbs it."""

    def choose(key: str, a: float | None, b: float | None) -> float | None:
        return (min if key.endswith("_s") else max)((x for x in (a, b) if x is not None), default=None)

    found: dict[str, Any] = {key: choose(key, before[key], now[key]) for key in now if key != "bytes_per_s"}
    rates = {size: max(rate, before["bytes_per_s"][size]) for size, rate in now["bytes_per_s"].items()}
    return {**found, "bytes_per_s": rates}


def limit_us(work: Work | None, machine: dict[str, Any]) -> float | None:
    """The least microseconds of a step: its parts one after another, none overlapped; None where it is not known."""
    if work is None:
        return None
    sizes = [size for size in STREAMED_MIB if size * 2**20 >= work.working_set_bytes] or [STREAMED_MIB[-1]]
    exp_s = machine["exp_s"] and machine["exp_s"] / machine["cores"]
    rate = machine["flops_small"] if work.small_products else machine["flops_large"]
    parts = (
        (work.product_flops, rate and 1 / rate),
        (work.streamed_bytes, 1 / machine["bytes_per_s"][str(sizes[0])]),
        (work.transcendentals, exp_s),
        (work.dependent_sines, machine["sine_s"]),
        (work.dependent_fmas, machine["fma_s"]),
    )
    if any(amount and not seconds for amount, seconds in parts):
        return None
    return 1e6 * sum(amount * seconds for amount, seconds in parts if amount)


def describe(machine: dict[str, Any]) -> str:
    """The limits in two lines."""
    streamed = ", ".join(f"{mib} MiB {rate / 1e9:.0f}" for mib, rate in machine["bytes_per_s"].items())
    text = (
        f"{machine['cores']} cores; float32 products {machine['flops_large'] / 1e9:.0f} GFLOP/s "
        f"({machine['flops_large_1'] / 1e9:.0f} on one core, small ones {machine['flops_small'] / 1e9:.0f}); "
        f"streaming GB/s: {streamed}"
    )
    single = (("exp", "exp_s"), ("dependent sine", "sine_s"), ("dependent multiply-add", "fma_s"))
    known = [f"{name} {machine[key] * 1e9:.2f} ns" for name, key in single if machine[key]]
    return text + ("\n" + "; ".join(known) if known else "")


def main() -> None:
    if sys.argv[1:2] == ["--part"]:
        print(json.dumps(PARTS[sys.argv[2]][0]()))
    else:
        print(describe(measure()))


if __name__ == "__main__":
    main()
