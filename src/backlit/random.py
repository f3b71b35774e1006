"""Random numbers: `seed` sets the default generator, every sampler takes one."""

from backlit.core.rng import Generator, default_generator, seed
from backlit.ops.samplers import (
    bernoulli,
    categorical,
    cauchy,
    choice,
    exponential,
    gumbel,
    laplace,
    logistic,
    normal,
    permutation,
    randint,
    truncated_normal,
    uniform,
)

__all__ = [
    "Generator",
    "bernoulli",
    "categorical",
    "cauchy",
    "choice",
    "default_generator",
    "exponential",
    "gumbel",
    "laplace",
    "logistic",
    "normal",
    "permutation",
    "randint",
    "seed",
    "truncated_normal",
    "uniform",
]
