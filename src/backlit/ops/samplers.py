"""Samplers: functions of a generator, attached to it as methods; gradients go to the parameters of those that are reparameterised.

Each takes a shape first (that to which its parameters broadcast unless given), and gives the default float dtype, or that of its
parameters where they are arrays of floats. All compute in float64 from words of the stream by + - * / sqrt, whole numbers and the
logarithm and cosine of `backlit.ops.random`, so a stream has the same bits eager and compiled. Under vmap a sampler draws once, and
each example gets the same numbers unless its shape says otherwise.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from backlit.core.dtypes import default_dtype, is_float, promote
from backlit.core.errors import ArgumentError, DTypeError, ShapeError
from backlit.core.op import shown
from backlit.core.rng import Generator, default_generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops import elementwise as ew
from backlit.ops import rounding
from backlit.ops.linear import astype, normalize_axes
from backlit.ops.order import argsort
from backlit.ops.picking import take
from backlit.ops.random import cos_turns, drawn_at_once, fractions, horner, log_fraction, words
from backlit.ops.statistics import argmax

Number = float | int


def lengths(who: str, shape: Any) -> tuple[int, ...]:
    """A shape, of which one integer is one axis.

    Raises:
      DTypeError: it is neither an integer nor several.
    """
    try:
        return tuple(map(operator.index, shape)) if isinstance(shape, (tuple, list)) else (operator.index(shape),)
    except TypeError:
        raise DTypeError(
            f"{who}: expected a shape of integers, got {shape!r}; parameters come after it or by name{here()}"
        ) from None


def parameters(who: str, shape: Any, dtype: Any, *given: Any) -> tuple[tuple[int, ...], np.dtype[Any], list[Any]]:
    """The shape and the dtype of a sample, and its parameters: Python numbers as they are, all else as float64 tensors."""
    found = [p if isinstance(p, (int, float)) else as_tensor(p) for p in given]
    arrays = [p for p in found if isinstance(p, Tensor)]
    try:
        common = np.broadcast_shapes(*(p.shape for p in arrays))
        if shape is None:
            size = common
        else:
            size = lengths(who, shape)
            if np.broadcast_shapes(common, size) != size:
                raise ValueError
    except ValueError:
        listed = ", ".join(map(shown, arrays))
        raise ShapeError(f"{who}: parameters {listed} do not broadcast to the shape {shape}{here()}") from None
    if dtype is None:
        floats = [p.dtype for p in arrays if is_float(p.dtype)]
        kind = default_dtype() if not floats else floats[0]
        for other in floats[1:]:
            kind = promote(kind, other)
    else:
        kind = np.dtype(dtype)
        if not is_float(kind):
            raise DTypeError(f"{who}: gives floats, not {kind}; use .astype on the sample{here()}")
    return size, kind, [p if not isinstance(p, Tensor) else astype(p, dtype=np.float64) for p in found]


def inside(generator: Generator | None, size: tuple[int, ...]) -> Tensor:
    """float64 values in (0, 1), odd multiples of 2^-53: neither end is among them."""
    bits = ew.right_shift(words(generator or default_generator(), size), 12)
    return astype(bits, dtype=np.float64) * 2.0**-52 + 2.0**-53


def uniform(
    shape: Any = None, low: Any = 0.0, high: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values uniform in [low, high), reparameterised: low + (high - low) u."""
    size, kind, (a, b) = parameters("uniform", shape, dtype, low, high)
    source = generator or default_generator()
    plain = not isinstance(a, Tensor) and not isinstance(b, Tensor)
    found: Tensor | None = drawn_at_once(source, size, a, b, kind) if plain else None
    if found is not None:
        return found
    values = astype(a + (b - a) * fractions(source, size), dtype=kind)
    if not plain:  # a draw just below `high` may round to it
        a, b = (astype(as_tensor(v), dtype=kind) for v in (a, b))
        return ew.where(ew.logical_and(values >= b, a < b), rounding.nextafter(b, a), values)
    if a < b:
        values = ew.minimum(values, Tensor(np.nextafter(kind.type(b), kind.type(a))))
    return values


