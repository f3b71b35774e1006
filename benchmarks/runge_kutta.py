"""W7c: the gradient through 2,000 Runge-Kutta steps of a damped pendulum, by its constants and its start.

`theta'' = -a sin(theta) - b theta'` from `theta = c` at rest; the loss is the mean of `theta^2` over the path.
"""

from __future__ import annotations

from typing import Any

from descent import Ops, Problem, peers
from workloads import Work, Workload

N_STEPS, DT = 2_000, 0.005
RATE = 1e-6


def path_loss(ops: Ops) -> Any:
    sin = ops.arrays.sin

    def acceleration(a: Any, b: Any, theta: Any, omega: Any) -> Any:
        return -a * sin(theta) - b * omega

    @ops.cell
    def runge_kutta(a: Any, b: Any, theta: Any, omega: Any) -> Any:
        v1, f1 = omega, acceleration(a, b, theta, omega)
        v2 = omega + 0.5 * DT * f1
        f2 = acceleration(a, b, theta + 0.5 * DT * v1, v2)
        v3 = omega + 0.5 * DT * f2
        f3 = acceleration(a, b, theta + 0.5 * DT * v2, v3)
        v4 = omega + DT * f3
        f4 = acceleration(a, b, theta + DT * v3, v4)
        theta = theta + DT / 6 * (v1 + 2.0 * v2 + 2.0 * v3 + v4)
        return theta, omega + DT / 6 * (f1 + 2.0 * f2 + 2.0 * f3 + f4)

    def loss_of(parameters: list[Any]) -> Any:
        a, b, c = parameters

        def body(carry: Any) -> Any:
            theta, omega, total = carry
            theta, omega = runge_kutta(a, b, theta, omega)
            return theta, omega, total + theta * theta

        return ops.repeat(body, (c, 0.0 * c, 0.0 * c), N_STEPS)[2] / N_STEPS

    return loss_of


PROBLEM = Problem(lambda: [9.81, 0.25, 1.2], path_loss, RATE)


def workload(name: str, dims: dict[str, int] | None = None) -> Workload:
    """W7c."""
    # From one step to the next the longest path has two sines and eight multiply-adds, and twelve of them back.
    work = Work(dependent_sines=2 * N_STEPS, dependent_fmas=20 * N_STEPS)
    configs = ("backlit@1", "backlit-eager@1", "torch@1", "torch-cell@1", "jax@1", "autograd@1")
    return Workload(name, f"pendulum, {N_STEPS:,} Runge-Kutta steps", "float64", peers(PROBLEM), configs, work=work)
