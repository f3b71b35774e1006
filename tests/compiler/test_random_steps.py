"""Random steps with state: what `compile` returns, writes and leaves behind, against the same function run eagerly.

Tensors are written whole and in part, gradients taken and optimizers stepped inside, random numbers drawn; between the calls
values are held, changed from outside or shared. Both sides run in float64 on functions that change no faster than their
arguments, so that they stay within 1e-9 of each other over some steps.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from test_random_compiled import EACH, N_PROGRAMS, search

import backlit as bl
from backlit import optim
from backlit.compiler.llvm import loops
from backlit.nn import functional as F

SHAPES = ((4, 3), (3,), (), (1, 3), (70, 50), (2600,))
OPTIMIZERS = (
    lambda p: optim.SGD(p, lr=0.1), lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda p: optim.Adam(p, lr=0.01), lambda p: optim.AdamW(p, lr=0.02, amsgrad=True),
    lambda p: optim.Adam(p, lr=0.01, maximize=True, weight_decay=0.1),
)  # fmt: skip


def squeezed(x):
    """Any value as a number near 1 that depends on all of it."""
    return bl.tanh(bl.mean(x) if x.size else bl.sum(x))


def scanned(x, a, b, cell):
    """Values carried along the first axis, forwards or back."""
    if not x.ndim or not 0 < x.shape[0] <= 100:
        return x * 0.5
    first = squeezed(cell) if b % 2 else bl.sin(x[0])
    f = lambda c, r: (bl.tanh(c * 0.5 + (bl.mean(r) if b % 2 else r)), c * 0.3 + r)
    last, rows = bl.scan(f, first, x, reverse=bool(a % 2))
    return rows + bl.mean(last) if a % 3 else bl.broadcast_to(last, rows.shape)


def nested(x, a, b, cell):
    """A loop within a loop, whose inner one reads what is outside of both."""
    if x.ndim < 2 or not 0 < x.shape[0] <= 12 or not 0 < x.shape[1] <= 12:
        return x * 0.5
    scale = squeezed(cell)

    def outer(c, row):
        inner, parts = bl.scan(lambda s, e: (bl.sin(s * 0.5 + bl.mean(e)) * scale, s + e), c, row)
        return inner, bl.mean(parts) * row

    return bl.scan(outer, bl.tanh(scale), x)[1]


def chosen(x, a, b, cell):
    """One of two branches, or of three."""
    if a % 2:
        return bl.cond(squeezed(cell) > 0.0, lambda v: bl.sin(v) * 0.5, lambda v: v[..., ::-1] if v.ndim else v, x)
    number = (squeezed(cell) * 10.0).astype("int64") % 3
    return bl.switch(number, [lambda v: v * 0.5, lambda v: bl.cos(v), lambda v: v + 0.1], x)


def repeated(x, a, b, cell):
    """A number of turns known ahead or found while running."""
    if b % 2:
        return bl.fori_loop(0, a % 5, lambda i, v: bl.tanh(v + 0.1 * i), x)
    end = bl.abs(squeezed(cell)) * 5.0
    return bl.while_loop(lambda s: s[0] < end, lambda s: (s[0] + 1.0, s[1] * 0.7), (end * 0.0, x))[1]


LOOPS = {"scan": scanned, "nested": nested, "choose": chosen, "repeat": repeated}


class Machine:
    """State and the function that changes it; two with one seed are equal."""

    def __init__(self, shapes, seed, n_parameters, optimizer):
        rng = np.random.default_rng(seed)
        self.cells = [bl.tensor(rng.standard_normal(s)) for s in shapes]
        for x in self.cells[:n_parameters]:
            x.requires_grad_()
        self.generator = bl.random.Generator(seed)
        self.parameters = self.cells[:n_parameters]
        self.optimizer = OPTIMIZERS[optimizer](self.parameters) if self.parameters else None
        self.free = self.cells[n_parameters:]

    def step(self, program, x):
        """What a list of small tuples says, one after another."""
        found = [x * 1.0]
        for name, a, b in program:
            value = found[a % len(found)]
            cell = self.cells[b % len(self.cells)]
            if name == "read":
                found.append(bl.sin(cell) * squeezed(value))
            elif name == "mix":
                found.append(bl.tanh(value + squeezed(cell)))
            elif name == "draw":
                found.append(
                    self.generator.uniform(cell.shape, dtype="float64")
                    - self.generator.normal((), dtype="float64") * 0.1
                )
            elif name == "turn":
                found.append(value.T[::-1] * 0.9 if value.ndim else value * 0.9)
            elif name == "relu":
                found.append(F.relu(cell) - F.softplus(value.reshape(-1)[:1].sum()) if value.size else value)
            elif name in LOOPS:
                found.append(LOOPS[name](value, a, b, cell))
            elif name == "learn" and self.optimizer is not None:
                loss = sum(
                    (bl.mean(bl.tanh(p) * squeezed(value.detach())) for p in self.parameters),
                    bl.mean(value.detach()) * 0.1,
                )
                if b % 3 == 1:  # a gradient through a loop
                    p = self.parameters[a % len(self.parameters)]
                    loss = loss + bl.mean(scanned(p * 0.5, a, b, squeezed(value.detach())))
                if a % 2:
                    self.optimizer.zero_grad()
                loss.backward()
                if a % 3:
                    self.optimizer.step()
                found.append(loss)
            elif self.free:
                cell = self.free[b % len(self.free)]
                new = squeezed(value)
                if name == "assign":
                    cell[...] = bl.cos(cell) * new
                elif name == "increase":
                    cell += 0.1 * new
                elif name == "scale":
                    cell *= 0.9
                elif name == "row" and cell.ndim and cell.shape[0]:
                    cell[a % cell.shape[0]] = cell[0] * 0.5 + new
                elif name == "exchange":
                    other = self.free[a % len(self.free)]
                    if other.shape == cell.shape and other is not cell:
                        kept = cell * 1.0
                        cell[...] = other
                        other[...] = kept
                found.append(cell * 1.0 if a % 2 else new)
        return found[-1], squeezed(found[len(found) // 2]), found[0]


NAMES = (
    "read",
    "mix",
    "draw",
    "turn",
    "relu",
    "learn",
    "assign",
    "increase",
    "scale",
    "row",
    "exchange",
    "learn",
    "assign",
    *LOOPS,
)
programs = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=10)
BETWEEN = ("nothing", "hold", "outside", "share", "gradient", "seed")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(loops, "GRAIN_BYTES", 512)


def same(got, want, what):
    got, want = (np.asarray(x.detach()) for x in (got, want))
    assert got.dtype == want.dtype and got.shape == want.shape, what
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=what)


# gradients that nobody resets are part of the programs
@pytest.mark.filterwarnings("ignore::backlit.optim.AuditWarning")
@pytest.mark.parametrize("part", range(-(-N_PROGRAMS // (8 * EACH))))
def test_random_steps(part):
    @search(
        part + 500_000, program=programs, shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=5), number=st.integers(0, 9999),
        n_parameters=st.integers(0, 3), optimizer=st.integers(0, 4), between=st.lists(st.sampled_from(BETWEEN), min_size=2, max_size=4),
    )  # fmt: skip
    def check(program, shapes, number, n_parameters, optimizer, between):
        eager, other = (Machine(shapes, number, n_parameters, optimizer) for _ in range(2))
        compiled = bl.compile(lambda x: other.step(program, x), keep_grads=True, threads=1 + part % 3)
        rng = np.random.default_rng(number)
        held = []
        for turn, what in enumerate(between):
            x = rng.standard_normal((3, 4))
            if what == "hold":
                held += [(c.detach(), np.array(c.detach())) for c in other.cells]
            elif what == "share":  # memory that somebody else reads
                alias = other.cells[number % len(other.cells)].detach().numpy()
                held.append((alias, alias.copy()))
            elif what == "outside":
                with bl.no_grad():
                    for machine in (eager, other):
                        if machine.free:
                            machine.free[0][...] = float(number % 7) * 0.1
            elif what == "gradient":
                for machine in (eager, other):
                    for p in machine.parameters:
                        p.grad = None
            elif what == "seed":
                for machine in (eager, other):
                    machine.generator.set_state(bl.random.Generator(turn).get_state())
            want, got = eager.step(program, bl.tensor(x)), compiled(bl.tensor(x))
            for k, (g, w) in enumerate(zip(got, want, strict=True)):
                same(g, w, f"result {k} of call {turn}")
            for k, (g, w) in enumerate(zip(other.cells, eager.cells, strict=True)):
                same(g, w, f"tensor {k} after call {turn}")
                assert (g.grad is None) == (w.grad is None), f"gradient of tensor {k} after call {turn}"
                if g.grad is not None:
                    same(g.grad, w.grad, f"gradient of tensor {k} after call {turn}")
            assert other.generator.counter == eager.generator.counter
            for now, before in held:
                assert np.asarray(now).tobytes() == before.tobytes(), (
                    f"a value that was held has changed in call {turn}"
                )
            held += [(g, np.array(g.detach())) for g in got]