def standard_normal(generator: Generator, size: tuple[int, ...]) -> Tensor:
    """float64 values of the standard normal distribution (Box and Muller, 1958)."""
    radius = ew.sqrt(-2.0 * log_fraction(1.0 - fractions(generator, size)))
    return radius * cos_turns(fractions(generator, size))


def normal(
    shape: Any = None, mean: Any = 0.0, std: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values normal with the given mean and standard deviation, reparameterised: mean + std z."""
    size, kind, (mean, std) = parameters("normal", shape, dtype, mean, std)
    return astype(mean + std * standard_normal(generator or default_generator(), size), dtype=kind)


def exponential(shape: Any = None, scale: Any = 1.0, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Values of density exp(-x / scale) / scale for x > 0, reparameterised: -scale log u."""
    size, kind, (scale,) = parameters("exponential", shape, dtype, scale)
    return astype(scale * -log_fraction(inside(generator, size)), dtype=kind)


def laplace(
    shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values of density exp(-|x - loc| / scale) / (2 scale), reparameterised."""
    size, kind, (loc, scale) = parameters("laplace", shape, dtype, loc, scale)
    u = inside(generator, size)
    below = u < 0.5
    depth = log_fraction(2.0 * ew.where(below, u, 1.0 - u))
    return astype(loc + scale * ew.where(below, depth, -depth), dtype=kind)


def logistic(
    shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values of distribution function 1 / (1 + exp(-(x - loc) / scale)), reparameterised: loc + scale log(u / (1 - u))."""
    size, kind, (loc, scale) = parameters("logistic", shape, dtype, loc, scale)
    u = inside(generator, size)
    return astype(loc + scale * (log_fraction(u) - log_fraction(1.0 - u)), dtype=kind)


def standard_gumbel(generator: Generator | None, size: tuple[int, ...]) -> Tensor:
    """float64 values of distribution function exp(-exp(-x))."""
    return -log_fraction(-log_fraction(inside(generator, size)))


def gumbel(
    shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values of distribution function exp(-exp(-(x - loc) / scale)), reparameterised."""
    size, kind, (loc, scale) = parameters("gumbel", shape, dtype, loc, scale)
    return astype(loc + scale * standard_gumbel(generator, size), dtype=kind)


def cauchy(
    shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """Values of density scale / (pi (scale^2 + (x - loc)^2)), reparameterised: loc + scale tan(pi (u - 1/2))."""
    size, kind, (loc, scale) = parameters("cauchy", shape, dtype, loc, scale)
    u = inside(generator, size)
    tangent = -cos_turns(0.5 * u) / cos_turns(ew.abs(0.5 * u - 0.25))  # the sine of pi u as a cosine
    return astype(loc + scale * tangent, dtype=kind)


# Wichura (1988), algorithm AS 241, PPND16: numerators and denominators in rising powers, without the leading 1 below.
_NEAR = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_MIDDLE = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def _ratio(tables: tuple[tuple[float, ...], tuple[float, ...]], x: Tensor) -> Tensor:
    value: Tensor = horner(tables[0], x) / horner(tables[1], x)
    return value


def _normal_quantile(p: Tensor) -> Tensor:
    """The number below which a normal variable is with probability 0 < p < 1, to about 1e-15 (Wichura, 1988)."""
    q = p - 0.5
    near = q * _ratio(_NEAR, 0.180625 - q * q)
    r = ew.sqrt(-log_fraction(ew.where(q < 0.0, p, 1.0 - p)))
    far = ew.where(r <= 5.0, _ratio(_MIDDLE, r - 1.6), _ratio(_TAIL, r - 5.0))
    return ew.where(ew.abs(q) <= 0.425, near, ew.where(q < 0.0, -far, far))


def truncated_normal(
    shape: Any = None, lower: Any = -2.0, upper: Any = 2.0, mean: Any = 0.0, std: Any = 1.0, dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """mean + std z with z normal under the condition lower <= z <= upper; reparameterised in `mean` and `std`.

    By the inverse of the distribution function, from the tail in which its digits are. The bounds count in standard deviations
    and are constants, numbers or arrays.

    Raises:
      ArgumentError: a lower bound is not below its upper one.
    """
    bounds = [np.asarray(b, np.float64) for b in (lower, upper)]
    if not (bounds[0] < bounds[1]).all():
        raise ArgumentError(f"truncated_normal: expected lower < upper, got {lower} and {upper}")
    size, kind, (mean, std, *_) = parameters("truncated_normal", shape, dtype, mean, std, *bounds)
    if dtype is None and not any(isinstance(p, Tensor) for p in (mean, std)):
        kind = default_dtype()  # bounds are no parameters that say in which dtype to count
    flipped = bounds[0] > -bounds[1]
    low, high = np.where(flipped, -bounds[1], bounds[0]), np.where(flipped, -bounds[0], bounds[1])
    below, above = _normal_cdf(low), _normal_cdf(high)
    z = _normal_quantile(below + (above - below) * inside(generator, size))
    z = ew.minimum(ew.maximum(z, low), high)
    return astype(mean + std * ew.where(flipped, -z, z), dtype=kind)


def _normal_cdf(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    flat = [0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x.ravel().tolist()]
    return np.array(flat, np.float64).reshape(x.shape)


def bernoulli(shape: Any = None, p: Any = 0.5, dtype: Any = bool, generator: Generator | None = None) -> Tensor:
    """True with probability `p`; without a gradient."""
    size, _, (p,) = parameters("bernoulli", shape, None, p)
    hits = ew.less(fractions(generator or default_generator(), size), p if not isinstance(p, Tensor) else p.detach())
    return hits if np.dtype(dtype) == bool else astype(hits, dtype=dtype)


def randint(
    shape: Any, low: Any, high: Any = None, dtype: Any = np.int64, generator: Generator | None = None
) -> Tensor:
    """Integers from `low` up to `high`, excluded; from 0 up to `low` with `high` None.

    The upper 64 bits of a word times the number of values: one value is no more than 2^-64 likelier than another.

    Raises:
      ArgumentError: there is no integer in between.
    """
    first, last = (np.asarray(0), low) if high is None else (low, high)
    bounds = [b if isinstance(b, Tensor) else Tensor(np.asarray(b)) for b in (first, last)]
    if any(b.dtype.kind not in "iu" for b in bounds) or np.dtype(dtype).kind not in "iu":
        raise DTypeError(
            f"randint: bounds and dtype must be integers, got {', '.join(map(shown, bounds))}, {dtype}{here()}"
        )
    size, _, _ = parameters("randint", shape, None, *bounds)
    if (
        all(isinstance(b._value, (np.ndarray, np.generic)) for b in bounds)
        and not (bounds[0]._value < bounds[1]._value).all()
    ):
        raise ArgumentError(f"randint: expected low < high, got {first} and {last}")
    start, stop = (astype(b, dtype=np.uint64) for b in bounds)
    n = stop - start
    n_high, n_low = _halves(n)
    high_bits, low_bits = _halves(words(generator or default_generator(), size))
    carried, middle = _halves(high_bits * n_low + _halves(low_bits * n_low)[0])
    drawn = high_bits * n_high + carried + _halves(low_bits * n_high + middle)[0]
    return astype(start + drawn, dtype=dtype)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 bits of uint64 numbers."""
    high = ew.right_shift(x, 32)
    return high, x - ew.left_shift(high, 32)


def categorical(logits: Any, shape: Any = None, axis: int = -1, generator: Generator | None = None) -> Tensor:
    """Positions along `axis`, each with a probability proportional to the exponential of its logit (Gumbel, 1954).

    `shape` is that of the result, to which the other axes of `logits` broadcast; theirs unless given. No gradient.
    """
    x = as_tensor(logits).detach()
    (at,) = normalize_axes("categorical", axis, x.ndim)
    n, batch = x.shape[at], (*x.shape[:at], *x.shape[at + 1 :])
    if not n:
        raise ShapeError(f"categorical: nothing to choose from along axis {axis} of {shown(x)}{here()}")
    size = batch if shape is None else lengths("categorical", shape)
    try:
        fits = np.broadcast_shapes(batch, size) == size
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"categorical: the other axes of {shown(x)} do not broadcast to the shape {size}{here()}")
    last = x if at == x.ndim - 1 else x.permute((*(i for i in range(x.ndim) if i != at), at))
    noise = standard_gumbel(generator, (*size, n))
    return argmax(astype(last, dtype=np.float64) + noise, axis=-1)


def permutation(x: Any, axis: int = 0, generator: Generator | None = None) -> Tensor:
    """The integers 0 .. x-1 in random order, or the slices of an array `x` along `axis` in one."""
    source, plain = generator or default_generator(), isinstance(x, (int, np.integer))
    array = None if plain else as_tensor(x)
    at = 0 if array is None else normalize_axes("permutation", axis, array.ndim)[0]
    places = argsort(fractions(source, (int(x) if array is None else array.shape[at],)), axis=0)
    return places if array is None else take(array, places, axis=at)


def choice(
    a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0, generator: Generator | None = None
) -> Tensor:
    """Slices of `a` along `axis`, or integers below the integer `a`, equally likely or with the probabilities `p`.

    Without `replace` none comes twice, in the order of keys log p + Gumbel noise (Efraimidis and Spirakis, 2006).

    Raises:
      ShapeError: `p` does not fit, or more are to be drawn without `replace` than there are.
    """
    pool = None if isinstance(a, (int, np.integer)) else as_tensor(a)
    n = int(a) if pool is None else pool.shape[normalize_axes("choice", axis, pool.ndim)[0]]
    size = lengths("choice", shape)
    weights = None if p is None else as_tensor(p)
    if weights is not None and weights.shape != (n,):
        raise ShapeError(f"choice: expected {n} probabilities, got {shown(weights)}{here()}")
    many = math.prod(size)
    if not replace and many > n or (many and not n):
        raise ShapeError(f"choice: {many} cannot be drawn from {n}{'' if replace else ' without replacement'}{here()}")
    if replace:
        picked = randint(size, n, generator=generator) if weights is None else _weighted(weights, size, generator)
    elif weights is None:
        picked = permutation(n, generator=generator)[:many].reshape(size)
    else:
        keys = _logarithm(weights) + standard_gumbel(generator, (n,))
        picked = argsort(keys, axis=0, descending=True)[:many].reshape(size)
    return picked if pool is None else take(pool, picked, axis=axis)


def _logarithm(p: Tensor) -> Tensor:
    wide = astype(p.detach(), dtype=np.float64)
    return ew.where(wide > 0.0, log_fraction(ew.where(wide > 0.0, wide, 1.0)), -math.inf)


def _weighted(p: Tensor, size: tuple[int, ...], generator: Generator | None) -> Tensor:
    return categorical(_logarithm(p), size, generator=generator)


def attach(*functions: Callable[..., Tensor]) -> None:
    """Gives Generator these samplers as methods."""
    for function in functions:
        setattr(Generator, function.__name__, _method(function))


def _method(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(function)
    def method(self: Generator, *args: Any, **kwargs: Any) -> Tensor:
        return function(*args, generator=self, **kwargs)

    return method


attach(
    uniform, normal, exponential, laplace, logistic, gumbel, cauchy, truncated_normal, bernoulli, randint, categorical, choice
)  # fmt: skip
