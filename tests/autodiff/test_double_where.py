"""The double-where trap: what a selection discards has a zero gradient, whatever stands there; what it keeps has none of that.

Each program is written as people write it, with one `where` (or clip, max, mask, index): in most systems its gradient is
NaN, for 0 * inf. The expected derivatives are those of the plain program at the elements that are kept, each computed
alone. The controls look alike, but there the NaN or the infinity is a true statement about the program: it surfaces.
"""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import grad, jvp, vmap
from backlit.nn import functional as F

NAN, INF = np.nan, np.inf

# name: (program of a vector, where it is evaluated, the same program of one kept element, which elements are kept)
PROGRAMS = {
    "sqrt": (lambda x: bl.where(x > 0, bl.sqrt(x), 0.0), [0.0, -1.0, 4.0], bl.sqrt, [2]),
    "log": (lambda x: bl.where(x > 0, bl.log(x), 0.0), [0.0, -1.0, 4.0], bl.log, [2]),
    "reciprocal": (lambda x: bl.where(x != 0, 1.0 / x, 0.0), [0.0, 2.0, -4.0], lambda x: 1.0 / x, [1, 2]),
    "x log x": (lambda x: bl.where(x > 0, x * bl.log(x), 0.0), [0.0, 2.0], lambda x: x * bl.log(x), [1]),
    "sin x / x": (lambda x: bl.where(x == 0, 1.0, bl.sin(x) / x), [0.0, 2.0], lambda x: bl.sin(x) / x, [1]),
    "power": (lambda x: bl.where(x > 0, x**0.3, 0.0), [0.0, -2.0, 2.0], lambda x: x**0.3, [2]),
    "power of itself": (lambda x: bl.where(x > 0, x**x, 1.0), [0.0, -2.0, 2.0], lambda x: x**x, [2]),
    "overflow": (lambda x: bl.where(x < 100, bl.exp(x), x), [1.0, 5.0], bl.exp, [0, 1]),
    "overflow of what is left out": (lambda x: bl.where(x < 100, bl.exp(x), 7.0), [1e4, 1.0], bl.exp, [1]),
    "softplus": (lambda x: bl.where(x > 30, 0.0, bl.log1p(bl.exp(x))), [1e4, 1.0], lambda x: bl.log1p(bl.exp(x)), [1]),
    "asin": (lambda x: bl.where(bl.abs(x) < 1, bl.asin(x), 0.0), [1.0, 2.0, 0.5], bl.asin, [2]),
    "acosh": (lambda x: bl.where(x > 1, bl.acosh(x), 0.0), [1.0, 0.0, 2.0], bl.acosh, [2]),
    "atanh": (lambda x: bl.where(bl.abs(x) < 1, bl.atanh(x), 0.0), [1.0, -1.0, 0.5], bl.atanh, [2]),
    "tan of far away": (lambda x: bl.where(bl.abs(x) < 9, bl.tan(x), 0.0), [INF, 1.0], bl.tan, [1]),
    "logit": (lambda x: bl.where((x > 0) & (x < 1), bl.log(x / (1 - x)), 0.0), [0.0, 1.0, 0.3],
              lambda x: bl.log(x / (1 - x)), [2]),
    "entropy": (lambda x: -bl.where(x > 0, x * bl.log2(x), 0.0) * 2.0, [0.0, 0.25], lambda x: -2.0 * x * bl.log2(x), [1]),
    "nested": (lambda x: bl.where(x > 0, bl.where(x > 1, bl.log(x), bl.sqrt(x)), 0.0), [0.0, 0.5, 2.0],
               lambda x: bl.where(x > 1, bl.log(x), bl.sqrt(x)), [1, 2]),
    "a long way from the where": (lambda x: bl.where(x > 0, bl.exp(-bl.tanh(3.0 * bl.sqrt(x)) + 1.0), 0.0), [0.0, 2.0],
                                  lambda x: bl.exp(-bl.tanh(3.0 * bl.sqrt(x)) + 1.0), [1]),
    "moved": (lambda x: bl.where(x > 0, bl.reshape(bl.sqrt(x).reshape((1, -1)).T, (-1,)), 0.0), [0.0, 4.0], bl.sqrt, [1]),
    "picked": (lambda x: bl.sqrt(x)[np.array([1, 2])] * 2.0, [0.0, 1.0, 4.0], lambda x: 2.0 * bl.sqrt(x), [1, 2]),
    "sliced": (lambda x: bl.log(x)[1:], [0.0, 1.0, 4.0], bl.log, [1, 2]),
    "padded away": (lambda x: bl.sqrt(bl.pad(x[1:], ((1, 0),)))[1:], [3.0, 1.0, 4.0], bl.sqrt, [1, 2]),
    "max": (lambda x: bl.max(bl.log(x)), [0.0, 1.0, 4.0], bl.log, [2]),
    "maximum": (lambda x: bl.maximum(bl.log(x), -1.0), [0.0, 2.0], bl.log, [1]),
    "relu": (lambda x: F.relu(bl.log(x)), [0.0, 2.0], bl.log, [1]),
    "clip": (lambda x: bl.clip(1.0 / x, -3.0, 3.0), [0.0, 2.0], lambda x: 1.0 / x, [1]),
    "joined": (lambda x: bl.where(bl.asarray([False, True, False, True]), bl.concat([bl.sqrt(x), bl.log(x)]), 0.0),
               [0.0, 4.0], lambda x: bl.sqrt(x) + bl.log(x), [1]),
    "two uses": (lambda x: bl.where(x > 0, bl.sqrt(x) + bl.log(x) * bl.sqrt(x), 0.0), [0.0, 4.0],
                 lambda x: bl.sqrt(x) + bl.log(x) * bl.sqrt(x), [1]),
    "summed behind": (lambda x: bl.where(x > 0, bl.sqrt(x), 0.0).sum() * 2.0, [0.0, 4.0], lambda x: 2.0 * bl.sqrt(x), [1]),
    "cond by example": (lambda x: vmap(lambda v: bl.cond(v > 0, bl.sqrt, lambda v: v * 0.0, v))(x), [0.0, 4.0], bl.sqrt, [1]),
}  # fmt: skip


