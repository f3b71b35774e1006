"""What training keeps of memory: whether steps leak, and a dataset of 10 GB within 1 GB.

    python benchmarks/memory.py steps              # 10,000 steps of two networks, op by op and compiled
    python benchmarks/memory.py large              # writes 10 GB to a temporary folder, trains one epoch, deletes it
    python benchmarks/memory.py large --gigabytes 1 --folder DIR

`steps`: every 100th step after 1,000 for warm-up the garbage is collected, then resident anonymous memory (RssAnon of
/proc/self/status: what the process has taken for itself, pages of files left aside), the blocks that Python has
allocated and the objects that its collector knows are noted. Printed are the first, a middle and the last value, and the
slope of a straight line through the second half by least squares, a step. A leak of one small array a step, 100 bytes, would show as
100 bytes and a block a step; each run is its own process.

`large`: a child process trains under RLIMIT_AS, a limit of 1 GiB on all addresses that it has in use: stacks, libraries and
whatever it allocates or maps, so that there is nowhere else to be. The rows are read from the file (`data.open_raw`). A
second child takes the same file as `numpy.memmap`: its map alone has 10 GB of addresses, so the limit is RLIMIT_DATA, on
memory that is written, and resident pages of the file (RssFile), which the system takes back when somebody needs the
room, are told apart. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import backlit as bl
from backlit import data, nn, optim
from backlit.data import transforms

STEPS, WARM_UP, EVERY = 10_000, 1_000, 100
ROW, CLASSES = 4096, 10


def status(name: str) -> int:
    """A figure of /proc/self/status in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def network(kind: str) -> tuple[nn.Module, data.DataLoader]:
    """A network and the loader of its digits."""
    images, labels = data.load_digits()
    if kind == "mlp":
        net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        return net, data.DataLoader(data.TensorDataset(images, labels), 32, shuffle=True)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(), nn.Linear(128, 10)
    )  # fmt: skip
    augment = transforms.Compose([transforms.RandomCrop(8, padding=1), transforms.RandomHorizontalFlip()])
    digits = data.TensorDataset(images.reshape(-1, 1, 8, 8), labels)
    return net, data.DataLoader(digits, 16, shuffle=True, prefetch_factor=2, transform=augment)


def stepper(net: nn.Module, compiled: bool) -> Callable[[bl.Tensor, bl.Tensor], bl.Tensor]:
    optimizer = optim.Adam(net.parameters(), lr=1e-3)

    def step(x: bl.Tensor, y: bl.Tensor) -> bl.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return bl.compile(step) if compiled else step


