"""W0: graphs of scalar operations in float64, where all is overhead.

W0a is a small network written neuron by neuron, W0b a long chain of sines, a loop whose body is two operations.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

from descent import Ops, Problem, peers
from workloads import Work, Workload

SIZES = (3, 16, 16, 1)
N_CHAIN = 10_000


def network_start() -> list[float]:
    """For every neuron its weights and then its bias: 353 numbers."""
    rng = random.Random(0)
    start = []
    for n_in, n_out in pairwise(SIZES):
        for _ in range(n_out):
            start += [rng.uniform(-1, 1) / math.sqrt(n_in) for _ in range(n_in)]
            start.append(rng.uniform(-0.1, 0.1))
    return start


def network_loss(ops: Ops) -> Any:
    tanh = ops.arrays.tanh

    def loss_of(parameters: list[Any], x: Any, target: Any) -> Any:
        activations, numbers = [x[i] for i in range(SIZES[0])], iter(parameters)
        for n_out in SIZES[1:]:
            after = []
            for _ in range(n_out):
                weighted = [next(numbers) * activation for activation in activations]
                pre_activation = next(numbers)
                for term in weighted:
                    pre_activation = pre_activation + term
                after.append(tanh(pre_activation))
            activations = after
        off = activations[0] - target
        return off * off

    return loss_of


def network_batch() -> tuple[Any, Any]:
    import numpy as np

    return np.array([0.5, -1.2, 0.8]), np.float64(0.7)


def chain_loss(ops: Ops) -> Any:
    sin = ops.arrays.sin
    return lambda parameters: ops.repeat(lambda x: sin(x) * 1.01, parameters[0], N_CHAIN)


NETWORK = Problem(network_start, network_loss, 0.01, network_batch)
CHAIN = Problem(lambda: [0.5], chain_loss, 1e84)  # the chain forgets its start; the rate makes its derivative count


def workload(name: str, dims: dict[str, int] | None = None) -> Workload:
    """W0a or W0b."""
    if name == "W0a":
        title, problem, work = (
            "network 3-16-16-1 of scalar operations, tanh, 1 example, gradient descent",
            NETWORK,
            None,
        )
        # torch-compile@1 is not among them: it needs more than a minute for these 1,400 operations
        configs = ("backlit@1", "backlit-eager@1", "torch@1", "jax@1", "autograd@1")
    else:
        title, problem = f"chain of {N_CHAIN:,} steps x = sin(x) * 1.01", CHAIN
        work = Work(dependent_sines=N_CHAIN, dependent_fmas=2 * N_CHAIN)  # a product forward, one backward
        configs = ("backlit@1", "backlit-eager@1", "torch@1", "jax@1", "autograd@1")
    return Workload(name, title, "float64", peers(problem), configs, work=work)