def scalar(program):
    return lambda x: (program(x) * 1.5).sum()


def expected(program, x, one, kept, order):
    """Derivatives at the kept elements, each alone; zero elsewhere."""
    f = lambda v: one(v) * 1.5
    for _ in range(order):
        f = grad(f)
    out = np.zeros(len(x))
    for k in kept:
        out[k] = f(np.float64(x[k])).item()
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_discarded_has_a_zero_gradient_in_every_mode_and_order(name):
    program, x, one, kept = PROGRAMS[name]
    x = np.array(x)
    loss, v = scalar(program), np.linspace(1.0, 2.0, len(x))
    first, second = (expected(program, x, one, kept, order) for order in (1, 2))
    close = lambda a, b: np.testing.assert_allclose(bl.asarray(a).detach().numpy(), b, rtol=1e-12, atol=1e-14)
    close(grad(loss)(x), first)  # reverse
    leaf = bl.tensor(x, requires_grad=True)
    loss(leaf).backward()
    close(leaf.grad, first)
    close(jvp(loss, (x,), (v,))[1], first @ v)  # forward
    total = lambda f: lambda x: (f(x) * v).sum()
    close(grad(total(grad(loss)))(x), second * v)  # second order: the programs are diagonal
    close(jvp(grad(loss), (x,), (v,))[1], second * v)
    close(grad(lambda x: jvp(loss, (x,), (v,))[1])(x), second * v)
    close(bl.compile(grad(loss))(x), first)
    close(bl.compile(grad(total(grad(loss))))(x), second * v)
    close(vmap(grad(loss))(x[None])[0], first)


# name: (program, where, the gradient there): the trouble is not discarded by structure, so it must be seen
CONTROLS = {
    "sqrt": (bl.sqrt, 0.0, INF),
    "log of zero": (bl.log, 0.0, INF),
    "log of a negative number": (bl.log, -1.0, -1.0),
    "sqrt of a negative number": (bl.sqrt, -1.0, NAN),
    "sqrt squared": (lambda x: bl.sqrt(x) * bl.sqrt(x), 0.0, NAN),
    "square of sqrt": (lambda x: bl.sqrt(x) ** 2, 0.0, NAN),
    "times a zero that happens to be one": (lambda x: bl.sqrt(x) * 0.0, 0.0, NAN),
    "times a zero array": (lambda x: bl.sqrt(x) * bl.zeros_like(x), 0.0, NAN),
    "masked by multiplication": (lambda x: bl.log(x) * (x > 0), 0.0, NAN),
    "kept by the where": (lambda x: bl.where(x >= 0, bl.sqrt(x), 0.0), 0.0, INF),
    "the wrong side of the where": (lambda x: bl.where(x > 0, 0.0, bl.sqrt(x) * x), 0.0, NAN),
    "behind the where": (lambda x: bl.sqrt(bl.where(x > 0, x, x * 1.0)), 0.0, INF),
    "x log x": (lambda x: x * bl.log(x), 0.0, NAN),
    "sin x / x": (lambda x: bl.sin(x) / x, 0.0, NAN),
    "reciprocal": (lambda x: 1.0 / x, 0.0, -INF),
    "inf - inf": (lambda x: 1.0 / x - 1.0 / x, 0.0, NAN),
    "power": (lambda x: x**0.5, 0.0, INF),
    "asin": (bl.asin, 1.0, INF),
    "atanh": (bl.atanh, 1.0, INF),
    "exp overflows": (lambda x: bl.exp(x), 1e4, INF),
    "softplus by hand": (lambda x: bl.log(1.0 + bl.exp(x)), 1e4, NAN),
    "sigmoid by hand": (lambda x: bl.exp(x) / (1.0 + bl.exp(x)), 1e4, NAN),
    "nan in": (lambda x: bl.where(x > 0, x, x * x * x), NAN, NAN),
    "nan chosen by maximum": (lambda x: bl.maximum(bl.log(x) * 0.0, x), 0.0, NAN),
    "clip at the edge of a chosen range": (lambda x: bl.clip(bl.sqrt(x), -1.0, 1.0), 0.0, INF),
    "cond": (lambda x: bl.cond(x >= 0, bl.sqrt, lambda x: x * 0.0, x), 0.0, INF),
    "norm by hand": (lambda x: bl.sqrt((bl.stack([x, x]) ** 2).sum()), 0.0, NAN),
    "zero power by exp log": (lambda x: bl.exp(2.0 * bl.log(x)), 0.0, NAN),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTROLS)
def test_a_nan_that_is_real_surfaces(name):
    program, at, expected = CONTROLS[name]
    x = np.float64(at)
    same = lambda got: np.testing.assert_array_equal(bl.asarray(got).detach().numpy(), expected)
    same(grad(program)(x))
    same(jvp(program, (x,), (np.float64(1.0),))[1])
    leaf = bl.tensor(x, requires_grad=True)
    program(leaf).backward()
    same(leaf.grad)
    same(bl.compile(grad(program))(x))
    if np.isnan(expected):
        assert np.isnan(grad(grad(program))(x).item())


def test_there_are_enough():
    assert len(PROGRAMS) >= 25 and len(CONTROLS) >= 25
