"""W8: full-batch gradient descent on a logistic regression of 100,000 examples with 50 columns, in float64."""

from __future__ import annotations

from typing import Any

from descent import Ops, Problem, peers
from workloads import Work, Workload

DIMS = {"examples": 100_000, "columns": 50}
RATE = 0.1


def data(examples: int, columns: int) -> tuple[Any, Any, Any]:
    """The batch x and y, where y is -1 or 1, and the first weights."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((examples, columns)), rng.standard_normal(columns)
    y = np.where(x @ weight + rng.standard_normal(examples) > 0, 1.0, -1.0)
    return x, y, 0.1 * rng.standard_normal(columns)


def logistic_loss(ops: Ops) -> Any:
    def loss_of(parameters: list[Any], x: Any, y: Any) -> Any:
        weight, bias = parameters
        return ops.arrays.mean(ops.softplus(-y * (x @ weight + bias)))

    return loss_of


def workload(name: str, dims: dict[str, int] | None = None) -> Workload:
    """W8; `dims` has the numbers of examples and columns."""
    dims = dims or DIMS
    examples, columns = dims["examples"], dims["columns"]
    problem = Problem(
        lambda: [data(examples, columns)[2], 0.1], logistic_loss, RATE, lambda: data(examples, columns)[:2]
    )
    size = 8.0 * examples * columns
    work = Work(streamed_bytes=size, working_set_bytes=size)
    configs = ("backlit", "backlit-eager", "torch", "torch-compile", "jax")
    every = (*(f"{peer}@{n}" for peer in configs for n in (2, 1)), "autograd@2")
    title = f"logistic regression, {examples:,} examples of {columns} columns"
    return Workload(name, title, "float64", peers(problem), every, dims, work)