def steps(kind: str, how: str) -> None:
    """10,000 steps in this process; a line of what they kept."""
    bl.random.seed(0)
    net, loader = network(kind)
    step = stepper(net, how == "compiled")
    done = noted = 0
    table = np.zeros((1 + (STEPS - WARM_UP) // EVERY, 4))  # made before, for it to be no growth itself
    while done < STEPS:
        for x, y in loader:
            step(x, y).item()
            done += 1
            if done % EVERY == 0 and done >= WARM_UP:
                gc.collect()
                table[noted] = done, status("RssAnon"), sys.getallocatedblocks(), len(gc.get_objects())
                noted += 1
            if done == STEPS:
                break
    half = len(table) // 2
    cells = [f"{table[row, 1] / 2**20:.2f}" for row in (0, half, -1)]
    cells.append(f"{np.polyfit(table[half:, 0], table[half:, 1], 1)[0]:+.1f}")
    for column in (2, 3):
        cells += [f"{table[row, column]:,.0f}" for row in (0, half, -1)]
        cells.append(f"{np.polyfit(table[half:, 0], table[half:, column], 1)[0]:+.4f}")
    print(f"| {kind}, {how} | {' | '.join(cells)} |", flush=True)


def write_rows(folder: Path, n_rows: int) -> None:
    """Noise with one of ten faint patterns in every row, uint8 [n_rows, 4096], and its number."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 8, (CLASSES, ROW), np.uint8)
    labels = rng.integers(0, CLASSES, n_rows)
    np.save(folder / "labels.npy", labels)
    noise = rng.integers(0, 248, (8192 + 1024, ROW), np.uint8)  # stretches of it, from another row on each time
    with open(folder / "rows.raw", "wb") as file:
        for begin in range(0, n_rows, 8192):
            chosen = labels[begin : begin + 8192]
            at = int(rng.integers(1024))
            file.write((noise[at : at + len(chosen)] + patterns[chosen]).data)


def large(folder: Path, how: str, batch_size: int) -> None:
    """One epoch over the rows in this process, within its limit."""
    limit = {"read": resource.RLIMIT_AS, "mapped": resource.RLIMIT_DATA}[how]
    resource.setrlimit(limit, (1 << 30, 1 << 30))
    labels = np.load(folder / "labels.npy")
    bl.random.seed(0)
    path = folder / "rows.raw"
    if how == "read":
        rows: Any = data.open_raw(path, np.uint8, (ROW,))
    else:
        whole = np.memmap(path, np.uint8, "r")
        whole._mmap.madvise(mmap.MADV_RANDOM)  # a fault brings one page, not the 2 MB around it
        rows = whole.reshape(-1, ROW)
    loader = data.DataLoader(
        data.TensorDataset(rows, labels), batch_size, shuffle=True, prefetch_factor=4,
        transform=transforms.Compose([transforms.ToFloat(), transforms.Normalize(0.5, 0.25)]),
    )  # fmt: skip
    net = nn.Sequential(nn.Linear(ROW, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    step = stepper(net, True)
    peak = {"RssAnon": 0, "RssFile": 0, "VmSize": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for name, value in peak.items():
                peak[name] = max(value, status(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun, losses = time.perf_counter(), []
    for x, y in loader:
        losses.append(step(x, y).item())
    seconds = time.perf_counter() - begun
    over.set()
    watcher.join()
    megabytes = {name: value / 1e6 for name, value in {**peak, "VmHWM": status("VmHWM")}.items()}
    print(
        f"{how}: {len(losses):,} steps of {batch_size} rows in {seconds:.0f} s, "
        f"{len(labels) * ROW / seconds / 1e6:,.0f} MB/s; loss {np.mean(losses[:20]):.3f} to {np.mean(losses[-20:]):.4f}; peaks in MB: "
        f"resident {megabytes['VmHWM']:,.0f} (anonymous {megabytes['RssAnon']:,.0f}, of files {megabytes['RssFile']:,.0f}), "
        f"addresses {megabytes['VmSize']:,.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["steps", "large", "one-steps", "one-large"])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--folder")
    given = parser.parse_args()
    if given.what == "one-steps":
        steps(*given.arguments)
    elif given.what == "one-large":
        large(Path(given.arguments[0]), given.arguments[1], 512)
    elif given.what == "steps":
        places = f"{WARM_UP:,} | {(STEPS + WARM_UP) // 2:,} | {STEPS:,} | a step"
        print(f"| | RssAnon, MiB, after {places} (bytes) | blocks {places} | objects {places} |")
        print("|---" * 13 + "|", flush=True)
        for kind in given.arguments or ["mlp", "cnn"]:
            for how in ("eager", "compiled"):
                subprocess.run([sys.executable, __file__, "one-steps", kind, how], check=True)
    else:
        n_rows = int(given.gigabytes * 1e9) // ROW
        free = shutil.disk_usage(given.folder or tempfile.gettempdir()).free
        if free < 1.2 * n_rows * ROW:
            sys.exit(
                f"{free / 1e9:.1f} GB are free, {1.2 * given.gigabytes:.1f} are needed; give --folder or less --gigabytes"
            )
        with tempfile.TemporaryDirectory(prefix="backlit-memory-", dir=given.folder) as folder:
            begun = time.perf_counter()
            write_rows(Path(folder), n_rows)
            size = os.path.getsize(Path(folder) / "rows.raw")
            print(f"{n_rows:,} rows, {size:,} bytes, written in {time.perf_counter() - begun:.0f} s", flush=True)
            for how in given.arguments or ["read", "mapped"]:
                subprocess.run([sys.executable, __file__, "one-large", folder, how], check=True)


if __name__ == "__main__":
    main()
