"""Random loops in loops and branches: graphs, their gradients and programs against the same functions step by step."""

from __future__ import annotations

import numpy as np
import pytest
from loops import assert_agree

import backlit as bl
from backlit import cond, fori_loop, grad, jvp, scan, switch, vmap, while_loop

SHAPES = [(), (1,), (3,), (2, 3), (0,)]


class Body:
    """A random function of some arrays, the same at every call: it draws its choices from a seed."""

    def __init__(self, seed, depth, smooth):
        self.seed, self.depth, self.smooth = seed, depth, smooth

    def __call__(self, carry, x, around):
        """The next carry, shaped like the old one, and a result."""
        rng = np.random.default_rng(self.seed)
        known = [*carry, *x, *around]
        for _ in range(rng.integers(2, 6)):
            known.append(self.value(rng, known))
        after = []
        for c in carry:
            value = bl.tanh(self.shaped(known[rng.integers(len(known))], c.shape) + 0.5 * c)
            after.append(value if rng.random() < 0.9 else c)
        ys = [known[rng.integers(len(known))] for _ in range(rng.integers(0, 3))]
        return after, ys

    def shaped(self, x, shape):
        """`x` in another shape, by some reduction and spreading."""
        if x.shape == shape:
            return x
        total = bl.sum(x) * 0.3 if x.size else bl.sum(x)
        return bl.broadcast_to(total, shape)

    def value(self, rng, known):
        a, b = (known[rng.integers(len(known))] for _ in range(2))
        b = self.shaped(b, a.shape)
        kind = rng.integers(14 if self.depth else 9)
        if kind == 0:
            return bl.sin(a) + b
        if kind == 1:
            return a * b * 0.5
        if kind == 2:
            return bl.where(a > b, bl.cos(a), b)
        if kind == 3:
            return bl.exp(-a * a)
        if kind == 4:
            return bl.maximum(a, 0.0) - bl.sqrt(bl.abs(b) + 0.1)
        if kind == 5 and a.ndim:
            return bl.concat([a, b], axis=0)[: a.shape[0]] if rng.random() < 0.5 else a[::-1]
        if kind == 6 and a.ndim == 2:
            return bl.tanh(a @ bl.permute_dims(b, (1, 0))) @ a * 0.3
        if kind == 7:
            return bl.expand_dims(a, axis=0).sum(axis=-1) if a.ndim else a / (1.5 + bl.abs(b))
        if kind in (5, 6, 8):
            return a - 0.5 * b
        inner = Body(int(rng.integers(1 << 30)), self.depth - 1, self.smooth)
        if kind == 9:
            xs = bl.stack([a, b, a + b])
            (last,), ys = scan(lambda c, x: inner(c, [x], [b]), [b], xs, reverse=bool(rng.integers(2)))
            return last + sum(self.shaped(y, last.shape) for y in ys)
        if kind == 10:
            return cond(bl.sum(a) > bl.sum(b), lambda a, b: inner([a], [b], [])[0][0], lambda a, b: bl.sin(a) * b, a, b)
        if kind == 11:
            return switch(
                (bl.sum(a) > 0).astype(np.int32) + 1, [bl.sin, bl.cos, lambda v: inner([v], [], [b])[0][0]], a
            )
        if kind == 12:
            return fori_loop(0, 2, lambda i, v: inner([v], [b], [])[0][0] + i, a)
        if self.smooth:
            return bl.cos(a)
        step = lambda s: (inner([s[0]], [], [b])[0][0], s[1] + 1)
        return while_loop(lambda s: (s[1] < 3) & (bl.sum(s[0]) < 2.0), step, (a, 0))[0]


def program(seed, smooth):
    """A random loop, with arguments."""
    rng = np.random.default_rng(seed)
    body = Body(int(rng.integers(1 << 30)), 2, smooth)
    n = int(rng.choice([0, 1, 2, 4]))
    shape = lambda: SHAPES[rng.integers(len(SHAPES))]
    draw = lambda *lead: rng.standard_normal((*lead, *shape()))
    init = [draw() for _ in range(rng.integers(1, 3))]
    xs = [draw(n) for _ in range(rng.integers(0, 3))]
    around = [draw() for _ in range(rng.integers(0, 2))]
    reverse = bool(rng.integers(2))

    def f(init, xs, around):
        carry, ys = scan(lambda c, x: body(c, x, around), init, xs, length=n, reverse=reverse)
        return carry, ys

    return f, (init, xs, around)


def loss_of(f):
    def loss(init, xs, around):
        carry, ys = f(init, xs, around)
        parts = [bl.sum(bl.sin(x)) for x in (*carry, *ys)]
        return sum(parts[1:], start=parts[0])

    return loss


def check(seed, kind):
    f, args = program(seed, smooth=kind in ("grad", "second"))
    if kind == "value":
        assert_agree(f, *args, rtol=1e-9)
    elif kind == "grad":
        assert_agree(grad(loss_of(f), argnums=(0, 1, 2)), *args, rtol=1e-8)
    elif kind == "push":
        directions = tuple([np.cos(x) for x in part] for part in args)
        assert_agree(lambda *args: jvp(f, args, directions), *args, rtol=1e-8)
    elif kind == "second":
        squares = lambda *args: sum(bl.sum(g * g) for part in grad(loss_of(f), argnums=(0, 1, 2))(*args) for g in part)
        assert_agree(grad(squares), *args, rtol=1e-6)
    else:
        init, xs, around = args
        batched = [np.stack([x, np.sin(x), x + 1.0]) for x in init]
        assert_agree(lambda init: vmap(lambda init: f(init, xs, around))(init), batched, rtol=1e-9)


KINDS = ("value", "grad", "push", "second", "batch")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_random_loops(seed, kind):
    check(seed, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_random_loops(seed, kind):
    check(seed, kind)
