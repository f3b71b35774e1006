"""A small convolutional network, forward and backward op by op: 1-16-32 channels, kernels of 3 x 3, batch 64 of 28 x 28.

backlit and PyTorch run in this one process, turn by turn; milliseconds a step (forward, cross-entropy, gradients of all
parameters), lower quartile. Then single convolutions and their gradients. Without PyTorch backlit alone.

    python benchmarks/convolution.py [--turns 40]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import time

import numpy as np

import backlit as bl
from backlit.nn import functional as ours

# batch, in, out, height and width, kernel, stride, padding, groups
SINGLE = (
    (64, 16, 32, 26, 3, 1, 0, 1),
    (16, 3, 64, 112, 7, 2, 3, 1),
    (16, 64, 64, 56, 3, 1, 1, 1),
    (16, 64, 128, 56, 3, 2, 1, 1),
    (16, 256, 64, 28, 1, 1, 0, 1),
    (16, 64, 64, 56, 3, 1, 1, 64),
)


def network(f, parameters, x):
    hidden = f.max_pool2d(f.relu(f.conv2d(x, parameters[0], parameters[1])), 2)
    hidden = f.max_pool2d(f.relu(f.conv2d(hidden, parameters[2], parameters[3])), 2)
    return f.linear(hidden.reshape(hidden.shape[0], -1), parameters[4], parameters[5])


def step(f, parameters, x, y):
    for p in parameters:
        p.grad = None
    loss = f.cross_entropy(network(f, parameters, x), y)
    loss.backward()
    return loss.item()


def convolved(f, parameters, x, stride, padding, groups):
    for p in (*parameters, x):
        p.grad = None
    f.conv2d(x, *parameters, stride=stride, padding=padding, groups=groups).sum().backward()


def quartiles(runs, turns):
    """Milliseconds of each run, all taken in turn."""
    times = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: sorted(t[1:])[len(t) // 4] for name, t in times.items()}


def shown(what, found):
    ratio = f"  {found['backlit'] / found['torch']:.2f}" if "torch" in found else ""
    print(f"{what:44}" + "".join(f"  {name} {t:7.2f}" for name, t in found.items()) + ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=40)
    turns = parser.parse_args().turns
    rng = np.random.default_rng(0)
    draw = lambda *shape: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    arrays = [draw(16, 1, 3, 3), draw(16), draw(32, 16, 3, 3), draw(32), draw(10, 800), draw(10)]
    x, y = rng.standard_normal((64, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 64)
    engines = {"backlit": (ours, lambda a: bl.tensor(a, requires_grad=True), bl.tensor)}
    if importlib.util.find_spec("torch") is not None:
        import torch

        engines["torch"] = (torch.nn.functional, lambda a: torch.tensor(a, requires_grad=True), torch.tensor)
    else:
        print("PyTorch is not installed")
    made = {n: (f, [leaf(a) for a in arrays], data(x), data(y)) for n, (f, leaf, data) in engines.items()}
    losses = [step(*given) for given in made.values()]
    assert max(losses) - min(losses) < 1e-5, losses
    shown("network", quartiles({n: functools.partial(step, *g) for n, g in made.items()}, turns))
    for n, c, o, size, k, *rest in SINGLE:
        x, w = draw(n, c, size, size), draw(o, c // rest[-1], k, k)
        given = {name: (f, [leaf(w)], leaf(x), *rest) for name, (f, leaf, _) in engines.items()}
        runs = {name: functools.partial(convolved, *each) for name, each in given.items()}
        shown(f"{[n, c, size, size]} with {list(w.shape)}, stride {rest[0]}", quartiles(runs, max(turns // 5, 3)))


if __name__ == "__main__":
    main()
