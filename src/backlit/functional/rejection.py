"""Gamma, beta and Dirichlet variables: samples by rejection, with gradients in their parameters by implicit differentiation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.autodiff.custom import custom_jvp
from backlit.autodiff.reverse import stop_gradient
from backlit.core.errors import ShapeError
from backlit.core.op import shown
from backlit.core.record import scope
from backlit.core.rng import Generator, default_generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.control import while_loop
from backlit.ops import elementwise as ew
from backlit.ops import gamma as gamma_functions
from backlit.ops.linear import astype
from backlit.ops.random import LN2, log_fraction
from backlit.ops.samplers import attach, inside, lengths, parameters, standard_normal
from backlit.ops.shape import broadcast_to, concat, expand_dims
from backlit.ops.statistics import sum


@scope
def gamma(
    shape: Any = None, concentration: Any = 1.0, scale: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values of density proportional to x^(concentration - 1) exp(-x / scale) for x > 0 (Marsaglia and Tsang, 2000).

    Rejected values are drawn again, all at once, until none is left: some five times for a million. Concentrations below 1
    are those of one more, times u^(1 / concentration); below 0.01 that is often 0. A negative concentration gives NaN, an
    infinite one infinity.

    The gradient in `concentration` is the implicit one, -(dF / d concentration) / density with the distribution function F
    (Figurnov et al., 2018), by an integral over 100 nodes; its relative error is below 1e-11 for concentrations from 0.01 to
    1,000,000 (measured against 40 digits). It is made of ops and can be differentiated again.
    """
    size, kind, (alpha, scale) = parameters("gamma", shape, dtype, concentration, scale)
    return astype(scale * _standard_gamma(_tensor(alpha, size), generator), dtype=kind)


