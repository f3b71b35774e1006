"""Random samplers: one op draws words from a stream, the rest is arithmetic; no gradient.

Built of + - * / sqrt and the engine's own log and cos, so that a compiled stream can have the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backlit.core import staging
from backlit.core.aval import Aval
from backlit.core.dtypes import default_dtype
from backlit.core.op import Op, Value, declare
from backlit.core.rng import Generator
from backlit.core.tensor import Tensor, as_tensor
from backlit.ops.elementwise import cos, log, minimum, right_shift, sqrt
from backlit.ops.linear import astype, concat, reshape


class RandomWords(Op):
    """Words `[n]` uint64 of the stream `key: [2]` uint64 from block `counter: []` on, four words a block.

    Philox 4x64-10; NumPy's bit generator is the reference.
    """

    name, notation = "random_words", r"\operatorname{{Philox}}_{{{key}}}({counter})"
    inputs = ("key", "counter")
    differentiable = False

    @staticmethod
    def forward(key: Any, counter: Any, *, n: int) -> Any:
        return np.random.Philox(key=key, counter=int(counter)).random_raw(n)

    def abstract(self, *avals: Any, **params: Any) -> Aval:
        return Aval((params["n"],), np.dtype(np.uint64))

    def prepare(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        key, counter = (astype(as_tensor(a), dtype=np.uint64) for a in args)
        return key, counter

    def batch(self, size: int, args: tuple[Value, ...], batched: tuple[bool, ...], params: dict[str, Any]) -> Value:
        rows = [self(*(a[r] if b else a for a, b in zip(args, batched, strict=True)), **params) for r in range(size)]
        return reshape(concat(*rows), shape=(size, params["n"]))

    def samples(self) -> list[tuple[Any, ...]]:
        return [((np.array([1, 2], np.uint64), np.array(5, np.uint64)), {"n": 6})]


random_words = declare(RandomWords)


def _fractions(generator: Generator, shape: tuple[int, ...]) -> Tensor:
    """float64 values in [0, 1), multiples of 2^-53."""
    n = math.prod(shape)
    if (trace := staging.current()) is not None:
        key, counter = trace.drawn(generator, -(-n // 4))
    else:
        key, counter = generator.key, generator.counter
        generator.counter += -(-n // 4)
    words = random_words(key, counter, n=n)
    return reshape(astype(right_shift(words, 11), dtype=np.float64) * 2.0**-53, shape=shape)


def _shape(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)


def uniform(self: Generator, shape: Any = (), low: float = 0.0, high: float = 1.0, dtype: Any = None) -> Tensor:
    """Values uniform in [low, high); of the default float dtype unless given."""
    dtype = np.dtype(default_dtype() if dtype is None else dtype)
    values = astype(low + (high - low) * _fractions(self, _shape(shape)), dtype=dtype)
    if low < high:  # a draw just below `high` may round to it
        values = minimum(values, Tensor(np.nextafter(dtype.type(high), dtype.type(low))))
    return values


def normal(self: Generator, shape: Any = (), mean: float = 0.0, std: float = 1.0, dtype: Any = None) -> Tensor:
    """Values normal with the given mean and standard deviation (Box and Muller, 1958); default float dtype."""
    size = _shape(shape)
    radius = sqrt(-2.0 * log(1.0 - _fractions(self, size)))
    values = mean + std * (radius * cos((2.0 * math.pi) * _fractions(self, size)))
    return astype(values, dtype=np.dtype(default_dtype() if dtype is None else dtype))


def permutation(self: Generator, n: int) -> np.ndarray[Any, Any]:
    """The integers 0..n-1 in random order, as a NumPy array."""
    return np.argsort(np.asarray(_fractions(self, (n,))), kind="stable")


for _function in (uniform, normal, permutation):
    setattr(Generator, _function.__name__, _function)
