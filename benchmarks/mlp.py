"""W1, W2, W3: train steps of multi-layer perceptrons in float32.

W1 is all overhead (2.7 MFLOP), W2 is of the size of handwritten digits, W3 is bound by products of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from workloads import Running, Work, Workload, compile_step

BETAS, EPS, MOMENTUM = (0.9, 0.999), 1e-8, 0.9


@dataclass(frozen=True)
class Recipe:
    sizes: tuple[int, ...]
    batch: int
    activation: str  # relu or gelu
    loss: str  # cross_entropy or mse
    optimizer: str  # sgd (with momentum) or adam
    lr: float
    activated_last: bool = False  # whether the last layer has an activation, too

    def activated(self, layer: int) -> bool:
        return self.activated_last or layer < len(self.sizes) - 2


RECIPES = {
    "W1": (
        "MLP 64-128-64-10, relu, cross-entropy, batch 32, SGD with momentum",
        Recipe((64, 128, 64, 10), 32, "relu", "cross_entropy", "sgd", 1e-3),
    ),
    "W2": (
        "MLP 784-512-256-10, relu, cross-entropy, batch 128, Adam",
        Recipe((784, 512, 256, 10), 128, "relu", "cross_entropy", "adam", 3e-5),
    ),
    "W3": (
        "MLP 4 layers of 2048, gelu, mean squared error, batch 256, Adam",
        Recipe((2048,) * 5, 256, "gelu", "mse", "adam", 1e-4, activated_last=True),
    ),
}


@cache
def start(recipe: Recipe) -> tuple[dict[str, Any], Any, Any]:
    """Parameters as a state dict of `Sequential(Linear, activation, ...)`, and a batch."""
    import numpy as np

    rng = np.random.default_rng(0)
    state, position = {}, 0
    for layer, (n_in, n_out) in enumerate(pairwise(recipe.sizes)):
        state[f"{position}.weight"] = rng.standard_normal((n_out, n_in), np.float32) / np.float32(math.sqrt(n_in))
        state[f"{position}.bias"] = 0.1 * rng.standard_normal(n_out, np.float32)
        position += 2 if recipe.activated(layer) else 1
    x = rng.standard_normal((recipe.batch, recipe.sizes[0]), np.float32)
    if recipe.loss == "cross_entropy":
        return state, x, rng.integers(0, recipe.sizes[-1], recipe.batch)
    return state, x, rng.standard_normal((recipe.batch, recipe.sizes[-1]), np.float32)


def modules(recipe: Recipe, nn: Any) -> list[Any]:
    """The layers of the network, in torch and in backlit alike."""
    layers: list[Any] = []
    for layer, (n_in, n_out) in enumerate(pairwise(recipe.sizes)):
        layers.append(nn.Linear(n_in, n_out))
        if recipe.activated(layer):
            layers.append(nn.ReLU() if recipe.activation == "relu" else nn.GELU())
    return layers


def backlit_parts(recipe: Recipe) -> tuple[Callable[..., Any], Callable[..., Any], Any, Any]:
    """The whole step and the forward pass with its loss, as functions of a batch, and the batch."""
    import backlit as bl
    from backlit import nn, optim

    state, x, y = start(recipe)
    model = nn.Sequential(*modules(recipe, nn))
    model.load_state_dict(state)
    if recipe.optimizer == "sgd":
        opt: optim.Optimizer = optim.SGD(model.parameters(), lr=recipe.lr, momentum=MOMENTUM)
    else:
        opt = optim.Adam(model.parameters(), lr=recipe.lr, betas=BETAS, eps=EPS)
    loss_of = nn.functional.cross_entropy if recipe.loss == "cross_entropy" else nn.functional.mse_loss

    def step(x: bl.Tensor, y: bl.Tensor) -> bl.Tensor:
        opt.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        opt.step()
        return loss

    def forward(x: bl.Tensor, y: bl.Tensor) -> bl.Tensor:
        with bl.no_grad():
            return loss_of(model(x), y)

    return step, forward, bl.tensor(x), bl.tensor(y)


def build_backlit(recipe: Recipe, threads: int, eager: bool) -> Running:
    step, _, x, y = backlit_parts(recipe)
    step = compile_step(step, threads, eager)
    return Running(lambda: step(x, y), lambda loss: loss.item())


def build_torch(recipe: Recipe, threads: int) -> Running:
    """Eager, with the fused optimizer."""
    import torch
    from torch import nn

    state, x, y = start(recipe)
    model = nn.Sequential(*modules(recipe, nn))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    if recipe.optimizer == "sgd":
        opt: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=MOMENTUM, fused=True)
    else:
        opt = torch.optim.Adam(model.parameters(), lr=recipe.lr, betas=BETAS, eps=EPS, fused=True)
    loss_of = nn.functional.cross_entropy if recipe.loss == "cross_entropy" else nn.functional.mse_loss
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> torch.Tensor:
        opt.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return Running(step, lambda loss: loss.item())


def build_torch_compile(recipe: Recipe, threads: int) -> Running:
    """Gradient and update as one compiled graph, the update in place."""
    import torch
    from torch import nn

    state, x, y = start(recipe)
    model = nn.Sequential(*modules(recipe, nn))
    parameters = {name: torch.from_numpy(value) for name, value in state.items()}
    first = {name: torch.zeros_like(value) for name, value in parameters.items()}
    second = {name: torch.zeros_like(value) for name, value in parameters.items()} if recipe.optimizer == "adam" else {}
    count = torch.zeros(())
    loss_of = nn.functional.cross_entropy if recipe.loss == "cross_entropy" else nn.functional.mse_loss

    def objective(parameters: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss_of(torch.func.functional_call(model, parameters, (x,)), y)

    @torch.compile
    def train(parameters: Any, first: Any, second: Any, count: torch.Tensor, x: Any, y: Any) -> torch.Tensor:
        grads, loss = torch.func.grad_and_value(objective)(parameters, x, y)
        if recipe.optimizer == "sgd":
            for name, value in parameters.items():
                first[name].mul_(MOMENTUM).add_(grads[name])
                value.sub_(recipe.lr * first[name])
            return loss
        count.add_(1.0)
        rate, scale = recipe.lr / (1 - BETAS[0] ** count), (1 - BETAS[1] ** count).sqrt()
        for name, value in parameters.items():
            grad = grads[name]
            first[name].mul_(BETAS[0]).add_((1 - BETAS[0]) * grad)
            second[name].mul_(BETAS[1]).add_((1 - BETAS[1]) * grad * grad)
            value.sub_(rate * (first[name] / (second[name].sqrt() / scale + EPS)))
        return loss

    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> torch.Tensor:
        with torch.no_grad():
            return train(parameters, first, second, count, x, y)

    return Running(step, lambda loss: loss.item())


def build_jax(recipe: Recipe, threads: int) -> Running:
    """One jitted function that donates parameters and optimizer state."""
    import jax
    import jax.numpy as jnp

    state, x, y = start(recipe)
    parameters = [jnp.asarray(value.T) for value in state.values()]  # weights [n_in, n_out], as usual in JAX

    def objective(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        for layer, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2])):
            x = x @ weight + bias
            if recipe.activated(layer):
                x = jax.nn.relu(x) if recipe.activation == "relu" else jax.nn.gelu(x, approximate=False)
        if recipe.loss == "cross_entropy":
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))
        return jnp.mean((x - y) ** 2)

    def sgd(p: jax.Array, grad: jax.Array, first: jax.Array) -> tuple[jax.Array, ...]:
        first = MOMENTUM * first + grad
        return p - recipe.lr * first, first

    def adam(p: jax.Array, grad: jax.Array, first: jax.Array, second: jax.Array, count: jax.Array) -> Any:
        first = BETAS[0] * first + (1 - BETAS[0]) * grad
        second = BETAS[1] * second + (1 - BETAS[1]) * grad * grad
        rate, scale = recipe.lr / (1 - BETAS[0] ** count), jnp.sqrt(1 - BETAS[1] ** count)
        return p - rate * (first / (jnp.sqrt(second) / scale + EPS)), first, second

    def train(parameters: Any, moments: Any, count: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(objective)(parameters, x, y)
        if recipe.optimizer == "sgd":
            new = [sgd(p, g, *m) for p, g, m in zip(parameters, grads, moments)]
        else:
            count = count + 1
            new = [adam(p, g, *m, count) for p, g, m in zip(parameters, grads, moments)]
        return [p for p, *_ in new], [tuple(m) for _, *m in new], count, loss

    train = jax.jit(train, donate_argnums=(0, 1, 2))
    n_moments = 1 if recipe.optimizer == "sgd" else 2
    moments = [tuple(jnp.zeros_like(p) for _ in range(n_moments)) for p in parameters]
    count = jnp.zeros((), jnp.float32)
    x, y = jnp.asarray(x), jnp.asarray(y)

    def step() -> jax.Array:
        nonlocal parameters, moments, count
        parameters, moments, count, loss = train(parameters, moments, count, x, y)
        return loss

    return Running(step, float)


def work(recipe: Recipe) -> Work:
    """Three products a layer (none for the gradient of the data); weights and state of Adam move where they are large."""
    pairs = list(pairwise(recipe.sizes))
    products = [2.0 * recipe.batch * n_in * n_out * (2 if i == 0 else 3) for i, (n_in, n_out) in enumerate(pairs)]
    parameter_bytes = 4.0 * sum((n_in + 1) * n_out for n_in, n_out in pairs)
    state_bytes = parameter_bytes * (2 if recipe.optimizer == "sgd" else 3)
    small = state_bytes < 2**20
    return Work(
        product_flops=sum(products),
        small_products=small,
        # forward and backward read the weights; the update reads and writes weights and state
        streamed_bytes=0.0 if small else 2 * parameter_bytes + 2 * state_bytes,
        working_set_bytes=state_bytes,
    )


def workload(name: str, dims: dict[str, int] | None = None) -> Workload:
    """W1, W2 or W3; `dims` has the batch and the sizes n0, n1, ..."""
    title, recipe = RECIPES[name]
    own = {"batch": recipe.batch, **{f"n{i}": size for i, size in enumerate(recipe.sizes)}}
    if dims is not None:
        sizes = tuple(dims[key] for key in own if key != "batch")
        recipe = Recipe(
            sizes, dims["batch"], recipe.activation, recipe.loss, recipe.optimizer, recipe.lr, recipe.activated_last
        )
    peers: dict[str, Callable[[int], Running]] = {
        "backlit": lambda threads: build_backlit(recipe, threads, eager=False),
        "backlit-eager": lambda threads: build_backlit(recipe, threads, eager=True),
        "torch": lambda threads: build_torch(recipe, threads),
        "torch-compile": lambda threads: build_torch_compile(recipe, threads),
        "jax": lambda threads: build_jax(recipe, threads),
    }
    configs = tuple(f"{peer}@{threads}" for peer in peers for threads in (2, 1))
    return Workload(name, title, "float32", peers, configs, dims or own, work(recipe), lambda: start(recipe))
