"""A step of gradient descent on any scalar function, in every engine: `p -= rate * dloss/dp` for each parameter p.

A `Problem` states the function once, in terms of an `Ops` that each engine fills with its own functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workloads import Running, compile_step


@dataclass(frozen=True)
class Ops:
    """The functions a problem is made of, of one engine."""

    arrays: Any  # has exp, log, sin, tanh, sum, mean
    softplus: Callable[[Any], Any]
    repeat: Callable[[Callable[[Any], Any], Any, int], Any]  # (body, carry, n): `carry = body(carry)` n times
    cell: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda f: f  # what a loop in Python may compile once


@dataclass(frozen=True)
class Problem:
    """A function to descend on, in float64."""

    start: Callable[[], list[Any]]  # parameters: floats, or NumPy arrays
    loss: Callable[[Ops], Callable[..., Any]]  # gives the function of (parameters, *batch)
    rate: float
    batch: Callable[[], Sequence[Any]] = tuple


def repeat_in_python(body: Callable[[Any], Any], carry: Any, n: int) -> Any:
    for _ in range(n):
        carry = body(carry)
    return carry


def distance(before: Sequence[Any], after: Sequence[Any]) -> float:
    """Euclidean distance of two lists of arrays."""
    import numpy as np

    return math.sqrt(sum(float(np.sum((np.asarray(b) - np.asarray(a)) ** 2)) for a, b in zip(before, after)))


def build_backlit(problem: Problem, threads: int, eager: bool) -> Running:
    import numpy as np

    import backlit as bl

    def repeat(body: Callable[[Any], Any], carry: Any, n: int) -> Any:
        return bl.scan(lambda carry, _: (body(carry), None), carry, length=n)[0]

    start = problem.start()
    parameters = [bl.tensor(np.asarray(p, np.float64)) for p in start]
    batch = [bl.tensor(np.asarray(part)) for part in problem.batch()]
    value_and_grad = bl.value_and_grad(problem.loss(Ops(bl, bl.nn.functional.softplus, repeat)))

    def step(*batch: bl.Tensor) -> bl.Tensor:
        loss, grads = value_and_grad(parameters, *batch)
        with bl.no_grad():
            for p, grad in zip(parameters, grads, strict=True):
                p -= problem.rate * grad
        return loss

    step = compile_step(step, threads, eager)
    return Running(lambda: step(*batch), lambda loss: loss.item(), lambda: distance(start, parameters))


def build_torch(problem: Problem, threads: int, cell: bool = False) -> Running:
    """Eager; with `cell` the body of a loop is compiled."""
    import numpy as np
    import torch

    compiled = torch.compile if cell else lambda f: f
    ops = Ops(torch, torch.nn.functional.softplus, repeat_in_python, compiled)
    start = problem.start()
    parameters = [torch.tensor(np.asarray(p, np.float64), requires_grad=True) for p in start]
    batch = [torch.from_numpy(np.asarray(part)) for part in problem.batch()]
    loss_of = problem.loss(ops)

    def step() -> torch.Tensor:
        loss = loss_of(parameters, *batch)
        grads = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, grads, alpha=-problem.rate)
        return loss

    return Running(step, lambda loss: loss.item(), lambda: distance(start, [p.detach() for p in parameters]))


def build_torch_compile(problem: Problem, threads: int) -> Running:
    """Gradient and update as one compiled graph, the update in place."""
    import numpy as np
    import torch

    start = problem.start()
    shapes = [np.shape(p) for p in start]
    # torch 2.13 loses a write into a 0-d argument of a compiled function (seen on the CPU, in float64), so those are 1-d
    parameters = [torch.tensor(np.atleast_1d(np.asarray(p, np.float64))) for p in start]
    batch = [torch.from_numpy(np.asarray(part)) for part in problem.batch()]
    loss_of = problem.loss(Ops(torch, torch.nn.functional.softplus, repeat_in_python))

    def objective(parameters: list[torch.Tensor], *batch: torch.Tensor) -> torch.Tensor:
        return loss_of([p.reshape(shape) for p, shape in zip(parameters, shapes)], *batch)

    @torch.compile
    def train(parameters: list[torch.Tensor], *batch: torch.Tensor) -> torch.Tensor:
        grads, loss = torch.func.grad_and_value(objective)(parameters, *batch)
        for p, grad in zip(parameters, grads):
            p.sub_(problem.rate * grad)
        return loss

    def step() -> torch.Tensor:
        with torch.no_grad():
            return train(parameters, *batch)

    return Running(step, lambda loss: loss.item(), lambda: distance(start, parameters))


def build_jax(problem: Problem, threads: int) -> Running:
    """One jitted function that donates the parameters."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    def repeat(body: Callable[[Any], Any], carry: Any, n: int) -> Any:
        return jax.lax.scan(lambda carry, _: (body(carry), None), carry, length=n)[0]

    start = problem.start()
    parameters = [jnp.asarray(p, jnp.float64) for p in start]
    batch = [jnp.asarray(part) for part in problem.batch()]
    value_and_grad = jax.value_and_grad(problem.loss(Ops(jnp, jax.nn.softplus, repeat)))

    def train(parameters: list[jax.Array], *batch: jax.Array) -> Any:
        loss, grads = value_and_grad(parameters, *batch)
        return [p - problem.rate * grad for p, grad in zip(parameters, grads)], loss

    train = jax.jit(train, donate_argnums=0)

    def step() -> jax.Array:
        nonlocal parameters
        parameters, loss = train(parameters, *batch)
        return loss

    return Running(step, float, lambda: distance(start, parameters))


def build_autograd(problem: Problem, threads: int) -> Running:
    import autograd
    import autograd.numpy as anp

    parameters = start = problem.start()
    batch = problem.batch()
    ops = Ops(anp, lambda x: anp.logaddexp(0.0, x), repeat_in_python)
    value_and_grad = autograd.value_and_grad(problem.loss(ops))

    def step() -> float:
        nonlocal parameters
        loss, grads = value_and_grad(parameters, *batch)
        parameters = [p - problem.rate * grad for p, grad in zip(parameters, grads)]
        return loss

    return Running(step, float, lambda: distance(start, parameters))


def peers(problem: Problem) -> dict[str, Callable[[int], Running]]:
    """Every engine on this problem."""
    return {
        "backlit": lambda threads: build_backlit(problem, threads, eager=False),
        "backlit-eager": lambda threads: build_backlit(problem, threads, eager=True),
        "torch": lambda threads: build_torch(problem, threads),
        "torch-compile": lambda threads: build_torch_compile(problem, threads),
        "torch-cell": lambda threads: build_torch(problem, threads, cell=True),
        "jax": lambda threads: build_jax(problem, threads),
        "autograd": lambda threads: build_autograd(problem, threads),
    }