@scope
def beta(
    shape: Any = None, a: Any = 1.0, b: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values of density proportional to x^(a - 1) (1 - x)^(b - 1) on (0, 1), from two gamma variables, with their gradients."""
    size, kind, (a, b) = parameters("beta", shape, dtype, a, b)
    x, y = (_standard_gamma(_tensor(v, size), generator) for v in (a, b))
    return astype(x / (x + y), dtype=kind)


@scope
def dirichlet(concentration: Any, shape: Any = None, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Probabilities along the last axis of density proportional to the product of x_i^(concentration_i - 1).

    `shape` is that of the result without its last axis, to which the other axes of `concentration: [..., n]` broadcast.

    Raises:
      ShapeError: `concentration` has no axis.
    """
    alpha = as_tensor(concentration)
    if not alpha.ndim:
        raise ShapeError(f"dirichlet: expected concentration [..., n], got {shown(alpha)}{here()}")
    lead = alpha.shape[:-1] if shape is None else lengths("dirichlet", shape)
    size, kind, (alpha,) = parameters("dirichlet", (*lead, alpha.shape[-1]), dtype, alpha)
    x = _standard_gamma(_tensor(alpha, size), generator)
    return astype(ew.div(x, _folded(x)), dtype=kind)


def _folded(x: Tensor) -> Tensor:
    """The sum along the last axis, which stays, in an order that is the same eager and compiled."""
    while (n := x.shape[-1]) > 1:
        half = n // 2
        folded = x[..., :half] + x[..., half : 2 * half]
        x = concat([folded, x[..., 2 * half :]], axis=-1) if n % 2 else folded
    return x


def _tensor(parameter: Any, size: tuple[int, ...]) -> Tensor:
    wide = astype(as_tensor(parameter), dtype=np.float64)
    return wide if wide.shape == size else broadcast_to(wide, size)


def _standard_gamma(alpha: Tensor, generator: Generator | None) -> Tensor:
    sample: Tensor = _reparameterised(alpha, _drawn(stop_gradient(alpha), generator or default_generator()))
    return sample


def _drawn(alpha: Tensor, generator: Generator) -> Tensor:
    small = alpha < 1.0
    d = ew.where(small, alpha + 1.0, alpha) - 1.0 / 3.0
    c = (1.0 / 3.0) / ew.sqrt(d)

    def again(state: tuple[Tensor, Tensor]) -> Tensor:
        return sum(astype(ew.logical_not(state[0]), dtype=np.int64)) > 0

    def draw(state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        done, kept = state
        z, u = standard_normal(generator, alpha.shape), inside(generator, alpha.shape)
        t = 1.0 + c * z
        v = t * t * t
        positive = v > 0.0
        bound = 0.5 * (z * z) + d - d * v + d * log_fraction(ew.where(positive, v, 1.0))
        taken = ew.logical_and(positive, log_fraction(u) < bound)
        return ew.logical_or(done, taken), ew.where(done, kept, ew.where(taken, v, kept))

    # of other concentrations no draw is ever taken
    possible = ew.logical_and(alpha >= 0.0, alpha < math.inf)
    _, v = while_loop(again, draw, (ew.logical_not(possible), alpha * 0.0))
    fraction = _exp(log_fraction(inside(generator, alpha.shape)) / alpha)
    sample = ew.where(small, d * v * fraction, d * v)
    return ew.where(possible, sample, ew.where(alpha > 0.0, alpha, math.nan))


_SERIES = tuple(1.0 / math.factorial(n) for n in range(14))


def _exp(x: Tensor) -> Tensor:
    """e^x of x <= 0 by plain arithmetic, so that it has the same bits everywhere; 0 below -700."""
    held = ew.maximum(x, -700.0)
    n = ew.floor(held * (-1.0 / math.log(2.0)) + 0.5)
    r = (held + n * LN2[0]) + n * LN2[1]
    value = r * _SERIES[-1] + _SERIES[-2]
    for coefficient in _SERIES[-3::-1]:
        value = value * r + coefficient
    for bit in range(10):  # 2^-n, of which each factor is exact
        half = ew.floor(n * 0.5)
        value = ew.where(n > half * 2.0, value * 2.0 ** -(2**bit), value)
        n = half
    return ew.where(x < -700.0, 0.0, value)


@custom_jvp
def _reparameterised(alpha: Tensor, sample: Tensor) -> Tensor:
    return sample


@_reparameterised.defjvp
def _moved(primals: Any, tangents: Any) -> Any:
    alpha, sample = primals
    out = _reparameterised(alpha, sample)
    return out, tangents[0] * slope(alpha, out)


def _nodes() -> tuple[Any, Any]:
    """Nodes and weights of an integral over (0, inf) of what falls off exponentially (Takahasi and Mori, 1974)."""
    step = 0.08
    t = -4.2 + step * np.arange(100)
    y = np.exp(t - np.exp(-t))
    return y, step * y * (1.0 + np.exp(-t))


_Y, _WEIGHTS = _nodes()


def slope(alpha: Tensor, x: Tensor) -> Tensor:
    """How a gamma variable `x` moves with `alpha` at a fixed value of its distribution function.

    With f the density, F = integral of f from 0 to x, and d log f(t) / d alpha = log t - digamma(alpha), it is minus the integral
    of f(t) / f(x) (log t - digamma) from 0 to x, or that from x to infinity. Where x < exp(digamma) all of the first has one
    sign, elsewhere all of the second, so that no digits are lost; below x = 1 the first, for its form there has one scale.
    """
    known = ew.logical_and(x > 0.0, alpha > 0.0)
    alpha, x = (expand_dims(ew.where(known, v, 1.0), axis=-1) for v in (alpha, x))
    over = ew.log(x) - gamma_functions.digamma(alpha)
    # t = x exp(-v) and t = x exp(v); scales are constants of the integrals
    root = ew.sqrt(x)
    near = stop_gradient(ew.where(x < 1.0, 1.0 / alpha, 1.0 / (ew.maximum(alpha - x, 0.0) + root)))
    v = near * _Y
    mass = ew.exp(-alpha * v - x * ew.expm1(-v)) * (near * _WEIGHTS)
    below = -sum(x * (over - v) * mass, axis=-1)
    far = stop_gradient(ew.log1p((1.0 + root) / x))
    v = ew.minimum(far * _Y, 700.0)
    mass = ew.exp(ew.minimum(alpha * v - x * ew.expm1(v), 700.0)) * (far * _WEIGHTS)
    above = sum(x * (over + v) * mass, axis=-1)
    lower = ew.logical_or(over < 0.0, x < 1.0)[..., 0]
    return ew.where(known, ew.where(lower, below, above), 0.0)


attach(gamma, beta, dirichlet)
