"""W7a, W7b: gradients of sums of elementwise functions of 1,000,000 float64, and a step against them."""

from __future__ import annotations

from typing import Any

from descent import Ops, Problem, peers
from workloads import Work, Workload

SIZE = 1_000_000
RATE = 1e-6


def logistic_start() -> list[Any]:
    import numpy as np

    return list(np.random.default_rng(0).standard_normal((2, SIZE)))


def logistic_loss(ops: Ops) -> Any:
    xp = ops.arrays

    def loss_of(parameters: list[Any]) -> Any:
        x, y = parameters
        return xp.sum(xp.log(1.0 + xp.exp(-x * y)) + 0.5 * xp.tanh(x) ** 2 * xp.exp(-(y**2)))

    return loss_of


def rosenbrock_start() -> list[Any]:
    import numpy as np

    return [1 + 0.5 * np.random.default_rng(0).standard_normal(SIZE)]


def rosenbrock_loss(ops: Ops) -> Any:
    def loss_of(parameters: list[Any]) -> Any:
        (x,) = parameters
        return ops.arrays.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    return loss_of


def workload(name: str, dims: dict[str, int] | None = None) -> Workload:
    """W7a or W7b."""
    if name == "W7a":
        title = "sum(log(1 + exp(-x y)) + tanh(x)^2 exp(-y^2) / 2) by x and y, 1,000,000 each"
        problem, n_arrays, transcendentals = Problem(logistic_start, logistic_loss, RATE), 2, 4.0 * SIZE
    else:
        title = "Rosenbrock's function of 1,000,000 numbers"
        problem, n_arrays, transcendentals = Problem(rosenbrock_start, rosenbrock_loss, RATE), 1, 0.0
    work = Work(
        streamed_bytes=2.0 * 8 * SIZE * n_arrays,  # read and written
        working_set_bytes=8.0 * SIZE * n_arrays,
        transcendentals=transcendentals,
    )
    configs = ("backlit", "backlit-eager", "torch", "torch-compile", "jax")
    threads = (2, 1)
    every = (*(f"{peer}@{n}" for peer in configs for n in threads), "autograd@1")
    return Workload(name, title, "float64", peers(problem), every, work=work)
