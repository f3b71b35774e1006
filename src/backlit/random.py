"""Random numbers: `seed` sets the default generator, every sampler takes one."""

from backlit.core.rng import Generator, default_generator, seed
from backlit.functional.rejection import beta, dirichlet, gamma
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
    "beta",
    "categorical",
    "cauchy",
    "choice",
    "default_generator",
    "dirichlet",
    "exponential",
    "gamma",
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
