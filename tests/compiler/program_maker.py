"""Random programs of arrays: a list of small tuples of numbers stands for one, so that any list is a program and shrinks well.

A step names what it does and has three numbers; they choose its operands among the values so far, axes, bounds and constants.
What the operands do not fit is made to fit, so every list gives a program whatever its inputs are.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

import backlit as bl
from backlit.core.dtypes import is_float
from backlit.nn import functional as F
from backlit.ops.norm import vector_norm

MOST = 8192  # elements of one value
SIZES = (0, 1, 1, 2, 3, 5, 8, 17, 33)
LARGE = ((2500,), (600, 3), (3, 1100), (40, 70), (2, 20, 50), (5000,), (1, 2100), (2100, 1))
DTYPES = ("float64", "float32", "float64", "float32", "int64", "bool", "int32", "uint8", "float16")
NUMBERS = (2.0, -0.5, 0.1, 1, 3, 0.0, -1.0, 0.75, 2)

shapes = st.one_of(st.lists(st.sampled_from(SIZES), max_size=3).map(tuple), st.sampled_from(LARGE))
inputs = st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), min_size=1, max_size=4)
small = st.integers(0, 40)


def draw(specification, seed):
    """Arrays of the given shapes and dtypes; one in eight holds special values."""
    rng = np.random.default_rng(seed)
    made = []
    for shape, dtype in specification:
        if dtype == "bool":
            x = rng.random(shape) < 0.5
        elif np.dtype(dtype).kind in "iu":
            x = rng.integers(0 if dtype == "uint8" else -9, 10, shape).astype(dtype)
        else:
            x = rng.standard_normal(shape).astype(dtype)
            if rng.random() < 0.125 and x.size:
                special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -5e-324, 1.0]
                x.reshape(-1)[rng.integers(0, x.size, 4)] = rng.choice(special, 4)
        if x.ndim and rng.random() < 0.25:
            x = np.repeat(x, 2, axis=-1)[..., ::2] if rng.random() < 0.5 else np.asfortranarray(x)
        made.append(x)
    return made


def floating(x):
    return x if is_float(x.dtype) else x.astype("float32")


def truths(x):
    return x if x.dtype == bool else x > 0


def whole(x):
    """Integers near 0; a float is compared, since a small difference may put it on the other side of one."""
    return x.astype("int32") if x.dtype == bool else (x > 0).astype("int64") if is_float(x.dtype) else x


def common(x, y):
    """`y`, or a scalar made of it where it does not broadcast with `x` to a size that is wanted."""
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return reduced(y)
    return y if math.prod(shape) <= MOST else reduced(y)


def reduced(x):
    return bl.sum(floating(x)) * 0.25 if is_float(x.dtype) else bl.sum(x)


def axis_of(x, b):
    return b % x.ndim


def axes_of(x, b):
    """A choice of axes: any subset, none, all."""
    chosen = tuple(a for a in range(x.ndim) if b >> a & 1)
    return chosen if b % 5 else None


def unary(f):
    return lambda v, a, b, c: f(floating(v[a]))


def binary(f, change=floating):
    def step(v, a, b, c):
        x = change(v[a])
        if c % 4 == 0:
            number = NUMBERS[b % len(NUMBERS)]
            number = number if is_float(x.dtype) else int(abs(number)) + 1
            return f(x, number) if c % 8 else f(number, x)
        y = change(v[b])
        return f(x, common(x, y))

    return step


def sliced(v, a, b, c):
    x = v[a]
    key = []
    for k, n in enumerate(x.shape):
        kind = (b + 3 * k) % 6
        if kind == 0 or n == 0:
            key.append(slice(None))
        elif kind == 1:
            key.append(slice(c % n, None))
        elif kind == 2:
            key.append(slice(None, None, -1 - c % 2))
        elif kind == 3:
            key.append(c % n if c % 2 else c % n - n)
        elif kind == 4:
            key.append(slice(c % n, n - c % 2, 2))
        else:
            key.append(slice(-1 - c % n, None))
    return x[tuple(key)]


def gathered(v, a, b, c):
    x = v[a]
    if not x.ndim or x.shape[0] == 0:
        return x
    rows = np.random.default_rng(b).integers(-x.shape[0], x.shape[0], c % 7)
    return x[rows] if c % 3 else x[bl.asarray(rows)]


def picked(v, a, b, c):
    """Rows, columns or pairs at places that are computed, some of which are the same and some negative."""
    x = v[a]
    if not x.ndim or 0 in x.shape:
        return x
    k = axis_of(x, c)
    n = x.shape[k]
    places = whole(v[b]).reshape(-1)[: 5 + c % 7]
    narrow = places.dtype.itemsize == 1 and places.dtype.kind == "u"
    places = places % n if not narrow or n < 256 else places
    places = places - n if places.dtype.kind == "i" and c % 2 else places
    part = x[(*[slice(None)] * k, places)]
    if c % 3 == 0 or not is_float(x.dtype):
        return part
    return (
        x.at[(*[slice(None)] * k, places)].add(0.5)
        if c % 3 == 1
        else bl.grad(lambda x: bl.sum(bl.sin(x[(*[slice(None)] * k, places)])))(x)
    )


def divided(v, a, b, c):
    """By numbers that are the same eager and compiled: a quotient may fall on either side of a whole number."""
    x, y = whole(v[a]), common(whole(v[a]), whole(v[b]))
    return x // y if c % 2 else x % y


def reshaped(v, a, b, c):
    x = v[a]
    choices = [(-1,), (1, *x.shape), (*x.shape, 1)] if x.size else [(*x.shape, 1)]
    for n in (2, 3, 5):
        if x.size and x.size % n == 0:
            choices += [(n, -1), (-1, n)]
    return x.reshape(choices[b % len(choices)])


def permuted(v, a, b, c):
    x = v[a]
    order = list(range(x.ndim))
    np.random.default_rng(b).shuffle(order)
    return bl.permute_dims(x, tuple(order))


def broadcast(v, a, b, c):
    x = v[a]
    shape = tuple((2 + b % 4) if n == 1 else n for n in x.shape)
    shape = (1 + c % 3, *shape) if c % 2 else shape
    return bl.broadcast_to(x, shape) if math.prod(shape) <= MOST else x


def padded(v, a, b, c):
    x = v[a]
    return bl.pad(x, [((b + k) % 3, (c + k) % 2) for k in range(x.ndim)]) if x.ndim else x


def window(v, a, b, c):
    """A part of what is padded, in steps and backwards."""
    x = v[a]
    if not x.ndim:
        return x
    wide = bl.pad(x, [((b + k) % 4, (c + 2 * k) % 4) for k in range(x.ndim)])
    steps = (1, -1, 2, -2, 3, -3)
    return wide[tuple(slice(None, None, steps[(b + c + k) % 6]) for k in range(x.ndim))]


def joined(v, a, b, c):
    x = v[a]
    if not x.ndim or 2 * x.size > MOST:
        return x
    y = v[b]
    if y.shape != x.shape:
        y = x * 2 if x.dtype != bool else x
    return bl.concat([x, y], axis=axis_of(x, c)) if c % 2 else bl.stack([x, y], axis=c % (x.ndim + 1))


def fold(f, change=floating):
    def step(v, a, b, c):
        x = change(v[a])
        axes = axes_of(x, b)
        if any(x.shape[k] == 0 for k in (range(x.ndim) if axes is None else axes)):
            return x
        return f(x, axis=axes, keepdims=bool(c % 2))

    return step


def product(v, a, b, c):
    x, y = floating(v[a]), floating(v[b])
    if x.ndim == 0:
        return x * common(x, y)
    if x.size > 4096 or y.size > 4096:
        return x * 0.5
    if y.ndim and x.shape[-1] == y.shape[-min(2, y.ndim)]:
        try:
            lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            if math.prod(lead) * math.prod(x.shape[-2:]) * y.shape[-1] <= 1 << 18:
                return x @ y * 0.3
        except ValueError:
            pass
    if x.ndim == 1:
        return x @ x * 0.3
    if math.prod(x.shape) * max(x.shape) > 1 << 18:
        return x * 0.5
    return (x @ x.mT if c % 3 == 0 else x.mT @ x if c % 3 == 1 else x @ x[..., 0, :, None] if x.shape[-2] else x) * 0.3


def chosen(v, a, b, c):
    x = floating(v[b])
    y = common(x, floating(v[c]))
    condition = truths(common(x + y, truths(v[a])))
    return bl.where(condition, x, y) if c % 3 else bl.where(condition, x, 0.5)


def compared(v, a, b, c):
    f = (bl.less, bl.less_equal, bl.greater, bl.greater_equal, bl.equal, bl.not_equal)[c % 6]
    x = v[a] if v[a].dtype != bool else whole(v[a])
    if c % 5 == 0:
        return f(x, 1)
    return f(x, common(x, v[b] if v[b].dtype != bool else whole(v[b])))


def position(v, a, b, c):
    x = v[a]
    if x.size == 0:
        return x
    f = bl.argmax if c % 2 else bl.argmin
    return f(x, axis=axis_of(x, b) if x.ndim and c % 3 else None)


def converted(v, a, b, c):
    x = v[a]
    dtype = np.dtype(DTYPES[b % len(DTYPES)])
    return (whole(x) if dtype.kind in "iu" else x).astype(dtype)


def written(v, a, b, c):
    x = floating(v[a])
    if not x.ndim or not x.shape[0]:
        return x
    row = b % x.shape[0]
    part = x.at[row]
    return part.set(x[0] * 2.0) if c % 3 == 0 else part.add(0.5) if c % 3 == 1 else x.at[row:].set(x[row:][::-1])


def constant(v, a, b, c):
    x = floating(v[a])
    made = np.random.default_rng(b).standard_normal(x.shape if c % 2 else x.shape[1:]).astype(x.dtype)
    return x * made if c % 3 else made + x


def normalised(v, a, b, c):
    x = floating(v[a])
    if not x.ndim or x.size == 0:
        return x
    if c % 3 == 0:
        return F.softmax(x, axis=axis_of(x, b))
    if c % 3 == 1:
        return F.log_softmax(x, axis=axis_of(x, b))
    k = axis_of(x, b)
    centred = x - bl.mean(x, axis=k, keepdims=True)
    return centred / bl.sqrt(bl.mean(centred * centred, axis=k, keepdims=True) + 1e-3)


def integers(v, a, b, c):
    x, y = whole(v[a]), whole(v[b])
    y = common(x, y)
    return (
        lambda: x + y, lambda: x * 3 - y, lambda: bl.maximum(x, y), lambda: x // (bl.abs(y) % 7 + 1), lambda: x * y,
        lambda: -x, lambda: x % 5,
    )[c % 7]()  # fmt: skip


def logic(v, a, b, c):
    x, y = truths(v[a]), truths(v[b])
    y = truths(common(x, y))
    return (bl.logical_and, bl.logical_or, bl.logical_xor)[c % 3](x, y) if c % 4 else bl.logical_not(x)


def derived(v, a, b, c):
    """A gradient inside the program."""
    x, y = floating(v[a]), floating(v[b])
    y = common(x, y)
    f = (
        lambda x: bl.sum(bl.tanh(x * y) * x), lambda x: bl.sum(F.sigmoid(x) * y), lambda x: bl.sum(bl.maximum(x, y) ** 2),
        lambda x: bl.sum(bl.sin(x)[..., ::-1] * x) if x.ndim else bl.sin(x), lambda x: bl.sum(bl.logsumexp(x * y)),
        lambda x: bl.sum(bl.where(x > 0, bl.sqrt(bl.abs(x)), x)),
    )  # fmt: skip
    return bl.grad(f[c % len(f)])(x) if x.size else x


def running(f):
    def step(v, a, b, c):
        x = floating(v[a])
        return f(x, axis_of(x, b)) if x.ndim and x.size < 4000 else x

    return step


STEPS = {
    "prod": fold(lambda x, axis, keepdims: bl.prod(x * 0.8, axis=axis, keepdims=keepdims)),
    "norm": fold(lambda x, axis, keepdims: vector_norm(x, axis=axis, keepdims=keepdims)),
    "any": fold(bl.any, lambda x: x), "all": fold(bl.all, lambda x: x),
    "cumsum": running(lambda x, axis: bl.cumsum(x * 0.3, axis)), "cumprod": running(lambda x, axis: bl.cumprod(x * 0.9, axis)),
    "running": running(lambda x, axis: bl.grad(lambda x: bl.sum(bl.sin(bl.cumprod(x, axis))))(x * 0.8)),
    "tanh": unary(bl.tanh), "exp": unary(lambda x: bl.exp(x * 0.3)), "log": unary(lambda x: bl.log(x * x + 0.5)),
    "sin": unary(bl.sin), "cos": unary(bl.cos), "sigmoid": unary(F.sigmoid), "erf": unary(bl.erf), "sqrt": unary(lambda x: bl.sqrt(bl.abs(x))),
    "gelu": unary(F.gelu), "relu": unary(F.relu), "softplus": unary(F.softplus), "floor": unary(lambda x: bl.floor(x * 1.5)),
    "neg": unary(lambda x: -x), "square": unary(lambda x: x**2), "cube": unary(lambda x: x**3), "sign": unary(bl.sign), "log1p": unary(lambda x: bl.log1p(bl.abs(x))),
    "expm1": unary(lambda x: bl.expm1(x * 0.2)), "clip": unary(lambda x: bl.clip(x, -0.5, 1.0)),
    "add": binary(lambda x, y: x + y), "sub": binary(lambda x, y: x - y), "mul": binary(lambda x, y: x * y), "div": binary(lambda x, y: x / (abs(y) + 0.5)),
    "pow": binary(lambda x, y: (abs(x) + 0.1) ** (y * 0.5)), "maximum": binary(bl.maximum), "minimum": binary(bl.minimum),
    "remainder": binary(lambda x, y: x % (abs(y) + 1)), "promote": lambda v, a, b, c: v[a] * common(v[a], v[b]) if bool not in (v[a].dtype, v[b].dtype) else floating(v[a]),
    "slice": sliced, "gather": gathered, "pick": picked, "divide": divided, "reshape": reshaped, "permute": permuted, "broadcast": broadcast, "pad": padded, "window": window, "join": joined,
    "sum": fold(bl.sum), "sums": fold(bl.sum, lambda x: x), "mean": fold(bl.mean), "max": fold(bl.max, lambda x: x), "min": fold(bl.min), "logsumexp": fold(bl.logsumexp),
    "var": fold(lambda x, axis, keepdims: bl.var(x, axis=axis, keepdims=keepdims)),
    "matmul": product, "where": chosen, "compare": compared, "argmax": position, "astype": converted, "write": written, "constant": constant,
    "normal": normalised, "integers": integers, "logic": logic, "grad": derived,
}  # fmt: skip

step = st.tuples(st.sampled_from(sorted(STEPS)), small, small, small)
steps = st.one_of(st.lists(step, min_size=1, max_size=8), st.lists(step, min_size=6, max_size=20))


class Values(list):
    """The values of a program so far, chosen by any number."""

    def __getitem__(self, k):
        return super().__getitem__(k % len(self))


def run(program, arrays):
    """All values that the steps of a program give."""
    values = Values(map(bl.asarray, arrays))
    for name, a, b, c in program:
        found = STEPS[name](values, a, b, c)
        if found.size <= 4 * MOST:
            values.append(found)
    return list(values)


def returned(program, arrays):
    """The last values, and one from the middle, which later work may read too."""
    values = run(program, arrays)
    return (*values[-3:], values[len(values) // 2])


def loss(program, arrays):
    """A number that depends on the float values."""
    total = bl.sum(bl.zeros(()))
    for k, x in enumerate(run(program, arrays)[-4:]):
        if is_float(x.dtype):
            total = total + bl.sum(bl.tanh(x * (0.3 + 0.1 * k))).astype("float32")
    return total
